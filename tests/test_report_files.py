#!/usr/bin/python3
"""Goal: `muninn report` reads whatever Muninn writes and names what it does not read; what comes out of a page (a link to a figure, its files, the
page of a comparison) says what the rows say.

Method: files of every kind, made up here, and those of bench/results go through the program; the pages are opened in a headless Chromium, whose
downloads are read; quotients are computed here a second time.
Usage: test_report_files.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap test installs it)
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_page import (  # noqa: E402
    MARKUP, Select, check, open_quietly, rows_of, run_tests, same, setting, sweep)

# ---- what goes in ----


def other_kinds(report, page):
    """Files of other kinds, by what they are."""
    model = report.folder / "model"
    model.mkdir()
    (model / "config.json").write_text('{\n  "architectures": ["X"]\n}\n')
    (model / "model.safetensors").write_bytes((70 << 20).to_bytes(8, "little") + b'{"w":{}}' + bytes(70 << 20))
    kinds = {
        "a model folder": (model, "a folder with a model"), "a folder": (report.folder, "a folder, not"), "weights": (model / "model.safetensors", "weights of a model (safetensors)"),
        "a configuration": (model / "config.json", "the configuration of a model"),
    }
    texts = {
        "a page": (b"<!doctype html><html></html>", "a web page"), "an empty file": (b"", "the file is empty"), "blanks": (b" \n\n", "nothing but blanks"), "a table": (b"| a | b |\n", "text of another kind"),
        "a CSV": (b"key,bench\n", "text of another kind"), "no rows": (b"[]", "it has no rows"), "an array of others": (b'[{"bench":"x"},3]', "value 2: a JSON value that is no result row"),
        "UTF-16": (b"\xff\xfe{\0", "UTF-16"), "a picture": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a binary file"), "an index of weights": (b'{"metadata":{},"weight_map":{}}', "the index of a model's weights"),
        "a comparison": (b'{"a":"x","geometric_mean":1,"pairs":[]}', "muninn compare"), "a broken row": (b'{"key":"a\n', "line 1: JSON"), "a Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    }
    for i, (name, (content, words)) in enumerate(texts.items()):
        path = report.folder / f"kind{i}"
        path.write_bytes(content)
        kinds[name] = (path, words)
    return [(name, 4, [path, "-o", page], words) for name, (path, words) in kinds.items()]


def test_other_kinds(report):
    page = report.folder / "none.html"
    for name, code, arguments, part in other_kinds(report, page):
        got, out, err = report.run(*arguments)
        check(f"refused: {name}", got == code and out == b"" and err.count("\n") == 1 and part in err, got, err)
    check("refused: nothing was written", not page.exists())


def test_results(browser, report):
    """The report reads every committed result; what the page looks for must be in the rows of `muninn bench`."""
    for path in sorted((Path(report.source) / "bench" / "results").glob("*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        open_quietly(browser, report.page(rows, name=path.name), path.name)
        marks = browser.marks()
        runs = [row for row in rows if row.get("bench") == "run"]
        same(f"{path.name}: every setting has its place", marks.get("bandwidth", 0), len(runs))
        same(f"{path.name}: every pass as well", marks.get("verify", 0), len([row for row in rows if row.get("bench") == "pass"]))
        if any(row["strategy"] == "draft-verify" for row in runs):
            check(f"{path.name}: figures of drafting", all(marks.get(name) for name in ("acceptance", "lengths", "positions")), marks)
        same(f"{path.name}: every row is in the table", browser.js("return allRows.length"), len(rows))
        known = (None, "run", "pass", "kernel", "floor", "trace", "trace_header", "trace_summary", "pipeline",
                 "selftest")
        others, said = {row["bench"] for row in rows if row.get("bench") not in known}, browser.one("#summary").text
        check(f"{path.name}: kinds that the page does not know are named", all(kind in said for kind in others), others, said)


def test_selftest(browser, report):
    """A self-test that failed stands above everything; one without a model makes no card of a model."""
    common = {"bench": "selftest", "device": "GPU one", "driver": "d", "model": "", "model_hash": ""}
    rows = [{"key": "a", **common, "check": "kernel", "what": "norm", "cases": 5, "failed": 0, "detail": ""},
            {"key": "b", **common, "model": "tiny", "model_hash": "1", "check": "D2", "what": "wavefront K 4", "cases": 1,
             "failed": 0, "detail": ""}]
    open_quietly(browser, report.page(rows), "selftest")
    said = browser.one("#summary").text
    check("selftest: what holds is counted", "5 of 5" in said and "1 of 1" in said and "failed" not in said, said)
    cards = [e.text for e in browser.all("#measured .card h3")]
    same("selftest: a card of the device, one of the model", cards, ["GPU one", "tiny"])
    rows[1].update({"failed": 1, "detail": "token 3 is 7 instead of 9"})
    open_quietly(browser, report.page(rows), "failed selftest")
    said = browser.one("#summary .callout").text
    check("selftest: what failed is named", "D2 wavefront K 4: token 3 is 7 instead of 9" in said, said)


def decoding(sequence=None, tokens=6, **more):
    """A file of generate --trace, made up: a wave of two steps a tick over four steps, a token a tick after the first."""
    start = {} if sequence is None else {"sequence": sequence}
    rows = [{**start, "event": "prompt", "strategy": "wavefront", "lossless": True, "num_steps": 4, "draft_steps": 2, "lookahead": 0, "max_inflight": 8, "prompt_ids": [5, 6, 7], "tokens": [10],
             "prompt_texts": ["A", " b", " c"], "texts": [" d"], "device": "GPU one", "model": "tiny", **more}]
    for i in range(tokens):
        rows.append({**start, "event": "tick", "index": i, "start_pass": 2 * i, "end_pass": 2 * i + 2, "committed": i % 2, "start_ms": i, "end_ms": i + 0.5, "tokens": [20 + i] * (i % 2),
                     "texts": [f" t{i}"] * (i % 2), "rows": [{"position": 3, "token": 10, "depth_before": 0, "depth_after": 2, "predicted": 20, "kept": True}]})
    return rows


def scored(line, steps, hit, task="add"):
    return {"key": f"score-{line}-R{steps}", "line": line, "num_steps": steps, "task": task, "run": {"device": "GPU one", "model": "tiny", "model_hash": "00ff", "__proto__": {"x": 1}}, "logprob": -0.5, "is_greedy": hit}


def test_kinds(browser, report):
    """Rows of every kind lie side by side in one page, in the shapes that rows.js promises."""
    batch = [row for pair in zip(decoding(0), decoding(1)) for row in pair]
    stray = decoding()[3]
    rows = [*decoding(), *batch, *decoding(tokens=2, strategy="ar"), *[scored(line, steps, line > 1) for line in (1, 2) for steps in (1, 4)],
            {"summary": {"metric": "is_greedy", "num_steps": 4, "value": 0.5, "stderr": 0.1, "n": 2}}, {"prompt_ids": [1], "tokens": [2], "text": "x", "stats": {"strategy": "ar", "decode_tok_s": 3}},
            {"total": {"strategy": "ar", "sequences": 2}}, {"bench": "of tomorrow", "x": 1}, {"bench": "of tomorrow", "x": 1}, setting("GPU one", "ar")]
    open_quietly(browser, report.page([stray, *rows]), "kinds")
    same("kinds: the JSON in the page is the input", json.loads(browser.js("return document.getElementById('rows').textContent")), [stray, *rows])
    kinds = browser.js("return Object.fromEntries([...currentView().kinds].map(([kind, rows]) => [kind, rows.length]))")
    same("kinds: each row is of its kind", kinds, {"decode": 1 + 7 + 14 + 3, "score": 4, "score_summary": 1, "generation": 1, "generation_total": 1, "of tomorrow": 2, "run": 1})
    together = browser.js("return decodings(currentView()).map((d) => [d.label, d.events.length, d.tokens.map((t) => [t.position, t.id, t.text, t.event === null])])")
    wave = [[3, 10, " d", True], [4, 21, " t1", False], [5, 23, " t3", False], [6, 25, " t5", False]]
    same("decodings: put together, also where a batch mixes them", together, [
        ["tiny, wavefront K 2 W 8: A b c", 6, wave], ["tiny, wavefront K 2 W 8, sequence 0: A b c", 6, wave], ["tiny, wavefront K 2 W 8, sequence 1: A b c", 6, wave], ["tiny, ar: A b c", 2, wave[:2]]])
    said = browser.one("#summary").text
    check("kinds: an unknown one is named", "2 rows of of tomorrow" in said, said)
    check("kinds: an event without its prompt is named", "1 decoding event without the prompt line" in said, said)
    same("score: what it was measured with is at the row", browser.js("return currentView().of('score').map((r) => [r.device, r.model, r.task, r.is_greedy])"), [["GPU one", "tiny", "add", hit] for hit in (False, False, True, True)])
    same("score: a key of another meaning stays a key", browser.js("return [({}).x, currentView().of('score')[0].x]"), [None, None])
    same("score_summary, generation, total: at the row as well", browser.js("return [currentView().of('score_summary')[0].value, currentView().of('generation')[0].decode_tok_s, currentView().of('generation_total')[0].sequences]"), [0.5, 3, 2])
    array = report.folder / "array.json"
    array.write_text(json.dumps(rows, indent=1))
    code, out, err = report.run(array)
    same("kinds: an array is read as well", (code, err, rows_of(out.decode())), (0, "", rows))
    cut = report.folder / "cut.jsonl"
    cut.write_text("".join(json.dumps(row) + "\n" for row in decoding()) + '{"event":"ti')
    code, out, err = report.run(cut)
    check("kinds: a last line that is cut off is left out, with a warning", code == 0 and len(rows_of(out.decode())) == 7 and "line 8 is cut off" in err, code, err)


def test_classes(browser, report):
    """Forced rows are a class of their own: in filter, table, tiles, cards and marks."""
    forced = {"lossless": False, "lossy_because": "forced acceptance", "equals_ar": False, "forced_acceptance": [0.9, 0.8], "decode_tok_s": 500.0}
    rows = [setting("GPU one", "ar"), *[setting("GPU one", "draft-verify", k, l) for k in (1, 2) for l in (1, 3)], *[setting("GPU one", "draft-verify", k, l, **forced) for k in (1, 2) for l in (1, 3)],
            setting("GPU one", "diffusion", 2, w=64, policy="share:1")]
    for i, row in enumerate(rows):
        row["key"] = str(i)
    open_quietly(browser, report.page(rows), "classes")
    same("classes: the table's words", [words for words in browser.column("lossless") if words != "yes"], ["FORCED acceptance 0.9, 0.8"] * 4 + ["LOSSY for a reason"])
    same("classes: rows of the table", browser.js("return [...document.querySelectorAll('#table tbody tr')].map((r) => r.className)"), [""] * 5 + ["lossy forced"] * 4 + ["lossy"])
    tiles = browser.one("#summary").text
    check("classes: a tile of their own", "FORCED 0.9, 0.8: draft-verify" in tiles and "7.14\u00d7" in tiles, tiles)
    check("classes: counted apart", "1 row lossy, 4 rows with forced acceptance" in tiles, tiles)
    check("classes: the largest lossless speedup is not theirs", "largest lossless speedup" in tiles and "draft-verify K 2 L 3" in tiles, tiles)
    check("classes: cards say them", "forced acceptance\n0.9, 0.8" in browser.one("#measured").text, browser.one("#measured").text)
    marks = browser.js("return [...document.querySelectorAll('#figure-bandwidth .mark')].map((m) => [m.classList.contains('forced'), m.getAttribute('aria-label').includes('FORCED acceptance 0.9, 0.8')])")
    check("classes: marks say so", sum(a for a, _ in marks) == 4 and all(a == b for a, b in marks), marks)
    same("classes: panels say so", [e.text for e in browser.all("#figure-speedup h4 .badge")], ["FORCED"])
    Select(browser.one("[data-filter=promise]")).select_by_visible_text("forced")
    same("classes: a filter", len(browser.all("#table tbody tr")), 4)
    check("classes: choosers open on the best lossless setting", browser.js("document.getElementById('clear').click(); return bestSetting(allRows).key") == "4", rows[4])


def test_given_by_depth(browser, report):
    """Acceptance by depth or by a profile's name is forced like one by place, is said as it was given, and is never lossless."""
    forced = {"lossless": False, "lossy_because": "forced acceptance", "equals_ar": False, "forced_acceptance": [], "decode_tok_s": 500.0}
    rows = [setting("GPU one", "ar"), setting("GPU one", "wavefront", 4, w=8, **forced, forced_by_depth="huginn", forced_shares="4:0.94"),
            setting("GPU one", "auto", w=16, **forced, forced_by_depth="2:0.60,4:0.8", forced_shares="2:0.60,4:0.8"), setting("GPU one", "wavefront", 2, w=8, **forced, forced_by_depth="<b>|", forced_shares=7)]
    for i, row in enumerate(rows):
        row["key"] = str(i)
    open_quietly(browser, report.page(rows), "given by depth")
    same("by depth: the table's words", [words for words in browser.column("lossless") if words != "yes"], ["FORCED acceptance huginn (4:0.94)", "FORCED acceptance 2:0.60,4:0.8", "FORCED acceptance <b>|"])
    tiles = browser.one("#summary").text
    check("by depth: a tile of their own", "FORCED huginn (4:0.94): wavefront" in tiles, tiles)
    check("by depth: counted", "3 rows with forced acceptance" in tiles, tiles)
    check("by depth: compared with ar", "7.14\u00d7" in tiles, tiles)
    check("by depth: pareto says it", any("huginn (4:0.94)" in (m or "") for m in browser.js("return [...document.querySelectorAll('#figure-pareto .mark')].map((m) => m.getAttribute('aria-label'))")))


