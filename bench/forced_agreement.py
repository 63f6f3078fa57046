#!/usr/bin/env python3
"""Weight bytes per token of wavefront and draft-verify against ar when the share of right predictions is given: the same
at every K (P), or by depth (a profile of published figures).

The shapes are raven-tinyllama and ouro-1.4b with every width divided by 32 (d 2048 -> 64) and the same blocks and
steps, so that prelude, core, coda and head keep their shares of the bytes, and forced agreement draws the same numbers
whatever the width: the ratios are those of the full sizes. Bytes and passes are counted in real runs; the rows' times
mean nothing here. Goes on where it was when it is started again with the same file.

usage: forced_agreement.py path/to/muninn RESULTS.jsonl [SEEDS]      (3 seeds unless given)"""
import collections
import json
import pathlib
import subprocess
import sys
import tempfile

SHAPES = {
    # name: (shape, runs of (strategy, K, L, W); W 0 is the strategy's own 8)
    "raven-tinyllama": ("family=retrofit-llama,d=64,heads=8,kv=1,head=8,ff=176,vocab=1000,layers=4-8-4",
                        [("ar,wavefront,draft-verify", "1,2,4,8", "3,7,15", 0), ("wavefront", "3", "1", 0),
                         ("wavefront", "1,2", "1", 16), ("wavefront", "1", "1", 32)]),
    "ouro-1.4b": ("family=ouro,d=64,heads=8,kv=8,head=8,ff=176,vocab=1536,layers=24,steps=4",
                  [("ar,wavefront,draft-verify", "1,2,3", "3,5,7,15", 0)]),
}
AGREEMENTS = {"raven-tinyllama": ("0.9", "0.95", "0.99", "retrofit"), "ouro-1.4b": ("0.9", "0.95", "0.99")}


def measure(muninn, results, seeds):
    with tempfile.TemporaryDirectory() as folder:
        prompts = pathlib.Path(folder, "one-prompt.jsonl")
        prompts.write_text('{"ids":[1,2,3,4]}\n')
        for seed in range(seeds):
            for name, (shape, runs) in SHAPES.items():
                for agreement in AGREEMENTS[name]:
                    for strategies, k, lookahead, rows in runs:
                        subprocess.run(
                            [muninn, "bench", "--synthetic", shape, "--acceptance", agreement, "--strategy", strategies,
                             "--draft-steps", k, "--lookahead", lookahead, "--seed", str(seed), "-n", "256", "-r", "1",
                             "--min-seconds", "0", "--cpu-threads", "0", "--prompts", prompts, "--results",
                             results, "--resume", *(["--max-inflight", str(rows)] if rows else [])],
                            check=True, stdout=subprocess.DEVNULL)


def once(row, info):
    """Bytes per token if a pass read its weights once, however many rows it has."""
    passes = (row["prelude_passes"] * info["prelude_bytes"] + row["core_passes"] * info["core_bytes"] +
              row["coda_passes"] * info["coda_bytes"])
    return passes / (row["total_new_tokens"] - 1)


def given(row):
    return row.get("forced_by_depth") or f"{row['forced_acceptance'][0]:g}"


def table(rows, info, agreements):
    """For each strategy, K and width: ar's bytes over the mean over the seeds."""
    ar = info["prelude_bytes"] + info["mean_recurrence"] * info["core_bytes"] + info["coda_bytes"]
    cells = collections.defaultdict(list)
    for row in rows:
        if row["strategy"] == "ar":
            assert row["weight_bytes_per_token"] == ar, row
        else:
            wide = f"L {row['lookahead']}" if row["lookahead"] else f"W {row['max_inflight']}"
            name = f"| `{row['strategy']}`, K {row['draft_steps']}, {wide} |"
            cells[name, given(row)].append((row["weight_bytes_per_token"], once(row, info)))
    for name in dict.fromkeys(name for name, _ in cells):
        line = name
        for agreement in agreements:
            seeds = cells[name, agreement]
            counted, single = (ar * len(seeds) / sum(column) for column in zip(*seeds))
            line += f" {counted:.2f}" + (f" ({single:.2f})" if single > 1.005 * counted else "") + " |"
        print(line)
    print(f"\n{ar / 1e6:.2f} MB per token of ar, {len({row['seed'] for row in rows})} seeds\n")


def main():
    muninn, results = sys.argv[1], sys.argv[2]
    measure(muninn, results, int(sys.argv[3]) if len(sys.argv) > 3 else 3)
    rows = [json.loads(line) for line in pathlib.Path(results).read_text().splitlines()]
    for name, (shape, _) in SHAPES.items():
        info = json.loads(subprocess.check_output([muninn, "info", "--synthetic", shape, "-o", "json"]))
        print(f"{name} as {shape}; in brackets: if a pass read its weights once, not once per 8 rows\n")
        print(f"| | {' | '.join(AGREEMENTS[name])} |\n|{'---|' * (len(AGREEMENTS[name]) + 1)}")
        table([row for row in rows if row["model"] == shape], info, AGREEMENTS[name])


main()
