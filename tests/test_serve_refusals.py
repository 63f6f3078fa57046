"""muninn serve: what it refuses, by name and with the documented status; keys, limits and how it ends.

Method: the built program on a shipped model, as in test_serve.py. Every field with a value that is wrong, JSON and
bytes that are none, other hosts and paths; then servers with a key, with a queue of one, with no time; signals.
Usage: tests/test_serve_refusals.py path/to/muninn source_dir     (exit 77 without a Vulkan device or libmicrohttpd)
"""
import os
import re
import signal
import socket
import subprocess
import time

import serving
from serving import PROMPT, STEPS, Server, check, folder, muninn, refused, request, tiny

trial = subprocess.run([muninn, 'serve', '--host', '256.0.0.1'], capture_output=True, text=True)
check('a bad host', trial.returncode == 2 and '--host 256.0.0.1: ' in trial.stderr, trial.stderr)
server = Server('--parallel', '4', '--queue', '8', '--max-body', '64')
long = {'prompt': PROMPT, 'max_tokens': 480, 'ignore_eos': True}

# ---- fields ----

bad = [({'colour': 1}, 'colour'), ({'temperature': -1}, 'temperature'), ({'temperature': 'hot'}, 'temperature'),
       ({'top_p': 0}, 'top_p'), ({'top_p': 2}, 'top_p'), ({'top_p': 1e-60}, 'top_p'), ({'n': 0}, 'n'),
       ({'n': 1e9}, 'n'),
       ({'best_of': 3}, 'best_of'), ({'seed': -1}, 'seed'), ({'seed': 0.5}, 'seed'), ({'stop': ''}, 'stop'),
       ({'stop': 17 * ['x']}, 'stop'), ({'stop': [1]}, 'stop'), ({'logprobs': 21}, 'logprobs'),
       ({'stream': 1}, 'stream'), ({'suffix': 'x'}, 'suffix'),
       ({'logit_bias': {'1': 2}}, 'logit_bias'), ({'presence_penalty': 0.5}, 'presence_penalty'),
       ({'frequency_penalty': 1}, 'frequency_penalty'), ({'num_steps': STEPS + 1}, 'num_steps'),
       ({'strategy': 'diffusion'}, 'strategy'), ({'strategy': 'none'}, 'strategy'), ({'draft_steps': 2}, 'draft_steps'),
       ({'strategy': 'wavefront', 'lookahead': 2}, 'lookahead'), ({'strategy': 'ar', 'lookup': 2}, 'lookup'),
       ({'strategy': 'draft-verify', 'draft_steps': STEPS}, None),
       ({'strategy': 'draft-verify', 'lookahead': 63}, None),
       ({'exit': 'nonsense'}, None), ({'strategy': 'wavefront', 'exit': 'kl'}, 'exit'), ({'max_tokens': 512}, 'prompt'),
       ({'max_tokens': -1}, 'max_tokens'), ({'prompt': []}, 'prompt'), ({'prompt': [512]}, 'prompt'),
       ({'prompt': 600 * [1], 'max_tokens': 0, 'echo': True}, 'prompt'), ({'prompt': {}}, 'prompt'),
       ({'prompt': 7}, 'prompt'), ({'prompt': [1.5]}, 'prompt'), ({'prompt': 257 * ['a']}, 'prompt'),
       ({'stream_options': {'include_usage': True}}, 'stream_options'),
       ({'stream_options': {'x': 1}}, 'stream_options'),
       ({'messages': []}, 'messages')]
for extra, param in bad:
    refused(f'{extra}', server.post('/v1/completions', {'prompt': 'a', **extra}), 400, param)
check('a list of both', server.post('/v1/completions', {'prompt': [[1], 'a']})[0] == 200)
refused('no prompt', server.post('/v1/completions', {}), 400, 'prompt')
refused('another model', server.post('/v1/completions', {'prompt': 'a', 'model': 'gpt'}), 404, 'model',
        'model_not_found')
harmless = {'user': 'x', 'suffix': None, 'presence_penalty': 0, 'logit_bias': {}, 'best_of': 1}
check('this model', server.post('/v1/completions', {'prompt': 'a', 'model': 'raven-tiny', 'max_tokens': 1,
                                                    **harmless})[0] == 200)
user = {'role': 'user', 'content': 'a'}
picture = {'type': 'image_url', 'image_url': {}}
for extra, param in [({'messages': []}, 'messages'), ({'messages': [{}]}, 'messages'),
                     ({'messages': [{'role': 'tool', 'content': 'a'}]}, 'messages'),
                     ({'messages': [{**user, 'name': 'x'}]}, 'messages'),
                     ({'messages': [{'role': 'user'}]}, 'messages'),
                     ({'messages': [{'role': 'user', 'content': [picture]}]}, 'messages'), ({'tools': [{}]}, 'tools'),
                     ({'response_format': {'type': 'json_object'}}, 'response_format'),
                     ({'top_logprobs': 2}, 'top_logprobs'), ({'echo': True}, 'echo'),
                     ({'max_tokens': 1, 'max_completion_tokens': 1}, 'max_tokens'), ({'prompt': 'a'}, 'prompt')]:
    refused(f'chat {extra}', server.post('/v1/chat/completions', {'messages': [user], **extra}), 400, param)
