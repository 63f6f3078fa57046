"""The tokenizer of the model folder, for the plain ASCII text of the corpus: byte-level BPE over Huginn's pre-tokenizer pattern."""

import json
import re

# The pattern of tokenizer.json with \p{L} and \p{N} spelled for ASCII; encode refuses anything else.
PIECES = re.compile(r"[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


class Tokenizer:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
        self.vocabulary = document["model"]["vocab"]
        merges = document["model"]["merges"]
        self.ranks = {tuple(m.split(" ") if isinstance(m, str) else m): i for i, m in enumerate(merges)}
        special = {token["content"]: token["id"] for token in document["added_tokens"]}
        self.begin, self.end, self.pad = special["<|begin_text|>"], special["<|end_text|>"], special["<|pad|>"]
        self.text = {i: s for s, i in self.vocabulary.items()}
        self.known = {}

    def _piece(self, piece):
        # Printable ASCII is its own byte-level symbol; only the blank and line ends have others.
        symbols = [{" ": "\u0120", "\n": "\u010a", "\r": "\u010d", "\t": "\u0109"}.get(c, c) for c in piece]
        while len(symbols) > 1:
            rank, at = min((self.ranks.get(pair, len(self.ranks)), i) for i, pair in enumerate(zip(symbols, symbols[1:])))
            if rank == len(self.ranks):
                break
            symbols[at:at + 2] = [symbols[at] + symbols[at + 1]]
        return [self.vocabulary[s] for s in symbols]

    def encode(self, text):
        """Token ids of `text`, without begin and end tokens."""
        if not text.isascii():
            raise ValueError(f"not ASCII: {text!r}")
        ids = []
        for piece in PIECES.findall(text):
            if piece not in self.known:
                self.known[piece] = self._piece(piece)
            ids += self.known[piece]
        return ids

    def decode(self, ids):
        return "".join(self.text.get(i, "") for i in ids).replace("\u0120", " ").replace("\u010a", "\n")
