#!/usr/bin/python3
"""Goal: every kind of page of `muninn report` can be read: at 1400 and at 400 pixels, light and dark.

Method: rows of every kind, made up here, become pages; in a headless Chromium each is opened in all four looks. What a
program can see is checked: the page does not scroll sideways, no words leave their picture, their panel or the window,
words of a picture do not lie on each other, all words have a contrast of 4.5 (WCAG 2, AA) to what is behind them, and
the console is empty. A page with one fault of each kind shows that each check sees its own.
Usage: test_report_looks.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap
test installs it)
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_page import check, open_quietly, run_tests, same, setting, sweep  # noqa: E402
from test_report import trace_rows  # noqa: E402
from test_report_figures import kernel, rounds, run, scores, wave  # noqa: E402
from test_report_files import compare, comparison_rows  # noqa: E402
from test_report_quality import row as quality_row, whole  # noqa: E402

LOOKS = [(width, scheme) for width in (1400, 400) for scheme in ("light", "dark")]

# Each gives a list of what is wrong.
CHECKS = {
    "nothing sticks out": """
        const over = document.documentElement.scrollWidth - innerWidth;
        return over > 0 ? [`the page is ${over} pixels too wide`] : [];""",
    "no words are cut off": """
        const wrong = [];
        for (const text of document.querySelectorAll("svg text")) {
            const at = text.getBoundingClientRect(), frame = text.ownerSVGElement.getBoundingClientRect();
            if (at.width && (at.left < frame.left - 1.5 || at.right > frame.right + 1.5 ||
                             at.top < frame.top - 1.5 || at.bottom > frame.bottom + 1.5))
                wrong.push(`outside of its picture: ${text.textContent}`);
        }
        for (const node of document.querySelectorAll("h1, h2, h3, h4, p, dt, dd, li, summary, button, .panel, .card"))
            if (node.clientWidth && node.scrollWidth > node.clientWidth + 1 && !node.closest(".scroll"))
                wrong.push(`wider than its place: ${node.textContent.slice(0, 60)}`);
        return wrong;""",
    "words do not lie on each other": """
        const wrong = [];
        for (const picture of document.querySelectorAll("svg")) {
            const all = [...picture.querySelectorAll("text:not(.predicted)")].filter((t) => t.textContent.trim());
            const boxes = all.map((t) => [t.textContent, t.getBoundingClientRect()]);
            boxes.forEach(([a, r], i) => boxes.slice(i + 1).forEach(([b, s]) => {
                const wide = Math.min(r.right, s.right) - Math.max(r.left, s.left);
                const high = Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top);
                if (wide > 1 && high > 4) wrong.push(`${picture.closest("figure")?.id}: ${a} / ${b}`);
            }));
        }
        return wrong;""",
    "words have contrast": """
        const parse = (colour) => {
            const v = (colour.match(/-?[0-9.]+(e-?[0-9]+)?/g) ?? []).map(Number);
            const rgb = colour.startsWith("color(") ? v.slice(0, 3).map((c) => 255 * c) : v.slice(0, 3);
            return {rgb, alpha: v.length > 3 ? v[3] : colour === "none" ? 0 : 1};
        };
        const over = (top, alpha, below) => top.map((c, i) => alpha * c + (1 - alpha) * below[i]);
        const style = (node, pseudo) => getComputedStyle(node, pseudo);
        const behind = (node) => {
            const layers = [];
            for (let at = node; at; at = at.parentElement) layers.push(parse(style(at).backgroundColor));
            return layers.reverse().reduce((below, {rgb, alpha}) => over(rgb, alpha, below), [255, 255, 255]);
        };
        const light = (rgb) => {
            const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const wrong = [];
        const judge = (node, colour, ground, words) => {
            let {rgb, alpha} = parse(colour);
            for (let at = node; at; at = at.parentElement) alpha *= Number(style(at).opacity);
            const [a, b] = [light(over(rgb, alpha, ground)), light(ground)].sort((x, y) => y - x);
            const ratio = (a + 0.05) / (b + 0.05);
            if (!(ratio >= 4.5)) wrong.push(`${ratio.toFixed(2)}: ${words.slice(0, 40)}, ${colour} on ${ground.map(Math.round)}`);
        };
        for (const text of document.querySelectorAll("svg text")) {
            const own = style(text), edge = own.paintOrder.startsWith("stroke") && own.stroke !== "none";
            const cell = text.parentNode.querySelector("rect");
            const ground = edge ? parse(own.stroke).rgb : text.closest(".cell") ? parse(style(cell).fill).rgb : behind(text.ownerSVGElement.parentElement);
            judge(text, own.fill, ground, text.textContent);
        }
        for (const node of document.querySelectorAll("body *:not(script, style, noscript, option, svg *)")) {
            const words = [...node.childNodes].filter((c) => c.nodeType === 3).map((c) => c.data).join("").trim();
            if (words && node.getClientRects().length) judge(node, style(node).color, behind(node), words);
            if (node.placeholder) judge(node, style(node, "::placeholder").color, behind(node), node.placeholder);
            if (node.localName === "select") judge(node, style(node).color, behind(node), "a chooser");
        }
        return wrong;""",
}

BAD = """<!doctype html><html><body style="margin: 0; background: white; color: black"><p style="width: 5000px">wide</p>
<p style="color: #999; opacity: 0.9">pale</p><p style="width: 40px; overflow: hidden; white-space: nowrap">cut off here, surely</p>
<svg width="100" height="40" style="overflow: visible"><text x="90" y="20">leaves it</text><text x="5" y="20">one</text>
<text x="9" y="22">two</text><g class="cell"><rect width="20" height="20" fill="#888"/><text y="12" fill="#fff">on grey</text></g></svg>
</body></html>"""


def test_controls(browser, report):
    """Each check sees the fault that is there for it, and not those of the others."""
    page = report.folder / "bad.html"
    page.write_text(BAD)
    browser.look()
    browser.open(page)
    got = {name: browser.js(code) for name, code in CHECKS.items()}
    parts = {"nothing sticks out": ["pixels too wide"], "no words are cut off": ["leaves it", "cut off here"],
             "words do not lie on each other": ["one / two"], "words have contrast": ["on grey", "pale"]}
    for name, wanted in parts.items():
        check(f"control: {name}", all(any(part in line for line in got[name]) for part in wanted), got[name])
    same("control: dark on light is no fault", [line for line in got["words have contrast"] if "leaves" in line or "wide" in line], [])


def forced(strategy, k, l=0, w=0, **more):
    return setting("GPU one", strategy, k, l, w, lossless=False, lossy_because="forced acceptance", equals_ar=False, **more)


def bench():
    """Lossless, lossy and forced rows; names as long as they come; agreement that crowds the top line."""
    rows = sweep() + [setting("GPU one", "auto", w=8, chosen="wavefront")]
    rows += [forced("draft-verify", k, l, forced_acceptance=[0.9, 0.8]) for k in (1, 2, 4) for l in (1, 3, 7)]
    rows += [forced("wavefront", k, w=w, forced_acceptance=[], forced_by_depth="huginn", forced_shares="4:0.94") for k in (2, 4) for w in (4, 8)]
    rows += [setting("A device whose name is as long as a driver ever gave one (LLVM 15.0.6, 256 bits)", "ar",
                     model="family=retrofit-llama,d=64,heads=8,kv=1,head=8,ff=176,vocab=1000,layers=4-8-4")]
    for i, row in enumerate(rows):
        row["key"] = str(i)
    return rows


def kernels():
    rows = [kernel(what, n, name, us=10 + n) for what, name in (("qkv", "core"), ("gate", "core"), ("down", "core"), ("head", "head"))
            for n in range(1, 17)]
    return rows + [row for row in sweep() if row["bench"] in ("pass", "floor")]


def traces():
    texts = (" a", " longer", "<|end_text|>", "\n", "x")
    rows = trace_rows("one", 14, 32, ("fixed-point", "orbit", "slider", "unsettled"), texts) + trace_rows("two", 3, 8)
    for row in rows:
        if row["bench"] == "trace":  # another best token every few steps
            row["top1_text"] = [texts[step // 3 % len(texts)] for step in range(row["num_steps"])]
    return rows


def pipelines():
    """As `muninn pipelines` writes them, made up."""
    common = {"bench": "pipeline", "device": "GPU one", "driver": "d", "model": "tiny", "model_hash": "", "weight_type": "bf16"}
    return [{"key": str(i), **common, "kernel": f"matvec_{i}", "what": "qkv, gate", "passes": "prelude, core, coda",
             "rows": i, "row_counts": "1 2 4 8 prompt", "matrix_type": "bf16", "constants": [64, 1, 2, i], "threads": 64,
             "registers": 40 + i, "spills": 0, "code_bytes": 4096, "waves": 8,
             "statistics": [{"name": "a", "value": i}]} for i in range(12)]


def selftests():
    """As `muninn selftest --results` writes them, made up."""
    common = {"bench": "selftest", "device": "GPU one", "driver": "d", "model": "", "model_hash": "", "weight_type": "",
              "quick": False, "detail": ""}
    detail = "of states; 8 x 1 lanes sharing, q8_0, 5 rows: output: NMSE"
    kernels = [{"key": f"k{i}", **common, "check": "kernel", "what": f"kernel_{i}", "matrix_units": "", "cases": 20,
                "failed": i // 3, "nmse": 1e-14, "limit": 1e-11, "detail": detail if i // 3 else ""} for i in range(4)]
    model = {"model": "tiny", "model_hash": "1", "weight_type": "bf16", "matrix_units": "all", "num_steps": 32}
    trials = [{"key": f"t{i}", **common, **model, "check": f"D{i}", "what": "draft-verify K 4 L 4, sampled", "cases": 1,
               "failed": 0, "compared": 4096, "differ": 0, "drafted": 9, "accepted": 8} for i in range(3)]
    return kernels + trials


def kinds():
    quality = whole() + [quality_row(f"bf16+{group}=q4_1", 2, 1e-7, 1e-3) for group in ("adapter", "core.mlp.fc", "coda")]
    answered = [run("ar", 50, r=4), run("wavefront", 90, k=1, w=4, r=4), run("ar", 40, r=16)]
    return {"bench": bench(), "kernels": kernels(), "scores": scores() + answered, "traces": traces(), "decodings": wave() + rounds(),
            "quantisation": quality, "pipelines": pipelines(), "selftests": selftests(),
            "one row": [setting("GPU one", "ar")], "everything": bench() + kernels() + scores() + traces() + wave() + quality}


def look(browser, name, page):
    for width, scheme in LOOKS:
        browser.look(width, scheme)
        at = f"{name}, {width} pixels, {scheme}"
        open_quietly(browser, page, at)
        browser.js("for (const each of document.querySelectorAll('details')) each.open = true")
        browser.js("document.querySelector('.mark')?.focus({preventScroll: true})")  # its tooltip as well
        for what, code in CHECKS.items():
            wrong = browser.js(code)
            check(f"{at}: {what}", not wrong, len(wrong), wrong[:8])


def test_kinds(browser, report):
    for name, rows in kinds().items():
        look(browser, name, report.page(rows))


def test_comparison(browser, report):
    page = report.folder / "ab.html"
    a = report.file("a.jsonl", comparison_rows(lambda i: 1, "aaaa"))
    b = report.file("b.jsonl", comparison_rows(lambda i: 0.5 + i / 20, "b" * 40))
    same("comparison: written", compare(report, a, b, "-o", page)[0], 0)
    look(browser, "comparison", page)


def test_crowd(browser, report):
    """Settings of one agreement and nearly one speed: each mark can be seen, and none leaves the picture."""
    rows = [run("draft-verify", 100 + i / 10, k=1 + i, l=1) for i in range(6)] + [run("ar", 50), run("ar", 200, 0.5, kv_policy="share:1", lossy_because="kv_policy share:1")]
    rows += [run("draft-verify", 150 + i, k=1 + i, l=3, forced_acceptance=[0.9], lossy_because="forced acceptance") for i in range(3)]
    for width in (1400, 400):
        browser.look(width)
        open_quietly(browser, report.page(rows), f"crowd at {width}")
        marks = browser.js("""
            const top = document.querySelector("#figure-pareto svg.plot").getBoundingClientRect().top;
            return [...document.querySelectorAll("#figure-pareto .mark")].map((m) => {
                const at = m.getBoundingClientRect();
                return [at.left + at.width / 2, at.top + at.height / 2, at.top - top];
            });""")
        same(f"crowd at {width}: a mark per setting", len(marks), len(rows))
        near = [(i, j) for i, a in enumerate(marks) for j, b in enumerate(marks[:i]) if abs(a[0] - b[0]) < 8 and abs(a[1] - b[1]) < 8]
        same(f"crowd at {width}: none covers another", near, [])
        check(f"crowd at {width}: all are below the axis' label", min(mark[2] for mark in marks) > 15, marks)
        lone = browser.js("return Number(document.querySelector('#figure-pareto .marks .reference').getAttribute('d').match(/[0-9.]+/g)[1])")
        lifted = browser.js("return [...document.querySelectorAll('#figure-pareto .mark')].map((m) => Number(m.getAttribute('transform').match(/-?[0-9.]+/g)[1]))")
        same(f"crowd at {width}: who stands alone keeps its place", lifted[6], lone)
        same(f"crowd at {width}: the fastest of a crowd as well", lifted[5], lone)
        same(f"crowd at {width}: a thin line per mark that was lifted", len(browser.all("#figure-pareto .marks .hair")),
             sum(y < lone - 1 for y in lifted[:6]) + len(set(lifted[8:])) - 1)


def test_columns(browser, report):
    """Tables of kinds with long rows begin with what they are about, and have no column without a value."""
    browser.look()
    heads = "return [...document.querySelectorAll('#table th button')].map((b) => b.dataset.column)"
    open_quietly(browser, report.page(pipelines()), "columns of pipelines")
    got = browser.js(heads)
    same("columns: of pipelines", (got[:4], "registers" in got, "instructions" in got),
         (["kernel", "what", "passes", "rows"], True, False))
    open_quietly(browser, report.page(whole()), "columns of quantisation")
    same("columns: of quantisation", browser.js(heads)[:4], ["weight_type", "kv_type", "num_steps", "kl_mean"])


def test_names(browser, report):
    """Panels say how acceptance was forced in words, once."""
    browser.look()
    open_quietly(browser, report.page([row for row in bench() if row["device"] == "GPU one" and row.get("kv_policy") == "full"]), "names")
    titles = browser.js("return [...document.querySelectorAll('#figure-speedup h4 > span')].map((h) => h.lastChild.textContent)")
    same("names: of panels", titles, ["not forced", "forced acceptance 0.9, 0.8"])
    waves = browser.js("return [...document.querySelectorAll('#figure-waves h4 > span')].map((h) => h.lastChild.textContent)")
    same("names: of panels of waves", waves, ["not forced", "forced acceptance huginn (4:0.94)"])
    said = browser.js("return document.body.innerText")
    check("names: no field without a value is said", "acceptance none" not in said and "acceptance [" not in said)


def main():
    tests = [test_controls, test_kinds, test_comparison, test_crowd, test_columns, test_names]
    return run_tests(sys.argv[1:3], [], tests)


if __name__ == "__main__":
    sys.exit(main())
