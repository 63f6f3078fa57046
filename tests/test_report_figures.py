#!/usr/bin/python3
"""Goal: the figures of the report that are not of settings alone (accuracy, speed against accuracy, roofline, waves, rounds, text) draw the numbers
that their rows hold, and the rows that the program writes fill all of them.

Method: rows with known values, made up here, become a page; in a headless Chromium the drawn marks are counted and their places and words are
compared with what the values say, computed here a second time. Then the commands run on raven-tiny and every figure must have marks.
Usage: test_report_figures.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap test installs it)
"""

import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_report import Browser, By, Keys, Report, Select, check, failed, open_quietly, same  # noqa: E402

COMMON = {"time": "2026-01-01T00:00:00Z", "version": "0.0", "commit": "0123456789ab", "device": "GPU one", "driver": "d", "banner": "GPU one | made up",
          "model": "tiny", "model_hash": "00ff", "weight_type": "bf16", "kv_type": "f16", "ceiling_gb_s": 10.0}


def tips(browser, figure):
    """What the marks of a figure say, line by line."""
    labels = browser.js("return [...document.querySelectorAll(`#figure-${arguments[0]} .mark`)].map((m) => m.getAttribute('aria-label'))", figure)
    return [label.split("\n") for label in labels]


def places(browser, figure, css=".mark"):
    """Where the marks of a figure are drawn: their transforms, in pixels of their plot."""
    return browser.js("return [...document.querySelectorAll(`#figure-${arguments[0]} ${arguments[1]}`)]"
                      ".map((m) => m.getAttribute('transform').match(/-?[0-9.]+/g).map(Number))", figure, css)


def words(browser, figure):
    return browser.one(f"#figure-{figure}").text


def pick(browser, name, label):
    Select(browser.one(f"[data-choice={name}]")).select_by_visible_text(label)


def near(a, b, tolerance):
    return len(a) == len(b) and all(abs(x - y) <= tolerance for x, y in zip(a, b))


# ---- roofline ----


def kernel(what, rows, pass_name="core", us=10.0, read=1000, more=None):
    flops = 2 * rows * read / 2  # bf16: a weight of two bytes, a multiply-add for each row
    return {"key": f"kernel {pass_name} {what} {rows}", "bench": "kernel", **COMMON, "pass": pass_name, "kernel": "proj", "what": what, "shape": "10x50", "rows": rows,
            "position": 128, "dispatches": 2, "us": us, "us_min": us, "bytes": read, "flops": flops, "gb_s": read / us / 1e3, "gflop_s": flops / us / 1e3, **(more or {})}


def test_roofline(browser, report):
    rows = [kernel(what, n) for what in ("qkv", "gate") for n in (1, 2, 4, 8)] + [kernel("head", 1, "head"), kernel("embed", 1, read=0)]
    open_quietly(browser, report.page(rows), "roofline")
    same("roofline: a mark per kernel of the core pass and number of rows", len(tips(browser, "roofline")), 8)
    check("roofline: what reads nothing is counted", "1 row left out" in words(browser, "roofline"), words(browser, "roofline"))
    check("roofline: it says that no arithmetic peak is known", "peak of the device was not measured" in words(browser, "roofline"))
    tip = tips(browser, "roofline")[1]
    for line in ("arithmetic: 0.2 GFLOP/s", "intensity: 2 FLOP per byte", "of the bandwidth roof: 1 %"):
        check(f"roofline: {line}", line in tip, tip)
    at = places(browser, "roofline")[:4]
    steps = [[b[0] - a[0], b[1] - a[1]] for a, b in zip(at, at[1:])]
    check("roofline: twice the rows are a step of one size to the right and up", all(near(step, steps[0], 0.3) and step[0] > 10 and step[1] < -10 for step in steps), at)
    roof = browser.js("return document.querySelector('#figure-roofline .marks .ceiling').getAttribute('d').match(/-?[0-9.]+/g).map(Number)")
    slope, wanted = (roof[3] - roof[1]) / (roof[2] - roof[0]), steps[0][1] / steps[0][0]
    check("roofline: the roof rises as the intensity does", abs(slope - wanted) < 0.02, slope, wanted)
    # The first mark reaches 1 % of the roof: two decades below it, as measured along the axis.
    above = roof[1] + (at[0][0] - roof[0]) * slope
    check("roofline: a mark at 1 % of the roof is two decades below it", abs((at[0][1] - above) - 2 * -steps[0][1] / math.log10(2)) < 1, at[0][1] - above, steps[0])
    pick(browser, "roofline-pass", "all")
    same("roofline: all passes", len(tips(browser, "roofline")), 9)
    pick(browser, "roofline-rows", "8 rows")
    same("roofline: at eight rows", len(tips(browser, "roofline")), 2)
    without = [{key: value for key, value in row.items() if key != "ceiling_gb_s"} for row in rows]
    open_quietly(browser, report.page(without), "roofline without a ceiling")
    check("roofline: without a measured ceiling no roof, and it says so", not browser.all("#figure-roofline .marks .ceiling") and "no roof is drawn" in words(browser, "roofline"))


