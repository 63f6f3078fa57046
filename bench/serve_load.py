#!/usr/bin/env python3
"""Puts `muninn serve` under load and prints what came of it: throughput, times, memory; and checks every token.

A number of clients, each with a connection of its own, asks for streams one after another, for a given time. What they
ask for is drawn from a fixed seed: prompts of the shipped models' tasks, half of them greedy, half sampled with a seed;
what they must get is what `muninn generate` gives for each alone, by plain decoding. A text, an id or a status that
differs is counted as wrong, and the exit code is 1. With --leave N every N-th request is given up after its first
piece.

The clients run on the same machine and take a part of it: Python's threads, a few percent of a core at these rates.

usage: bench/serve_load.py [--muninn build/muninn] [--model models/raven-tiny] [--num-steps 8] [--clients 1,2,4]
           [--strategy ar,wavefront] [--seconds 10 | --requests N] [--max-tokens 32] [--seed 1] [--leave N]
           [--server-options '--parallel 16'] [-o md|jsonl]"""
import argparse
import http.client
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time


def options():
    p = argparse.ArgumentParser(usage=__doc__.partition('usage: ')[2])
    p.add_argument('--muninn', default='build/muninn')
    p.add_argument('--model', default='models/raven-tiny')
    p.add_argument('--num-steps', type=int, default=8)
    p.add_argument('--clients', default='1,2,4')
    p.add_argument('--strategy', default='ar')
    p.add_argument('--seconds', type=float, default=10)
    p.add_argument('--requests', type=int, help='of each client, instead of --seconds')
    p.add_argument('--max-tokens', type=int, default=32)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--leave', type=int, default=0)
    p.add_argument('--server-options', default='')
    p.add_argument('-o', '--output', choices=('md', 'jsonl'), default='md')
    return p.parse_args()


# ---- what is asked for ----

