#!/usr/bin/python3
"""Goal: the page of `muninn report` shows what the rows say, to eyes, keyboards and paper, asks no network for anything and runs nothing of
what a row contains.

Method: rows made up here (and the result files of bench/results) go through the program; the page is opened in a headless Chromium. Its console,
its requests and its policy violations are read; marks are counted against the rows. Controls show that each of the watches sees something.
Usage: test_report.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap test installs it)
"""

import base64
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_page import (  # noqa: E402
    MARKUP, ActionChains, Keys, Select, between, check, expected_marks, is_run, open_quietly, rows_of, run_tests, same,
    same_rows, setting, sweep)

# ---- the program ----


def test_program(report):
    rows = sweep()
    source, page = report.file("in.jsonl", rows), report.folder / "out.html"
    before = source.read_bytes()
    refused = [
        ("no input", 2, [], "no file"),
        ("a file that is not there", 4, [report.folder / "absent.jsonl", "-o", page], "absent.jsonl"),
        ("the output is an input", 2, [source, "-o", source], "is the input"),
        ("the output is an input by another name", 2, [source, "-o", report.folder / "." / "hard.jsonl"], "is the input"),
        ("the output is a folder", 2, [source, "-o", report.folder], "is a folder, not a file"),
        ("no such folder", 4, [source, "-o", report.folder / "none" / "x.html"], "cannot be written"),
        ("JSON that is no row", 4, [report.file("nokey.jsonl", [{"a": 1}]), "-o", page], "nokey.jsonl: JSON, but no result row"),
        ("a row that is none behind one", 4, [report.file("second.jsonl", [{"bench": "x"}, {"a": 1}]), "-o", page], "second.jsonl: line 2: JSON, but no result row"),
    ]
    os.link(source, report.folder / "hard.jsonl")
    (report.folder / "nul.jsonl").write_text('{"key":"a"}\n{"key":"b","device":"x\\u0000y"}\n')
    refused.append(("a NUL in a string", 4, [report.folder / "nul.jsonl", "-o", page], "nul.jsonl: line 2"))
    for name, code, arguments, part in refused:
        got, out, err = report.run(*arguments)
        check(f"refused: {name}", got == code and out == b"" and err.count("\n") == 1 and part in err, got, err)
    check("refused: nothing was written", not page.exists() and source.read_bytes() == before)
    same("refused: no temporary file is left", [p.name for p in report.folder.iterdir() if p.name.startswith((".", "out.html", "x.html"))], [])

    page.write_text("an older page")
    code, out, err = report.run("-o", page, source)
    check("a page is replaced", code == 0 and page.read_bytes().startswith(b"<!doctype html>"), code, err)
    same("its mode follows the umask", page.stat().st_mode & 0o777, 0o666 & ~current_umask())
    same("standard output gives the same bytes", report.run(source)[1], page.read_bytes())
    same("and standard input", report.run("-", stdin=before)[1].replace(b"standard input", b"in.jsonl"), page.read_bytes())

    older, newer = dict(rows[0], time="2026-01-01T00:00:00Z", decode_tok_s=1.5), dict(rows[0], time="2026-03-01T00:00:00Z", decode_tok_s=2.5)
    twice = report.run(report.file("a.jsonl", [newer, rows[1]]), report.file("b.jsonl", [rows[2], older, older]))[1].decode()
    same_rows("of one setting the newest row stays, in the first one's place", rows_of(twice), [newer, rows[1], rows[2]])
    same("and the page says how many went", json.loads(between(twice, 'id="about">'))["older_rows"], 2)


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ---- the browser ----


def test_controls(browser, report):
    """The watches that the other tests rely on see a request, an error on the console and a handler that ran."""
    page = report.folder / "control.html"
    page.write_text("<!doctype html><img src=nothing.png onerror='window.ran = 1; console.error(\"seen\")'>")
    browser.open(page)
    check("control: a second request is seen", browser.until(lambda: any(url.endswith("nothing.png") for url in browser.requests())))
    check("control: the console is read", browser.until(lambda: any("seen" in line for line in browser.console())))
    same("control: a handler in markup runs where no policy forbids it", browser.js("return window.ran"), 1)


