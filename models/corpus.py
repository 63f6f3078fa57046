#!/usr/bin/python3
"""The corpus of the default model: short documents whose answers need different numbers of recurrence steps.

Everything follows from a seed. A document is a list of parts (text, is_answer); its `key` is the canonical form of the question it asks (a sum without
the order of its terms, a map without the order of its pairs), and the hash of the key decides the split. A generator draws until the split is the one
it was asked for, so that no question of one split can occur in the other, in whatever words.

    python3 models/corpus.py --split held-out --task hops --hops 3 --count 5 --seed 7       five documents as JSON lines
"""

import argparse
import hashlib
import json
import random
import sys

LETTERS = "abcdefghijkl"
NAMES = ["Kai", "Max", "Ivy", "Mia", "Leo", "Ada", "Tom", "Sam", "Eva", "Uma", "Ben", "Zoe"]
THINGS = ["keys", "coins", "apples", "stamps", "shells", "nails", "books", "stones", "cards", "seeds"]
QUALITIES = ["young", "old", "small", "tired", "cold", "bright", "quiet", "grey", "brave", "clever"]
NOUNS = ["smith", "king", "wind", "child", "sailor", "boat", "wolf", "raven", "fox", "tree", "stone", "farmer", "river", "hill", "harbour"]
VERBS = ["follows", "crosses", "sees", "finds"]
PLACES = ["near", "behind", "in"]

SPLITS = ("train", "held-out")
HELD_OUT_SHARE = 10  # every tenth key


def split_of(key):
    return SPLITS[hashlib.blake2b(key.encode(), digest_size=8).digest()[0] % HELD_OUT_SHARE == 0]


class Sizes:
    """How large the questions may get; a curriculum moves these."""

    def __init__(self, hops=8, variables=8, terms=8, bits=8, items=8, queries=8):
        self.hops, self.variables, self.terms, self.bits, self.items, self.queries = hops, variables, terms, bits, items, queries


def number(rng):
    """Log-uniform over lengths: one to three digits."""
    return rng.randrange(10 ** rng.randint(1, 3))


def add(rng, sizes):
    a, b = number(rng), number(rng)
    return f"add {min(a, b)} {max(a, b)}", [(f"{a} + {b} =", False), (f" {a + b}", True)]


def sub(rng, sizes):
    a, b = number(rng), number(rng)
    a, b = max(a, b), min(a, b)
    return f"sub {a} {b}", [(f"{a} - {b} =", False), (f" {a - b}", True)]


def story(rng, sizes):
    one, other = rng.sample(NAMES, 2)
    thing, a, b = rng.choice(THINGS), rng.randint(2, 99), rng.randint(2, 99)
    if rng.random() < 0.5:
        # The sum is that of `add`: it shares the key, so the split of 53 + 52 holds in either dress.
        return f"add {min(a, b)} {max(a, b)}", [
            (f"{one} has {a} {thing} and {other} has {b} {thing}. How many {thing} do they have together?", False),
            (f" {a} + {b} = {a + b}. The answer is {a + b}.", True)]
    c = rng.randint(1, a + b - 1)
    return f"story {a} {b} {c}", [
        (f"{one} has {a} {thing}. {one} finds {b} more {thing} and gives {c} {thing} to {other}. How many {thing} does {one} have now?", False),
        (f" {a} + {b} = {a + b}. {a + b} - {c} = {a + b - c}. The answer is {a + b - c}.", True)]


