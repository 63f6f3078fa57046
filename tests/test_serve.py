"""muninn serve: its answers are those of the other commands.

Method: the built program on a shipped model, at a free port, over sockets of the standard library. Tokens and texts
against `muninn generate`, log-probabilities against `muninn score`, to the last bit, and streams against whole
answers. Nothing here depends on how long anything takes. What no client should do is in test_serve_refusals.py and
test_serve_sockets.py.
Usage: tests/test_serve.py path/to/muninn source_dir     (exit 77 without a Vulkan device or without libmicrohttpd)
"""
import json
import re
import threading

import serving
from serving import PROMPT, STEPS, Server, check, generate, generate_chat, run, tiny

sampled = {'temperature': 0.9, 'seed': 5, 'ignore_eos': True, 'max_tokens': 12}
messages = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': PROMPT}]
server = Server('--parallel', '4', '--queue', '8', '--max-body', '64')
alone = generate(plain={'n': 9}, sampled={'n': 12, 'temp': 0.9, 'seed': 5, 'ignore_eos': True},
                 next={'n': 12, 'temp': 0.9, 'seed': 6, 'ignore_eos': True},
                 filtered={'n': 12, 'temp': 1.1, 'seed': 7, 'top_k': 40, 'top_p': 0.9, 'min_p': 0.01},
                 stopped={'n': 9, 'stop': '2'}, shallow={'n': 9, 'num_steps': 3})
alone['chat'] = generate_chat(messages, 9)
ids = alone['plain']['prompt_ids']
one = server.one


# ---- answers are those of the other commands ----

def same(what, choice, want):
    got = choice['token_ids'], choice['message']['content'] if 'message' in choice else choice['text']
    reason = want['stats']['finish_reason']
    check(f'{what}: tokens and text', got == (want['tokens'], want['text']), got, want['tokens'], want['text'])
    check(f'{what}: reason', choice['finish_reason'] == {'eos': 'stop'}.get(reason, reason), choice['finish_reason'])


same('plain', one(), alone['plain'])
same('ids', server.complete(prompt=ids, return_token_ids=True, max_tokens=9)['choices'][0], alone['plain'])
same('sampled', one(**sampled), alone['sampled'])
same('filtered', one(temperature=1.1, seed=7, top_k=40, top_p=0.9, min_p=0.01, max_tokens=12), alone['filtered'])
same('stopped', one(stop='2'), alone['stopped'])
same('stopped by one of several', one(stop=['no such text', '2']), alone['stopped'])
same('shallow', one(num_steps=3), alone['shallow'])
for strategy in ({'strategy': 'draft-verify', 'draft_steps': 2, 'lookahead': 3},
                 {'strategy': 'wavefront', 'draft_steps': 2}, {'strategy': 'auto'},
                 {'strategy': 'wavefront', 'draft_steps': 2, 'lookup': 4}):
    choice = one(**strategy)
    same(f'{strategy}', choice, alone['plain'])
    check(f'{strategy}: figures', choice['muninn']['lossless'] is True and
          choice['muninn']['strategy'] == strategy['strategy'], choice)
    same(f'{strategy}, sampled', one(**{**sampled, **strategy}), alone['sampled'])
early = one(strategy='ar', exit='kl:10')['muninn']
check('an early exit is lossy and says why', early['lossless'] is False and 'exit' in early['lossy_because'], early)
answer = server.complete(prompt=[PROMPT, PROMPT], n=2, return_token_ids=True, **sampled)
for i, choice in enumerate(answer['choices']):
    check('n and lists: index', choice['index'] == i, choice)
    same(f'n and lists {i}', choice, alone['next' if i % 2 else 'sampled'])
usage = answer['usage']
check('usage', (usage['prompt_tokens'], usage['completion_tokens'], usage['total_tokens']) ==
      (2 * len(ids), 48, 2 * len(ids) + 48), usage)
drawn = [server.complete(prompt=PROMPT, max_tokens=12, temperature=1, ignore_eos=True)['choices'][0] for _ in range(2)]
check('without a seed: others each time, and the answer says which',
      drawn[0]['muninn']['seed'] != drawn[1]['muninn']['seed'], drawn)
