#!/bin/sh
# Makes every table and picture of docs/depth.md from a model: scores held-out documents of models/corpus.py at several depths, traces some of
# them, keeps the results under bench/results/. From the repository's root:
#
#     bench/depth.sh [-m MODEL] [-c COUNT] [-t DOCUMENTS] [path/to/muninn]
#
# COUNT questions per task and size are scored [default: 40], DOCUMENTS per task traced [default: 3].
set -eu

model=${MUNINN_MODEL:-models/raven-tiny} count=40 documents=3
[ -n "${MUNINN_MODEL:-}" ] || [ ! -e models/raven-deep/model.safetensors ] || model=models/raven-deep
while getopts m:c:t: option; do
    case $option in
    m) model=$OPTARG ;;
    c) count=$OPTARG ;;
    t) documents=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
muninn=${1:-build/muninn}
results=bench/results/depth-$(basename "$model")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

python3 bench/depth.py lines "$count" >"$tmp/lines.jsonl"
echo "scoring $(wc -l <"$tmp/lines.jsonl") answers" >&2
"$muninn" score -m "$model" -f "$tmp/lines.jsonl" --num-steps 1,2,4,8,16,32 --group-by task -o jsonl >"$tmp/score.jsonl"

for task in prose add sub story hops let sum sums parity sort reverse count; do
    python3 bench/depth.py texts "$tmp/text-$task" "$task" 0 "$documents"
done
for text in "$tmp"/text-*.txt; do
    echo "tracing $(cat "$text")" >&2
    "$muninn" trace -m "$model" -f "$text" --raw --num-steps 32 --inits 2 --results "${text%.txt}.jsonl" >/dev/null 2>"$tmp/err" || { cat "$tmp/err" >&2 && exit 1; }
done
python3 bench/depth.py gather "$tmp/score.jsonl" "$tmp"/text-*.jsonl >"$results.jsonl"

# The two heat maps: a sum of twelve terms, and a story whose answer the model writes itself.
python3 bench/depth.py texts "$tmp/map" sum 12 1
"$muninn" trace -m "$model" -f "$tmp/map-0.txt" --raw --num-steps 32 --results "$results-sum.jsonl" >/dev/null
"$muninn" trace -m "$model" -p 'Kai has 53 keys and Max has 52 keys. How many keys do they have together?' -n 24 --num-steps 32 --results "$results-story.jsonl" >/dev/null
for map in sum story; do
    python3 bench/depth.py draw "$results-$map.jsonl" >"docs/depth-$map.svg"
done
python3 bench/depth.py fill docs/depth.md "$results.jsonl"
echo "docs/depth.md, docs/depth-sum.svg and docs/depth-story.svg are made from $results*.jsonl" >&2
