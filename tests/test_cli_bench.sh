#!/bin/sh
# Goal: what `muninn bench` says to people: the answer behind a sweep, the table in front of it, what it refuses. What it measures, and that no
# row is lost, is in test_cli.sh and test_results.py.
#
# Method: a model small enough that nothing takes long, whose speeds say nothing: what is said is compared with the rows of the same run.
# Usage: tests/test_cli_bench.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

# ---- before there is a device ----

refuses "--quick chooses for itself" 2 "--strategy has no effect with --quick" bench --quick --strategy ar
refuses "--quick has no lists" 2 "--draft-steps has no effect with --quick" bench --quick --draft-steps 2
refuses "K without a strategy that has one" 2 "--draft-steps has no effect with --strategy ar" bench --strategy ar --draft-steps 2
refuses "L without a strategy that has one" 2 "--lookahead has no effect with --strategy ar,wavefront" bench --strategy ar,wavefront --lookahead 2
refuses "lookup without a strategy that has it" 2 "--lookup has no effect with --strategy ar" bench --strategy ar --lookup 2
refuses "lookup beside given agreement" 2 "--lookup: not with --acceptance" bench --strategy wavefront --lookup 2 --acceptance 2:0.5
refuses "W without a strategy that has one" 2 "--max-inflight has no effect with --strategy draft-verify" bench --strategy draft-verify --max-inflight 2
refuses "acceptance without a strategy that drafts" 2 "--acceptance has no effect with --strategy ar" bench --strategy ar --acceptance 0.9
refuses "acceptance at K for one that chooses K" 2 "--acceptance 0.9: strategy auto chooses the depth of its drafts itself" bench --strategy ar,auto --acceptance 0.9
refuses "acceptance that falls" 2 "--acceptance: '8:0.8': less than at the depth before it" bench --acceptance 4:0.9,8:0.8
refuses "acceptance beyond R" 2 "--acceptance 2:0.6,8:0.95: depth 8 is above R 4" bench --num-steps 4 --acceptance 2:0.6,8:0.95
refuses "acceptance: a profile mistyped" 2 "(did you mean huginn?)" bench --acceptance hugin
refuses "an unknown strategy is named first" 2 "--strategy guess:" bench --strategy guess --draft-steps 2

"$muninn" generate --ids 1 -n 1 --num-steps 1 >/dev/null 2>&1
if [ $? -eq 3 ]; then
    echo "skipped: no Vulkan device"
    exit 77
fi

shape=d=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64
few="--synthetic $shape -r 1 --min-seconds 0 -n 6"
# sentences: of stderr, without the warnings
sentences() { grep -v '^muninn: ' "$tmp/err"; }

# ---- the answer ----

# shellcheck disable=SC2086
run bench $few --draft-steps 1,2 --lookahead 2 --results "$tmp/rows" -o jsonl
same "the answer: exit code" 0 "$code"
same "the answer: one sentence per model and device" 1 "$(sentences | wc -l | tr -d ' ')"
has "the answer: begins with the model" "$(sentences)" "$shape on "
has "the answer: of lossless settings" "$(sentences)" ": best lossless setting: "
has "the answer: one sample has no interval" "$(sentences)" "too few samples for an interval"
same "the answer: rows say their class" 5 "$(grep -c '"class":"lossless"' "$tmp/rows")"
sentences >"$tmp/answer"
run report "$tmp/rows" -o "$tmp/page.html"
same "the answer: the page has the same sentence" 1 "$(grep -cF "\"text\":\"$(cat "$tmp/answer")\"" "$tmp/page.html")"