again = one(temperature=1, ignore_eos=True, max_tokens=12, seed=drawn[0]['muninn']['seed'])
check('that seed gives the text again', again['text'] == drawn[0]['text'], again, drawn[0])

# ---- streams, chat ----

for body, want in ({'max_tokens': 9}, 'plain'), ({'max_tokens': 9, 'stop': ['2']}, 'stopped'), (sampled, 'sampled'):
    events = server.events('/v1/completions', {'prompt': PROMPT, 'stream_options': {'include_usage': True}, **body})
    pieces = [e['choices'][0] for e in events if e['choices']]
    check(f'stream {want}: text', ''.join(p['text'] for p in pieces) == alone[want]['text'], pieces)
    check(f'stream {want}: ends once', [bool(p['finish_reason']) for p in pieces] == [False] * (len(pieces) - 1) +
          [True], pieces)
    check(f'stream {want}: usage', events[-1]['usage']['completion_tokens'] == len(alone[want]['tokens']), events[-1])
events = server.events('/v1/completions', {'prompt': PROMPT, 'n': 2, 'echo': True, **sampled})
for i, want in enumerate(('sampled', 'next')):
    text = ''.join(e['choices'][0]['text'] for e in events if e['choices'][0]['index'] == i)
    check(f'stream of two, echo: {i}', text == PROMPT + alone[want]['text'], text)


def chat(**body):
    status, _, answer = server.post('/v1/chat/completions', {'messages': messages, **body})
    check(f'chat {body}', status == 200 and answer['object'] == 'chat.completion', answer)
    return answer['choices'][0]


same('chat', chat(max_tokens=9, return_token_ids=True), alone['chat'])
parts = [{'role': 'system', 'content': [{'type': 'text', 'text': 'Be '}, {'type': 'text', 'text': 'brief.'}]}]
same('chat in parts', chat(messages=parts + messages[1:], max_completion_tokens=9, return_token_ids=True),
     alone['chat'])
events = server.events('/v1/chat/completions', {'messages': messages, 'max_tokens': 9})
check('chat stream', ''.join(e['choices'][0]['delta']['content'] for e in events) == alone['chat']['text'] and
      [e['choices'][0]['delta'].get('role') for e in events] == ['assistant'] + [None] * (len(events) - 1), events)
turns = messages + [{'role': 'assistant', 'content': '0 1'}, {'role': 'user', 'content': 'and again'}]
turn_ids = server.post('/tokenize', {'messages': turns})[2]['tokens']
first_ids = alone['chat']['prompt_ids']
check('several turns: the first is how it begins', turn_ids[:len(first_ids)] == first_ids, turn_ids)
check('several turns', chat(messages=turns, max_tokens=9)['message']['content'] ==
      server.complete(prompt=turn_ids, max_tokens=9)['choices'][0]['text'])

# ---- log-probabilities ----

scored = []  # what, sum of the server's numbers, context, continuation, depth


def remember(what, numbers, context, continuation, steps=STEPS):
    total = 0.0
    for number in numbers:  # in order, as `muninn score` adds them
        total += number
    scored.append((what, total, context, continuation, steps))


def check_scores():
    wants = serving.score([(context, continuation) for _, _, context, continuation, _ in scored],
                          [steps for *_, steps in scored])
    for i, (what, total, _, _, steps) in enumerate(scored):
        check(f'{what}: the number of `muninn score`', total == wants[i, steps][0], total, wants[i, steps])


