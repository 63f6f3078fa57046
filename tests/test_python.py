#!/usr/bin/env python3
"""Goal: python/muninn is muninn.h and nothing else: its declarations are the header's, its results the command line's,
it ends when it is told to, its errors carry the library's words, and its wheel works by itself.
Method: a C program prints the size and every offset of every struct, and every constant, and cffi's are compared; the
same runs by the command line and by Python; streams that are dropped, signals, exceptions in callbacks; the class for
the lm-evaluation-harness behind a stand-in for its base class (the real one pulls in PyTorch and more), with the
windows of its own documentation; the wheel built by the command of docs/python.md, put into a fresh virtual environment
without a network, and the Python of docs/python.md run there.

usage: test_python.py path/to/muninn path/to/libmuninn.so source_dir     (exit 77: skipped, with the reason)"""
import collections
import glob
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types

muninn_cli, library, source = map(os.path.abspath, sys.argv[1:4])
environment = dict(os.environ, MUNINN_LIBRARY=library, LP_NUM_THREADS='0', PYTHONDONTWRITEBYTECODE='1')
if 'MUNINN_LIBRARY' not in os.environ:  # the driver reads its settings when a process starts
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)
try:
    import cffi
except ImportError:
    print('skipped: there is no cffi for this Python (python3-cffi)')
    sys.exit(77)
if subprocess.run([muninn_cli, 'devices'], capture_output=True).returncode == 3:
    print('skipped: there is no Vulkan device')
    sys.exit(77)
sys.dont_write_bytecode = True
sys.path.insert(0, source + '/python')
import muninn
import muninn.lm_eval
from muninn import _native
from muninn.generation import StopText

MODEL = source + '/models/raven-tiny'
PROMPT = 'sort 2 8 0 1 9 4 :'
# Of 400 such tokens nobody waits for the last one: it takes minutes.
LONG = {'num_steps': 1000, 'kv_policy': 'share:1', 'ignore_eos': True}
# Of the same name in `generate -o json`, but shortened there, or of another meaning where nothing is drafted.
SPOKEN = ('accepted_lengths', 'mean_acceptance_length', 'tick_weight_bytes')
top = tempfile.TemporaryDirectory()
failed = 0


def check(name, good, *seen):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, *(() if good else map(repr, seen)), flush=True)


def raised(kind, function, *args, **settings):
    try:
        function(*args, **settings)
    except kind as error:
        return error
    return None


