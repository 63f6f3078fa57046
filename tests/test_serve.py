"""muninn serve: its answers are those of the other commands, and nothing that clients do harms other clients.

Method: the built program on a shipped model, at a free port, over sockets of the standard library. Tokens and texts
against `muninn generate`, log-probabilities against `muninn score`, to the last bit. Then what no client should do:
bad JSON, floods, halves of requests, going away. Nothing here depends on how long anything takes.
Usage: tests/test_serve.py path/to/muninn source_dir     (exit 77 without a Vulkan device or without libmicrohttpd)
"""
import atexit
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
tiny = f'{source}/models/raven-tiny'
folder = tempfile.TemporaryDirectory()
environment = {**os.environ, 'XDG_CACHE_HOME': folder.name, 'SECRET_OF_THE_TEST': 'Ygdrasil'}
environment.pop('MUNINN_API_KEY', None)
shaders = os.environ.get('MESA_SHADER_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
environment['MESA_SHADER_CACHE_DIR'] = shaders
STEPS = 6
prompt = 'sort 2 8 0 1 9 4 :'
seen = []  # every answer's bytes
passed = failed = 0


def check(what, good, *got):
    global passed, failed
    passed += bool(good)
    if not good:
        failed += 1
        print(f'FAILED: {what}', *(str(g)[:600] for g in got), sep='\n    ', flush=True)


class Server:
    def __init__(self, *options, **more):
        if '-q' not in options:
            options = '-v', '--port', '0', *options
        self.log = open(os.path.join(folder.name, f'log{len(os.listdir(folder.name))}'), 'w+b')
        self.process = subprocess.Popen([muninn,
                                         'serve',
                                         '-m',
                                         tiny,
                                         '--num-steps',
                                         str(STEPS),
                                         *options],
                                        stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL,
                                        stderr=self.log,
                                        env={**environment,
                                             **more})
        atexit.register(self.process.kill)  # where the test itself fails
        self.key = None
        if '-q' in options:
            self.port = int(options[-1])
            return
        while not (found := re.search(rb'listening on http://127\.0\.0\.1:(\d+)', self.said())):
            if self.process.poll() is not None:
                sys.exit(f'FAILED: the server did not start: {self.said().decode()}')
            time.sleep(0.02)
        self.port = int(found[1])

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

    def events(self, path, body):
        status, headers, data = self.post(path, {**body, 'stream': True}, raw=True)
        check(f'stream {body}: status', status == 200 and headers['Content-Type'] == 'text/event-stream', status, data)
        lines = data.decode().split('\n\n')
        check(f'stream {body}: form', all(line.startswith('data: ') for line in lines[:-1]) and lines[-1] == '' and
              lines[-2] == 'data: [DONE]', data)
        return [json.loads(line[6:]) for line in lines[:-2]]

    def figures(self):
        status, headers, data = self.ask('GET', '/metrics', raw=True)
        check('metrics: form', status == 200 and headers['Content-Type'].startswith('text/plain; version=0.0.4'))
        figures = {}
        for line in data.decode().splitlines():
            if not line.startswith('#'):
                match = re.fullmatch(r'([a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) ([0-9.e+-]+)', line)
                check(f'metrics: {line}', match)
                figures[match[1]] = float(match[2])
        return figures

    def until(self, what, good):
        """Waits for what must come, however long it takes."""
        for _ in range(6000):
            if good(self.figures_quietly()):
                return check(what, True)
            time.sleep(0.02)
        check(what, False, self.figures_quietly())

    def figures_quietly(self):
        data = self.ask('GET', '/metrics', raw=True)[2].decode()
        return {line.rpartition(' ')[0]: float(line.rpartition(' ')[2]) for line in data.splitlines() if line[0] != '#'}

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait()


def run(*arguments, stdin=None):
    done = subprocess.run([muninn, *map(str, arguments)], capture_output=True, text=True, env=environment, input=stdin)
    check(f'{arguments}', done.returncode == 0, done.stderr)
    return done.stdout


def generate(**lines):
    """Each line alone on its place; one process, because each start builds pipelines."""
    text = ''.join(json.dumps({'prompt': prompt, 'id': name, **line}) + '\n' for name, line in lines.items())
    answers = run(
        'generate',
        '-m',
        tiny,
        '--batch',
        '-',
        '--num-steps',
        STEPS,
        '--parallel',
        1,
        '-o',
        'json',
        stdin=text)
    return {answer['id']: answer for answer in map(json.loads, answers.splitlines()) if 'id' in answer}


scored = []  # what, sum of the server's numbers, context, continuation, depth


def score(what, numbers, context, continuation, steps=STEPS):
    total = 0.0
    for number in numbers:  # in order, as `muninn score` adds them
        total += number
    scored.append((what, total, context, continuation, steps))


def check_scores():
    lines = ''.join(json.dumps({'context_ids': context, 'continuation_ids': continuation, 'number': i}) + '\n'
                    for i, (_, _, context, continuation, _) in enumerate(scored))
    depths = sorted({steps for *_, steps in scored})
    rows = run('score', '-m', tiny, '-f', '-', '--num-steps', ','.join(map(str, depths)), stdin=lines).splitlines()
    wants = {(row['number'], row['num_steps']): row['logprob'] for row in map(json.loads, rows) if 'number' in row}
    for i, (what, total, _, _, steps) in enumerate(scored):
        check(f'{what}: the number of `muninn score`', total == wants.get((i, steps)), total, wants.get((i, steps)))


if subprocess.run([muninn, 'devices'], capture_output=True).returncode == 3:
    print('skipped: no Vulkan device')
    sys.exit(77)
trial = subprocess.run([muninn, 'serve', '--host', '256.0.0.1'], capture_output=True, text=True)
if 'libmicrohttpd' in trial.stderr:
    check('without libmicrohttpd: exit code', trial.returncode == 1 and trial.stderr.count('\n') == 1, trial.stderr)
    print('skipped: built without libmicrohttpd')
    sys.exit(77 if not failed else 1)
check('a bad host', trial.returncode == 2 and '--host 256.0.0.1: ' in trial.stderr, trial.stderr)

server = Server('--parallel', '4', '--queue', '8', '--max-body', '64')
alone = generate(plain={'n': 9}, sampled={'n': 12, 'temp': 0.9, 'seed': 5, 'ignore_eos': True},
                 next={'n': 12, 'temp': 0.9, 'seed': 6, 'ignore_eos': True},
                 filtered={'n': 12, 'temp': 1.1, 'seed': 7, 'top_k': 40, 'top_p': 0.9, 'min_p': 0.01},
                 stopped={'n': 9, 'stop': '2'}, shallow={'n': 9, 'num_steps': 3})
alone['chat'] = json.loads(run('generate', '-m', tiny, '-p', prompt, '--num-steps', STEPS,
                           '-o', 'json', '-n', 9, '--chat', '--system', 'Be brief.'))
sampled = {'temperature': 0.9, 'seed': 5, 'ignore_eos': True, 'max_tokens': 12}


# ---- answers are those of the other commands ----

def same(what, choice, want):
    got = choice['token_ids'], choice['message']['content'] if 'message' in choice else choice['text']
    check(f'{what}: tokens and text', got == (want['tokens'], want['text']), got, want['tokens'], want['text'])
    check(
        f'{what}: reason',
        choice['finish_reason'] == {
            'eos': 'stop'}.get(
            want['stats']['finish_reason'],
            want['stats']['finish_reason']),
        choice['finish_reason'],
        want['stats']['finish_reason'])


def one(**body):
    return server.complete(prompt=prompt, return_token_ids=True, **{'max_tokens': 9, **body})['choices'][0]


same('plain', one(), alone['plain'])
same(
    'ids',
    server.complete(
        prompt=alone['plain']['prompt_ids'],
        return_token_ids=True,
        max_tokens=9)['choices'][0],
    alone['plain'])
same('sampled', one(**sampled), alone['sampled'])
same('filtered', one(temperature=1.1, seed=7, top_k=40, top_p=0.9, min_p=0.01, max_tokens=12), alone['filtered'])
same('stopped', one(stop='2'), alone['stopped'])
same('stopped by one of several', one(stop=['no such text', '2']), alone['stopped'])
same('shallow', one(num_steps=3), alone['shallow'])
for strategy in {'strategy': 'draft-verify', 'draft_steps': 2,
                 'lookahead': 3}, {'strategy': 'wavefront', 'draft_steps': 2}, {'strategy': 'auto'}:
    choice = one(**strategy)
    same(f'{strategy}', choice, alone['plain'])
    check(f'{strategy}: figures', choice['muninn']['lossless']
          is True and choice['muninn']['strategy'] == strategy['strategy'], choice)
    same(f'{strategy}, sampled', one(**{**sampled, **strategy}), alone['sampled'])
early = one(strategy='ar', exit='kl:10')['muninn']
check('an early exit is lossy and says why', early['lossless'] is False and 'exit' in early['lossy_because'], early)
answer = server.complete(prompt=[prompt, prompt], n=2, return_token_ids=True, **sampled)
for i, choice in enumerate(answer['choices']):
    check('n and lists: index', choice['index'] == i, choice)
    same(f'n and lists {i}', choice, alone['next' if i % 2 else 'sampled'])
usage, n_prompt = answer['usage'], len(alone['plain']['prompt_ids'])
check(
    'usage',
    (usage['prompt_tokens'],
     usage['completion_tokens'],
     usage['total_tokens']) == (
        2 * n_prompt,
        48,
        2 * n_prompt + 48),
    usage)
drawn = [server.complete(prompt=prompt, max_tokens=12, temperature=1, ignore_eos=True)['choices'][0] for _ in range(2)]
check('without a seed: others each time, and the answer says which',
      drawn[0]['muninn']['seed'] != drawn[1]['muninn']['seed'], drawn)
again = one(temperature=1, ignore_eos=True, max_tokens=12, seed=drawn[0]['muninn']['seed'])
check('that seed gives the text again', again['text'] == drawn[0]['text'], again, drawn[0])

# ---- streams, chat ----

for body, want in ({'max_tokens': 9}, 'plain'), ({'max_tokens': 9, 'stop': ['2']}, 'stopped'), (sampled, 'sampled'):
    events = server.events('/v1/completions', {'prompt': prompt, 'stream_options': {'include_usage': True}, **body})
    pieces = [e['choices'][0] for e in events if e['choices']]
    check(f'stream {want}: text', ''.join(p['text'] for p in pieces) == alone[want]['text'], pieces)
    check(f'stream {want}: ends once', [bool(p['finish_reason'])
          for p in pieces] == [False] * (len(pieces) - 1) + [True], pieces)
    check(f'stream {want}: usage', events[-1]['usage']['completion_tokens'] == len(alone[want]['tokens']), events[-1])
events = server.events('/v1/completions', {'prompt': prompt, 'n': 2, 'echo': True, **sampled})
for i, want in enumerate(('sampled', 'next')):
    text = ''.join(e['choices'][0]['text'] for e in events if e['choices'][0]['index'] == i)
    check(f'stream of two, echo: {i}', text == prompt + alone[want]['text'], text)
messages = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': prompt}]
status, _, answer = server.post(
    '/v1/chat/completions', {'messages': messages, 'max_tokens': 9, 'return_token_ids': True})
check('chat', status == 200 and answer['object'] == 'chat.completion', answer)
same('chat', answer['choices'][0], alone['chat'])
parts = [{'role': 'system', 'content': [{'type': 'text', 'text': 'Be '}, {'type': 'text', 'text': 'brief.'}]}, messages[1]]
status, _, answer = server.post(
    '/v1/chat/completions', {'messages': parts, 'max_completion_tokens': 9, 'return_token_ids': True})
same('chat in parts', answer['choices'][0], alone['chat'])
events = server.events('/v1/chat/completions', {'messages': messages, 'max_tokens': 9})
check('chat stream', ''.join(e['choices'][0]['delta']['content'] for e in events) == alone['chat']['text'] and
      [e['choices'][0]['delta'].get('role') for e in events] == ['assistant'] + [None] * (len(events) - 1), events)
turns = messages + [{'role': 'assistant', 'content': '0 1'}, {'role': 'user', 'content': 'and again'}]
ids = server.post('/tokenize', {'messages': turns})[2]['tokens']
check('several turns: the first is how it begins', ids[:len(
    alone['chat']['prompt_ids'])] == alone['chat']['prompt_ids'], ids)
status, _, answer = server.post('/v1/chat/completions', {'messages': turns, 'max_tokens': 9})
check('several turns', answer['choices'][0]['message']['content'] ==
      server.complete(prompt=ids, max_tokens=9)['choices'][0]['text'], answer)

# ---- log-probabilities ----

ids = alone['plain']['prompt_ids']
for extra in {}, {'strategy': 'draft-verify', 'draft_steps': 2,
                  'lookahead': 3}, {'strategy': 'wavefront', 'draft_steps': 2}, {'num_steps': 2}:
    steps = extra.get('num_steps', STEPS)
    choice = one(echo=True, logprobs=3, **extra)
    shown, tokens = choice['logprobs'], choice['token_ids']
    check(f'echo {extra}: text', choice['text'].startswith(prompt), choice)
    check(
        f'echo {extra}: one each', len(
            shown['tokens']) == len(
            shown['token_logprobs']) == len(
                shown['top_logprobs']) == len(
                    shown['text_offset']) == len(ids) + len(tokens) and shown['token_logprobs'][0] is None, shown)
    score(f'echo {extra}', shown['token_logprobs'][1:], ids[:1], ids[1:] + tokens, steps)
    score(f'logprobs {extra}', one(logprobs=0, **extra)['logprobs']['token_logprobs'], ids, tokens, steps)
    best = [max(top, key=top.get) for top in shown['top_logprobs'][len(ids):]]
    check(f'echo {extra}: greedy tokens are the best', best == shown['tokens'][len(ids):], best)
    characters = choice['text']
    check(f'echo {extra}: offsets', all(characters.startswith(t, at)
          for t, at in zip(shown['tokens'][1:], shown['text_offset'][1:])), shown)
choice = one(echo=True, logprobs=1, max_tokens=0)
score('max_tokens 0', choice['logprobs']['token_logprobs'][1:], ids[:1], ids[1:])
check('max_tokens 0', choice['text'] == prompt and choice['token_ids'] == [], choice)
whole = server.post('/v1/chat/completions',
                    {'messages': messages,
                     'max_tokens': 9,
                     'logprobs': True,
                     'top_logprobs': 2})[2]['choices'][0]
content = whole['logprobs']['content']
score('chat logprobs', [token['logprob'] for token in content], alone['chat']['prompt_ids'], alone['chat']['tokens'])
check_scores()
check('chat logprobs: alternatives', all(len(t['top_logprobs']) == 2 and bytes(
    t['bytes']).decode() == t['token'] for t in content), content)

# ---- the other paths ----

line = json.loads(run('tokenize', '-m', tiny, stdin=json.dumps({'text': prompt}) + '\n'))
check('tokenize', server.post('/tokenize', {'prompt': prompt, 'add_special_tokens': False})[2]['tokens'] == line['ids'])
answer = server.post('/tokenize', {'prompt': prompt})[2]
check('tokenize: begin token, count', answer['tokens'] == alone['plain']
      ['prompt_ids'] and answer['count'] == len(ids), answer)
check('detokenize', server.post('/detokenize', {'tokens': line['ids']})[2] == {'prompt': prompt})
check('health', server.ask('GET', '/health')[::2] == (200, {'status': 'ok'}))
models = server.ask('GET', '/v1/models')[2]['data']
check('models', [m['id'] for m in models] == ['raven-tiny'] and models[0]['max_model_len'] == 512, models)
check('HEAD', server.ask('HEAD', '/health')[0] == 200)
before = server.figures()
server.complete(prompt=prompt, max_tokens=5, ignore_eos=True, strategy='draft-verify', draft_steps=2)
after = server.figures()
for name, more in ('muninn_generated_tokens_total', 5), ('muninn_prompt_tokens_total', n_prompt), ('muninn_request_seconds_count', 1), \
        ('muninn_first_token_seconds_count', 1), ('muninn_requests_total{path="/v1/completions",code="200"}', 1), \
        ('muninn_requests_total{path="/metrics",code="200"}', 1):
    check(f'metrics: {name}', after[name] - before.get(name, 0) == more, before.get(name), after[name])
check(
    'metrics: acceptance by depth',
    after['muninn_drafted_tokens_total{draft_steps="2"}'] > before['muninn_drafted_tokens_total{draft_steps="2"}'])
check(
    'metrics: a histogram rises',
    after['muninn_request_seconds_bucket{le="+Inf"}'] == after['muninn_request_seconds_count'])

# ---- refusals ----


def refused(what, got, status, param=None, code=None):
    error = (got[2] or {}).get('error', {})
    check(
        f'{what}: {status}',
        got[0] == status and sorted(error) == [
            'code',
            'message',
            'param',
            'type'] and error['message'] and error['type'],
        got)
    check(f'{what}: param and code', (param is None or error.get('param')
          == param) and (code is None or error.get('code') == code), got)


bad = [({'colour': 1}, 'colour'), ({'temperature': -1}, 'temperature'), ({'temperature': 'hot'}, 'temperature'), ({'top_p': 0}, 'top_p'),
       ({'top_p': 2}, 'top_p'), ({'n': 0}, 'n'), ({'n': 1e9}, 'n'), ({'best_of': 3}, 'best_of'), ({'seed': -1}, 'seed'), ({'seed': 0.5}, 'seed'),
       ({'stop': ''}, 'stop'), ({'stop': 17 * ['x']}, 'stop'), ({'stop': [1]}, 'stop'), ({'logprobs': 21}, 'logprobs'),
       ({'logprobs': 1, 'stream': True}, 'logprobs'), ({'stream': 1}, 'stream'), ({'suffix': 'x'}, 'suffix'), ({'logit_bias': {'1': 2}}, 'logit_bias'),
       ({'presence_penalty': 0.5}, 'presence_penalty'), ({'frequency_penalty': 1}, 'frequency_penalty'), ({'num_steps': STEPS + 1}, 'num_steps'),
       ({'strategy': 'diffusion'}, 'strategy'), ({'strategy': 'none'}, 'strategy'), ({'draft_steps': 2}, 'draft_steps'),
       ({'strategy': 'wavefront', 'lookahead': 2}, 'lookahead'), ({'strategy': 'draft-verify', 'draft_steps': STEPS}, None),
       ({'strategy': 'draft-verify', 'lookahead': 63}, None), ({'exit': 'nonsense'}, None), ({'strategy': 'wavefront', 'exit': 'kl'}, 'exit'),
       ({'max_tokens': 512}, 'prompt'), ({'max_tokens': -1}, 'max_tokens'), ({'prompt': []}, 'prompt'), ({'prompt': [512]}, 'prompt'),
       ({'prompt': 600 * [1], 'max_tokens': 0, 'echo': True}, 'prompt'), ({'prompt': {}}, 'prompt'), ({'prompt': 7}, 'prompt'),
       ({'prompt': [1.5]}, 'prompt'), ({'prompt': 257 * ['a']}, 'prompt'), ({'stream_options': {'include_usage': True}}, 'stream_options'),
       ({'stream_options': {'x': 1}}, 'stream_options'), ({'messages': []}, 'messages')]
for extra, param in bad:
    refused(f'{extra}', server.post('/v1/completions', {'prompt': 'a', **extra}), 400, param)
check('a list of both', server.post('/v1/completions', {'prompt': [[1], 'a']})[0] == 200)
refused('no prompt', server.post('/v1/completions', {}), 400, 'prompt')
refused('another model', server.post('/v1/completions',
        {'prompt': 'a', 'model': 'gpt'}), 404, 'model', 'model_not_found')
check('this model',
      server.post('/v1/completions',
                  {'prompt': 'a',
                   'model': 'raven-tiny',
                   'max_tokens': 1,
                   'user': 'x',
                   'suffix': None,
                   'presence_penalty': 0,
                   'logit_bias': {},
                   'best_of': 1})[0] == 200)
user = {'role': 'user', 'content': 'a'}
for extra, param in [({'messages': []}, 'messages'), ({'messages': [{}]}, 'messages'), ({'messages': [{'role': 'tool', 'content': 'a'}]}, 'messages'),
                     ({'messages': [{**user, 'name': 'x'}]}, 'messages'), ({'messages': [{'role': 'user'}]}, 'messages'),
                     ({'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {}}]}]}, 'messages'), ({'tools': [{}]}, 'tools'),
                     ({'response_format': {'type': 'json_object'}}, 'response_format'), ({'top_logprobs': 2}, 'top_logprobs'), ({'echo': True}, 'echo'),
                     ({'max_tokens': 1, 'max_completion_tokens': 1}, 'max_tokens'), ({'prompt': 'a'}, 'prompt')]:
    refused(f'chat {extra}', server.post('/v1/chat/completions', {'messages': [user], **extra}), 400, param)
refused('tokenize nothing', server.post('/tokenize', {}), 400, 'prompt')
refused('detokenize nothing', server.post('/detokenize', {'tokens': [512]}), 400, 'tokens')
for text in '', '{', '[]', 'null', '{"prompt":"a",}', '{"prompt":"a"} x', '{"prompt":"a","prompt":"b"}', '{"prompt":"\\ud800"}', '{"prompt":"a","n":01}', \
        '[' * 5000, '{"a":' * 5000, '{"prompt":[' + '[' * 60 + ']' * 60 + ']}', '\0', '{"prompt":"a\x01"}':
    refused(f'bad JSON {text[:20]!r}', server.post('/v1/completions', text), 400)
for data in b'{"prompt":"\xff"}', b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}', b'\xff\xfe{\0}\0', b'{"\x1b]0;owned\x07":1}':
    refused(f'bad bytes {data}', server.post('/v1/completions', data), 400)
refused('a terminal sequence as a field', server.post(
    '/v1/completions', {'\x1b]0;owned\x07': 1}), 400, '\x1b]0;owned\x07')
refused('a terminal sequence as a model', server.post(
    '/v1/completions', {'prompt': '\x1b[2J', 'model': '\x1b[2J'}), 404)
server.complete(prompt='\x1b[2J\x9b31m', max_tokens=1, stop='\x1b')
refused('no such path', server.ask('GET', '/etc/passwd'), 404)
refused('no such path, dots', server.ask('GET', '/../../etc/passwd'), 404)
got = server.ask('GET', '/v1/completions')
refused('GET', got, 405)
check('GET: Allow', got[1]['Allow'] == 'POST', got)
refused('no JSON by its type', server.post('/v1/completions',
        {'prompt': 'a'}, headers={'Content-Type': 'text/plain'}), 415)
refused(
    'no JSON by its type (a form)',
    server.post(
        '/v1/completions',
        'a=b',
        headers={
            'Content-Type': 'application/x-www-form-urlencoded'}),
    415)
refused('a page that names itself this machine', server.ask('GET', '/v1/models', headers={'Host': 'evil.example'}), 403)
for host in 'localhost', 'LOCALHOST:80', '127.0.0.1:1', '[::1]:80':
    check(f'Host {host}', server.ask('GET', '/v1/models', headers={'Host': host})[0] == 200)
for host in 'localhost.evil.example', '127.evil.example', '127.0.0.1.evil.example':
    refused(f'Host {host}', server.ask('GET', '/v1/models', headers={'Host': host}), 403)

# ---- sockets ----


def raw(data, read=True):
    """What a server answers to these bytes; b'' where it closes at once."""
    with server.open() as s:
        try:
            s.sendall(data)
            got = b''
            while read and (piece := s.recv(65536)):
                got += piece
        except (ConnectionResetError, BrokenPipeError):
            return b''
    seen.append(got)
    return got


def request(body, path='/v1/completions', more=''):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (f'POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n').encode() + body


def alive(what):
    check(f'{what}: others are served', one()['text'] == alone['plain']['text'])


got = raw(b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n')
check('a body too large, said before', got.startswith(b'HTTP/1.1 413 ') and b'"body_too_large"' in got, got)
chunk = b'8000\r\n' + 0x8000 * b' ' + b'\r\n'
head = b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
got = raw(head + 3 * chunk + b'0\r\n\r\n')
check('a body too large, in pieces', got.startswith(b'HTTP/1.1 413 '), got)
check('a body without an end', raw(head + 20 * chunk) == b'')
body = json.dumps({'prompt': prompt, 'max_tokens': 9}).encode()
got = raw(head + b''.join(b'%x\r\n%c\r\n' % (1, c) for c in body) + b'0\r\n\r\n')
check('a body in pieces', got.startswith(b'HTTP/1.1 200 ')
      and json.loads(got.split(b'\r\n\r\n')[1])['choices'][0]['text'] == alone['plain']['text'], got)
raw(b'GET /health HTTP/1.1\r\nHost: localhost\r\n' + b''.join(b'X-%d: %s\r\n' % (i, 1000 * b'a') for i in range(1000)))
raw(b'GET /health HTTP/1.1\r\nHost: localhost\r\n' + b''.join(b'X-%d: a\r\n' % i for i in range(100000)))
raw(b'GET /' + 1000000 * b'a' + b' HTTP/1.1\r\n\r\n')
alive('a flood of headers')
draw = random.Random(11)
good = request({'prompt': 'a', 'max_tokens': 1}, more='Connection: close\r\n')
for i in range(60):
    data = bytearray(good if i % 3 else draw.randbytes(200))
    for _ in range(draw.randrange(1, 6)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    with server.open() as s:
        try:
            s.sendall(bytes(data))
            s.shutdown(socket.SHUT_WR)
            while piece := s.recv(65536):
                seen.append(piece)
        except (ConnectionResetError, BrokenPipeError):
            pass
alive('garbage')
halves = [server.open() for _ in range(30)]
for i, half in enumerate(halves):
    half.sendall(good[:len(good) * i // 30])
alive('halves of requests')
got = raw(request({'prompt': prompt, 'max_tokens': 9}) + b'GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n' +
          request({'prompt': prompt, 'max_tokens': 9, 'stop': '2'}, more='Connection: close\r\n'))
check(
    'pipelined: in order',
    got.count(b'HTTP/1.1 200 ') == 3 and 0 < got.find(
        json.dumps(
            alone['plain']['text']).encode()) < got.find(b'"ok"') < got.find(
                json.dumps(
                    alone['stopped']['text']).encode()),
    got)

# Clients that go away: before the first token, in the middle of a stream,
# with a further request behind, without a word.
long = {'prompt': prompt, 'max_tokens': 480, 'ignore_eos': True}
for what, body, more, first in ('waiting', {**long, 'n': 8}, b'', False), ('mid-stream', {**long, 'stream': True}, b'', True), \
        ('with a request behind', {**long, 'n': 4}, good, False), ('scored', {**long, 'logprobs': 1}, b'', False):
    before = server.figures_quietly()
    with server.open() as s:
        s.sendall(request(body) + more)
        if first:
            check(f'{what}: it has begun', s.recv(4096).startswith(b'HTTP/1.1 200 '))
        else:
            server.until(f'{what}: it runs', lambda f: f['muninn_sequences_open'] >= 1)
    server.until(f'gone, {what}: its rows are free',
                 lambda f: f['muninn_sequences_open'] == f['muninn_sequences_decoding'] == 0)
    after = server.figures_quietly()
    check(f'gone, {what}: cancelled', after['muninn_cancelled_total']
          == before['muninn_cancelled_total'] + 1, before, after)
alive('clients that went away')
for half in halves:
    half.close()

# Several at once get what each gets alone, some of them slow to read.
wants = [
    ('plain', {
        'max_tokens': 9}), ('sampled', sampled), ('stopped', {
            'max_tokens': 9, 'stop': '2'}), ('shallow', {
                'max_tokens': 9, 'num_steps': 3}), ('sampled', {
                    **sampled, 'strategy': 'draft-verify', 'draft_steps': 2}), ('plain', {
                        'max_tokens': 9, 'strategy': 'wavefront'})]
answers = [[] for _ in wants]


def many(i):
    for _ in range(3):
        answers[i].append(server.post('/v1/completions', {'prompt': prompt, **wants[i][1]}))


threads = [threading.Thread(target=many, args=(i,)) for i in range(len(wants))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for (want, body), got in zip(wants, answers):
    check(f'at once {body}', len(got) == 3 and all(g[0] == 200 and g[2]
          ['choices'][0]['text'] == alone[want]['text'] for g in got), got)

# ---- the end ----

with server.open() as s:
    s.sendall(request({**long, 'stream': True, 'max_tokens': 120}, more='Connection: close\r\n'))
    got = s.recv(4096)
    server.process.send_signal(signal.SIGTERM)
    while piece := s.recv(65536):
        got += piece
check('SIGTERM: what runs is finished', b'data: [DONE]' in got and b'"finish_reason":"length"' in got, got[-600:])
check('SIGTERM: exit code 0', server.process.wait() == 0, server.process.returncode)
said = server.said()
check(
    'no control characters in the log',
    not re.search(
        rb'[\0-\x09\x0b-\x1f\x7f]',
        said) and b'owned' not in said,
    said)

# A second one, with a key, little room and little time.
with open(os.path.join(folder.name, 'key'), 'w') as f:
    f.write('s3cret-key\n')
server = Server(
    '--parallel',
    '1',
    '--queue',
    '1',
    '--drain-seconds',
    '0',
    '--name',
    'Hugin "2"',
    '--no-logprobs',
    '--strategy',
    'draft-verify',
    '--api-key-file',
    f.name)
refused('no key', server.ask('GET', '/v1/models'), 401)
for key in 's3cret-ke', 's3cret-key2', '', 'S3cret-key':
    refused(f'a wrong key {key}', server.ask('GET', '/metrics', headers={'Authorization': f'Bearer {key}'}), 401)
check('health without a key', server.ask('GET', '/health')[0] == 200)
server.key = 's3cret-key'
check('models with a key', [m['id'] for m in server.ask('GET', '/v1/models',
      headers={'Host': 'any.example'})[2]['data']] == ['Hugin "2"'])
choice = one()
same('the usual strategy is the option', choice, alone['plain'])
check('the usual strategy is said', choice['muninn']['strategy'] == 'draft-verify', choice)
refused('logprobs without them', server.post('/v1/completions', {'prompt': 'a', 'logprobs': 1}), 400, 'logprobs')
refused('more than there is room for', server.post('/v1/completions', {'prompt': 'a', 'n': 3}), 400)
auth = 'Authorization: Bearer s3cret-key\r\n'
with server.open() as s:
    s.sendall(request({**long, 'stream': True}, more=auth))
    got = s.recv(4096)
    check('one runs', got.startswith(b'HTTP/1.1 200 '), got)
    full = server.post('/v1/completions', {'prompt': 'a', 'n': 2})
    refused('queue', full, 429, None, 'queue_full')
    check('queue: Retry-After', full[1]['Retry-After'] == '1', full[1])
    server.process.send_signal(signal.SIGTERM)
    while piece := s.recv(65536):
        got += piece
check('no time to drain: says so, or was done', b'"unavailable"' in got or b'data: [DONE]' in got, got[-600:])
check('no time to drain: exit code 0', server.process.wait() == 0, server.process.returncode)

with socket.create_server(('127.0.0.1', 0)) as s:
    port = s.getsockname()[1]
server = Server('-q', '--timeout', '1', '--parallel', '1', '--port', str(port), MUNINN_API_KEY='from-the-environment')
while server.process.poll() is None:
    try:
        if server.ask('GET', '/health')[0] == 200:
            break
    except ConnectionError:
        time.sleep(0.05)
refused('no key, from the environment', server.ask('GET', '/v1/models'), 401)
server.key = 'from-the-environment'
got = server.post('/v1/completions', {**long, 'n': 20})
check('a request that takes too long', got[0] == 504 and got[2]['error']['code'] == 'timeout', got)
taken = subprocess.run([muninn, 'serve', '-m', tiny, '--port', str(server.port)],
                       capture_output=True, text=True, env=environment)
check('a port that is taken', taken.returncode == 1 and taken.stderr.count(
    '\n') == 1 and f'--port {server.port}' in taken.stderr, taken.stderr)
check('Ctrl-C', server.end(signal.SIGINT) == 0)
check('-q is silent', server.said() == b'', server.said())

everything = b'\n'.join(seen)
for secret in source, folder.name, 'Ygdrasil', 's3cret', 'from-the-environment', '/models/':
    check(f'no answer has {secret}', secret.encode() not in everything)
print(f'{passed} passed, {failed} failed')
sys.exit(1 if failed else 0)