# shellcheck disable=SC2086
run bench $few --strategy ar,draft-verify --draft-steps 1 --lookahead 2,3 --acceptance 0.9,0.8 -o jsonl
same "forced agreement: a sentence of its own" 1 "$(sentences | grep -c ': with forced agreement 0.9,0.8: best setting: ')"
same "forced agreement: is no lossless setting" 1 "$(sentences | grep -c ': ar, .* tok/s; no other lossless setting was measured$')"
same "forced agreement: a class of its own" 2 "$(grep -c '"class":"forced"' "$tmp/out")"
# By depth: all that draft, as it was given; a model without that depth costs its rows.
# shellcheck disable=SC2086
run bench $few --strategy ar,draft-verify,wavefront,auto --draft-steps 1 --lookahead 2 --acceptance 1:0.5/0.4,3:0.90 --results "$tmp/by-depth" -o jsonl
same "acceptance by depth: exit code" 0 "$code"
same "acceptance by depth: in three rows" 3 "$(grep -c '"forced_acceptance":\[\],"forced_by_depth":"1:0.5/0.4,3:0.90","forced_shares":"1:0.5/0.4,3:0.90"' "$tmp/out")"
same "acceptance by depth: a class of their own" 3 "$(grep -c '"lossless":false,"lossy_because":"forced acceptance".*"class":"forced"' "$tmp/out")"
same "acceptance by depth: ar has none" 1 "$(grep -c '"class":"lossless"' "$tmp/out")"
same "acceptance by depth: in their names" 4 "$(grep -c '|a1:0.5/0.4,3:0.90"' "$tmp/out")"
same "acceptance by depth: a sentence" 1 "$(sentences | grep -c ': with forced agreement 1:0.5/0.4,3:0.90: ')"
same "acceptance by depth: no hint" 0 "$(grep -c 'made-up' "$tmp/err")"
# shellcheck disable=SC2086
run bench $few --strategy ar,draft-verify,wavefront,auto --draft-steps 1 --lookahead 2 --acceptance 1:0.5/0.4,3:0.90 --results "$tmp/by-depth" --resume
has "acceptance by depth: resumed" "$err" "4 settings were in $tmp/by-depth already"
has "acceptance by depth: in the table" "$out" " forced 1:0.5/0.4,3:0.90 |"
run compare "$tmp/by-depth" "$tmp/by-depth"
same "acceptance by depth: compared" 0 "$code"
# shellcheck disable=SC2086
run bench $few --strategy draft-verify --draft-steps 1 --lookahead 2 --acceptance huginn
same "acceptance of a profile: exit code of a model with too few steps" 2 "$code"
has "acceptance of a profile: says why" "$err" "muninn: --acceptance huginn: depth 4 is R 4, where the share is 1"
run bench --synthetic "${shape%%,steps*},steps=32,ctx=64" -r 1 --min-seconds 0 -n 6 --strategy wavefront --draft-steps 4 --acceptance huginn -o jsonl
has "acceptance of a profile: the row has both" "$out" '"forced_by_depth":"huginn","forced_shares":"4:0.94"'
has "acceptance of a profile: in words" "$(sentences)" ": with forced agreement huginn (4:0.94): "
# shellcheck disable=SC2086
run bench $few --strategy draft-verify --draft-steps 1 --lookahead 2 -o jsonl
same "a made-up model's own acceptance: a hint, once" 1 "$(grep -c '^muninn: warning: the drafts of a made-up model are right by chance alone' "$tmp/err")"
# shellcheck disable=SC2086
run bench $few --strategy diffusion --draft-steps 1 -o jsonl
same "a made-up model's own acceptance: no hint where nothing is drafted" 0 "$(grep -c 'made-up' "$tmp/err")"
same "lossy settings alone are no answer" 1 "$(sentences | grep -c ': no lossless setting was measured$')"
same "lossy rows say their class" 1 "$(grep -c '"class":"lossy"' "$tmp/out")"
# shellcheck disable=SC2086
run bench $few --strategy ar -o jsonl --output-err json
same "rows on stderr: nothing but the rows" 1 "$(grep -vc "^muninn: warning: read bandwidth" "$tmp/err")"
json_ok "rows on stderr: JSON" "$(grep -v "^muninn: warning: read bandwidth" "$tmp/err")"