# ---- accuracy ----


def score(line, depth, hit, metric="acc", task="add", **more):
    run = {key: COMMON[key] for key in ("version", "commit", "device", "driver", "model", "model_hash", "weight_type")}
    return {"key": f"score-{task}-{line}-{depth}-{more}", "line": line, "num_steps": depth, "task": task, "run": {**run, "kv_policy": "full", "kv_type": "f32"}, metric: hit, **more}


def wilson(hits, n, z=1.959963984540054):
    """The textbook's form: the two p that solve |share - p| = z sqrt(p (1 - p) / n)."""
    share = hits / n
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = math.sqrt(b * b - 4 * a * c)
    return max(0, (-b - root) / (2 * a)), min(1, (-b + root) / (2 * a))


def percent(value):
    """As the page rounds: three digits."""
    return f"{float(f'{100 * value:.3g}'):g} %"


HITS = {"add": {1: 2, 4: 5, 16: 10}, "hops": {1: 0, 4: 3, 16: 7}}  # of ten lines


def scores():
    return [score(line, depth, int(line <= hits), task=task) for task, depths in HITS.items() for depth, hits in depths.items() for line in range(1, 11)]


def test_accuracy(browser, report):
    open_quietly(browser, report.page(scores()), "accuracy")
    same("accuracy: a panel per task and one for all", browser.js("return [...document.querySelectorAll('#figure-accuracy h4')].map((h) => h.textContent)"), ["add", "hops", "all lines"])
    wanted = [[hits, 10] for depths in HITS.values() for hits in depths.values()] + [[HITS["add"][d] + HITS["hops"][d], 20] for d in (1, 4, 16)]
    got = tips(browser, "accuracy")
    same("accuracy: shares", [[line for line in tip if line.startswith("acc: ")] for tip in got], [[f"acc: {percent(h / n)}, {h} of {n}"] for h, n in wanted])
    intervals = [f"95 % interval: {percent(wilson(h, n)[0])} to {percent(wilson(h, n)[1])}" for h, n in wanted]
    same("accuracy: Wilson intervals", [tip[-1] for tip in got], intervals)
    check("accuracy: the caption names the method", "95 % Wilson score intervals" in words(browser, "accuracy"))
    at = places(browser, "accuracy")[:3]
    check("accuracy: depths 1, 4, 16 are equally far apart", abs((at[2][0] - at[1][0]) - (at[1][0] - at[0][0])) < 0.3 and at[1][0] - at[0][0] > 20, at)
    check("accuracy: heights follow the shares", abs((at[0][1] - at[1][1]) / 3 - (at[1][1] - at[2][1]) / 5) < 0.2 and at[0][1] > at[1][1] > at[2][1], at)
    band = browser.js("return document.querySelector('#figure-accuracy .band').getAttribute('d').match(/-?[0-9.]+/g).map(Number)")
    unit = (at[0][1] - at[2][1]) / 0.8
    heights = [(at[i][1] + (HITS["add"][d] / 10 - wilson(HITS["add"][d], 10)[1]) * unit) for i, d in enumerate((1, 4, 16))]
    check("accuracy: the band's upper edge is the interval's", near(band[1:6:2], heights, 0.3), band, heights)
    pick(browser, "accuracy-group", "none")
    same("accuracy: without groups one panel", len(tips(browser, "accuracy")), 3)

    other = [{**row, "key": row["key"] + "q", "run": {**row["run"], "weight_type": "q8"}} for row in scores()]
    odd = [dict(score(1, 4, 1), key="odd", acc="yes"), dict(score(1, "four", 1), key="odd2"), dict(score(1, 4, 1), key="odd3", run="x", task={"a": 1}),
           score(1, 4, True, "is_greedy", lossy_because="kv_policy share:k")]
    open_quietly(browser, report.page(scores() + other + odd), "accuracy of two models")
    same("accuracy: two weight types in every panel, the odd row in its own and among all", len(tips(browser, "accuracy")), 2 * 9 + 2)
    pick(browser, "accuracy-metric", "is_greedy")
    check("accuracy: another metric, its lossy rows say so", [tip for tip in tips(browser, "accuracy") if "LOSSY: kv_policy share:k" in tip] != [], tips(browser, "accuracy"))


# ---- settings: speed against worth, and waves ----


def run(strategy, speed, agreement=1, k=0, l=0, w=0, r=16, **more):
    lossy = more.get("lossy_because", "")
    return {"key": f"run {strategy} {speed} {k} {l} {w} {r} {more}", "bench": "run", **COMMON, "kv_policy": "full", "strategy": strategy, "num_steps": r, "draft_steps": k,
            "lookahead": l, "max_inflight": w, "batch": 1, "prompt_tokens": 0, "new_tokens": 64, "prompts": 4, "prompt_set": "built-in", "stop_at_eos": False, "temperature": 0,
            "seed": 0, "forced_acceptance": [], "decode_tok_s": speed, "lossless": not lossy, "lossy_because": lossy, "equals_ar": agreement == 1, "agreement": agreement, **more}


