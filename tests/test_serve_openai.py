"""muninn serve: the official client of OpenAI's interface takes its answers for OpenAI's.

Method: the npm package `openai`, at the version of tests/openai/package-lock.json, put into the build folder by npm.
tests/openai/client.mjs makes calls with it: completions, chats, lists, streams, a stream put together by the package,
a stream that it ends early, and everything that the server refuses. Texts are those of `muninn generate`, errors are of
the classes that the package has for them, and it comes again after 429 when Retry-After says so.
Usage: tests/test_serve_openai.py path/to/muninn source_dir build_dir     (exit 77, with the reason: without a Vulkan
device, libmicrohttpd, node 18 and npm, or where npm's registry is out of reach)
"""
import json
import os
import shutil
import subprocess
import sys

import serving
from serving import PROMPT, STEPS, Server, check, folder, generate, generate_chat, request, source

KEY = 'the-key-of-this-test'
serving.SECRETS.append(KEY)


def leave(reason):
    print('skipped:', reason)
    sys.exit(77)


def install(into):
    """Puts the package there, unless this very version is there already."""
    home = f'{source}/tests/openai'
    with open(f'{home}/package-lock.json') as f:
        lock = f.read()
    kept = os.path.join(into, 'package-lock.json')
    if not (os.path.exists(kept) and open(kept).read() == lock and os.path.isdir(f'{into}/node_modules/openai')):
        shutil.rmtree(into, ignore_errors=True)
        os.makedirs(into)
        shutil.copy(f'{home}/package.json', into)
        shutil.copy(f'{home}/package-lock.json', into)
        command = ['npm', 'ci', '--no-audit', '--no-fund', '--ignore-scripts', '--fetch-retries', '1']
        done = subprocess.run(command, cwd=into, capture_output=True, text=True)
        if done.returncode:
            shutil.rmtree(into, ignore_errors=True)
            leave(f'npm does not get the package openai: {done.stderr.strip().splitlines()[-3:]}')
    shutil.copy(f'{home}/client.mjs', into)


if not shutil.which('node') or not shutil.which('npm'):
    leave('there is no node, or no npm')
node = subprocess.run(['node', '--version'], capture_output=True, text=True).stdout.strip()
if int(node.lstrip('v').split('.')[0]) < 18:
    leave(f'node {node}: the client needs 18')
client = os.path.join(os.path.abspath(sys.argv[3]), 'openai')
install(client)