def draw_requests(seed, max_tokens):
    """48 bodies of requests, but for the strategy."""
    draw = random.Random(seed)
    for i in range(48):
        digits = ' '.join(str(draw.randrange(10)) for _ in range(draw.randrange(4, 24)))
        body = {'prompt': f'{draw.choice(("sort", "reverse", "parity"))} {digits} :', 'ignore_eos': True,
                'max_tokens': draw.randrange(max_tokens // 2, max_tokens + 1)}
        yield {**body, 'temperature': 0.8, 'seed': draw.randrange(1000)} if i % 2 else body


def expected(o, bodies):
    """(ids, text) of each, by `muninn generate`."""
    names = {'prompt': 'prompt', 'ignore_eos': 'ignore_eos', 'max_tokens': 'n', 'temperature': 'temp', 'seed': 'seed'}
    lines = ''.join(json.dumps({names[key]: value for key, value in body.items()}) + '\n' for body in bodies)
    done = subprocess.run([o.muninn, 'generate', '-q', '-m', o.model, '--num-steps', str(o.num_steps), '--batch', '-',
                           '--parallel', '1', '-o', 'json'], input=lines, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if 'index' in row]
    return [(row['tokens'], row['text']) for row in sorted(rows, key=lambda row: row['index'])]


# ---- the server ----

class Server:
    def __init__(self, o):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([o.muninn, 'serve', '-m', o.model, '--port', '0', '--num-steps',
                                         str(o.num_steps), '--queue', '256', *shlex.split(o.server_options)],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        while not (found := re.search(rb'listening on http://127\.0\.0\.1:(\d+)', self.said())):
            if self.process.poll() is not None:
                sys.exit(self.said().decode())
            time.sleep(0.05)
        self.port = int(found[1])

    def said(self):
        return os.pread(self.log.fileno(), 1 << 20, 0)

    def state(self):
        """Resident memory in MiB, threads, open files."""
        pid = self.process.pid
        with open(f'/proc/{pid}/status') as f:
            status = dict(line.split(':', 1) for line in f)
        return {'rss_mib': int(status['VmRSS'].split()[0]) / 1024, 'threads': int(status['Threads']),
                'files': len(os.listdir(f'/proc/{pid}/fd'))}

    def figure(self, name):
        connection = http.client.HTTPConnection('127.0.0.1', self.port)
        connection.request('GET', '/metrics')
        text = connection.getresponse().read().decode()
        connection.close()
        return float(re.search(rf'^muninn_{name} (\S+)$', text, re.M)[1])

    def rest(self):
        """state() when nobody is served and connections that were closed are gone."""
        while self.figure('sequences_open') > 0:
            time.sleep(0.1)
        states = []
        for _ in range(5):
            time.sleep(0.1)
            states.append(self.state())
        return {name: min(state[name] for state in states) for name in states[0]}


# ---- clients ----

class Client(threading.Thread):
    def __init__(self, number, server, o, strategy, work):
        super().__init__()
        self.o, self.server, self.strategy, self.work = o, server, strategy, work
        self.draw = random.Random(o.seed * 1000 + number)
        self.latencies, self.firsts, self.wrong = [], [], []
        self.n_tokens = self.n_left = 0

    def run(self):
        self.connection = http.client.HTTPConnection('127.0.0.1', self.server.port, timeout=600)
        begun, n = time.monotonic(), 0
        while n < self.o.requests if self.o.requests else time.monotonic() - begun < self.o.seconds:
            n += 1
            which = self.draw.randrange(len(self.work))
            try:
                self.ask(*self.work[which], leave=self.o.leave and n % self.o.leave == 0)
            except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
                self.wrong.append(f'{self.work[which][0]}: {error!r}')
                self.connection.close()
        self.connection.close()

    def ask(self, body, want, leave):
        body = {**body, 'strategy': self.strategy, 'stream': True, 'return_token_ids': True}
        begun = time.monotonic()
        self.connection.request('POST', '/v1/completions', json.dumps(body), {'Content-Type': 'application/json'})
        answer = self.connection.getresponse()
        if answer.status != 200:
            raise ValueError(f'{answer.status} {answer.read()}')
        text, ids = '', None
        for line in answer:
            if not line.startswith(b'data: {'):
                continue
            choice = json.loads(line[6:])['choices'][0]
            if not text:
                self.firsts.append(time.monotonic() - begun)
            text += choice['text']
            ids = choice.get('token_ids', ids)
            if leave:
                self.n_left += 1
                return self.connection.close()
        self.latencies.append(time.monotonic() - begun)
        self.n_tokens += len(ids or [])
        if (ids, text) != want:
            self.wrong.append(f'{body}: {ids} {text!r}, not {want}')


# ---- all ----

def quantile(numbers, q):
    return sorted(numbers)[min(len(numbers) - 1, int(q * len(numbers)))] if numbers else float('nan')


def measure(server, o, strategy, n_clients, work):
    before = server.rest()
    passes = [server.figure(f'core_{name}_total') for name in ('passes', 'rows')]
    clients = [Client(i, server, o, strategy, work) for i in range(n_clients)]
    begun = time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    seconds = time.monotonic() - begun
    after = server.rest()
    passes = [server.figure(f'core_{name}_total') - old for name, old in zip(('passes', 'rows'), passes)]
    latencies, firsts = ([x for client in clients for x in getattr(client, name)] for name in ('latencies', 'firsts'))
    wrong = [text for client in clients for text in client.wrong]
    for text in wrong[:3]:
        print(f'WRONG: {text[:1000]}', file=sys.stderr)
    return {'strategy': strategy, 'clients': n_clients, 'seconds': round(seconds, 2), 'requests': len(latencies),
            'left': sum(client.n_left for client in clients), 'wrong': len(wrong),
            'tokens_per_s': round(sum(client.n_tokens for client in clients) / seconds, 1),
            'latency_p50_ms': round(1e3 * quantile(latencies, 0.5), 1),
            'latency_p95_ms': round(1e3 * quantile(latencies, 0.95), 1),
            'first_p50_ms': round(1e3 * quantile(firsts, 0.5), 1),
            'first_p95_ms': round(1e3 * quantile(firsts, 0.95), 1),
            'rows_per_pass': round(passes[1] / passes[0], 2) if passes[0] else 0.0,
            'rss_mib': [round(state['rss_mib'], 1) for state in (before, after)],
            'threads': [state['threads'] for state in (before, after)],
            'files': [state['files'] for state in (before, after)]}


def table_row(row, first):
    cells = [' to '.join(map(str, value)) if isinstance(value, list) else str(value) for value in row.values()]
    head = '| ' + ' | '.join(row).replace('_', ' ') + ' |\n|' + '---|' * len(row) + '\n' if first else ''
    return head + '| ' + ' | '.join(cells) + ' |'


def main():
    o = options()
    bodies = list(draw_requests(o.seed, o.max_tokens))
    work = list(zip(bodies, expected(o, bodies)))
    server = Server(o)
    n_wrong = n_rows = 0
    try:
        for strategy in o.strategy.split(','):
            for n_clients in map(int, o.clients.split(',')):
                row = measure(server, o, strategy, n_clients, work)
                n_wrong += row['wrong']
                print(json.dumps(row) if o.output == 'jsonl' else table_row(row, n_rows == 0), flush=True)
                n_rows += 1
    finally:
        server.process.terminate()
    code = server.process.wait()
    if code:
        print(f'the server ended with {code}: {server.said().decode()}', file=sys.stderr)
    return 1 if n_wrong or code else 0


if __name__ == '__main__':
    sys.exit(main())
