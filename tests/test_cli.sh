#!/bin/sh
# The command line's contract: names, exit codes, output shapes, error lines. Scripts of users rely on each of these.
#
# Method: runs the built program on the default model and the golden vectors; see cli_lib.sh.
# Usage: tests/test_cli.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

# ---- without a device ----

run --version
same "--version: exit code" 0 "$code"
has "--version: text" "$out" "muninn "
run help
same "help: exit code" 0 "$code"
# Every file cli/NAME.c but main.c is a subcommand.
subs=$(sed -n '/^Commands:/,/^$/s/^  \([a-z]*\)  *[A-Z].*/\1/p' "$tmp/out" | grep -vx help)
same "help lists every subcommand" "$(cd "$2/cli" && ls -- *.c | sed 's/\.c$//' | grep -vx main | sort)" "$(printf '%s\n' "$subs" | sort)"
for sub in $subs; do
    "$muninn" help $sub >"$tmp/help" 2>&1
    same "help $sub: exit code" 0 $?
    run $sub --help
    same "help $sub and $sub --help agree" "$(cat "$tmp/help")" "$out"
    has "help $sub has an example" "$out" "Example:
  "
done
run generate --help
for flag in model prompt ids file batch parallel max-new-tokens num-steps strategy draft-steps lookahead max-inflight lookup branches verification-threshold \
    continuous headway freeze-threshold state-noise embed-average compare-ar trace exit require-lossless kv-policy kv-type weight-type temp top-k top-p \
    min-p seed init-scale ignore-eos stop chat ctx device no-bos output special; do
    has "generate --help: --$flag with its default" "$(printf %s "$out" | grep -e "--$flag ")" "[default: "
done

refuses "no command" 2 "command"
refuses "unknown command" 2 "frobnicate" frobnicate
refuses "help for an unknown command" 2 "frobnicate" help frobnicate
refuses "unknown option" 2 "--frobnicate" generate -p x --frobnicate
refuses "unknown short option" 2 "-z" generate -z
refuses "shortened option" 2 "--num" generate -p x --num 4
refuses "missing value" 2 "--num-steps" generate -p x --num-steps
refuses "value for a flag" 2 "--chat" generate -p x --chat=1
refuses "stray argument" 2 "stray" generate -p x stray
refuses "no prompt" 2 "no prompt" generate
refuses "two prompts" 2 "more than one prompt" generate -p x --ids 1
refuses "--chat with --ids" 2 "--chat" generate --chat --ids 1
for bad in 0 -1 1x 0x10 1.5 "" " 4" +4 99999999999999999999; do
    refuses "-n '$bad'" 2 "--max-new-tokens $bad:" generate -p x -n "$bad"
done
refuses "--num-steps out of range" 2 "--num-steps 5000:" generate -p x --num-steps 5000
refuses "--lookahead out of range" 2 "--lookahead 64:" generate -p x --lookahead 64
refuses "--seed negative" 2 "--seed -1:" generate -p x --seed -1
for bad in nan inf -1 0x1 1e999 "" 1,5; do
    refuses "--temp '$bad'" 2 "--temp $bad:" generate -p x --temp "$bad"
done
refuses "--top-p above 1" 2 "--top-p 1.5:" generate -p x --top-p 1.5
refuses "--strategy unknown" 2 "--strategy guess:" generate -p x --strategy guess
refuses "--kv-policy unknown" 2 "kv_policy share:0" generate -p x --kv-policy share:0
refuses "--kv-type unknown" 2 "--kv-type f8:" generate -p x --kv-type f8
refuses "--weight-type unknown" 2 "--weight-type q3:" generate -p x --weight-type q3
refuses "-o unknown" 2 "--output xml:" generate -p x -o xml
refuses "--stop empty" 2 "--stop" generate -p x --stop ""
for bad in "" "," "1," ",1" 1,,2 1,a -1 "1 2" 4294967296; do
    refuses "--ids '$bad'" 2 "--ids" logits --ids "$bad"
done
refuses "logits without --ids" 2 "--ids" logits
refuses "-f with a missing file" 4 "$tmp/none" generate -f "$tmp/none"
refuses "tokenize -m with a missing folder" 4 "$tmp/none/tokenizer.json" tokenize -m "$tmp/none"

out=$(printf '{"text":"sort 2 8 :"}\n\n  \n{"text":"<|begin_text|>"}' | "$muninn" tokenize)
same "tokenize: one line per text, blank lines skipped" '{"ids":[393,226,23,226,29,286],"decoded":"sort 2 8 :"}
{"ids":[0],"decoded":"<|begin_text|>"}' "$out"
"$muninn" tokenize -m "$vectors/tokenizer-huginn-pattern" <"$vectors/tokenizer-huginn-pattern/cases.jsonl" | numbers ids >"$tmp/ids"
same "tokenize: ids of the reference" "$(numbers ids <"$vectors/tokenizer-huginn-pattern/cases.jsonl")" "$(cat "$tmp/ids")"
for bad in '{"text":"a"' '{"text":1}' '{"t":"a"}' '[]' 'x' '{"text":"a"} {}'; do
    printf '{"text":"a"}\n%s\n{"text":"b"}\n' "$bad" | "$muninn" tokenize >"$tmp/out" 2>"$tmp/err"
    same "tokenize: bad line $bad: exit code" 4 $?
    has "tokenize: bad line $bad: line number" "$(cat "$tmp/err")" "line 2"
    same "tokenize: bad line $bad: lines before it are there" 1 "$(wc -l <"$tmp/out" | tr -d ' ')"
    same "tokenize: bad line $bad: one error line" 1 "$(wc -l <"$tmp/err" | tr -d ' ')"
done

# Benches: what is refused before anything runs, and files that are malformed.
refuses "bench: a bad list" 2 "--draft-steps: '4-1'" bench --draft-steps 4-1
refuses "bench: a bad word" 2 "--strategy" bench --strategy ar,guess
for bad in 0/2 3/2 1 1/ a/b 1/2/3 -1/2; do
    refuses "bench: --shard $bad" 2 "--shard $bad:" bench --shard $bad
done
for bad in 1.5 -0.1 x 0.5, nan; do
    refuses "bench: --acceptance $bad" 2 "--acceptance" bench --acceptance $bad
