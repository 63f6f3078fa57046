#!/bin/sh
# Makes docs/quantisation.md: what other weight and cache types do to the answers of the two small models. Predictions on held-out documents
# (`muninn divergence`), accuracy per task (`score`), exit steps (`trace`) and acceptance of drafts (`bench`); rows go to
# bench/results/quantisation-MODEL.jsonl, tables from there into the page. From the repository's root:
#
#     bench/quantisation.sh [-m MODELS] [-t TYPES] [-x MORE] [-g GROUPS] [-k CACHES] [-c COUNT] [-w WORK] [path/to/muninn]
#
# Lists have commas between. The first of TYPES is the reference, as is f32 of caches; CACHES are all others unless given; of MORE types only
# predictions are compared; GROUPS of matrices are put into q4_1 one at a time. COUNT: documents per task and size. It goes on where it was when
# it is started again with the same WORK folder [default: build/quantisation], and takes about ten minutes of one core.
set -eu

models=models/raven-deep,models/raven-tiny types=bf16,q8_0,q4_1,q4_1+all=q4_1 more=q4_1+coda=q8_0 caches= count=2 work=build/quantisation
groups=embedding,adapter,prelude,core,core.attn.qkv,core.attn.proj,core.mlp.fc,core.mlp.proj,coda
while getopts m:t:x:g:k:c:w: option; do
    case $option in
    m) models=$OPTARG ;;
    t) types=$OPTARG ;;
    x) more=$OPTARG ;;
    g) groups=$OPTARG ;;
    k) caches=$OPTARG ;;
    c) count=$OPTARG ;;
    w) work=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
muninn=${1:-build/muninn}
steps=1,2,4,8,16,32
reference=${types%%,*}
[ -n "$caches" ] || caches=$("$muninn" divergence --help | sed -n 's/.*--reference-kv-type \([^ ]*\).*/\1/p' | tr '|' '\n' | grep -v '^f32$' | paste -s -d, -)

words() { echo "$1" | tr ',' ' '; }
n_of() { words "$1" | wc -w; }

# Seconds of a core, roughly: what a step costs is only known for the time that is left to be shown.
cost_divergence=$((4 * count)) cost_score=$((9 * count)) cost_trace=$((8 * count)) cost_bench=20
n_runs=$((1 + $(n_of "$types") + $(n_of "$caches")))
[ -z "$more" ] || n_runs=$((n_runs + $(n_of "$more")))
[ -z "$groups" ] || n_runs=$((n_runs + $(n_of "$groups")))
total=$(($(n_of "$models") * (n_runs * cost_divergence + $(n_of "$types") * (cost_score + cost_trace + cost_bench))))
spent=0 begun=$(date +%s)
echo "about $(((total + 59) / 60)) minutes of one core" >&2
# step NAME COST: says what is done next, and what is left by the time that the others took.
step() {
    now=$(date +%s)
    left=$((total - spent))
    [ "$spent" -eq 0 ] || left=$((left * (now - begun) / spent))
    echo "$1 ($((100 * spent / total)) %, about $left s left)" >&2
    spent=$((spent + $2))
}

mkdir -p "$work"
python3 bench/quantisation.py texts "$count" >"$work/texts.jsonl"
python3 bench/quantisation.py lines "$count" >"$work/lines.jsonl"
python3 bench/quantisation.py prompts "$count" >"$work/prompts.jsonl"
python3 bench/quantisation.py documents "$work/text" "$count"

for model in $(words "$models"); do
    here=$work/$(basename "$model")
    mkdir -p "$here"
    alone=${more:+,$more}
    for group in $(words "$groups"); do
        alone=$alone,$reference+$group=q4_1
    done
    divergence() { "$muninn" divergence -m "$model" -f "$work/texts.jsonl" --num-steps $steps --reference-weight-type "$reference" --results "$here/divergence.jsonl" --resume "$@" >/dev/null; }
    step "$model: predictions, weights $types$alone" $(((n_runs - $(n_of "$caches")) * cost_divergence))
    divergence --weight-type "$types$alone"
    step "$model: predictions, cache $caches" $(($(n_of "$caches") * cost_divergence))
    divergence --weight-type "$reference" --kv-type "$caches"
    for type in $(words "$types"); do
        mkdir -p "$here/$type"
        step "$model, $type: accuracy" $cost_score
        "$muninn" score -m "$model" -f "$work/lines.jsonl" --num-steps $steps --weight-type "$type" --results "$here/$type/score.jsonl" --resume >/dev/null
        step "$model, $type: exit steps" $cost_trace
        for text in "$work"/text-*.txt; do
            trace=$here/$type/trace-$(basename "$text" .txt).jsonl
            [ -e "$trace" ] || "$muninn" trace -m "$model" -f "$text" --num-steps 32 --weight-type "$type" --results "$trace" >/dev/null
        done
        step "$model, $type: drafts" $cost_bench
        "$muninn" bench -m "$model" --strategy draft-verify --draft-steps 1,2,4,8 --lookahead 3 --num-steps 32 --weight-type "$type" --prompts "$work/prompts.jsonl" --stop-at-eos -n 32 -r 1 \
            --min-seconds 0 --results "$here/$type/bench.jsonl" --resume >/dev/null
    done
    python3 bench/quantisation.py gather "$here" "$reference" >"$here.jsonl.part"
    mv "$here.jsonl.part" "bench/results/quantisation-$(basename "$model").jsonl"
done
python3 bench/quantisation.py fill docs/quantisation.md bench/results
echo "docs/quantisation.md is made from bench/results/quantisation-*.jsonl, in $(($(date +%s) - begun)) s" >&2
