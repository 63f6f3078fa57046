#!/bin/sh
# The sweep of raven-tiny that bench/results/ holds: strategies x K x L, some lossy settings, batches, and every kernel. It goes on
# where it was when it is started again with the same file.
#
#     sh bench/raven_tiny_sweep.sh build/muninn bench/results/DATE-DEVICE-raven-tiny.jsonl
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 path/to/muninn RESULTS.jsonl" >&2
    exit 2
fi
bench() {
    "$muninn" bench -m "$(dirname "$0")/../models/raven-tiny" -n 48 --results "$results" --resume "$@" >/dev/null
}
muninn=$1
results=$2
bench --strategy ar,draft-verify,wavefront,auto --draft-steps 1,2,3,4,5,8 --lookahead 1,3,7,15
bench --strategy ar,draft-verify,wavefront,diffusion --draft-steps 2,4 --lookahead 7 --kv-policy share:4
bench --strategy ar,draft-verify,wavefront --draft-steps 4 --lookahead 7 --batch 2,4,8
bench --kernels
"$muninn" merge -o md "$results"
