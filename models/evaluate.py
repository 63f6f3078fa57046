#!/usr/bin/python3
"""Accuracy of a model on held-out documents of the corpus, per task and number of recurrence steps.

A document counts as right when every token of its answer, and the end token after it, is the most probable one after the text before it: what greedy
decoding would have written. After hops and let another question may follow, so there the end does not count. The initial state is zero, as in `muninn generate`.

    python3 models/evaluate.py -m models/raven-tiny --count 150
"""

import argparse
import json
import random
import sys
import time

import torch

import corpus
import raven
from tokens import Tokenizer

DEPTHS = [1, 2, 4, 8, 16, 32]
SUITE = [("add", None), ("sub", None), ("story", None), ("sort", None), ("reverse", None), ("count", None), ("sums", None)]
SUITE += [(task, n) for task, sizes in (("hops", range(1, 7)), ("let", range(1, 9)), ("sum", (*range(2, 9), 10, 12, 14)), ("parity", (7, 8, 10, 12, 14))) for n in sizes]
SUITE += [("prose", None), ("old hops", None)]


def old_hops(rng):
    """A walk in the form that raven-tiny was trained on: it is not in the corpus."""
    names, k = rng.sample(corpus.LETTERS, rng.randint(2, 6)), rng.randint(1, 6)
    pairs = {name: rng.choice(names) for name in names}
    at = start = rng.choice(names)
    for _ in range(k):
        at = pairs[at]
    return [("map " + " ".join(f"{a}>{b}" for a, b in pairs.items()) + f" from {start} step {k} to", corpus.ASKS), (f" {at}", corpus.ANSWERS)]


def documents(task, size, count, seed, split="held-out"):
    """Up to `count` documents with different questions, one query each; small spaces may hold fewer."""
    rng, sizes, seen = random.Random(f"evaluation {seed} {task} {size}"), corpus.Sizes(queries=1), {}
    for _ in range(50 * count):
        document = corpus.Document(task, "", old_hops(rng)) if task == "old hops" else corpus.draw(rng, split, task, sizes, size)
        seen.setdefault(document.text, document)
        if len(seen) == count:
            break
    return list(seen.values())


def measure(model, tokenizer, docs, depths, compute=torch.float32, rows=50):
    """({depth: share of answers right in full}, {depth: share of positions whose next token is that of the last depth}); prose has no answers: 0."""
    right, agree, positions, n = {r: 0 for r in depths}, {r: 0 for r in depths}, 0, 0
    for first in range(0, len(docs), rows):
        encoded = []
        for document in docs[first:first + rows]:
            ids, answer, asked = [tokenizer.begin], [], False
            for text, purpose in document.parts:
                piece = tokenizer.encode(text)
                if purpose == corpus.ANSWERS:
                    answer += range(len(ids), len(ids) + len(piece))
                ids += piece
            if answer and document.task not in ("hops", "let"):
                answer.append(len(ids))
            encoded.append((ids + [tokenizer.end], answer))
        length = max(len(ids) for ids, _ in encoded)
        batch = torch.tensor([ids + [tokenizer.pad] * (length - len(ids)) for ids, _ in encoded])
        inside = torch.tensor([[i < len(ids) for i in range(length)] for ids, _ in encoded])
        checked = torch.zeros_like(inside)
        for row, (_, answer) in enumerate(encoded):
            checked[row, list(answer)] = True
        mask = torch.full((length, length), -1e9).triu(1)[None, None]
        best = {r: logits.argmax(-1) for r, logits in model.at_depths(batch, mask, depths, compute)}
        for r in depths:
            wrong = (best[r][:, :-1] != batch[:, 1:]) & checked[:, 1:]
            right[r] += int((~wrong.any(1) & checked.any(1)).sum())
            agree[r] += int(((best[r] == best[depths[-1]]) & inside).sum())
        positions += int(inside.sum())
        n += len(encoded)
    return {r: right[r] / n for r in depths}, {r: agree[r] / positions for r in depths}


def main():
    parser = argparse.ArgumentParser(description="Accuracy on held-out documents per task and number of recurrence steps.")
    parser.add_argument("-m", "--model", default="models/raven-tiny")
    parser.add_argument("--count", type=int, default=150, help="documents per task and size [default: 150]")
    parser.add_argument("--tasks", help="only these, like hops,sum [default: all]")
    parser.add_argument("--depths", default=",".join(map(str, DEPTHS)), help="recurrence steps, rising [default: %(default)s]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=corpus.SPLITS, default="held-out")
    parser.add_argument("-o", "--output", choices=("table", "jsonl"), default="table")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = raven.load(args.model), Tokenizer(f"{args.model}/tokenizer.json")
    depths = [int(r) for r in args.depths.split(",")]
    if args.output == "table":
        print("task".ljust(14) + "n".rjust(5) + "".join(f"r={r}".rjust(8) for r in depths))
    for task, size in SUITE:
        if args.tasks and task not in args.tasks.split(","):
            continue
        docs = documents(task, size, args.count, args.seed, args.split)
        accuracy, agreement = measure(model, tokenizer, docs, depths)
        name = task if size is None else f"{task} {size}"
        if args.output == "table":
            print(name.ljust(14) + f"{len(docs):5d}" + "".join(f"{accuracy[r]:8.3f}" for r in depths), flush=True)
        else:
            json.dump({"task": task, "size": size, "documents": len(docs), "accuracy": accuracy, "agreement": agreement}, sys.stdout)
            print(flush=True)


if __name__ == "__main__":
    main()
