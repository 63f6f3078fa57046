#!/usr/bin/python3
"""What bench/depth.sh does with text: documents of the corpus become lines to score and prompts to trace; results become tables, pictures and pages.

    python3 bench/depth.py lines COUNT > LINES.jsonl                held-out questions of every task and size, for `muninn score`
    python3 bench/depth.py texts PREFIX TASK SIZE COUNT             held-out documents as PREFIX-0.txt, .., for `muninn trace --raw -f`; size 0: any
    python3 bench/depth.py gather SUMMARIES.jsonl TRACE.jsonl... > RESULTS.jsonl       summaries and the sums over traces, without the bulk
    python3 bench/depth.py draw TRACE.jsonl > MAP.svg                                  a convergence heat map
    python3 bench/depth.py fill docs/depth.md RESULTS.jsonl                            writes the tables between the page's markers
"""

import json
import math
import os
import random
import re
import sys
from xml.sax.saxutils import escape

CRITERIA = ["latent-diff", "cosine", "entropy-diff", "kl", "minp-kl", "argmax-stability"]
DEPTHS = [1, 2, 4, 8, 16, 32]
RAMP = [(68, 1, 84), (65, 68, 135), (42, 120, 142), (34, 168, 132), (122, 209, 81), (253, 231, 37)]  # that of muninn report