# ---- what comes out ----


def test_title(browser, report):
    """The title says of which kind the rows are, then of which models and devices."""
    one = {"device": "GPU one", "model": "tiny"}
    forced = {"lossless": False, "lossy_because": "forced acceptance", "forced_acceptance": [0.9]}
    ar, draft = setting("GPU one", "ar"), setting("GPU one", "draft-verify", 1, 1)
    trace = {"bench": "trace", "trace": "t", **one}
    pages = [
        ([ar], "Decoding speed: tiny on GPU one"),
        ([setting(f"GPU {i}", "ar", model=f"m{i % 2}", model_hash=str(i % 2)) for i in range(4)],
         "Decoding speed: m0, m1 on GPU 0, GPU 1 and 2 more"),
        ([ar, setting("GPU one", "draft-verify", 1, 1, **forced)],
         "Decoding speed at forced acceptance: tiny on GPU one"),
        ([ar, draft, setting("GPU one", "draft-verify", 2, 1, **forced)], "Decoding speed: tiny on GPU one"),
        ([{"bench": "kernel", **one}, {"bench": "floor", **one}], "Kernels: tiny on GPU one"),
        ([{"bench": "pipeline", **one}], "Pipelines: tiny on GPU one"),
        ([{"bench": "selftest", "check": "kernel", "model": "", "device": "GPU one"}], "Self-test: GPU one"),
        ([scored(1, 4, True)], "Accuracy: tiny on GPU one"),
        ([{"bench": "quantisation", **one}, {"bench": "quantisation_exit", **one}], "Quantisation: tiny on GPU one"),
        ([{**trace, "bench": "trace_header"}, trace], "Traces of the recurrence: tiny on GPU one"),
        (decoding(), "Decodings step by step: tiny on GPU one"),
        ([{"tokens": [2], "text": "x", "stats": {"strategy": "ar", "model": "tiny"}}], "Generated texts: tiny"),
        ([trace, ar, *decoding(), scored(1, 4, True)],
         "Decoding speed, accuracy, traces of the recurrence and 1 more: tiny on GPU one"),
        ([{"bench": "x"}], "Rows of x: %s"),
        ([{"key": "a", "device": "GPU one"}], "Muninn report: GPU one"),
        ([{"key": "a", "strategy": 1}], "Muninn report: %s"),
    ]
    for rows, wanted in pages:
        open_quietly(browser, report.page(rows), wanted)
        wanted = wanted.replace("%s", f"rows{report.n}.jsonl")  # neither model nor device: the file
        same(f"title: {wanted}", (browser.js("return document.title"), browser.one("h1").text), (wanted, wanted))
    same("title: every kind that the page knows has a word",
         browser.js("return [...KINDS.keys()].filter((kind) => !TOPICS.some(([, of]) => of.includes(kind)))"), [])
    open_quietly(browser, report.page([ar], title="my own"), "my own")
    same("title: --title is all of it", browser.js("return document.title"), "my own")