done
refuses "bench: --resume without --results" 2 "--results" bench --resume
refuses "bench: --answers without --prompts" 2 "--prompts" bench --answers "$tmp/answers"
refuses "bench: --answers with a batch" 2 "--batch" bench --answers "$tmp/answers" --prompts "$tmp/none" --batch 1,2
refuses "bench: --kernels with --acceptance" 2 "--kernels" bench --kernels --acceptance 1
refuses "bench: a seed that JSON cannot hold" 2 "--seed" bench --seed 9007199254740992
refuses "bench: --prompts with a missing file" 4 "$tmp/none" bench --prompts "$tmp/none"
refuses "bench: no such shape" 2 "synthetic model 'huginn'" bench --synthetic huginn
refuses "merge without files" 2 "no file" merge
refuses "compare with one file" 2 "two result files" compare "$tmp/none"
refuses "merge with a missing file" 4 "$tmp/none" merge "$tmp/none"
printf '{"key":"a"}\n[]\n' >"$tmp/bad"
refuses "merge: a malformed file" 4 "$tmp/bad: line 2:" merge "$tmp/bad"
refuses "compare: a malformed file" 4 "$tmp/bad: line 2:" compare "$tmp/bad" "$tmp/bad"
# row KEY SETTING SAMPLES COMMIT LOSSLESS
row() {
    printf '{"key":"%s","bench":"run","commit":"%s","device":"d","strategy":"%s","decode_samples":[%s],"lossless":%s}\n' "$1" "$4" "$2" "$3" "$5"
}
{ row a ar 10,11,12,13,14 old true; row b wavefront 20,20,20,20,20 old true; row c auto 5,5,5 old true; } >"$tmp/old"
{ row d ar 20,22,24,26,28 new true; row e wavefront 20,20,20,20,20 new false; row f auto 6,6,6 new true; row g diffusion 1,2 new false; } >"$tmp/new"
run compare "$tmp/old" "$tmp/new"
same "compare: exit code" 0 "$code"
has "compare: the median of the quotients and its interval" "$(grep ' ar ' "$tmp/out")" "| 2.000 | 1.571 to 2.545 | faster | lossless | lossless |"
has "compare: a row that became lossy says so" "$(grep wavefront "$tmp/out")" "| 1.000 | 1.000 to 1.000 | no difference seen | lossless | LOSSY |"
has "compare: three samples have no interval" "$(grep auto "$tmp/out")" "| 1.200 |  | too few samples |"
has "compare: what is in one file only" "$out" "3 pairs, geometric mean of B / A 1.339; only in A: 0, only in B: 1"
has "compare: what changed" "$out" '* commit: "old" -> "new" (3 pairs)'
run compare -o json "$tmp/old" "$tmp/new"
json_ok "compare -o json: JSON" "$out"
has "compare -o json: interval" "$out" '"ratio":2,"low":1.5714285714285714,"high":2.5454545454545454,"verdict":"faster"'
run compare --max-slowdown 20 "$tmp/new" "$tmp/old"
same "compare --max-slowdown: too slow: exit code" 7 "$code"
run compare --max-slowdown 20 "$tmp/old" "$tmp/new"
same "compare --max-slowdown: faster: exit code" 0 "$code"
row h chain 1 old true >"$tmp/other"
refuses "compare: nothing in common" 4 "no setting in common" compare "$tmp/old" "$tmp/other"
refuses "compare: an unknown key to ignore" 2 "'speed'" compare --ignore speed "$tmp/old" "$tmp/new"
row i ar 1,-2 old true >"$tmp/other"
refuses "compare: samples that cannot be" 4 "numbers above 0" compare "$tmp/old" "$tmp/other"

if [ -c /dev/full ]; then
    for sub in "help" "--version" "generate --help" tokenize; do
        # shellcheck disable=SC2086
        echo '{"text":"a"}' | "$muninn" $sub >/dev/full 2>"$tmp/err"
        same "$sub to a full disk: exit code" 1 $?
        has "$sub to a full disk: message" "$(cat "$tmp/err")" "standard output"
    done
fi
"$muninn" --version >&- 2>"$tmp/err"
same "stdout closed: exit code" 1 $?

VK_ICD_FILENAMES=$tmp/none VK_DRIVER_FILES=$tmp/none "$muninn" devices -o json >"$tmp/out" 2>"$tmp/err"
same "no driver: exit code" 3 $?
has "no driver: the message names a package" "$(cat "$tmp/err")" "package"
VK_ICD_FILENAMES=$tmp/none VK_DRIVER_FILES=$tmp/none "$muninn" generate -p x >"$tmp/out" 2>"$tmp/err"
same "generate without a driver: exit code" 3 $?

# ---- with a device ----

run devices
if [ "$code" -eq 3 ]; then
    echo "no Vulkan device: the rest is skipped"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ] && exit 77
    exit 1
fi
same "devices: exit code" 0 "$code"
has "devices: Markdown table" "$out" "|---|"
run devices -o json
json_ok "devices -o json is JSON" "$out"
has "devices -o json: banner" "$out" '"banner":"'
run info
same "info: exit code" 0 "$code"
run info -o json
json_ok "info -o json is JSON" "$out"
has "info -o json: shape" "$out" '"n_embd":128,"n_heads":4'
refuses "info on a missing folder" 4 "$tmp/none" info -m "$tmp/none"
run info -m "$vectors/retrofit-llama"
has "info: family and structure" "$out" "retrofit-llama: 2 prelude + 3 core, looped + 2 coda blocks"
has "info: grouped heads" "$out" "8 heads of 8, 2 for keys and values"
has "info: depth and where it comes from" "$out" "8 steps by default (mean_recurrence of config.json)"
run info -m "$vectors/ouro"
has "info: a looped stack" "$out" "ouro: 3 blocks, looped"
has "info: its depth" "$out" "4 steps by default (total_ut_steps of config.json), at most 4"
has "info: bytes read at each depth" "$out" "read per token   depth 1: "
run info -m "$vectors/llama-fixed-depth"
has "info: one step" "$out" "recurrence       none: one step"
# Sizes by hand. One block of width 16, padded by nothing: 6656 bytes of matrices in bf16, seven vectors of at most 256; a
# position takes 2 x 16 values in each of 4 slots, and 4 bytes for its depth.
shape=d=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64
run info --synthetic $shape -o json
json_ok "info --synthetic -o json is JSON" "$out"
has "info: weights by hand" "$out" '"n_parameters":3440,'
has "info: weights and cache by hand" "$out" '"memory":{"n_ctx":64,"num_steps":4,"kv_policy":"full","kv_type":"f16","weight_bytes":8448,"cache_bytes_per_token":256,"cache_bytes":16640,'
for key in model family device driver n_kv_heads head_dim intermediate_size vocab_size n_prelude n_core n_coda mean_recurrence max_recurrence block_size tied \
    qk_bias bos_token_id eos_token_ids weight_type prelude_bytes core_bytes coda_bytes scratch_bytes available_bytes largest_n_ctx fits would_fit; do
    has "info -o json holds $key" "$out" "\"$key\":"
