#!/usr/bin/env python3
"""Goal: no writer of any subcommand destroys what stands at its output's path. A plain file is replaced by a complete one or stays, a file that
grows ends with a whole row, links are followed, pipes and devices written through, folders, inputs and links that lead nowhere refused; the
message names the cause, nothing is left beside. Signals end a run with what there is, or not at all where they were ignored.
Method: every writer against everything that can stand there: plain files, links, pipes with and without a reader, devices, folders without
rights, a full file system, a file size limit; every output against every input of its command; signals to runs under way.

usage: test_writers.py path/to/muninn source_dir"""
import json, os, resource, shutil, signal, stat, subprocess, sys, tempfile, threading, time

muninn, source = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
model = source + '/models/raven-tiny'
tmp = tempfile.TemporaryDirectory()
os.chdir(tmp.name)
os.chmod('.', 0o755)
# Muninn's own cache is new; the driver's, of shaders, is the user's: without it every start compiles for seconds.
shaders = os.environ.get('MESA_SHADER_CACHE_DIR') or os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
environment = dict(os.environ, MUNINN_MODEL=model, XDG_CACHE_HOME=tmp.name + '/cache', MESA_SHADER_CACHE_DIR=shaders, LC_ALL='C')
no_cache = dict(environment, MESA_SHADER_CACHE_DISABLE='1')  # under a size limit Mesa's own cache kills the process (docs/install.md)
root = os.geteuid() == 0
failed = 0


def check(name, good, *seen):
    global failed
    failed += not good
    print(('ok      ' if good else 'FAILED  ') + name, *(() if good else map(repr, seen)))


def skip(name, why):
    print(f'skipped {name}: {why}')


class Run:
    """The program run to its end: exit code, stdout, stderr."""

    def __init__(self, *args, limit=None, stdin=subprocess.DEVNULL, **more):
        def lower():
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        done = subprocess.run([muninn, *args], stdin=stdin, capture_output=True, env=environment if limit is None else no_cache,
                              preexec_fn=None if limit is None else lower, **more)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr.decode(errors='replace')


def put(path, data=b''):
    with open(path, 'wb') as file:
        file.write(data)
    return path


def get(path):
    with open(path, 'rb') as file:
        return file.read()


def is_lines(data):
    try:
        return data.endswith(b'\n') and all(isinstance(json.loads(line), dict) for line in data.splitlines())
    except ValueError:
        return False


def is_states(data):
    size = int.from_bytes(data[:8], 'little')
    return size < 4096 and json.loads(data[8:8 + size]).keys() == {'states', 'tokens'}


def is_page(data):
    return data.startswith(b'<!doctype html>') and data.rstrip().endswith(b'</html>')


if Run('devices').code == 3:
    sys.exit(77)

shape = 'd=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64'
put('lines.jsonl', b'{"context":"sort 2 8 :","continuation":" 2 8"}\n' * 3)
put('texts.jsonl', b'{"text":"sort 2 8 : 2 8"}\n' * 3)
put('batch.jsonl', b'{"prompt":"sort 2 8 :","n":3}\n' * 2)
rows = put('rows.jsonl', b'{"key":"a","bench":"run","strategy":"ar","num_steps":4,"decode_tok_s":2}\n')
bench = ['bench', '--synthetic', shape, '-r', '1', '--min-seconds', '0', '-n', '3', '--draft-steps', '1,2', '--lookahead', '2']
trace = ['trace', '-p', 'sort 2 8 :', '--num-steps', '4', '-o', 'md']
# name: command up to the path, what a whole file looks like, whether it grows
writers = {
    'generate --trace': (['generate', '-p', 'sort 2 8 :', '--num-steps', '4', '-n', '4', '--trace'], is_lines, False),
    'generate --batch --trace': (['generate', '--batch', 'batch.jsonl', '--num-steps', '4', '--trace'], is_lines, False),
    'trace --results': ([*trace, '--results'], is_lines, False),
    'trace --states': ([*trace, '--states'], is_states, False),
    'report -o': (['report', rows, '-o'], is_page, False),
    'score --results': (['score', '-f', 'lines.jsonl', '--num-steps', '4', '--results'], is_lines, True),
    'divergence --results': (['divergence', '-f', 'texts.jsonl', '--weight-type', 'f32', '--num-steps', '4', '--results'], is_lines, True),
    'bench --results': ([*bench, '--results'], is_lines, True),
    'selftest --results': (['selftest', '--synthetic', shape, '--quick', '--results'], is_lines, True),
}
old = b'{"key":"old"}\n'