def test_cards(browser, report):
    """Rows that know less of a device than others are of the same card, unless two could be meant."""
    ids = {"device_id": "d1", "driver_version": "0007"}
    trace = {"bench": "trace", "trace": "t", "model": "tiny", "device": "GPU one", "driver": "driver of GPU one"}
    cards = "return [...document.querySelectorAll('#measured .card')].map((c) => [c.querySelector('h3').textContent, [...c.querySelectorAll('dt')].filter((t) => t.textContent === 'rows').map((t) => t.nextSibling.textContent)[0] ?? null])"
    open_quietly(browser, report.page([setting("GPU one", "ar", **ids), trace, *decoding()]), "cards")
    same("cards: one device, one model", browser.js(cards), [["GPU one", "3"], ["tiny", None]])
    open_quietly(browser, report.page([setting("GPU one", "ar", **ids), setting("GPU one", "ar", key="2", **{**ids, "device_id": "d2"}), trace]), "cards of two")
    same("cards: of two alike devices none takes what may be the other's", browser.js(cards)[:3], [["GPU one", "1"]] * 3)


def test_anchor(browser, report):
    page = report.page(sweep())
    browser.driver.get("about:blank")
    browser.driver.get(page.as_uri() + "#figure-devices")
    top = browser.js("return document.getElementById('figure-devices').getBoundingClientRect().top")
    check("anchor: the page opens at its figure", 0 <= top < 900 and browser.js("return scrollY") > 1000, top)
    browser.js("document.querySelector('#figure-verify .anchor').click()")
    check("anchor: a link at every figure", browser.js("return location.hash") == "#figure-verify" and len(browser.all("figure .anchor")) == len(browser.all("figure")))
    browser.driver.get(page.as_uri() + "#figure-none%22%3E")
    same("anchor: another is no error", browser.console(), [])


