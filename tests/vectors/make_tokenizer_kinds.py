#!/usr/bin/env python3
"""Small tokenizer.json files of every kind that Muninn understands, and what the Hugging Face tokenizers library makes
of texts and ids with them, one file a line: {"file": {...}, "encode": [[text, ids, decoded]], "decode": [[ids,
skip_special, text]]}.

usage: make_tokenizer_kinds.py SEED N > tokenizer-kinds.jsonl        (needs the package tokenizers; 0.22.2 made it)
"""
import json
import random
import sys

from tokenizers import Tokenizer

LETTERS = ["a", "b", "c", "A", "B", "1", "2", "\u00e9", "\u0301", "e", "\u2581", " ", "<", ">", "\n", "\u4e2d"]
RARE = ["\U0001f60b", "\u0663", "\ufb01", "\u00bd", "\u0130", "\u1e9e", "\u00a0", "x", "\t", "\u0958", "\uac00", "'s",
        "\u00e8", "\u2167"]
PATTERNS = [{"Regex": r"\s"}, {"Regex": "[ab]+"}, {"Regex": "b*"}, {"Regex": r"\d{1,2}|b"}, {"String": "b"},
            {"String": " "}, {"String": "ab"}, {"Regex": r"\s+(?!\S)|\s+|\p{L}+"}, {"String": "\u2581"},
            {"Regex": "(?<=a)"}, {"String": "."}, {"Regex": "\u2581|1"}]
EMPTY = ["b*", "(?<=a)"]
BEHAVIORS = ["Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"]


USED = sorted({b for c in LETTERS + RARE + ["lonelyword"] for b in c.encode()})


def byte_characters():
    printable = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    table, n = {}, 0
    for b in range(256):
        table[b] = chr(b) if b in printable else chr(0x100 + n)
        n += b not in printable
    return table


def sequence(r, kind, members, key):
    if not members:
        return None
    if len(members) == 1 and r.random() < 0.7:
        return members[0]
    if len(members) > 2 and r.random() < 0.3:
        members = [members[0], {"type": "Sequence", key: members[1:]}]
    return {"type": "Sequence", key: members}