def test_pareto(browser, report):
    rows = [run("ar", 50), run("draft-verify", 80, k=4, l=3), run("wavefront", 70, k=1, w=8),
            run("ar", 90, 0.75, kv_policy="share:1", lossy_because="kv_policy share:1"), run("ar", 60, 0.5, kv_policy="share:2", lossy_because="kv_policy share:2"),
            run("draft-verify", 200, 0.125, k=4, l=3, forced_acceptance=[0.9, 0.7], lossy_because="forced acceptance")]
    open_quietly(browser, report.page(rows), "pareto")
    same("pareto: a mark per setting", len(tips(browser, "pareto")), len(rows))
    same("pareto: hollow marks are the lossy ones", len(browser.all("#figure-pareto .marks .dot.lossy")), 3)
    at = places(browser, "pareto")
    same("pareto: the lossless ones stand on one line, which is the dashed one", {y for _, y in at[:3]},
         {browser.js("return Number(document.querySelector('#figure-pareto .marks .reference').getAttribute('d').match(/[0-9.]+/g)[1])")})
    check("pareto: it is the top one", all(y > at[0][1] for _, y in at[3:]), at)
    unit = (at[3][1] - at[0][1]) / 0.25
    check("pareto: heights follow the agreement", abs((at[4][1] - at[0][1]) / 0.5 - unit) < 0.5, at)
    check("pareto: across, the speed", abs((at[1][0] - at[0][0]) / 30 - (at[3][0] - at[0][0]) / 40) < 0.02 and at[1][0] > at[0][0], at)
    check("pareto: a forced row lies under all others, whatever it agreed in", at[5][1] > max(y for _, y in at[:5]), at)
    check("pareto: and says what it is", any("only the speed does" in line for line in tips(browser, "pareto")[5]) and "forced acceptance" in words(browser, "pareto"))
    front = browser.js("return document.querySelector('#figure-pareto .marks .line.ink').getAttribute('d').match(/[0-9.]+/g).map(Number)")
    check("pareto: the front goes from the fastest lossless to the faster lossy one", near(front, [*at[1], at[1][0], at[3][1], *at[3]], 0.15), front, at)

    answered = [run("ar", 50, r=4), run("wavefront", 90, k=1, w=4, r=4)] + rows[:2] + [run("ar", 40, r=32)]
    open_quietly(browser, report.page(answered + scores()), "pareto of accuracy")
    got = tips(browser, "pareto")
    same("pareto: accuracy of weights and depth", [[line for line in tip if line.startswith("accuracy (acc)")] for tip in got],
         [[f"accuracy (acc): {percent(n / 20)}"] for n in (8, 8, 17, 17)])
    same("pareto: its interval", [line for line in got[2] if "95 %" in line], [f"95 % interval: {percent(wilson(17, 20)[0])} to {percent(wilson(17, 20)[1])}"])
    check("pareto: a depth that was not scored is counted", "1 row left out" in words(browser, "pareto"), words(browser, "pareto"))
    pick(browser, "pareto-task", "hops")
    same("pareto: of one task", [[line for line in tip if line.startswith("accuracy (acc)")] for tip in tips(browser, "pareto")],
         [[f"accuracy (acc): {percent(n / 10)}"] for n in (3, 3, 7, 7)])
    pick(browser, "pareto-axis", "agreement with ar")
    same("pareto: back to agreement", len(tips(browser, "pareto")), len(answered))


def test_waves(browser, report):
    rows = [run("wavefront", 10 * k + w, k=k, w=w) for k in (1, 2, 4) for w in (2, 4, 8)] + [run("ar", 50)]
    older = dict(rows[0], key="older", time="2025-01-01T00:00:00Z", decode_tok_s=1000)
    open_quietly(browser, report.page([older] + rows), "waves")
    same("waves: a cell per K and W", [tip[0] for tip in tips(browser, "waves")], [f"wavefront K {k} W {w}" for k in (1, 2, 4) for w in (2, 4, 8)])
    same("waves: the speeds are in the cells", browser.js("return [...document.querySelectorAll('#figure-waves .cell text')].map((t) => Number(t.textContent))"),
         [row["decode_tok_s"] for row in rows[:-1]])
    check("waves: of two rows the newest", any("newest of 2 rows" in line for line in tips(browser, "waves")[0]))
    del rows[0]["max_inflight"]
    open_quietly(browser, report.page(rows), "waves without a W")
    check("waves: a row without W is counted", len(tips(browser, "waves")) == 8 and "1 row left out" in words(browser, "waves"))


def main():
    program = sys.argv[1]
    folder = Path(tempfile.mkdtemp(prefix="muninn-figures-"))
    browser = None
    try:
        report = Report(program, folder)
        browser = Browser(folder)
        browser.look()
        test_roofline(browser, report)
        test_accuracy(browser, report)
        test_pareto(browser, report)
        test_waves(browser, report)
    finally:
        if browser:
            browser.driver.quit()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