def saved(browser, folder, figure, kind):
    path = folder / f"muninn-{figure}.{kind}"
    browser.js("document.querySelector(`#figure-${arguments[0]} [data-save=${arguments[1]}]`).click()", figure, kind)
    browser.until(lambda: path.exists() and path.stat().st_size)
    return path.read_text() if path.exists() else ""


def test_saving(browser, report):
    folder = report.folder / "downloads"
    folder.mkdir()
    rows = [setting("GPU one", "ar"), *[setting("GPU one", "draft-verify", k, l) for k in (1, 2) for l in (1, 3)]]
    rows[1].update({"prompt_set": "=1+1", "weight_type": "a,\"b\"\n", "command": MARKUP})
    page = report.page(rows)
    open_quietly(browser, page, "saving")
    for i, figure in enumerate(browser.marks()):
        if i % 4 == 0:  # after ten files a browser asks before it saves more of a tab
            browser.driver.switch_to.new_window("tab")
            browser.driver.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
            open_quietly(browser, page, "saving")
        picture = ET.fromstring(saved(browser, folder, figure, "svg") or "<none/>")
        words = " ".join("".join(node.itertext()) for node in picture.iter("{http://www.w3.org/2000/svg}text"))
        n = len([node for node in picture.iter() if node.get("fill")])
        check(f"saving: {figure} as SVG", picture.tag.endswith("svg") and n > 5 and browser.one(f"#figure-{figure} h3").text.split("\n")[0].rstrip(" #")[:10] in words, words[:300])
        foreign = [node.tag for node in picture.iter() if node.tag.split("}")[1] not in ("svg", "g", "path", "rect", "text", "line")]
        same(f"saving: {figure} as SVG, no element but of drawing", foreign, [])
        same(f"saving: {figure} as SVG, no control in it", [word for word in ("SVG", "CSV") if word in words.split()], [])
        lines = list(csv.reader(io.StringIO(saved(browser, folder, figure, "csv"))))
        same(f"saving: {figure} as CSV, a line per mark", (len(lines) - 1, {len(line) for line in lines}), (browser.marks()[figure], {len(lines[0])}))
    same("saving: no column twice", len(set(lines[0])), len(lines[0]))
    lines = list(csv.DictReader(io.StringIO((folder / "muninn-bandwidth.csv").read_text())))
    by_setting = {(row["strategy"], row["draft_steps"], row["lookahead"]): row for row in rows}
    same("saving: numbers as the rows have them", [float(line["decode_tok_s"]) for line in lines], [by_setting[line["strategy"], int(line["draft_steps"]), int(line["lookahead"])]["decode_tok_s"] for line in lines])
    odd = next(line for line in lines if "1+1" in line["prompt_set"])
    same("saving: no text is a formula, commas and quotes stay", (odd["prompt_set"], odd["weight_type"].replace("\r", "")), ("'=1+1", 'a,"b"\n'))
    same("saving: nothing on the console", browser.console(), [])