def place():
    """A folder of its own, where leftovers show."""
    folder = tempfile.mkdtemp(dir='.')
    os.chmod(folder, 0o755)
    return folder


def whole(data, looks, grows):
    return looks(data[len(old):]) and data.startswith(old) if grows else looks(data)


def plain(name, command, looks, grows):
    folder = place()
    path = folder + '/out'
    run = Run(*command, path)
    check(f'{name}: nothing there', run.code == 0 and looks(get(path)), run.err)
    put(path, old)
    os.chmod(path, 0o604)
    run = Run(*command, path)
    check(f'{name}: an old file', run.code == 0 and whole(get(path), looks, grows), run.err, get(path))
    check(f'{name}: its rights stay', stat.S_IMODE(os.stat(path).st_mode) == 0o604)
    check(f'{name}: nothing else lies there', os.listdir(folder) == ['out'], os.listdir(folder))


def links(name, command, looks, grows):
    folder = place()
    path, target = folder + '/link', put(folder + '/target', old)
    os.symlink('target', path)
    run = Run(*command, path)
    check(f'{name}: a link', run.code == 0 and os.path.islink(path) and not os.path.islink(target) and whole(get(target), looks, grows), run.err)
    os.remove(target)
    run = Run(*command, path)
    check(f'{name}: a link that leads nowhere', run.code == 4 and 'is a link that leads nowhere' in run.err and os.listdir(folder) == ['link'], run.err)


