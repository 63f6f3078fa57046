#!/usr/bin/python3
"""Goal: the figures of the report that are not of settings alone (accuracy, speed against accuracy, roofline, waves, rounds, text) draw the numbers
that their rows hold, and the rows that the program writes fill all of them.

Method: rows with known values, made up here, become a page; in a headless Chromium the drawn marks are counted and their places and words are
compared with what the values say, computed here a second time. Then the commands run on raven-tiny and every figure must have marks.
Usage: test_report_figures.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap test installs it)
"""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_page import Keys, Select, check, open_quietly, run_tests, same, setting  # noqa: E402

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


def test_kernels(browser, report):
    """The chooser opens on the number of rows at which a row takes the least time; both passes count."""
    times = {1: 10.0, 2: 12.0, 4: 16.0, 8: 40.0}  # 10, 6, 4, 5 per row and kernel
    rows = [kernel(what, n, name, us=us) for what, name in (("qkv", "core"), ("head", "head")) for n, us in times.items()]
    one_only = kernel("gate", 2, us=1000.0)  # which no other number of rows has
    open_quietly(browser, report.page(rows + [one_only]), "kernels")
    chooser = Select(browser.one("[data-choice=kernels]"))
    same("kernels: opens where a row takes the least time", chooser.first_selected_option.text, "4 rows")
    check("kernels: and says so", "With 4 rows in the pass, where a row takes the least time:" in words(browser, "kernels"))
    same("kernels: its bars", [tip[2] for tip in tips(browser, "kernels")], ["one dispatch: 16 \u00b5s"] * 2)
    pick(browser, "kernels", "8 rows")
    check("kernels: another one does not", "With 8 rows in the pass:" in words(browser, "kernels"))
    apart = [kernel("qkv", 4, us=16.0), kernel("gate", 2, us=1.0)]
    open_quietly(browser, report.page(apart), "kernels that nothing is common to")
    same("kernels: of different kernels the fewest rows", Select(browser.one("[data-choice=kernels]")).first_selected_option.text, "2 rows")


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


def test_summaries(browser, report):
    """Without the lines, what a summary says of them."""
    def summary(group, depth, value, n):
        return {"summary": {"metric": "acc", "num_steps": depth, "value": value, "stderr": 0.1, "n": n, **({"group": group} if group else {})}}
    rows = [summary("add", 1, 0.2, 10), summary("add", 4, 0.5, 10), summary("hops", 4, 0.3, 30), summary(None, 4, 0.35, 40), {"summary": {"metric": "acc", "num_steps": 4, "value": 7, "n": 9}}]
    open_quietly(browser, report.page(rows), "summaries")
    same("summaries: groups once, and all lines of them; a group of one depth in a table", [[line for line in tip if line.startswith("acc: ")] for tip in tips(browser, "accuracy")],
         [["acc: 20 %, 2 of 10"], ["acc: 50 %, 5 of 10"], ["acc: 20 %, 2 of 10"], ["acc: 35 %, 14 of 40"], ["acc: 30 %, 9 of 30"]])
    many = [summary(f"size {n}", 4, 0.5, 10) for n in range(1, 25)]
    open_quietly(browser, report.page(many), "many groups")
    titles = "return [...document.querySelectorAll('#figure-accuracy h4, #figure-accuracy .points th[scope=row]')].map((h) => h.textContent)"
    same("many groups: as many as have room, by number", browser.js(titles), [f"size {n}" for n in range(1, 12)] + ["all lines"])
    pick(browser, "accuracy-part", "size 23 to size 24")
    same("many groups: the others can be chosen", browser.js(titles), ["size 23", "size 24", "all lines"])
    open_quietly(browser, report.page(rows + [score(1, 4, 1)]), "summaries beside lines")
    same("summaries: lines are counted once", [tip[-2] for tip in tips(browser, "accuracy")], ["acc: 100 %, 1 of 1"])


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


# ---- decodings: the player, the timeline, the text ----

NAMES = {1: "a", 2: " b", 3: " c", 4: " d", 5: "wrong", 6: "e", 7: "f", 8: "g\n", 9: "h"}


def prompt_line(strategy, r, **more):
    return {"event": "prompt", "strategy": strategy, "lossless": True, "num_steps": r, "draft_steps": 1, "lookahead": 0, "max_inflight": 8, "kv_policy": "full",
            "prompt_ids": [1, 2], "tokens": [3], "prompt_texts": [NAMES[1], NAMES[2]], "texts": [NAMES[3]], "device": "GPU one", "model": "tiny", "model_hash": "00ff",
            "weight_type": "bf16", "kv_type": "f16", **more}


