#!/usr/bin/python3
"""The corpus of the default model: short documents whose answers need different numbers of recurrence steps.

Everything follows from a seed. A document is a list of parts (text, what it is for). Its `key` is the canonical form of the question it asks (a sum without
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

# What a part of a document is for. A pair (steps, text) stands for ASKS in a place where `text` can be known after that many steps: a scaffold for training.
ASKS, ANSWERS = "asks", "answers"

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
    return f"add {min(a, b)} {max(a, b)}", [(f"{a} + {b} =", ASKS), (f" {a + b}", ANSWERS)]


def sub(rng, sizes):
    a, b = number(rng), number(rng)
    a, b = max(a, b), min(a, b)
    return f"sub {a} {b}", [(f"{a} - {b} =", ASKS), (f" {a - b}", ANSWERS)]


def story(rng, sizes):
    one, other = rng.sample(NAMES, 2)
    thing, a, b = rng.choice(THINGS), rng.randint(2, 99), rng.randint(2, 99)
    if rng.random() < 0.5:
        # The sum is that of `add`: it shares the key, so the split of 53 + 52 holds in either dress.
        return f"add {min(a, b)} {max(a, b)}", [
            (f"{one} has {a} {thing} and {other} has {b} {thing}. How many {thing} do they have together?", ASKS),
            (f" {a} + {b} = {a + b}. The answer is {a + b}.", ANSWERS)]
    c = rng.randint(1, a + b - 1)
    return f"story {a} {b} {c}", [
        (f"{one} has {a} {thing}. {one} finds {b} more {thing} and gives {c} {thing} to {other}. How many {thing} does {one} have now?", ASKS),
        (f" {a} + {b} = {a + b}. {a + b} - {c} = {a + b - c}. The answer is {a + b - c}.", ANSWERS)]


def hops(rng, sizes, exactly=None):
    """Walks over a map, a > per hop. The map is a single cycle, so that k hops cannot be had for fewer, and larger than the walk, so that leaving out where it was says little."""
    farthest = exactly or rng.randint(1, sizes.hops)
    n = rng.randint(max(4, farthest + 2), min(len(LETTERS), max(7, farthest + 3)))
    cycle = rng.sample(LETTERS, n)
    pairs = [(cycle[i], cycle[(i + 1) % n]) for i in range(n)]
    rng.shuffle(pairs)
    parts = [("map " + " , ".join(f"{a} {b}" for a, b in pairs), ASKS)]
    for i in rng.sample(range(n), min(n, sizes.queries)):
        k = exactly or rng.randint(max(1, farthest // 2), farthest)
        parts.append((f" from {cycle[i]}", ASKS))
        # A hop is two look-ups, of where the walk stands and of where that leads; the first stands in the text.
        parts += [(">", (2 * j - 1, f" {cycle[(i + j) % n]}")) for j in range(1, k + 1)]
        parts += [(" :", ASKS), (f" {cycle[(i + k) % n]}", ANSWERS)]
    return "map " + " ".join(sorted(a + b for a, b in pairs)), parts


def let(rng, sizes, exactly=None):
    """Assignments, each variable from an earlier one; values modulo 10. The first to be asked for is at the end of the longest chain."""
    depth = exactly or rng.randint(1, sizes.variables)
    n = depth + rng.randint(0, min(2, sizes.variables - depth))
    names = rng.sample(LETTERS, n)
    values, depths, parts, left = {}, {}, [], list(range(depth, n))
    order = []
    for i in range(depth):  # the chain, and the others anywhere in between
        order.append(i)
        while left and rng.random() < 0.5:
            order.append(left.pop())
    for at, i in enumerate(order):
        earlier = [names[j] for j in order[:at]]
        on = (None if i == 0 else names[i - 1]) if i < depth else rng.choice(earlier + [None])
        step = rng.randrange(10)
        values[names[i]], depths[names[i]] = (step, 1) if on is None else ((values[on] + step) % 10, depths[on] + 1)
        text = f"{names[i]} = {step}" if on is None else f"{names[i]} = {on} + {step}"
        parts.append((("mod 10 let " if at == 0 else " , ") + text, (depths[names[i]], str(values[names[i]]))))
    key = "let " + ",".join(sorted(text.replace("mod 10 let", "").strip(" ,") for text, _ in parts))
    asked = [names[depth - 1]]
    if exactly is None:
        # The deepest first: an answer further left would make it easy.
        asked += sorted(rng.sample([names[i] for i in order if i != depth - 1], min(len(order) - 1, sizes.queries - 1)), key=lambda name: -depths[name])
    for name in asked:
        parts += [(f" ; {name} is", ASKS), (f" {values[name]}", ANSWERS)]
    return key, parts


def running(words, terms, base):
    """The parts of a list of terms, whose n-th term is worth a running sum after n steps."""
    return [((words if i == 0 else "") + f" {term}", (max(1, i), str(sum(terms[:i + 1]) % base))) for i, term in enumerate(terms)]


def total(rng, sizes, exactly=None):
    terms = [rng.randrange(10) for _ in range(exactly or rng.randint(2, sizes.terms))]
    return "sum " + " ".join(map(str, terms)), [*running("sum mod 10 of", terms, 10), (" :", ASKS), (f" {sum(terms) % 10}", ANSWERS)]


def totals(rng, sizes):
    """Every prefix is answered: each answer is one step from the one before it."""
    terms = [rng.randrange(10) for _ in range(rng.randint(2, sizes.terms))]
    sums = [sum(terms[:i + 1]) % 10 for i in range(len(terms))]
    return "sum " + " ".join(map(str, terms)), [("sums mod 10 of " + " ".join(map(str, terms)) + " :", ASKS), (" " + " ".join(map(str, sums)), ANSWERS)]


def parity(rng, sizes, exactly=None):
    bits = [rng.randrange(2) for _ in range(exactly or rng.randint(1, sizes.bits))]
    return "parity " + " ".join(map(str, bits)), [*running("parity", bits, 2), (" :", ASKS), (f" {sum(bits) % 2}", ANSWERS)]


def sort(rng, sizes):
    digits = [rng.randrange(10) for _ in range(rng.randint(2, sizes.items))]
    rising = " ".join(map(str, sorted(digits)))
    return "sort " + rising, [("sort " + " ".join(map(str, digits)) + " :", ASKS), (" " + rising, ANSWERS)]


def reverse(rng, sizes):
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(2, sizes.items))]
    return "reverse " + " ".join(letters), [("reverse " + " ".join(letters) + " :", ASKS), (" " + " ".join(reversed(letters)), ANSWERS)]


def count(rng, sizes):
    letters = [rng.choice("abc") for _ in range(rng.randint(2, sizes.items))]
    wanted = rng.choice("abc")
    return f"count {wanted} " + " ".join(sorted(letters)), [(f"count {wanted} in " + " ".join(letters) + " :", ASKS), (f" {letters.count(wanted)}", ANSWERS)]


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
    return "prose " + text, [(text, ASKS)]


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
    """A document of `task` that belongs to `split`; ValueError where there is none to be found: the hash leaves some short questions on one side only."""
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    for _ in range(10_000):
        key, parts = TASKS[task](rng, sizes) if exactly is None else TASKS[task](rng, sizes, exactly)
        if split_of(key) == split:
            return Document(task, key, parts)
    raise ValueError(f"no {task} of size {exactly} in the split {split}")


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
