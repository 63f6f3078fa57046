#!/usr/bin/python3
"""Goal: what trains the default model does what it says, within a minute on one thread; the model itself takes longer.

Method: the split is proved on 100,000 documents with keys that this file reads back out of their text; the forward pass is held against the engine, the
hand-written gradients against PyTorch's own; a short training run must lower the loss, repeat bit for bit, go on bit for bit after an interruption, and
write a folder that the engine runs.

    python3 tests/test_train.py MUNINN SOURCE
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from contextlib import redirect_stdout

MUNINN, SOURCE = sys.argv.pop(1), sys.argv.pop(1)
TINY = os.path.join(SOURCE, "models", "raven-tiny")
sys.path.insert(0, os.path.join(SOURCE, "models"))
sys.dont_write_bytecode = True

import random  # noqa: E402

try:
    import torch  # noqa: E402
except ImportError as error:
    print(f"skipped: {error}; ./bootstrap test installs it")
    sys.exit(77)

import corpus  # noqa: E402
import evaluate  # noqa: E402
import raven  # noqa: E402
import train  # noqa: E402
from tokens import Tokenizer  # noqa: E402

torch.set_num_threads(1)


def question_in(task, text):
    """The canonical question of a document, from its text alone."""
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    if task == "add" or "together" in text:
        return "add", tuple(sorted(numbers[:2]))
    if task in ("sub", "story"):
        return task, tuple(numbers[:3] if task == "story" else numbers[:2])
    if task in ("hops", "let"):
        lines = re.match(r"(?:map|mod 10 let) (.*?)(?: from| ;)", text).group(1).split(" , ")
        return task, tuple(sorted(lines))
    if task == "prose":
        return task, text
    asked = re.match(r"\w+(?: mod 10 of| \w in)?(.*) :", text).group(1).split()
    if task == "count":
        return task, (text.split()[1], tuple(sorted(asked)))
    return ("sum" if task == "sums" else task), tuple(sorted(asked) if task == "sort" else asked)


def muninn(*arguments):
    return subprocess.run([MUNINN, *arguments], check=True, capture_output=True, text=True).stdout


class Split(unittest.TestCase):
    def test_no_question_in_both(self):
        questions, texts, sizes = {}, {}, corpus.Sizes()
        for split in corpus.SPLITS:
            rng = random.Random("split " + split)
            questions[split], texts[split] = set(), set()
            for i in range(50_000):
                task = list(corpus.TASKS)[i % len(corpus.TASKS)]
                document = corpus.draw(rng, split, task, sizes)
                self.assertEqual(corpus.split_of(document.key), split)
                questions[split].add(question_in(task, document.text))
                texts[split].add(document.text)
        self.assertEqual(questions["train"] & questions["held-out"], set())
        self.assertEqual(texts["train"] & texts["held-out"], set())
        self.assertGreater(min(len(questions[split]) for split in corpus.SPLITS), 15_000)

    def test_empty_side(self):
        with self.assertRaisesRegex(ValueError, "no parity of size 1 in the split held-out"):
            corpus.draw(random.Random(1), "held-out", "parity", corpus.Sizes(), 1)

    def test_share(self):
        held_out = sum(corpus.split_of(f"key {i}") == "held-out" for i in range(100_000))
        self.assertAlmostEqual(held_out / 100_000, 26 / 256, delta=0.004)

    def test_seeded(self):
        def twenty(seed):
            rng = random.Random(seed)
            return [corpus.draw(rng, "train", task, corpus.Sizes()).text for task in corpus.TASKS]
        self.assertEqual(twenty(1), twenty(1))
        self.assertNotEqual(twenty(1), twenty(2))


class Answers(unittest.TestCase):
    """Worked out again from the text, another way."""

    def test_graded(self):
        rng = random.Random(5)
        for _ in range(300):
            document = corpus.draw(rng, "train", "hops", corpus.Sizes())
            pairs = dict(pair.split() for pair in re.match(r"map (.*?) from", document.text).group(1).split(" , "))
            walks = re.findall(r"from (\w)(>+) : (\w)", document.text)
            self.assertTrue(walks)
            for start, hops, answer in walks:
                for _ in hops:
                    start = pairs[start]
                self.assertEqual(start, answer)
            document = corpus.draw(rng, "train", "let", corpus.Sizes())
            lines = dict(line.split(" = ") for line in document.text[len("mod 10 let "):].split(" ; ")[0].split(" , "))

            def value(name):
                on, _, step = lines[name].partition(" + ")
                return (value(on) + int(step)) % 10 if step else int(on)
            asked = re.findall(r"; (\w) is (\d)", document.text)
            self.assertTrue(asked)
            for name, answer in asked:
                self.assertEqual(value(name), int(answer))
            for task in ("sum", "parity", "sort", "reverse", "count", "sums"):
                question, answer = corpus.draw(rng, "train", task, corpus.Sizes()).text.split(" :")
                words = question.split()
                given = words[{"sum": 4, "sums": 4, "count": 3}.get(task, 1):]
                expected = {"sum": lambda: [str(sum(map(int, given)))[-1]], "sums": lambda: [str(sum(map(int, given[:i + 1])))[-1] for i in range(len(given))],
                            "parity": lambda: [str(given.count("1") % 2)], "sort": lambda: sorted(given), "reverse": lambda: given[::-1],
                            "count": lambda: [str(given.count(words[1]))]}[task]()
                self.assertEqual(answer.split(), expected)
            for task in ("add", "sub"):
                question, answer = corpus.draw(rng, "train", task, corpus.Sizes()).text.split(" = ")
                self.assertEqual(eval(question), int(answer))

    def test_scaffold(self):
        """The intermediate results are those of the shorter question, and none is there to be known before its step."""
        rng = random.Random(7)
        for _ in range(200):
            for task in ("hops", "let", "sum", "parity"):
                document = corpus.draw(rng, "train", task, corpus.Sizes())
                results = [(text, purpose) for text, purpose in document.parts if isinstance(purpose, tuple)]
                self.assertTrue(results)
                if task in ("sum", "parity"):
                    terms = [int(text.split()[-1]) for text, _ in results]
                    self.assertEqual([purpose for _, purpose in results],
                                     [(max(1, i), str(sum(terms[:i + 1]) % (10 if task == "sum" else 2))) for i in range(len(terms))])
                elif task == "let":
                    known = {}
                    for text, (steps, value) in results:
                        name, on, step = re.search(r"(\w) = (?:(\w) \+ )?(\d)$", text).groups()
                        known[name] = (known[on][0] + 1, (known[on][1] + int(step)) % 10) if on else (1, int(step))
                        self.assertEqual((steps, int(value)), known[name])
                else:
                    pairs = dict(pair.split() for pair in re.match(r"map (.*?) from", document.text).group(1).split(" , "))
                    at, hops = None, 0
                    for text, purpose in document.parts:
                        if text.startswith(" from"):
                            at, hops = text[-1], 0
                        elif text == ">":
                            at, hops = pairs[at], hops + 1
                            self.assertEqual(purpose, (2 * hops - 1, " " + at))

    def test_exact_sizes(self):
        rng = random.Random(6)
        for n in range(2, 9):
            self.assertRegex(corpus.draw(rng, "train", "hops", corpus.Sizes(queries=1), n).text, f" from [a-l]>{{{n}}} : [a-l]$")
            self.assertEqual(len(corpus.draw(rng, "train", "sum", corpus.Sizes(), n).text.split(" : ")[0].split()), 4 + n)


class Tokens(unittest.TestCase):
    def test_same_as_engine(self):
        """Parts are encoded one by one: that must be how the engine cuts the whole."""
        tokenizer, rng = Tokenizer(os.path.join(TINY, "tokenizer.json")), random.Random(3)
        documents = [corpus.draw(rng, split, task, corpus.Sizes()) for split in corpus.SPLITS for task in corpus.TASKS for _ in range(10)]
        lines = "".join(json.dumps({"text": document.text}) + "\n" for document in documents)
        out = subprocess.run([MUNINN, "tokenize", "-m", TINY], input=lines, check=True, capture_output=True, text=True).stdout.splitlines()
        self.assertEqual(len(out), len(documents))
        for document, line in zip(documents, out):
            self.assertEqual(sum((tokenizer.encode(text) for text, _ in document.parts), []), json.loads(line)["ids"])
            self.assertEqual(tokenizer.decode(tokenizer.encode(document.text)), document.text)

    def test_refuses_what_it_cannot(self):
        with self.assertRaises(ValueError):
            Tokenizer(os.path.join(TINY, "tokenizer.json")).encode("é")


def largest_difference(model, folder, ids, steps):
    mask = torch.full((len(ids), len(ids)), -1e9).triu(1)[None, None]
    with torch.no_grad():
        own = model(torch.tensor([ids]), mask, steps)[0]
    out = muninn("logits", "-m", folder, "--ids", ",".join(map(str, ids)), "--num-steps", str(steps), "--kv-type", "f32")
    return float((own - torch.tensor([json.loads(line) for line in out.splitlines()])).abs().max())


class Model(unittest.TestCase):
    def test_forward_is_the_engines(self):
        model = raven.load(TINY)
        ids = [0] + Tokenizer(os.path.join(TINY, "tokenizer.json")).encode("mod 10 let g = 2 , a = k + 3 , k = g + 1 ; a is 6")
        for steps in (1, 4, 32):
            self.assertLess(largest_difference(model, TINY, ids, steps), 2e-4)
        mask = torch.full((len(ids), len(ids)), -1e9).triu(1)[None, None]
        with torch.no_grad():
            for steps, logits in model.at_depths(torch.tensor([ids]), mask, [1, 3, 4]):
                self.assertTrue(torch.equal(logits, model(torch.tensor([ids]), mask, steps)))

    def test_gradients(self):
        generator = torch.Generator().manual_seed(1)
        x, weight = (torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in ((2, 3, 8), (8,)))
        self.assertTrue(torch.autograd.gradcheck(lambda a, b: raven.RmsNorm.apply(a, b, 1e-6), (x, weight)))

        def plain(both):
            gate, up = both.chunk(2, -1)
            return torch.nn.functional.silu(gate) * up
        both = torch.randn((2, 3, 8), generator=generator, requires_grad=True)
        grad = torch.randn((2, 3, 4), generator=generator)
        own = torch.autograd.grad(raven.SwiGlu.apply(both), both, grad)[0]
        self.assertLess(float((own - torch.autograd.grad(plain(both), both, grad)[0]).abs().max()), 1e-6)

    def test_truncated_backpropagation(self):
        """No gradient reaches the initial state when more steps run than are differentiated; some does when all are."""
        model = raven.load(TINY)
        ids, mask = torch.tensor([[0, 23, 29, 263]]), torch.full((4, 4), -1e9).triu(1)[None, None]
        for steps, reaches in ((4, False), (3, True)):
            state = torch.zeros(1, 4, 128, requires_grad=True)
            loss = model(ids, mask, steps, 3, state).logsumexp(-1).sum()
            grad = torch.autograd.grad(loss, state, allow_unused=True)[0]
            self.assertEqual(grad is not None and bool((grad != 0).any()), reaches)

    def test_random_state(self):
        state = raven.load(TINY).random_state((40, 50, 128), torch.Generator().manual_seed(3))
        self.assertAlmostEqual(float(state.std()), (2 / 5) ** 0.5, delta=0.01)
        self.assertLessEqual(float(state.abs().max()), 3 * (2 / 5) ** 0.5)
        self.assertLess(float((state.abs() == state.abs().max()).float().mean()), 1e-5)  # cut, not clamped

    def test_steps_drawn(self):
        rng = random.Random(4)
        drawn = [train.draw_steps(rng, 8) for _ in range(20_000)]
        self.assertAlmostEqual(sum(drawn) / len(drawn), 9, delta=0.15)
        self.assertEqual(min(drawn), 1)
        self.assertGreater(max(drawn), 24)


class Shipped(unittest.TestCase):
    """The default model needs its steps, and the engine computes what was trained."""

    def test_depth(self):
        folder = os.path.join(SOURCE, "models", "raven-deep")
        model, tokenizer = raven.load(folder), Tokenizer(os.path.join(folder, "tokenizer.json"))
        ids = [tokenizer.begin] + tokenizer.encode("sum mod 10 of 4 4 9 7 2 :")
        for steps in (1, 8):
            self.assertLess(largest_difference(model, folder, ids, steps), 2e-4)
        depths = [1, 2, 4, 8, 16, 32]
        accuracy, _ = evaluate.measure(model, tokenizer, evaluate.documents("sum", 5, 40, 1), depths)
        self.assertLess(accuracy[1], 0.4)
        self.assertGreater(accuracy[8], 0.9)
        accuracy, agreement = evaluate.measure(model, tokenizer, evaluate.documents("sum", 12, 40, 1), depths)
        self.assertLess(accuracy[8], 0.4)
        self.assertGreater(accuracy[16], 0.9)
        for fewer, more in zip(depths, depths[1:-1]):
            self.assertLess(agreement[fewer], agreement[more])
        self.assertGreater(agreement[16], 0.99)
        accuracy, _ = evaluate.measure(model, tokenizer, evaluate.documents("sort", None, 40, 1), [1, 2, 4])
        self.assertGreater(accuracy[2], 0.9)
        self.assertGreater(accuracy[4], 0.95)


class Batch(unittest.TestCase):
    def test_weights_and_mask(self):
        tokenizer = Tokenizer(os.path.join(TINY, "tokenizer.json"))
        stage = {"mix": {"add": 1, "sort": 1}, "sizes": {"items": 4}, "scaffold": 0, "wait": 0}
        ids, targets, weights, mask = train.draw_batch(random.Random(2), tokenizer, stage, 80, 48, 1)
        self.assertTrue(torch.equal(ids, targets))
        own = 0
        for row in range(80):
            tokens = ids[row].tolist()
            text = tokenizer.decode(i for i in tokens if i != tokenizer.pad)
            answers = tokenizer.decode(i for i, w in zip(tokens, weights[row].tolist()) if w == 1)
            documents = text.replace("<|begin_text|>", "").split("<|end_text|>")[:-1]
            self.assertEqual(answers, "".join(re.split(" [:=]", document)[1] + "<|end_text|>" for document in documents))
            self.assertTrue(all(w == 0 for i, w in zip(tokens, weights[row].tolist()) if i == tokenizer.pad))
            seen = (mask[row, 0] == 0)
            self.assertFalse(bool(seen.triu(1).any()))
            begins = [i for i, token in enumerate(tokens[:-1]) if token == tokenizer.begin]
            alone = [bool(seen[i, :i].any()) for i in begins]
            self.assertIn(sum(alone), (0, len(begins) - 1))  # every document sees those to its left, or none does
            own += not any(alone)
        self.assertIn(own, range(48, 73))

    def test_lengths(self):
        """Documents that do not fit are passed over, and a row length that fits none is refused."""
        tokenizer = Tokenizer(os.path.join(TINY, "tokenizer.json"))
        stage = {"mix": {"sum": 1}, "sizes": {"terms": 16}, "scaffold": 0, "wait": 0}
        ids, _, _, _ = train.draw_batch(random.Random(3), tokenizer, stage, 40, 20, 1)
        for row in ids.tolist():
            self.assertEqual(row[0], tokenizer.begin)
            text = tokenizer.decode(i for i in row if i != tokenizer.pad)
            self.assertTrue(text.endswith("<|end_text|>"))
        with self.assertRaisesRegex(SystemExit, "--length"):
            train.draw_batch(random.Random(3), tokenizer, stage, 40, 6, 1)

    def test_scaffold(self):
        tokenizer = Tokenizer(os.path.join(TINY, "tokenizer.json"))
        stage = {"mix": {"parity": 1}, "sizes": {"bits": 8}, "scaffold": 0.5, "wait": 1}
        for steps in (2, 30):
            ids, targets, weights, _ = train.draw_batch(random.Random(2), tokenizer, stage, 10, 40, steps)
            changed = 0
            for row in range(10):
                sums, terms = 0, 0
                for i in range(1, 41):
                    token = tokenizer.text.get(int(ids[row, i - 1]), "")
                    if token == "parity":
                        sums, terms = 0, 0
                    if token in ("0", "1") and tokenizer.text[int(ids[row, i])] != "<|end_text|>":
                        sums, terms = sums + int(token), terms + 1
                        known = steps >= max(1, terms - 1)
                        self.assertEqual(tokenizer.text[int(targets[row, i])], str(sums % 2) if known else tokenizer.text[int(ids[row, i])])
                        self.assertAlmostEqual(float(weights[row, i]), 0.5 if known else train.BESIDE)
                        changed += known
                    else:
                        self.assertEqual(int(targets[row, i]), int(ids[row, i]))
            self.assertGreater(changed, 20)
            # An answer has weight when it can be known.
            for row in range(10):
                for document in re.finditer(r"parity([ 01]+) : \d", tokenizer.decode(ids[row].tolist())):
                    needed = max(1, len(document.group(1).split()) - 1)
                    at = len(tokenizer.encode(tokenizer.decode(ids[row].tolist())[:document.end()].replace("<|begin_text|>", "").replace("<|end_text|>", "")))
                    at += tokenizer.decode(ids[row].tolist())[:document.end()].count("<|") - 1
                    self.assertEqual(float(weights[row, at]), 1.0 if steps >= needed else 0.0)


class Training(unittest.TestCase):
    def run_training(self, work, *arguments):
        """Prints of a run of a small shape from random weights."""
        recipe = os.path.join(self.folder, "recipe.json")
        with open(recipe, "w", encoding="utf-8") as file:
            json.dump({"stages": [{"steps": 12, "lr": 1e-3, "lr_end": 4e-3, "rbar": 2, "backward_steps": 2, "mix": {"sort": 1, "sum": 1}, "sizes": {"items": 3}, "scaffold": 1, "rows": 8, "wait": 0},
                                  {"steps": 28, "lr": 4e-3, "lr_end": 1e-3, "rbar": 3, "backward_steps": 2, "mix": {"sort": 2, "prose": 1}, "sizes": {"items": 4}, "scaffold": 0, "rows": 8, "wait": 0}]}, file)
        out = io.StringIO()
        with redirect_stdout(out):
            train.main(["--recipe", recipe, "--start", self.shape, "--fresh", "--work", os.path.join(self.folder, work), "--length", "48",
                        "--test-every", "0", "--save-every", "7", *arguments])
        return out.getvalue()

    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.shape = os.path.join(self.folder, "shape")
        os.mkdir(self.shape)
        for name in ("tokenizer.json", "generation_config.json", "config.json"):
            with open(os.path.join(TINY, name), encoding="utf-8") as file:
                content = json.load(file)
            if name == "config.json":
                content.update(n_embd=48, n_heads=2, num_attention_heads=2, num_key_value_heads=2, intermediate_size=96)
            with open(os.path.join(self.shape, name), "w", encoding="utf-8") as file:
                json.dump(content, file)

    def tearDown(self):
        self.temporary.cleanup()

    def bytes_of(self, *path):
        with open(os.path.join(self.folder, *path), "rb") as file:
            return file.read()

    def test_smoke(self):
        straight = os.path.join(self.folder, "straight")
        said = self.run_training("a", "--out", straight)
        self.assertIn("step 40/40", said)
        self.assertRegex(said, r"\d:\d\d:\d\d spent, 0:00:00 left")

        # Cut in the middle of a stage and of the interval between two checkpoints.
        self.run_training("b", "--until", "10")
        said = self.run_training("b", "--out", os.path.join(self.folder, "resumed"))
        self.assertTrue(said.startswith("going on at step 10\n"))
        self.assertEqual(self.bytes_of("straight", "model.safetensors"), self.bytes_of("resumed", "model.safetensors"))
        states = [torch.load(os.path.join(self.folder, work, "checkpoint.pt")) for work in "ab"]
        for name, value in states[0]["model"].items():
            self.assertTrue(torch.equal(value, states[1]["model"][name]))
        for i, moments in states[0]["optimizer"]["state"].items():
            for name in ("exp_avg", "exp_avg_sq"):
                self.assertTrue(torch.equal(moments[name], states[1]["optimizer"]["state"][i][name]))

        log = [json.loads(line) for line in self.bytes_of("a", "log.jsonl").splitlines()]
        self.assertLess(log[-1]["loss"], 5.0)  # it began above 6, the log of 512 tokens

        other = os.path.join(self.folder, "other")
        self.run_training("c", "--seed", "2", "--until", "2", "--out", other)
        self.assertNotEqual(self.bytes_of("other", "model.safetensors"), self.bytes_of("straight", "model.safetensors"))

        # The engine takes the folder, and computes what was trained.
        self.assertLess(sum(os.path.getsize(os.path.join(straight, name)) for name in os.listdir(straight)), 8 << 20)
        self.assertEqual(sorted(os.listdir(straight)), ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"])
        self.assertTrue(json.loads(muninn("generate", "-m", straight, "-p", "sort 3 1 :", "-n", "4", "--num-steps", "4", "-o", "json")))
        ids = [0] + Tokenizer(os.path.join(straight, "tokenizer.json")).encode("sort 3 1 : 1 3")
        for steps in (1, 5):
            self.assertLess(largest_difference(raven.load(straight), straight, ids, steps), 2e-4)
        accuracy, agreement = evaluate.measure(raven.load(straight), Tokenizer(os.path.join(straight, "tokenizer.json")), evaluate.documents("sort", None, 20, 0), [1, 4])
        self.assertEqual(agreement[4], 1)
        self.assertTrue(all(0 <= share <= 1 for share in accuracy.values()))

    def test_stops_in_time_and_refuses(self):
        self.run_training("d", "--minutes", "0")
        self.assertEqual(torch.load(os.path.join(self.folder, "d", "checkpoint.pt"))["step"], 0)
        with self.assertRaisesRegex(SystemExit, "was begun with .*'seed': 1"):
            self.run_training("d", "--seed", "2")
        with open(os.path.join(self.folder, "d", "checkpoint.pt"), "r+b") as file:
            file.truncate(100)
        with self.assertRaisesRegex(SystemExit, "checkpoint.pt: is no checkpoint"):
            self.run_training("d")


if __name__ == "__main__":
    unittest.main()
