"""generate --batch -: lines of JSON on standard input are answered one by one while it stays open.

Method: the built program on the shipped models, a pipe for its input that is written line by line, its answers read
line by line. Tokens against those of single runs. Nothing here depends on how long anything takes.
Usage: tests/test_worker.py path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
"""
import json
import os
import signal
import subprocess
import sys

muninn, source = sys.argv[1:3]
tiny = f'{source}/models/raven-tiny'
environment = {**os.environ, 'XDG_CACHE_HOME': '/nonexistent'}
failed = 0


def check(what, good, got=''):
    global failed
    if not good:
        failed += 1
        print(f'FAILED: {what}: {got}')


class Worker:
    def __init__(self, *options):
        self.process = subprocess.Popen([muninn, 'generate', '-m', tiny, '--batch', '-', '--num-steps', '4', *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment)

    def say(self, line):
        self.raw((line if isinstance(line, str) else json.dumps(line)) + '\n')

    def raw(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        check('an answer is a line of JSON', line.endswith(b'\n'), line)
        return json.loads(line or b'{}')

    def end(self):
        self.process.stdin.close()
        rest = self.process.stdout.read().decode()
        self.errors = self.process.stderr.read().decode()
        return self.process.wait(), [json.loads(line) for line in rest.splitlines()]


def alone(*options):
    run = subprocess.run([muninn, 'generate', '-m', tiny, '-o', 'json', *options], capture_output=True, env=environment)
    check(f'generate {options}', run.returncode == 0, run.stderr)
    return json.loads(run.stdout)


if subprocess.run([muninn, 'devices'], capture_output=True).returncode == 3:
    print('skipped: no Vulkan device')
    sys.exit(77)

prompt = 'sort 2 8 0 1 9 4 :'
expected = {'plain': alone('-p', prompt, '--num-steps', '4', '-n', '9'),
            'sampled': alone('-p', prompt, '--num-steps', '3', '-n', '9', '--temp', '0.9', '--seed', '5',
                             '--ignore-eos'),
            'stopped': alone('-p', prompt, '--num-steps', '4', '-n', '9', '--stop', '2')}
sampled = {'prompt': prompt, 'id': 'sampled', 'temp': 0.9, 'seed': 5, 'num_steps': 3, 'ignore_eos': True}
lines = [{'prompt': prompt, 'id': 'plain'},
         sampled,
         {'prompt': prompt, 'id': 'plain', 'strategy': 'draft-verify', 'draft_steps': 2, 'lookahead': 3},
         {'prompt': prompt, 'id': 'plain', 'strategy': 'wavefront', 'max_inflight': 4, 'draft_steps': 1},
         {**sampled, 'strategy': 'auto'},
         {'prompt': prompt, 'id': 'stopped', 'stop': '2'},
         {'prompt': prompt, 'id': 'stopped', 'stop': ['no such text', '2']},
         {'ids': expected['plain']['prompt_ids'], 'id': 'plain', 'n': 9}]


def check_answer(what, answer):
    want = expected[answer.get('id')]
    check(f'{what}: tokens', answer.get('tokens') == want['tokens'], (answer, want['tokens']))
    check(f'{what}: text', answer.get('text') == want['text'], (answer.get('text'), want['text']))


# One by one: each answer comes while the input is open, and before the next line is written.
worker = Worker('-n', '9')
for i, line in enumerate(lines):
    worker.say(line)
    answer = worker.hear()
    check_answer(f'line {i}', answer)
    check(f'line {i}: index', answer.get('index') == i, answer.get('index'))
code, rest = worker.end()
check('one by one: the end', code == 0 and rest == [], (code, rest, worker.errors))

# All at once, more than wait at a time, two of them running; and in one piece with blanks, a byte order mark, carriage
# returns and no newline at the end.
worker = Worker('-n', '9', '--parallel', '2')
text = '\ufeff' + '\r\n\n'.join(json.dumps(line) for line in 4 * lines)
worker.raw(text)
code, rest = worker.end()
check('all at once: the end', code == 0, (code, worker.errors))
check('all at once: every one is answered', sorted(a['index'] for a in rest) == list(range(4 * len(lines))), len(rest))
for answer in rest:
    check_answer(f"all at once: {answer['index']}", answer)

# A short one that comes later is answered first; the long one goes on.
worker = Worker()
worker.say({'prompt': prompt, 'id': 'long', 'n': 400, 'ignore_eos': True})
worker.say({'prompt': prompt, 'id': 'short', 'n': 1})
check('a short one overtakes', worker.hear().get('id') == 'short')
check('the long one ends', len(worker.hear().get('tokens', [])) == 400)
worker.end()

# What is wrong with a line is its answer; the others do not notice.
worker = Worker('-n', '9', '--ctx', '64')
bad = [('nonsense', 'JSON'), ('{}', 'needs either'), ({'prompt': 'a', 'colour': 1}, 'colour'),
       ({'prompt': 1}, 'prompt'), ({'prompt': 'a', 'strategy': 'none'}, 'strategy'),
       ({'prompt': 'a', 'strategy': 'diffusion'}, 'diffusion'),
       ({'prompt': 'a', 'num_steps': 5}, 'num_steps 5'), ({'prompt': 'a', 'n': 100}, 'does not fit|would fit'),
       ({'prompt': 'a', 'temp': -1}, 'temp'), ({'prompt': 'a', 'top_p': 0}, 'top_p'),
       ({'prompt': 'a', 'stop': ''}, 'stop'), ({'prompt': 'a', 'stop': 17 * ['x']}, 'stop'),
       ({'prompt': 'a', 'seed': 1.5}, 'seed'),
       ({'prompt': 'a', 'strategy': 'draft-verify', 'draft_steps': 4}, 'draft_steps 4'),
       ({'prompt': 'a', 'strategy': 'draft-verify', 'lookahead': 63}, 'lookahead 63'), ({'ids': [512]}, '512')]
for line, word in bad:
    worker.say(line)
    answer = worker.hear()
    check(f'refused: {line}', any(w in answer.get('error', '') for w in word.split('|')), answer.get('error'))
    check(f'refused: {line}: reason', answer.get('stats', {}).get('finish_reason') == 'error', answer)
worker.say(lines[0])
check_answer('behind bad ones', worker.hear())
code, rest = worker.end()
check('bad lines: exit code of the first', code == 4 and rest == [], (code, rest))
check('bad lines: messages name the line', "standard input: line 3: JSON: key 'colour'" in worker.errors, worker.errors)

# Ctrl-C while nothing comes, and while something runs.
worker = Worker()
worker.say({'prompt': prompt, 'n': 1})
worker.hear()
worker.process.send_signal(signal.SIGINT)
code = worker.process.wait()
check('interrupted while idle', code == 130, code)
worker = Worker('--ignore-eos')
worker.say({'prompt': prompt, 'n': 450, 'id': 'long'})
worker.say({'prompt': prompt, 'n': 1, 'id': 'first'})
check('something runs', worker.hear().get('id') == 'first')
worker.process.send_signal(signal.SIGINT)
answer = worker.hear()
check('interrupted: what there is', answer.get('id') == 'long' and 0 < len(answer.get('tokens', [])) <= 450, answer)
code = worker.process.wait()
check('interrupted: exit code', code == 130 or len(answer.get('tokens', [])) == 450, code)

# Nobody reads the answers any more.
worker = Worker()
worker.process.stdout.close()
worker.say({'prompt': prompt, 'n': 1})
check('a reader that is gone', worker.process.wait() == 141, worker.process.returncode)

# Nothing at all is no mistake; a trace of it is.
code, rest = Worker().end()
check('an empty input', code == 0 and rest == [], (code, rest))
run = subprocess.run([muninn, 'generate', '--batch', '-', '--trace', '/nonexistent/trace'], capture_output=True,
                     text=True)
check('--trace', run.returncode == 2 and '--trace: not with --batch -' in run.stderr, run.stderr)
sys.exit(1 if failed else 0)