def cli(*args, stdin=None):
    done = subprocess.run([muninn_cli, *args], input=stdin, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


# ---- declarations ----

def layouts_of_c(structs, enums):
    """{name: number} as a C compiler has them."""
    lines = ['#include <stdio.h>', '#include "api/muninn.h"', 'int main(void)', '{']
    for name, fields in structs.items():
        lines.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        lines += [f'printf("{name}.{f} %zu %zu\\n", offsetof(struct {name}, {f}), sizeof ((struct {name} *)0)->{f});'
                  for f in fields]
    lines += [f'printf("{name} %lld\\n", (long long){name});' for name in enums] + ['return 0;', '}']
    path = top.name + '/layout.c'
    with open(path, 'w') as file:
        file.write('\n'.join(lines))
    subprocess.run([os.environ.get('CC', 'cc'), '-I', source, path, '-o', top.name + '/layout'], check=True)
    out = subprocess.run([top.name + '/layout'], check=True, capture_output=True, text=True).stdout
    return dict(line.split(' ', 1) for line in out.splitlines())


def test_declarations():
    with open(source + '/api/muninn.h') as file:
        header = re.sub(r'/\*.*?\*/', '', file.read(), flags=re.S)
    ffi, structs = _native.ffi, {}
    for name in re.findall(r'^struct (\w+) \{', header, re.M):
        structs[name] = dict(ffi.typeof('struct ' + name).fields)
    bodies = re.findall(r'^enum \w*\s*\{(.*?)\}', header, re.M | re.S)
    constants = sorted({c for body in bodies for c in re.findall(r'\b(MN_\w+)\b(?=\s*(?:=|,|$))', body)})
    of_c = layouts_of_c(structs, constants)
    of_python = {c: str(getattr(_native.lib, c)) for c in constants}
    for name, fields in structs.items():
        of_python[name] = str(ffi.sizeof('struct ' + name))
        of_python.update({f'{name}.{f}': f'{field.offset} {ffi.sizeof(field.type)}' for f, field in fields.items()})
    check(f'{len(structs)} structs and {len(constants)} constants lie where a C compiler has them',
          of_c == of_python and len(structs) > 35 and len(constants) > 40,
          {k: (of_c[k], of_python.get(k)) for k in of_c if of_c[k] != of_python.get(k)}, len(structs), len(constants))
    functions = set(re.findall(r'\b(mn_\w+)\(', header))
    missing = [f for f in functions if not hasattr(_native.lib, f)]
    check(f'{len(functions)} functions are in the library', not missing and len(functions) > 50, missing, functions)
    # The comparison itself can fail.
    other = cffi.FFI()
    other.cdef(_native.declarations('struct mn_likelihood { bool is_greedy; double logprob; };'))
    moved = dict(other.typeof('struct mn_likelihood').fields)['logprob'].offset
    where = int(of_c['mn_likelihood.logprob'].split()[0])
    check('a struct copied in another order would be found', moved != where, moved, where)
    check('versions', muninn.__version__ == _native.header_version in cli('--version'), muninn.__version__)


# ---- the command line's results ----

def test_generate(model):
    cases = {
        'ar, sampled, early exit, special tokens': (
            {'temperature': 0.9, 'top_k': 40, 'top_p': 0.95, 'min_p': 0.01, 'seed': 7, 'skip_special_tokens': False,
             'ignore_eos': True, 'exit': {'rule': 'kl:0.01', 'min_steps': 2}},
            ['--temp', '0.9', '--top-k', '40', '--top-p', '0.95', '--min-p', '0.01', '--seed', '7', '--special',
             '--ignore-eos', '--exit', 'kl:0.01', '--exit-min-steps', '2']),
        'draft-verify, stop strings': (
            {'strategy': 'draft-verify', 'draft_steps': 3, 'lookahead': 5, 'stop': ['4', '1 2']},
            ['--strategy', 'draft-verify', '--draft-steps', '3', '--lookahead', '5', '--stop', '4', '--stop', '1 2']),
        'wavefront, lossy cache': (
            {'strategy': 'wavefront', 'max_inflight': 6, 'kv_policy': 'share:2'},
            ['--strategy', 'wavefront', '--max-inflight', '6', '--kv-policy', 'share:2']),
        'diffusion': ({'strategy': 'diffusion', 'diffusion': {'embed_average': 0.1}}, ['--strategy', 'diffusion'])}
    for name, (settings, options) in cases.items():
        said = json.loads(cli('generate', '-m', MODEL, '-p', PROMPT, '-n', '12', '--num-steps', '8', '-o', 'json',
                              *options))
        got = model.generate(PROMPT, 12, num_steps=8, **settings)
        of_cli, of_python = said['stats'], vars(got.stats)
        # How work is cut into submits depends on what it took before.
        times = '_tok_s', 'gb_s', 'submits'
        same = [k for k in of_cli if k in of_python and k not in SPOKEN and not k.endswith(times)]
        differ = {k: (of_cli[k], of_python[k]) for k in same if of_cli[k] != of_python[k]}
        check(f'generate, {name}: {got.text!r}', got.text == said['text'] and got.ids == said['tokens'] and
              got.prompt_ids == said['prompt_ids'] and got.finish_reason == of_cli['finish_reason'] and not differ and
              len(same) > 12, said['text'], said['tokens'], got, differ)
        if 'lossy' in name:
            check('it says that it is lossy', not got.stats.lossless and 'share' in got.stats.lossy_because, got.stats)
    auto, ar = (model.generate(PROMPT, 12, num_steps=8, strategy=strategy).ids for strategy in ('auto', 'ar'))
    check('auto gives the tokens of ar', auto == ar, auto, ar)


def test_batch(model):
    lines = ''.join(json.dumps({'prompt': p}) + '\n' for p in (PROMPT, 'sort 5 4 3 :', 'sort 1 0 :'))
    path = top.name + '/prompts.jsonl'
    with open(path, 'w') as file:
        file.write(lines)
    said = cli('generate', '-m', MODEL, '--batch', path, '-n', '8', '--num-steps', '8')
    said = [json.loads(line) for line in said.splitlines()]
    said = sorted((s for s in said if 'total' not in s), key=lambda s: s['index'])
    got = model.generate([PROMPT, 'sort 5 4 3 :', 'sort 1 0 :'], 8, num_steps=8)
    check('a batch', [g.text for g in got] == [s['text'] for s in said], got, said)
    mixed = model.generate_batch([PROMPT, [1] * 600, 'sort 1 0 :'], 8, num_steps=8)
    check('a prompt that cannot run ends no other', [m.error is None for m in mixed] == [True, False, True] and
          mixed[0].text == got[0].text and mixed[1].finish_reason == 'error' and
          isinstance(mixed[1].error, muninn.UsageError) and '600' in str(mixed[1].error), mixed[1])


def test_stop_ids(model):
    whole = model.generate(PROMPT, 12, num_steps=8, ignore_eos=True)
    stop = next(i for i in whole.ids[2:] if i not in whole.ids[:2])
    until = whole.ids[:whole.ids.index(stop) + 1]
    for strategy in 'ar', 'draft-verify', 'wavefront':
        got = model.generate(PROMPT, 12, num_steps=8, ignore_eos=True, strategy=strategy, stop_ids=[511, stop])
        check(f'stop_ids, {strategy}', got.ids == until and got.finish_reason == 'stop' and
              got.stats.end == _native.lib.MN_END_TOKEN, got, whole)
    several = model.generate([PROMPT, PROMPT], 12, num_steps=8, ignore_eos=True, stop_ids=(stop,))
    check('stop_ids in a batch', [g.ids for g in several] == [until, until], several)
    check('an empty list of them', model.generate(PROMPT, 12, num_steps=8, ignore_eos=True, stop_ids=[]).ids ==
          whole.ids)
    check('an id that is none', 'token id' in str(raised(ValueError, model.generate, PROMPT, 4, stop_ids=[-1])))


# ---- the scheduler ----

SCHEDULED = [(PROMPT, 9, {}), ('sort 5 4 3 :', 12, {'num_steps': 4, 'ignore_eos': True}),
             (PROMPT, 12, {'strategy': 'draft-verify', 'draft_steps': 3, 'lookahead': 5}),
             ([0, 301, 270], 7, {'temperature': 0.9, 'seed': 3, 'top_k': 50, 'ignore_eos': True}),
             ('sort 1 0 :', 12, {'strategy': 'wavefront', 'max_inflight': 4}), (PROMPT, 12, {'stop': '8'}),
             ('sort 9 8 7 6 :', 12, {'strategy': 'auto'}), (PROMPT, 12, {'stop_ids': [9]})]


def test_scheduler(model):
    """Each as it is alone, however many run beside it; those that come later come while the others run."""
    alone = [model.generate(prompt, n, **{'num_steps': 8, **settings}) for prompt, n, settings in SCHEDULED]
    with model.scheduler(3, num_steps=8, max_rows=32) as scheduler:
        late, requests, heard = list(SCHEDULED[3:]), [], collections.defaultdict(list)
        for prompt, n, settings in SCHEDULED[:3]:
            requests.append(scheduler.add(prompt, n, **settings))
        for event in scheduler:
            heard[event.request.id].append(event)
            if late:
                prompt, n, settings = late.pop(0)
                requests.append(scheduler.add(prompt, n, **settings))
        stats = scheduler.stats
    for request, want, (prompt, _, settings) in zip(requests, alone, SCHEDULED):
        got, events = request.result, heard[request.id]
        check(f'scheduled: {prompt!r} {settings}', got and (got.ids, got.text, got.finish_reason, got.prompt_ids) ==
              (want.ids, want.text, want.finish_reason, want.prompt_ids), got, want)
        check('its events are its tokens and its text', [i for e in events for i in e.ids] == want.ids and
              ''.join(e.text for e in events) == want.text and [e.result for e in events[:-1]] ==
              [None] * (len(events) - 1) and events[-1].result is got, events)
    check('ids count from 1', [r.id for r in requests] == list(range(1, len(SCHEDULED) + 1)))
    check('its figures', stats.n_ended == stats.n_added == len(SCHEDULED) and stats.n_decoding == 0 and
          stats.total.n_new == sum(len(r.result.ids) for r in requests) and stats.total.decode_tok_s > 0, stats)
    check('a prompt that was there is not read again', stats.reused_rows > 0 and
          any(r.result.stats.n_reused > 10 for r in requests[1:]), stats)


def test_scheduler_ends(model):
    with model.scheduler(1, num_steps=8) as scheduler:
        long, waiting = (scheduler.add(PROMPT, 40, ignore_eos=True) for _ in range(2))
        while not long.ids:
            scheduler.step()
        check('one of two waits', scheduler.n_alive == 2 and waiting.ids == [] and scheduler.stats.n_waiting == 1)
        check('meanwhile the model goes on by other ways', model.generate(PROMPT, 1, num_steps=8).ids == long.ids[:1])
        long.cancel()
        waiting.cancel()
        events = list(scheduler)
        whole = model.generate(PROMPT, 40, num_steps=8, ignore_eos=True)
        check('cancelled: what there is', [e.request for e in events] == [long, waiting] and
              all(e.result for e in events) and long.result.finish_reason == waiting.result.finish_reason ==
              'interrupted' and waiting.ids == [] and long.ids ==
              whole.ids[:len(long.ids)] and 0 < len(long.ids) < 40, events)
        long.cancel()
        check('once is enough', list(scheduler) == [] and scheduler.step() == [])
        for error, settings in ((muninn.UsageError, {'num_steps': 9}), (muninn.UsageError, {'strategy': 'diffusion'}),
                                (TypeError, {'kv_policy': 'full'}), (TypeError, {'steps': 3}),
                                (ValueError, {'stop_ids': [-1]})):
            found = raised(error, scheduler.add, PROMPT, 4, **settings)
            check(f'refused: {settings}', found is not None and str(found), found)
        check('a prompt longer than the context', '600' in str(raised(muninn.UsageError, scheduler.add, [1] * 600, 4)))
        with model.scheduler(1, num_steps=4) as other:
            check("another one's request", raised(ValueError, other.cancel, long) is not None)
            kept = other.add(PROMPT, 4)
        check('closed: it ends without a word', not kept.done and raised(ValueError, other.step) is not None)
        last = scheduler.add(PROMPT, 4)
        list(scheduler)
        check('and the others go on', last.result.ids == whole.ids[:4], last.result, whole.ids)

    with model.scheduler(1, **{k: v for k, v in LONG.items() if k != 'ignore_eos'}) as scheduler:
        cut = scheduler.add(PROMPT, 400, ignore_eos=True)
        threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
        check('Ctrl-C', raised(KeyboardInterrupt, list, scheduler) is not None)
        cut.cancel()
        list(scheduler)
        check('what had come is there', cut.done and cut.result.finish_reason == 'interrupted' and len(cut.ids) < 400)
        last = scheduler.add(PROMPT, 2, num_steps=4)
        list(scheduler)
        check('and it goes on', len(last.result.ids) == 2 and last.result.error is None, last.result)
    gone = muninn.load(MODEL)
    left = gone.scheduler(2, num_steps=2)
    left.add(PROMPT, 4)
    gone.close()
    check('a closed model closes it', 'closed' in str(raised(ValueError, left.step)))
    left.close()


def test_tokenizer(model):
    for text in PROMPT, 'né 漢字 \U0001f642', '':
        ids = model.tokenizer.encode(text, add_special_tokens=False)
        said = cli('tokenize', '-m', MODEL, stdin=json.dumps({'text': text}) + '\n')
        check(f'tokenize {text!r}', ids == json.loads(said)['ids'] and model.tokenizer.decode(ids) == text, ids, said)
    bos = model.info.bos_token_id
    check('begin token', bos is not None and model.tokenizer.encode(PROMPT)[0] == bos)
    check('special tokens are left out', model.tokenizer.decode([bos], skip_special_tokens=True) == '' !=
          model.tokenizer.decode([bos]))
    check('a tokenizer by itself', muninn.Tokenizer(MODEL).encode(PROMPT) == model.tokenizer.encode(PROMPT)[1:])
    chat = [{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', 'content': 'sort 2 1 :'}]
    said = json.loads(cli('generate', '-m', MODEL, '--chat', '--system', 'Be brief.', '-p', 'sort 2 1 :', '-n', '1',
                          '--num-steps', '1', '-o', 'json'))['prompt_ids']
    ids = model.tokenizer.apply_chat_template(chat)
    check('a conversation', ids == said and len(ids) > 10 and
          model.tokenizer.apply_chat_template(chat, tokenize=False) == model.tokenizer.decode(ids), ids, said)
    check('a lone surrogate is no text', raised(ValueError, model.tokenizer.encode, '\ud800') is not None)


def test_scores(model):
    tasks = [('sort 2 1 :', ' 1 2'), ('sort 2 1 : ', '2 1'), ('', 'sort')]
    lines = ''.join(json.dumps({'context': a, 'continuation': b}) + '\n' for a, b in tasks)
    said = cli('score', '-m', MODEL, '-f', '-', '--num-steps', '2,8', stdin=lines)
    said = [json.loads(line) for line in said.splitlines()]
    said = {(row['line'], row['num_steps']): (row['logprob'], row['is_greedy']) for row in said if 'logprob' in row}
    got = model.loglikelihood(tasks, num_steps=[2, 8])
    got = {(i + 1, r): likelihoods[k][:2] for i, likelihoods in enumerate(got) for k, r in enumerate((2, 8))}
    check('scores', len(got) == 6 and got == said, got, said)
    check('one score', model.score(*tasks[0], num_steps=8)[:2] == said[1, 8])
    said = cli('logits', '-m', MODEL, '--ids', '0,301,270', '--num-steps', '4')
    said = [json.loads(line) for line in said.splitlines()]
    logits = model.logits([0, 301, 270], num_steps=4)
    check('logits', logits.shape == (3, 512) and all(abs(logits[i, j] - said[i][j]) <= 1e-6 * abs(said[i][j]) + 1e-12
                                                     for i in range(3) for j in range(512)))
    trace = model.trace([0, 301, 270], 2, num_steps=4, n_inits=2)
    by_step = [model.logits([0, 301, 270], num_steps=t) for t in (1, 2, 3, 4)]
    best = [[max(range(512), key=lambda j: rows[i, j]) for rows in by_step] for i in range(3)]
    predicted = [[int(x) for x in row] for row in trace.steps['top1'][:3]]
    check('a trace predicts what logits say', predicted == best and
          [t.generated for t in trace.tokens] == [False] * 3 + [True] * 2, predicted, best)
    norm = math.sqrt(sum(float(x) ** 2 for x in trace.states[1][4]))
    said = trace.steps['norm'][1][3]
    tried = model.trace([0, 301, 270], 2, num_steps=4, readout_steps=[1, 3]).readouts
    check('plain read-outs are its predictions', trace.readouts == {} and set(tried) == {'plain', 'aitken', 'anderson'}
          and [[int(x) for x in row] for row in tried['plain']['same'][:3]] == [[r[0], r[2]] for r in best] and
          [[int(x) for x in row] for row in tried['plain']['final'][3:]] ==
          [[int(row[0]), int(row[2])] for row in trace.steps['top1'][3:]], tried)
    check('its states have its norms', math.isclose(norm, said, rel_tol=1e-5), norm, said)


# ---- streams, interruption, threads ----

def streaming():
    return [t for t in threading.enumerate() if t.name == 'muninn stream']


def test_streams(model):
    whole = model.generate(PROMPT, 16, num_steps=8, stop='8')
    stream = model.stream(PROMPT, 16, num_steps=8, stop='8')
    pieces = list(stream)
    check('pieces are the text', ''.join(pieces) == whole.text and len(pieces) > 1 and stream.result.ids == whole.ids,
          pieces, whole)
    with model.stream(PROMPT, 400, **LONG) as stream:
        next(stream)
        check('a tokenizer can be used meanwhile', len(model.tokenizer.encode(PROMPT)) > 3)
    check('a closed stream has stopped', not streaming() and stream.result is None)
    stream = model.stream(PROMPT, 400, **LONG)
    next(stream)
    del stream
    check('so has a dropped one', not streaming())
    check('the model goes on', model.generate(PROMPT, 16, num_steps=8, stop='8').text == whole.text)
    impossible = model.stream(PROMPT, 4, strategy='draft-verify', num_steps=8, draft_steps=8)
    error = raised(muninn.UsageError, list, impossible)
    check('errors come out where pieces are read', error is not None and 'draft_steps' in str(error), error)
    for stops, text, want in ((['ab', 'b'], 'xab', 'x'), (['abc', 'b'], 'xabc', 'xa'), ('aab', 'aaab', 'a'),
                              (['é'], 'zé', 'z')):
        cut = StopText(stops)
        given = ''.join(cut.push(c) for c in text) + cut.finish()
        at_once = StopText(stops)
        check(f'stop {stops}', cut.stopped and given == want == at_once.push(text) and cut.text == want, given)
    held = StopText('END')
    given = [held.push(c) for c in 'aENx']
    check('what may begin a stop string is held back', given == ['a', '', '', 'ENx'], given)


def test_interruption(model):
    def at_once(*_):
        signal.raise_signal(signal.SIGINT)

    def wrong(*_):
        raise LookupError('mine')

    check('Ctrl-C while a model is loaded', raised(KeyboardInterrupt, muninn.load, MODEL, progress=at_once) is not None)
    check('what a callback raises comes out', str(raised(LookupError, muninn.load, MODEL, progress=wrong)) == "mine")
    threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    error = raised(KeyboardInterrupt, model.generate, PROMPT, 400, **LONG)
    check('Ctrl-C while it generates', error is not None)
    threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT)).start()
    error = raised(KeyboardInterrupt, list, model.stream(PROMPT, 400, stop='no such text', **LONG))
    check('Ctrl-C while a stream is read', error is not None and not streaming())
    inside = []

    def again(*_):
        inside.append(raised(RuntimeError, other.generate, PROMPT, 2))
    other = muninn.load(MODEL)
    other._engine._progress = again
    other.generate(PROMPT, 2, num_steps=4)
    check('a callback cannot call its own engine', inside and 'callback' in str(inside[0]), inside[:1])
    other.close()
    error = raised(ValueError, other.generate, PROMPT, 2)
    check('a closed model says so', 'closed' in str(error), error)
    script = f'''import sys; sys.path.insert(0, {source + "/python"!r}); import muninn
s = muninn.load({MODEL!r}).stream({PROMPT!r}, 400, **{LONG}); next(s); print("end", flush=True)'''
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, env=environment)
    check('a program that ends with a stream open ends', (done.returncode, done.stdout) == (0, 'end\n'), done)