def normalizer(r):
    def one():
        return r.choice([
            lambda: {"type": "Prepend", "prepend": r.choice(["\u2581", "ab", "<"])},
            # Where nothing is matched and replaced, later steps of the library lose count.
            lambda: {"type": "Replace", "pattern": r.choice([p for p in PATTERNS if p.get("Regex") not in EMPTY]),
                     "content": r.choice(["", "\u2581", "a", "xb"])},
            lambda: {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
            lambda: {"type": r.choice(["NFC", "NFD", "NFKC", "NFKD"])},
            lambda: {"type": "Lowercase"}])()
    return sequence(r, "normalizer", [one() for _ in range(r.choice([0, 0, 1, 1, 2, 3]))], "normalizers")


def metaspace(r, schemes):
    scheme = r.choice(schemes)
    node = {"type": "Metaspace", "replacement": r.choice(["\u2581", "\u2581", "_", "b"]), "prepend_scheme": scheme}
    if r.random() < 0.6:
        node["split"] = r.random() < 0.5
    if r.random() < 0.3:
        node["add_prefix_space"] = scheme != "never"
    return node


def pre_tokenizer(r, byte_level, normalized):
    def one(i):
        return r.choice([
            lambda: {"type": "Split", "pattern": r.choice(PATTERNS), "behavior": r.choice(BEHAVIORS),
                     "invert": r.random() < 0.3},
            lambda: {"type": "Digits", "individual_digits": r.random() < 0.5},
            lambda: metaspace(r, ["always", "never"] if i or normalized else ["always", "never", "first"])])()
    steps = [one(i) for i in range(r.choice([0, 1, 1, 2, 3]))]
    if byte_level:
        steps.append({"type": "ByteLevel", "add_prefix_space": r.random() < 0.4, "trim_offsets": True,
                      "use_regex": r.random() < 0.5})
    return sequence(r, "pre_tokenizer", steps, "pretokenizers")


def decoder(r, byte_level):
    def one():
        return r.choice([
            lambda: {"type": "Replace", "pattern": r.choice(PATTERNS), "content": r.choice(["", " ", "xb"])},
            lambda: {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            lambda: {"type": "Strip", "content": r.choice(["a", " ", "\u2581"]), "start": r.choice([0, 1, 2]),
                     "stop": 0},
            lambda: metaspace(r, ["always", "never", "first"])])()
    steps = [one() for _ in range(r.choice([0, 1, 1, 2]))]
    if byte_level and r.random() < 0.9:
        steps = steps[:1] if r.random() < 0.2 else []
        steps.append({"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True})
    elif r.random() < 0.7:
        steps.append({"type": "ByteFallback"})
    if r.random() < 0.6 or not steps:
        steps.append({"type": "Fuse"})
        if r.random() < 0.7:
            steps.append({"type": "Strip", "content": r.choice(["a", " ", "\u00e9"]), "start": r.choice([1, 2, 3]),
                          "stop": 0})
    return sequence(r, "decoder", steps, "decoders")


def model(r, byte_level):
    if byte_level:
        base = [byte_characters()[b] for b in USED]
        spell = byte_characters()
        words = ["".join(spell[b] for b in w.encode()) for w in ["a", "b", " ", "1", "e", "\u00e9", "\n"]]
    else:
        base = [c for c in LETTERS if r.random() < 0.85 or c in "ab"]
        words = base
    pool, merges = list(words), []
    for _ in range(r.choice([4, 10, 25])):
        a, b = r.choice(pool), r.choice(pool)
        if len(a) == len(b) == 1 and a in base and b in base or r.random() < 0.8:
            known = set(base) | {x + y for x, y in merges}
            if a in known and b in known and (a, b) not in merges and len(a + b) < 12:
                merges.append((a, b))
                pool.append(a + b)
    if not merges:
        merges = [(base[0], base[1])]
    tokens = ["<unk>"] + base
    fallback = not byte_level and r.random() < 0.6
    if fallback:
        part = r.random() < 0.3
        tokens += ["<0x%02X>" % b for b in USED if not part or r.random() < 0.8]
        if r.random() < 0.3 and "<0xE4>" in tokens and "<0xB8>" in tokens:
            merges.append(("<0xE4>", "<0xB8>"))
    tokens += [a + b for a, b in merges]
    if r.random() < 0.3:
        tokens += ["lonely", "a b" if not byte_level else "a\u0120b"]
    pairs = r.random() < 0.5 or any(" " in a + b for a, b in merges)
    return {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": r.random() < 0.5, "byte_fallback": fallback,
            "ignore_merges": r.random() < 0.3, "vocab": {t: i for i, t in enumerate(dict.fromkeys(tokens))},
            "merges": [list(m) if pairs else " ".join(m) for m in merges]}


def added_tokens(r, vocab):
    contents = ["<s>", "<|x|>", "Ab", "\u00e9 ", "ab1", "e\u0301>", "\u2581\u2581", "LEFT", "word"]
    r.shuffle(contents)
    nodes = []
    for c in contents[:r.choice([0, 1, 3, 6])]:
        special = r.random() < 0.5
        id = vocab.get(c, len(vocab) + sum(n["content"] not in vocab for n in nodes))
        nodes.append({"id": id, "content": c, "special": special, "single_word": r.random() < 0.2,
                      "lstrip": r.random() < 0.3, "rstrip": r.random() < 0.3, "normalized": r.random() < 0.5})
    return nodes


def text(r, added):
    parts = LETTERS + [" ", " ", "a", "b", "lonely", "word", "Ab"] + [a["content"] for a in added]
    n = r.choice([0, 1, 3, 8, 20, 40])
    return "".join(r.choice(parts) if r.random() < 0.9 else r.choice(RARE) for _ in range(n))


def main():
    r = random.Random(int(sys.argv[1]))
    n = 0
    while n < int(sys.argv[2]):
        byte_level = r.random() < 0.4
        norm = normalizer(r)
        m = model(r, byte_level)
        added = added_tokens(r, m["vocab"])
        file = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": norm,
                "pre_tokenizer": pre_tokenizer(r, byte_level, norm is not None), "post_processor": None,
                "decoder": decoder(r, byte_level), "model": m}
        tokenizer = Tokenizer.from_str(json.dumps(file))
        sought = [tokenizer.normalizer.normalize_str(a["content"]) if norm and a["normalized"] else a["content"]
                  for a in added]
        if "" in sought or len(set(sought)) < len(sought):
            continue  # refused: nothing to look for, or two tokens for it
        line = {"file": file, "encode": [], "decode": []}
        for _ in range(12):
            t = text(r, added)
            try:
                ids = tokenizer.encode(t, add_special_tokens=False).ids
            except BaseException:  # some normalizers make the library index out of bounds: it panics
                continue
            line["encode"].append([t, ids, tokenizer.decode(ids, skip_special_tokens=False)])
        known = [*m["vocab"].values(), *[a["id"] for a in added]]
        for _ in range(8):
            ids = [r.choice(known) for _ in range(r.choice([1, 4, 12]))]
            skip = r.random() < 0.5
            said = tokenizer.decode(ids, skip_special_tokens=skip)
            if "\0" not in said:  # the reader's strings end there
                line["decode"].append([ids, skip, said])
        print(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
        n += 1


main()