def event(name, index, ms, rows, tokens=(), draft=0.0):
    """rows: (position, token, depth before, depth after, predicted, kept)"""
    rows = [{"position": p, "token": t, "depth_before": a, "depth_after": b, "predicted": n, "kept": kept, "text": NAMES[t], "predicted_text": NAMES[n]}
            for p, t, a, b, n, kept in rows]
    return {"event": name, "index": index, "start_pass": 0, "end_pass": 1, "committed": len(tokens), "start_ms": ms[0], "end_ms": ms[1], "draft_ms": draft,
            "tokens": list(tokens), "texts": [NAMES[t] for t in tokens], "rows": rows}


def wave():
    """Four steps a token: a wrong guess in tick 1, a commit in tick 3, another wrong guess in tick 4."""
    return [prompt_line("wavefront", 4),
            event("tick", 0, (0, 2), [(2, 3, 0, 1, 5, True)]),
            event("tick", 1, (2, 4), [(2, 3, 1, 2, 4, True), (3, 5, 0, 1, 6, False)]),
            event("tick", 2, (4, 6), [(2, 3, 2, 3, 4, True), (3, 4, 0, 1, 7, True)]),
            event("tick", 3, (6, 8), [(2, 3, 3, 4, 4, True), (3, 4, 1, 2, 7, True), (4, 7, 0, 1, 8, True)], [4]),
            event("tick", 4, (8, 10), [(3, 4, 2, 3, 7, True), (4, 7, 1, 2, 9, True), (5, 8, 0, 1, 1, False)])]


def rounds():
    """K 2 of 8: the first round's first draft is right and its second is not; the second round drafts nothing. 2 ms between them."""
    return [prompt_line("draft-verify", 8, draft_steps=2, lookahead=2),
            event("round", 0, (0, 10), [(2, 3, 2, 8, 4, True), (3, 4, 2, 8, 7, True), (4, 9, 2, 8, 1, False)], [4, 7], 4.0),
            event("round", 1, (12, 16), [(4, 7, 2, 8, 8, True)], [8], 1.0)]


def columns(browser):
    return browser.js("return [...document.querySelectorAll('#figure-wave .player .column')].map((c) => [c.classList[1], ...[...c.querySelectorAll('rect')].map((r) => Number(r.getAttribute('height')))])")


def frame_words(browser):
    return browser.one("#figure-wave .frame-words").text


def until(browser, code, wanted, name):
    """What takes a while: waits for it, for as long as a slow machine needs."""
    browser.until(lambda: browser.js(code) == wanted)
    same(name, browser.js(code), wanted)


PLAY = "return document.querySelector('[data-wave=play]').textContent"