def test_threads(model):
    want, got = [model.generate(PROMPT, 8, num_steps=r).ids for r in (4, 8)], {}

    def work(i):
        got[i] = model.generate(PROMPT, 8, num_steps=(4, 8)[i % 2]).ids
    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    check('four threads wait for each other', [got.get(i) for i in range(4)] == want * 2, got, want)


def test_errors(model):
    error = raised(muninn.FileError, muninn.load, top.name + '/nothing')
    check('a missing folder', error is not None and 'nothing' in error.lines[0] and
          error.status == muninn.Status.FILE and error.exit_code == 4, error)
    error = raised(ValueError, model.generate, PROMPT, 4, strategy='none')
    check('an unknown strategy', isinstance(error, muninn.UsageError) and 'none' in str(error), error)
    check('an unknown setting', 'steps' in str(raised(TypeError, model.generate, PROMPT, 4, steps=3)))
    check('an id that is none', 'token id' in str(raised(ValueError, model.generate, [-1], 4)))
    check('an id beyond the vocabulary', '512' in str(raised(muninn.UsageError, model.generate, [0, 512], 4)))
    check('no prompt', raised(muninn.UsageError, model.generate, [], 4) is not None)
    check('a field that no struct has', 'rul' in str(raised(TypeError, model.generate, PROMPT, 4, exit={'rul': 'kl'})))
    check('a prompt longer than the context', raised(muninn.UsageError, model.generate, [1] * 600, 4) is not None)
    check('a stop string that is empty', raised(ValueError, model.generate, PROMPT, 4, stop='') is not None)
    check('a continuation without tokens', raised(ValueError, model.score, 'sort', '') is not None)
    check('a device that is not there', raised(muninn.Error, muninn.load, MODEL, device='no such device') is not None)
    check('neither folder nor shape', raised(ValueError, muninn.load) is not None)
    with muninn.load(synthetic='d=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64') as plain:
        result = plain.generate([1, 2], 4)
        check('a model without a tokenizer', plain.tokenizer is None and result.text is None and
              len(result.ids) == 4 and list(plain.stream([1, 2], 4)) == result.ids and
              raised(ValueError, plain.generate, PROMPT, 4) is not None)
    check('devices', any(d.refusal is None for d in muninn.devices()))


