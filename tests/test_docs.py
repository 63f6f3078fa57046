#!/usr/bin/env python3
"""Goal: the commands of README.md and docs/*.md work as they stand there.

Method: every line of a code block, and every line that is one command between backticks, that begins with one of the programs below is run
by sh, in the order of the page, in a folder of the page with the files it speaks of (FILES) and with the program built here as `muninn` and
`build/muninn`. Exit code 0 is wanted, and of rows of tables "| `muninn info ...` | X GB |" that sum. HTML comments above a block say what the test does otherwise with its commands:

    <!-- test: skip "TEXT": REASON -->    those with TEXT in them are not run; without "TEXT", none of the block
    <!-- test: add "TEXT": ARGUMENTS -->  those with TEXT in them get ARGUMENTS behind, which shorten them
    <!-- test: serve: ARGUMENTS -->       it is a server: with ARGUMENTS behind it runs at a free port, which the page's
                                          further commands get for their 8080, and is ended behind them: exit code 0

A comment that no command needs is an error. ./bootstrap, which runs this test, is left out.
usage: test_docs.py path/to/muninn source_dir [PAGE...]     (exit 77 when there is no Vulkan device: skipped)"""
import atexit, glob, os, re, shutil, signal, subprocess, sys, tempfile, time

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
pages = sys.argv[3:] or ['README.md'] + sorted(os.path.relpath(p, source) for p in glob.glob(source + '/docs/*.md'))
program = re.compile(r'(build/)?muninn |python3 |sh |hf |git |curl |docs/\S+\.sh')
SHAPE = 'd=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64'
TASKS = '''{"task":"sort","context":"sort 2 1 :","continuation":" 1 2"}
{"task":"choice","query":"sort 2 1 :","choices":["1 2","2 1"],"gold":0}
'''

if subprocess.run([muninn, 'devices'], capture_output=True).returncode == 3:
    print('skipped: there is no Vulkan device')
    sys.exit(77)
top = tempfile.TemporaryDirectory()
environment = dict(os.environ, PATH=top.name + '/bin:' + os.environ['PATH'])
environment.pop('MUNINN_MODEL', None)
os.mkdir(top.name + '/bin')
os.symlink(muninn, top.name + '/bin/muninn')

