"""muninn serve and python/muninn: EleutherAI's lm-evaluation-harness gets from them what `muninn score` says.

Method: the harness from PyPI, as it is, at the version of tests/lm_eval/requirements.txt, in a virtual environment in
the build folder; its own class local-completions against a server, and the class of python/muninn on top of its real
base class, on tasks in files made here: multiple choice, log-likelihoods, generated text, rolling log-likelihoods.
Every log-likelihood of every item is that of `muninn score`, every text that of `muninn generate`, and so are
accuracies. Nothing is fetched but the packages, once for a build folder (they take 500 MB there, and a minute or two).
Usage: tests/test_serve_lm_eval.py path/to/muninn source_dir build_dir path/to/libmuninn.so     (exit 77, with the
reason: without a Vulkan device or libmicrohttpd, or where PyPI is out of reach)
"""
import json
import math
import os
import random
import re
import shutil
import subprocess
import sys

import serving
from serving import STEPS, Server, check, environment, folder, run, source, tiny

N_DOCUMENTS, NEW = 16, 24
requirements = f'{source}/tests/lm_eval/requirements.txt'
home = os.path.join(os.path.abspath(sys.argv[3]), 'lm_eval')


def leave(reason):
    print('skipped:', reason)
    sys.exit(77)


def install():
    """Puts the harness into the build folder, unless this very selection is there."""
    mark = os.path.join(home, 'requirements.txt')
    if os.path.exists(mark) and open(mark).read() == open(requirements).read():
        return
    shutil.rmtree(home, ignore_errors=True)
    made = subprocess.run([sys.executable, '-m', 'venv', '--without-pip', home], capture_output=True, text=True)
    if made.returncode:
        shutil.rmtree(home, ignore_errors=True)
        leave(f'python3 makes no virtual environment: {(made.stdout + made.stderr).strip()[-300:]}')
    done = subprocess.run([sys.executable, '-m', 'pip', '--python', f'{home}/bin/python', 'install', '-q', '--no-deps',
                           '--only-binary', ':all:', '--timeout', '20', '--retries', '1',
                           '--disable-pip-version-check', '-r', requirements], capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(home, ignore_errors=True)
        leave(f'pip does not get the lm-evaluation-harness: {done.stderr.strip().splitlines()[-1:]}')
    shutil.copy(requirements, mark)


install()

# ---- tasks ----

COMMON = '''task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: {kind}
doc_to_text: "{text}"
doc_to_target: "{target}"
num_fewshot: 0
'''
TASKS = {
    'sort_choice': ('multiple_choice', '{{query}}', '{{gold}}', '''doc_to_choice: "{{choices}}"
metric_list:
  - metric: acc
'''),
    'sort_words': ('loglikelihood', '{{query}}', ' {{answer}}', '''metric_list:
  - metric: acc
'''),
    'sort_text': ('generate_until', '{{query}}', '{{answer}}', '''generation_kwargs:
  until: ["7"]
  max_gen_toks: %d
  do_sample: false
filter_list:
  - name: strip
    filter:
      - function: remove_whitespace
      - function: take_first
metric_list:
  - metric: exact_match
''' % NEW),
    'sort_rolling': ('loglikelihood_rolling', '', '{{query}} {{answer}}', '''metric_list:
  - metric: word_perplexity
'''),
}


def documents():
    draw = random.Random(5)
    for i in range(N_DOCUMENTS):
        digits = [draw.randrange(7) for _ in range(draw.randrange(3, 7))]
        answer = ' '.join(map(str, sorted(digits)))
        wrong = [' '.join(map(str, draw.sample(digits, len(digits)))) for _ in range(2)]
        choices = [answer, *wrong]
        draw.shuffle(choices)
        blank = ' ' if i % 5 == 4 else ''  # which the harness moves to the continuation
        yield {'query': 'sort ' + ' '.join(map(str, digits)) + ' :' + blank, 'answer': answer, 'choices': choices,
               'gold': choices.index(answer)}


docs = list(documents())
tasks = os.path.join(folder.name, 'tasks')
os.mkdir(tasks)
with open(f'{tasks}/docs.jsonl', 'w') as f:
    f.writelines(json.dumps(doc) + '\n' for doc in docs)
for name, (kind, text, target, more) in TASKS.items():
    with open(f'{tasks}/{name}.yaml', 'w') as f:
        f.write(COMMON.format(name=name, data=f'{tasks}/docs.jsonl', kind=kind, text=text, target=target) + more)


def evaluate(*how):
    quiet = {'HF_HUB_OFFLINE': '1', 'HF_DATASETS_OFFLINE': '1', 'HF_HOME': folder.name, 'TQDM_DISABLE': '1',
             'LOGLEVEL': 'ERROR', 'OPENAI_API_KEY': 'none', 'PYTHONDONTWRITEBYTECODE': '1', 'LP_NUM_THREADS': '0',
             'PYTHONPATH': f'{source}/python', 'MUNINN_LIBRARY': os.path.abspath(sys.argv[4]), 'no_proxy': '*'}
    done = subprocess.run([f'{home}/bin/python', f'{source}/tests/lm_eval/evaluate.py', tasks, *map(str, how)],
                          capture_output=True, text=True, env={**environment, **quiet})
    if done.returncode:
        sys.exit(f'FAILED: {how}: {done.stdout[-1000:]}\n{done.stderr[-3000:]}')
    return json.loads(done.stdout.splitlines()[-1])


# ---- what the other commands say ----

def score_lines(lines, *options):
    text = ''.join(json.dumps({**line, 'number': i}) + '\n' for i, line in enumerate(lines))
    rows = [json.loads(row) for row in run('score', '-m', tiny, '-f', '-', '--num-steps', STEPS, *options,
                                           stdin=text).splitlines()]
    return sorted((row for row in rows if 'number' in row), key=lambda row: row['number'])


def expected(*options):
    """By `muninn score`: of the choices, of the answers, of the texts as a whole, and the share of good choices."""
    choices = score_lines([{'context': doc['query'], 'continuation': ' ' + choice} for doc in docs
                           for choice in doc['choices']], *options)
    whole = score_lines([{'context': '', 'continuation': f'{doc["query"]} {doc["answer"]}'} for doc in docs])
    answers = score_lines([{'context': doc['query'], 'continuation': ' ' + doc['answer']} for doc in docs], *options)
    picked = score_lines([{'context': doc['query'], 'choices': doc['choices'], 'gold': doc['gold']} for doc in docs],
                         *options)
    return {'sort_choice': choices, 'sort_words': answers, 'sort_rolling': whole,
            'acc': sum(row['acc'] for row in picked) / len(picked)}


def texts(begin):
    """By `muninn generate`, from the ids of the queries with or without a begin token."""
    lines = ''.join(json.dumps({'text': doc['query']}) + '\n' for doc in docs)
    ids = [json.loads(line)['ids'] for line in run('tokenize', '-m', tiny, stdin=lines).splitlines()]
    lines = ''.join(json.dumps({'ids': begin + own, 'n': NEW, 'stop': '7'}) + '\n' for own in ids)
    rows = run('generate', '-m', tiny, '--batch', '-', '--num-steps', STEPS, '-o', 'json', stdin=lines).splitlines()
    rows = [row for row in map(json.loads, rows) if 'index' in row]
    return [row['text'].strip() for row in sorted(rows, key=lambda row: row['index'])]


def is_same(number, want):
    """Python adds with compensation from 3.12 on; before, the sum is that of `muninn score` to the last bit."""
    return number == want if sys.version_info < (3, 12) else math.isclose(number, want, rel_tol=1e-14)


def compare(how, found, want, want_texts):
    def numbers(task):  # the harness gives them as text where samples are written
        flat = [answer for answers in found[task]['answers'] for answer in answers]
        return [tuple(float(x) if i == 0 else str(x) == 'True' for i, x in enumerate(answer)) for answer in flat]

    for task in 'sort_choice', 'sort_words':
        got, rows = numbers(task), want[task]
        check(f'{how}, {task}: as many', len(got) == len(rows), len(got), len(rows))
        for i, (one, row) in enumerate(zip(got, rows)):
            check(f'{how}, {task} {i}', is_same(one[0], row['logprob']) and one[1] == row['is_greedy'], one, row)
    rolling = [float(re.sub(r'[^-0-9.e]', '', str(answer))) for answers in found['sort_rolling']['answers']
               for answer in answers]
    for i, (one, row) in enumerate(zip(rolling, want['sort_rolling'])):
        check(f'{how}, sort_rolling {i}', is_same(one, row['logprob']), one, row)
    check(f'{how}, sort_rolling: as many', len(rolling) == N_DOCUMENTS, rolling)
    got = found['sort_text']['answers']
    check(f'{how}, texts', [answer if isinstance(answer, str) else answer[0] for answer in got] == want_texts, got,
          want_texts)
    accuracy = found['sort_choice']['metrics']['acc,none']
    check(f'{how}: accuracy', accuracy == want['acc'] and 0.3 < accuracy, accuracy, want['acc'])
    greedy = sum(row['is_greedy'] for row in want['sort_words']) / N_DOCUMENTS
    check(f'{how}: accuracy of words', found['sort_words']['metrics']['acc,none'] == greedy, found['sort_words'])
    exact = sum(text == doc['answer'] for text, doc in zip(want_texts, docs)) / N_DOCUMENTS
    check(f'{how}: exact match', found['sort_text']['metrics']['exact_match,strip'] == exact, exact,
          found['sort_text'])
    return exact


server = Server('--parallel', '8', '--queue', '64')
with open(f'{tiny}/config.json') as f:
    begin = [json.load(f)['bos_token_id']]
answers = evaluate('over-http', f'http://127.0.0.1:{server.port}', *begin)
compare('over HTTP', answers, expected('--no-bos'), texts([]))
check('SIGTERM', server.end() == 0)
right = compare('in Python', evaluate('in-process', tiny, STEPS), expected(), texts(begin))
check('with its begin token the model sorts', right > 0.5, right)
serving.finish()
