#!/usr/bin/python3
"""Trains a small recurrent-depth model on the corpus of corpus.py.

Every step draws r = Poisson(lognormal(log(rbar) - 1/8, 1/2)) + 1 and a random initial state, runs r steps and sends gradients back through the last few; the loss is
that of the next token after the last step, with weight 1 on answers and less elsewhere. What is trained, in which order, stands in a recipe: a JSON file
with a list of stages. Batch and noise of a step follow from seed and step number alone, so that a run that was interrupted goes on bit for bit.

    python3 models/train.py --recipe models/raven-deep/recipe.json --start models/raven-tiny --work build/train --out build/raven-deep

Start it with MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296: the memory of one step then serves the next, which saves much of the time.
"""

import argparse
import json
import math
import os
import random
import shutil
import time

import torch
import torch.nn.functional as F

import corpus
import evaluate
import raven
from tokens import Tokenizer

STAGE_KEYS = {"steps", "lr", "lr_end", "rbar", "backward_steps", "mix", "sizes", "scaffold", "rows", "wait"}
BESIDE = 0.08  # loss weight of what is no answer
OTHER_DOCUMENTS = 0.25  # share of rows whose documents see those to their left, as they do when a generation goes on


def read_recipe(path):
    with open(path, encoding="utf-8") as file:
        recipe = json.load(file)
    for i, stage in enumerate(recipe["stages"]):
        if stage.keys() != STAGE_KEYS:
            raise SystemExit(f"{path}: stage {i}: has keys {sorted(stage)}, must have {sorted(STAGE_KEYS)}")
        unknown = stage["mix"].keys() - corpus.TASKS.keys()
        if unknown:
            raise SystemExit(f"{path}: stage {i}: key 'mix': no such task: {', '.join(sorted(unknown))}")
        corpus.Sizes(**stage["sizes"])
    return recipe


def stage_at(recipe, step):
    """(stage, steps done in it)."""
    for stage in recipe["stages"]:
        if step < stage["steps"]:
            return stage, step
        step -= stage["steps"]
    return None, 0


def draw_steps(rng, rbar):
    rate, product, n = rng.lognormvariate(math.log(rbar) - 0.125, 0.5), rng.random(), 0
    while product > math.exp(-rate):
        product *= rng.random()
        n += 1
    return n + 1


def draw_batch(rng, tokenizer, stage, rows, length, steps):
    """ids, targets and weights [rows, length + 1] and the mask [rows, 1, length, length]; weights[i] belongs to the prediction of targets[i].

    With `wait` an answer that takes more than `steps` steps has no weight: what is learned from it can only be a guess. With a scaffold (a weight) the places of a question that hold an intermediate result after `steps` steps have that as their target."""
    tasks, shares, sizes = list(stage["mix"]), list(stage["mix"].values()), corpus.Sizes(**stage["sizes"])
    ids, targets, weights, owner, waiting, too_long = [], [], [], [], None, 0
    for _ in range(rows):
        row, target, weight, document_of = [], [], [], []
        while True:
            if waiting is None:
                document = corpus.draw(rng, "train", rng.choices(tasks, shares)[0], sizes)
                tokens, aims, importance, result, known = [tokenizer.begin], [tokenizer.begin], [BESIDE], None, (0, "")
                for text, purpose in document.parts:
                    piece = tokenizer.encode(text)
                    first = len(tokens)
                    tokens += piece
                    aims += piece
                    early = stage["wait"] and purpose == corpus.ANSWERS and known[1] == text.strip() and steps < known[0]
                    importance += [0.0 if early else 1.0 if purpose == corpus.ANSWERS else BESIDE] * len(piece)
                    if result is not None:  # of the place before this part
                        aims[first], importance[first] = result, stage["scaffold"]
                    result = None
                    known = (purpose[0], purpose[1].strip()) if isinstance(purpose, tuple) else known
                    if isinstance(purpose, tuple) and stage["scaffold"] and steps >= purpose[0]:
                        (result,) = tokenizer.encode(purpose[1])
                waiting = (tokens + [tokenizer.end], aims + [tokenizer.end], importance + [importance[-1]])
            tokens, aims, importance = waiting
            if len(tokens) > length + 1:  # the longest of the largest sizes, now and then
                waiting, too_long = None, too_long + 1
                if too_long > 1000:
                    raise SystemExit(f"documents of more than {length + 1} tokens only: --length is too small for this stage")
                continue
            if len(row) + len(tokens) > length + 1:
                break
            document_of += [len(document_of)] * len(tokens)
            row += tokens
            target += aims
            weight += importance
            waiting = None
        space = length + 1 - len(row)
        ids.append(row + [tokenizer.pad] * space)
        targets.append(target + [tokenizer.pad] * space)
        weights.append(weight + [0.0] * space)
        owner.append(document_of + [length + 1] * space)
    owner = torch.tensor(owner)[:, :-1]
    hidden = owner[:, :, None] != owner[:, None, :]
    for i in range(rows):
        if rng.random() < OTHER_DOCUMENTS:
            hidden[i] = False
    hidden |= torch.ones(length, length, dtype=torch.bool).triu(1)
    return torch.tensor(ids), torch.tensor(targets), torch.tensor(weights), torch.zeros(hidden.shape).masked_fill_(hidden, -1e9)[:, None]


