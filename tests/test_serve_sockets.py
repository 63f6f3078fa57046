"""muninn serve: nothing that clients do to their connections harms other clients.

Method: the built program on a shipped model, over plain sockets: bodies without an end, floods of headers, garbage,
halves of requests, several requests in one piece, and clients that go away at every moment. After each somebody else
is answered as `muninn generate` answers, and rows and connections of those who left are free again. Connections that
say nothing more are ended by the server after 20 s; the test collects them at its end, so that it waits once.
Usage: tests/test_serve_sockets.py path/to/muninn source_dir     (exit 77 without a Vulkan device or libmicrohttpd)
"""
import json
import random
import socket

import serving
from serving import PROMPT, Server, check, generate, request

server = Server('--parallel', '4', '--queue', '8', '--max-body', '64')
alone = generate(plain={'n': 9}, stopped={'n': 9, 'stop': '2'})
long = {'prompt': PROMPT, 'max_tokens': 480, 'ignore_eos': True}


def read(s):
    """What a server answers; b'' where it closes at once."""
    got = b''
    try:
        while piece := s.recv(65536):
            got += piece
    except (ConnectionResetError, BrokenPipeError):
        return b''
    serving.seen.append(got)
    return got


def raw(data):
    with server.open() as s:
        try:
            s.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            return b''
        return read(s)


def alive(what):
    check(f'{what}: others are served', server.one()['text'] == alone['plain']['text'])


# ---- requests that are too large, or in pieces ----

head = b'POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
got = raw(head + b'Content-Length: 999999999\r\n\r\n')
check('a body too large, said before', got.startswith(b'HTTP/1.1 413 ') and b'"body_too_large"' in got, got)
chunk = b'8000\r\n' + 0x8000 * b' ' + b'\r\n'
head += b'Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
got = raw(head + 3 * chunk + b'0\r\n\r\n')
check('a body too large, in pieces', got.startswith(b'HTTP/1.1 413 '), got)
check('a body without an end', raw(head + 20 * chunk) == b'')
body = json.dumps({'prompt': PROMPT, 'max_tokens': 9}).encode()
got = raw(head + b''.join(b'%x\r\n%c\r\n' % (1, c) for c in body) + b'0\r\n\r\n')
check('a body in pieces', got.startswith(b'HTTP/1.1 200 ') and
      json.loads(got.split(b'\r\n\r\n')[1])['choices'][0]['text'] == alone['plain']['text'], got)
get = b'GET /health HTTP/1.1\r\nHost: localhost\r\n'
raw(get + b''.join(b'X-%d: %s\r\n' % (i, 1000 * b'a') for i in range(1000)))
raw(get + b''.join(b'X-%d: a\r\n' % i for i in range(100000)))
raw(b'GET /' + 1000000 * b'a' + b' HTTP/1.1\r\n\r\n')
alive('a flood of headers')

# ---- garbage, halves, several ----

draw = random.Random(11)
good = request({'prompt': 'a', 'max_tokens': 1}, more='Connection: close\r\n')
left = []  # connections that the server is to end
for i in range(60):
    data = bytearray(good if i % 3 else draw.randbytes(200))
    for _ in range(draw.randrange(1, 6)):
        data[draw.randrange(len(data))] = draw.randrange(256)
    left.append(server.open())
    try:
        left[-1].sendall(bytes(data))
        left[-1].shutdown(socket.SHUT_WR)
    except OSError:
        pass
alive('garbage')
for i in range(30):
    left.append(server.open())
    left[-1].sendall(good[:len(good) * i // 30])
alive('halves of requests')
got = raw(request({'prompt': PROMPT, 'max_tokens': 9}) + get + b'\r\n' +
          request({'prompt': PROMPT, 'max_tokens': 9, 'stop': '2'}, more='Connection: close\r\n'))
places = [got.find(word) for word in (json.dumps(alone['plain']['text']).encode(), b'"ok"',
                                      json.dumps(alone['stopped']['text']).encode())]
check('pipelined: in order', got.count(b'HTTP/1.1 200 ') == 3 and 0 < places[0] < places[1] < places[2], got)

# ---- clients that go away: before the first token, in the middle of a stream, with a further request behind ----

scored = {'prompt': 20 * [7], 'max_tokens': 0, 'echo': True, 'logprobs': 2}
likely = server.complete(**scored)['choices']
for what, body, more, first in (('waiting', {**long, 'n': 8}, b'', False),
                                ('mid-stream', {**long, 'stream': True}, b'', True),
                                ('with a request behind', {**long, 'n': 4}, good, False),
                                ('to be scored', {**long, 'logprobs': 1}, b'', False),
                                ('being scored', {**scored, 'prompt': 11 * [500 * [9]]}, b'', False)):
    before = server.figures()
    with server.open() as s:
        s.sendall(request(body) + more)
        if first:
            check(f'{what}: it has begun', s.recv(4096).startswith(b'HTTP/1.1 200 '))
        else:
            server.until(f'{what}: it runs', lambda f: f['muninn_sequences_open'] >= 1)
    server.until(f'gone, {what}: its rows are free',
                 lambda f: f['muninn_sequences_open'] == f['muninn_sequences_decoding'] == 0)
    cancelled = [figures['muninn_cancelled_total'] for figures in (before, server.figures())]
    check(f'gone, {what}: cancelled', cancelled[1] == cancelled[0] + 1, cancelled)
alive('clients that went away')
check('a score after one that was given up', server.complete(**scored)['choices'] == likely)
for s in left:
    with s:
        read(s)  # until the server ends it
alive('connections that were given up')
check('SIGTERM', server.end() == 0)
serving.finish()
