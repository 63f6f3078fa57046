#!/usr/bin/python3
"""What bench/quantisation.sh does with text: held-out documents become what the program reads; what it wrote becomes rows, and rows become tables.

    python3 bench/quantisation.py texts COUNT > TEXTS.jsonl           documents of every task and size, for `muninn divergence`
    python3 bench/quantisation.py lines COUNT > LINES.jsonl           others, as questions and answers, for `muninn score`
    python3 bench/quantisation.py prompts COUNT > PROMPTS.jsonl       questions with long answers, for `muninn bench`
    python3 bench/quantisation.py documents PREFIX COUNT              documents as PREFIX-TASK-0.txt, .., for `muninn trace`
    python3 bench/quantisation.py gather WORK REFERENCE > ROWS.jsonl  the rows of one model's folder, those of lines and tokens added up
    python3 bench/quantisation.py fill docs/quantisation.md RESULTS   writes the tables between the page's markers
    python3 bench/quantisation.py check docs/quantisation.md RESULTS  says where the page has other tables than the rows give
"""

import json
import math
import os
import sys
from pathlib import Path

import depth

TASKS = ["add", "sub", "story", "sort", "reverse", "count", "sums", "hops", "let", "sum", "parity"]
MODELS = ["raven-deep", "raven-tiny"]
IDENTITY = ["version", "commit", "build", "device", "device_id", "driver", "driver_version", "model", "model_hash"]
Z = 1.959963984540054  # 95 % of a normal distribution


# ---- before the runs ----


def texts(count):
    for task, size in depth.SUITE:
        for parts in depth.documents(task, size, int(count), 3):
            print(json.dumps({"text": "".join(parts)}))


def lines(count):
    """As many for a task without sizes as for one with them, nearly."""
    for task, size in depth.SUITE:
        for parts in depth.documents(task, size, int(count) * (8 if size is None else 1), 4):
            print(json.dumps({"context": "".join(parts[:-1]), "continuation": parts[-1], "task": task}))


def prompts(count):
    for task in ("story", "sums", "sort", "reverse"):
        for parts in depth.documents(task, None, int(count) * (4 if task == "story" else 2), 5):
            print(json.dumps({"prompt": "".join(parts[:-1])}))