def test_points(browser, report):
    """A panel with one mark is a row of a table; others stay pictures."""
    rows = [setting(f"GPU {i}", "ar") for i in range(3)] + [setting("GPU 9", "draft-verify", k, 1) for k in (1, 2)]
    open_quietly(browser, report.page(rows), "points")
    same("points: three rows, and a plot of the device with two marks", browser.js("return ['#figure-bandwidth tr.point', '#figure-bandwidth svg.plot', '#figure-bandwidth svg .mark'].map((s) => document.querySelectorAll(s).length)"), [3, 1, 2])
    same("points: in CSV with their groups", browser.js("return tableOf(document.getElementById('figure-bandwidth')).split('\\r\\n').map((line) => line.split(',')[0])"), ["panel", "GPU 9", "GPU 9", "GPU 0", "GPU 1", "GPU 2", ""])
    words = browser.one("#figure-bandwidth .points").text
    check("points: the table says what the marks would", all(f"GPU {i}" in words for i in range(3)) and "ar" in words and "70 tok/s" in words, words)


# ---- the page of a comparison ----


def compare(report, a, b, *arguments):
    done = subprocess.run([report.program, "compare", str(a), str(b), *map(str, arguments)], capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def comparison_rows(factor, commit):
    rows = [setting("GPU one", "draft-verify", k, l) for k in (1, 2, 4, 8) for l in (1, 3, 5, 7, 9)]
    for i, row in enumerate(rows):
        speed = 100.0 + i
        row.update({"key": f"{commit} {i}", "commit": commit, "decode_samples": [(speed + 0.01 * n) * factor(i) for n in range(6)], "decode_tok_s": speed * factor(i)})
    rows[3].update({"lossless": False, "forced_acceptance": [0.9]})
    return rows


def test_comparison(browser, report):
    a = report.file("before <b>.jsonl", comparison_rows(lambda i: 1, "aaaa"))
    b = report.file("after.jsonl", comparison_rows(lambda i: 0.5 + i / 20, "bbbb"))
    page = report.folder / "ab.html"
    same("comparison: another format is refused", compare(report, a, b, "-o", "xml")[0], 2)
    same("comparison: a page never replaces an input", compare(report, a, a, "-o", a)[0], 2)
    linked = report.folder / "linked.html"
    os.link(a, linked)
    got = compare(report, a, b, "-o", linked)
    check("comparison: nor under another name", got[0] == 2 and "is the input" in got[2] and linked.read_bytes() == a.read_bytes(), got)
    same("comparison: written, nothing said", compare(report, a, b, "-o", page), (0, "", ""))
    same("comparison: --max-slowdown is checked, and the page is there", (compare(report, a, b, "--max-slowdown", "5", "-o", page)[0], page.exists()), (7, True))
    open_quietly(browser, page, "comparison")
    same("comparison: the title says so", browser.js("return document.title"), "Decoding speed, A against B: tiny on GPU one")
    same("comparison: no element came of a name", len(browser.all("b b")), 0)
    summary = browser.one("#summary").text
    check("comparison: its two files", "before <b>.jsonl" in summary and "after.jsonl" in summary and str(report.folder) not in page.read_text(), summary)
    check("comparison: verdicts are counted", "B faster\n9\n" in summary and "B slower\n10\n" in summary and "no difference seen\n1\n" in summary, summary)
    same("comparison: what differs is named", [row.text for row in browser.all("#changed tbody tr")], ["commit aaaa bbbb 20"])
    first = browser.js("return [...document.querySelectorAll('#figure-pairs .panel')].map((p) => [p.querySelector('h4').textContent, p.querySelectorAll('.mark').length, p.querySelector('.mark').getAttribute('aria-label').split('\\n')[1]])")
    same("comparison: the worst and the best on top", first, [["the 8 worst for B", 8, "B / A: 0.500"], ["the 8 best for B", 8, "B / A: 1.450"]])
    check("comparison: above the cards", browser.js("return !!(document.getElementById('summary').compareDocumentPosition(document.getElementById('figures')) & 4)"))
    quotients = [float(v) for v in browser.column("ratio")]
    check("comparison: every pair in the table, the worst first", len(quotients) == 20 and quotients == sorted(quotients) and all(abs(q - (0.5 + i / 20)) < 1e-3 for i, q in enumerate(quotients)), quotients)
    same("comparison: forced rows say so", browser.column("a_is").count("FORCED"), 1)
    check("comparison: settings are told apart", len(set(browser.column("setting"))) == 20, browser.column("setting"))
    for width, scheme in ((400, "dark"), (1400, "light")):
        browser.look(width, scheme)
        browser.open(page)
        check(f"comparison: {width} pixels: nothing sticks out", browser.js("return document.documentElement.scrollWidth") <= width)
    Select(browser.one("[data-filter=draft_steps], [data-filter=promise]")).select_by_visible_text("forced")
    same("comparison: filters hold for pairs", len(browser.all("#table tbody tr")), 1)


def main():
    tests = [
        test_kinds, test_selftest, test_classes, test_given_by_depth, test_title, test_cards, test_anchor, test_saving,
        test_points,
        test_comparison, test_results,
    ]
    return run_tests(sys.argv[1:3], [test_other_kinds], tests)


if __name__ == "__main__":
    sys.exit(main())