def test_policy(browser):
    policy = browser.js("return document.querySelector('meta[http-equiv=\"Content-Security-Policy\"]').content")
    parts = {part.split()[0]: part.split()[1:] for part in policy.split(";")}
    same("policy: nothing by default", parts["default-src"], ["'none'"])
    for kind in ("script-src", "style-src"):
        check(f"policy: {kind} is one hash", len(parts[kind]) == 1 and parts[kind][0].startswith("'sha256-"), parts[kind])
    check("policy: nothing unsafe", "unsafe" not in policy)
    blocked = browser.js("""
        const seen = [];
        document.addEventListener("securitypolicyviolation", (e) => seen.push(e.effectiveDirective));
        const host = document.createElement("div");
        host.innerHTML = "<img src='x.png' onerror='window.pwned = 1'><p style='color: red'>x</p>";
        document.body.append(host);
        const script = document.createElement("script");
        script.textContent = "window.pwned = 2";
        document.body.append(script);
        const end = performance.now() + 60000, all = () => new Set(seen).size >= 4 || performance.now() > end;
        const leave = () => { host.remove(); script.remove(); return seen; };
        const wait = (done) => (all() ? done(leave()) : setTimeout(() => wait(done), 10));
        return fetch("https://example.invalid/").then(() => ["fetched"], () => new Promise(wait));""")
    for kind in ("img-src", "style-src-attr", "script-src-elem", "connect-src"):
        check(f"policy: {kind} is refused", kind in blocked, blocked)
    same("policy: nothing ran", browser.js("return window.pwned"), None)
    browser.console()
    browser.requests()


def test_sweep(browser, report):
    rows = sweep()
    page = report.page(rows)
    open_quietly(browser, page, "sweep")
    same_rows("sweep: the JSON in the page is the input", json.loads(browser.js("return document.getElementById('rows').textContent")), rows)
    browser.counts("sweep: marks of every figure", expected_marks(rows))
    answers = json.loads(browser.js("return document.getElementById('about').textContent"))["answers"]
    check("sweep: an answer for each device", [answer["text"].split(":")[0] for answer in answers] == ["tiny on GPU one", "tiny on CPU two"], answers)
    same("sweep: the page begins with them", [p.text for p in browser.all("#answer p")], [answer["text"] for answer in answers])
    check("sweep: above filters and figures", browser.one("#answer").location["y"] < browser.one("#filters").location["y"] < browser.one("#summary").location["y"])
    runs = [row for row in rows if is_run(row)]
    same("sweep: a table row per setting", len(browser.all("#table tbody tr")), len(runs))
    lossy = [row for row in runs if not row["lossless"]]
    same("sweep: lossy rows are labelled", sum(words.startswith("LOSSY for a reason") for words in browser.column("lossless")), len(lossy))
    tips = browser.js("return [...document.querySelectorAll('#figure-bandwidth .mark, #figure-prediction .mark')].map((m) => [m.classList.contains('lossy'), m.getAttribute('aria-label').includes('LOSSY')])")
    check("sweep: lossy marks are hollow and say so", all(a == b for a, b in tips) and sum(a for a, _ in tips) > len(lossy), tips[:5])

    base = next(row for row in runs if row["device"] == "GPU one" and row["strategy"] == "ar" and row["kv_policy"] == "full")
    row = next(row for row in runs if row["device"] == "GPU one" and row["kv_policy"] == "full" and (row["draft_steps"], row["lookahead"]) == (4, 7))
    label = browser.js("return [...document.querySelectorAll('#figure-prediction .mark')].map((m) => m.getAttribute('aria-label')).find((t) => t.startsWith('draft-verify K 4 L 7') && t.includes('GPU one') && !t.includes('LOSSY'))")
    check("sweep: speedup is over ar with a full cache", f"speedup over ar: {row['decode_tok_s'] / base['decode_tok_s']:.2f}\u00d7" in label, label)
    check("sweep: the prediction is the ratio of weight bytes", f"predicted speedup: {base['weight_bytes_per_token'] / row['weight_bytes_per_token']:.2f}\u00d7" in label, label)

    test_table(browser, runs)
    test_filters(browser, rows)
    test_tooltips(browser)
    test_policy(browser)


