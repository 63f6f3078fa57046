#!/bin/sh
# First contact with a GPU: what it computes, what it keeps of what is promised and how fast it is, in at most 8 minutes
# and without network. Leaves in OUT
#
#     results.jsonl   all rows                report.html    the page that `muninn report` makes of them
#     paragraph.txt   a paragraph to paste    log.txt        what every step printed
#
# To send back: the first three, and log.txt if something failed (docs/benchmarking.md).
#
# usage: bench/first_contact.sh [-t SECONDS] [-d DEVICE] [-p PROGRAM] [OUT]
#   -t SECONDS  most it may take [480]          -d DEVICE  number or part of a name, see `muninn devices` [the best one]
#   -p PROGRAM  muninn [build/muninn]           OUT        a folder without results [first-contact-TIME]
#
# Every step has a share of the time that is left and is ended behind it; what a step does not need, the others have.
# What fails is said, and the rest goes on. Models that need more memory than the device has are left out, and on a CPU
# device all are small. Ctrl-C ends it with a report of what there is. Exit codes: 0 all steps ran; 1 some failed; 2
# usage; 3 no device; 7 something was computed wrongly; 130, 143, 129.
set -u

source=$(cd "$(dirname "$0")/.." && pwd) || exit 1
usage() {
    sed -n '/^# usage/,/^#$/ { /^#$/d; s/^# //; p; }' "$0" >&2
    exit 2
}
refuse() { # exit code, words
    code=$1
    shift
    echo "first contact: $*" >&2
    exit "$code"
}

budget=480 wanted='' muninn=$source/build/muninn
while getopts t:d:p: option; do
    case $option in
    t) budget=$OPTARG ;;
    d) wanted=$OPTARG ;;
    p) muninn=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -le 1 ] || usage
case $budget in
'' | *[!0-9]* | ??????*) refuse 2 "-t $budget: must be a number of seconds" ;;
esac
[ "$budget" -ge 10 ] || refuse 2 "-t $budget: at least 10 seconds"
out=${1-first-contact-$(date -u +%Y%m%d-%H%M%S)}
command -v "$muninn" >/dev/null 2>&1 ||
    refuse 2 "there is no $muninn: build it first (./bootstrap build), or give it with -p"
timeout=$(command -v timeout || command -v gtimeout) || refuse 2 "there is no 'timeout' (GNU coreutils) here"
[ ! -e "$out/results.jsonl" ] || refuse 2 "$out has results already: give another folder"
mkdir -p "$out" || exit 1
results=$out/results.jsonl log=$out/log.txt step_log=$out/.step.log step_out=$out/.step.out
: >"$results" && : >"$log" || exit 1
rm -f "$out/report.html" "$out/paragraph.txt"

began=$(date +%s)
report_s=$((budget / 16 + 1)) # kept for the report
deadline=$((began + budget - report_s))
n_step=0 n_steps=0 weights=0 failed=0 wrong=0 stopped=0 child='' counting=1 step_rc=0 failures='' left_out=''

# ---- signals: the step ends, what there is becomes a report ----

stop() { # exit code
    stopped=$1
    [ -z "$child" ] || kill -TERM "$child" 2>/dev/null
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
trap 'rm -f "$step_log" "$step_out"' EXIT

# ---- steps ----

span() { # seconds, in words
    if [ "$1" -ge 60 ]; then echo "$(($1 / 60)) min $(($1 % 60)) s"; else echo "$1 s"; fi
}
fail() { # name, words
    failed=$((failed + 1))
    failures="$failures$1 ($2); "
    echo "         FAILED: $2"
}
# limited SECONDS ARGS...: the program with a limit, in the background, where a signal of ours finds it; leaves its exit
# code in step_rc
limited() {
    seconds=$1
    shift
    "$timeout" -k 5 "$seconds" "$muninn" "$@" </dev/null >"$step_out" 2>"$step_log" &
    child=$!
    wait "$child" 2>/dev/null # some shells say here how it ended
    step_rc=$?
    while kill -0 "$child" 2>/dev/null; do # a signal ended the wait, not the step
        wait "$child" 2>/dev/null
        step_rc=$?
    done
    child=''
}
# Appends the rows that the step printed, behind a whole line.
keep_rows() {
    if [ -n "$(tail -c 1 "$results")" ]; then # a kill has left a part of one
        sed '$d' "$results" >"$step_log" && cat "$step_log" >"$results"
    fi
    cat "$step_out" >>"$results"
}
# step WEIGHT NAME ARGS...: one run of the program; its share of the time is its weight among those of the steps that
# are left. `rows`: what it prints are result rows. `optional`: exit code 3, the device or this build has none of it, is
# no failure.
rows=0 optional=0
step() {
    weight=$1 name=$2
    shift 2
    if [ $counting -eq 1 ]; then
        n_steps=$((n_steps + 1)) weights=$((weights + weight))
        return
    fi
    [ "$stopped" -eq 0 ] || return
    n_step=$((n_step + 1)) step_rc=0
    now=$(date +%s)
    left=$((deadline - now))
    share=$((left * weight / weights))
    weights=$((weights - weight))
    if [ $left -lt 0 ]; then left=0 share=0; fi
    printf '[%2d/%d] %s (at most %s; all at most %s)\n' $n_step $n_steps "$name" "$(span $share)" \
        "$(span $((left + report_s)))"
    if [ $share -lt 2 ]; then
        step_rc=124
        fail "$name" 'no time was left'
        return
    fi
    limited $share "$@"
    {
        echo "==== $name: muninn $*"
        cat "$step_log"
        if [ $rows -eq 0 ]; then cat "$step_out"; fi
        echo "==== exit code $step_rc, $(($(date +%s) - now)) s"
    } >>"$log"
    [ "$stopped" -eq 0 ] || return
    last=$(grep -v '^ *$' "$step_log" | tail -n 1 | cut -c 1-300)
    if [ -z "$last" ]; then last=$(grep -v '^ *$' "$step_out" | tail -n 1 | cut -c 1-300); fi
    if [ $rows -eq 1 ] && [ $step_rc -eq 0 ]; then keep_rows; fi
    case $step_rc-$optional in
    0-*) echo "         $(($(date +%s) - now)) s" ;;
    3-1)
        left_out="$left_out$name ($last); "
        echo "         left out: $last"
        ;;
    124-* | 137-*) fail "$name" "ended after its $(span $share); the last line: ${last:-none}" ;;
    7-*)
        wrong=1
        fail "$name" "${last:-exit code 7}"
        ;;
    *) fail "$name" "exit code $step_rc: ${last:-no message}" ;;
    esac
}