# ---- the lm-evaluation-harness ----

def with_stand_in(seen):
    """muninn.lm_eval as it is where the harness is installed: its base class does what the real one does with it."""
    class LM:
        def __init__(self):
            self._rank, self._world_size = 0, 1
            self.cache_hook = types.SimpleNamespace(add_partial=lambda *a: seen.append(a))
    names = {'lm_eval': {}, 'lm_eval.api': {}, 'lm_eval.api.model': {'LM': LM}, 'lm_eval.api.registry': {
        'register_model': lambda *names: lambda cls: seen.append(names) or cls}}
    for name, values in names.items():
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(values)
    sys.modules.pop('muninn.lm_eval')
    import importlib
    module = importlib.import_module('muninn.lm_eval')
    [sys.modules.pop(name) for name in names]
    return module, LM


def test_lm_eval(model):
    request = lambda *args: types.SimpleNamespace(args=args)
    check('without the harness the class is there', muninn.lm_eval.MuninnLM.__mro__[1] is object)
    seen = []
    module, base = with_stand_in(seen)
    check('with it, it is one of its models', issubclass(module.MuninnLM, base) and seen == [('muninn',)], seen)
    lm = module.MuninnLM(model=model, num_steps=8)
    pairs = [('sort 2 1 :', ' 1 2'), ('sort 2 1 : ', '2 1'), ('', 'sort')]
    got = lm.loglikelihood([request(*pair) for pair in pairs])
    check('loglikelihood', got == [tuple(l[:2]) for l in model.loglikelihood(pairs, 8)] and seen[1:] ==
          [('loglikelihood', pair, found) for pair, found in zip(pairs, got)], got, seen)
    lm.model = types.SimpleNamespace(n_ctx=4, info=types.SimpleNamespace(bos_token_id=99))
    check('windows as the harness documents them', lm._windows(list(range(10))) ==
          [([99], [0, 1, 2, 3]), ([3], [4, 5, 6, 7]), ([5, 6, 7], [8, 9])], lm._windows(list(range(10))))
    check('a context that is too long is cut from the left', lm._cut([1, 2, 3, 4], [5, 6]) == ([2, 3, 4], [5, 6]))
    check('a continuation that is, is refused', raised(ValueError, lm._cut, [1], [2, 3, 4, 5, 6]) is not None)
    lm.model = model
    got = lm.loglikelihood_rolling([request('sort 2 1 : 1 2'), request('')])
    check('loglikelihood_rolling', got == [model.score('', 'sort 2 1 : 1 2', 8).logprob, 0], got)
    wants = [(PROMPT, {'until': ['8'], 'max_gen_toks': 12}), ('sort 2 1 :', {'until': '\n', 'max_gen_toks': 6}),
             ('sort 2 1 :', {'until': [], 'max_gen_toks': 6, 'do_sample': True, 'temperature': 0.8, 'seed': 3})]
    got = lm.generate_until([request(*w) for w in wants])
    check('generate_until', got == [model.generate(PROMPT, 12, num_steps=8, stop='8').text,
                                    model.generate('sort 2 1 :', 6, num_steps=8, stop='\n').text,
                                    model.generate('sort 2 1 :', 6, num_steps=8, temperature=0.8, seed=3).text], got)
    error = raised(ValueError, lm.generate_until, [request('a', {'num_beams': 2})])
    check('what it cannot do it refuses', 'num_beams' in str(error), error)