done
run info --synthetic $shape -o json --num-steps 7 --kv-policy share:3 --kv-type f32 --weight-type f32 --ctx 100
has "info: cache of 3 steps in f32 by hand" "$out" '"memory":{"n_ctx":100,"num_steps":7,"kv_policy":"share:3","kv_type":"f32","weight_bytes":15104,"cache_bytes_per_token":384,"cache_bytes":38912,'
run info --synthetic family=retrofit-llama,d=32,heads=4,kv=2,head=8,ff=32,vocab=64,layers=1-1-1,steps=3,ctx=64 -o json
has "info: grouped heads by hand" "$out" '"cache_bytes_per_token":320,"cache_bytes":20736,'
run info --synthetic family=ouro,d=32,heads=4,ff=32,vocab=64,layers=2,steps=3,ctx=64 -o json
has "info: a looped stack by hand" "$out" '"prelude_bytes":0,"core_bytes":28672,"coda_bytes":4096,'
has "info: its cache by hand" "$out" '"cache_bytes_per_token":768,"cache_bytes":49408,'
run info --synthetic $shape -o json --kv-type q8
has "info: a q8 cache by hand" "$out" '"kv_type":"q8","weight_bytes":8448,"cache_bytes_per_token":288,"cache_bytes":18688,'
run info --synthetic huginn-3.5b -o json --kv-type q8
has "info: Huginn's q8 cache by hand" "$out" '"cache_bytes_per_token":1481040,'
# What does not fit: still a report, exit code 6, one line that says what would.
run info --synthetic $shape -o json --memory 0.001 --ctx 9999
same "info: does not fit: exit code" 6 "$code"
json_ok "info: does not fit: JSON" "$out"
has "info: does not fit: it says so" "$out" '"fits":false,"would_fit":"--ctx '
fit=$(printf %s "$out" | sed -n 's/.*"would_fit":"--ctx \([0-9]*\)".*/\1/p')
same "info: does not fit: one line" 1 "$(wc -l <"$tmp/err" | tr -d ' ')"
has "info: does not fit: what would" "$err" "--ctx $fit would fit"
run info --synthetic $shape --memory 0.001 --ctx "$fit"
same "info: what would fit does" 0 "$code"
run info --synthetic $shape --memory 0.001 --ctx $((fit + 1))
same "info: and no position more" 6 "$code"
run info --synthetic huginn-3.5b --weight-type bf16 --memory 14 --ctx 4000
has "info: a smaller cache that takes all positions" "$err" ", or --kv-type q8 would fit"
run info --synthetic huginn-3.5b --weight-type bf16 --memory 14 --ctx 4000 --kv-type q8
same "info: and does fit" 0 "$code"
run info --synthetic huginn-3.5b --weight-type bf16 --memory 20 --ctx 4000 --kv-type f32
has "info: of smaller types the first that does" "$err" ", or --kv-type f16 would fit"
run info --synthetic huginn-3.5b --memory 12 --weight-type f32
same "info: weights that do not fit: exit code" 6 "$code"
has "info: weights that do not fit: smaller ones" "$err" "4096 positions need 25923.26 MB of 12000.00 MB: --weight-type q8_0 --kv-type q8 would fit"
run info --synthetic huginn-3.5b --memory 80 --ctx 8000
same "info: more than one binding holds: exit code" 6 "$code"
has "info: more than one binding holds" "$err" "8000 positions: the cache of one block is more than a device binds at once"
run info --synthetic huginn-3.5b --memory 1
has "info: nothing would fit" "$err" "nothing that this program has would fit"
refuses "info: a folder and a shape" 2 "--synthetic and --model" info -m "$model" --synthetic $shape
refuses "info: no such shape" 2 "raven-tinyllama" info --synthetic nothing
refuses "info: deeper than the model" 2 "num_steps 5" info -m "$vectors/ouro" --num-steps 5
run info -m "$vectors/ouro" --num-steps 5 --beyond-trained-depth
same "info: deeper all the same" 0 "$code"

# The depth that nobody asked for is named where config.json may not know it.
note='8 recurrence steps (mean_recurrence of config.json; --num-steps sets it)'
printf '{"context_ids":[1,2],"continuation_ids":[3]}\n' >"$tmp/scored"
printf '{"ids":[1,2],"n":2}\n{"ids":[2,1],"n":2}\n' >"$tmp/lines"
notes() { grep -c "^muninn: $note" "$tmp/err"; }
depth_note() { # NAME ARGS...: said once without --num-steps, not with it
    name=$1
    shift
    run "$@"
    same "$name: exit code" 0 "$code"
    same "$name: the default depth, once" 1 "$(notes)"
    run "$@" --num-steps 8
    same "$name: not a depth that was asked for" 0 "$(notes)"
}
depth_note "generate" generate -m "$vectors/retrofit-llama" --ids 1,2,3 -n 3
depth_note "generate --batch" generate -m "$vectors/retrofit-llama" --batch "$tmp/lines"
depth_note "score" score -m "$vectors/retrofit-llama" -f "$tmp/scored"
depth_note "trace" trace -m "$vectors/retrofit-llama" --ids 1,2,3 -n 1
depth_note "logits" logits -m "$vectors/retrofit-llama" --ids 1,2,3
depth_note "bench" bench -m "$vectors/retrofit-llama" -n 2 -r 1 --min-seconds 0 --strategy ar
printf '{"ids":[1,2],"n":2,"num_steps":2}\n' >"$tmp/lines"
run generate -m "$vectors/retrofit-llama" --batch "$tmp/lines"
same "generate --batch: depths of its lines" 0 "$(notes)"
run generate -m "$vectors/ouro" --ids 1,2,3 -n 2
same "no note on families whose depth is known" 0 "$(grep -c 'recurrence steps' "$tmp/err")"
refuses "--device unknown" 2 "device 'nosuchdevice'" info --device nosuchdevice

run selftest --quick
same "selftest --quick: exit code" 0 "$code"
has "selftest: NMSE of each case" "$out" "NMSE"
has "selftest: sum" "$out" " 0 failed"
refuses "selftest on an unknown device" 2 "device 'nosuchdevice'" selftest --device nosuchdevice