def pipes(name, command, looks, grows):
    folder = place()
    path = folder + '/fifo'
    os.mkfifo(path)
    got = []
    thread = threading.Thread(target=lambda: got.append(get(path)))
    thread.start()
    run = Run(*command, path)
    if not stat.S_ISFIFO(os.stat(path).st_mode):  # whoever replaced it leaves the reader without an end
        check(f'{name}: a pipe is still one', False)
        os._exit(1)
    thread.join(20)
    check(f'{name}: a pipe', run.code == 0 and looks(got[0]) and os.listdir(folder) == ['fifo'], run.err)
    with open(folder + '/copy', 'wb') as copy, subprocess.Popen(['cat'], stdin=subprocess.PIPE, stdout=copy) as cat:  # a page is more than a pipe holds
        run = Run(*command, f'/dev/fd/{cat.stdin.fileno()}', pass_fds=[cat.stdin.fileno()])
        cat.communicate()
    out = get(folder + '/copy')
    os.remove(folder + '/copy')
    check(f'{name}: /dev/fd/N', run.code == 0 and looks(out), run.err, out)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen([muninn, *command, path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment,
                          preexec_fn=lambda: os.close(reader)) as process:
        # Gone as soon as it is open at the other end: a write finds nobody.
        fds = f'/proc/{process.pid}/fd'
        while process.poll() is None and not any(opened(fds, fd, path) for fd in listed(fds)):
            time.sleep(0.001)
        os.close(reader)
        err = process.stderr.read().decode()
    check(f'{name}: a reader that goes away', process.returncode == 0 or process.returncode == 1 and 'Broken pipe' in err, process.returncode, err)


def listed(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def opened(folder, fd, path):
    try:
        return os.path.samefile(f'{folder}/{fd}', path)
    except OSError:
        return False


def devices(name, command, looks, grows):
    folder = place()
    nodes = ['/dev/full']
    if root:
        for node, minor in ('full', 7), ('null', 3):
            try:
                os.mknod(f'{folder}/{node}', 0o666 | stat.S_IFCHR, os.makedev(1, minor))
                put(f'{folder}/{node}')
            except OSError as why:
                skip(f'{name}: a device node', why)
                break
        else:
            nodes += [folder + '/full', folder + '/null']
    else:
        skip(f'{name}: a device node', 'needs root')
    for node in nodes:
        was = os.stat(node)
        run = Run(*command, node)
        good = run.code == 0 if node.endswith('null') else run.code == 1 and f'{node}: writing failed: No space left on device' in run.err
        check(f'{name}: {os.path.basename(node)}{" of our own" if folder in node else ""}', good and os.path.samestat(was, os.stat(node)), run.code,
              run.err)
    run = Run(*command, folder)
    check(f'{name}: a folder', run.code == 2 and 'is a folder, not a file' in run.err, run.code, run.err)
    run = Run(*command, folder + '/none/out')
    check(f'{name}: no such folder', run.code == 4 and 'No such file or directory' in run.err, run.code, run.err)


def rights(name, command, looks, grows):
    folder = place()
    path = put(folder + '/out', old)
    os.chmod(path, 0o444)
    os.chmod(folder, 0o555)
    who = {}
    if root:
        who = dict(user=65534, group=65534, extra_groups=[])
        try:
            if Run('--version', **who).code:
                return skip(f'{name}: no rights', 'the program cannot be run as nobody')
        except PermissionError:
            return skip(f'{name}: no rights', 'the program cannot be run as nobody')
    for what in path, folder + '/new':
        run = Run(*command, what, **who)
        check(f'{name}: no rights to {"the file" if what == path else "the folder"}', run.code == 4 and f'{what}: cannot be written: Permission denied'
              in run.err and os.listdir(folder) == ['out'] and get(path) == old, run.code, run.err)
    os.chmod(folder, 0o755)


def stays(path, grows, looks):
    """What a failed run leaves: the old file, or that with whole rows behind it."""
    data = get(path)
    return data == old or grows and data.startswith(old) and looks(data[len(old):])


# Drivers can have device memory in files without a name, which the limit is for as well, and not look whether they got
# them: Mesa 26's lavapipe. Nothing can be written under one then.
limits_kill = Run('generate', '-p', 'sort 2 8 :', '--num-steps', '1', '-n', '1', limit=20).code == -signal.SIGBUS
if limits_kill:
    skip('file size limits', 'this driver dies of them (SIGBUS)')


def limited(name, command, looks, grows):
    if limits_kill:
        return
    folder = place()
    path = put(folder + '/out', old)
    for limit in (len(old) + 40, len(old) + (2000 if name.startswith('bench') else 300)) if grows else (100,):
        run = Run(*command, path, limit=limit)
        check(f'{name}: a file size limit of {limit}', run.code == 1 and run.err.count(f'{path}: writing failed: File too large') == 1 and
              stays(path, grows, looks) and os.listdir(folder) == ['out'], run.code, run.err, os.listdir(folder), get(path)[-200:])
        put(path, old)


def full(name, command, looks, grows):
    folder = place()
    if not root or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], capture_output=True).returncode:
        return skip(f'{name}: a full disk', 'needs root and the right to mount')
    try:
        path = put(folder + '/out', old + (b' ' * (4095 - len(old)) + b'\n' if grows else b''))  # whole pages: what grows needs a new one
        before = get(path)
        try:
            put(folder + '/fill', bytes(1 << 20))
        except OSError:
            pass
        run = Run(*command, path)
        check(f'{name}: a full disk', run.code == 1 and run.err.count(f'{path}: writing failed: No space left on device') == 1 and get(path) == before and
              sorted(os.listdir(folder)) == ['fill', 'out'], run.code, run.err, os.listdir(folder))
    finally:
        subprocess.run(['umount', folder], check=True)


for name, (command, looks, grows) in writers.items():
    for case in plain, links, pipes, devices, rights, limited, full:
        case(name, command, looks, grows)

# A pipe that nobody reads is not waited for without end.
os.mkfifo('lonely')
run = Run('report', rows, '-o', 'lonely')
check('a pipe that nobody reads', run.code == 4 and 'is a pipe that nobody reads' in run.err, run.code, run.err)

# Standard output by name: what the program printed before stays, whatever stands behind it.
with open('both', 'wb') as file:
    run = subprocess.run([muninn, *trace, '--results', '/dev/stdout'], stdout=file, stderr=subprocess.DEVNULL, env=environment)
