#!/usr/bin/env python3
"""Goal: bench/first_contact.sh leaves three files that say what a device gives, whatever its steps do. `real`: the
whole of it on the device that is there (on a CPU with small shapes) has rows of every kind, a report and a paragraph.
`faults`: with a program in muninn's place, a step that hangs is killed, one that fails is said with its last line, one
that finds something wrong decides the exit code, and the rest goes on; a GPU is measured with shapes that fit, and its
matrix units where it has some; Ctrl-C leaves a report of what there is.
Method: the script is run; in `faults` muninn is a script that notes how it is called, takes devices, info, merge,
report and --version from the real one, and does what the test says for the rest. No time is asserted: steps of `real`
have more of it than they need.

usage: test_first_contact.py real|faults path/to/muninn source_dir     (exit 77 when there is no Vulkan device)"""

import json, os, re, signal, subprocess, sys, tempfile

mode, muninn, source = sys.argv[1], os.path.abspath(sys.argv[2]), os.path.abspath(sys.argv[3])
script = source + '/bench/first_contact.sh'
tmp = tempfile.TemporaryDirectory()
os.chdir(tmp.name)
shaders = os.environ.get('MESA_SHADER_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
environment = dict(os.environ, XDG_CACHE_HOME=tmp.name + '/cache', MESA_SHADER_CACHE_DIR=shaders)
failed = 0


def check(name, good, *seen):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, *(() if good else seen), flush=True)