class Calls:
    """Calls to be made by one process of the client, and what they brought by name."""

    def __init__(self):
        self.calls = []

    def add(self, name, method, body=None, options=None, **more):
        self.calls.append({'name': name, 'method': method, 'body': body, 'options': {'apiKey': KEY, **(options or {})},
                           **more})

    def begin(self):
        self.process = subprocess.Popen(['node', f'{client}/client.mjs', f'http://127.0.0.1:{server.port}/v1'],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.process.stdin.write(json.dumps({'calls': self.calls}))
        self.process.stdin.close()
        return self

    def end(self):
        out, said = self.process.stdout.read(), self.process.stderr.read()
        check('the client ends well', self.process.wait() == 0, said)
        check('the client says nothing', said == '', said)
        return {line['name']: line for line in map(json.loads, out.splitlines())}


with open(os.path.join(folder.name, 'key'), 'w') as f:
    f.write(KEY)
server = Server('--parallel', '4', '--queue', '4', '--max-body', '64', '--api-key-file', f.name)
server.key = KEY
messages = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': PROMPT}]
plain = {'model': 'raven-tiny', 'prompt': PROMPT, 'max_tokens': 9}
talk = {'model': 'raven-tiny', 'messages': messages, 'max_tokens': 9}
sampled = {'temperature': 0.9, 'seed': 5, 'max_tokens': 12}
speculative = {'strategy': 'draft-verify', 'draft_steps': 2, 'return_token_ids': True}
alone = generate(plain={'n': 9}, sampled={'n': 12, 'temp': 0.9, 'seed': 5}, next={'n': 12, 'temp': 0.9, 'seed': 6},
                 stopped={'n': 9, 'stop': '2'})
alone['chat'] = generate_chat(messages, 9)
alone['chat sampled'] = generate_chat(messages, 12, '--temp', '0.9', '--seed', '5')

# ---- what it answers ----

calls = Calls()
calls.add('models', 'models')
calls.add('plain', 'completions', plain)
calls.add('stopped', 'completions', {**plain, 'stop': ['2']})
calls.add('two', 'completions', {**plain, **sampled, 'n': 2})
calls.add('further settings', 'completions', {**plain, **speculative})
calls.add('scored', 'completions', {**plain, 'echo': True, 'logprobs': 2})
calls.add('chat', 'chat', talk)
calls.add('chat sampled', 'chat', {**talk, **sampled})
calls.add('chat scored', 'chat', {**talk, 'logprobs': True, 'top_logprobs': 2})
streamed = {'stream': True, 'stream_options': {'include_usage': True}}
calls.add('stream', 'completions', {**plain, **streamed})
calls.add('chat stream', 'chat', {**talk, **streamed})
calls.add('runner', 'runner', talk)
calls.add('runner scored', 'runner', {**talk, 'logprobs': True, 'top_logprobs': 2})
found = {name: line.get('value') or sys.exit(f'FAILED: {line}') for name, line in calls.begin().end().items()}

check('models', [model['id'] for model in found['models']['data']] == ['raven-tiny'], found['models'])


def same(what, choices, *wants):
    got = [(c['message']['content'] if 'message' in c else c['text'], c['finish_reason']) for c in choices]
    want = [(w['text'], {'eos': 'stop'}.get(w['stats']['finish_reason'], w['stats']['finish_reason'])) for w in wants]
    check(what, got == want, got, want)


for name in 'plain', 'stopped', 'chat', 'chat sampled':
    same(name, found[name]['choices'], alone[name])
same('two', found['two']['choices'], alone['sampled'], alone['next'])
same('further settings', found['further settings']['choices'], alone['plain'])
same('runner', found['runner']['choices'], alone['chat'])
choice = found['further settings']['choices'][0]
check('further settings reach the server', choice['token_ids'] == alone['plain']['tokens'] and
      choice['muninn']['strategy'] == 'draft-verify', choice)
usage = found['plain']['usage']
check('usage', usage['prompt_tokens'] == len(alone['plain']['prompt_ids']) and
      usage['completion_tokens'] == len(alone['plain']['tokens']), usage)
text = ''.join(event['choices'][0]['text'] for event in found['stream'] if event['choices'])
check('stream', text == alone['plain']['text'] and len(found['stream']) > 3, found['stream'])
text = ''.join(event['choices'][0]['delta'].get('content', '') for event in found['chat stream'] if event['choices'])
check('chat stream', text == alone['chat']['text'], found['chat stream'])
for name in 'stream', 'chat stream':
    check(f'{name}: usage', found[name][-1]['usage']['completion_tokens'] > 0, found[name][-1])
ids, tokens = alone['plain']['prompt_ids'], alone['plain']['tokens']
wants = serving.score([(ids[:1], ids[1:] + tokens), (alone['chat']['prompt_ids'], alone['chat']['tokens'])])
sums = [sum(found['scored']['choices'][0]['logprobs']['token_logprobs'][1:]),
        sum(token['logprob'] for token in found['chat scored']['choices'][0]['logprobs']['content'])]
check('log-probabilities', sums == [wants[0, STEPS][0], wants[1, STEPS][0]], sums, wants)

check('log-probabilities that the package puts together from a stream', found['runner scored']['choices'][0]['logprobs']
      .get('content') == found['chat scored']['choices'][0]['logprobs']['content'], found['runner scored'])

# ---- what it refuses, and clients that go away ----

calls = Calls()
refusals = {  # name: (method, body, options, class, status, code, param)
    'no key': ('models', None, {'apiKey': 'another'}, 'AuthenticationError', 401, 'invalid_api_key', None),
    'no such model': ('completions', {**plain, 'model': 'gpt'}, {}, 'NotFoundError', 404, 'model_not_found', 'model'),
    'no such path': ('missing', {'model': 'raven-tiny', 'input': 'a'}, {}, 'NotFoundError', 404, 'not_found', None),
    'a bad value': ('completions', {**plain, 'top_p': 2}, {}, 'BadRequestError', 400, 'invalid_value', 'top_p'),
    'tools': ('chat', {**talk, 'tools': [{}]}, {}, 'BadRequestError', 400, 'unsupported_parameter', 'tools'),
    'in a stream': ('chat', {**talk, 'stream': True, 'n': 0}, {}, 'BadRequestError', 400, 'invalid_value', 'n'),
    'too large': ('completions', {**plain, 'prompt': 70000 * 'a'}, {}, 'APIError', 413, 'body_too_large', None),
}
for name, (method, body, options, *_) in refusals.items():
    calls.add(name, method, body, options)
calls.add('enough', 'completions', {**plain, 'stream': True, 'max_tokens': 480, 'ignore_eos': True}, enough=2)
cancelled = server.figures()['muninn_cancelled_total']
found = calls.begin().end()
for name, (*_, wanted, status, code, param) in refusals.items():
    thrown = found[name].get('thrown', {})
    got = [thrown.get(member) for member in ('class', 'status', 'code', 'param')]
    check(f'{name}: {wanted}', got == [wanted, status, code, param] and thrown['message'], found[name])
events = found['enough'].get('value', [])
check('enough', 2 <= len(events) < 480 and not any(e['choices'][0]['finish_reason'] for e in events), found['enough'])
server.until('a stream that the client ends is cancelled', lambda f: f['muninn_cancelled_total'] == cancelled + 1)

# ---- a full queue ----

full = 'muninn_requests_total{path="/v1/completions",code="429"}'
with server.open() as s:
    s.sendall(request({'prompt': PROMPT, 'n': 8, 'max_tokens': 480, 'ignore_eos': True},
                      more=f'Authorization: Bearer {KEY}\r\n'))
    server.until('the queue is full', lambda f: f['muninn_sequences_open'] == 8)
    calls = Calls()
    calls.add('full', 'completions', plain)
    calls.add('later', 'completions', plain, {'maxRetries': 20})
    calls.begin()
    server.until('the client asks and asks again', lambda f: f.get(full, 0) >= 2)
found = calls.end()
thrown = found['full'].get('thrown', {})
check('full: RateLimitError', [thrown.get(member) for member in ('class', 'status', 'code')] ==
      ['RateLimitError', 429, 'queue_full'], found['full'])
same('later: it comes again, and is served', found['later'].get('value', {}).get('choices', []), alone['plain'])
check('SIGTERM', server.end() == 0)
serving.finish()