def test_table(browser, runs):
    head = "#table th button[data-column=%s]"
    speeds = sorted((row["decode_tok_s"] for row in runs), reverse=True)
    for order in ("descending", "ascending"):
        browser.one(head % "decode_tok_s").click()
        same(f"table: tok/s {order}", [float(v) for v in browser.column("decode_tok_s")], speeds if order == "descending" else speeds[::-1])
        same(f"table: aria-sort {order}", browser.js("return [...document.querySelectorAll('#table th')].map((h) => h.getAttribute('aria-sort')).filter((s) => s !== 'none')"), [order])
    browser.one(head % "device").click()
    same("table: words sort as words", browser.column("device"), sorted(row["device"] for row in runs))
    browser.one(head % "draft_steps").click()
    depths = browser.column("draft_steps")
    n = sum(row["draft_steps"] > 0 for row in runs)
    same("table: rows without the figure come last", (depths[:n], set(depths[n:])), (sorted(d for d in depths if d), {""}))
    browser.one("#search").send_keys("wave share:1")
    wanted = [row for row in runs if row["strategy"] == "wavefront" and row["kv_policy"] == "share:1"]
    same("table: every word must be in the row", (set(browser.column("strategy")), len(browser.column("strategy"))), ({"wavefront"}, len(wanted)))
    browser.one("#search").clear()
    browser.one("#search").send_keys("<none>")
    same("table: nothing found", len(browser.all("#table tbody tr")), 0)
    browser.one("#search").send_keys(*[Keys.BACKSPACE] * 6)
    same("table: all again", len(browser.all("#table tbody tr")), len(runs))
    kinds = {"passes": 32, "kernels": 6, "dispatch floor": 2}
    for kind, wanted in kinds.items():
        Select(browser.one("#table-kind")).select_by_visible_text(kind)
        same(f"table: {kind}", len(browser.all("#table tbody tr")), wanted)
    Select(browser.one("#table-kind")).select_by_visible_text("settings")


def test_filters(browser, rows):
    Select(browser.one("[data-filter=device]")).select_by_visible_text("GPU one")
    kept = [row for row in rows if row["device"] == "GPU one"]
    browser.counts("filter: the figures follow", expected_marks(kept))
    same("filter: the table follows", set(browser.column("device")), {"GPU one"})
    Select(browser.one("[data-filter=promise]")).select_by_visible_text("lossless")
    kept = [row for row in kept if row.get("lossless", True)]
    browser.counts("filter: two at once", expected_marks(kept))
    Select(browser.one("[data-filter=strategy]")).select_by_visible_text("diffusion")
    left = browser.js("return document.getElementById('left-out').textContent")
    check("filter: a figure that lost all its rows is left out, and one line says which and why", not browser.all("#figure-bandwidth") and "Speed against bandwidth" in left and "No setting with a bandwidth" in left, left)
    browser.one("#clear").click()
    browser.counts("filter: all again", expected_marks(rows))
    Select(browser.one("[data-choice=positions]")).select_by_index(0)
    same("chooser: another lookahead", browser.marks()["positions"], 3 * 1)


