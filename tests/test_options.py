#!/usr/bin/env python3
"""Goal: the option table says what the program does. A mistyped word gets the one that was meant; an option without an effect is refused, and
only such a one; --quiet is silent, --verbose says more, and neither changes standard output.

Method: rules of options are tried with a model folder that is not there: a setting that passes them ends with exit code 4, one that is
refused with 2 before anything is opened. What each strategy has is said here once more, by hand.
usage: test_options.py path/to/muninn source_dir     (exit 77 when there is no Vulkan device: the rest is skipped)"""
import json, os, pty, re, shutil, subprocess, sys, tempfile

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
top = tempfile.TemporaryDirectory()
os.chdir(top.name)
environment = dict(os.environ, MUNINN_MODEL=source + '/models/raven-tiny')
passed, failed = 0, []

def check(name, true, *shown):
    global passed
    passed += bool(true)
    if not true:
        failed.append(name)
        print('FAILED ', name, *shown, sep='\n        ')

def run(*arguments, stdin='', **more):
    done = subprocess.run([muninn, *map(str, arguments)], input=stdin, capture_output=True, text=True, env=dict(environment, **more))
    return done.returncode, done.stdout, done.stderr

def refused(line, *arguments):
    code, out, err = run(*arguments)
    check(' '.join(map(str, arguments)), (code, out, err) == (2, '', f'muninn: {line}\n'), code, out, err)

# ---- did you mean ----

end = '`muninn help` lists them'
refused(f"unknown command 'genrate' (did you mean generate?); {end}", 'genrate')
refused(f"unknown command 'hlep' (did you mean help?); {end}", 'hlep')
refused(f"unknown command 'frobnicate'; {end}", 'frobnicate')
refused(f"unknown command 'x'; {end}", 'x')
refused(f"unknown command 'benhc' (did you mean bench?); {end}", 'help', 'benhc')
refused(f"option '-p' without a command before it; {end}", '-p', 'x')
end = 'see `muninn generate --help`'
refused(f"unknown option '--stratgey' (did you mean --strategy?); {end}", 'generate', '--stratgey', 'ar')
refused(f"unknown option '--lokahead=3' (did you mean --lookahead?); {end}", 'generate', '--lokahead=3')
refused(f"unknown option '--verbos' (names may not be shortened: --verbose); {end}", 'generate', '--verbos')
refused(f"unknown option '--frobnicate'; {end}", 'generate', '--frobnicate')
refused(f"unknown option '--{'x' * 200}'; {end}", 'generate', '--' + 'x' * 200)
refused(f"unknown option '-z'; {end}", 'generate', '-z')
refused("option '--chat=1': --chat takes no value", 'generate', '--chat=1')
refused('--strategy wavfront: must be one of ar|draft-verify|wavefront|auto|diffusion (did you mean wavefront?)', 'generate', '--strategy', 'wavfront')
refused('--output jsn: must be one of text|json (did you mean json?)', 'generate', '-o', 'jsn')
refused('--output yaml: must be one of text|json', 'generate', '-o', 'yaml')
refused('--strategy draft-verfy: must be one of ar|draft-verify|wavefront|auto|diffusion (did you mean draft-verify?)', 'bench', '--strategy', 'ar,draft-verfy')

# ---- options without an effect ----

strategies = 'ar', 'draft-verify', 'wavefront', 'auto', 'diffusion'
values = {'draft-steps': 2, 'lookahead': 7, 'max-inflight': 4, 'lookup': 8, 'branches': 2, 'verification-threshold': 0.5, 'continuous': None, 'exit': 'kl', 'headway': 1,
          'freeze-threshold': 0.03, 'state-noise': 0.1, 'embed-average': 0.1, 'require-lossless': None, 'kv-policy': 'full', 'compare-ar': None}
taken = {'ar': 'continuous exit', 'draft-verify': 'draft-steps lookahead lookup verification-threshold exit',
         'wavefront': 'draft-steps max-inflight lookup branches',
         'auto': 'max-inflight lookup', 'diffusion': 'draft-steps max-inflight headway freeze-threshold state-noise embed-average'}
for strategy in strategies:
    for option, value in values.items():
        arguments = 'generate', '-m', 'none', '-p', 'x', '--' + option, *([] if value is None else [value]), '--strategy', strategy
        if option in taken[strategy].split() + ['require-lossless', 'kv-policy', 'compare-ar']:
            code, _, err = run(*arguments)
            check(' '.join(map(str, arguments)), code == 4, code, err)
        else:
            refused(f'--{option} has no effect with --strategy {strategy}', *arguments)