def contact(*arguments):
    done = subprocess.run(
        ['sh', script, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
    )
    return done.returncode, done.stdout, done.stderr


def rows_of(out):
    with open(out + '/results.jsonl') as file:
        return [json.loads(line) for line in file]


def paragraph_of(name, out, stdout):
    text = open(out + '/paragraph.txt').read()
    check(
        f'{name}: a paragraph, printed as well',
        text.count('\n') == 1 and text.startswith('Muninn 0.') and text in stdout,
        text,
        stdout,
    )
    return text


def leftovers(name, out, *files):
    want = sorted(['log.txt', 'paragraph.txt', 'results.jsonl', *files])
    check(f'{name}: nothing but its files', sorted(os.listdir(out)) == want, os.listdir(out))


def page_of(name, out, n):
    page = open(out + '/report.html').read()
    inside = re.search(r'<script[^>]*id="rows"[^>]*>(.*?)</script>', page, re.S)
    check(
        f'{name}: a report of all rows',
        inside and len(json.loads(inside.group(1))) == n,
        inside and inside.group(1)[:200],
        n,
    )


if subprocess.run([muninn, 'devices'], capture_output=True).returncode == 3:
    print('skipped: there is no Vulkan device')
    sys.exit(77)


def real():
    code, out, err = contact('-t', '2400', '-p', muninn, 'out')
    check('exit code', code == 0, code, out, err)
    rows = rows_of('out')
    kinds = {(row['bench'], row.get('check')) for row in rows}
    want = {
        ('selftest', 'kernel'),
        ('selftest', 'D0'),
        ('selftest', 'D1'),
        ('selftest', 'D2'),
        ('pipeline', None),
        ('pass', None),
        ('kernel', None),
        ('floor', None),
        ('run', None),
    }
    check('rows of every kind', kinds == want, kinds ^ want)
    check(
        'rows know device and commit',
        len({(r['device'], r['driver'], r['commit']) for r in rows}) == 1 and all(r['device'] for r in rows),
    )
    tests = [r for r in rows if r['bench'] == 'selftest']
    check(
        'the self-test found nothing',
        not any(r['failed'] or r['detail'] for r in tests),
        [r for r in tests if r['failed']],
    )
    check(
        'drafts of D2 were right and wrong',
        0 < sum(r.get('accepted', 0) for r in tests) < sum(r.get('drafted', 0) for r in tests),
    )
    runs = [r for r in rows if r['bench'] == 'run']
    check(
        'three strategies of each model',
        len(runs) == 3 * len({(r['model_hash'], r['weight_type']) for r in runs}) >= 24,
        len(runs),
    )
    check('lossless rows have the tokens of ar', all(r['equals_ar'] for r in runs if r['lossless']))
    check(
        'shapes with f16 and with 8 bits', {r['weight_type'] for r in runs if r['class'] == 'forced'} == {'f16', 'q8_0'}
    )
    check('t(n) up to 32', {1, 8, 16, 32} <= {r['rows'] for r in rows if r['bench'] == 'pass' and r['pass'] == 'core'})
    text = paragraph_of('real', 'out', out)
    for part in (
        rows[0]['banner'],
        rows[0]['commit'],
        f'{sum(r["cases"] for r in tests if r["check"] == "kernel")} kernel cases, 0 failed',
        f'{sum(r["check"] != "kernel" for r in tests)} trials, 0 failed',
        'Read ceiling ',
        'raven-deep bf16: ar ',
        'x of ar',
        'at forced agreement',
        ' t(8) ',
        ' t(16) ',
        ' t(32) ',
        'Failed: nothing',
    ):
        check(f'the paragraph has "{part}"', part in text, text)
    deep = max(r['decode_tok_s'] for r in runs if r['model'] == 'raven-deep' and r['strategy'] == 'ar')
    check(
        'the order of magnitude is the rows\' own',
        f'raven-deep bf16: ar {deep:.4g} tok/s' in text,
        text,
    )
    page_of('real', 'out', len(rows))
    leftovers('real', 'out', 'report.html')
    check(
        'it says what it does, and how long that may take',
        re.search(r'^\[ 1/\d+\] self-test: .* \(at most .*; all at most .*\)$', out, re.M),
        out,
    )
    again = contact('-p', muninn, 'out')
    check(
        'results are not written over',
        again[0] == 2 and 'has results already' in again[2] and len(rows_of('out')) == len(rows),
        again,
    )


ROW = json.dumps(
    {
        'key': 'k%s',
        'bench': 'run',
        'model': 'm',
        'weight_type': 'f16',
        'strategy': 'ar',
        'decode_tok_s': 5,
        'device': 'd',
    },
    separators=(',', ':'),
).replace('"k%s"', '"k$n"')
SCRIPT = '''#!/bin/sh
# Called as muninn is.
printf '%s\\n' "$*" >>calls
n=$(wc -l <calls)
case "$1 $2" in
"devices -o") exec_real() {{ "{muninn}" "$@"; }}; exec_real "$@" | {devices}; exit ;;
devices*|merge*|report*|--version*) exec "{muninn}" "$@" ;;
esac
{behaviour}
case $1 in
info) exec "{muninn}" "$@" ;;
bench)
    for last; do
        [ "$before" != --results ] || printf '%s\\n' '{row}' | sed "s/[$]n/$n/" >>"$last"
        before=$last
    done ;;
esac
'''


def stand_in(behaviour, devices='cat'):
    """A program in muninn's place; its bench steps leave a row each."""
    with open('fake', 'w') as file:
        file.write(SCRIPT.format(muninn=muninn, behaviour=behaviour, devices=devices, row=ROW))
    os.chmod('fake', 0o755)
    if os.path.exists('calls'):
        os.remove('calls')
    return tmp.name + '/fake'


def calls():
    return open('calls').read().splitlines()


def hangs_and_fails():
    program = stand_in('''case "$*" in
selftest*raven-tiny*--device*) trap "" TERM; echo "at the third case" >&2; while :; do sleep 1; done ;;
pipelines*q8_0*) printf '{"key":"half' ; echo "muninn: the device was lost" >&2; exit 5 ;;
pipelines*) echo '{"key":"p","bench":"pipeline","device":"d"}' ;;
selftest?--synthetic*) while [ "$1" != --results ]; do shift; done; printf '{"key":"cut off' >>"$2"; kill -KILL $$ ;;
bench*raven-deep*) echo "muninn: a word" >&2; echo >&2; exit 6 ;;
esac''')
    code, out, err = contact('-t', '90', '-p', program, 'out')
    check('faults: exit code', code == 1 and not err, code, err)
    text = paragraph_of('faults', 'out', out)
    check(
        'a step that hangs is killed, and said',
        re.search(r'D0, D1, D2: raven-tiny \(ended after its \d+ s; the last line: at the third case\)', text),
        text,
    )
    check(
        'one that fails is said with its last line',
        'weights q8_0 (exit code 5: muninn: the device was lost)' in text,
        text,
    )
    check(
        'blank lines are no last line',
        'raven-deep: ar, draft-verify, wavefront (exit code 6: muninn: a word)' in text,
        text,
    )
    check('so is one that is killed', re.search(r'D0, D1, D2: \S+, weights \S+ \((exit code|ended after)', text), text)
    rows = rows_of('out')
    check(
        'what a killed step left of a row is gone, what fails adds none',
        len([r for r in rows if r['bench'] == 'pipeline']) == 1,
        rows,
    )
    benches = [c for c in calls() if c.startswith('bench') and '--results' in c]
    check(
        'the rest went on',
        len(benches) >= 9 and len([r for r in rows if r['bench'] == 'run']) == len(benches) - 1,
        benches,
        rows,
    )
    check('failures are said where they happen, too', out.count('FAILED: ') == 4, out)
    check('the log is asked for', '/log.txt' in out.splitlines()[-1], out)
    page_of('faults', 'out', len(rows))
    leftovers('faults', 'out', 'report.html')


def finds_wrong():
    row = json.dumps(
        {
            'key': 'w',
            'bench': 'selftest',
            'check': 'D2',
            'what': 'wavefront K 4, greedy',
            'model': 'm',
            'weight_type': 'bf16',
            'matrix_units': '',
            'device': 'd',
            'cases': 1,
            'failed': 1,
            'detail': 'token 3 is 7 instead of 9',
        },
        separators=(',', ':'),
    )
    program = stand_in(f'''case "$*" in
selftest*raven-tiny*)
    while [ "$1" != --results ]; do shift; done
    echo '{row}' >>"$2"
    echo "muninn: 1 of 14 trials failed" >&2
    exit 7 ;;
bench*) exit 1 ;;
esac''')
    code, out, _ = contact('-t', '60', '-p', program, 'wrong')
    text = paragraph_of('wrong', 'wrong', out)
    check('what is wrong decides the exit code', code == 7, code, out)
    check(
        'and is named',
        'WRONG: D2 wavefront K 4, greedy of m bf16: token 3 is 7 instead of 9.' in text and '1 trial, 1 failed' in text,
        text,
    )


def as_a_gpu():
    behaviour = '''case "$*" in
info*huginn*f16*) echo "muninn: 128 positions need 7613 MB of 6000 MB" >&2; exit 6 ;;
info*huginn*|info*llama*|info*ouro*) exit 0 ;;
selftest*matrix-units*) {units} ;;
esac'''
    devices = 'sed -e \'s/"type":"[a-z]*"/"type":"discrete"/\' -e \'s/"matrix_cores":[a-z]*/"matrix_cores":true/\''
    program = stand_in(behaviour.format(units=':'), devices)
    code, out, _ = contact('-p', program, 'gpu')
    text, all_calls = paragraph_of('gpu', 'gpu', out), '\n'.join(calls())
    check('gpu: exit code', code == 0, code, out)
    check(
        'gpu: what does not fit is left out, and said',
        '--synthetic huginn-3.5b --draft-steps 4' in all_calls
        and not re.search(r'^bench.*--weight-type f16.*huginn', all_calls, re.M)
        and 'Left out: huginn-3.5b f16 (128 positions need 7613 MB of 6000 MB)' in text,
        text,
        all_calls,
    )
    check(
        'gpu: the others are measured in both types',
        all(
            re.search(f'^bench.*--weight-type {t} .*--synthetic {s} ', all_calls, re.M)
            for t in ('f16', 'q8_0')
            for s in ('raven-llama-1b', 'ouro-1.4b')
        ),
        all_calls,
    )
    check(
        'gpu: kernels of the largest that fits',
        re.search('^bench --kernels.*huginn-3.5b --weight-type q8_0', all_calls, re.M),
        all_calls,
    )
    check('gpu: the whole self-test', re.search(r'^selftest --device \d+ --results', all_calls, re.M), all_calls)
    check('gpu: matrix units', re.search('^selftest.*--matrix-units on', all_calls, re.M), all_calls)
    check(
        'gpu: kernels and a shape on matrix units',
        all(re.search(f'^bench {what}.*--matrix-units on', all_calls, re.M) for what in ('--kernels', '--device')),
        all_calls,
    )
    program = stand_in(behaviour.format(units='echo "muninn: no matrix units here" >&2; exit 3'), devices)
    code, out, _ = contact('-p', program, 'no-units')
    text = paragraph_of('no units', 'no-units', out)
    check(
        'gpu: units that are not there are no failure',
        code == 0 and '(muninn: no matrix units here)' in text and 'Failed: nothing' in text,
        code,
        text,
    )
    check('gpu: and nothing more is asked of them', len(re.findall('--matrix-units', '\n'.join(calls()))) == 1, calls())


def interrupted():
    program = stand_in('''case "$*" in
selftest?--synthetic*) echo hangs >hangs; while :; do sleep 1; done ;;
selftest*)
    while [ "$1" != --results ]; do shift; done
    echo '{"key":"a","bench":"selftest","check":"D0","device":"d","cases":1,"failed":0}' >>"$2" ;;
esac''')
    process = subprocess.Popen(
        ['sh', script, '-p', program, 'stopped'],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    for line in process.stdout:
        if line.startswith('[ 4/'):
            break
    while not os.path.exists('hangs') and process.poll() is None:
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    text = open('stopped/paragraph.txt').read()
    check('Ctrl-C: exit code', process.returncode == 130 and not err, process.returncode, err)
    check(
        'Ctrl-C: said, with what there is',
        'stopped by a signal in step 4 of ' in text and '1 trial, 0 failed' in text,
        text,
    )
    check(
        'Ctrl-C: no further step',
        calls()[-1] == '--version' and not any(c.startswith('pipelines') for c in calls()),
        calls(),
    )
    page_of('Ctrl-C', 'stopped', 1)  # three of one name
    leftovers('Ctrl-C', 'stopped', 'report.html')


def refusals():
    for arguments, part in (
        (['-t', 'x'], '-t x: must be a number'),
        (['-t', '3'], 'at least 10'),
        (['-p', '/nothing'], 'there is no /nothing'),
        (['a', 'b'], 'usage: '),
        (['-z'], 'usage: '),
    ):
        code, out, err = contact(*arguments)
        check(f'refused: {arguments}', code == 2 and part in err, code, out, err)
    code, out, err = contact('-p', muninn, '-d', 'nosuchdevice', 'none')
    check('refused: no such device', code == 2 and "'nosuchdevice'" in err, code, err)


if mode == 'real':
    real()
else:
    for test in hangs_and_fails, finds_wrong, as_a_gpu, interrupted, refusals:
        test()
print(f'{failed} failed')
sys.exit(bool(failed))