# ---- the device ----

# value KEY < JSON: a number or a word; string KEY < JSON: a string with its quotes
value() { sed -nE "s/.*\"$1\":([a-z0-9.]+)[,}].*/\1/p"; }
string() { sed -nE "s/.*\"$1\":(\"([^\"\\\\]|\\\\.)*\").*/\1/p"; }
unquoted() { sed -E 's/^"//; s/"$//; s/\\(.)/\1/g'; }

echo "Muninn's first contact with this device: at most $(span "$budget"); Ctrl-C ends it with what there is by then"
limited 60 devices
cat "$step_log" "$step_out" >>"$log"
[ $step_rc -eq 0 ] || refuse 3 "no device: $(tail -n 1 "$step_log")"
limited 60 info ${wanted:+--device "$wanted"} --synthetic raven-tiny -o json
[ $step_rc -eq 0 ] || refuse "$step_rc" "$(tail -n 1 "$step_log")"
device_name=$(string device <"$step_out")
limited 60 devices -o json
line=$(grep -F "\"name\":$device_name," "$step_out" | head -n 1)
device=$(printf '%s\n' "$line" | value index)
[ -n "$device" ] || refuse 1 "the list of devices has no $device_name"
kind=$(printf '%s\n' "$line" | string type | unquoted)
units=$(printf '%s\n' "$line" | value matrix_cores)
printf '%s\n' "$line" | string banner | unquoted

# Does a model with so many steps fit into the device's memory?
fits() { # shape, weight type, steps
    limited 60 info --device "$device" --synthetic "$1" --weight-type "$2" --num-steps "$3" --ctx 256 -o json
    [ $step_rc -eq 0 ]
}
if [ "$kind" = cpu ]; then
    echo 'This device is a CPU: self-tests are quick ones, and small shapes stand for the large ones.'
    quick=--quick tokens=8 samples='-r 1 --min-seconds 0'
    huginn=raven-tiny llama='d=128,heads=4,ff=352,vocab=512,layers=1-2-1,steps=32,ctx=256,family=retrofit-llama'
    ouro='d=128,heads=4,ff=352,vocab=512,layers=4,steps=4,ctx=256,family=ouro'
else
    quick='' tokens=32 samples='-r 2 --min-seconds 1'
    huginn=huginn-3.5b llama=raven-llama-1b ouro=ouro-1.4b