def test_tooltips(browser):
    tip = browser.one("#tooltip")
    for figure in (name for name, n in browser.marks().items() if n > 0):
        first = browser.one(f"#figure-{figure} .mark")
        same(f"tooltip: {figure} is one stop of the Tab key", browser.js("return [...arguments[0].closest('svg').querySelectorAll('.mark')].filter((m) => m.tabIndex === 0).length", first), 1)
        browser.js("arguments[0].focus()", first)
        check(f"tooltip: {figure}, on focus", tip.is_displayed() and tip.text.split("\n")[0] == first.get_attribute("aria-label").split("\n")[0], tip.text)
        ActionChains(browser.driver).send_keys(Keys.ARROW_RIGHT).perform()
        now = browser.js("return document.activeElement.getAttribute('aria-label')")
        check(f"tooltip: {figure}, the next mark by arrow", tip.is_displayed() and now != first.get_attribute("aria-label") and tip.text.split("\n")[0] == now.split("\n")[0], now)
        box = browser.js("const r = arguments[0].getBoundingClientRect(); return [r.left, r.right]", tip)
        check(f"tooltip: {figure}, inside the page", box[0] >= 0 and box[1] <= 1400, box)
        ActionChains(browser.driver).send_keys(Keys.ESCAPE).perform()
        check(f"tooltip: {figure}, Escape", not tip.is_displayed())
    ActionChains(browser.driver).move_to_element(browser.one("#figure-speedup .mark")).perform()
    check("tooltip: under the pointer", browser.until(lambda: tip.is_displayed() and "draft-verify" in tip.text), tip.text)
    browser.js("document.activeElement.blur()")


# ---- looks ----

CROWDED = """
    const problems = [];
    for (const axes of document.querySelectorAll("figure .axes")) {
        const boxes = [...axes.querySelectorAll("text")].map((t) => [t.textContent, t.getBoundingClientRect()]);
        boxes.forEach(([a, r], i) => boxes.slice(i + 1).forEach(([b, s]) => {
            if (Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1 && Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 4) problems.push(axes.closest("figure").id + ": " + a + " / " + b);
        }));
    }
    return problems;"""