# ---- the wheel ----

def test_wheel():
    for name in 'setuptools', 'wheel', 'pip':
        if subprocess.run([sys.executable, '-c', 'import ' + name], capture_output=True).returncode:
            return print(f'skipped the wheel: there is no {name} for this Python (python3-{name})')
    tree, page = top.name + '/tree', open(source + '/docs/python.md').read()
    for folder in 'python', 'api':
        shutil.copytree(f'{source}/{folder}', f'{tree}/{folder}',
                        ignore=shutil.ignore_patterns('build', '*.egg-info', '__pycache__'))
    os.symlink(source + '/models', tree + '/models')
    command = re.search(r'^    pip (wheel .*)$', page, re.M)[1].split()
    quiet = dict(environment, PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INDEX='1', PIP_ROOT_USER_ACTION='ignore')
    quiet.pop('PYTHONPATH', None)
    done = subprocess.run([sys.executable, '-m', 'pip', *command], cwd=tree, env=quiet, capture_output=True, text=True)
    wheels = glob.glob(tree + '/dist/*.whl')
    check('the wheel is built without a network', done.returncode == 0 and len(wheels) == 1 and re.fullmatch(
        rf'muninn-{re.escape(muninn.__version__)}-py3-none-\w+\.whl', os.path.basename(wheels[0])), done.stderr, wheels)
    if not wheels:
        return
    python = top.name + '/venv/bin/python'
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', '--system-site-packages', top.name + '/venv'],
                   check=True)
    subprocess.run([python, '-m', 'pip', 'install', '-q', '--no-deps', wheels[0]], check=True, env=quiet)
    quiet.pop('MUNINN_LIBRARY')
    where = subprocess.run([python, '-c', 'import muninn._native as n; print(n.library_path(), n.header_path())'],
                           cwd=top.name, env=quiet, capture_output=True, text=True)
    check('it brings its library and header', where.stdout.count(top.name + '/venv/lib') == 2, where)
    with open(tree + '/page.py', 'w') as file:
        file.write('\n'.join(re.findall(r'^```python\n(.*?)^```$', page, re.M | re.S)))
    shutil.rmtree(tree + '/python')
    done = subprocess.run([python, tree + '/page.py'], cwd=tree, env=quiet, capture_output=True, text=True)
    check('the Python of docs/python.md runs with it', done.returncode == 0, done.stderr[-1500:])


test_declarations()
with muninn.load(MODEL) as loaded:
    for test in (test_generate, test_batch, test_stop_ids, test_scheduler, test_scheduler_ends, test_tokenizer,
                 test_scores, test_streams, test_interruption, test_threads, test_errors, test_lm_eval):
        started = time.monotonic()
        test(loaded)
        print(f'        {test.__name__}: {time.monotonic() - started:.1f} s')
started = time.monotonic()
test_wheel()
print(f'        test_wheel: {time.monotonic() - started:.1f} s')
print(f'{failed} failed')
sys.exit(bool(failed))
