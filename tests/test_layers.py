#!/usr/bin/env python3
"""Goal: the folders are layers. Method: every #include "folder/file.h" is an arrow from folder to folder; there must be no circle, nothing
above engine/ may reach <vulkan/vulkan.h>, and includes name their folder. api/muninn.h is the floor: it includes nothing of ours, and
everybody may include it. Programs (cli/, bench/) see the public header, what reads and writes files (engine/base, engine/files) and the
self-test, so that whatever they do others can do with the library; messages of the library name parameters, not a program's options. What
belongs to one kind of operating system is asked in files of that name, X_posix.c and X_windows.c: everything else
includes headers of C, of a library or of ours, and asks for no system.

usage: test_layers.py SOURCE_DIR [--draw]     (--draw prints the folder graph)"""
import os, re, subprocess, sys

os.chdir(sys.argv[1])
files = [os.path.join(d, f) for d, _, fs in os.walk('.') for f in fs if f.endswith(('.c', '.h'))]
files = {os.path.relpath(f) for f in files if not f.startswith(('./build', './.')) and '/tests/' not in f}
includes = {f: re.findall(r'^#include ["<]([^">]+)[">]', open(f).read(), re.M) for f in files}
wrong = [f'{f}: "{i}" does not name its folder' for f in files for i in includes[f]
         if '/' not in i and any(g.endswith('/' + i) for g in files)]
floor = 'api/muninn.h'
wrong += [f'{floor} includes {i}' for i in includes[floor] if i in files]
arrows = {}  # folder -> folder -> an example
for f in files:
    for i in includes[f]:
        if i in files and i != floor and os.path.dirname(i) != os.path.dirname(f):
            arrows.setdefault(os.path.dirname(f), {}).setdefault(os.path.dirname(i), f'{f} includes {i}')

def circle(path):
    for to in arrows.get(path[-1], {}):
        if to in path or (found := circle(path + [to])):
            return path[path.index(to):] + [to] if to in path else found

for folder in arrows:
    if not wrong and (found := circle([folder])):
        wrong += ['circle: ' + ' -> '.join(found)] + ['  ' + arrows[a][b] for a, b in zip(found, found[1:])]

library = ('api/', 'engine/', 'cache/', 'spec/', 'analysis/', 'reference/')
wrong += [f'{f}: {text} names an option of the command line: name the parameter' for f in sorted(files) if f.startswith(library)
          for text in re.findall(r'"(?:[^"\\\n]|\\.)*"', open(f).read()) if re.search(r'--[a-z]', text)]
visible = ('api/muninn.h', 'engine/base/', 'engine/files/', 'reference/selftest.h', 'reference/promises.h', 'cli/', 'bench/')
wrong += [f'{f} includes {i}' for f in sorted(files) if f.startswith(('cli/', 'bench/'))
          for i in includes[f] if i in files and not i.startswith(visible)]

wrong += [f'{f} includes {i}: a session is opaque there' for f in sorted(files) for i in includes[f]
          if i.endswith('session_internal.h') and not f.startswith('engine/model/')]

of_c = {f'{h}.h' for h in (
    'assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic '
    'stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype').split()}
of_libraries = {'cjson/cJSON.h', 'getopt.h', 'pcre2.h', 'utf8proc.h', 'vulkan/vulkan.h'}
for f in sorted(files):
    if f.endswith(('_posix.c', '_windows.c', '_windows.h')):
        continue
    text = open(f).read()
    wrong += [f'{f} includes <{i}>, which not every system has: X_posix.c and X_windows.c are where systems differ'
              for i in re.findall(r'^ *# *include <([^>]+)>', text, re.M) if i not in of_c | of_libraries]
    wrong += [f'{f}: {line}: X_posix.c and X_windows.c are where systems differ' for line in text.splitlines()
              if re.match(r' *# *(el)?if.*(_WIN|__linux|__unix|__APPLE|_POSIX|__GLIBC)', line)]

def reaches_vulkan(f, seen):
    return any('vulkan/vulkan.h' in i or (i in files and i not in seen and not seen.add(i) and reaches_vulkan(i, seen)) for i in includes[f])

wrong += [f'{f} reaches <vulkan/vulkan.h>' for f in sorted(files) if not f.startswith('engine/') and reaches_vulkan(f, {f})]
if '--draw' in sys.argv:
    print('\n'.join(f'{a} -> {", ".join(sorted(arrows[a]))}' for a in sorted(arrows)))
print('\n'.join(wrong) or f'{len(files)} files in {len({os.path.dirname(f) for f in files})} folders: no circle')
sys.exit(bool(wrong))