def read(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


# ---- before the runs ----


SUITE = [(task, None) for task in ("add", "sub", "story", "sort", "reverse", "count", "sums")]
SUITE += [(task, size) for task, sizes in (("hops", range(1, 9)), ("let", range(1, 9)), ("sum", (*range(2, 9), 10, 12, 14)), ("parity", (6, 7, 8, 10, 12, 14))) for size in sizes]


def documents(task, size, count, seed):
    """Up to `count` held-out documents with different texts, as lists of their parts' texts; a small task may hold fewer. One question each, whose answer is the last part."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models"))
    import corpus

    rng, seen = random.Random(f"depth {seed} {task} {size}"), {}
    for _ in range(50 * count):
        parts = [part[0] for part in corpus.draw(rng, "held-out", task, corpus.Sizes(queries=1), size).parts]
        seen.setdefault("".join(parts), parts)
        if len(seen) == count:
            break
    return list(seen.values())


def lines(count):
    for task, size in SUITE:
        for parts in documents(task, size, int(count), 1):
            print(json.dumps({"context": "".join(parts[:-1]), "continuation": parts[-1], "task": task if size is None else f"{task} {size}"}))


def texts(prefix, task, size, count):
    """One file per document, for `muninn trace --raw -f`. Size 0: any."""
    for i, parts in enumerate(documents(task, int(size) or None, int(count), 2)):
        with open(f"{prefix}-{i}.txt", "w", encoding="utf-8") as file:
            file.write("".join(parts))


# ---- results ----


def gather(summaries, *traces):
    for row in read(summaries):
        if row.get("summary", {}).get("metric") == "is_greedy":
            print(json.dumps(row))
    tokens, agree, exits, classes, header = 0, dict.fromkeys(DEPTHS, 0), {c: {} for c in CRITERIA}, {}, {}
    independence = []
    for path in traces:
        for row in read(path):
            if row["bench"] == "trace_header":
                header = row
            elif row["bench"] == "trace":
                tokens += 1
                for depth in agree:
                    agree[depth] += depth <= len(row["top1_is_final"]) and row["top1_is_final"][depth - 1]
                for c in CRITERIA:
                    step = row["exits"][c] if row["exits"][c] is not None else "never"
                    exits[c][step] = exits[c].get(step, 0) + 1
                classes[row["class"]] = classes.get(row["class"], 0) + 1
            else:
                independence.append((row["tokens"], row["path_independence"]))
    weight = sum(n for n, _ in independence)
    print(json.dumps({"bench": "depth_traces", "traces": {
        **{key: header[key] for key in ("device", "driver", "model", "model_hash", "weight_type", "kv_type", "num_steps", "version", "commit", "exit_rules", "terminal_rule", "init_scale", "inits")},
        "documents": len(traces), "tokens": tokens, "top1_is_final": {str(d): n / tokens for d, n in agree.items()}, "exits": exits, "classes": classes,
        "path_independence": {"mean_distance": sum(n * row["mean_distance"] for n, row in independence) / weight, "largest_distance": max(row["largest_distance"] for _, row in independence),
                              "top1_agreement": sum(n * row["top1_agreement"] for n, row in independence) / weight}}}))


def natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def accuracy_table(results):
    groups = {}
    for row in results:
        summary = row.get("summary", {})
        if summary.get("metric") == "is_greedy" and "group" in summary:
            groups.setdefault(summary["group"], {})[summary["num_steps"]] = summary
    depths = sorted({depth for group in groups.values() for depth in group})
    out = ["| task | n | " + " | ".join(f"R = {d}" for d in depths) + " |", "|---|---:|" + "---:|" * len(depths)]
    for name in sorted(groups, key=natural):
        out.append(f"| {name} | {groups[name][depths[0]]['n']} | " + " | ".join(f"{groups[name][d]['value']:.2f}" for d in depths) + " |")
    everything = [sum(group[d]["value"] for group in groups.values()) / len(groups) for d in depths]
    out.append("| **mean of the tasks** | | " + " | ".join(f"**{value:.3f}**" for value in everything) + " |")
    return out


def traces_of(results):
    return next(row["traces"] for row in results if "traces" in row)


def agreement_table(results):
    t = traces_of(results)
    depths = list(t["top1_is_final"])
    return ["| | " + " | ".join(f"R = {d}" for d in depths) + " |", "|---|" + "---:|" * len(depths),
            f"| best next token is that of R = {t['num_steps']} | " + " | ".join(f"{t['top1_is_final'][d]:.3f}" for d in depths) + " |"]


def exit_table(results):
    """Steps are binned where they become rare, so that the table can be read."""
    t = traces_of(results)
    bins = [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8), (9, 12), (13, 16), (17, 32)]
    bins = [(low, high) for low, high in bins if low <= t["num_steps"]]
    out = ["| criterion | " + " | ".join(str(a) if a == b else f"{a}-{b}" for a, b in bins) + " | never | mean |", "|---|" + "---:|" * (len(bins) + 2)]
    for c in CRITERIA:
        steps = {int(step): n for step, n in t["exits"][c].items() if step != "never"}
        never = t["exits"][c].get("never", 0)
        mean = (sum(step * n for step, n in steps.items()) + never * t["num_steps"]) / t["tokens"]
        out.append(f"| {c} | " + " | ".join(str(sum(n for step, n in steps.items() if low <= step <= high)) for low, high in bins) + f" | {never} | {mean:.1f} |")
    return out


def about(results):
    t = traces_of(results)
    classes = ", ".join(f"{n} {name}" for name, n in sorted(t["classes"].items(), key=lambda item: -item[1]))
    p = t["path_independence"]
    return [f"Model {t['model']} (hash {t['model_hash']}), weights {t['weight_type']}, cache {t['kv_type']}, R = {t['num_steps']}; {t['device']}, {t['driver']}; muninn {t['version']}.",
            f"{t['documents']} held-out documents, {t['tokens']} tokens. How trajectories end: {classes}.",
            f"From {t['inits']} random initial states (scale {t['init_scale']:g}) the last states lie {p['mean_distance']:.2g} |s| from those of the zero start on average, "
            f"{p['largest_distance']:.2g} at most; {100 * p['top1_agreement']:.1f} % of the best tokens are the same."]


def fill(page, results_path):
    results = read(results_path)
    with open(page, encoding="utf-8") as file:
        text = file.read()
    for name, make in (("accuracy", accuracy_table), ("agreement", agreement_table), ("exits", exit_table), ("about", about)):
        begin, end = f"<!-- {name}: made by bench/depth.sh -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            sys.exit(f"{page}: must have the markers of {name} once")
        head, rest = text.split(begin)
        text = head + begin + "\n".join(make(results)) + "\n" + end + rest.split(end)[1]
    whole = page + ".part"  # the page is in the repository: it changes as a whole or not at all
    with open(whole, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(whole, page)


# ---- pictures ----


def colour(at):
    place = min(1.0, max(0.0, at)) * (len(RAMP) - 1)
    i = min(len(RAMP) - 2, int(place))
    return "#" + "".join(f"{round(a + (b - a) * (place - i)):02x}" for a, b in zip(RAMP[i], RAMP[i + 1]))


def shown(token):
    """Blanks visible; what is no printable character as its number."""
    return "".join("\u2423" if c == " " else c if c.isprintable() else f"\\u{ord(c):04x}" for c in token)[:16] or "\u2205"


def draw(path):
    rows = [row for row in read(path) if row["bench"] == "trace"]
    header = read(path)[0]
    steps, left, top, cell, high, gap = header["num_steps"], 130, 52, 11, 15, 40
    panels = [("change", "relative change of the state", "latent-diff"), ("kl", "KL to the last step, nats", "kl")]
    wide = left + len(panels) * (steps * cell + gap)
    tall = top + len(rows) * high + 40
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}" viewBox="0 0 {wide} {tall}" font-family="sans-serif" font-size="11" fill="#1b1f24">',
           f'<rect width="{wide}" height="{tall}" fill="#fff"/>']
    for i, row in enumerate(rows):
        out.append(f'<text x="{left - 6}" y="{top + i * high + 11}" text-anchor="end">{escape(shown(row["text"]))}</text>')
    for k, (key, title, criterion) in enumerate(panels):
        x0 = left + k * (steps * cell + gap)
        values = [v for row in rows for v in row[key] if v > 0]
        largest = math.log10(max(values))
        lowest = max(largest - 8, math.log10(min(values)))
        out.append(f'<text x="{x0}" y="16" font-weight="bold">{escape(title)}</text>')
        out.append(f'<text x="{x0}" y="34">{10 ** lowest:.1e}</text>')
        for i in range(40):
            out.append(f'<rect x="{x0 + 52 + i * 3}" y="25" width="3.2" height="10" fill="{colour(i / 39)}"/>')
        out.append(f'<text x="{x0 + 178}" y="34">{10 ** largest:.1e}; frame: exit by {criterion}</text>')
        cells = {}
        for i, row in enumerate(rows):
            for step, value in enumerate(row[key], 1):
                at = (math.log10(value) - lowest) / ((largest - lowest) or 1) if value > 0 else 0
                cells.setdefault(round(63 * max(0, at)), []).append(f"M{x0 + (step - 1) * cell} {top + i * high}h{cell - 0.5}v{high - 0.5}h-{cell - 0.5}z")
        out += [f'<path d="{"".join(cells[level])}" fill="{colour(level / 63)}"/>' for level in sorted(cells)]
        for i, row in enumerate(rows):
            if row["exits"][criterion]:
                out.append(f'<rect x="{x0 + (row["exits"][criterion] - 1) * cell}" y="{top + i * high}" width="{cell - 0.5}" height="{high - 0.5}" fill="none" stroke="#e00" stroke-width="1.5"/>')
        for step in range(1, steps + 1):
            if step == 1 or step % 4 == 0:
                out.append(f'<text x="{x0 + (step - 0.5) * cell}" y="{top + len(rows) * high + 13}" text-anchor="middle">{step}</text>')
        out.append(f'<text x="{x0 + steps * cell / 2}" y="{top + len(rows) * high + 30}" text-anchor="middle">step</text>')
    print("\n".join(out + ["</svg>"]))


COMMANDS = {"lines": (lines, 1), "texts": (texts, 4), "draw": (draw, 1), "fill": (fill, 2), "gather": (gather, None)}

if __name__ == "__main__":
    name, args = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name not in COMMANDS or (len(args) != COMMANDS[name][1] if COMMANDS[name][1] else len(args) < 2):
        sys.exit(__doc__.strip())
    COMMANDS[name][0](*args)