# shellcheck disable=SC2086
run bench $few --draft-steps 3 --lookahead 2 -o jsonl
same "K without --strategy: of the strategies that have one" 2 "$(grep -c '"draft_steps":3' "$tmp/out")"
# shellcheck disable=SC2086
run bench $few --strategy draft-verify --draft-steps 4-8
same "nothing can run: exit code" 2 "$code"
has "nothing can run: said" "$err" "muninn: nothing could run"

# ---- the table ----

run merge "$tmp/rows" -o md
same "table: fits 120 columns" 0 "$(grep -c '.\{121\}' "$tmp/out")"
same "table: a row for each" 5 "$(grep -c '^| [* ] ' "$tmp/out")"
same "table: at most one is marked" 1 "$(grep -c '^| \* ' "$tmp/out")"
has "table: what all share is above" "$(head -n 3 "$tmp/out" | tr '\n' ' ')" ", R 4, W 8, batch 1,"
run merge "$tmp/rows" -o md --columns all
has "table: everything" "$out" "| prefill tok/s |"

# ---- rows that are asked for, and figures that users look for ----

# shellcheck disable=SC2086
run bench $few --strategy ar --kv-type f32 -q -o csv --output-err jsonl
same "-q: rows on standard error were asked for, and nothing else is there" "1 0" "$(grep -c '^{"key":' "$tmp/err") $(grep -vc '^{\|^muninn: warning: ' "$tmp/err")"
for key in ceiling_gb_s ceiling_spread ceiling_time ceiling_end_gb_s ttft_ms inter_token_p50_ms inter_token_p95_ms inter_token_p99_ms device_peak_bytes; do
    has "rows have $key" "$err" "\"$key\":"
done
same "rows: what was not measured is absent, not 0" 0 "$(grep -c '"joules_per_token":0[,}]\|"clock_mhz":0[,}]' "$tmp/err")"

# ---- --quick ----

refuses "--quick: no such shape" 2 "synthetic model 'd=12,heads=5,ff=16,vocab=64,layers=0-1-0'" bench --quick --synthetic d=12,heads=5,ff=16,vocab=64,layers=0-1-0
# How much there is time for is the machine's affair: as many rows as came, the first of them ar.
run bench --quick -m "$tmp/none" --synthetic $shape --results "$tmp/quick"
n=$(grep -c '"bench":"run"' "$tmp/quick")
same "--quick: a model that is not there is said in the end" 4 "$code"
same "--quick: a model that cannot be costs its line" 2 "$(sentences | wc -l | tr -d ' ')"
same "--quick: rows of forced acceptance, but for ar" $((n - 1)) "$(grep -c '"forced_acceptance":\[0.94\]' "$tmp/quick")"
[ "$n" -lt 2 ] || has "--quick: of a shape with forced agreement" "$(sentences)" ": with forced agreement 0.94: "
same "--quick: the block has the lines" 2 "$(sentences | grep -cxFf "$tmp/out")"
same "--quick: the block is a fence" '```|```' "$(sed -n '1p;$p' "$tmp/out" | paste -s -d'|')"
has "--quick: device and version" "$(tail -n 3 "$tmp/out" | tr '\n' ' ')" ", bench --quick, "
[ "$n" -lt 1 ] || has "--quick: the ceiling in rest and at the end" "$out" "read bandwidth: "
run bench --quick -m "$vectors/square" -o jsonl
if [ "$code" -eq 2 ]; then
    has "--quick: a machine too slow for anything says so" "$err" "nothing could be measured in 120 s"
else
    same "--quick: exit code" 0 "$code"
    same "--quick: of a model without" 0 "$(grep -c '"class":"forced"' "$tmp/out")"
    has "--quick: rows for programs" "$out" '"strategy":"ar"'
    same "--quick: each row has the ceiling at the end" 0 "$(grep -vc '"ceiling_end_gb_s":[0-9]' "$tmp/out")"
fi

finish