check('--results /dev/stdout', run.returncode == 0 and get('both').startswith(b'{"bench":"trace_header"') and b'| position |' in get('both'))

# Answers, a file per setting; the folder holds nothing else afterwards.
put('questions.jsonl', b'{"question_id":1,"category":"x","turns":["sort 2 1 :"]}\n')
answers = ['bench', '--prompts', 'questions.jsonl', '-r', '1', '--min-seconds', '0', '-n', '3', '--num-steps', '2', '--strategy', 'ar']
run = Run(*answers, '--answers', 'answers')
names = os.listdir('answers')
check('bench --answers', run.code == 0 and len(names) == 1 and is_lines(get('answers/' + names[0])), run.err, names)
put('answers/' + names[0], old)
run = Run(*answers, '--answers', 'answers', limit=20)
check('bench --answers: a file size limit', limits_kill or run.code == 1 and 'writing failed: File too large' in run.err and get('answers/' + names[0]) == old and
      os.listdir('answers') == names, run.code, run.err)
os.rename('questions.jsonl', 'answers/muninn-questions.jsonl')
run = Run(*[word.replace('questions.jsonl', 'answers/muninn-questions.jsonl') for word in answers], '--answers', 'answers')
check('bench --answers: its questions among them', run.code == 2 and 'is the input' in run.err, run.code, run.err)

# Costs that cannot be kept are a warning.
auto = ['generate', '-p', 'sort 2 8 :', '--num-steps', '4', '-n', '4', '--strategy', 'auto']
kept = lambda: [name for name in os.listdir('cache/muninn') if not name.startswith('ceiling-')]  # those are bench's
run = Run(*auto, limit=20)
check('costs: a file size limit', limits_kill or run.code == 0 and 'could not be stored' in run.err and kept() == [], run.code, run.err)
run = Run(*auto)
check('costs: kept', run.code == 0 and [n.startswith('costs-') for n in kept()] == [True], kept())

# ---- an output that is an input ----
shutil.copytree(model, 'copy')
os.symlink('copy', 'copy-link')
put('prompt', b'sort 2 8 :')
os.link('prompt', 'hard')
os.symlink('prompt', 'soft')
shutil.copy('copy/config.json', 'shape.json')


def refused(name, part, *command, files=('prompt', 'lines.jsonl', 'batch.jsonl', 'rows.jsonl', 'shape.json', 'copy/config.json',
                                         'copy/model.safetensors', 'copy/tokenizer.json')):
    before = [(os.stat(f).st_ino, get(f)) for f in files]
    listing = sorted(os.listdir('.'))
    run = Run(*command, stdin=open('prompt', 'rb'))
    check(f'{name}: {part}', run.code == 2 and run.out == b'' and run.err.count('\n') == 1 and part in run.err and listing == sorted(os.listdir('.')) and
          before == [(os.stat(f).st_ino, get(f)) for f in files], run.code, run.err)


for path in 'prompt', './prompt', 'hard', 'soft', tmp.name + '/copy/../prompt':
    refused('generate --trace', f'--trace {path}: is the input prompt', 'generate', '-f', 'prompt', '--trace', path)
    refused('trace --states', f'--states {path}: is the input prompt', 'trace', '-f', 'prompt', '--states', path)
refused('generate --trace', 'is the input on standard input', 'generate', '-f', '-', '--trace', 'hard')
refused('generate --trace', 'is the input batch.jsonl', 'generate', '--batch', 'batch.jsonl', '--trace', 'batch.jsonl')
refused('trace --results', 'is the input prompt', 'trace', '-f', 'prompt', '--results', 'prompt')
refused('trace', '--results ./new: is the file of --states, too', 'trace', '-p', 'x', '--results', './new', '--states', 'new')
refused('score --results', 'is the input lines.jsonl', 'score', '-f', 'lines.jsonl', '--results', './lines.jsonl')
refused('divergence --results', 'is the input texts.jsonl', 'divergence', '-f', 'texts.jsonl', '--weight-type', 'f32', '--results', './texts.jsonl')
refused('report -o', 'is the input rows.jsonl', 'report', 'rows.jsonl', '-o', tmp.name + '/rows.jsonl')
refused('bench --results', 'is the input lines.jsonl', 'bench', '--prompts', 'lines.jsonl', '--results', 'lines.jsonl')
refused('bench --results', 'is the input shape.json', 'bench', '--synthetic', 'shape.json', '--results', './shape.json')
for command, option in (('generate', '-p', 'x'), '--trace'), (('trace', '-p', 'x'), '--states'), (('trace', '-p', 'x'), '--results'), \
        (('score', '-f', 'lines.jsonl'), '--results'), (('bench',), '--results'), (('divergence', '-f', 'texts.jsonl', '--weight-type', 'f32'), '--results'):
    for file in 'config.json', 'model.safetensors', 'tokenizer.json':
        refused(f'{command[0]} {option}', f'copy/{file}: is the input copy-link/{file}', *command, '-m', 'copy-link', option, 'copy/' + file)