# The tokens of the reference, by --ids and by --prompt, for every strategy.
n=0
while read -r line && [ $n -lt 4 ]; do
    n=$((n + 1))
    ids=$(printf %s "$line" | numbers ids)
    steps=$(printf %s "$line" | sed 's/.*"num_steps": \([0-9]*\).*/\1/')
    prompt=$(printf %s "$line" | string prompt)
    wanted=$(printf %s "$line" | numbers tokens)
    run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos -o json
    same "vector $n: ar: exit code" 0 "$code"
    json_ok "vector $n: ar: JSON" "$out"
    same "vector $n: ar: tokens of the reference" "$wanted" "$(printf %s "$out" | numbers tokens)"
    run generate -p "$prompt" --num-steps "$steps" -n 32 --ignore-eos -o json --strategy draft-verify --draft-steps 2 --lookahead 5
    json_ok "vector $n: draft-verify: JSON" "$out"
    same "vector $n: the prompt's ids" "$ids" "$(printf %s "$out" | numbers prompt_ids)"
    same "vector $n: draft-verify: tokens of the reference" "$wanted" "$(printf %s "$out" | numbers tokens)"
    has "vector $n: draft-verify: lossless" "$out" '"lossless":true'
    run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos -o json --strategy wavefront --draft-steps 2
    json_ok "vector $n: wavefront: JSON" "$out"
    same "vector $n: wavefront: tokens of the reference" "$wanted" "$(printf %s "$out" | numbers tokens)"
    run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos --special
    same "vector $n: text of the reference" "$(printf %s "$line" | string text)" "$out"
done <"$vectors/raven-tiny-generate.jsonl"

# The cost table of auto goes where the caller's caches are. Shaders, which a driver would compile anew, stay where they were.
: "${MESA_SHADER_CACHE_DIR:=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}}"
XDG_CACHE_HOME=$tmp/cache
export MESA_SHADER_CACHE_DIR XDG_CACHE_HOME
run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos -o json --strategy auto
json_ok "auto: JSON" "$out"
same "auto: tokens of the reference" "$wanted" "$(printf %s "$out" | numbers tokens)"
has "auto: lossless" "$out" '"lossless":true'
has "auto: its choice" "$out" '"chosen_strategy":"'
sed 's/,"core_ns":\[/&9/' "$tmp"/cache/muninn/costs-*.json >"$tmp/costs"
cp "$tmp/costs" "$(find "$tmp/cache/muninn" -name 'costs-*.json')"
run generate --ids "$ids" --num-steps "$steps" -n 4 --ignore-eos -o json --strategy auto
has "auto: a damaged cost table is measured again" "$err" "measured again"
same "auto: one cost table stored" 1 "$(find "$tmp/cache/muninn" -name 'costs-*.json' | wc -l | tr -d ' ')"

# Lossy ways say so everywhere, and --compare-ar says how far they strayed.
run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos -o json --strategy diffusion --compare-ar
json_ok "diffusion: JSON" "$out"
has "diffusion: lossy" "$out" '"lossless":false,"lossy_because":"strategy diffusion"'
has "diffusion: its policy" "$out" '"kv_policy":"share:1"'
has "diffusion: agreement" "$out" '"agreement":{"compared":32,"equal":'
has "diffusion: LOSSY on stderr" "$err" "LOSSY (strategy diffusion)"
has "diffusion: agreement on stderr" "$err" "against ar with a full cache: "
run generate --ids "$ids" --num-steps "$steps" -n 32 --ignore-eos -o json --strategy wavefront --compare-ar
has "--compare-ar of a lossless run" "$out" '"agreement":{"compared":32,"equal":32,"rate":1,"diverged":false,"forced_agreement":1}'
has "wavefront: cost model beside the measure" "$out" '"tick_weight_bytes_model":'
run generate --ids "$ids" --num-steps 8 -n 12 --ignore-eos --continuous
has "--continuous: LOSSY" "$err" "LOSSY (continuous)"
run generate --ids "$ids" --num-steps 8 -n 12 --ignore-eos --strategy draft-verify --verification-threshold 0.5
has "--verification-threshold: LOSSY" "$err" "LOSSY (verification_threshold)"
run generate --ids "$ids" --num-steps 8 -n 12 --ignore-eos --strategy wavefront --draft-steps 3 --special --trace "$tmp/trace.jsonl"
has "wavefront: cost model in the summary" "$err" "a tick of "
has "trace: settings first" "$(head -n 1 "$tmp/trace.jsonl")" '{"event":"prompt","strategy":"wavefront","lossless":true,"num_steps":8,"draft_steps":3,'
same "trace: JSON lines" 0 "$(while read -r record; do printf '{"text":"","json":%s}\n' "$record"; done <"$tmp/trace.jsonl" | "$muninn" tokenize >/dev/null 2>&1; echo $?)"
has "trace: device and model" "$(head -n 1 "$tmp/trace.jsonl")" '"model":"raven-tiny","model_hash":"'
texts=$(sed 's/.*,"texts":\[\([^]]*\)\].*/\1/; s/","//g; s/"//g' "$tmp/trace.jsonl" | tr -d '\n')
same "trace: the texts of its tokens are the text" "$out" "$texts"
run report "$tmp/trace.jsonl" -o "$tmp/trace.html"
same "trace: the report reads it" "0 " "$code $err"
refuses "diffusion with a full cache" 2 "share:1" generate -p x --strategy diffusion --kv-policy full
refuses "diffusion under --require-lossless" 2 "require_lossless" generate -p x --strategy diffusion --require-lossless
refuses "--continuous with draft-verify" 2 "--continuous has no effect with --strategy draft-verify" generate -p x --strategy draft-verify --continuous
refuses "--verification-threshold above 1" 2 "--verification-threshold 1.5:" generate -p x --strategy draft-verify --verification-threshold 1.5
refuses "--compare-ar with --batch" 2 "--compare-ar" generate --batch "$tmp/none" --compare-ar
refuses "--parallel without --batch" 2 "--parallel" generate -p x --parallel 2
refuses "--batch beside -p" 2 "more than one prompt" generate -p x --batch "$tmp/none"
refuses "--batch with a missing file" 4 "$tmp/none" generate --batch "$tmp/none"

