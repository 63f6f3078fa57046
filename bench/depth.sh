#!/bin/sh
# Makes every table and picture of docs/depth.md from a model: scores held-out documents of models/corpus.py at several depths, traces some of
# them, keeps the results under bench/results/. From the repository's root:
#
#     bench/depth.sh [-m MODEL] [-c COUNT] [path/to/muninn]
#
# COUNT documents per task and size are scored [default: 60].
set -eu

model=${MUNINN_MODEL:-models/raven-tiny} count=60
while getopts m:c: option; do
    case $option in
    m) model=$OPTARG ;;
    c) count=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
muninn=${1:-build/muninn}
results=bench/results/depth-$(basename "$model")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

corpus() { python3 models/corpus.py --split held-out "$@"; }
# each COMMAND...: runs it for every task and size, whose names are $task and $size
each() {
    for task in add sub story sort reverse count sums; do
        size='' && "$@"
    done
    for size in 1 2 3 4 5 6 7 8; do
        task=hops && "$@"
        task=let && "$@"
        [ "$size" -lt 2 ] || { task=sum && "$@"; }
        [ "$size" -lt 6 ] || { task=parity && "$@"; } # of shorter ones next to none are held out
    done
}
# shellcheck disable=SC2086
lines() { corpus --task "$task" ${size:+--size $size} --count "$count" --seed 1 | python3 bench/depth.py lines "$task${size:+ $size}" >>"$tmp/lines.jsonl"; }

each lines
echo "scoring $(wc -l <"$tmp/lines.jsonl") answers" >&2
"$muninn" score -m "$model" -f "$tmp/lines.jsonl" --num-steps 1,2,4,8,16,32 --group-by task -o jsonl >"$tmp/score.jsonl"

for task in prose add sub story hops let sum sums parity sort reverse count; do
    corpus --task "$task" --count 3 --seed 2 | python3 bench/depth.py texts "$tmp/text-$task"
done
for text in "$tmp"/text-*.txt; do
    echo "tracing $(cat "$text")" >&2
    "$muninn" trace -m "$model" -f "$text" --num-steps 32 --inits 2 --results "${text%.txt}.jsonl" >/dev/null 2>"$tmp/err" || { cat "$tmp/err" >&2 && exit 1; }
done
python3 bench/depth.py gather "$tmp/score.jsonl" "$tmp"/text-*.jsonl >"$results.jsonl"

# The two heat maps: a walk over a map, and a story whose answer the model writes itself.
corpus --task hops --size 4 --count 1 --seed 3 | python3 bench/depth.py texts "$tmp/map"
"$muninn" trace -m "$model" -f "$tmp/map-0.txt" --num-steps 32 --results "$results-hops.jsonl" >/dev/null
"$muninn" trace -m "$model" -p 'Kai has 53 keys and Max has 52 keys. How many keys do they have together?' -n 24 --num-steps 32 --results "$results-story.jsonl" >/dev/null
for map in hops story; do
    python3 bench/depth.py draw "$results-$map.jsonl" >"docs/depth-$map.svg"
done
python3 bench/depth.py fill docs/depth.md "$results.jsonl"
echo "docs/depth.md, docs/depth-hops.svg and docs/depth-story.svg are made from $results*.jsonl" >&2
