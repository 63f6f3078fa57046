"""muninn serve under load, in short: no wrong token, and nothing is kept of clients that are gone.

Method: bench/serve_load.py as a module: eight clients, two strategies, every fifth stream given up in the middle, the
same over and over. Afterwards the server has the threads and the open files that it had before, and its memory has
stopped growing. That the comparison sees a wrong token is shown with an expectation that is wrong.
Usage: tests/test_serve_load.py path/to/muninn source_dir     (exit 77 without a Vulkan device or without libmicrohttpd)
"""
import contextlib
import io
import os
import sys

import serving
from serving import STEPS, check, environment, muninn, source, tiny

sys.path.insert(0, f'{source}/bench')
import serve_load  # noqa: E402

GROWTH_MIB = 4  # of 80 requests; an answer that was kept whole, with its events, would be 10 KiB
sys.argv[1:] = ['--muninn', muninn, '--model', tiny, '--num-steps', str(STEPS), '--requests', '5', '--leave', '5',
                '--max-tokens', '16', '--server-options', '--parallel 8']
os.environ.update(environment)
o = serve_load.options()
bodies = list(serve_load.draw_requests(o.seed, o.max_tokens))
work = list(zip(bodies, serve_load.expected(o, bodies)))
check('what is expected is of some length', sum(len(ids) for _, (ids, _) in work) > 300)
server = serve_load.Server(o)
rows = [serve_load.measure(server, o, strategy, 8, work) for strategy in ('ar', 'wavefront') * 3]
for row in rows:
    check(f'{row["strategy"]}: all are served, and no token is wrong', row['wrong'] == 0 and row['requests'] == 32 and
          row['left'] == 8, row)
    check(f'{row["strategy"]}: threads', row['threads'][0] == row['threads'][1], row)
    check(f'{row["strategy"]}: open files', row['files'][1] <= row['files'][0], row)
grown = rows[-1]['rss_mib'][1] - rows[1]['rss_mib'][1]
check(f'memory: {grown:.1f} MiB more than after the first round', grown <= GROWTH_MIB, rows)
wrong = [(body, (ids[:-1] + [ids[-1] ^ 1], text)) for body, (ids, text) in work]
with contextlib.redirect_stderr(io.StringIO()) as said:
    row = serve_load.measure(server, o, 'ar', 2, wrong)
check('a wrong token is seen', row['wrong'] == row['requests'] == 8 and said.getvalue().startswith('WRONG: '), row)
server.process.terminate()
check('SIGTERM', server.process.wait() == 0)
serving.finish()
