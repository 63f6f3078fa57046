#!/usr/bin/env python3
"""Goal: tables in docs that a program makes are what it makes. Method: run it and look for its output in the page, line by line.

usage: test_tables.py source_dir build_dir"""
import os, subprocess, sys

build = os.path.abspath(sys.argv[2])
os.chdir(sys.argv[1])
TABLES = [('docs/portability.md', ['bench/vendors.py', 'table', 'bench/results/2026-11-29-mesa-26.2.6-pipelines.jsonl']),
          ('docs/roofline.md', ['bench/roofline.py', 'table']), ('docs/roofline.md', ['bench/roofline.py', 'cards'])]
if os.path.exists(build + '/test_odd_devices'): # not on systems whose linker cannot wrap functions
    TABLES.append(('docs/portability.md', [build + '/test_odd_devices', 'table']))
failed = 0
for page, command in TABLES:
    program = [sys.executable] if command[0].endswith('.py') else []
    made = subprocess.run([*program, *command], capture_output=True, text=True, check=True).stdout
    good = len(made) > 200 and made in open(page).read()
    failed += not good
    print(f'{"ok     " if good else "FAILED "} {page}: {" ".join(command)}')
sys.exit(bool(failed))
