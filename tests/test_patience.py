#!/usr/bin/env python3
"""Goal: whatever a command is at, a signal ends it with the right code, a reader that goes away ends it quietly, and what it kept goes on.
Method: (1) Each long command is sent SIGINT, SIGTERM and SIGHUP at moments spread over its whole run. (2) Each command writes to a pipe that
nobody reads. (3) `bench --kernels` is ended by SIGTERM again and again and resumed: the rows that were there stay, and at the end they are
those of an undisturbed run. (4) On a pseudo-terminal the line that says what is under way is gone at the end. No time is asserted: that a stop
comes within one submit is tests/test_progress.c's.

usage: test_patience.py path/to/muninn source_dir"""
import json, os, pathlib, pty, random, signal, subprocess, sys, tempfile, threading, time

muninn, source = os.path.abspath(sys.argv[1]), pathlib.Path(os.path.abspath(sys.argv[2]))
tmp = tempfile.TemporaryDirectory()
os.chdir(tmp.name)
# Muninn's own cache is new; the driver's, of shaders, is the user's: without it every start compiles for seconds.
shaders = os.environ.get('MESA_SHADER_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
environment = dict(os.environ, XDG_CACHE_HOME=tmp.name + '/cache', MESA_SHADER_CACHE_DIR=shaders, TERM='xterm')
draw = random.Random(7)
failed = 0
shape = 'd=32,heads=2,ff=64,vocab=96,layers=1-1-1,steps=4,ctx=300'
tiny = str(source / 'models/raven-tiny')


def check(name, good, *seen):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, '' if good else seen, flush=True)


def start(*args, **more):
    settings = dict(stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) | more
    return subprocess.Popen([muninn, *args], **settings)


with open('score.jsonl', 'w') as f:
    for i in range(8):
        f.write(json.dumps({'context': 'sort 2 8 0 :', 'continuation': f' {i} 2 8'}) + '\n')
with open('batch.jsonl', 'w') as f:
    for i in range(6):
        f.write(json.dumps({'id': i, 'prompt': f'sort {i} 8 0 :'}) + '\n')
with open('texts.jsonl', 'w') as f:
    f.write(json.dumps({'text': 'sort 2 8 0 1 : 0 1 2 8'}) + '\n')
rows = [{'bench': 'run', 'key': 'a', 'strategy': 'ar', 'decode_tok_s': 2.5, 'decode_samples': [2.0, 2.5, 3.0, 2.5, 2.5], 'device': 'd', 'driver': x,
         'model': 'm', 'kv_policy': 'full', 'num_steps': 4, 'batch': 1} for x in 'ab']
for name, row in zip('ab', rows):
    with open(name + '.jsonl', 'w') as f:
        f.write(json.dumps(row) + '\n')

generate = ['generate', '-m', tiny, '-p', 'sort 2 8 0 1 :', '--num-steps', '8', '-n', '16', '--ignore-eos']
bench = ['bench', '--synthetic', shape, '-n', '4', '--repetitions', '1', '--min-seconds', '0']
long_ones = {
    'generate': generate,
    'generate auto': [*generate, '--strategy', 'auto', '-o', 'json'],
    'generate batch': ['generate', '-m', tiny, '--batch', 'batch.jsonl', '-n', '16', '--num-steps', '8', '-o', 'json'],
    'trace': ['trace', '-m', tiny, '-p', 'sort 2 8 0 1 :', '--num-steps', '16', '-n', '8', '--inits', '2',
              '--readouts', '2,8'],
    'score': ['score', '-m', tiny, '-f', 'score.jsonl', '--num-steps', '2,8'],
    'bench': [*bench, '--strategy', 'ar,auto'],
    'bench --kernels': [*bench, '--kernels'],
    'selftest': ['selftest', '--quick'],
    'selftest -m': ['selftest', '-m', tiny, '--num-steps', '8'],
    'divergence': ['divergence', '-m', tiny, '-f', 'texts.jsonl', '--num-steps', '4', '--weight-type', 'bf16'],
    'logits': ['logits', '-m', tiny, '--ids', '0,23,29,263', '--num-steps', '16'],
}

# ---- signals ----
codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
for name, args in long_ones.items():
    began = time.monotonic()
    whole = subprocess.run([muninn, *args], stdin=subprocess.DEVNULL, capture_output=True, env=environment)
    seconds = time.monotonic() - began
    if whole.returncode == 3:
        sys.exit(77)
    check(f'{name}: runs', whole.returncode == 0, whole.returncode, whole.stderr[-300:])
    wrong, n_ended = [], 0
    for i in range(3):
        number = list(codes)[i]
        with start(*args) as process:
            try:
                out, err = process.communicate(timeout=seconds * (i + draw.random()) / 3)
            except subprocess.TimeoutExpired:
                process.send_signal(number)
                out, err = process.communicate()
        # The first moments of a process, and commands that keep nothing, end as any program does.
        n_ended += process.returncode in (codes[number], -number)
        if process.returncode not in (0, codes[number], -number) or b'rror' in err:
            wrong.append((number.name, process.returncode, err[-300:]))
        for line in out.splitlines() if 'json' in args else []:
            json.loads(line)
    check(f'{name}: ended by signals', not wrong and n_ended > 0, wrong, n_ended)