# What is refused for another reason leaves the old file alone, too.
put('kept', old)
for command in (('generate', '-p', 'x', '--num-steps', '4', '--draft-steps', '9', '--strategy', 'draft-verify', '--trace'),
                ('trace', '-p', 'x', '-n', '9999', '--results'), ('trace', '-p', 'x', '-n', '9999', '--states'), ('report', 'none.jsonl', '-o')):
    run = Run(*command, 'kept')
    check(f'{command[0]} {command[-1]}: refused settings', run.code in (2, 4) and get('kept') == old, run.code, run.err)

# A record of a trace that was cut off is left out by those who read it, like any other row.
lines = Run(*trace[:-2]).out
put('cut.jsonl', lines[:-40])
run = Run('report', 'cut.jsonl', '-o', 'page.html')
check('report: a trace that was cut off', run.code == 0 and 'is cut off and left out' in run.err and is_page(get('page.html')), run.code, run.err)

# ---- signals ----
slow = ['-p', 'x', '--num-steps', '256', '-n', '490', '--ignore-eos']
handled = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def start(*args, ignored=(), **more):
    def before():
        for number in handled:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    return subprocess.Popen([muninn, *args], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, preexec_fn=before, **more)


for number, code in handled.items():
    put('traced', old)
    with start('generate', *slow, '--trace', 'traced', stdout=subprocess.PIPE) as process:
        err = process.stderr.readline()  # the banner: the work has begun
        process.send_signal(number)
        out, rest = process.communicate()
    check(f'{number.name}: what there is is kept', process.returncode == code and b'interrupted' in rest and out and is_lines(get('traced')),
          process.returncode, rest)
    with start('generate', '-p', 'x', '--num-steps', '64', '-n', '40', '--ignore-eos', '--trace', 'traced', ignored=[number],
               stdout=subprocess.PIPE) as process:
        process.stderr.readline()
        process.send_signal(number)
        out, rest = process.communicate()
    check(f'{number.name}: stays ignored', process.returncode == 0 and b'interrupted' not in rest, process.returncode, rest)

# A reader that takes nothing: the first signal waits for the write, a second one does not.
put('padded.jsonl', b'{"context":"sort 2 8 :","continuation":" 2","pad":"%s"}\n' % (b'x' * 200000) * 6)
for first, second in (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, None):
    with start('score', '-f', 'padded.jsonl', '--num-steps', '2', '--parallel', '1', stdout=subprocess.PIPE) as process:
        out = process.stdout.read1(1000)
        time.sleep(0.5)
        process.send_signal(first)
        time.sleep(0.5)
        waits = process.poll() is None
        if second:
            process.send_signal(second)
            process.wait(20)
            check(f'{first.name}, {second.name}: ends at once', waits and process.returncode == -second, process.returncode)
        else:
            out += process.stdout.read()
            process.wait()
            check('a write that waits is finished', waits and process.returncode == 143 and is_lines(out), process.returncode, out[-100:])

# Killed: the old file stays.
put('traced', old)
with start('trace', *slow, '--results', 'traced', '--states', 'states', stdout=subprocess.DEVNULL) as process:
    process.stderr.readline()
    process.kill()
check('killed: the old file stays', get('traced') == old and not os.path.exists('states') and not [n for n in os.listdir('.') if n.startswith('.')])

sys.exit(failed > 0)
