#!/usr/bin/env python3
"""Plain Llama shapes in Muninn and in llama.cpp, on one driver and machine, in turns: decoding and prefill.

Random f16 weights, f16 cache, the same sizes in both (Muninn makes its own; for llama.cpp a GGUF file without a
tokenizer is written once, with the Python package gguf). Prefill: 128 tokens from an empty context. Decoding: 64 tokens
behind 128. Every turn runs every contender once, so that slow minutes of the machine meet all of them; a figure is the
median over the turns, with the slowest and the fastest turn. Run it where nothing else runs.

usage: general_engine.py path/to/muninn FOLDER [TURNS]    llama-bench in $PATH with its CPU and Vulkan backends; the
software driver's description (lvp_icd*.json) in $VK_DRIVER_FILES. FOLDER keeps the GGUF files and turns.jsonl."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

CONTEXT, PROMPT, NEW = 4096, 128, 64
SHAPES = {  # name: d, heads, F, vocabulary, blocks
    "66 blocks, d 128": (128, 4, 352, 512, 66),
    "12 blocks, d 768": (768, 12, 2048, 32000, 12),
}
LLAMA = ["llama-bench", "-o", "json", "-r", "1"]
FIRST_DEVICE = {"GGML_VK_VISIBLE_DEVICES": "0"}  # llama.cpp takes no software device unless told to
NO_F16 = {"GGML_VK_DISABLE_F16": "1", "GGML_VK_DISABLE_COOPMAT": "1"}  # faster on lavapipe
CONTENDERS = [  # name, engine, threads, variables
    ("Muninn, 1 thread", "muninn", 0, {}),
    ("Muninn, 2 workers", "muninn", 2, {}),
    ("llama.cpp, Vulkan, 1 thread, f32 arithmetic", "vulkan", 1, {**FIRST_DEVICE, **NO_F16, "LP_NUM_THREADS": "0"}),
    ("llama.cpp, Vulkan, 2 workers, f32 arithmetic", "vulkan", 1, {**FIRST_DEVICE, **NO_F16, "LP_NUM_THREADS": "2"}),
    ("llama.cpp, Vulkan, 2 workers, as it comes", "vulkan", 1, {**FIRST_DEVICE, "LP_NUM_THREADS": "2"}),
    ("llama.cpp, CPU, 1 thread", "cpu", 1, {"VK_DRIVER_FILES": "/dev/null"}),
    ("llama.cpp, CPU, 2 threads", "cpu", 2, {"VK_DRIVER_FILES": "/dev/null"}),
]


def write_gguf(path, d, heads, ff, vocab, blocks):
    import gguf
    import numpy

    random, writer = numpy.random.default_rng(0), gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(d)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_rope_dimension_count(d // heads)
    writer.add_vocab_size(vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("none")

    def matrix(name, n_out, n_in):
        writer.add_tensor(name + ".weight", (random.standard_normal((n_out, n_in)) / n_in**0.5).astype(numpy.float16))

    matrix("token_embd", vocab, d)  # tied: the head is the same matrix
    writer.add_tensor("output_norm.weight", numpy.ones(d, numpy.float32))
    for block in range(blocks):
        for name, n_out, n_in in (*((f"attn_{x}", d, d) for x in ("q", "k", "v", "output")), ("ffn_gate", ff, d),
                                  ("ffn_up", ff, d), ("ffn_down", d, ff)):
            matrix(f"blk.{block}.{name}", n_out, n_in)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{block}.{name}.weight", numpy.ones(d, numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def run(command, variables):
    return subprocess.run(list(map(str, command)), env={**os.environ, **variables}, check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True).stdout


def muninn(program, folder, shape, threads):
    d, heads, ff, vocab, blocks = shape
    prompt = folder / "one-prompt.jsonl"
    prompt.write_text('{"ids":[1,2,3,4]}\n')  # brought to PROMPT tokens
    out = run([program, "bench", "--synthetic",
               f"family=llama,d={d},heads={heads},ff={ff},vocab={vocab},layers={blocks},tied=1,ctx={CONTEXT}",
               "--weight-type", "f16", "--strategy", "ar", "--prompts", prompt, "--prompt-tokens", PROMPT, "-n",
               NEW + 1, "-r", 1, "--min-seconds", 0, "--cpu-threads", threads, "-o", "jsonl"], {})
    row = json.loads(out)
    return {"prefill": row["prefill_tok_s"], "decode": row["decode_tok_s"], "device": row["banner"]}


def llama(model, threads, variables, on_device):
    where = ["-ngl", 99] if on_device else ["-ngl", 0, "-dev", "none"]
    turn = {}
    for name, what in (("prefill", ["-p", PROMPT, "-n", 0]), ("decode", ["-p", 0, "-n", NEW, "-d", PROMPT])):
        row = json.loads(run([*LLAMA, "-m", model, "-t", threads, *where, *what], variables))[0]
        device = row["gpu_info" if on_device else "cpu_info"]
        turn |= {name: row["avg_ts"], "device": device, "build": row["build_number"]}
    return turn


def table(turns):
    for shape in SHAPES:
        print(f"\n{shape}\n\n| | decode tok/s | prefill tok/s |\n|---|---|---|")
        for contender, *_ in CONTENDERS:
            its = [turn for turn in turns if (turn["shape"], turn["contender"]) == (shape, contender)]
            cells = []
            for what in ("decode", "prefill"):
                values = [turn[what] for turn in its]
                cells.append(f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})")
            print(f"| {contender} | {' | '.join(cells)} |")
    loads = [turn["load"] for turn in turns]
    print(f"\n{len(its)} turns; load of the last minute, with this work: {min(loads):.1f} to {max(loads):.1f}",
          flush=True)


def main():
    program, folder, n = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 3
    models, turns = {name: folder / f"{shape[-1]}-{shape[0]}.gguf" for name, shape in SHAPES.items()}, []
    for name, model in models.items():
        if not model.exists():
            write_gguf(model, *SHAPES[name])
    for _ in range(n):
        for name, shape in SHAPES.items():
            for contender, engine, threads, variables in CONTENDERS:
                started, load = time.time(), os.getloadavg()[0]
                turn = (muninn(program, folder, shape, threads) if engine == "muninn"
                        else llama(models[name], threads, variables, engine == "vulkan"))
                turn |= {"shape": name, "contender": contender, "load": load, "seconds": time.time() - started}
                turns.append(turn)
                with open(folder / "turns.jsonl", "a", encoding="utf-8") as file:
                    file.write(json.dumps({"bench": "general_engine", **turn}) + "\n")
        table(turns)


main()
