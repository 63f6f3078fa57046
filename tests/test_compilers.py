#!/usr/bin/env python3
"""Goal: real compilers make of every kernel what fits the device: nothing is spilled, and no workgroup has more threads or shared memory than it
allows. Method: `muninn pipelines` on every driver of this machine that compiles without a GPU, for every family, type of weights and type of
cache: lavapipe, which says nothing of its code, and RADV's null device, which takes no fence and no submit, as several generations of AMD
GPUs. Rows must be complete, the tables must name every column, and `muninn report` must read them.

usage: test_compilers.py path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)"""
import glob, json, os, subprocess, sys

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
failed = 0


def check(name, good, *seen):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, '' if good else seen, flush=True)


def run(environment, *arguments, **more):
    return subprocess.run([muninn, *arguments], env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, **more)


if run({}, 'devices').returncode == 3:
    print('skipped: there is no Vulkan device')
    sys.exit(77)

SMALL = 'd=64,heads=2,ff=128,vocab=500,layers=1-2-1,steps=4,ctx=300'
CASES = [['--synthetic', SMALL, '--weight-type', t, '--kv-type', k] for t, k in
         [('bf16', 'f16'), ('f16', 'f32'), ('f32', 'f16'), ('q8_0', 'q8'), ('q4_1', 'f16')]]
CASES += [['-m', source + '/models/raven-tiny', '--kv-policy', 'share:2']]
CASES += [['--synthetic', s] for s in ('huginn-3.5b', 'raven-llama-1b', 'raven-olmo-1b', 'ouro-1.4b', 'llama-1b')]
KERNELS = {'embed', 'qkv', 'attention', 'attention_tile', 'proj', 'gate', 'head', 'norm', 'argmax', 'sample'}


def rows_of(name, environment, case):
    done = run(environment, 'pipelines', *case, '-o', 'json')
    check(f'{name}: {" ".join(case)}', done.returncode == 0, done.stderr[-500:])
    return json.loads(done.stdout) if done.returncode == 0 else [], done.stderr


def check_rows(name, rows):
    check(f'{name}: every kernel', {r['kernel'] for r in rows} - {'heads'} <= KERNELS and {'qkv', 'attention', 'head'} - {'qkv'} <= {r['kernel'] for r in rows})
    check(f'{name}: one row a pipeline', len({r['key'] for r in rows}) == len(rows) > 20, len(rows))
    check(f'{name}: within the limits', all(r['threads'] <= r['max_threads'] and r['shared_bytes'] <= r['max_shared_bytes'] for r in rows))
    check(f'{name}: nothing spilled', all(r.get('spills', 0) == 0 for r in rows), [(r['kernel'], r['rows'], r['spills']) for r in rows if r.get('spills')])


# ---- what is there ----

devices = json.loads(run({}, 'devices', '-o', 'json').stdout)
for device in devices:
    if device['usable']:
        for case in CASES[:6]:
            rows, stderr = rows_of(device['name'], {}, ['--device', str(device['index']), *case])
            check_rows(device['name'], rows)
            if device['type'] == 'cpu' and 'statistics' not in rows[0]:
                check('it is said that the driver says nothing', 'VK_KHR_pipeline_executable_properties' in stderr and 'were built' in stderr, stderr)

# ---- RADV without a GPU ----

icd = sorted(glob.glob('/usr/share/vulkan/icd.d/radeon_icd*.json'))
null = {'VK_ICD_FILENAMES': icd[0], 'VK_DRIVER_FILES': icd[0]} if icd else {}
null_works = False
if not icd:
    print('skipped RADV: it is not installed (the package mesa-vulkan-drivers has it on most machines)')
for family in ('gfx1100', 'navi21', 'navi10', 'vega10', 'polaris10') if icd else ():
    there = run({**null, 'RADV_FORCE_FAMILY': family}, 'devices', '-o', 'json')
    if there.returncode != 0 or 'Null hardware' not in there.stdout:
        print(f'skipped RADV {family}: this version makes no device of it')
        continue
    null_works = True
    for case in CASES if family == 'gfx1100' else [CASES[0], CASES[3], CASES[6]]:
        rows, stderr = rows_of(family, {**null, 'RADV_FORCE_FAMILY': family}, case)
        check_rows(family, rows)
        check(f'{family}: all columns', all(r.get(k, -1) >= 0 for r in rows for k in ('registers', 'scalar_registers', 'spills', 'scratch_bytes',
                                                                                      'code_bytes', 'instructions', 'waves')), rows[0])
        check(f'{family}: figures make sense', all(8 <= r['registers'] <= 256 and r['waves'] >= 1 and r['code_bytes'] > 4 * r['instructions'] // 2 for r in rows))
        check(f'{family}: what else it says', all('Latency' in r['statistics'] for r in rows))
        check(f'{family}: no word on stderr', stderr == '', stderr)

# ---- for people, and on ----

here = {**null, 'RADV_FORCE_FAMILY': 'gfx1100'} if null_works else {}
table = run(here, 'pipelines', '--synthetic', SMALL).stdout
check('table', '| kernel ' in table and '| attention ' in table and all(len(line) <= 120 for line in table.split('\n')), table[:1500])
rows = run(here, 'pipelines', '--synthetic', SMALL, '-o', 'jsonl').stdout
page = run({}, 'report', '-', input=rows)
check('report reads the rows', page.returncode == 0 and '"bench":"pipeline"' in page.stdout, page.stderr)
both = run({}, 'pipelines', '--synthetic', SMALL, '-m', source + '/models/raven-tiny')
check('two models are refused', both.returncode == 2 and 'exclude' in both.stderr, both.stderr)
print(f'{failed} failed')
sys.exit(bool(failed))
