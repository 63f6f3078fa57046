#!/bin/sh
# Goal: `muninn trace` keeps the command line's contract: records that parse, in order, that agree with `generate`, with `logits` and with its
# own table; text from outside is never more than text; what is interrupted leaves whole lines.
#
# Method: raven-tiny and a model without a tokenizer, few steps. The figures themselves: test_trace.c.
# Usage: tests/test_cli_trace.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

# Every line of a file is one JSON document; prints how many there are.
lines_ok() {
    name=$1 file=$2 n=0
    while IFS= read -r line; do
        n=$((n + 1))
        printf '{"text":"","json":%s}\n' "$line"
    done <"$file" >"$tmp/lines"
    if "$muninn" tokenize <"$tmp/lines" >/dev/null 2>"$tmp/json"; then ok "$name"; else not_ok "$name" "$(head -n 2 "$tmp/json")"; fi
}
# exits CRITERION < records: the exit step per token, - for none
exits() { sed -n "s/^{\"bench\":\"trace\",.*\"exits\":{[^}]*\"$1\":\([0-9a-z]*\).*/\1/p" | sed 's/null/-/'; }

# ---- before there is a device ----

"$muninn" help trace >"$tmp/help" 2>&1
same "help trace: exit code" 0 $?
run trace --help
same "help trace and trace --help agree" "$(cat "$tmp/help")" "$out"
for flag in model prompt ids file no-bos num-steps max-new-tokens ignore-eos inits init-scale seed components window near lag aligned straight steady \
    kv-type weight-type ctx device results states output; do
    has "trace --help: --$flag with its default" "$(printf %s "$out" | grep -e "--$flag ")" "[default: "
done
for class in fixed-point orbit slider unsettled; do
    has "trace --help: rule of $class" "$out" "
  $class "
done
refuses "no prompt" 2 "no prompt" trace
refuses "two prompts" 2 "more than one prompt" trace -p x --ids 1
refuses "-f with a missing file" 4 "$tmp/none" trace -f "$tmp/none"
refuses "-m with a missing folder" 4 "$tmp/none" trace -p x -m "$tmp/none"
refuses "stray argument" 2 "stray" trace -p x stray
for bad in 0 -1 1.5 x 5000 ""; do
    refuses "--num-steps '$bad'" 2 "--num-steps $bad:" trace -p x --num-steps "$bad"
done
refuses "--components 1" 2 "--components 1:" trace -p x --components 1
refuses "--components 7" 2 "--components 7:" trace -p x --components 7
refuses "--inits 65" 2 "--inits 65:" trace -p x --inits 65
refuses "--init-scale 0" 2 "--init-scale 0:" trace -p x --init-scale 0
refuses "--window 3" 2 "--window 3:" trace -p x --window 3
refuses "--near 0" 2 "--near 0:" trace -p x --near 0
refuses "--aligned 2" 2 "--aligned 2:" trace -p x --aligned 2
refuses "--ids with letters" 2 "--ids" trace --ids 1,a
refuses "-o unknown" 2 "--output xml:" trace -p x -o xml

"$muninn" generate --ids 1 -n 1 --num-steps 1 >/dev/null 2>&1
if [ $? -eq 3 ]; then
    echo "skipped: no Vulkan device"
    exit 77
fi

refuses "id outside the vocabulary" 2 "token id 512 at place 2" trace --ids 0,512
refuses "text that is not UTF-8" 2 "UTF-8" trace -p "$(printf 'a\377')"
refuses "text without a tokenizer" 4 "tokenizer.json" trace -m "$vectors/square" -p x
refuses "empty prompt without begin token" 2 "prompt is empty" trace -p '' --no-bos --num-steps 2
refuses "more than the context holds" 2 "n_ctx" trace -p x -n 600 --num-steps 2

# ---- records ----