def test_wave(browser, report):
    page = report.page(wave())
    for motion in ("no-preference", "reduce"):
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": [{"name": "prefers-reduced-motion", "value": motion}]})
        open_quietly(browser, page, f"wave, motion {motion}")
        same(f"wave, motion {motion}: it opens on the frame that says most, and waits", (frame_words(browser), browser.js(PLAY)),
             ("tick 4: 2 rows went deeper, 1 row dropped, nothing committed, 2 ms.", "Play"))
    browser.look()
    got = columns(browser)
    same("wave: two positions before it, two rows that went on, one that was dropped", [column[0] for column in got], ["done", "done", "deepened", "deepened", "dropped"])
    unit = got[2][2]
    check("wave: bars are depths, what was and what was added", near(got[2][1:] + got[3][1:] + got[4][1:] + got[0][1:], [2 * unit, unit, unit, unit, unit, 4 * unit], 0.3) and unit > 20, got)
    same("wave: what a row says", [tip[:3] for tip in tips(browser, "wave")[2:]],
         [["position 3: \u2423d, went deeper", "depth: 2 to 3", "next token, as predicted now: f"], ["position 4: f, went deeper", "depth: 1 to 2", "next token, as predicted now: h"],
          ["position 5: g\u23ce, dropped", "depth: 0 to 1", "next token, as predicted now: a"]])
    same("wave: the prediction that dropped it stands out", [e.text for e in browser.all("#figure-wave svg .wrong")], ["h"])
    same("wave: the text so far", browser.js("return [...document.querySelector('.said-so-far').children].map((e) => e.textContent)"), ["a\u2423b\u2423c\u2423d", "", "f"])
    browser.one("[data-wave=back]").click()
    same("wave: back", (frame_words(browser), [column[0] for column in columns(browser)]),
         ("tick 3: 1 row entered, 1 row went deeper, committed \u2423d, 2 ms.", ["done", "done", "committed", "deepened", "entered"]))
    browser.one("#figure-wave input[type=range]").send_keys(Keys.HOME)
    same("wave: the slider, by keyboard", frame_words(browser), "tick 0: 1 row entered, nothing committed, 2 ms.")
    same("wave: which says the frame", browser.one("#figure-wave input[type=range]").get_attribute("aria-valuetext"), frame_words(browser))
    browser.one("[data-wave=back]").click()
    same("wave: nothing before the first", frame_words(browser)[:6], "tick 0")
    for _ in range(2):
        browser.one("[data-wave=step]").click()
    same("wave: steps", frame_words(browser), "tick 2: 1 row entered, 1 row went deeper, nothing committed, 2 ms.")
    Select(browser.one("#figure-wave .transport select")).select_by_visible_text("16 per second")
    browser.one("[data-wave=play]").click()
    until(browser, "return document.querySelector('.frame-words').textContent.slice(0, 6)", "tick 4", "wave: it plays to the end")
    until(browser, PLAY, "Play", "wave: and stops there")
    twice = "const play = document.querySelector('[data-wave=play]'); play.click(); const during = play.textContent; play.click(); return [during, play.textContent]"
    same("wave: a second click pauses", browser.js(twice), ["Pause", "Play"])
    paused = frame_words(browser)
    browser.js("return new Promise((done) => setTimeout(done, 400))")
    same("wave: a pause holds", frame_words(browser), paused)
    browser.one("#figure-wave .column.mark").send_keys(Keys.ARROW_RIGHT)
    check("wave: arrow keys go from column to column", browser.js("return document.activeElement.classList.contains('column') && document.activeElement !== document.querySelector('#figure-wave .column.mark')"))
    browser.look(1400, "light", "print")
    check("wave: paper has the frame and no buttons", browser.one("#figure-wave .player").is_displayed() and not browser.one("#figure-wave .transport").is_displayed())
    browser.look(400)
    open_quietly(browser, page, "wave on a telephone")  # drawn for this width from the beginning
    check("wave: a telephone shows all columns and nothing sticks out", len(columns(browser)) >= 3 and browser.js("return document.documentElement.scrollWidth") <= 400)
    browser.look()
    odd = [dict(wave()[1], rows="x"), dict(wave()[1], rows=[{"position": "y"}]), dict(wave()[1], rows=[{"position": 2, "depth_before": 0, "depth_after": 1}], tokens=None, start_ms="z")]
    open_quietly(browser, report.page([prompt_line("wavefront", 4, prompt_ids="x", texts=None, tokens=7)] + odd), "odd wave")
    same("odd wave: the event that can be drawn is", [tip[0] for tip in tips(browser, "wave")], ["position 2: #undefined, entered"])


def test_rounds(browser, report):
    open_quietly(browser, report.page(rounds()), "rounds")
    got = browser.js("return [...document.querySelectorAll('#figure-rounds .event')].map((e) => [...e.querySelectorAll('rect')].map((r) => ['x', 'width', 'height'].map((n) => Number(r.getAttribute(n)))))")
    unit = got[0][0][1] / 4  # a millisecond
    check("rounds: widths are times, drafting first", near([part[1] for e in got for part in e], [4 * unit, 6 * unit, unit, 3 * unit], 0.3) and unit > 5, got)
    check("rounds: places are times, with the gap between", near([e[0][0] - got[0][0][0] for e in got], [0, 12 * unit], 0.3), got)
    check("rounds: heights are tokens", near([e[0][2] for e in got], [2 * got[1][0][2], got[1][0][2]], 0.3), got)
    same("rounds: in words", [line for line in words(browser, "rounds").split("\n") if "events" in line and line[0] == "2"],
         ["2 events, 3 tokens in 16 ms; 35.7 % of their time is drafting; 0 without a token; 12.5 % of the time lies between them."])
    same("rounds: what an event says", tips(browser, "rounds")[0],
         ["round 0: 2 tokens committed", "tokens: \u2423d f", "time: 0 to 10 ms: 10 ms", "drafting: 4 ms, 40 %", "rows: 3, of which 1 dropped"])
    slower = [{key: 2 * value if key.endswith("_ms") else value for key, value in line.items()} for line in rounds()]
    open_quietly(browser, report.page(slower + rounds() + slower), "rounds of three decodings")
    same("rounds: opens on the fastest decoding", browser.one("[data-choice=rounds]").get_property("selectedIndex"), 1)
    same("wave: so does the picture of it", browser.one("[data-choice=wave]").get_property("selectedIndex"), 1)
    same("text: and the text", browser.one("[data-choice=text]").get_property("selectedIndex"), 1)
    without = [{key: value for key, value in line.items() if key != "draft_ms"} for line in rounds()]
    open_quietly(browser, report.page(without), "rounds of an older version")
    same("rounds of an older version: no drafting is made up", [len(browser.all("#figure-rounds .event rect")), "drafting" in words(browser, "rounds")], [2, False])