# The table of docs/models.md is what its command prints; scratch is planned with the tiles of a CPU device.
if "$muninn" devices | grep -q llvmpipe; then
    if sh "$2/bench/models_table.sh" "$muninn" >"$tmp/table" && sed -n '/^<!-- models_table.sh -->$/,/^<!-- end -->$/p' "$2/docs/models.md" | sed '1d;$d' |
        cmp -s - "$tmp/table"; then
        ok "table of docs/models.md"
    else
        not_ok "table of docs/models.md" "bench/models_table.sh $muninn prints another one:" "$(cat "$tmp/table")"
    fi
fi

# The pictures of docs/strategies.md are what their commands show.
if sh "$2/docs/pictures.sh" "$muninn" "$2/docs/strategies.md" >"$tmp/page" && cmp -s "$tmp/page" "$2/docs/strategies.md"; then
    ok "pictures of docs/strategies.md"
else
    not_ok "pictures of docs/strategies.md" "$(diff "$2/docs/strategies.md" "$tmp/page" | head -n 20)"
fi

# Batches: a line per sequence and a total; the tokens of each alone.
head -n 4 "$vectors/raven-tiny-generate.jsonl" >"$tmp/cases"
sed 's/.*"ids": *\(\[[0-9, ]*\]\).*"num_steps": *\([0-9]*\).*/{"ids":\1,"num_steps":\2,"n":32,"id":"x"}/; t
     s/.*"num_steps": *\([0-9]*\).*"ids": *\(\[[0-9, ]*\]\).*/{"ids":\2,"num_steps":\1,"n":32,"id":"x"}/' "$tmp/cases" >"$tmp/batch"
for strategy in ar 'draft-verify --draft-steps 2 --lookahead 3' 'wavefront --draft-steps 2'; do
    # shellcheck disable=SC2086
    run generate --batch "$tmp/batch" --strategy $strategy --parallel 3 --ignore-eos --trace "$tmp/trace"
    same "batch: $strategy: exit code" 0 "$code"
    same "batch: $strategy: a line per sequence and the total" 5 "$(wc -l <"$tmp/out" | tr -d ' ')"
    json_ok "batch: $strategy: JSON" "[$(paste -s -d, "$tmp/out")]"
    same "batch: $strategy: tokens of the reference" "$(numbers tokens <"$tmp/cases" | sort)" "$(numbers tokens <"$tmp/out" | sort)"
    has "batch: $strategy: total" "$(tail -n 1 "$tmp/out")" '{"total":{'
    has "batch: $strategy: ids are handed back" "$(head -n 1 "$tmp/out")" '"id":"x"'
    has "batch: $strategy: trace names the sequence" "$(head -n 1 "$tmp/trace")" '{"sequence":'
done
for bad in '{}' x '[1]' '{"prompt":"a","ids":[1]}' '{"ids":[]}' '{"ids":[512]}' '{"prompt":"a","n":0}' '{"prompt":"a","tokens":1}' '{"prompt":1}' '{"prompt":"a","id":[]}'; do
    printf '{"prompt":"b"}\n\n%s\n' "$bad" >"$tmp/bad"
    refuses "batch: bad line $bad" 4 "$tmp/bad: line 3:" generate --batch "$tmp/bad"
done
printf '{"prompt":"b"}\n{"prompt":"a","n":600}\n' >"$tmp/bad"
run generate --batch "$tmp/bad"
same "batch: a sequence that does not fit: exit code" 2 "$code"
has "batch: a sequence that does not fit: its line in the file" "$err" "$tmp/bad: line 2: a prompt of"
has "batch: a sequence that does not fit: its answer" "$(grep '"index":1' "$tmp/out")" '"error":"a prompt of '
has "batch: a sequence that does not fit: the other one ran" "$(grep '"index":0' "$tmp/out")" '"finish_reason":"eos"'
has "batch: a sequence that does not fit: total" "$(tail -n 1 "$tmp/out")" '"sequences":1,'
json_ok "batch: a sequence that does not fit: JSON" "[$(paste -s -d, "$tmp/out")]"
# What is wrong with all of them is said once; settings are refused as a whole.
printf '{"prompt":"b"}\n{"prompt":"a"}\n{"prompt":"c"}\n' >"$tmp/bad"
run generate --batch "$tmp/bad" --ctx 4 -n 9
same "batch: none can run: exit code" 2 "$code"
same "batch: none can run: messages" 2 "$(wc -l <"$tmp/err" | tr -d ' ')"
has "batch: none can run: how many" "$err" "$tmp/bad: 2 more lines that cannot run"
same "batch: none can run: a line for each" 3 "$(grep -c '"finish_reason":"error"' "$tmp/out")"
refuses "batch: settings that none can run with" 2 "no effect with --strategy ar" generate --batch "$tmp/bad" --verification-threshold 0.5
# A cache for more steps than any device has memory for.
printf '{"prompt":"a","num_steps":4096,"n":2}\n{"prompt":"b","n":2}\n{"prompt":"a","num_steps":4000,"n":2}\n' >"$tmp/bad"
run generate --batch "$tmp/bad" --ctx 512
if [ "$code" -ne 0 ]; then # a device may have it
    same "batch: too deep for the device: exit code" 6 "$code"
    has "batch: too deep for the device: its line in the file" "$err" "$tmp/bad: line 1: cache: "
    same "batch: too deep for the device: the other one ran" 1 "$(grep -c '"tokens":\[[0-9]' "$tmp/out")"
    same "batch: too deep for the device: refused" 2 "$(grep -c '"error":"cache: ' "$tmp/out")"
fi
# A prompt that never becomes ids.
{ printf '{"prompt":"b","n":2}\n{"prompt":"'; head -c 1100000 /dev/zero | tr '\0' a; printf '","id":"long"}\n'; } >"$tmp/bad"
run generate --batch "$tmp/bad"
has "batch: a prompt without ids: its line in the file" "$err" "$tmp/bad: line 2: a prompt of 1100001 tokens"
has "batch: a prompt without ids: its answer" "$(head -n 1 "$tmp/out")" '"id":"long","prompt_ids":[],"tokens":[],"text":"","error":"a prompt of '
same "batch: a prompt without ids: the other one ran" 1 "$(grep -c '"finish_reason":"length"' "$tmp/out")"
same "batch: a prompt without ids: exit code" 4 "$code"
: >"$tmp/bad"
refuses "batch: an empty file" 4 "no line with a prompt" generate --batch "$tmp/bad"