def documents(prefix, count):
    for task in ("add", "story", "sort", "let", "sum", "parity"):
        depth.texts(f"{prefix}-{task}", task, 0, max(1, int(count) // 3))


# ---- rows ----


def named(kind, identity, weight_type, kv_type, rest, values):
    """A row with what it stands for; `rest` [(key, value)] is in its name, too."""
    rest = [("weight_type", weight_type), ("kv_type", kv_type), *rest]
    key = "|".join([kind, *(str(identity[k]) for k in IDENTITY if k != "model"), *(f"{k} {v}" for k, v in rest)])
    return {"key": key, "bench": kind, **{k: identity[k] for k in IDENTITY}, **dict(rest), **values}


def score_rows(folders, reference):
    """Per type, task and depth: answers that are right, and those that the reference has right and this type wrong, and the other way."""
    hits, identity = {}, {}
    for name, folder in folders:
        for row in depth.read(folder / "score.jsonl"):
            hits.setdefault(name, {})[row["line"], row["task"], row["num_steps"]] = row["is_greedy"]
            identity[name] = row["run"]
    for name, own in hits.items():
        if own.keys() != hits[reference].keys() or identity[name]["commit"] != identity[reference]["commit"]:
            sys.exit(f"{name}: other lines were scored than with {reference}, or by another commit")
        groups = {}
        for (line, task, steps), hit in own.items():
            was, g = hits[reference][line, task, steps], groups.setdefault((task, steps), [0, 0, 0, 0])
            for i, add in enumerate((1, hit, was and not hit, hit and not was)):
                g[i] += add
        for (task, steps), g in sorted(groups.items(), key=lambda item: (TASKS.index(item[0][0]), item[0][1])):
            yield named("quantisation_accuracy", identity[name], name, identity[name]["kv_type"], [("task", task), ("num_steps", steps)],
                        {"reference_weight_type": reference, **dict(zip(("n", "right", "lost", "gained"), g))})


def exit_rows(folders, reference):
    """Per type and criterion: the mean exit step over the tokens of all documents, and how far tokens' steps lie from the reference's. Never is the last step."""
    steps, identity = {}, {}
    for name, folder in folders:
        for path in sorted(folder.glob("trace-*.jsonl")):
            header, *tokens = [row for row in depth.read(path) if row["bench"] in ("trace_header", "trace")]
            identity[name] = header
            for i, row in enumerate(tokens):
                for criterion, at in row["exits"].items():
                    steps.setdefault(name, {}).setdefault(criterion, {})[path.name, i] = at if at is not None else header["num_steps"]
    for name, own in steps.items():
        for criterion, at in own.items():
            was = steps[reference][criterion]
            if at.keys() != was.keys() or identity[name]["commit"] != identity[reference]["commit"]:
                sys.exit(f"{name}: other documents were traced than with {reference}, or by another commit")
            n, differences = len(at), [at[k] - was[k] for k in at]
            yield named("quantisation_exit", identity[name], name, identity[name]["kv_type"], [("criterion", criterion), ("num_steps", identity[name]["num_steps"])],
                        {"reference_weight_type": reference, "tokens": n, "exit_mean": sum(at.values()) / n, "reference_exit_mean": sum(was.values()) / n, "same": sum(d == 0 for d in differences),
                         "change_mean": sum(map(abs, differences)) / n, "change_max": max(map(abs, differences))})


def draft_rows(folders):
    for name, folder in folders:
        for row in depth.read(folder / "bench.jsonl"):
            yield named("quantisation_drafts", row, name, row["kv_type"], [(k, row[k]) for k in ("strategy", "num_steps", "draft_steps", "lookahead")],
                        {k: row[k] for k in ("prompts", "prompt_set", "total_new_tokens", "rounds", "drafted", "accepted", "acceptance_rate", "mean_acceptance_length", "lossless", "equals_ar")})


def gather(work, reference):
    work = Path(work)
    compared = depth.read(work / "divergence.jsonl")
    order = [reference, *once(row["weight_type"] for row in compared)]
    folders = sorted(((path.name, path) for path in work.iterdir() if path.is_dir()), key=lambda item: order.index(item[0]) if item[0] in order else len(order))
    rows = compared + [*score_rows(folders, reference), *exit_rows(folders, reference), *draft_rows(folders)]
    for key in IDENTITY:
        if key != "commit" and len({row[key] for row in rows}) != 1:
            sys.exit(f"{work}: rows of several kinds of {key}, {sorted({str(row[key]) for row in rows})}: begin with an empty folder")
    for row in rows:
        print(json.dumps(row))


# ---- tables ----


def small(x):
    """Two digits: 1.2e-05."""
    return "0" if x == 0 else f"{x:.1e}"


def share(value, low, high):
    return f"{100 * value:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def wilson(hits, n):
    p, z2 = hits / n, Z * Z
    centre, half = (p + z2 / (2 * n)) / (1 + z2 / n), Z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return centre - half, centre + half


def of(rows, kind, **wanted):
    return [row for row in rows if row["bench"] == kind and all(row[k] == v for k, v in wanted.items())]


def once(items):
    return list(dict.fromkeys(items))


def table(head, body, left=1):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * left + "---:|" * (len(head) - left), *("| " + " | ".join(map(str, line)) + " |" for line in body)]


def is_group(row):
    return row["weight_type"].startswith(row["reference_weight_type"] + "+")


def depths_of(rows):
    return sorted({row["num_steps"] for row in rows})


def at_depths(rows, key, cell):
    """A line per value of `key`, a column per depth."""
    depths = depths_of(rows)
    found = {(row[key], row["num_steps"]): row for row in rows}
    return table(["", *(f"R = {d}" for d in depths)], [[name, *(cell(found[name, d]) for d in depths)] for name in once(row[key] for row in rows)])


def kl_cell(row):
    return f"{small(row['kl_mean'])} ({small(row['kl_low'])} to {small(row['kl_high'])})" if row["kl_mean"] else "0"


def top1_cell(row):
    return share(row["top1_agreement"], row["top1_low"], row["top1_high"])


def whole_types(rows):
    return [row for row in of(rows, "quantisation") if row["kv_type"] == row["reference_kv_type"] and not is_group(row)]


def caches(rows):
    return [row for row in of(rows, "quantisation") if row["kv_type"] != row["reference_kv_type"]]


def about(rows):
    first = of(rows, "quantisation")[0]
    lines_n = sum(row["n"] for row in of(rows, "quantisation_accuracy", weight_type=first["reference_weight_type"], num_steps=depths_of(of(rows, "quantisation_accuracy"))[0]))
    traced = of(rows, "quantisation_exit", weight_type=first["reference_weight_type"])[0]["tokens"]
    return [f"Model {first['model']} (hash {first['model_hash']}), reference {first['reference_weight_type']}; {first['device']}, {first['driver']}; muninn {first['version']}, commit {', '.join(once(row['commit'] for row in rows))}.",
            f"{first['texts']} held-out documents with {first['positions']} predicted tokens, {lines_n} other questions for accuracy, {traced} traced tokens."]


def divergence_table(rows):
    return at_depths(whole_types(rows), "weight_type", kl_cell)


def agreement_table(rows):
    return at_depths(whole_types(rows), "weight_type", top1_cell)


def worst_table(rows):
    last = [row for row in whole_types(rows) if row["num_steps"] == depths_of(whole_types(rows))[-1]]
    return table(["", "bytes of the weights", "99 % of tokens below", "largest KL", "largest logit error", "nats per token of the text", "reference's"],
                 [[row["weight_type"], row["weight_bytes"], small(row["kl_p99"]), small(row["kl_max"]), small(row["logit_error_max"]), f"{row['nll_mean']:.4f}", f"{row['reference_nll_mean']:.4f}"] for row in last])


def group_table(rows):
    """The most harmful first, by the deepest recurrence. What a group saves is told by the bytes of its model."""
    groups = [row for row in of(rows, "quantisation") if is_group(row)]
    depths = depths_of(groups)
    found = {(row["weight_type"], row["num_steps"]): row for row in groups}
    full = next(row["weight_bytes"] for row in whole_types(rows) if row["weight_type"] == row["reference_weight_type"])
    names = sorted({row["weight_type"] for row in groups}, key=lambda name: -found[name, depths[-1]]["kl_mean"])
    body = []
    for name in names:
        row = found[name, depths[-1]]
        saved = full - row["weight_bytes"]
        body.append([f"`{name}`", saved, *(small(found[name, d]["kl_mean"]) for d in depths[:-1]), kl_cell(row), top1_cell(row), small(row["kl_mean"] / saved * 1e6) if saved else "-"])
    return table(["", "bytes saved", *(f"KL, R = {d}" for d in depths), f"same best token, R = {depths[-1]}, %", "KL per MB saved"], body)


def cache_table(rows):
    kl = at_depths(caches(rows), "kv_type", kl_cell)
    return [*kl, "", *at_depths(caches(rows), "kv_type", top1_cell)]


def accuracy_table(rows):
    rows = of(rows, "quantisation_accuracy")
    depths, types = depths_of(rows), once(row["weight_type"] for row in rows)
    found = {(row["task"], row["weight_type"], row["num_steps"]): row for row in rows}
    body = []
    for task in once(row["task"] for row in rows):
        for name in types:
            line = [found[task, name, d] for d in depths]
            body.append([task if name == types[0] else "", name, line[0]["n"], *(f"{row['right'] / row['n']:.2f}" for row in line)])
    return table(["task", "weights", "n", *(f"R = {d}" for d in depths)], body, left=2)


def answers_table(rows):
    """Over all questions: the share that is right, and how many the type loses and gains."""
    rows = of(rows, "quantisation_accuracy")
    depths, body = depths_of(rows), []
    for name in once(row["weight_type"] for row in rows):
        line = [name]
        for d in depths:
            own = [row for row in rows if row["weight_type"] == name and row["num_steps"] == d]
            n, right, lost, gained = (sum(row[k] for row in own) for k in ("n", "right", "lost", "gained"))
            line.append(f"{100 * right / n:.1f}" + ("" if name == own[0]["reference_weight_type"] else f" (-{lost} +{gained})"))
        body.append(line)
    return table(["", *(f"R = {d}" for d in depths)], body)


def exit_table(rows):
    rows = of(rows, "quantisation_exit")
    types = [name for name in once(row["weight_type"] for row in rows) if name != rows[0]["reference_weight_type"]]
    found = {(row["criterion"], row["weight_type"]): row for row in rows}
    body = []
    for criterion in once(row["criterion"] for row in rows):
        line = [criterion, f"{found[criterion, rows[0]['reference_weight_type']]['exit_mean']:.2f}"]
        for name in types:
            row = found[criterion, name]
            line += [f"{row['exit_mean']:.2f}", f"{100 * row['same'] / row['tokens']:.1f}", f"{row['change_mean']:.2f}", row["change_max"]]
        body.append(line)
    return table(["criterion", f"{rows[0]['reference_weight_type']}: mean step", *(f"{name}: {what}" for name in types for what in ("mean step", "same, %", "mean change", "largest"))], body)


def draft_table(rows):
    rows = of(rows, "quantisation_drafts")
    ks, body = sorted({row["draft_steps"] for row in rows}), []
    found = {(row["weight_type"], row["draft_steps"]): row for row in rows}
    for name in once(row["weight_type"] for row in rows):
        own = [found[name, k] for k in ks]
        body.append([name, *(f"{100 * row['acceptance_rate']:.1f} ({100 * wilson(row['accepted'], row['drafted'])[0]:.1f} to {100 * wilson(row['accepted'], row['drafted'])[1]:.1f}) of {row['drafted']}" for row in own),
                     "yes" if all(row["lossless"] and row["equals_ar"] for row in own) else "NO"])
    return table(["", *(f"K = {k}, L = {found[once(row['weight_type'] for row in rows)[0], k]['lookahead']}" for k in ks), "tokens of its own `ar`"], body)


TABLES = {"about": about, "divergence": divergence_table, "agreement": agreement_table, "worst": worst_table, "groups": group_table, "caches": cache_table, "answers": answers_table,
          "accuracy": accuracy_table, "exits": exit_table, "drafts": draft_table}


def filled(page, results):
    text = Path(page).read_text(encoding="utf-8")
    for model in MODELS:
        rows = depth.read(Path(results) / f"quantisation-{model}.jsonl")
        for name, make in TABLES.items():
            begin, end = f"<!-- {model} {name}: made by bench/quantisation.sh -->\n", f"<!-- end of {model} {name} -->"
            if text.count(begin) != 1 or text.count(end) != 1:
                sys.exit(f"{page}: must have the markers of {model} {name} once")
            head, rest = text.split(begin)
            text = head + begin + "\n".join(make(rows)) + "\n" + end + rest.split(end)[1]
    return text


def fill(page, results):
    whole = page + ".part"  # the page is in the repository: it changes as a whole or not at all
    Path(whole).write_text(filled(page, results), encoding="utf-8")
    os.replace(whole, page)


def check(page, results):
    wanted, got = filled(page, results).splitlines(), Path(page).read_text(encoding="utf-8").splitlines()
    for i, (a, b) in enumerate(zip(wanted, got)):
        if a != b:
            sys.exit(f"{page}: line {i + 1}:\n  {b}\nthe rows give:\n  {a}")
    if len(wanted) != len(got):
        sys.exit(f"{page}: {len(got)} lines, the rows give {len(wanted)}")


COMMANDS = {"texts": (texts, 1), "lines": (lines, 1), "prompts": (prompts, 1), "documents": (documents, 2), "gather": (gather, 2), "fill": (fill, 2), "check": (check, 2)}

if __name__ == "__main__":
    name, args = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name not in COMMANDS or len(args) != COMMANDS[name][1]:
        sys.exit(__doc__.strip())
    COMMANDS[name][0](*args)