def rows(*arguments):
    done = subprocess.run([muninn, 'bench', '--synthetic', SHAPE, '--strategy', 'ar,draft-verify', '--draft-steps', '1', '--lookahead', '2', '-r', '1',
                           '--min-seconds', '0', '-n', '2', '-o', 'jsonl', *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout

bf16, f16 = rows(), rows('--weight-type', 'f16')
FILES = {'tasks.jsonl': TASKS, 'before.jsonl': bf16, 'after.jsonl': bf16, 'bf16.jsonl': bf16, 'f16.jsonl': f16, 'results.jsonl': bf16,
         'more.jsonl': f16, 'prompts.jsonl': '{"prompt":"sort 2 1 :"}\n'}

def folder_for(page):
    folder = os.path.join(top.name, page.replace('/', '-'))
    for name in 'build', 'docs':
        os.makedirs(os.path.join(folder, name))
    for name in 'bench', 'models', 'tests':
        os.symlink(os.path.join(source, name), os.path.join(folder, name))
    for path in glob.glob(source + '/docs/*.jsonl') + glob.glob(source + '/docs/*.sh'): # what is written to docs/ stays here
        shutil.copy(path, folder + '/docs')
    os.symlink(muninn, folder + '/build/muninn')
    for name, text in FILES.items():
        open(os.path.join(folder, name), 'w').write(text)
    return folder

def start_server(command, folder):
    """The process, once it listens, and where."""
    log = open(folder + '/server.log', 'w+')
    process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log, stdin=subprocess.DEVNULL)
    atexit.register(process.kill) # where the test itself fails
    for _ in range(6000):
        said = open(folder + '/server.log').read()
        found = re.search(r'listening on http://\S+:(\d+)', said)
        if found or process.poll() is not None:
            break
        time.sleep(0.05)
    return process, found[1] if found else said

def commands_of(page):
    """(line number, command, the rules above its block), with continued lines joined."""
    found, rules, fenced, before = [], [], False, ''
    lines = open(os.path.join(source, page)).read().split('\n')
    for number, line in enumerate(lines, 1):
        rule = re.fullmatch(r'<!-- test: (skip|add|serve)(?: "([^"]*)")?: (.+) -->', line)
        fenced ^= line.startswith('```')
        if rule:
            rules.append({'do': rule[1], 'text': rule[2] or '', 'what': rule[3], 'line': number, 'used': False})
        elif line.startswith('<!-- test'):
            sys.exit(f'{page}:{number}: {line}: no such comment')
        code = line if fenced else line[4:] if line.startswith('    ') else None
        inline = re.fullmatch(r'`(muninn \S+ [^`]*)`:?', line)
        if before:
            found[-1][1] += ' ' + (code or '').strip()
        elif code is not None and program.match(code):
            found.append([number, code, rules])
        elif inline:
            found.append([number, inline[1], rules])
        elif line and code is None and not line.startswith('<!-- test'):
            rules = []
        before = found and found[-1][1].endswith('\\') and (code is not None)
        if before:
            found[-1][1] = found[-1][1][:-1]
    return found

n_run = n_skipped = 0
failed = []

# ---- figures of `muninn info` in tables ----

for page in pages:
    for number, line in enumerate(open(os.path.join(source, page)), 1):
        row = re.search(r'\| `muninn (info [^`]*)` \| ([0-9.]+) GB \|', line)
        if row:
            out = subprocess.run([muninn, *row[1].split()], capture_output=True, text=True, env=environment).stdout
            said = float(re.search(r'^in all +([0-9.]+) MB', out, re.M)[1]) / 1000 if out else 0.0
            n_run += 1
            if abs(said - float(row[2])) > 0.11:
                failed.append(f'{page}:{number}')
                print(f'FAILED   {page}:{number}: {row[1]}: {said:.2f} GB, not {row[2]}')

# ---- commands ----

for page in pages:
    folder, all_rules, server, port = None, [], None, '8080'
    for number, command, rules in commands_of(page):
        all_rules += [r for r in rules if r not in all_rules]
        here = [r for r in rules if r['text'] in command]
        for rule in here:
            rule['used'] = True
        reasons = [r['what'] for r in here if r['do'] == 'skip']
        bare = re.split(r'\s+# ', command)[0].rstrip()
        if reasons:
            n_skipped += 1
            print(f'skipped  {page}:{number}: {bare[:90]}: {reasons[0]}')
            continue
        bare += ''.join(' ' + r['what'] for r in here if r['do'] == 'add')
        bare = bare.replace('127.0.0.1:8080', '127.0.0.1:' + port)
        folder = folder or folder_for(page)
        started = time.monotonic()
        arguments = [r['what'] for r in here if r['do'] == 'serve']
        if arguments:
            server, port = start_server(f'{bare} {arguments[0]} --port 0'.split(), folder)
            n_run += 1
            print(f'{"ok     " if port.isdigit() else "FAILED "}  {page}:{number}: {bare}: serves', flush=True)
            if not port.isdigit():
                failed.append(f'{page}:{number}')
                print('        ' + port)
            continue
        done = subprocess.run(['sh', '-c', bare], cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600)
        print(f'{"ok     " if done.returncode == 0 else "FAILED "}  {page}:{number}: {bare[:110]} ({time.monotonic() - started:.1f} s)', flush=True)
        n_run += 1
        if done.returncode:
            failed.append(f'{page}:{number}')
            print('        ' + (done.stderr or done.stdout)[-600:].replace('\n', '\n        '))
    if server:
        server.send_signal(signal.SIGTERM)
        if server.wait(timeout=60):
            failed.append(page)
            print(f'FAILED   {page}: its server ends with {server.returncode}')
    text = open(os.path.join(source, page)).read()
    n_rules = len(re.findall(r'^<!-- test: ', text, re.M))
    for rule in all_rules:
        if not rule['used']:
            failed.append(f'{page}:{rule["line"]}')
            print(f'FAILED   {page}:{rule["line"]}: no command needs this comment')
    if n_rules != len(all_rules):
        failed.append(page)
        print(f'FAILED   {page}: a comment stands above no command')
print(f'{n_run} run, {n_skipped} skipped, {len(failed)} failed')
sys.exit(bool(failed) or n_run == 0)