# ---- pipes ----
man = {'man': ['man'], 'completion': ['completion', 'bash']}
short_ones = {'tokenize': ['tokenize', '-m', tiny], 'info': ['info', '-m', tiny], 'devices': ['devices'],
              'pipelines': ['pipelines', '--synthetic', shape], 'merge': ['merge', 'a.jsonl'],
              'compare': ['compare', 'a.jsonl', 'b.jsonl'], 'report': ['report', 'a.jsonl'], 'help': ['help'], '--help': ['bench', '--help'],
              '--version': ['--version'], 'score md': [*long_ones['score'], '-o', 'md'], 'chat': ['chat', '-m', tiny, '-n', '4', '--num-steps', '2'], **man}
for name, args in (long_ones | short_ones).items():
    ours, theirs = os.pipe()
    os.close(ours)
    with open('texts.jsonl') as text, start(*args, stdin=text, stdout=theirs) as process:  # tokenize and chat read it
        os.close(theirs)
        err = process.communicate()[1]
    check(f'{name}: nobody reads', process.returncode == 141 and b'rror' not in err and b'interrupted' not in err and b'cannot write' not in err,
          process.returncode, err[-300:])
known = subprocess.run([muninn, 'help'], capture_output=True, text=True).stdout.split('Commands:')[1].split('Options:')[0]
silent = {'quantize', 'serve'}  # nothing to standard output; signals: test_cli_quantize.sh, test_serve_refusals.py
missing = [line.split()[0] for line in known.splitlines() if line.startswith('  ') and line.split()[0] not in {*long_ones, *short_ones, *silent}]
check('every command was tried', not missing, missing)
if os.path.exists('/dev/full'):
    with open('/dev/full', 'w') as full:
        run = subprocess.run([muninn, 'selftest', '--quick'], stdout=full, stderr=subprocess.PIPE, env=environment)
    check('a full disk is still an error, said once', run.returncode == 1 and run.stderr.count(b'standard output') == 1, run.returncode, run.stderr)

# ---- kernels, ended and resumed ----


def kernel_rows(path):
    with open(path) as f:
        return [json.loads(line) for line in f]


args = [*bench, '--kernels', '--results']
subprocess.run([muninn, *args, 'whole.jsonl'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
whole, before, n_ended, wait = kernel_rows('whole.jsonl'), [], 0, 0.5
while True:
    with start(*args, 'part.jsonl', '--resume', stdout=subprocess.DEVNULL) as process:
        want, ended = len(before) + draw.choice([9, 25, 40]), False
        while process.poll() is None and not ended:
            time.sleep(0.02)
            ended = os.path.exists('part.jsonl') and open('part.jsonl').read().count('\n') >= want
        if ended and process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.communicate()
    now = kernel_rows('part.jsonl')
    if process.returncode not in (0, 143) or now[:len(before)] != before:
        check('bench --kernels: rows that were there stay', False, process.returncode, len(before), len(now))
        break
    before = now
    if process.returncode == 0:
        break
    n_ended += 1
check('bench --kernels: rows are kept as they come', n_ended >= 3, n_ended)
check('bench --kernels: resumed, it has every row once', sorted(r['key'] for r in before) == sorted(r['key'] for r in whole), len(before), len(whole))
check('bench --kernels: ratios refer to one row', all(r['t_ratio'] == 1 for r in before if r.get('rows') == 1 and r['us'] > 0) and
      all(r['t_ratio'] > 0 for r in before if 't_ratio' in r and r['us'] > 0), [r for r in before if r.get('t_ratio') == 0][:3])
check('bench --kernels: the floor is the last', before[-1]['bench'] == 'floor', before[-1])

# ---- a terminal ----
for name in ('selftest', 'bench --kernels', 'generate auto', 'generate batch'):
    ours, theirs = pty.openpty()
    seen = []

    def read():
        try:
            while block := os.read(ours, 65536):
                seen.append(block)
        except OSError:
            pass
    thread = threading.Thread(target=read)
    thread.start()
    with start(*long_ones[name], stdout=subprocess.DEVNULL, stderr=theirs) as process:
        process.wait()
    os.close(theirs)
    thread.join()
    os.close(ours)
    text = b''.join(seen).decode()
    drawn = [part for part in text.split('\r\x1b[K')[1:] if part]
    last = text.rsplit('\r\x1b[K', 1)[-1]
    check(f'{name}: the line is gone at the end', process.returncode == 0 and '%' not in last.split('\n')[0], process.returncode, text[-300:])
    check(f'{name}: and does not wrap', all(len(part.split('\r')[0].split('\n')[0]) < 80 for part in drawn if not part.startswith('muninn')), drawn[-3:])

sys.exit(failed > 0)
