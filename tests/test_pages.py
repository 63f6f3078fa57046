#!/usr/bin/env python3
"""Goal: manual pages and completion scripts, made from the option tables, have every option of every command and work.

Method: what `muninn COMMAND --help` lists is compared with what completion proposes in bash, zsh (at a pseudo terminal) and fish, and with
the manual pages, which man and mandoc render without a warning. A shell or tool that is not there is left out, with a line; so the test
passes on any system that has bash.
usage: test_pages.py path/to/muninn"""
import os, pty, re, shutil, signal, subprocess, sys, tempfile

muninn = os.path.abspath(sys.argv[1])
top = tempfile.TemporaryDirectory()
os.chdir(top.name)
os.makedirs('models/raven')
open('rows.jsonl', 'w').close()
passed, failed = 0, []

def check(name, true, *shown):
    global passed
    passed += bool(true)
    if not true:
        failed.append(name)
        print('FAILED ', name, *shown, sep='\n        ')

def output(*arguments, **more):
    done = subprocess.run(arguments, capture_output=True, text=True, **more)
    check(' '.join(arguments[:4]), done.returncode == 0 and not done.stderr, done.returncode, done.stderr)
    return done.stdout

def has(tool):
    if not shutil.which(tool):
        print(f'left out: there is no {tool}')
    return shutil.which(tool)

commands = re.findall(r'^  ([a-z]+) +[A-Z]', output(muninn, 'help').split('Options:')[0], re.M)
commands.remove('help')
options = {c: re.findall(r'^  (?:-[a-z],|   ) (--[a-z0-9-]+)', output(muninn, c, '--help'), re.M) for c in commands}
check('there is something to look for', len(commands) > 10 and len(options['generate']) > 40, options)
# What is typed, and all that can come next.
typed = [(['gen'], ['generate']), (['generate', '--looka'], ['--lookahead']), (['generate', '--strategy', 'wa'], ['wavefront']),
         (['bench', '--strategy', 'ar,wa'], ['ar,wavefront']), (['generate', '-o', 'j'], ['json']), (['completion', 'z'], ['zsh']),
         (['report', 'ro'], ['rows.jsonl']), (['report', '--ti'], ['--title']), (['generate', '-m', 'mod'], ['models']),
         (['generate', '-f', 'ro'], ['rows.jsonl']), (['help', 'sel'], ['selftest']), (['man', 'tok'], ['tokenize'])]

# ---- bash ----

script = output(muninn, 'completion', 'bash')
open('bash', 'w').write(script)
output('bash', '-n', 'bash')

def in_bash(words):
    code = '. ./bash; COMP_WORDS=(muninn "$@"); COMP_CWORD=$#; _muninn; printf "%s\\n" "${COMPREPLY[@]}"'
    return output('bash', '-c', code, 'bash', *words).split()

for words, next_words in typed + [(['generate', '--strategy', '=', 'wa'], ['wavefront']), (['completion', ''], ['bash', 'zsh', 'fish']),
                                  (['generate', '-p', ''], [])]:
    check(f'bash: {" ".join(words)}', in_bash(words) == next_words, in_bash(words))
for command in commands:
    check(f'bash: options of {command}', in_bash([command, '--']) == options[command], in_bash([command, '--']))
check('bash: commands', in_bash(['']) == commands + ['help', '--help', '--version'], in_bash(['']))

# ---- fish ----

script = output(muninn, 'completion', 'fish')
open('fish', 'w').write(script)
if has('fish'):
    output('fish', '-n', 'fish')

    def in_fish(*lines):
        text = output('fish', '--no-config', '-c', 'source fish; for line in $argv; complete -C $line; echo :; end', *lines)
        return [[line.split('\t')[0] for line in block.splitlines()] for block in text.split(':\n')[:-1]]

    for (words, next_words), found in zip(typed, in_fish(*('muninn ' + ' '.join(w) for w, _ in typed))):
        check(f'fish: {" ".join(words)}', [w.rstrip('/') for w in found] == next_words, found)
    for command, found in zip(commands, in_fish(*(f'muninn {c} --' for c in commands))):
        check(f'fish: options of {command}', sorted(found) == sorted(options[command]), found)
    check('fish: commands', sorted(in_fish('muninn ')[0]) == sorted(commands + ['help']), in_fish('muninn '))

