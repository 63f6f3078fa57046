#!/usr/bin/python3
"""Prompts on which lookup is measured: texts of the shipped models' corpus that repeat themselves more or less. Copies,
code, tables, stories, and questions behind a quoted source; always the same ones.

    python3 bench/lookup_prompts.py FOLDER      copying.jsonl, code.jsonl, table.jsonl, story.jsonl and quoted.jsonl
    muninn bench --prompts FOLDER/quoted.jsonl --strategy wavefront --draft-steps 4 --max-inflight 16 --lookup 0,8
"""

import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "models"))
import corpus  # noqa: E402

PROMPTS = 4
rng, sizes = random.Random("lookup"), corpus.Sizes()


def document(task):
    return corpus.draw(rng, "held-out", task, sizes)


def question(found):
    return "".join(text for text, what in found.parts if what != corpus.ANSWERS)


def copying():
    text = document("prose").text + " " + document("prose").text + " "
    return text + text + text[:len(text) // 3]


def code():
    text = document("let").text
    return "void f(int a)\n{\n    " + text + " ;\n}\nvoid g(int a)\n{\n    " + text.split(" , ")[0]


def table():
    rows = [document("sort").text for _ in range(3)]
    return "\n".join(rows + rows[:2]) + "\n" + question(document("sort"))


def story():
    return document("story").text + "\n" + question(document("story"))


def quoted():
    found = document("story")
    return '"' + found.text + '"\n' + question(found)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (copying, code, table, story, quoted):
        lines = [json.dumps({"prompt": kind()}) + "\n" for _ in range(PROMPTS)]
        (folder / f"{kind.__name__}.jsonl").write_text("".join(lines))


if __name__ == "__main__":
    main()
