#!/usr/bin/python3
"""Goal: a row of a results file stands for what was measured, and a file outlives every kill.

Method: `bench`, `score` and `trace` on copies of raven-tiny: reached by other paths, with one file changed, on two devices of one name (the
software driver, listed twice). Runs are killed at random moments and resumed until they end; what is in the file then is compared with a run
that nobody disturbed. The seed is printed.
Usage: test_results.py path/to/muninn source_dir [seed]   (exit 77 when there is no Vulkan device: skipped)
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

muninn, source = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2]).resolve()
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(1 << 32)
draw = random.Random(seed)
top = Path(tempfile.mkdtemp(prefix="muninn-results-"))
# Muninn's own cache is new; the driver's, of shaders, is the user's: without it every start compiles for seconds.
shaders = os.environ.get("MESA_SHADER_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
environment = {**os.environ, "XDG_CACHE_HOME": str(top / "cache"), "MESA_SHADER_CACHE_DIR": shaders, "LC_ALL": "C.UTF-8"}
failed = []


def check(name, good, *detail):
    print("ok     " if good else "FAILED ", name, *([] if good else detail), flush=True)
    if not good:
        failed.append(name)


def same(name, got, wanted):
    check(name, got == wanted, f"\n        wanted {wanted!r:.600}\n        got    {got!r:.600}")


def run(*arguments, cwd=top, **more):
    done = subprocess.run([muninn, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=600, env={**environment, **more})
    return done.returncode, done.stdout, done.stderr


def rows_of(text):
    return [json.loads(line) for line in text.splitlines()]


def keys_of(path):
    return [row["key"] for row in rows_of(Path(path).read_text())]


def bench(*arguments, **more):
    code, out, err = run("bench", "--strategy", "ar", "--num-steps", 2, "-n", 2, "-r", 1, "--min-seconds", 0, "-o", "jsonl", *arguments, **more)
    check("bench " + " ".join(map(str, arguments)), code == 0, code, err)
    return rows_of(out)


# ---- names ----


def check_names(tiny):
    """One model, whatever its path: one key."""
    link, hub = top / "link", top / "models--someone--raven-tiny" / "snapshots" / "0123abcd"
    link.symlink_to("raven-tiny")
    hub.mkdir(parents=True)
    for file in tiny.iterdir():
        (hub / file.name).symlink_to(file)
    first = bench("-m", tiny)[0]
    for path, cwd in ((".", tiny), (str(tiny) + "/", top), ("raven-tiny/.", top), (link, top), (hub, top)):
        row = bench("-m", path, cwd=cwd)[0]
        same(f"{path}: key, name and hash", [row[k] for k in ("key", "model", "model_hash")], [first[k] for k in ("key", "model", "model_hash")])
    same("the name", first["model"], "raven-tiny")
    for key in ("version", "commit", "build", "device", "device_id", "driver", "driver_version", "cpu_threads", "model_hash", "weight_type"):
        check(f"the row's {key} is in its key", f"|{first[key]}|" in first["key"])
    # Another folder's name is no other model: neither for resuming nor for pairs and speedups.
    other = top / "another-name"
    shutil.copytree(tiny, other)
    row = bench("-m", other, "--results", top / "one.jsonl")[0]
    same("a copy by another name: key", row["key"], first["key"])
    same("a copy by another name: name", row["model"], "another-name")
    code, _, err = run("bench", "-m", tiny, "--strategy", "ar", "--num-steps", 2, "-n", 2, "-r", 1, "--min-seconds", 0, "--results", top / "one.jsonl", "--resume")
    check("and is there already for --resume", code == 0 and "1 settings were in" in err, code, err)
    more = bench("-m", tiny, "--strategy", "draft-verify", "--draft-steps", 1, "--lookahead", 2)[0]
    (top / "two.jsonl").write_text("".join(json.dumps(r) + "\n" for r in (row, more)))
    code, out, _ = run("merge", top / "two.jsonl")
    check("and the baseline of its speedups", code == 0 and all(r["speedup"] for r in rows_of(out)), out)


def check_pairs():
    """`compare` pairs by content; by name where no content is equal, and says so."""
    base = {"bench": "run", "strategy": "ar", "num_steps": 4, "device": "d", "decode_samples": [1.0, 2.0, 3.0]}
    row = lambda model, model_hash, **more: {**base, "key": f"{model}{model_hash}{more}", "model": model, "model_hash": model_hash, **more}  # noqa: E731

    def pairs(a, b, *options):
        for name, rows in (("a", a), ("b", b)):
            (top / name).write_text("".join(json.dumps(r) + "\n" for r in rows))
        code, out, err = run("compare", "-o", "json", *options, top / "a", top / "b")
        result = json.loads(out) if code == 0 else {}
        return code, len(result.get("pairs", [])), json.dumps(result.get("changed", result)), err

    code, n, _, err = pairs([row("x", "1"), row("y", "2")], [row("z", "1"), row("x", "3")])
    same("compare: pairs by content", (code, n), (0, 1))
    code, n, changes, _ = pairs([row("x", "1")], [row("x", "2")])
    check("compare: by name, and the hash is said to differ", (code, n) == (0, 1) and "model_hash" in changes, code, n, changes)
    code, _, _, err = pairs([row("x", "1")], [row("y", "2")])
    check("compare: neither", code == 4 and "no setting in common" in err, code, err)
    same("compare: --ignore model", pairs([row("x", "1")], [row("y", "2")], "--ignore", "model")[:2], (0, 1))
    code, n, changes, _ = pairs([row("x", "1", device_id="u1"), row("x", "1", device_id="u2")], [row("x", "1", device_id="u2"), row("x", "1", device_id="u1")])
    check("compare: each of two equal devices with itself", (code, n) == (0, 2) and "device_id" not in changes, changes)


# ---- changed models ----


def edit_config(folder):
    config = json.loads((folder / "config.json").read_text())
    config["norm_eps"] = 1e-5
    (folder / "config.json").write_text(json.dumps(config))


def edit_generation(folder):
    (folder / "generation_config.json").write_text('{"bos_token_id": 0, "eos_token_id": [1, 4, 226]}')


def edit_tokenizer(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocab = tokenizer["model"]["vocab"]
    vocab["0"], vocab["9"] = vocab["9"], vocab["0"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def edit_weights(folder):
    """One bit in the middle, size and times kept."""
    path = folder / "model.safetensors"
    info, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def check_changed(tiny):
    lines = top / "lines.jsonl"
    lines.write_text('{"context":"sort 2 8 0 1 :","answer":"0 1 2 8","stop":["end"]}\n{"context":"sort 2 8 :","continuation":" 2 8"}\n')
    score = ("score", "-f", lines, "--num-steps", 4, "-n", 8, "-o", "jsonl")
    folder = top / "changing"
    for name, edit in (("config.json", edit_config), ("generation_config.json", edit_generation), ("tokenizer.json", edit_tokenizer), ("model.safetensors", edit_weights)):
        shutil.copytree(tiny, folder)
        results, benched = top / f"score-{name}.jsonl", top / f"bench-{name}.jsonl"
        run(*score, "-m", folder, "--results", results)
        bench("-m", folder, "--results", benched)
        edit(folder)
        again, fresh = run(*score, "-m", folder, "--results", results, "--resume"), run(*score, "-m", folder)
        summaries = [[line for line in out.splitlines() if line.startswith('{"summary"')] for _, out, _ in (again, fresh)]
        check(f"score --resume with another {name}: its own numbers", again[0] == 0 and summaries[0] and summaries[0] == summaries[1], again, fresh)
        rows = rows_of(results.read_text())
        same(f"score --resume with another {name}: keys", len({row["key"] for row in rows}), 4)
        same(f"score --resume with another {name}: the row says it", len({row["run"]["model_hash"] for row in rows}), 2)
        bench("-m", folder, "--results", benched, "--resume")
        same(f"bench --resume with another {name}: keys", len(set(keys_of(benched))), 2)
        traces = [rows_of(run("trace", "-m", m, "-p", "sort 2 8 :", "--num-steps", 2, "-n", 1, "-o", "jsonl")[1])[0] for m in (tiny, folder)]
        check(f"trace of another {name}: keys", traces[0]["key"] != traces[1]["key"] and traces[0]["model_hash"] != traces[1]["model_hash"], traces)
        shutil.rmtree(folder)


# ---- devices ----


def check_twins(tiny):
    """Two devices of one name on one machine; alone, the device has the key that it has everywhere."""
    drivers = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
    devices = json.loads(run("devices", "-o", "json")[1])
    if not drivers or len(devices) != 1 or devices[0]["type"] != "cpu":
        return print("skipped: two equal devices, which need lavapipe alone")
    twin = top / "twin_icd.json"
    description = json.loads(drivers[0].read_text())
    library = description["ICD"]["library_path"]
    found = [p for p in (library, *(f"{d}/{library}" for d in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"))) if os.path.exists(p)]
    if not found:
        return print("skipped: two equal devices: no", library)
    shutil.copy(found[0], top / "libtwin.so")
    description["ICD"]["library_path"] = str(top / "libtwin.so")
    twin.write_text(json.dumps(description))
    both = {"VK_ICD_FILENAMES": f"{drivers[0]}:{twin}", "VK_DRIVER_FILES": f"{drivers[0]}:{twin}"}
    listed = json.loads(run("devices", "-o", "json", **both)[1])
    if len(listed) != 2 or listed[0]["name"] != listed[1]["name"]:
        return print("skipped: two equal devices: the loader shows", len(listed))
    check("two equal devices: ids", listed[0]["id"] != listed[1]["id"], listed)
    rows = bench("-m", tiny, "--device", "0,1", **both)
    same("two equal devices: a row each", (len(rows), len({row["key"] for row in rows}), [row["device_id"] for row in rows]), (2, 2, [device["id"] for device in listed]))


# ---- kills ----


def whole_rows(path):
    """The rows of whole lines; what is behind the last newline is a line that was cut off."""
    content = path.read_bytes() if path.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def check_kills(name, arguments, undisturbed, compare, seconds):
    """Kills and resumes until the run ends by itself: with every kill later, so that it does."""
    results, n_kills, longest, before = top / f"{name}-killed.jsonl", 0, 0.4, []
    while True:
        process = subprocess.Popen([muninn, *map(str, arguments), "--results", str(results), "--resume"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        how = draw.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        try:
            process.communicate(timeout=draw.uniform(0, longest))
            ended = True
        except subprocess.TimeoutExpired:
            process.send_signal(how)
            process.communicate(timeout=60)
            ended = False
        rows = whole_rows(results)
        if rows[: len(before)] != before:
            return check(f"{name}: rows that were there stay as they are", False, "after kill", n_kills)
        before, longest = rows, longest * 1.1 if longest < seconds else longest * 2
        if ended:
            break
        n_kills += 1
    same(f"{name}: exit code after {n_kills} kills", process.returncode, 0)
    check(f"{name}: it was killed", n_kills > 0)
    check(f"{name}: no half line is left", results.read_bytes().endswith(b"\n"))
    same(f"{name}: each row once", len({row["key"] for row in rows}), len(rows))
    same(f"{name}: the rows of a run that nobody disturbed", sorted(map(compare, rows)), sorted(map(compare, undisturbed)))


def check_all_kills(tiny):
    lines = top / "many.jsonl"
    lines.write_text("".join(json.dumps({"context": f"sort {i % 10} {i // 10} :", "continuation": f" {min(i % 10, i // 10)}", "id": i}) + "\n" for i in range(60)))
    score = ("score", "-m", tiny, "-f", lines, "--num-steps", "1,2,4", "-o", "md", "--parallel", 4)
    code, _, err = run(*score, "--results", top / "score.jsonl")
    check("score", code == 0, err)
    check_kills("score", score, whole_rows(top / "score.jsonl"), json.dumps, 2)
    sweep = ("bench", "-m", tiny, "--strategy", "ar,draft-verify,wavefront", "--num-steps", "2,4", "--draft-steps", "1,2", "--lookahead", "1,3", "-n", 4, "-r", 1, "--min-seconds", 0, "-o", "md")
    code, _, err = run(*sweep, "--results", top / "bench.jsonl")
    check("bench", code == 0, err)
    # Times differ from run to run; what was counted does not.
    counted = lambda row: json.dumps([row[key] for key in ("key", "rounds", "drafted", "accepted", "core_rows", "core_passes", "equals_ar", "total_new_tokens")])  # noqa: E731
    check_kills("bench", sweep, whole_rows(top / "bench.jsonl"), counted, 2)


def check_older():
    """Files of older versions, whose rows know less."""
    older = [path for path in sorted((source / "bench" / "results").glob("2026-*.jsonl")) if '"model_hash"' in path.read_text()]
    code, out, err = run("merge", *older)
    check("merge of older files", code == 0 and len(rows_of(out)) > 900, code, err)
    code, out, err = run("compare", older[0], older[1])
    check("compare of older files", code == 0 and "pairs" in out, code, err)
    code, _, err = run("report", *older, "-o", top / "older.html")
    check("report of older files", code == 0, code, err)


def main():
    print("seed", seed, flush=True)
    if run("generate", "--ids", "1", "-n", "1", "--num-steps", "1")[0] == 3:
        print("skipped: no Vulkan device")
        sys.exit(77)
    tiny, started = top / "raven-tiny", time.monotonic()
    shutil.copytree(source / "models" / "raven-tiny", tiny)
    check_pairs()
    check_older()
    check_names(tiny)
    check_twins(tiny)
    check_changed(tiny)
    check_all_kills(tiny)
    print(f"{time.monotonic() - started:.0f} s")


try:
    main()
finally:
    shutil.rmtree(top, ignore_errors=True)
if failed:
    print(len(failed), "failed:", *failed, sep="\n    ")
sys.exit(1 if failed else 0)