# What editors put in front of a file: skipped before JSON, kept in a prompt, named where it is not UTF-8.
printf '\357\273\277{"prompt":"sort 2 8 :"}\r\n' >"$tmp/marked"
run generate --batch "$tmp/marked" --num-steps 1 -n 1
same "batch: a byte order mark in front" 0 "$code"
printf '{"prompt":"b"}\n{"prompt":"b","id":NaN}\n' >"$tmp/bad"
refuses "batch: NaN" 4 "$tmp/bad: line 2: JSON: key 'id': value NaN" generate --batch "$tmp/bad"
printf '\357\273\277sort' >"$tmp/marked"
run generate -f "$tmp/marked" --num-steps 1 -n 1
same "-f: a byte order mark stays" 0 "$code"
has "-f: a byte order mark stays, with a warning" "$err" "$tmp/marked: begins with a byte order mark"
printf '\377\376s\000' >"$tmp/marked"
refuses "-f: UTF-16" 4 "$tmp/marked: this is UTF-16" generate -f "$tmp/marked"

# Numbers of other writers' rows come out in their own digits; what a browser could not hold is a text on the page.
printf '{"key":"a","bench":"run","seed":1234567890123456789,"decode_tok_s":1.50}\n' >"$tmp/exact"
run merge "$tmp/exact" -o jsonl
has "merge: numbers stay, to the last digit" "$out" '"seed":1234567890123456789,"decode_tok_s":1.50'
run report "$tmp/exact" -o -
has "report: integers stay, to the last digit" "$(grep '1234567890123456789' "$tmp/out")" '"seed":"1234567890123456789","decode_tok_s":1.50'

# Figures of a text that ends on a draft: what was committed, not what stood behind the end.
run generate -p 'sort 2 8 0 1 9 4 :' -n 40 --strategy draft-verify --draft-steps 16 --lookahead 15 --stop ' 1' -o json
has "stop string: tokens per round are those committed" "$out" '"new_tokens":4,'
has "stop string: drafts behind it are in no figure" "$out" '"rounds":1,"drafted":3,"accepted":3,"acceptance_rate":1,"mean_acceptance_length":3,'
has "stop string: on the terminal as well" "$err" "(3.00 tokens per round)"
has "stop string: so does the histogram" "$out" '"accepted_lengths":[0,0,0,1,0,'

run generate -p 'sort 2 8 0 1 1 2 :' --num-steps 8 -o json --strategy draft-verify
for key in device driver strategy lossless num_steps draft_steps lookahead lookup branches prompt_tokens prefill_tok_s decode_tok_s new_tokens rounds drafted \
    accepted acceptance_rate mean_acceptance_length acceptance_per_position accepted_lengths core_passes prelude_passes coda_passes \
    gamma proposal_shares agreement_by_depth looked_up most_inflight weight_bytes_per_token kv_bytes_per_token gb_s submits dispatches prefill_ms draft_ms verify_ms decode_ms kv_policy kv_type weight_type \
    seed temperature ttft_ms inter_token_p50_ms inter_token_p95_ms inter_token_p99_ms device_peak_bytes; do
    has "stats hold $key" "$out" "\"$key\":"
done
has "stats: end token" "$out" '"finish_reason":"eos"'
has "text without special tokens" "$out" '"text":" 0 1 1 2 2 8"'
same "summary and banner: three lines on stderr" 3 "$(wc -l <"$tmp/err" | tr -d ' ')"
has "summary: lossless" "$err" "lossless"
has "summary: waiting and memory" "$err" " MB on the device"
same "stats: what the system does not show is absent, not 0" 0 "$(printf '%s' "$out" | grep -c '"energy_j":0[,}]\|"clock_mhz":0[,}]')"
run generate -p 'sort 2 8 0 1 1 2 :' --num-steps 8 --kv-policy share:2
same "lossy run: exit code" 0 "$code"
has "summary: LOSSY" "$err" "LOSSY"
run generate -p 'sort 2 8 :' --num-steps 1 -n 1 -o json
json_ok "one token: JSON (nothing to divide by)" "$out"
has "begin token in front" "$out" '"prompt_ids":[0,393'
run generate -p '<|begin_text|>sort 2 8 :' --num-steps 1 -n 1 -o json
has "begin token not twice" "$out" '"prompt_ids":[0,393'
run generate -p 'sort 2 8 :' --no-bos --num-steps 1 -n 1 -o json
has "--no-bos" "$out" '"prompt_ids":[393'
run generate -p '' --num-steps 1 -n 1 -o json
has "empty prompt is the begin token" "$out" '"prompt_ids":[0]'
refuses "empty prompt without begin token" 2 "prompt is empty" generate -p '' --no-bos
printf 'sort 2 8 :' >"$tmp/prompt"
run generate -f "$tmp/prompt" --num-steps 1 -n 1 -o json
has "-f FILE" "$out" '"prompt_ids":[0,393'
"$muninn" generate -f - --num-steps 1 -n 1 -o json <"$tmp/prompt" >"$tmp/out" 2>"$tmp/err"
has "-f -" "$(cat "$tmp/out")" '"prompt_ids":[0,393'
run generate -p 'hi' --chat --num-steps 1 -n 1 -o json
has "--chat: template" "$out" '"prompt_ids":[0,2,'
refuses "prompt that is not UTF-8" 2 "UTF-8" generate -p "$(printf 'a\377')"

# Sampling: the seed decides, not the strategy.
run generate -p 'map' --num-steps 8 --temp 1 --top-k 40 --top-p 0.95 --min-p 0.01 --seed 7 -n 24 --ignore-eos -o json
first=$(printf %s "$out" | numbers tokens)
json_ok "sampled: JSON" "$out"
run generate -p 'map' --num-steps 8 --temp 1 --top-k 40 --top-p 0.95 --min-p 0.01 --seed 7 -n 24 --ignore-eos -o json --strategy draft-verify
same "sampled: draft-verify gives the tokens of ar" "$first" "$(printf %s "$out" | numbers tokens)"

# Stop strings. " behind the mill." comes as " b", "e", "h", "ind", ...
kai='Kai crosses the clever river'
for strategy in ar 'draft-verify --draft-steps 2' 'wavefront --draft-steps 2'; do
    # shellcheck disable=SC2086
    run generate -p "$kai" --num-steps 4 --strategy $strategy --stop hind -o json
    has "$strategy: --stop across tokens: text ends before it" "$out" '"text":" be"'
    same "$strategy: --stop across tokens: ends at the token that completes it" 271,74,77,446 "$(printf %s "$out" | numbers tokens)"
    has "$strategy: --stop: reason" "$out" '"finish_reason":"stop"'
    # shellcheck disable=SC2086
    run generate -p "$kai" --num-steps 4 --strategy $strategy --stop zzz --stop hind
    same "$strategy: --stop: streamed text" " be" "$out"