def test_looks(browser, report):
    page = report.page(sweep())
    browser.open(page)
    light = browser.js("return getComputedStyle(document.body).backgroundColor")
    for width in (1400, 768, 400):
        for scheme in ("light", "dark"):
            browser.look(width, scheme)
            browser.open(page)
            name = f"looks: {width} pixels, {scheme}"
            same(f"{name}: no message", browser.console(), [])
            check(f"{name}: nothing sticks out", browser.js("return document.documentElement.scrollWidth") <= width)
            same(f"{name}: axis labels do not touch", browser.js(CROWDED), [])
            sizes = browser.js("return [...document.querySelectorAll('svg text')].map((t) => parseFloat(getComputedStyle(t).fontSize) * t.getCTM().a)")
            check(f"{name}: no tiny text in figures", min(sizes) >= 10, min(sizes))
            picture = base64.b64decode(browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
            check(f"{name}: it can be drawn", picture.startswith(b"\x89PNG") and len(picture) > 10000)
            colour = browser.js("return getComputedStyle(document.body).backgroundColor")
            check(f"{name}: colours", (colour == light) == (scheme == "light"), colour)
    dark = browser.js("return getComputedStyle(document.body).backgroundColor")
    themes = []
    for _ in range(3):
        browser.one("#theme").click()
        themes.append(browser.js("return getComputedStyle(document.body).backgroundColor"))
    same("looks: the switch goes light, dark, as the system", themes, [light, dark, dark])
    browser.one("#theme").click()
    browser.one("#theme").click()
    browser.look(1400, "dark", "print")
    same("print: light on paper, whatever the screen shows", browser.js("return getComputedStyle(document.body).backgroundColor"), light)
    same("print: no controls", [e.get_attribute("id") or e.tag_name for e in browser.all("nav, button, select, input") if e.is_displayed() and e.tag_name != "button"], [])
    browser.look()
    pdf = base64.b64decode(browser.driver.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    check("print: a document of several pages", pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") + pdf.count(b"/Type /Page ") + pdf.count(b"/Type /Page/") > 1, len(pdf))


# ---- rows that are not as they should be ----

def test_hostile(browser, report):
    rows = sweep()
    for i, row in enumerate(rows):
        row["key"] = f"{i} {MARKUP}"
        if not is_run(row):
            continue
        row.update({"driver": MARKUP, "banner": MARKUP, "model": MARKUP, "commit": "<svg onload=window.pwned=3>", "lossy_because": MARKUP, "prompt_set": "a\u202eb\u200f\u0007\U0001f600",
                    "weight_type": "javascript:window.pwned=4", MARKUP: MARKUP, "__proto__": {"x": 1}, "constructor": "x", "command": "L" * 100000})
    rows[0]["kv_policy"] = "full"
    rows.append(setting("D" * 100000, "draft-verify", 1, 1))
    rows.append({"key": "kind", "bench": MARKUP, "<b onclick=window.pwned=5>": "x", "device": MARKUP})
    page = report.page(rows, name="<img src=x onerror=window.pwned=6>&\"'.jsonl", title=MARKUP)
    text = page.read_text()
    same("hostile: the rows' markup is in the page nowhere as markup", [part for part in ("</script><script>window", "<img", "<svg onload", "<b onclick", "<!--") if part in text.split("<script>")[0]], [])
    browser.look()
    open_quietly(browser, page, "hostile")
    same("hostile: nothing ran", browser.js("return window.pwned"), None)
    check("hostile: no dialog", not browser.has_alert())
    same("hostile: no element came of it", browser.js("return [document.querySelectorAll('img, iframe, object, b[onclick], svg[onload], a:not(.anchor)').length, document.scripts.length]"), [0, 3])
    same_rows("hostile: the JSON in the page is the input", json.loads(browser.js("return document.getElementById('rows').textContent")), rows)
    shown = browser.js("return document.body.innerText")
    check("hostile: the markup is there to read", MARKUP[:30] in shown and browser.js("return document.title").startswith("</script><script>"))
    check("hostile: marks that turn the reading direction are spelled out", "a\\u202eb\\u200f\\u0007\U0001f600" in shown and "\u202e" not in shown)
    longest = browser.js("return Math.max(...[...document.querySelectorAll('h1,h3,h4,dd,td,option,svg text,p')].map((e) => e.textContent.length))")
    check("hostile: long strings are cut", longest < 1000, longest)
    check("hostile: nothing sticks out", browser.js("return document.documentElement.scrollWidth") <= 1400)
    marks = browser.marks(expected_marks(rows))
    check("hostile: the figures are drawn", all(n > 0 for n in marks.values()), marks)


def test_odd_rows(browser, report):
    """Rows of other versions, values of other types, a file with nothing or one row: a figure says what it lacks, and no other suffers."""
    browser.look()
    for name, rows in (("one row", [setting("GPU one", "ar")]), ("one draft", [setting("GPU one", "draft-verify", 2, 3)])):
        page = report.page(rows)
        open_quietly(browser, page, name)
        same(f"{name}: the table", len(browser.all("#table tbody tr")), len(rows))
        same(f"{name}: no figure without marks", browser.js("return [...document.querySelectorAll('figure')].filter((f) => !f.querySelector('.mark')).map((f) => f.id)"), [])
        same(f"{name}: what is left out says why", browser.js("return [...document.querySelectorAll('#left-out dd')].filter((d) => !d.textContent).length"), 0)
        same(f"{name}: one line names it", browser.js("return document.querySelectorAll('figure').length + document.querySelectorAll('#left-out dt').length"), browser.js("return figures.length"))
    check("one draft: without ar there is no speedup", not browser.all("#figure-speedup") and "ar row" in browser.js("return document.getElementById('left-out').textContent"))
    rows = sweep()
    wanted = expected_marks(rows)
    for row in rows:
        if is_run(row):
            del row["bench"]  # rows of the first version
    broken = [row for row in rows if is_run(row, "draft-verify")][:4]
    del broken[0]["acceptance_rate"]
    broken[1]["gb_s"] = "fast"
    broken[2]["decode_tok_s"] = None
    broken[3]["accepted_lengths"] = [1, "two", {}]
    wanted.update({"acceptance": wanted["acceptance"] - 1, "bandwidth": wanted["bandwidth"] - 2, "speedup": wanted["speedup"] - 1, "prediction": wanted["prediction"] - 1})
    open_quietly(browser, report.page(rows), "odd rows")
    browser.counts("odd rows: exactly their marks are missing", wanted)
    for figure, n in (("acceptance", 1), ("bandwidth", 2), ("speedup", 1), ("prediction", 1), ("lengths", 1)):
        check(f"odd rows: {figure} counts them", f"{n} row{'s' if n > 1 else ''} left out" in browser.one(f"#figure-{figure}").text, browser.one(f"#figure-{figure} .drawing").text[:200])
    many = [setting("GPU one", "draft-verify", 1 + i % 30, 1 + i // 30 % 60, seed=i) for i in range(5000)]
    for i, row in enumerate(many):
        row["key"] = str(i)
    open_quietly(browser, report.page(many), "5000 rows")
    same("5000 rows: the table shows a part", (len(browser.all("#table tbody tr")), browser.one("#table-status").text), (200, "200 of 5000 rows"))
    browser.one("#more").click()
    same("5000 rows: and more when asked", len(browser.all("#table tbody tr")), 400)
    check("5000 rows: marks are bounded", sum(browser.marks().values()) < 10000)


# ---- traces ----


def trace_rows(name, tokens, steps, ends=("fixed-point",), texts=(" a",)):
    """A trace as `muninn trace` writes it, made up: token i leaves by latent-diff at step 1 + i mod steps, by kl at step 2, by the others never."""
    common = {"trace": name, "device": "GPU one", "driver": "d", "model": "tiny", "model_hash": "00ff", "weight_type": "bf16", "kv_type": "f16", "num_steps": steps}
    rows = [{"bench": "trace_header", "key": f"trace-{name}-header", **common, "version": "0.0", "commit": "0123456789ab", "banner": "GPU one"}]
    for i in range(tokens):
        falling = [2.0 ** -(step + i % 3) for step in range(steps)]
        rows.append({"bench": "trace", "key": f"trace-{name}-{i}", **common, "position": i, "token": 7, "text": texts[i % len(texts)], "generated": False, "norm": [10.5] * steps,
                     "change": falling, "kl": [*falling[:-1], 0], "entropy": falling, "top1_p": [0.5] * steps, "top1": [7] * steps, "top1_text": [texts[-1]] * steps,
                     "top1_is_final": [True] * steps, "exits": {**dict.fromkeys(["cosine", "entropy-diff", "minp-kl", "argmax-stability"]), "latent-diff": 1 + i % steps, "kl": 2},
                     "class": ends[i % len(ends)], "period": 3 if ends[i % len(ends)] == "orbit" else 0, "path": [[0, 0], *([i + 0.5 * s, s * s] for s in range(steps))]})
    rows.append({"bench": "trace_summary", "key": f"trace-{name}-summary", **common, "tokens": tokens, "pca": {"components": 2, "explained": [0.5, 0.25]}})
    return rows


def expected_trace_marks(tokens, steps):
    """Two maps; a bar per step or "never" that any token has, for six criteria; a mark per trajectory and one for the start they share."""
    return {"convergence": 2 * tokens * steps, "exits": min(tokens, steps) + 5, "trajectories": tokens + 1}


def test_traces(browser, report):
    ends = ("fixed-point", "orbit", "slider", "unsettled")
    browser.look()
    rows = trace_rows("one", 6, 8, ends)
    open_quietly(browser, report.page(rows), "trace")
    browser.counts("trace: marks of every figure", expected_trace_marks(6, 8))
    framed = browser.js("return [...document.querySelectorAll('#figure-convergence .cell.top')].map((m) => m.getAttribute('aria-label').split('\\n').filter((line) => /step|leaves/.test(line)))")
    same("trace: a frame per token and map", len(framed), 12)
    same("trace: the first map frames the exits of latent-diff", [f"step {1 + i % 8}" in where and "latent-diff" in leaves for i, (where, _, leaves) in enumerate(framed[:6])], [True] * 6)
    check("trace: the second map frames those of kl", all("step 2" in where and "kl" in leaves for where, _, leaves in framed[6:]), framed[6:])
    tip = browser.js("return document.querySelectorAll('#figure-convergence .mark')[9].getAttribute('aria-label')")
    check("trace: the numbers behind a cell", "\u2423a at position 1, step 2" in tip and "relative change: 0.25" in tip and "entropy: 0.25" in tip, tip)
    colours = browser.js("return [...document.querySelectorAll('#figure-convergence .mark rect')].slice(0, 8).map((r) => r.getAttribute('fill').match(/\\d+/g).reduce((a, b) => a + Number(b), 0))")
    check("trace: what has converged is darker", colours == sorted(colours, reverse=True) and colours[0] > colours[-1], colours)
    words = browser.one("#figure-trajectories").text
    for label in ("fixed point (2)", "orbit (2)", "slider (1)", "unsettled (1)", "50 % of the variance", "25 % of the variance"):
        check(f"trace: trajectories say {label}", label in words, words)
    Select(browser.one("[data-choice=convergence-exit]")).select_by_visible_text("cosine")
    same("trace: no token leaves by cosine", len(browser.all("#figure-convergence .cell.top")), 0)

    mixed = sweep() + rows + trace_rows("two", 90, 70)
    open_quietly(browser, report.page(mixed), "traces and settings")
    browser.counts("traces and settings: the settings' marks", expected_marks(mixed))
    same("traces and settings: each chooser opens on the trace with the most steps of tokens",
         [browser.one(f"[data-choice={name}]").get_property("selectedIndex")
          for name in ("convergence-trace", "exits-trace", "trajectories-trace", "text")], [1] * 4)
    for name in ("convergence", "exits", "trajectories"):
        Select(browser.one(f"[data-choice={name}-trace]")).select_by_index(0)
    browser.counts("traces and settings: the first trace's", expected_trace_marks(6, 8))
    Select(browser.one("[data-choice=convergence-trace]")).select_by_index(1)
    same("a long trace: 40 tokens at every second step", browser.marks()["convergence"], 2 * 40 * 35)
    same("a long trace: exits beyond every second step are framed as well", len(browser.all("#figure-convergence .cell.top")), 2 * 40)
    Select(browser.one("[data-choice=convergence-tokens]")).select_by_index(2)
    same("a long trace: the last ten tokens", browser.marks()["convergence"], 2 * 10 * 35)

    lossy = trace_rows("large", 9, 9)
    lossy[0]["kv_policy"] = "share:1"
    open_quietly(browser, report.page(lossy + trace_rows("first", 3, 4) + trace_rows("again", 4, 3)), "traces alike")
    same("traces alike: opens on the first of the full cache", browser.one("[data-choice=convergence-trace]").get_property("selectedIndex"), 1)

    hostile = trace_rows("three", 4, 5, (MARKUP, "constructor"), (MARKUP, "\u202e\u0007 x", "L" * 100000))
    hostile[1]["exits"] = {"kl": MARKUP, "__proto__": 3}
    hostile += [dict(hostile[2], key="odd1", kl="x"), dict(hostile[2], key="odd2", path=[[1], "y"], change=[1]), dict(hostile[2], key="odd3", exits=None, top1_text=7)]
    open_quietly(browser, report.page(hostile), "hostile trace")
    same("hostile trace: nothing ran", (browser.js("return window.pwned"), browser.has_alert()), (None, False))
    same("hostile trace: no element came of it", browser.js("return [document.querySelectorAll('img, iframe, object, a:not(.anchor)').length, document.scripts.length]"), [0, 3])
    shown = browser.js("return document.querySelector('#figure-convergence').textContent")
    check("hostile trace: the text of tokens is there to read", "</script>" in shown and "\\u202e\\u0007" in shown and "\u202e" not in shown, shown[:300])
    check("hostile trace: records that lack a figure are counted", "2 rows left out" in browser.one("#figure-convergence").text and "1 row left out" in browser.one("#figure-trajectories").text)
    check("hostile trace: nothing sticks out", browser.js("return document.documentElement.scrollWidth") <= 1400)


def main():
    tests = [test_controls, test_sweep, test_looks, test_hostile, test_odd_rows, test_traces]
    return run_tests(sys.argv[1:3], [test_program], tests)


if __name__ == "__main__":
    sys.exit(main())