ask = ['generate', '-m', 'none', '-p', 'x']
beside = [  # arguments that need others, others that do, what is said without
    (['--top-k', 4], [['--temp', 1]], '--top-k has no effect without --temp above 0'),
    (['--top-p', 0.5], [['--temp', 1]], '--top-p has no effect without --temp above 0'),
    (['--min-p', 0.5], [['--temp', 0.2]], '--min-p has no effect without --temp above 0'),
    (['--temp', 0, '--min-p', 0.5], [], '--min-p has no effect without --temp above 0'),
    (['--seed', 4], [['--temp', 1], ['--init-scale', 1], ['--strategy', 'diffusion', '--state-noise', 0.1]],
     '--seed has no effect without --temp above 0, --init-scale above 0 or --state-noise above 0'),
    (['--exit-min-steps', 2], [['--exit', 'kl']], '--exit-min-steps has no effect without --exit'),
    (['--exit-interval', 2], [['--exit', 'kl']], '--exit-interval has no effect without --exit'),
    (['--system', 'be brief'], [['--chat']], '--system has no effect without --chat'),
    (['--parallel', 2], [], '--parallel has no effect without --batch'),
    (['--no-bos'], [[]], None),
    (['--no-bos', '--chat'], [], '--no-bos has no effect with --chat'),
]
for needy, enough, line in beside:
    if line:
        refused(line, *ask, *needy)
    for others in enough:
        code, _, err = run(*ask, *needy, *others)
        check(' '.join(map(str, needy + others)), code == 4, code, err)
for needy in ['--no-bos'], ['--chat']:
    refused(f'{needy[0]} has no effect with --ids', 'generate', '-m', 'none', '--ids', '1', *needy)

for option, value in ('num-steps', 4), ('weight-type', 'f16'), ('kv-type', 'q8'), ('matrix-units', 'on'):
    refused(f'--{option} has no effect without --model or --synthetic', 'selftest', f'--{option}', value)
    code, _, err = run('selftest', '-m', 'none', f'--{option}', value)
    check(f'selftest -m: {option}', code == 4, code, err)
refused('--synthetic and --model exclude each other', 'selftest', '-m', 'none', '--synthetic', 'raven-tiny')
refused('--raw has no effect with --prompt', *ask, '--raw')
trace = 'trace', '-m', 'none', '-p', 'x'
for option, value, needed in (('init-scale', 2, 'inits'), ('seed', 1, 'inits'), ('ignore-eos', None, 'max-new-tokens')):
    needy = ['--' + option] + ([] if value is None else [value])
    refused(f'--{option} has no effect without --{needed} above 0', *trace, *needy)
    code, _, err = run(*trace, *needy, '--' + needed, 3)
    check(f'trace {option} with {needed}', code == 4, code, err)
refused('--no-bos has no effect with --ids', 'trace', '-m', 'none', '--ids', '1', '--no-bos')
refused('--raw has no effect with --ids', 'trace', '-m', 'none', '--ids', '1', '--raw')

# ---- no prompt, no folder ----

for command, ways in ('generate', '-p TEXT, --ids LIST, -f FILE and --batch FILE.jsonl'), ('trace', '-p TEXT, --ids LIST and -f FILE'):
    refused(f'no prompt: standard input is empty; give exactly one of {ways}', command)
    refused(f'more than one prompt: give exactly one of {ways}', command, '-p', 'x', '--ids', 1)
    _, terminal = pty.openpty()
    done = subprocess.run([muninn, command], stdin=terminal, capture_output=True, text=True, env=environment)
    check(f'{command} at a terminal does not wait', (done.returncode, done.stderr) == (2, f'muninn: no prompt: give exactly one of {ways}\n'), done)
    os.close(terminal)
os.makedirs('folder/inner')
for file in 'folder/config.json', 'folder/inner/model-00001-of-00002.safetensors', 'tokenizer.json':
    open(file, 'w').write('{}')
    code, out, err = run('generate', '-m', file, '-p', 'x')
    line = f'muninn: {file}: a model is a folder; give the one that this file is in: -m {os.path.dirname(file) or "."}\n'
    check(f'-m {file}', (code, out, err) == (4, '', line), code, err)
for command in 'generate', 'trace', 'info', 'tokenize', 'bench':
    arguments = ['-p', 'x'] if command in ('generate', 'trace') else []
    code, out, err = run(command, '-m', 'ByteDance/Ouro-1.4B', *arguments)
    check(f'{command} with a name of the hub', (code, out) == (4, '') and '`hf download ByteDance/Ouro-1.4B --local-dir Ouro-1.4B`' in err
          and err.count('\n') == 1, code, err)
for path in 'folder/none', './none/model', 'none', 'none/more/model':
    code, out, err = run('generate', '-m', path, '-p', 'x')
    check(f'-m {path} is a folder that is not there', (code, out, err) == (4, '', f'muninn: {path}/config.json: No such file or directory\n'), code, err)

# ---- how much is said ----

refused('--quiet and --verbose exclude each other', 'info', '-q', '-v')
if run('devices')[0] == 3:
    print(f'no Vulkan device: the rest is skipped\n{passed} passed, {len(failed)} failed')
    sys.exit(1 if failed else 77)

# A prompt from a pipe or a file, without its last newline unless --raw.
def ids(*arguments, stdin=''):
    code, out, err = run('generate', '-n', 1, '--num-steps', 1, '-o', 'json', *arguments, stdin=stdin)
    check(f'{arguments}: {stdin!r}', code == 0, code, err)
    return json.loads(out)['prompt_ids'] if code == 0 else None