done
run generate -p "$kai" --num-steps 4 --stop hinX --stop 'mill.Y'
same "--stop: what was held back comes out" " behind the mill." "$out"

refuses "--lookahead of 0" 2 "--lookahead 0:" generate -p x --strategy draft-verify --lookahead 0
refuses "--exit unknown" 2 "exit.rule confidence:" generate -p x --exit confidence
refuses "--exit in wavefront" 2 "--exit has no effect with --strategy wavefront" generate -p x --strategy wavefront --exit kl
refuses "wavefront: --draft-steps not below --num-steps" 2 "draft_steps 8" generate -p x --num-steps 8 --draft-steps 8 --strategy wavefront
for strategy in ar draft-verify wavefront auto; do
    refuses "$strategy: share:k under --require-lossless" 2 "require_lossless: kv_policy share:k" generate -p x --num-steps 4 --strategy $strategy --kv-policy share:2 --require-lossless
done
refuses "--draft-steps not below --num-steps" 2 "draft_steps 8" generate -p x --num-steps 8 --draft-steps 8 --strategy draft-verify
refuses "draft-verify with one step" 2 "num_steps 1" generate -p x --num-steps 1 --strategy draft-verify
refuses "context too small" 2 "(n_ctx)" generate -p x -n 100 --ctx 50
refuses "token id outside the vocabulary" 2 "token id 512 at place 2" generate --ids 0,512
refuses "logits: token id outside the vocabulary" 2 "token id 512 at place 2" logits --ids 0,512

# A model without tokenizer.json runs on ids.
refuses "text without a tokenizer" 4 "tokenizer.json" generate -m "$vectors/square" -p x
run generate -m "$vectors/square" --ids 1,2,3 --num-steps 2 -n 3
same "ids without a tokenizer: three ids" 3 "$(printf '%s\n' "$out" | wc -w | tr -d ' ')"
run generate -m "$vectors/square" --ids 1,2,3 --num-steps 2 -n 3 -o json
json_ok "ids without a tokenizer: JSON" "$out"

# logits
ids=$(numbers prompt_ids <"$tmp/out")
run logits -m "$vectors/square" --ids "$ids" --num-steps 4 --kv-type f32
same "logits: exit code" 0 "$code"
same "logits: a line per position" 3 "$(wc -l <"$tmp/out" | tr -d ' ')"
json_ok "logits: JSON" "$(sed -n 2p "$tmp/out")"
golden=$vectors/square/golden.safetensors
refuses "--state0 without key" 2 "--state0" logits -m "$vectors/square" --ids 1 --state0 "$golden"
refuses "--state0 missing file" 4 "$tmp/none" logits -m "$vectors/square" --ids 1 --state0 "$tmp/none:state0"
# A prompt may come from a pipe, and is then waited for; a model's files may not.
mkfifo "$tmp/prompt"
(sleep 1 && printf 'sort 2 1 :' >"$tmp/prompt") &
run generate -f "$tmp/prompt" -n 1 </dev/null
wait
same "a prompt from a pipe" 0 "$code"
mkdir "$tmp/piped"
mkfifo "$tmp/piped/config.json"
refuses "a model from a pipe" 4 "config.json: not a regular file but a named pipe" info -m "$tmp/piped"
# The default model beside the executable is there but broken: that is said, and no other one taken.
mkdir -p "$tmp/moved/bin" "$tmp/moved/share/muninn/models/raven-deep"
cp "$muninn" "$tmp/moved/bin/muninn"
ln -s ../blobs/none "$tmp/moved/share/muninn/models/raven-deep/config.json"
muninn_here=$muninn muninn=$tmp/moved/bin/muninn MUNINN_MODEL=
refuses "a broken default model" 4 "config.json: a link to '../blobs/none', which is not there" info
muninn=$muninn_here MUNINN_MODEL=$model
refuses "--state0 missing tensor" 4 "'nokey' is missing" logits -m "$vectors/square" --ids 1 --state0 "$golden:nokey"
refuses "--state0 wrong type" 4 "must be F32" logits -m "$vectors/square" --ids 1 --state0 "$golden:ids"
refuses "--state0 wrong shape" 4 "must be [1, 64]" logits -m "$vectors/square" --ids 1 --state0 "$golden:state0"

# Sweeps, on a model small enough that nothing takes long.
shape=d=16,heads=2,ff=16,vocab=64,layers=0-1-0,steps=4,ctx=64
sweep="bench --synthetic $shape -r 1 --min-seconds 0 -n 6 --draft-steps 1,2 --lookahead 2 --strategy ar,draft-verify,wavefront,diffusion --batch 1,2"
table_rows() { grep '^| ' "$1" | grep -vc '^| \(best\|strategy\) '; } # tables of a sweep with several caches
keys() { sed -n 's/.*"key":"\([^"]*\)".*/\1/p' "$1" | sort; }
# shellcheck disable=SC2086
"$muninn" $sweep --results "$tmp/all" -o md --output-err csv >"$tmp/out" 2>"$tmp/err"
same "bench: exit code" 0 $?
same "bench: a row for each setting that can run" 12 "$(wc -l <"$tmp/all" | tr -d ' ')"
same "bench: the table has them all" 12 "$(table_rows "$tmp/out")"
same "bench: CSV on stderr, and what was left out" 14 "$(grep -vc "warning: read bandwidth\|warning: the drafts of" "$tmp/err")"
has "bench: what was left out is counted" "$(cat "$tmp/err")" "2 combinations cannot run"
json_ok "bench: rows are JSON" "[$(paste -s -d, "$tmp/all")]"
same "bench: lossy rows are there, and say so" 2 "$(grep -c '"lossless":false,"lossy_because":"strategy diffusion"' "$tmp/all")"
same "bench: lossless rows equal ar, in batches too" 10 "$(grep -c '"lossless":true,"lossy_because":"","equals_ar":true,"agreement":1,' "$tmp/all")"
same "bench: prompt tokens are not generated ones" 12 "$(grep -c '"total_prompt_tokens":96,"total_new_tokens":24,' "$tmp/all")"
same "bench: no progress bar in a file" 0 "$(grep -c "$(printf '\r')" "$tmp/err")"
for i in 1 2 3; do
    # shellcheck disable=SC2086
    "$muninn" $sweep --results "$tmp/shard$i" --shard $i/3 >/dev/null 2>&1
