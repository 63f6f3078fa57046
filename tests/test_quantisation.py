#!/usr/bin/python3
"""Goal: docs/quantisation.md says what the rows of bench/results say, and those say what the runs said.

Method: the page's tables are made again from the committed rows; with one figure of a row or of the page changed they differ. A work folder with
made-up answers, exit steps and drafts becomes rows, whose figures were added up by hand.
Usage: test_quantisation.py source_dir
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

source = Path(sys.argv[1]).resolve()
script, page, results = source / "bench/quantisation.py", source / "docs/quantisation.md", source / "bench/results"
failed = []


def check(name, good, *detail):
    print("ok     " if good else "FAILED ", name, *([] if good else detail), flush=True)
    if not good:
        failed.append(name)


def run(*arguments):
    done = subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


# ---- the page ----


def test_page(top):
    code, out, err = run("check", page, results)
    check("the page's tables are those of the rows", (code, out, err) == (0, "", ""), err)
    copies = top / "results"
    copies.mkdir()
    for file in results.glob("quantisation-*.jsonl"):
        shutil.copy(file, copies)
    for kind in ("quantisation", "quantisation_accuracy", "quantisation_exit", "quantisation_drafts"):
        file = copies / "quantisation-raven-deep.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        row = [row for row in rows if row["bench"] == kind][-1]
        key, by = {"quantisation": ("kl_mean", 2), "quantisation_accuracy": ("right", 0), "quantisation_exit": ("exit_mean", 2), "quantisation_drafts": ("acceptance_rate", 0.5)}[kind]
        row[key] *= by
        write(file, rows)
        code, _, err = run("check", page, copies)
        check(f"another {key} in a row of {kind}: seen", code == 1 and "the rows give" in err, code, err)
        shutil.copy(results / file.name, copies)
    changed = top / "page.md"
    changed.write_text(page.read_text().replace("yes |", "no |", 1))
    code, _, err = run("check", changed, results)
    check("another word in the page: seen", code == 1 and "the rows give" in err, code, err)
    code, _, err = run("fill", changed, results)
    check("fill mends it", code == 0 and changed.read_text() == page.read_text(), err)
    changed.write_text(page.read_text().replace("<!-- raven-tiny exits: made by bench/quantisation.sh -->", ""))
    code, _, err = run("check", changed, results)
    check("a marker that is missing is named", code == 1 and "raven-tiny exits" in err, code, err)


# ---- from runs to rows ----

IDENTITY = {"version": "0.0", "commit": "c", "build": "b", "device": "d", "device_id": "", "driver": "r", "driver_version": "1", "model": "tiny", "model_hash": "00ff"}


def score(line, task, hit, **more):
    return {"key": f"{line}", "line": line, "num_steps": 4, "task": task, "run": {**IDENTITY, "weight_type": "?", "kv_type": "f32"}, "is_greedy": hit, **more}


def fill_work(work):
    write(work / "divergence.jsonl", [{"key": "k", "bench": "quantisation", **IDENTITY, "weight_type": "q8_0"}])
    answers = {"bf16": (True, True, False, True, False), "q4_1+all=q4_1": (True, False, True, False, False)}
    exits = {"bf16": (3, 4, None), "q4_1+all=q4_1": (3, 6, 30)}
    for name, hits in answers.items():
        write(work / name / "score.jsonl", [score(i + 1, "add" if i < 4 else "sum", hit) for i, hit in enumerate(hits)])
        trace = [{"bench": "trace_header", "num_steps": 32, "kv_type": "f16", **IDENTITY}, *({"bench": "trace", "exits": {"kl": at}} for at in exits[name]), {"bench": "trace_summary"}]
        write(work / name / "trace-text-add-0.jsonl", trace)
        write(work / name / "bench.jsonl", [{**IDENTITY, "kv_type": "f16", "strategy": "draft-verify", "num_steps": 32, "draft_steps": 2, "lookahead": 3, "prompts": 2, "prompt_set": "p",
                                             "total_new_tokens": 9, "rounds": 4, "drafted": 10, "accepted": 7, "acceptance_rate": 0.7, "mean_acceptance_length": 2.5, "lossless": True,
                                             "equals_ar": True}])


def test_gather(top):
    work = top / "work"
    fill_work(work)
    code, out, err = run("gather", work, "bf16")
    check("gather", code == 0, err)
    rows = [json.loads(line) for line in out.splitlines()]
    check("every row has a name of its own", len({row["key"] for row in rows}) == len(rows) == 1 + 4 + 2 + 2, len(rows))
    check("rows of `muninn divergence` stay as they are", rows[0] == json.loads((work / "divergence.jsonl").read_text()))

    def one(kind, **wanted):
        return next(row for row in rows if row["bench"] == kind and row["weight_type"] == "q4_1+all=q4_1" and all(row[k] == v for k, v in wanted.items()))

    add, total = one("quantisation_accuracy", task="add"), one("quantisation_accuracy", task="sum")
    check("answers: right, lost, gained", [add[k] for k in ("n", "right", "lost", "gained", "num_steps")] == [4, 2, 2, 1, 4], add)
    check("answers: of another task", [total[k] for k in ("n", "right", "lost", "gained")] == [1, 0, 0, 0], total)
    # Steps 3, 6, 30 against 3, 4, 32: never is the last step.
    exits = one("quantisation_exit", criterion="kl")
    check("exit steps", [exits[k] for k in ("tokens", "exit_mean", "reference_exit_mean", "same", "change_max")] == [3, 13, 13, 1, 2] and abs(exits["change_mean"] - 4 / 3) < 1e-12, exits)
    check("drafts", [one("quantisation_drafts")[k] for k in ("drafted", "accepted", "draft_steps")] == [10, 7, 2])

    for name, change in (("other lines", lambda: write(work / "bf16/score.jsonl", [score(1, "add", True)])),
                         ("another commit", lambda: write(work / "bf16/score.jsonl", [score(i + 1, "add" if i < 4 else "sum", True, run={**IDENTITY, "kv_type": "f32", "commit": "x"}) for i in range(5)])),
                         ("other documents", lambda: (work / "bf16/trace-text-add-0.jsonl").rename(work / "bf16/trace-text-sub-0.jsonl")),
                         ("another model", lambda: write(work / "divergence.jsonl", [{"key": "k", "bench": "quantisation", **IDENTITY, "weight_type": "q8_0", "model_hash": "x"}]))):
        fill_work(work)
        change()
        code, _, err = run("gather", work, "bf16")
        check(f"{name}: refused", code == 1 and err.count("\n") == 1, code, err)
        shutil.rmtree(work)


def main():
    with tempfile.TemporaryDirectory() as folder:
        test_gather(Path(folder))
        test_page(Path(folder))
    print(f"{len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
