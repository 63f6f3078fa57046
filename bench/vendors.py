#!/usr/bin/env python3
"""What compilers of several GPUs make of the kernels, from the rows of `muninn pipelines` that tests/vendors.sh gathers (each with a key "gpu").

    vendors.py keep < ROWS > FEWER     of versions that differ in constants alone, the one with the most registers; of rounded weights, gate alone
    vendors.py table ROWS              the table of docs/portability.md"""
import json, sys

GPUS = {'radv:navi10': 'Navi 10', 'radv:navi21': 'Navi 21', 'radv:navi31': 'Navi 31', 'radv:navi33': 'Navi 33', 'radv:gfx1201': 'gfx1201', 'nvk:166': 'Turing',
        'nvk:176': 'Ampere', 'nvk:192': 'Ada', 'nvk:1a2': 'Blackwell', 'turnip:630': 'Adreno 630', 'turnip:740': 'Adreno 740', 'honeykrisp': 'M1'}


def version(row):
    return row['gpu'], row['weight_type'], row['kernel'], row['what'], row['rows']


def keep(lines):
    best = {}
    for row in map(json.loads, lines):
        if row['weight_type'] == 'bf16' or row['kernel'] == 'gate':
            if version(row) not in best or row['registers'] > best[version(row)]['registers']:
                best[version(row)] = row
    return best.values()


def cell(row):
    if row is None:
        return ''
    text = f'{row["registers"]:g}'
    if 'waves' in row:
        text += f' / {row["waves"]:g}'
    if row['spills']:
        text += f', {row["spills"]:g} spilled'
    if row.get('scratch_bytes'):
        text += f', {row["scratch_bytes"]:g} B'
    return text


def table(rows):
    gpus = [g for g in GPUS if any(r['gpu'] == g for r in rows)]
    found = {version(r): r for r in rows}
    seen, lines = [], ['| kernel | rows | weights | ' + ' | '.join(GPUS[g] for g in gpus) + ' |', '|---|---:|---|' + '---|' * len(gpus)]
    for row in rows:
        line = version(row)[1:]
        if line in seen:
            continue
        seen.append(line)
        weight_type, kernel, what, n = line
        name = kernel if what == kernel else f'{kernel}: {what}'
        lines.append(f'| {name} | {n or ""} | {row["matrix_type"]} | ' + ' | '.join(cell(found.get((g, *line))) for g in gpus) + ' |')
    return '\n'.join(lines) + '\n'


if sys.argv[1:] == ['keep']:
    for row in keep(sys.stdin):
        print(json.dumps(row, separators=(',', ':'), ensure_ascii=False))
elif sys.argv[1:2] == ['table'] and len(sys.argv) == 3:
    with open(sys.argv[2]) as file:
        print(table([json.loads(line) for line in file]), end='')
else:
    sys.exit(__doc__)
