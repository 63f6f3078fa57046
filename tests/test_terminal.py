#!/usr/bin/env python3
"""Goal: whatever a model, a file of rows or a name says, a terminal receives no character that drives it, and a pipe receives the bytes.
Method: a model whose token "0" is the escape character, rows, prompts and folders with C0, C1, DEL, bidi marks and lone bytes in every
string; each command with its output on a pseudo-terminal. What the program itself sends (the progress line) is taken out first.

usage: test_terminal.py path/to/muninn source_dir"""
import json, os, pty, re, shutil, subprocess, sys, tempfile, threading

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
tmp = tempfile.TemporaryDirectory()
os.chdir(tmp.name)
evil = 'x\x1b]0;t\x07\x7f\u009b31m\u202e\u2066|\r\n='
failed = 0


def check(name, good, seen=''):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, '' if good else repr(seen))


def on_terminal(*args, both=True):
    """What a terminal gets of stdout and stderr, and the exit code."""
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
    code = subprocess.run([muninn, *args], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs if both else subprocess.DEVNULL).returncode
    os.close(theirs)
    thread.join()
    os.close(ours)
    return b''.join(seen), code


def harmless(name, *args, code=0, has=b'\\u001b', both=True):
    seen, got = on_terminal(*args, both=both)
    rest = seen.replace(b'\r\x1b[K', b'').replace(b'\r\n', b'\n')
    try:
        text = rest.decode()
    except UnicodeDecodeError:
        return check(name, False, rest)
    bad = re.search('[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]', text)
    check(name, not bad and got == code and has in rest, (got, rest[-600:]))


def pipe(*args):
    return subprocess.run([muninn, *args], stdin=subprocess.DEVNULL, capture_output=True)


# ---- text of a model ----
shutil.copytree(source + '/models/raven-tiny', 'model')
t = json.load(open('model/tokenizer.json'))
v = t['model']['vocab']
v['\u011b'], v['0'] = v['0'], v['\u011b']  # the byte 0x1b takes the id of "0"
json.dump(t, open('model/tokenizer.json', 'w'))
ids = '0,393,226,23,226,29,226,21,226,22,226,30,226,25,286'  # "sort 2 8 0 1 9 4 :"
generate = ['generate', '-m', 'model', '--ids', ids, '-n', '8', '--num-steps', '8']
if pipe(*generate).returncode == 3:
    sys.exit(77)
harmless('generate', *generate)
check('generate: a pipe gets the bytes', b'\x1b' in pipe(*generate).stdout)
harmless('generate -o json', *generate, '-o', 'json')
harmless('trace -o md', 'trace', '-m', 'model', '--ids', ids, '--num-steps', '8', '-o', 'md')
harmless('trace -o jsonl', 'trace', '-m', 'model', '--ids', ids, '--num-steps', '8', '-o', 'jsonl')

# ---- names ----
folder = os.fsencode(evil.replace('/', '')) + b'\xff\x9b'
os.symlink(b'model', folder)
harmless('info', 'info', '-m', folder, has=b'\\u009b31m\\u202e')
harmless('info: the name has a lone byte', 'info', '-m', folder, has=b'\\xff\\x9b')
harmless('message: no such folder', 'info', '-m', evil + 'none', code=4)
harmless('message: unknown option', 'info', '--' + evil, code=2)
harmless('message: a name of 2000 bytes', 'info', '-m', b'\xe2\x82\xac' * 700, code=4, has=b'...')
err = pipe('info', '-m', evil + 'none').stderr
check('message: one line, also into a pipe', err.count(b'\n') == 1 and b'\x1b' not in err and b'\xc2\x9b' not in err, err)

# ---- rows ----
row = {'bench': 'run', 'key': evil, 'device': evil, 'driver': evil, 'commit': evil, 'model': evil, 'model_hash': evil, 'weight_type': evil,
       'kv_policy': evil, 'kv_type': evil, 'strategy': evil, 'lossless': False, 'lossy_because': evil, 'num_steps': 4, 'batch': 1,
       'decode_tok_s': 2.5, 'decode_samples': [2.0, 2.5, 3.0, 2.5, 2.5], evil: evil}
for name, driver in ('a', evil), ('b', evil + '2'):
    with open(name + '.jsonl', 'w') as f:
        f.write(json.dumps(dict(row, driver=driver)) + '\n')
for form in 'md', 'csv', 'json', 'jsonl':
    harmless('merge -o ' + form, 'merge', '-o', form, 'a.jsonl', has=b'\\u009b')
rows = json.loads(on_terminal('merge', '-o', 'json', 'a.jsonl', both=False)[0])
check('merge -o json: a terminal gets the same JSON', rows[0]['model'] == evil, rows)
for form in 'md', 'json':
    harmless('compare -o ' + form, 'compare', '-o', form, 'a.jsonl', 'b.jsonl', has=b'\\u009b')

# ---- score ----
with open('score.jsonl', 'w') as f:
    f.write(json.dumps({'id': evil, 'group': evil, 'context': 'sort 2 8 :', 'continuation': ' 2 8'}) + '\n')
for form in 'md', 'jsonl':
    harmless('score -o ' + form, 'score', '-m', 'model', '-f', 'score.jsonl', '--group-by', 'group', '--num-steps', '4', '-o', form,
             has=b'\\u009b')
resume = ['score', '-m', 'model', '-f', 'score.jsonl', '--num-steps', '4', '--results', '\x1b\u009b\u202e.jsonl', '--resume']
pipe(*resume)
harmless('score --resume: the name of the results', *resume, has=b'1 were in \\u001b\\u009b\\u202e.jsonl already')

sys.exit(failed > 0)