text = 'sort 2 1 :'
open('text', 'w').write(text + '\n')
plain, line = ids('-p', text), ids('-p', text + '\n')
check('the newline is a token', plain != line, plain, line)
check('a pipe', ids(stdin=text + '\n') == ids(stdin=text + '\r\n') == ids(stdin=text) == ids('-f', '-', stdin=text + '\n') == plain)
check('a pipe: one newline of two', ids(stdin=text + '\n\n') == line)
check('a pipe, raw', ids('--raw', stdin=text + '\n') == ids('--raw', '-f', '-', stdin=text + '\n') == line)
check('a file', ids('-f', 'text') == plain and ids('-f', 'text', '--raw') == line)

# The summary begins its own line where the text goes to the same file; the text alone stays as it is.
short = '-p', text, '-n', 3, '--num-steps', 2, '--ignore-eos'
alone = run('generate', *short)[1]
check('the text has no newline of its own', alone and not alone.endswith('\n'), alone)
with open('both', 'w') as both:
    subprocess.run([muninn, 'generate', *map(str, short)], stdout=both, stderr=both, env=environment)
lines = open('both').read().splitlines()
check('text and summary in one file', lines[-1].startswith('muninn: first token after ') and lines[-2].startswith('muninn: ar: 3 tokens') and
      lines[-3] == alone.splitlines()[-1], lines)
with open('both', 'w') as both:
    subprocess.run([muninn, 'generate', '-q', *map(str, short)], stdout=both, stderr=both, env=environment)
check('text and no summary in one file', open('both').read() == alone, open('both').read())

# The built-in model says what it is for, where nobody has named one.
said = 'raven-deep, the model that comes with muninn'
check('the default model: said with -v', said in run('generate', '-v', *short, MUNINN_MODEL='')[2])
check('the default model: not said to a file', said not in run('generate', *short, MUNINN_MODEL='')[2])
check('a model from MUNINN_MODEL', said not in run('generate', '-v', *short)[2])
check('a model from -m', said not in run('generate', '-v', '-m', source + '/models/raven-deep', *short, MUNINN_MODEL='')[2])

open('lines', 'w').write('{"context_ids":[1,2],"continuation_ids":[3]}\n')
short = '-n', 3, '--num-steps', 2
shape = 'd=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64'
commands = [('generate', '-p', 'x', *short), ('chat', *short), ('generate', '-p', 'x', *short, '-o', 'json'), ('logits', '--ids', '1,2', '--num-steps', 2),
            ('tokenize',), ('info', '--memory', 8), ('devices',), ('pipelines', '--synthetic', shape),
            ('selftest', '--synthetic', shape, '--quick'),
            ('quantize', '-o', 'folder', '--weight-type', 'q8_0'), ('trace', '-p', 'x', *short), ('score', '-f', 'lines', '--num-steps', 2),
            ('bench', '--synthetic', shape, '--strategy', 'ar', '-r', 1, '--min-seconds', 0, '-n', 2, '--results', 'rows', '-o', 'json'),
            ('divergence', '-f', 'texts', '--weight-type', 'bf16', '--num-steps', 2), ('merge', 'rows'), ('compare', 'rows', 'rows'), ('report', 'rows', '-o', 'page.html')]
open('texts', 'w').write('{"ids":[1,2,3]}\n')
# Those that say nothing while they run, or nothing but what they print, in a millisecond.
listed = re.findall(r'^  ([a-z]+) +[A-Z]', run('help')[1].split('Options:')[0], re.M)
missing = set(listed) - {c[0] for c in commands} - {'help', 'man', 'completion', 'serve'}
check('every command is tried with -q and -v', len(listed) > 10 and not missing, missing)
for command in commands:
    name = ' '.join(map(str, command))
    runs = []
    for more in (), ('-q',), ('-v',):
        shutil.rmtree('folder', ignore_errors=True) # which quantize would not replace
        runs.append(run(*command, *more))
    usual, quiet, verbose = runs
    check(f'{name}: exit codes', usual[0] == quiet[0] == verbose[0] == 0, usual, quiet, verbose)
    check(f'{name} -q is silent', quiet[2] == '', quiet[2])
    # What a busy machine makes it say of the read bandwidth is no more than usual.
    said, more = ([line for line in text.splitlines() if 'read bandwidth' not in line] for text in (usual[2], verbose[2]))
    check(f'{name} -v says more', len(more) > len(said), usual[2], verbose[2])
    check(f'{name} -v ends with what it took', verbose[2].splitlines()[-1].startswith(f'muninn: {command[0]}: '), verbose[2])
    # The others' output holds times, or what hangs on them.
    if command[0] not in ('bench', 'trace', 'divergence', 'selftest') and 'json' not in command:
        check(f'{name}: the same output', usual[1] == quiet[1] == verbose[1], usual[1], quiet[1], verbose[1])
code, out, err = run('generate', '-m', 'none', '-p', 'x', '-q')
check('-q: errors are said', code == 4 and err.startswith('muninn: none/config.json:') and err.count('\n') == 1, code, err)

print(f'{passed} passed, {len(failed)} failed')
sys.exit(bool(failed))