def token_steps(browser):
    """What each token of the text says of its steps, where it says anything."""
    return [[line.split(": ", 1)[1].split(" ")[0] for line in tip if line.startswith("steps: ")] for tip in tips(browser, "text")]


def traced(position, words_, final, exits):
    return {"bench": "trace", "key": f"t{position}", "trace": "t", "device": "GPU one", "model": "tiny", "num_steps": 4, "position": position, "token": position, "text": words_,
            "generated": position > 1, "top1_is_final": final, "top1_text": ["?", "?", "?", "next"], "exits": exits, "change": [1, 1, 1, 1], "kl": [1, 1, 1, 0],
            "entropy": [1, 1, 1, 1]}


def test_text(browser, report):
    open_quietly(browser, report.page(wave()), "text of a wave")
    same("text of a wave: words", browser.js("return [...document.querySelectorAll('#figure-text .token')].map((t) => t.textContent)"), ["a", " b", " c", " d"])
    same("text of a wave: said for good at depth 2", token_steps(browser), [[], [], [], ["2"]])
    open_quietly(browser, report.page(rounds()), "text of rounds")
    same("text of rounds: the right draft at the draft's depth, the others at the full one", token_steps(browser), [[], [], [], ["2"], ["8"], ["8"]])
    colours = browser.js("return [...document.querySelectorAll('#figure-text .token')].map((t) => t.style.backgroundColor)")
    check("text of rounds: equal steps have equal colours, given tokens none", colours[:3] == [""] * 3 and colours[4] == colours[5] != colours[3] != "", colours)
    same("text of rounds: a line break of the text is one", len(browser.all("#figure-text .stepped-text br")), 1)
    rows = [traced(0, "A", [False, False, True, True], {"kl": 1}), traced(1, "B", [True, False, False, True], {"kl": None}), traced(2, "C", [True] * 4, {"kl": 2})]
    open_quietly(browser, report.page(rows), "text of a trace")
    same("text of a trace: the steps of the row before", token_steps(browser), [[], ["3"], ["4"]])
    check("text of a trace: what was predicted where the text was given", "predicted here: next" in tips(browser, "text")[1], tips(browser, "text")[1])
    pick(browser, "text-rule", "until kl lets it go")
    same("text of a trace: by a criterion", token_steps(browser), [[], ["1"], ["4:"]])
    browser.one("#figure-text .token").send_keys(Keys.ARROW_RIGHT)
    same("text: the keyboard goes from token to token", browser.js("return document.activeElement.textContent"), "B")


def test_map(browser, report):
    rows = [dict(traced(i, "abc"[i], [False] * 3 + [True], {}), top1_text=["x", "x", "y", "y"], norm=[1] * 4) for i in range(3)]
    del rows[2]["top1_text"]
    open_quietly(browser, report.page(rows), "map")
    got = browser.js("return [...document.querySelectorAll('#figure-convergence .predicted')].map((t) => [t.textContent, Number(t.getAttribute('x'))])")
    same("map: the predicted token once where it changes, in both maps", [t for t, _ in got], ["x", "y"] * 4)
    width = browser.js("return Number(document.querySelector('#figure-convergence .cell rect').getAttribute('width')) + 1")
    check("map: the second two steps behind the first", abs((got[1][1] - got[0][1]) - 2 * width) < 0.5, got, width)


# ---- the program's own rows ----

FIGURES = ("speedup", "acceptance", "lengths", "positions", "waves", "verify", "kernels", "bandwidth", "prediction", "devices", "roofline", "accuracy", "pareto",
           "convergence", "exits", "trajectories", "wave", "rounds", "text")