def save(path, value):
    torch.save(value, path + ".part")
    os.replace(path + ".part", path)


def export(model, start, out, name):
    """Writes the published layout: weights rounded to bfloat16; everything but the name as in the folder `start`."""
    os.makedirs(out, exist_ok=True)
    with open(os.path.join(start, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    config["name"] = name
    with open(os.path.join(out, "config.json.part"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    os.replace(os.path.join(out, "config.json.part"), os.path.join(out, "config.json"))
    for other in ("generation_config.json", "tokenizer.json"):
        if os.path.realpath(start) != os.path.realpath(out):
            shutil.copyfile(os.path.join(start, other), os.path.join(out, other))
    raven.write_safetensors(os.path.join(out, "model.safetensors"), model.named())


def clock(seconds):
    return f"{int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:{int(seconds) % 60:02d}"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Trains a small recurrent-depth model; goes on where --work holds a checkpoint.")
    parser.add_argument("--recipe", required=True, help="JSON file with the stages")
    parser.add_argument("--start", default="models/raven-tiny", help="model folder that gives shape, tokenizer and, unless --fresh, weights [default: %(default)s]")
    parser.add_argument("--fresh", action="store_true", help="start from random weights")
    parser.add_argument("--work", required=True, help="folder for the checkpoint and the log")
    parser.add_argument("--out", help="model folder to write at the end [default: none]")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--length", type=int, default=96, help="tokens per row [default: 96]")
    parser.add_argument("--minutes", type=float, help="stop, with a checkpoint, after so much time [default: none]")
    parser.add_argument("--until", type=int, help="stop, with a checkpoint, after so many steps [default: the recipe's end]")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints [default: 100]")
    parser.add_argument("--test-every", type=int, default=100, help="steps between short evaluations, 0: none [default: 100]")
    parser.add_argument("--compute", choices=("bf16", "f32"), default="bf16", help="type of activations and products [default: bf16]")
    args = parser.parse_args(arguments)

    torch.set_num_threads(1)
    began = time.monotonic()
    os.makedirs(args.work, exist_ok=True)
    recipe = read_recipe(args.recipe)
    last = sum(stage["steps"] for stage in recipe["stages"])
    until = min(last, args.until if args.until is not None else last)
    compute = torch.bfloat16 if args.compute == "bf16" else torch.float32
    tokenizer = Tokenizer(os.path.join(args.start, "tokenizer.json"))
    if args.fresh:
        with open(os.path.join(args.start, "config.json"), encoding="utf-8") as file:
            model = raven.Raven(raven.Config(json.load(file)), torch.Generator().manual_seed(args.seed))
    else:
        model = raven.load(args.start)
    matrices = [p for name, p in model.named().items() if p.dim() == 2 and "wte" not in name]
    others = [p for name, p in model.named().items() if not (p.dim() == 2 and "wte" not in name)]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=0, betas=(0.9, 0.95))
    step, tokens, checkpoint = 0, 0, os.path.join(args.work, "checkpoint.pt")
    same = {"seed": args.seed, "length": args.length, "compute": args.compute}
    if os.path.exists(checkpoint):
        try:
            saved = torch.load(checkpoint)
        except Exception as error:  # whatever the unpickler trips over
            raise SystemExit(f"{checkpoint}: is no checkpoint: {error}")
        if saved["same"] != same:
            raise SystemExit(f"{checkpoint}: was begun with {saved['same']}, not with {same}")
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, tokens = saved["step"], saved["tokens"]
        print(f"going on at step {step}", flush=True)
    log = open(os.path.join(args.work, "log.jsonl"), "a", encoding="utf-8")
    average, first, passed, test = None, step, 0, {}

    def keep():
        save(checkpoint, {"same": same, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step, "tokens": tokens})

    while step < until:
        if args.minutes is not None and time.monotonic() - began > 60 * args.minutes:
            break
        stage, inside = stage_at(recipe, step)
        rng = random.Random(f"{args.seed} {step}")
        generator = torch.Generator().manual_seed(args.seed * 1_000_003 + step)
        steps = draw_steps(rng, stage["rbar"])
        ids, targets, weights, mask = draw_batch(rng, tokenizer, stage, stage["rows"], args.length, steps)
        state = model.random_state((stage["rows"], args.length, model.config.d), generator)
        logits = model(ids[:, :-1], mask, steps, stage["backward_steps"], state, compute)
        losses = F.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), reduction="none") * weights[:, 1:].flatten()
        loss = losses.sum() / weights[:, 1:].sum()
        rate = stage["lr"] + (stage["lr_end"] - stage["lr"]) * inside / stage["steps"]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not math.isfinite(float(norm)):
            raise SystemExit(f"step {step}: the gradient is not finite")
        optimizer.step()
        step += 1
        passed += ids[:, 1:].numel()
        tokens += int((ids[:, 1:] != tokenizer.pad).sum())
        average = float(loss) if average is None else 0.98 * average + 0.02 * float(loss)
        if step % args.save_every == 0:
            keep()
        if args.test_every and step % args.test_every == 0:
            test = {}
            for task, size in (("hops", 1), ("hops", 2), ("hops", 3), ("hops", 4), ("let", 3), ("let", 6), ("sum", 2), ("sum", 3), ("sum", 4), ("sum", 6), ("sum", 8), ("sum", 12), ("let", 8),
                               ("parity", 8), ("parity", 12), ("sums", None), ("add", None), ("sort", None)):
                accuracy, _ = evaluate.measure(model, tokenizer, evaluate.documents(task, size, 50, 0), [2, 8, 16], compute)
                test[task if size is None else f"{task} {size}"] = [round(accuracy[r], 2) for r in (2, 8, 16)]
        if step % 20 == 0 or test:
            spent = time.monotonic() - began
            left = spent / (step - first) * (until - step)
            if args.minutes is not None:
                left = min(left, 60 * args.minutes - spent)
            print(f"step {step}/{until}  loss {average:.4f}  lr {rate:.2e}  r {steps}  {tokens / 1e6:.2f} M tokens  {passed / spent:.0f} tok/s  "
                  f"{clock(spent)} spent, {clock(max(0, left))} left" + ("  " + json.dumps(test) if test else ""), flush=True)
            json.dump({"step": step, "loss": average, "tokens": tokens, "seconds": spent, "test": test}, log)
            log.write("\n")
            log.flush()
            test = {}
    keep()
    log.close()
    if args.out:
        export(model, args.start, args.out, os.path.basename(os.path.normpath(args.out)))
        print(f"wrote {args.out}", flush=True)


if __name__ == "__main__":
    main()