done
run merge "$tmp/shard1" "$tmp/shard2" "$tmp/shard3"
same "bench: shards make the whole, each setting once" "$(keys "$tmp/all")" "$(keys "$tmp/out")"
same "bench: merged rows have speedups" 12 "$(grep -c '"speedup":' "$tmp/out")"

# Killed again and again, each time when some more bytes are there: no row is lost, none is there twice.
size=$(wc -c <"$tmp/all")
: >"$tmp/killed"
for part in 2 31 58 91; do
    # shellcheck disable=SC2086
    "$muninn" $sweep --results "$tmp/killed" --resume >/dev/null 2>&1 & # not through a function: its shell would be killed instead
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(wc -c <"$tmp/killed")" -lt $((size * part / 100)) ]; do
        sleep 0.05 2>/dev/null || sleep 1
    done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
done
# shellcheck disable=SC2086
"$muninn" $sweep --results "$tmp/killed" --resume >"$tmp/out" 2>"$tmp/err"
same "bench: resumed after kills: exit code" 0 $?
same "bench: resumed after kills: each row once" "$(keys "$tmp/all")" "$(keys "$tmp/killed")"
same "bench: resumed after kills: the table has them all" 12 "$(table_rows "$tmp/out")"
echo "not a results file" >"$tmp/letter"
refuses "bench: a file of something else" 4 "$tmp/letter: line 1:" bench --synthetic $shape --results "$tmp/letter"
same "bench: a file of something else stays" "not a results file" "$(cat "$tmp/letter")"
run bench --synthetic $shape -r 1 --min-seconds 0 -n 8 --draft-steps 1 --lookahead 3 --strategy draft-verify --acceptance 1,0 -o jsonl
has "bench: forced acceptance" "$out" '"acceptance_per_position":[1,0,0],"accepted_lengths":[4,12,0,0]'
has "bench: forced acceptance is lossy" "$out" '"lossless":false,"lossy_because":"forced acceptance"'
run bench --kernels --synthetic $shape -r 1 --min-seconds 0 -o jsonl
same "bench --kernels: exit code" 0 "$code"
same "bench --kernels: four passes of 1 to 32 rows" 128 "$(grep -c '"bench":"pass"' "$tmp/out")"
same "bench --kernels: the floor" 1 "$(grep -c '"bench":"floor"' "$tmp/out")"
if grep -q '"bench":"kernel"' "$tmp/out"; then
    for what in embed adapter qkv attention projection gate down norm head argmax; do
        has "bench --kernels: $what" "$out" "\"what\":\"$what\""
    done
fi
printf '{"question_id":1,"category":"x","turns":["sort 2 1 :","sort 3 2 :"]}\n' >"$tmp/questions"
run bench --prompts "$tmp/questions" --answers "$tmp/answers" -r 1 --min-seconds 0 -n 5 --num-steps 2 --draft-steps 1 --lookahead 2 --strategy draft-verify -o jsonl
same "bench --answers: exit code" 0 "$code"
has "bench --prompts: two turns" "$out" '"prompts":2,"prompt_set":"questions#'
answer=$(cat "$tmp"/answers/*.jsonl)
json_ok "bench --answers: JSON" "$answer"
has "bench --answers: as Spec-Bench has it" "$answer" '{"question_id":1,"category":"x","answer_id":"'
for key in model_id choices index turns decoding_steps new_tokens wall_time accept_lengths tstamp; do
    has "bench --answers: $key" "$answer" "\"$key\":"
done

# Output that cannot be written, interrupts.
if [ -c /dev/full ]; then
    for output in text json; do
        "$muninn" generate -p x --num-steps 2 -n 8 --ignore-eos -o $output >/dev/full 2>"$tmp/err"
        same "generate -o $output to a full disk: exit code" 1 $?
        same "generate -o $output to a full disk: said once" 1 "$(grep -c 'standard output' "$tmp/err")"
    done
    "$muninn" logits --ids 1,2 --num-steps 2 >/dev/full 2>"$tmp/err"
    same "logits to a full disk: exit code" 1 $?
fi
{
    "$muninn" generate -p x --num-steps 2 -n 64 --ignore-eos 2>"$tmp/err"
    echo $? >"$tmp/code"
} | true
same "closed pipe: exit code" 141 "$(cat "$tmp/code")"
same "closed pipe: no complaint" 0 "$(grep -c 'standard output\|interrupted' "$tmp/err")"

# 490 tokens of 256 steps take seconds on any device. The strategies are interrupted inside a round, a wave and a window.
for how in text json 'json --strategy draft-verify' 'json --strategy wavefront --draft-steps 16' 'json --strategy diffusion --freeze-threshold 1e-9'; do
    output=$how
    # shellcheck disable=SC2086
    run_interrupted generate -p x --num-steps 256 -n 490 --ignore-eos -o $how
    same "SIGINT during generate -o $output: exit code" 130 "$code"
    has "SIGINT during generate -o $output: said so" "$(cat "$tmp/err")" "interrupted"
    if [ -s "$tmp/out" ]; then ok "SIGINT during generate -o $output: what there is"; else not_ok "SIGINT during generate -o $output: no output"; fi
    case $how in
    json*)
        json_ok "SIGINT during generate -o $how: JSON" "$(cat "$tmp/out")"
        has "SIGINT during generate -o $how: reason" "$(cat "$tmp/out")" '"finish_reason":"interrupted"'
        ;;
    esac
done

# ---- end tokens: those of the tokenizer where no configuration names any ----

mkdir "$tmp/no-end"
cp "$model/model.safetensors" "$model/tokenizer.json" "$tmp/no-end"
sed -e '/"eos_token_id"/d' "$model/config.json" >"$tmp/no-end/config.json"
run info -m "$tmp/no-end" -o json
has 'no end token at all' "$out" '"eos_token_ids":[]'
for named in '"<|end_turn|>"' '{"content":"<|end_turn|>","lstrip":false}'; do
    echo "{\"eos_token\":$named}" >"$tmp/no-end/tokenizer_config.json"
    run info -m "$tmp/no-end" -o json
    has "the end token of tokenizer_config.json: $named" "$out" '"eos_token_ids":[4]'
done
echo '{"eos_token":"<|nowhere|>"}' >"$tmp/no-end/tokenizer_config.json"
run info -m "$tmp/no-end"
same 'an end token that the tokenizer does not have: exit code' 4 "$code"
has 'an end token that the tokenizer does not have' "$err" "key 'eos_token': value \"<|nowhere|>\": tokenizer.json has no such token"

finish