def test_commands(browser, report):
    """What the program writes fills every figure; each command as docs/benchmarking.md has it, on the smallest model."""
    model, folder = str(Path(report.source).resolve() / "models" / "raven-tiny"), report.folder / "real"
    folder.mkdir()
    lines = [{"context": f"sort {i} 8 0 1 :", "continuation": " 0", "task": task} for i in range(3) for task in ("one", "two")]
    report.file("lines.jsonl", lines)
    short = ["-m", model, "-n", "12", "-r", "1", "--min-seconds", "0", "--num-steps", "4"]
    prompt = ["-m", model, "-p", "Kai crosses the clever", "-n", "12", "--ignore-eos", "--num-steps", "4", "--draft-steps", "1"]
    commands = [["bench", *short, "--strategy", "ar,draft-verify,wavefront", "--draft-steps", "1-2", "--lookahead", "1-2", "--max-inflight", "2,4", "--results", "bench.jsonl"],
                ["bench", "-m", model, "--kernels", "-r", "1", "--min-seconds", "0", "--results", "kernels.jsonl"],
                ["score", "-m", model, "-f", str(report.folder / "lines.jsonl"), "--num-steps", "1,4", "--results", "scores.jsonl"],
                ["trace", "-m", model, "-p", "sort 2 8 :", "-n", "2", "--num-steps", "8", "--results", "trace.jsonl"],
                ["generate", *prompt, "--strategy", "wavefront", "--trace", "wave.jsonl"],
                ["generate", *prompt, "--strategy", "draft-verify", "--lookahead", "2", "--trace", "rounds.jsonl"],
                ["generate", *prompt[:-2], "--kv-policy", "share:1", "--trace", "lossy.jsonl"]]
    for command in commands:
        done = subprocess.run([os.path.abspath(report.program), *command], cwd=folder, capture_output=True, check=False)
        check(f"real rows: {command[0]} {command[-1]}", done.returncode == 0, done.stderr.decode()[-500:])
    page = report.folder / "real.html"
    code, _, err = report.run(*sorted(folder.glob("*.jsonl")), "-o", page)
    same("real rows: a page", (code, err), (0, ""))
    open_quietly(browser, page, "real rows")
    marks = browser.marks(FIGURES)
    same("real rows: no figure is without marks", [name for name, n in marks.items() if not n], [])
    missing = "const left = [...document.querySelectorAll('#left-out dt')].map((e) => e.textContent); return figures.filter((f) => arguments[0].includes(f.id) && left.includes(f.title)).map((f) => f.id)"
    same("real rows: none is called left out", browser.js(missing, list(FIGURES)), [])
    same("real rows: waves by K and W", {tuple(tip[0].split(" ")[1:]) for tip in tips(browser, "waves")}, {("K", str(k), "W", str(w)) for k in (1, 2) for w in (2, 4)})
    same("real rows: the wave names all its tokens", "#" in browser.one("#figure-wave .stage").text, False)
    pick(browser, "rounds", [o.text for o in Select(browser.one("[data-choice=rounds]")).options if "draft-verify" in o.text][0])
    check("real rows: rounds know their drafts", len(browser.all("#figure-rounds .event rect.s5")) > 0 and "drafting" in words(browser, "rounds"))
    pick(browser, "wave", [o.text for o in Select(browser.one("[data-choice=wave]")).options if ", ar" in o.text][0])
    check("real rows: a lossy decoding says why it is", "LOSSY: kv_policy share:k" in words(browser, "wave"), words(browser, "wave"))
    for width in (1400, 400):
        browser.look(width)
        open_quietly(browser, page, f"real rows at {width}")
        check(f"real rows at {width}: nothing sticks out", browser.js("return document.documentElement.scrollWidth") <= width)
    browser.look()


def tiles(browser):
    return [tile.text.split("\n") for tile in browser.all("#summary .tile")]