fi
shapes='' largest=''
add() { # name, shape, steps: those of its types that fit
    for type in f16 q8_0; do
        if fits "$2" $type "$3"; then
            shapes="$shapes $1:$type"
            [ -n "$largest" ] || largest="$2 $type"
        else
            why=$(tail -n 1 "$step_log" | sed 's/^muninn: //')
            left_out="$left_out$1 $type ($why); "
            echo "Left out: $1 with weights $type: $why"
        fi
    done
}
add huginn-3.5b "$huginn" 32
add raven-llama-1b "$llama" 32
add ouro-1.4b "$ouro" 4
[ -n "$largest" ] || largest='raven-tiny f16'
largest_shape=${largest% *} largest_type=${largest##* }
# One prompt of ids, long enough for a few rounds.
prompts=$out/.prompts.jsonl
trap 'rm -f "$step_log" "$step_out" "$prompts"' EXIT
echo '{"ids":[1,5,9,13,17,21,25,29,33,37,41,45]}' >"$prompts"

# ---- the plan ----

# One shape with given agreement: ar, draft-verify and wavefront.
measure() { # weight, name:type, further arguments
    weight_=$1 name_=${2%:*} type_=${2#*:}
    shift 2
    with_=${1:+, matrix units}
    case $name_ in
    huginn-3.5b) set -- --synthetic "$huginn" --draft-steps 4 --lookahead 7 --num-steps 32 --acceptance huginn "$@" ;;
    raven-*) set -- --synthetic "$llama" --draft-steps 4 --lookahead 7 --num-steps 32 --acceptance retrofit "$@" ;;
    *) set -- --synthetic "$ouro" --draft-steps 1 --lookahead 4 --num-steps 4 --acceptance 0.94 "$@" ;;
    esac
    # shellcheck disable=SC2086 # $samples is words
    step "$weight_" "$name_, weights $type_, forced agreement$with_" bench --device "$device" \
        --weight-type "$type_" --prompts "$prompts" -n $tokens $samples --results "$results" "$@"
}
kernels() { # weight, type, further arguments
    weight_=$1 type_=$2
    shift 2
    step "$weight_" "kernels of $largest_shape, weights $type_${1:+, matrix units}" bench --kernels --device "$device" \
        --synthetic "$largest_shape" --weight-type "$type_" -r 3 --min-seconds 0.05 --results "$results" "$@"
}
plan() {
    tiny=$source/models/raven-tiny deep=$source/models/raven-deep
    # shellcheck disable=SC2086 # $quick and $samples are words or nothing
    step 70 'self-test: kernels against plain C' selftest --device "$device" $quick --results "$results"
    # shellcheck disable=SC2086
    step 25 'D0, D1, D2: raven-tiny' selftest -m "$tiny" --device "$device" $quick --results "$results"
    step 15 'D0, D1, D2: raven-deep, 8-bit cache' selftest -m "$deep" --device "$device" --kv-type q8 --num-steps 16 \
        --quick --results "$results"
    step 15 "D0, D1, D2: $largest_shape, weights $largest_type" selftest --synthetic "$largest_shape" \
        --weight-type "$largest_type" --num-steps 8 --device "$device" --quick --results "$results"
    rows=1
    for type in f16 q8_0; do
        step 15 "pipelines of $largest_shape, weights $type" pipelines --synthetic "$largest_shape" \
            --weight-type $type --ctx 512 --device "$device" -o jsonl
    done
    rows=0
    kernels 50 "$largest_type"
    for model in "$tiny" "$deep"; do
        # shellcheck disable=SC2086
        step 25 "${model##*/}: ar, draft-verify, wavefront" bench -m "$model" --device "$device" --draft-steps 4 \
            --lookahead 7 -n $tokens $samples --results "$results"
    done
    for each in $shapes; do measure 25 "$each"; done
    [ "$units" = true ] && [ "$kind" != cpu ] || return 0
    optional=1
    step 15 'matrix units: D0, D1, D2 of raven-tiny' selftest -m "$tiny" --device "$device" --matrix-units on --quick \
        --results "$results"
    optional=0
    if [ $counting -eq 0 ] && [ $step_rc -ne 0 ]; then return 0; fi
    kernels 40 "$largest_type" --matrix-units on
    for each in $shapes; do
        case $each in
        *:f16) measure 20 "$each" --matrix-units on ;;
        esac
    done
}
plan
counting=0
plan

# ---- what came out ----

if [ -s "$results" ]; then
    limited $((report_s + 15)) report "$results" -o "$out/report.html"
    cat "$step_log" >>"$log"
    [ $step_rc -eq 0 ] || fail 'the report' "exit code $step_rc: $(tail -n 1 "$step_log")"
    limited $((report_s + 15)) merge "$results"
    cat "$step_log" >>"$log"
    [ $step_rc -eq 0 ] || cat "$results" >"$step_out"
else
    : >"$step_out"
fi
[ "$stopped" -eq 0 ] || failures="${failures}stopped by a signal in step $n_step of $n_steps; "
version=$("$muninn" --version | awk 'NR == 1 { v = $2 } $1 == "commit" { c = $2 } END { print v " (commit " c ")" }')
banner=$(printf '%s\n' "$line" | string banner | unquoted)
awk -v version="$version" -v banner="$banner" -v cpu="$kind" -v failures="$failures" -v left_out="$left_out" \
    -v took="$(span $(($(date +%s) - began)))" -f "$source/bench/first_contact.awk" "$step_out" >"$out/paragraph.txt"
cat "$out/paragraph.txt" >>"$log"
echo
cat "$out/paragraph.txt"
echo
echo "To send back: $results, $out/report.html, $out/paragraph.txt$([ $failed -eq 0 ] || echo ", $log")"
if [ "$stopped" -ne 0 ]; then exit "$stopped"; fi
if [ $wrong -ne 0 ]; then exit 7; fi
if [ $failed -ne 0 ]; then exit 1; fi
exit 0
