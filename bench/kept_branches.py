#!/usr/bin/python3
"""What it would bring a wave to keep the old continuation in flight when a prediction changes, from traces of the
wavefront at K 1 and R steps (`muninn generate --strategy wavefront --draft-steps 1 --max-inflight R --trace FILE`).

A row's right follower enters at the first read-out from which the row goes on saying its token (settled), with all
branches kept at the first that says it (all), with two branches, the newest and the one before it, at the first behind
which it is never among the dropped (two). Where only two depths propose, 2 and 8 as in LoopSpec (arXiv 2609.17184), at
the first of them from which both go on saying it (2+8), with the other one kept at the first that says it (2+8, kept).
The wave then moves on by one position in that many steps, so that gamma, tokens per R core steps, is R over their mean.
Rows are not capped, and end effects are left out: bounds.

    python3 bench/kept_branches.py TRACE.jsonl..
"""

import json
import sys


def read(path, n_steps):
    """(predictions at depths 1..R, token) of each committed position whose row took all its steps on a right prefix."""
    seen, found = {}, []
    for line in open(path, encoding="utf-8"):
        event = json.loads(line)
        if event["event"] != "tick":
            continue
        for row in event["rows"]:
            at = event.get("sequence", 0), row["position"]
            if row["depth_before"] == 0:
                seen[at] = []
            seen[at].append(row["predicted"])
        for row, token in zip(event["rows"], event["tokens"]):
            predicted = seen[event.get("sequence", 0), row["position"]]
            if len(predicted) == n_steps:
                found.append((predicted, token))
    return found


def two_branches(read_outs, token):
    """The read-out behind which the token is never lost; the newest two different predictions are kept."""
    kept, since = [], None
    for i, predicted in enumerate(read_outs):
        kept = [predicted, *(other for other in kept if other != predicted)][:2]
        since = None if token not in kept else i if since is None else since
    return since


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    n_steps = json.loads(open(sys.argv[1], encoding="utf-8").readline())["num_steps"]
    found = [one for path in sys.argv[1:] for one in read(path, n_steps)]
    for k in (1, 2, 4):
        settled = two = first = back = 0
        for predicted, token in found:
            outs = [*predicted[k - 1:n_steps - 1:k], predicted[-1]]  # the last one is at full depth
            right = [one == token for one in outs]
            last_wrong = max((i for i, one in enumerate(right) if not one), default=-1)
            settled += min(k * (last_wrong + 2), n_steps)
            first += min(k * (right.index(True) + 1), n_steps)
            two += min(k * (two_branches(outs, token) + 1), n_steps)
            back += right.index(True) <= last_wrong
        n = len(found)
        if k == 1:
            pairs = [(p[1] == token, p[7] == token) for p, token in found]
            ways = {"2+8": [2 if a and b else 8 if b else n_steps for a, b in pairs],
                    "2+8, kept": [2 if a else 8 if b else n_steps for a, b in pairs]}
            print("; ".join(f"proposals at {way}: gamma {n_steps * n / sum(at):.2f}" for way, at in ways.items()))
        print(f"K {k}: {n} tokens, {100 * back / n:.1f} % turn wrong again; gamma {n_steps * n / settled:.2f}, "
              f"two branches {n_steps * n / two:.2f}, all {n_steps * n / first:.2f}")


if __name__ == "__main__":
    main()
