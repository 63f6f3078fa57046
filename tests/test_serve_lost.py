"""muninn serve: when the device is lost everybody is answered with 503, and the process ends with exit code 5.

Method: the program linked with tests/lost_device.c, which loses the device at SIGUSR1: while nobody is served, while
texts are streamed, read and waiting, and while log-probabilities are computed. What a stream had sent before is how
`muninn generate` begins.
Usage: tests/test_serve_lost.py path/to/muninn_lost source_dir     (exit 77 without a Vulkan device or libmicrohttpd)
"""
import json
import signal
import threading

import serving
from serving import PROMPT, Server, check, refused, request

LOST = 5
long = {'prompt': PROMPT, 'max_tokens': 480, 'ignore_eos': True}
alone = serving.generate(long={'n': 480, 'ignore_eos': True})['long']


def ended(what, server):
    check(f'{what}: exit code', server.process.wait() == LOST, server.process.returncode)
    said = server.said().decode()
    errors = [line for line in said.splitlines() if 'device lost' in line or 'DEVICE_LOST' in line]
    check(f'{what}: the log says it once', len(errors) == 1, said)


def lose(server):
    server.process.send_signal(signal.SIGUSR1)


# ---- nobody is served; what comes next finds out ----

for what, body in ('a text', {'max_tokens': 9}), ('log-probabilities', {'max_tokens': 0, 'echo': True, 'logprobs': 1}):
    server = Server('--parallel', '2')
    check(f'{what}: before', server.complete(prompt=PROMPT, **body)['choices'])
    lose(server)
    refused(f'{what}: after', server.post('/v1/completions', {'prompt': PROMPT[:-4], **body}), 503, None,
            'device_lost')
    ended(what, server)

# ---- streams, texts that are waited for, and texts that wait for a place ----

server = Server('--parallel', '2', '--queue', '8')
answers = []
asking = [threading.Thread(target=lambda: answers.append(server.post('/v1/completions', {**long, 'n': 2})))
          for _ in range(2)]
with server.open() as s:
    s.sendall(request({**long, 'stream': True, 'n': 6}, more='Connection: close\r\n'))
    got = s.recv(4096)
    check('a stream has begun', got.startswith(b'HTTP/1.1 200 '), got)
    for thread in asking:
        thread.start()
    server.until('all are there', lambda f: f['muninn_sequences_open'] == 10)
    lose(server)
    while piece := s.recv(65536):
        got += piece
for thread in asking:
    thread.join()
serving.seen.append(got)
events = [line[6:] for line in got.decode().splitlines() if line.startswith('data: ')]
pieces = [json.loads(event)['choices'][0] for event in events[:-1]]
for i in range(6):
    text = ''.join(piece['text'] for piece in pieces if piece['index'] == i)
    check(f'what was streamed is how the text begins: {i}', alone['text'].startswith(text), text, alone['text'])
check('something was streamed', pieces and pieces[0]['text'], got)
error = json.loads(events[-1]).get('error', {})
check('the stream says why it ends', error.get('code') == 'device_lost' and error['type'] == 'server_error', error)
for got in answers:
    refused('a text that others waited for', got, 503, None, 'device_lost')
ended('in the middle', server)
serving.finish()
