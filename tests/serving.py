"""What the tests of `muninn serve` share: a server at a free port whose end is certain, the other commands to compare
with, and checks that print a line each. Import it first: it leaves with 77 where there is no server to test.

Arguments of these tests: path/to/muninn source_dir"""
import atexit
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
tiny = f'{source}/models/raven-tiny'
folder = tempfile.TemporaryDirectory()
environment = {**os.environ, 'XDG_CACHE_HOME': folder.name, 'SECRET_OF_THE_TEST': 'Ygdrasil'}
environment.pop('MUNINN_API_KEY', None)
shaders = os.environ.get('MESA_SHADER_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
environment['MESA_SHADER_CACHE_DIR'] = shaders
STEPS = 6
PROMPT = 'sort 2 8 0 1 9 4 :'
SECRETS = [source, folder.name, 'Ygdrasil', '/models/']  # what no answer may have; tests add theirs
seen = []  # every answer's bytes
counts = {True: 0, False: 0}


def check(what, good, *got):
    counts[bool(good)] += 1
    if not good:
        print(f'FAILED: {what}', *(str(g)[:600] for g in got), sep='\n    ', flush=True)


def finish():
    """Of a test: its last call."""
    everything = b'\n'.join(seen)
    for secret in SECRETS:
        check(f'no answer has {secret}', secret.encode() not in everything)
    print(f'{counts[True]} passed, {counts[False]} failed')
    sys.exit(1 if counts[False] else 0)


class Server:
    """`muninn serve` on the shipped model. With -q among the options the last one is the port, and nobody waits."""

    def __init__(self, *options, **more):
        quiet = '-q' in options
        options = options if quiet else ('-v', '--port', '0', *options)
        self.log = open(os.path.join(folder.name, f'log{len(os.listdir(folder.name))}'), 'w+b')
        self.process = subprocess.Popen([muninn, 'serve', '-m', tiny, '--num-steps', str(STEPS), *options],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log,
                                        env={**environment, **more})
        atexit.register(self.process.kill)  # where the test itself fails
        self.key = None
        self.port = int(options[-1]) if quiet else self.wait_for_port()

    def wait_for_port(self):
        while not (found := re.search(rb'listening on http://127\.0\.0\.1:(\d+)', self.said())):
            if self.process.poll() is not None:
                sys.exit(f'FAILED: the server did not start: {self.said().decode()}')
            time.sleep(0.02)
        return int(found[1])

    def said(self):
        with open(self.log.name, 'rb') as f:
            return f.read()

    def open(self):
        return socket.create_connection(('127.0.0.1', self.port), timeout=120)

    def ask(self, method, path, body=None, headers=None, raw=False):
        """Status, headers and body of an answer; bodies of JSON are read."""
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=120)
        all_headers = {'Content-Type': 'application/json'} if method == 'POST' else {}
        if self.key:
            all_headers['Authorization'] = 'Bearer ' + self.key
        all_headers.update(headers or {})
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection.request(method, path, body, all_headers)
        answer = connection.getresponse()
        data = answer.read()
        seen.append(data)
        connection.close()
        return answer.status, answer.headers, data if raw else json.loads(data or b'null')

    def post(self, path, body, **more):
        return self.ask('POST', path, body, **more)

    def complete(self, **body):
        status, _, answer = self.post('/v1/completions', body)
        check(f'completion {body}', status == 200, status, answer)
        return answer

    def one(self, **body):
        """The choice for PROMPT."""
        return self.complete(prompt=PROMPT, return_token_ids=True, **{'max_tokens': 9, **body})['choices'][0]

    def events(self, path, body):
        status, headers, data = self.post(path, {**body, 'stream': True}, raw=True)
        check(f'stream {body}: status', status == 200 and headers['Content-Type'] == 'text/event-stream', status, data)
        lines = data.decode().split('\n\n')
        check(f'stream {body}: form', all(line.startswith('data: ') for line in lines[:-1]) and lines[-1] == '' and
              lines[-2] == 'data: [DONE]', data)
        return [json.loads(line[6:]) for line in lines[:-2]]

    def figures(self):
        """/metrics by name."""
        data = self.ask('GET', '/metrics', raw=True)[2].decode()
        return {line.rpartition(' ')[0]: float(line.rpartition(' ')[2]) for line in data.splitlines() if line[0] != '#'}

    def until(self, what, good):
        """Waits for what must come, however long it takes."""
        for _ in range(6000):
            if good(self.figures()):
                return check(what, True)
            time.sleep(0.02)
        check(what, False, self.figures())

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait()


def refused(what, got, status, param=None, code=None):
    """An error in OpenAI's form."""
    error = (got[2] or {}).get('error', {})
    check(f'{what}: {status}', got[0] == status and sorted(error) == ['code', 'message', 'param', 'type'] and
          error['message'] and error['type'], got)
    check(f'{what}: param and code', (param is None or error.get('param') == param) and
          (code is None or error.get('code') == code), got)


def request(body, path='/v1/completions', more=''):
    """The bytes of a request."""
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
            f'Content-Length: {len(body)}\r\n{more}\r\n').encode() + body


def run(*arguments, stdin=None):
    done = subprocess.run([muninn, *map(str, arguments)], capture_output=True, text=True, env=environment, input=stdin)
    check(f'{arguments}', done.returncode == 0, done.stderr)
    return done.stdout


def generate(**lines):
    """Each line alone on its place; one process, because each start builds pipelines."""
    text = ''.join(json.dumps({'prompt': PROMPT, 'id': name, **line}) + '\n' for name, line in lines.items())
    answers = run('generate', '-m', tiny, '--batch', '-', '--num-steps', STEPS, '--parallel', 1, '-o', 'json',
                  stdin=text)
    return {answer['id']: answer for answer in map(json.loads, answers.splitlines()) if 'id' in answer}


def generate_chat(messages, n, *options):
    """The answer of `muninn generate` to a system's word and a user's."""
    (system, user) = messages
    return json.loads(run('generate', '-m', tiny, '-p', user['content'], '--num-steps', STEPS, '-o', 'json', '-n', n,
                          '--chat', '--system', system['content'], *options))


def score(pairs, depths=(STEPS,)):
    """Log-likelihoods of `muninn score` for (context, continuation) in ids: {(place, depth): (logprob, is greedy)}."""
    lines = ''.join(json.dumps({'context_ids': context, 'continuation_ids': continuation, 'number': i}) + '\n'
                    for i, (context, continuation) in enumerate(pairs))
    rows = run('score', '-m', tiny, '-f', '-', '--num-steps', ','.join(map(str, sorted(set(depths)))), stdin=lines)
    return {(row['number'], row['num_steps']): (row['logprob'], row['is_greedy'])
            for row in map(json.loads, rows.splitlines()) if 'number' in row}


def leave_without_server():
    if subprocess.run([muninn, 'devices'], capture_output=True).returncode == 3:
        print('skipped: no Vulkan device')
        sys.exit(77)
    trial = subprocess.run([muninn, 'serve', '--host', '256.0.0.1'], capture_output=True, text=True)
    if 'libmicrohttpd' in trial.stderr:
        check('without libmicrohttpd: exit code', trial.returncode == 1 and trial.stderr.count('\n') == 1, trial.stderr)
        print('skipped: built without libmicrohttpd')
        sys.exit(77 if not counts[False] else 1)


leave_without_server()
