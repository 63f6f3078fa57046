#!/usr/bin/python3
"""Goal: the two figures of `muninn divergence` draw what its rows hold: error and disagreement over the depth, both logarithmic, with intervals,
and say what they leave out.

Method: rows with known values, made up here, become a page; in a headless Chromium the drawn marks are counted and their places compared with
the values' logarithms.
Usage: test_report_quality.py path/to/muninn source_dir   (exit 77 where there can be no Chromium; on Debian ./bootstrap test installs it)
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from report_page import check, open_quietly, run_tests, same  # noqa: E402
from test_report_figures import near, pick, places, tips, words  # noqa: E402

DEPTHS = (1, 2, 4, 8)


def row(weights, depth, kl, other, kv="f32", model="tiny", **more):
    made = {"key": f"{weights} {kv} {depth} {model}", "bench": "quantisation", "time": "2026-01-01T00:00:00Z", "version": "0.0", "commit": "0123456789ab", "device": "GPU one",
            "driver": "d", "model": model, "model_hash": model, "weight_type": weights, "kv_type": kv, "reference_weight_type": "bf16", "reference_kv_type": "f32",
            "text_set": "texts 1", "texts": 20, "positions": 1000, "num_steps": depth, "kl_mean": kl, "kl_low": kl / 2, "kl_high": kl * 2, "kl_p99": 5 * kl, "kl_max": 9 * kl,
            "top1_agreement": 1 - other, "top1_low": 1 - 2 * other, "top1_high": 1 - other / 2, "logit_error_max": 0.5}
    made.update(more)
    return {key: value for key, value in made.items() if value is not None}


def whole():
    return [row(weights, depth, kl * depth, other * depth) for weights, kl, other in (("q8_0", 1e-5, 1e-3), ("q4_1", 1e-3, 1e-2)) for depth in DEPTHS]


def test_figures(browser, report):
    open_quietly(browser, report.page(whole()), "quality")
    for name in ("divergence", "disagreement"):
        same(f"{name}: a mark per row", len(tips(browser, name)), 8)
        same(f"{name}: a line and a band per type", (len(browser.all(f"#figure-{name} .marks .line")), len(browser.all(f"#figure-{name} .marks .band"))), (2, 2))
        at = places(browser, name)
        step = [at[1][0] - at[0][0], at[1][1] - at[0][1]]
        check(f"{name}: twice the depth with twice the value is one step to the right and up, anywhere",
              step[0] > 10 and step[1] < -5 and all(near([b[0] - a[0], b[1] - a[1]], step, 0.3) for i in (0, 4) for a, b in zip(at[i:i + 3], at[i + 1:i + 4])), at)
        check(f"{name}: all types stand at one depth", all(abs(a[0] - b[0]) < 0.2 for a, b in zip(at[:4], at[4:])), at)
        same(f"{name}: nothing is left out", "left out" in words(browser, name), False)
        same(f"{name}: no chooser where there is nothing to choose", browser.all(f"[data-choice={name}-shown]"), [])
    decades = [places(browser, name)[0][1] - places(browser, name)[4][1] for name in ("divergence", "disagreement")]
    steps = [places(browser, name)[0][1] - places(browser, name)[1][1] for name in ("divergence", "disagreement")]
    check("the heights are logarithms", abs(abs(decades[0]) / steps[0] - 6.644) < 0.05 and abs(abs(decades[1]) / steps[1] - 3.322) < 0.05, decades, steps)
    # Types are in alphabetical order: q4_1 first.
    same("divergence: the first mark", tips(browser, "divergence")[0], ["q4_1, cache f32, R 1", "KL: 0.001 nats", "95 % interval: 5.00e-4 to 0.002".replace("5.00e-4", "0.0005"),
                                                                       "99 % of positions are below: 0.005", "largest: 0.009", "largest logit error: 0.5", "positions: 1000 in 20 texts"])
    same("disagreement: the first mark", tips(browser, "disagreement")[0][1:3], ["same best token: 99 %", "95 % interval: 98 % to 99.5 %"])


def test_left_out(browser, report):
    rows = whole() + [row("bf16", 1, 0, 0, commit="ba9876543210"), row("f16", 1, 1e-9, 0, kl_mean=None, top1_agreement=None)]
    rows += [row("f16", 2, 1e-9, 1e-4, kl_low=None, kl_high=None, top1_low=None, top1_high=None)]
    open_quietly(browser, report.page(rows), "quality left out")
    for name in ("divergence", "disagreement"):
        same(f"{name}: what has no place has no mark", len(tips(browser, name)), 9)
        check(f"{name}: a row without the value is counted", "1 row left out: no" in words(browser, name), words(browser, name))
        check(f"{name}: a row without a difference is counted", "1 row left out: no difference at all" in words(browser, name), words(browser, name))
        check(f"{name}: no interval, and it says so", any("95 % interval: none: one text" in tip for tip in tips(browser, name)), tips(browser, name))
    open_quietly(browser, report.page([row("bf16", depth, 0, 0) for depth in DEPTHS]), "quality without a difference")
    check("no difference anywhere: no plot, and why", not browser.all("#figure-divergence") and
          "4 rows left out: no difference at all" in browser.js("return document.querySelector('#left-out').textContent"))
    for bad in ("x", None, [1], 1e999):
        rows = [{**row("q8_0", 1, 1e-5, 1e-3), "kl_mean": bad, "num_steps": bad}] if bad != 1e999 else [row("q8_0", 0, 1e-5, 1e-3)]
        open_quietly(browser, report.page(rows), f"quality, values {bad}")
        same(f"values {bad}: no mark", len(tips(browser, "divergence")), 0)


def test_commits(browser, report):
    rows = whole() + [row("bf16", depth, 1e-4, 1e-2, kv="q8", commit="ba9876543210") for depth in DEPTHS]
    rows += [row("q8_0", 1, 5e-2, 1e-1, key="older", time="2025-01-01T00:00:00Z", commit="ffff")]
    open_quietly(browser, report.page(rows), "quality of two commits")
    same("commits: one panel", len(browser.all("#figure-divergence .panel")), 1)
    same("commits: of two rows of a type at a depth the newest", len(tips(browser, "divergence")), 12)
    check("commits: and not the other", not any("KL: 0.05 nats" in tip for tip in tips(browser, "divergence")))


def test_groups(browser, report):
    rows = whole() + [row("q4_1+all=q4_1", 1, 1e-2, 1e-1)] + [row(f"bf16+{group}=q4_1", 1, 1e-4, 1e-3) for group in ("adapter", "core.mlp.fc", "coda")]
    rows += [row("q8_0", 1, 1e-5, 1e-3, model="deep"), row("bf16+coda=q4_1", 1, 1e-5, 1e-3, model="deep")]
    open_quietly(browser, report.page(rows), "quality of groups")
    same("groups: types of all matrices first", len(tips(browser, "divergence")), 10)
    same("groups: a panel per model, in a table where it is one point", [len(browser.all("#figure-divergence " + css)) for css in (".panel", "tr.point")], [1, 1])
    pick(browser, "divergence-shown", "one group of matrices in another type")
    same("groups: one group alone", {tip[0] for tip in tips(browser, "divergence")}, {f"bf16+{group}=q4_1, cache f32, R 1" for group in ("adapter", "core.mlp.fc", "coda")})
    pick(browser, "divergence-shown", "both")
    same("groups: both", len(tips(browser, "divergence")), len(rows))
    same("groups: the other figure has its own choice", len(tips(browser, "disagreement")), 10)


def main():
    tests = [test_figures, test_left_out, test_commits, test_groups]
    return run_tests(sys.argv[1:3], [], tests)


if __name__ == "__main__":
    sys.exit(main())