refused('tokenize nothing', server.post('/tokenize', {}), 400, 'prompt')
refused('detokenize nothing', server.post('/detokenize', {'tokens': [512]}), 400, 'tokens')

# ---- no JSON, no text ----

for text in ('', '{', '[]', 'null', '{"prompt":"a",}', '{"prompt":"a"} x', '{"prompt":"a","prompt":"b"}',
             '{"prompt":"\\ud800"}', '{"prompt":"a","n":01}', '[' * 5000, '{"a":' * 5000,
             '{"prompt":[' + '[' * 60 + ']' * 60 + ']}', '\0', '{"prompt":"a\x01"}'):
    refused(f'bad JSON {text[:20]!r}', server.post('/v1/completions', text), 400)
for data in (b'{"prompt":"\xff"}', b'{"prompt":"\xc0\x80"}', b'{"prompt":"\xed\xa0\x80"}', b'\xff\xfe{\0}\0',
             b'{"\x1b]0;owned\x07":1}'):
    refused(f'bad bytes {data}', server.post('/v1/completions', data), 400)
escape = '\x1b]0;owned\x07'
refused('a terminal sequence as a field', server.post('/v1/completions', {escape: 1}), 400, escape)
clear = '\x1b[2J'
refused('a terminal sequence as a model', server.post('/v1/completions', {'prompt': clear, 'model': clear}), 404)
server.complete(prompt='\x1b[2J\x9b31m', max_tokens=1, stop='\x1b')

# ---- paths, hosts ----

refused('no such path', server.ask('GET', '/etc/passwd'), 404)
refused('no such path, dots', server.ask('GET', '/../../etc/passwd'), 404)
got = server.ask('GET', '/v1/completions')
refused('GET', got, 405)
check('GET: Allow', got[1]['Allow'] == 'POST', got)
for kind in 'text/plain', 'application/x-www-form-urlencoded':
    refused(f'no JSON by its type: {kind}', server.post('/v1/completions', {'prompt': 'a'},
                                                        headers={'Content-Type': kind}), 415)
for host in 'localhost', 'LOCALHOST:80', '127.0.0.1:1', '[::1]:80':
    check(f'Host {host}', server.ask('GET', '/v1/models', headers={'Host': host})[0] == 200)
for host in 'evil.example', 'localhost.evil.example', '127.evil.example', '127.0.0.1.evil.example':
    refused(f'Host {host}', server.ask('GET', '/v1/models', headers={'Host': host}), 403)

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
check('no control characters in the log', not re.search(rb'[\0-\x09\x0b-\x1f\x7f]', said) and b'owned' not in said,
      said)

# ---- a key, little room and little time ----

with open(os.path.join(folder.name, 'key'), 'w') as f:
    f.write('s3cret-key\n')
serving.SECRETS += ['s3cret', 'from-the-environment']
server = Server('--parallel', '1', '--queue', '1', '--drain-seconds', '0', '--name', 'Hugin "2"', '--no-logprobs',
                '--strategy', 'draft-verify', '--api-key-file', f.name)
refused('no key', server.ask('GET', '/v1/models'), 401)
for key in 's3cret-ke', 's3cret-key2', '', 'S3cret-key':
    refused(f'a wrong key {key}', server.ask('GET', '/metrics', headers={'Authorization': f'Bearer {key}'}), 401)
check('health without a key', server.ask('GET', '/health')[0] == 200)
server.key = 's3cret-key'
models = server.ask('GET', '/v1/models', headers={'Host': 'any.example'})[2]['data']
check('models with a key', [m['id'] for m in models] == ['Hugin "2"'], models)
choice = server.one()
check('the usual strategy is said', choice['muninn']['strategy'] == 'draft-verify', choice)
check('the usual strategy is the option', choice['token_ids'] == serving.generate(plain={'n': 9})['plain']['tokens'],
      choice)
refused('logprobs without them', server.post('/v1/completions', {'prompt': 'a', 'logprobs': 1}), 400, 'logprobs')
refused('more than there is room for', server.post('/v1/completions', {'prompt': 'a', 'n': 3}), 400)
with server.open() as s:
    s.sendall(request({**long, 'stream': True}, more='Authorization: Bearer s3cret-key\r\n'))
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
refused('a request that takes too long', server.post('/v1/completions', {**long, 'n': 20}), 504, None, 'timeout')
taken = subprocess.run([muninn, 'serve', '-m', tiny, '--port', str(server.port)],
                       capture_output=True, text=True, env=serving.environment)
check('a port that is taken', taken.returncode == 1 and taken.stderr.count('\n') == 1 and
      f'--port {server.port}' in taken.stderr, taken.stderr)
check('Ctrl-C', server.end(signal.SIGINT) == 0)
check('-q is silent', server.said() == b'', server.said())
serving.finish()