def test_figures_of_rows(browser, report):
    """A share above 100 % is a cause; waiting, memory and energy where they are; speeds are compared within a model and batch size."""
    cause = "the weights of a core step (1 MB) fit the L2 cache (2 MB)"
    old, above = setting("GPU one", "ar", ceiling_percent=131.5), setting("GPU one", "draft-verify", 2, 3, ceiling_percent=151.5, ceiling_cause=cause, gb_s=15.15,
        ttft_ms=12.5, inter_token_p50_ms=0.0004, inter_token_p95_ms=31.5, inter_token_p99_ms=33.5, joules_per_token=0.75, power_w=123.0, clock_mhz=2400.0, device_peak_bytes=5e8)
    hot = kernel("qkv", 1, us=0.01, more={"ceiling_percent": 1000.0, "ceiling_cause": "the weights of the kernel (0.001 MB) fit the L1 cache (0.03 MB)"})
    open_quietly(browser, report.page([old, above, hot]), "numbers")
    text = browser.js("return document.body.textContent + [...document.querySelectorAll('.mark')].map((m) => m.getAttribute('aria-label')).join()")
    check("above the ceiling: no such number", not re.search(r"\b(131|132|151|152|1000) %", text) and "131.5" not in browser.one("#table").text, re.findall(r".{40}(?:131|132|151|152|1000) %", text))
    tip = tips(browser, "bandwidth")
    check("above the ceiling: the cause", any(any(cause in line for line in t) for t in tip) and any(any("cause not known" in line for line in t) for t in tip), tip)
    check("above the ceiling: a tile", ["nearest to the bandwidth ceiling", "above"] in [t[:2] for t in tiles(browser)] and any(cause in t[-1] for t in tiles(browser)), tiles(browser))
    check("above the roof: the cause", any("fit the L1 cache" in line for t in tips(browser, "roofline") for line in t), tips(browser, "roofline"))
    same("above the ceiling: in the table", sorted(browser.column("ceiling_percent")), ["above", "above"])
    for line in ("first token after: 12.5 ms", "between tokens, p50, p95, p99: 0 ms, 31.5 ms, 33.5 ms", "energy per token: 0.75 J at 123 W", "clock: 2400 MHz", "device memory: 500 MB"):
        check(f"numbers: {line}", any(line in t for t in tip), tip)
    same("numbers: columns", [sorted(browser.column(key)) for key in ("ttft_ms", "inter_token_p95_ms", "joules_per_token", "device_peak_bytes")], [["", "12.5"], ["", "31.5"], ["", "0.75"], ["", "500"]])
    same("numbers: no column without a value", browser.all("#table button[data-column=host_peak_bytes]"), [])
    same("numbers: MB per token", sorted(browser.column("weight_bytes_per_token")), ["30", "30"])
    speeds = lambda: [t[:2] for t in tiles(browser) if t[0].startswith("fastest")]
    check("fastest: one model and batch size", len(speeds()) == 1 and speeds()[0][0] == "fastest lossless setting", speeds())
    many = [setting("GPU one", "ar", batch=b, model=m, model_hash=h, key=f"{m} {b}", decode_tok_s=10.0 * b) for m, h in (("tiny", "00ff"), ("large", "01ff")) for b in (1, 4)]
    open_quietly(browser, report.page(many), "fastest")
    same("fastest: of each model and batch size", speeds(), [[f"fastest lossless setting, {m}, batch {b}", f"{10 * b} tok/s"] for m in ("tiny", "large") for b in (1, 4)])
    many += [setting("GPU one", "ar", batch=8, key="8", decode_tok_s=80.0)]
    open_quietly(browser, report.page(many), "too many to compare")
    same("fastest: where they are many, none", speeds(), [])
    def at(speed, *what, **more):
        return setting("GPU one", *what, decode_tok_s=speed, decode_samples=[speed], **more)
    again = [at(100.0, "ar"), at(150.0, "draft-verify", 2, 3), at(50.0, "ar", key="again")]
    open_quietly(browser, report.page(again), "ar measured twice")
    check("ar measured twice: the tile says what the answer says", "1.50x of ar" in browser.one("#answer").text and
          ["largest lossless speedup", "1.50\u00d7"] in [t[:2] for t in tiles(browser)],
          browser.one("#answer").text, tiles(browser))


def test_names(report):
    """The scripts are one script: a function declared twice would silently be the second."""
    names = re.findall(r"^(?:function|const|let|class) +([A-Za-z_0-9]+)", "".join(p.read_text() for p in (Path(report.source) / "bench/page").glob("*.js")), re.M)
    same("names: none is declared twice", sorted({name for name in names if names.count(name) > 1}), [])
    check("names: they were found", len(names) > 100, len(names))


def main():
    tests = [
        test_roofline, test_kernels, test_figures_of_rows, test_accuracy, test_summaries, test_pareto, test_waves,
        test_wave, test_rounds, test_text, test_map, test_commands,
    ]
    return run_tests(sys.argv[1:3], [test_names], tests)


if __name__ == "__main__":
    sys.exit(main())