prompt='sort 2 8 0 1 :'
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 --states "$tmp/states.safetensors"
same "records: exit code" 0 "$code"
cp "$tmp/out" "$tmp/records"
lines_ok "records: JSON" "$tmp/records"
has "records: the header first" "$(head -n 1 "$tmp/records")" '{"bench":"trace_header","key":"'
has "records: the summary last" "$(tail -n 1 "$tmp/records")" '{"bench":"trace_summary","key":"'
n=$(($(wc -l <"$tmp/records") - 2))
same "records: positions in order" "$(seq 0 $((n - 1)))" "$(sed -n 's/.*"bench":"trace",.*"position":\([0-9]*\).*/\1/p' "$tmp/records")"
same "records: keys differ" "$((n + 2))" "$(sed 's/.*"key":"\([^"]*\)".*/\1/' "$tmp/records" | sort -u | wc -l | tr -d ' ')"
for key in device driver banner model model_hash weight_type kv_type num_steps version commit seed inits init_scale exit_rules terminal_rule prompt_tokens; do
    has "header holds $key" "$(head -n 1 "$tmp/records")" "\"$key\":"
done
has "header: the model's name, not its path" "$(head -n 1 "$tmp/records")" '"model":"raven-tiny"'
for key in token text generated norm change kl entropy top1 top1_p top1_text top1_is_final exits class terminal inits path; do
    has "token holds $key" "$(sed -n 3p "$tmp/records")" "\"$key\":"
done
for key in tokens classes exits pca explained path_independence top1_agreement interrupted; do
    has "summary holds $key" "$(tail -n 1 "$tmp/records")" "\"$key\":"
done
same "a figure per step" 8 "$(sed -n 3p "$tmp/records" | sed 's/.*"kl":\[\([^]]*\).*/\1/' | tr ',' '\n' | wc -l | tr -d ' ')"
same "a place per step and the start" 9 "$(sed -n 3p "$tmp/records" | sed 's/.*"path":\[\(.*\)\]}/\1/' | sed 's/\],\[/\n/g' | wc -l | tr -d ' ')"
has "the last step's distance to itself" "$(sed -n 3p "$tmp/records" | sed 's/.*"kl":\[\([^]]*\).*/<\1>/')" ",0>"

# The tokens are those of generate; the last step's best token stands behind.
run generate -p "$prompt" -n 6 --num-steps 8 -o json
same "generated tokens are those of generate" "$(printf %s "$out" | numbers tokens | tr ',' '\n')" "$(sed -n 's/.*"token":\([0-9]*\),.*"generated":true.*/\1/p' "$tmp/records")"
same "ids are those of generate" "$(printf %s "$out" | numbers prompt_ids | tr ',' '\n')" "$(sed -n 's/.*"token":\([0-9]*\),.*"generated":false.*/\1/p' "$tmp/records")"
ids=$(printf %s "$out" | numbers prompt_ids)

# By ids, from a file: the same figures.
run trace --ids "$ids" -n 6 --num-steps 8 --inits 2
same "--ids: the same records" "$(cat "$tmp/records")" "$out"
printf %s "$prompt" >"$tmp/prompt"
run trace -f "$tmp/prompt" -n 6 --num-steps 8 --inits 2
same "-f: the same records" "$(cat "$tmp/records")" "$out"

# Read-outs beside them: the plain one is the trace's own prediction; header and summary say which steps.
for bad in 0 9 2,9 x ''; do
    refuses "--readouts '$bad' of 8 steps" 2 "--readouts: " trace -p "$prompt" --num-steps 8 --readouts "$bad"
done
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 --readouts 1,3
same "--readouts: exit code" 0 "$code"
cp "$tmp/out" "$tmp/readouts"
for line in "$(head -n 1 "$tmp/readouts")" "$(tail -n 1 "$tmp/readouts")"; do
    has "the steps of --readouts" "$line" '"readout_steps":[1,3]'
done
has "--readouts: shares in the summary" "$(tail -n 1 "$tmp/readouts")" '"readouts":{"top1_is_final":{"plain":{"same":['
same "plain read-outs of the prompt are its predictions" \
    "$(sed -n 's/.*"generated":false.*"top1":\[\([0-9,]*\)\],"top1_text.*/\1/p' "$tmp/readouts" | cut -d, -f1,3)" \
    "$(sed -n 's/.*"generated":false.*"plain":{"same":\[\([0-9,]*\)\].*/\1/p' "$tmp/readouts")"
same "plain read-outs of generated tokens are their predictions" \
    "$(sed -n 's/.*"generated":true.*"top1":\[\([0-9,]*\)\],"top1_text.*/\1/p' "$tmp/readouts" | cut -d, -f1,3)" \
    "$(sed -n 's/.*"generated":true.*"plain":{"same":[^"]*"final":\[\([0-9,]*\)\].*/\1/p' "$tmp/readouts")"
same "without --readouts no word of them" 0 "$(grep -c readout "$tmp/records")"
lines_ok "--readouts: JSON" "$tmp/readouts"
n=$(($(wc -l <"$tmp/records") - 2)) # lines_ok counts in it

# The best token at depth t is that of `logits --num-steps t`.
for steps in 1 3 8; do
    "$muninn" logits --ids "$ids" --num-steps $steps | while IFS= read -r line; do
        printf %s "$line" | tr -d '[]' | tr ',' '\n' | awk '{ if (NR == 1 || $1 + 0 > best) { best = $1 + 0; at = NR - 1 } } END { print at }'
    done >"$tmp/best"
    same "top1 of step $steps is that of logits" "$(cat "$tmp/best")" \
        "$(sed -n 's/.*"generated":false.*"top1":\[\([0-9,]*\)\],"top1_text.*/\1/p' "$tmp/records" | cut -d, -f$steps)"
done

# Where it goes: a file of records, and the table that agrees with them.
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 --results "$tmp/file.jsonl"
same "--results: exit code" 0 "$code"
same "--results: the same records" "$(cat "$tmp/records")" "$(cat "$tmp/file.jsonl")"
cp "$tmp/out" "$tmp/table"
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 -o md
same "--results and -o md: the same table" "$(cat "$tmp/table")" "$out"
same "table: a row per token" "$n" "$(grep -c '^| [0-9]' "$tmp/table")"
cells() { grep '^| [0-9]' "$tmp/table" | sed 's/\\|//g' | cut -d'|' -f"$1"; } # without the text of tokens that looks like a border
column=4
for criterion in latent-diff cosine entropy-diff kl minp-kl argmax-stability; do
    same "table and records agree on $criterion" "$(exits $criterion <"$tmp/records")" "$(cells $column | tr -d ' ')"
    column=$((column + 1))
done
same "table and records agree on the end" "$(sed -n 's/.*"class":"\([a-z-]*\)".*/\1/p' "$tmp/records")" "$(cells 10 | sed 's/ *\([a-z-]*\).*/\1/')"
printf 'older and longer than what replaces it %09999d\n' 0 >"$tmp/older.jsonl"
cp "$tmp/older.jsonl" "$tmp/older.copy"
run trace --ids 1 -n 6 --num-steps 2 --ctx 3 --results "$tmp/older.jsonl"
same "--results of a refused run: exit code" 2 "$code"
same "--results of a refused run: the file stays" "" "$(cmp "$tmp/older.jsonl" "$tmp/older.copy" 2>&1)"
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 --results "$tmp/older.jsonl"
same "--results over an older file: the new records alone" "$(cat "$tmp/records")" "$(cat "$tmp/older.jsonl")"
mkfifo "$tmp/fifo"
cat "$tmp/fifo" >"$tmp/piped" &
run trace -p "$prompt" -n 6 --num-steps 8 --inits 2 --results "$tmp/fifo"
wait $!
same "--results into a pipe: the records" "$(cat "$tmp/records")" "$(cat "$tmp/piped")"
run trace -p x --num-steps 2 --results "$tmp/none/file"
same "--results in no folder: exit code" 4 "$code"
has "--results in no folder: message" "$err" "$tmp/none/file"
same "--results in no folder: said before the work, which the banner begins" 0 "$(printf '%s\n' "$err" | grep -c ' | uma ')"
run trace -p x --num-steps 2 --states "$tmp/none/file"
same "--states in no folder: exit code" 4 "$code"
has "--states in no folder: message" "$err" "$tmp/none/file"

# The file of states is one that --state0 reads: a wrong shape is refused with the right one named.
refuses "--states: a tensor [tokens, steps + 1, n_embd]" 4 "has shape [$n, 9, 128]" logits --ids 1 --state0 "$tmp/states.safetensors:states"

# ---- hostile text ----

hostile='</script><script>alert(1)</script>&"\|`*[x](y)'
run trace -p "$hostile" --num-steps 2
same "hostile prompt: exit code" 0 "$code"
lines_ok "hostile prompt: JSON" "$tmp/out"
run trace -p "$(printf '\033[31m\001\302\205| \nx')" --num-steps 2
same "control characters: exit code" 0 "$code"
lines_ok "control characters: JSON" "$tmp/out"
if grep -q "$(printf '\033')" "$tmp/out"; then not_ok "control characters: none in the records"; else ok "control characters: none in the records"; fi
run trace -p "$hostile" --num-steps 2 -o md
if grep '^| [0-9]' "$tmp/out" | grep -q '[^\\][<`*]'; then not_ok "hostile prompt: table cells are text" "$out"; else ok "hostile prompt: table cells are text"; fi
same "hostile prompt: as many columns in every row" 1 "$(sed 's/\\\\//g; s/\\|//g; s/[^|]//g' "$tmp/out" | sort -u | wc -l | tr -d ' ')"

# ---- a model without tokenizer.json; one step; one token ----

run trace -m "$vectors/square" --ids 1,2,3 --num-steps 5 -n 2 --ignore-eos --components 6
same "ids without a tokenizer: exit code" 0 "$code"
lines_ok "ids without a tokenizer: JSON" "$tmp/out"
same "ids without a tokenizer: five tokens" 5 "$(grep -c '"bench":"trace",' "$tmp/out")"
run trace --ids 1 --num-steps 1
same "one token, one step: exit code" 0 "$code"
lines_ok "one token, one step: JSON" "$tmp/out"

# ---- output that cannot be written, interrupts ----

if [ -c /dev/full ]; then
    "$muninn" trace --ids 1,2 --num-steps 2 >/dev/full 2>"$tmp/err"
    same "to a full disk: exit code" 1 $?
    same "to a full disk: said once" 1 "$(grep -c 'standard output' "$tmp/err")"
    run trace --ids 1,2 --num-steps 2 --results /dev/full
    same "--results on a full disk: exit code" 1 "$code"
fi

# 490 tokens of 256 steps take seconds on any device.
run_interrupted trace -p x --num-steps 256 -n 490 --ignore-eos
same "SIGINT: exit code" 130 "$code"
has "SIGINT: said so" "$(cat "$tmp/err")" "interrupted after"
lines_ok "SIGINT: whole lines" "$tmp/out"
has "SIGINT: the summary says so" "$(tail -n 1 "$tmp/out")" '"interrupted":true'

finish
