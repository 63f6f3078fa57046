#!/usr/bin/python3
"""What read-outs from estimates of the limit, and coda entries of other depths, are worth: by task and kind of token.

    python3 bench/readouts.py build/muninn MODEL COUNT [TASK...] [> TABLE.md]

Traces COUNT held-out documents of each task of models/corpus.py with `muninn trace --readouts` and prints, per step,
the share of predictions that are the last step's. A prediction of an answer's token is counted as `answer`, others as
`question`; prose has no answers. `--text FILE` in place of tasks: paragraphs of a text, for models that know other
things. Needs no packages."""

import json
import subprocess
import sys
import tempfile

import depth

STEPS = "1,2,3,4,6,8,12"
TASKS = "prose add sub story sort reverse count sums hops let sum parity".split()
COLUMNS = [("plain", "final"), ("plain", "same"), ("aitken", "final"), ("anderson", "final")]


def texts(task, count):
    """(question, answer) of each document."""
    for parts in depth.documents(task, None, count, 3):
        yield ("".join(parts), "") if task == "prose" else ("".join(parts[:-1]), parts[-1])


def paragraphs(path, count):
    with open(path, encoding="utf-8") as file:
        found = [part.strip() for part in file.read().split("\n\n") if part.strip()]
    return [(part, "") for part in found[:count]]


def trace(muninn, model, text):
    """The header and the rows of the tokens."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/text", "w", encoding="utf-8") as file:
            file.write(text)
        done = subprocess.run([muninn, "trace", "-q", "-m", model, "-f", f"{folder}/text", "--raw", "--readouts", STEPS,
                               "--num-steps", "32"], stdout=subprocess.PIPE, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return rows[0], rows[1:-1]


class Counts:
    """Predictions, and of those the ones that are the last step's: [column][step]."""

    def __init__(self):
        self.n, self.right = 0, [[0] * len(STEPS.split(",")) for _ in COLUMNS]

    def add(self, row):
        self.n += 1
        for of_column, (rule, entries) in zip(self.right, COLUMNS):
            for i, token in enumerate(row["readouts"][rule][entries]):
                of_column[i] += token == row["top1"][-1]

    def cells(self):
        return [" ".join(f"{100 * n / self.n:.1f}" for n in of_column) for of_column in self.right]


def count(groups, task, rows, question):
    """The prediction of a row is about the token of the next one."""
    at = 0
    for row, about in zip(rows[1:], rows[2:]):
        at += len(row["text"])
        kind = "answer" if at >= len(question) else "question"
        settled = next(t for t in range(len(row["top1"]), 0, -1) if t == 1 or row["top1"][t - 2] != row["top1"][-1])
        late = "settled by step " + ("2" if settled <= 2 else "8" if settled <= 8 else "32")
        assert about["position"] == row["position"] + 1
        for name in ((kind, task), (kind, "all"), ("any", row["class"]), ("any", late)):
            groups.setdefault(name, Counts()).add(row)


def main(muninn, model, number, *tasks):
    groups, header = {}, {}
    if tasks[:1] == ("--text",):
        sources = [(tasks[1], paragraphs(tasks[1], int(number)))]
    else:
        sources = [(task, texts(task, int(number))) for task in tasks or TASKS]
    for task, documents in sources:
        for question, answer in documents:
            header, rows = trace(muninn, model, question + answer)
            count(groups, task, rows, question)
    print(f"{header['model']} ({header['model_hash']}), R = {header['num_steps']}, steps {STEPS}; {header['driver']}\n")
    print("| | | n | " + " | ".join(f"{rule}, {entries}" for rule, entries in COLUMNS) + " |")
    print("|---|---|---:|" + "---|" * len(COLUMNS))
    for (kind, name), found in sorted(groups.items()):
        print(f"| {kind} | {name} | {found.n} | " + " | ".join(found.cells()) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__.strip())
    main(*sys.argv[1:])