for extra in ({}, {'strategy': 'draft-verify', 'draft_steps': 2, 'lookahead': 3},
              {'strategy': 'wavefront', 'draft_steps': 2}, {'num_steps': 2}):
    steps = extra.get('num_steps', STEPS)
    choice = one(echo=True, logprobs=3, **extra)
    shown, tokens = choice['logprobs'], choice['token_ids']
    lengths = {len(shown[name]) for name in ('tokens', 'token_logprobs', 'top_logprobs', 'text_offset')}
    check(f'echo {extra}: text', choice['text'].startswith(PROMPT), choice)
    check(f'echo {extra}: one each', lengths == {len(ids) + len(tokens)} and shown['token_logprobs'][0] is None, shown)
    remember(f'echo {extra}', shown['token_logprobs'][1:], ids[:1], ids[1:] + tokens, steps)
    remember(f'logprobs {extra}', one(logprobs=0, **extra)['logprobs']['token_logprobs'], ids, tokens, steps)
    best = [max(top, key=top.get) for top in shown['top_logprobs'][len(ids):]]
    check(f'echo {extra}: greedy tokens are the best', best == shown['tokens'][len(ids):], best)
    check(f'echo {extra}: offsets', all(choice['text'].startswith(token, at) for token, at in
                                        zip(shown['tokens'][1:], shown['text_offset'][1:])), shown)
choice = one(echo=True, logprobs=1, max_tokens=0)
remember('max_tokens 0', choice['logprobs']['token_logprobs'][1:], ids[:1], ids[1:])
check('max_tokens 0', choice['text'] == PROMPT and choice['token_ids'] == [], choice)
content = chat(max_tokens=9, logprobs=True, top_logprobs=2)['logprobs']['content']
remember('chat logprobs', [token['logprob'] for token in content], first_ids, alone['chat']['tokens'])
check_scores()
check('chat logprobs: alternatives', all(len(t['top_logprobs']) == 2 and bytes(t['bytes']).decode() == t['token']
                                         for t in content), content)


def ends(path, body, n):
    """What the last events of a stream's choices say; those before say nothing of log-probabilities."""
    pieces = [e['choices'][0] for e in server.events(path, body) if e['choices']]
    last = {p['index']: p['logprobs'] for p in pieces if p['finish_reason']}
    check(f'stream {body}: log-probabilities come last', len(last) == n < len(pieces) and
          all(p['logprobs'] is None for p in pieces if not p['finish_reason']), pieces)
    return [last.get(i) for i in range(n)]


for body in ({'max_tokens': 9, 'logprobs': 3}, {'max_tokens': 9, 'logprobs': 2, 'echo': True},
             {**sampled, 'n': 2, 'logprobs': 0},
             {'max_tokens': 9, 'logprobs': 1, 'stop': '2', 'strategy': 'wavefront'}):
    whole = server.complete(prompt=PROMPT, **body)['choices']
    check(f'stream {body}: the same log-probabilities', [choice['logprobs'] for choice in whole] ==
          ends('/v1/completions', {'prompt': PROMPT, **body}, body.get('n', 1)), whole)
body = {'messages': messages, 'max_tokens': 9, 'logprobs': True, 'top_logprobs': 2}
check('chat stream: the same log-probabilities', ends('/v1/chat/completions', body, 1) == [{'content': content}])

# A text that others wait for stands still for a pass of a score, not for the whole text: a token per pass, 88 of
# them, where it would otherwise get one per text that is scored, 22.
tokens, begun = [], threading.Event()


def follow():
    with server.open() as s, s.makefile('rb') as lines:
        s.sendall(serving.request({'prompt': PROMPT, 'max_tokens': 480, 'ignore_eos': True, 'stream': True},
                                  more='Connection: close\r\n'))
        for line in lines:
            tokens.extend([1] * line.startswith(b'data: {'))
            if len(tokens) == 8:
                begun.set()


stream = threading.Thread(target=follow)
stream.start()
begun.wait()
before, n_before = server.figures(), len(tokens)
for _ in range(2):  # as many texts as there is room for
    server.complete(prompt=11 * [(ids * 50)[:500]], max_tokens=0, echo=True, logprobs=1)
after, n_after = server.figures(), len(tokens)
stream.join()
check('a score lets others go on', n_after - n_before >= 80, n_before, n_after)
for name, more in ('scored_tokens_total', 22 * 499), ('score_passes_total', 22 * 4):
    check(f'a score: {name}', after['muninn_' + name] - before['muninn_' + name] == more, before, after)

# ---- the other paths ----

