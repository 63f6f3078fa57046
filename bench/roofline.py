#!/usr/bin/env python3
"""A roofline on paper: what a pass must read, multiply and fetch again from caches on three cards, from a model's shape alone; the table of
docs/roofline.md. Nothing is measured. One step of the core (all blocks of a plain loop) counts, without attention, whose part grows with the
context, and without the head.

usage: roofline.py [table|cards]"""
import sys

# (name, bytes/s of memory, f32 multiply-adds/s, f16 multiply-adds/s of matrix units, bytes/s of the last cache level). Sources: docs/roofline.md.
CARDS = [('H100 SXM', 3.35e12, 67e12 / 2, 989e12 / 2, 5.5e12), ('RX 7900 XTX', 960e9, 61.4e12 / 2, 122.8e12 / 2, 3.5e12),
         ('Radeon 780M', 120e9, 8.9e12 / 2, 17.8e12 / 2, 0.7e12)]
MODELS = [('huginn-3.5b', dict(d=5280, heads=55, kv=55, head=96, ff=17920, blocks=4, adapter=True)),
          ('raven-llama-1b', dict(d=2048, heads=32, kv=8, head=64, ff=8192, blocks=6, adapter=True)),
          ('ouro-1.4b', dict(d=2048, heads=16, kv=16, head=128, ff=5632, blocks=24, adapter=False))]
TYPES = [('bf16', 2.0), ('q8_0', 34 / 32)]  # bytes of a weight: 32 of them share a scale of 2 bytes
ROWS = [1, 8, 32, 1024]
# engine/model/model.c: outputs of a workgroup and most rows that share a read of the weights, for a few rows and in a prompt's tile
FEW_OUTPUTS, FEW_ROWS, TILE_OUTPUTS, TILE_ROWS, CHUNK = 16, 8, 64, 32, 128


def matrices(m):
    """(outputs, inputs) of one step."""
    block = [((m['heads'] + 2 * m['kv']) * m['head'], m['d']), (m['d'], m['heads'] * m['head']), (2 * m['ff'], m['d']), (m['d'], m['ff'])]
    return block * m['blocks'] + ([(m['d'], m['d'])] if m['adapter'] else [])


def step(m, weight_bytes, rows):
    """Bytes from memory, multiply-adds, bytes from caches, of one step of `rows` rows as the kernels of today go about it: a group of rows reads
    all weights, from memory each time, since a matrix is larger than the caches; every workgroup reads the inputs of its rows again, from a
    cache, through which the weights come as well."""
    prompt = rows > 32
    chunks = -(-rows // CHUNK) if prompt else 1  # passes, each of which reads the weights anew
    share, outputs = (TILE_ROWS, TILE_OUTPUTS) if prompt else (FEW_ROWS, FEW_OUTPUTS)
    in_pass = min(rows, CHUNK)
    groups = -(-in_pass // share)
    weights = sum(o * i for o, i in matrices(m))
    inputs = sum(-(-o // outputs) * i for o, i in matrices(m)) * 4 * in_pass
    memory = weights * weight_bytes * groups * chunks
    return dict(memory=memory, sums=weights * rows, cache=memory + inputs * chunks)


def bounds(card, work, matrix_units):
    _, memory, f32, f16, cache = card
    times = {'memory': work['memory'] / memory, 'arithmetic': work['sums'] / (f16 if matrix_units else f32), 'cache': work['cache'] / cache}
    worst = max(times, key=times.get)
    return times[worst], worst


def number(x):
    return f'{x:.3g}' if x < 1000 else f'{x:.0f}'


def table():
    print('| model | weights | rows | MB from memory | 10^9 multiply-adds | MB from caches | ' + ' | '.join(f'{c[0]} | with matrix units' for c in CARDS) + ' |')
    print('|---|---|---:|---:|---:|---:|' + '---|---|' * len(CARDS))
    for name, m in MODELS:
        for weight_type, weight_bytes in TYPES:
            for rows in ROWS:
                work = step(m, weight_bytes, rows)
                cells = []
                for card in CARDS:
                    for units in False, True:
                        seconds, worst = bounds(card, work, units)
                        cells.append(f'{number(seconds * 1e6)} us, {worst}')
                print(f'| {name} | {weight_type} | {rows} | {number(work["memory"] / 1e6)} | {number(work["sums"] / 1e9)} | {number(work["cache"] / 1e6)} | '
                      + ' | '.join(cells) + ' |')


def cards():
    print('| card | memory, GB/s | f32, 10^12 multiply-adds/s | matrix units, f16, 10^12 | last cache level, GB/s |\n|---|---:|---:|---:|---:|')
    for name, memory, f32, f16, cache in CARDS:
        print(f'| {name} | {memory / 1e9:.0f} | {f32 / 1e12:.4g} | {f16 / 1e12:.4g} | {cache / 1e9:.0f} |')


if __name__ == '__main__':
    what = {'table': table, 'cards': cards}.get(sys.argv[1] if len(sys.argv) == 2 else '')
    sys.exit(what() if what else __doc__)