def hops(rng, sizes, exactly=None):
    """Walks over a map: a single cycle, so that k hops cannot be had for fewer."""
    farthest = exactly or rng.randint(1, sizes.hops)
    n = rng.randint(max(3, farthest + 1), min(len(LETTERS), max(5, farthest + 2)))
    cycle = rng.sample(LETTERS, n)
    pairs = [(cycle[i], cycle[(i + 1) % n]) for i in range(n)]
    rng.shuffle(pairs)
    parts = [("map " + " , ".join(f"{a} {b}" for a, b in pairs), False)]
    asked = [(i, exactly or rng.randint(max(1, farthest // 2), farthest)) for i in rng.sample(range(n), min(n, sizes.queries))]
    for i, k in asked:
        parts += [(f" from {cycle[i]} {k} :", False), (f" {cycle[(i + k) % n]}", True)]
    return "map " + " ".join(sorted(a + b for a, b in pairs)), parts


def let(rng, sizes, exactly=None):
    """Assignments in any order, each variable from another; values modulo 10."""
    depth = exactly or rng.randint(1, sizes.variables)
    n = rng.randint(depth, sizes.variables) if exactly is None else depth
    names = rng.sample(LETTERS, n)
    values, depths, lines = {}, {}, []
    for i, name in enumerate(names):
        # The first `depth` variables are one chain; the others hang anywhere.
        on = None if i == 0 else names[i - 1] if i < depth else rng.choice(names[:i] + [None])
        if on is None:
            values[name], depths[name] = rng.randrange(10), 1
            lines.append(f"{name} = {values[name]}")
        else:
            step = rng.randrange(10) if rng.random() < 0.7 else 0
            values[name], depths[name] = (values[on] + step) % 10, depths[on] + 1
            lines.append(f"{name} = {on} + {step}")
    key = "let " + " ".join(sorted(lines))
    rng.shuffle(lines)
    parts = [("mod 10 let " + " , ".join(lines), False)]
    # The deepest is asked first: an answer further left would make it easy.
    asked = sorted(rng.sample(names, min(n, sizes.queries)), key=lambda name: -depths[name])
    if exactly:
        asked = [names[depth - 1]]
    for name in asked:
        parts += [(f" ; {name} is", False), (f" {values[name]}", True)]
    return key, parts


def total(rng, sizes, exactly=None):
    terms = [rng.randrange(10) for _ in range(exactly or rng.randint(2, sizes.terms))]
    return "sum " + " ".join(map(str, terms)), [("sum mod 10 of " + " ".join(map(str, terms)) + " :", False), (f" {sum(terms) % 10}", True)]


def totals(rng, sizes):
    """Every prefix is answered: each answer is one step from the one before it."""
    terms = [rng.randrange(10) for _ in range(rng.randint(2, sizes.terms))]
    sums = [sum(terms[:i + 1]) % 10 for i in range(len(terms))]
    return "sum " + " ".join(map(str, terms)), [("sums mod 10 of " + " ".join(map(str, terms)) + " :", False), (" " + " ".join(map(str, sums)), True)]


def parity(rng, sizes, exactly=None):
    bits = [rng.randrange(2) for _ in range(exactly or rng.randint(1, sizes.bits))]
    return "parity " + " ".join(map(str, bits)), [("parity " + " ".join(map(str, bits)) + " :", False), (f" {sum(bits) % 2}", True)]


def sort(rng, sizes):
    digits = [rng.randrange(10) for _ in range(rng.randint(2, sizes.items))]
    answer = " ".join(map(str, sorted(digits)))
    return "sort " + answer, [("sort " + " ".join(map(str, digits)) + " :", False), (" " + answer, True)]


def reverse(rng, sizes):
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(2, sizes.items))]
    return "reverse " + " ".join(letters), [("reverse " + " ".join(letters) + " :", False), (" " + " ".join(reversed(letters)), True)]


def count(rng, sizes):
    letters = [rng.choice("abc") for _ in range(rng.randint(2, sizes.items))]
    wanted = rng.choice("abc")
    return f"count {wanted} " + " ".join(sorted(letters)), [(f"count {wanted} in " + " ".join(letters) + " :", False), (f" {letters.count(wanted)}", True)]


def prose(rng, sizes):
    """Nothing to be worked out: only the words and their order."""
    one, other = rng.sample(NOUNS, 2)
    first, second = rng.sample(QUALITIES, 2)
    form = rng.randrange(3)
    if form == 0:
        text = f"The {one} is {first} and the {other} is {second}."
    elif form == 1:
        text = f"The {first} {one} {rng.choice(VERBS)} the {second} {other}."
    else:
        text = f"{rng.choice(NAMES)} {rng.choice(VERBS)} the {first} {one} {rng.choice(PLACES)} the {other}."
    return "prose " + text, [(text, False)]


TASKS = {"add": add, "sub": sub, "story": story, "hops": hops, "let": let, "sum": total, "sums": totals, "parity": parity, "sort": sort,
         "reverse": reverse, "count": count, "prose": prose}
GRADED = ("hops", "let", "sum", "parity")  # tasks that can be asked at an exact size


class Document:
    def __init__(self, task, key, parts):
        self.task, self.key, self.parts = task, key, parts

    @property
    def text(self):
        return "".join(text for text, _ in self.parts)


def draw(rng, split, task, sizes, exactly=None):
    """A document of `task` that belongs to `split`."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    while True:
        key, parts = TASKS[task](rng, sizes) if exactly is None else TASKS[task](rng, sizes, exactly)
        if split_of(key) == split:
            return Document(task, key, parts)


def main():
    parser = argparse.ArgumentParser(description="Prints documents of the corpus as JSON lines.")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--task", choices=[*TASKS, "all"], default="all")
    parser.add_argument("--size", type=int, help="hops, variables, terms or bits, exactly; for " + ", ".join(GRADED))
    parser.add_argument("--queries", type=int, default=1, help="most questions per map or set of assignments [default: 1]")
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.size is not None and args.task not in GRADED:
        parser.error(f"--size: only for {', '.join(GRADED)}")
    rng = random.Random(f"{args.seed} {args.split} {args.task} {args.size}")
    sizes = Sizes(queries=args.queries)
    for i in range(args.count):
        task = args.task if args.task != "all" else list(TASKS)[i % len(TASKS)]
        document = draw(rng, args.split, task, sizes, args.size)
        json.dump({"task": task, "key": document.key, "parts": document.parts}, sys.stdout)
        print()


if __name__ == "__main__":
    main()