line = json.loads(run('tokenize', '-m', tiny, stdin=json.dumps({'text': PROMPT}) + '\n'))
check('tokenize', server.post('/tokenize', {'prompt': PROMPT, 'add_special_tokens': False})[2]['tokens'] == line['ids'])
answer = server.post('/tokenize', {'prompt': PROMPT})[2]
check('tokenize: begin token, count', answer['tokens'] == ids and answer['count'] == len(ids), answer)
check('detokenize', server.post('/detokenize', {'tokens': line['ids']})[2] == {'prompt': PROMPT})
answer = server.ask('GET', '/tokenizer_info')[2]
with open(f'{tiny}/config.json') as f:
    config = json.load(f)
for name, want in ('bos_token', ids[:1]), ('eos_token', [config['eos_token_id']]):
    body = {'prompt': answer[name], 'add_special_tokens': False}
    check(f'tokenizer_info: {name}', server.post('/tokenize', body)[2]['tokens'] == want, answer)
check('health', server.ask('GET', '/health')[::2] == (200, {'status': 'ok'}))
models = server.ask('GET', '/v1/models')[2]['data']
check('models', [m['id'] for m in models] == ['raven-tiny'] and models[0]['max_model_len'] == 512, models)
check('HEAD', server.ask('HEAD', '/health')[0] == 200)
status, headers, data = server.ask('GET', '/metrics', raw=True)
check('metrics: type', status == 200 and headers['Content-Type'].startswith('text/plain; version=0.0.4'), headers)
for line in data.decode().splitlines():
    form = r'#.*|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [0-9.e+-]+'
    check(f'metrics: {line}', re.fullmatch(form, line))
before = server.figures()
server.complete(prompt=PROMPT, max_tokens=5, ignore_eos=True, strategy='draft-verify', draft_steps=2)
after = server.figures()
for name, more in (('generated_tokens_total', 5), ('prompt_tokens_total', len(ids)), ('request_seconds_count', 1),
                   ('first_token_seconds_count', 1), ('requests_total{path="/v1/completions",code="200"}', 1),
                   ('requests_total{path="/metrics",code="200"}', 1)):
    name = 'muninn_' + name
    check(f'metrics: {name}', after[name] - before.get(name, 0) == more, before.get(name), after[name])
drafted = 'muninn_drafted_tokens_total{draft_steps="2"}'
check('metrics: acceptance by depth', after[drafted] > before[drafted])
first, looked_up = 'muninn_proposed_tokens_total{by="first"}', 'muninn_looked_up_tokens_total'
check('metrics: who proposed', after[first] > before[first] and after[looked_up] == before[looked_up])
depth = '{depth="2"}'
predictions = 'muninn_predictions_total' + depth
check('metrics: agreement by depth', after[predictions] > before[predictions]
      and after['muninn_agreed_predictions_total' + depth] <= after['muninn_predictions_total' + depth])
check('metrics: rows in flight', after['muninn_rows_in_flight_most'] >= 2)
check('metrics: a histogram rises', after['muninn_request_seconds_bucket{le="+Inf"}'] ==
      after['muninn_request_seconds_count'])

# ---- several at once get what each gets alone ----

wants = [('plain', {'max_tokens': 9}), ('sampled', sampled), ('stopped', {'max_tokens': 9, 'stop': '2'}),
         ('shallow', {'max_tokens': 9, 'num_steps': 3}),
         ('sampled', {**sampled, 'strategy': 'draft-verify', 'draft_steps': 2}),
         ('plain', {'max_tokens': 9, 'strategy': 'wavefront'})]
answers = [[] for _ in wants]


def many(i):
    for _ in range(3):
        answers[i].append(server.post('/v1/completions', {'prompt': PROMPT, **wants[i][1]}))


threads = [threading.Thread(target=many, args=(i,)) for i in range(len(wants))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
for (want, body), got in zip(wants, answers):
    check(f'at once {body}', len(got) == 3 and
          all(g[0] == 200 and g[2]['choices'][0]['text'] == alone[want]['text'] for g in got), got)
check('SIGTERM', server.end() == 0)
serving.finish()