# ---- zsh ----

script = output(muninn, 'completion', 'zsh')
open('_muninn', 'w').write(script)
if has('zsh'):
    output('zsh', '-n', '_muninn')
    for command in commands:
        block = script.split(f'\n    {command})\n')[1].split(';;\n')[0]
        found = re.findall(r'(?:,|^ +\'(?:\*\'\')?)(--[a-z0-9-]+)(?:\}\'|)\[', block, re.M)
        check(f'zsh: options of {command}', found == options[command], found)
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe('zsh', ['zsh', '-f', '-i'], dict(os.environ, TERM='dumb', PS1='% '))
    signal.alarm(300) # a shell that never answers ends the test
    # A key that shows the line between brackets that nothing else prints.
    setup = "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D; show() { print -r -- $'\\x02'\"$BUFFER\"$'\\x03' }; zle -N show; bindkey '^X' show\n"
    os.write(terminal, setup.encode())
    text = ''
    for words, next_words in typed:
        os.write(terminal, f'\x15muninn {" ".join(words)}\t\x18'.encode())
        while '\x03' not in text:
            text += os.read(terminal, 65536).decode(errors='replace')
        line, text = text.split('\x02')[-1].split('\x03')
        check(f'zsh: {" ".join(words)}', line.rstrip(' ,/') == ' '.join(['muninn'] + words[:-1] + next_words), line)
    os.close(terminal)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    signal.alarm(0)

# ---- manual pages ----

os.mkdir('man1')
for name, page in [('muninn', output(muninn, 'man'))] + [('muninn-' + c, output(muninn, 'man', c)) for c in commands]:
    open(f'man1/{name}.1', 'w').write(page)
    plain = page.replace('\\-', '-')
    names = re.findall(r'\\fB(--[a-z0-9-]+)\\fR', plain)
    check(f'man {name}: its options', names == (options[name[7:]] if name != 'muninn' else ['--help', '--version']), names)
    check(f'man {name}: exit codes', 'no usable device' in plain)
check('man muninn: all commands', all(f'muninn\\-{c}\\fR(1)' in open('man1/muninn.1').read() for c in commands))
if has('man') and has('groff'):
    for page in sorted(os.listdir('man1')):
        done = subprocess.run(['man', '--warnings', '-l', '-E', 'UTF-8', 'man1/' + page], capture_output=True, text=True,
                              env=dict(os.environ, MANWIDTH='80', LC_ALL='C.UTF-8'))
        check(f'man {page}: no warning', done.returncode == 0 and not done.stderr and 'EXIT STATUS' in done.stdout, done.stderr)
if has('mandoc'):
    for page in sorted(os.listdir('man1')):
        lint = subprocess.run(['mandoc', '-T', 'lint', '-W', 'warning', 'man1/' + page], capture_output=True, text=True).stdout
        # A date would be that of the build, and two builds of one commit would differ.
        lint = [line for line in lint.splitlines() if 'missing date' not in line]
        check(f'mandoc {page}: no warning', not lint, *lint)
for command, line in (('completion', 'one shell is needed: bash, zsh or fish'),
                      ('completion fsh', "no script for 'fsh': must be one of bash, zsh and fish"), ('man genrate', "unknown command 'genrate' (did you mean generate?)")):
    done = subprocess.run([muninn, *command.split()], capture_output=True, text=True)
    check(command, done.returncode == 2 and not done.stdout and line in done.stderr and done.stderr.count('\n') == 1, done.stderr)

print(f'{passed} passed, {len(failed)} failed')
sys.exit(bool(failed))
