#!/bin/sh
# Goal: `muninn divergence` says of two types of one model what their logits say, whatever form the texts came in, what ran beside them and
# how often it was killed; and refuses every line that it cannot take by name.
#
# Method: raven-tiny on small files. The figures of a row are worked out again here from what `muninn logits` prints.
# Usage: tests/test_cli_divergence.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

number() { sed -n "s/.*\"$1\":\([-0-9.a-z+]*\).*/\1/p"; }
# rows without what differs between two runs
bare() { sed 's/"time":"[^"]*",//' "$1" | sort; }

# ---- before there is a device ----

refuses "no file" 2 "-f FILE" divergence --weight-type f32
refuses "no types" 2 "--weight-type LIST" divergence -f x
refuses "--resume without --results" 2 "--results" divergence -f x --weight-type f32 --resume
refuses "a file that is missing" 4 "$tmp/none" divergence -f "$tmp/none" --weight-type f32
refuses "--kv-type unknown" 2 "--kv-type" divergence -f x --weight-type f32 --kv-type f8
refuses "--reference-kv-type unknown" 2 "--reference-kv-type" divergence -f x --weight-type f32 --reference-kv-type f8
refuses "--num-steps backwards" 2 "--num-steps" divergence -f x --weight-type f32 --num-steps 8-2

"$muninn" generate --ids 1 -n 1 --num-steps 1 >/dev/null 2>&1
if [ $? -eq 3 ]; then
    echo "skipped: no Vulkan device"
    exit 77
fi

# ---- figures ----

printf '%s\n' '{"text":"sort 2 8 0 1 : 0 1 2 8"}' '' '{"ids":[0,393,226,23,226,29,226,21]}' '{"text":"Kai crosses the clever","more":[1]}' >"$tmp/texts"
run divergence -f "$tmp/texts" --weight-type bf16,f32 --kv-type f32,f16 --num-steps 4,1 -o jsonl
same "exit code" 0 "$code"
same "a row per type and depth" 8 "$(wc -l <"$tmp/out" | tr -d ' ')"
json_ok "JSON" "[$(paste -s -d, "$tmp/out")]"
same "the order is that of the lists" "bf16 f32 4, bf16 f32 1, bf16 f16 4, bf16 f16 1, f32 f32 4, f32 f32 1, f32 f16 4, f32 f16 1" \
    "$(sed 's/.*"weight_type":"\([^"]*\)".*"kv_type":"\([^"]*\)".*"num_steps":\([0-9]*\).*/\1 \2 \3/' "$tmp/out" | paste -s -d, | sed 's/,/, /g')"
same "texts" 3 "$(head -n 1 "$tmp/out" | number texts)"
same "against itself nothing differs" "0 1 0" "$(head -n 1 "$tmp/out" | number kl_mean) $(head -n 1 "$tmp/out" | number top1_agreement) $(head -n 1 "$tmp/out" | number logit_error_max)"
same "bf16 is f32 to the last bit" "0 0" "$(sed -n 5,6p "$tmp/out" | number logit_error_max | paste -s -d' ')"
cp "$tmp/out" "$tmp/all"
python3 - "$muninn" "$tmp/all" <<'EOF' >"$tmp/checked" 2>&1
import json, math, subprocess, sys
muninn, rows = sys.argv[1], [json.loads(line) for line in open(sys.argv[2])]
row = next(row for row in rows if (row["weight_type"], row["kv_type"], row["num_steps"]) == ("bf16", "f16", 4))
def ids(text):
    if not isinstance(text, str):
        return text
    return [0] + json.loads(subprocess.check_output([muninn, "tokenize"], input=json.dumps({"text": text}) + "\n", text=True))["ids"]
def logits(ids, kv):
    out = subprocess.check_output([muninn, "logits", "--ids", ",".join(map(str, ids)), "--num-steps", "4", "--kv-type", kv], text=True)
    return [json.loads(line) for line in out.splitlines()]
def log_softmax(x):
    top = max(x)
    total = math.log(math.fsum(math.exp(v - top) for v in x))
    return [v - top - total for v in x]
kl, error, agree, nll, n = [], 0, 0, 0, 0
sums = []
for text in ("sort 2 8 0 1 : 0 1 2 8", [0, 393, 226, 23, 226, 29, 226, 21], "Kai crosses the clever"):
    t = ids(text)
    begin = len(kl)
    for i, (a, b) in enumerate(zip(logits(t, "f32")[:-1], logits(t, "f16")[:-1])):
        p, q = log_softmax(a), log_softmax(b)
        kl.append(math.fsum(math.exp(x) * (x - y) for x, y in zip(p, q)))
        error = max(error, max(abs(x - y) for x, y in zip(a, b)))
        agree += a.index(max(a)) == b.index(max(b))
        nll -= q[t[i + 1]]
    sums.append((sum(kl[begin:]), len(kl) - begin))
mean = sum(kl) / len(kl)
half = 1.959963984540054 * math.sqrt(3 / 2 * sum((s - mean * n) ** 2 for s, n in sums)) / len(kl)
wanted = {"positions": len(kl), "kl_mean": mean, "kl_low": max(0, mean - half), "kl_high": mean + half, "kl_max": max(kl), "kl_p99": max(kl), "top1_agreement": agree / len(kl),
          "logit_error_max": error, "nll_mean": nll / len(kl)}
wrong = [f"{key}: {row[key]}, wanted {value}" for key, value in wanted.items() if abs(row[key] - value) > 1e-6 * abs(value) + (1e-7 if key == "logit_error_max" else 1e-12)]
print("\n".join(wrong) if wrong else "equal" if mean > 0 else "nothing differs: the case cannot tell")
EOF
same "a row's figures are those of the logits" equal "$(cat "$tmp/checked")"

# Depths alone, texts one by one, as ids, a table: the same figures.
run divergence -f "$tmp/texts" --weight-type bf16 --kv-type f16 --num-steps 1 --parallel 1 -o jsonl
same "a depth alone, one text at a time: the same row" "$(sed -n 4p "$tmp/all" | sed 's/"time":"[^"]*",//')" "$(bare "$tmp/out")"
run divergence -f "$tmp/texts" --weight-type f16 --reference-weight-type f32 --num-steps 2
has "a table: what all rows share stands above" "$out" "against weights f32, its cache f32"
has "a table: a row" "$out" "| f16     | f32   | 2 |"

# A long text is cut into pieces, each behind the begin token: 7 positions are 3 + 3 + 1.
printf '{"ids":[0,393,226,23,226,29,226,21]}\n' >"$tmp/long"
printf '{"ids":[0,393,226,23]}\n{"ids":[0,226,29,226]}\n{"ids":[0,21]}\n' >"$tmp/pieces"
run divergence -f "$tmp/long" --weight-type f16 --ctx 3 --num-steps 2 -o jsonl
same "--ctx cuts" "3 7" "$(number texts <"$tmp/out") $(number positions <"$tmp/out")"
cp "$tmp/out" "$tmp/cut"
run divergence -f "$tmp/pieces" --weight-type f16 --num-steps 2 -o jsonl
same "--ctx cuts: as if they were texts" "$(number kl_mean <"$tmp/cut")" "$(number kl_mean <"$tmp/out")"
run divergence -f "$tmp/long" --weight-type f16 --num-steps 2 -o jsonl
same "one text has no interval" "" "$(number kl_low <"$tmp/out")$(number top1_high <"$tmp/out")"

# ---- lines that are none ----

# bad NAME PART LINE
bad() {
    printf '{"text":"sort 2 8"}\n%s\n' "$3" >"$tmp/bad"
    refuses "$1" 4 "$2" divergence -f "$tmp/bad" --weight-type f32 --num-steps 1
}
bad "no text" "$tmp/bad: line 2: JSON: key 'text'" '{"prompt":"x"}'
bad "no JSON" "$tmp/bad: line 2: " 'sort 2 8'
bad "an id beyond the vocabulary" "line 2: JSON: key 'ids': value 512" '{"ids":[1,512]}'
bad "one token" "line 2: fewer than two tokens: there is nothing to predict" '{"ids":[7]}'
bad "an empty text" "line 2: fewer than two tokens: there is nothing to predict" '{"text":""}'
printf '\n' >"$tmp/bad"
refuses "an empty file" 4 "no text" divergence -f "$tmp/bad" --weight-type f32 --num-steps 1
refuses "a weight type that there is not" 2 "f8" divergence -f "$tmp/texts" --weight-type f8 --num-steps 1

# ---- results ----

run divergence -f "$tmp/texts" --weight-type bf16,f16 --kv-type f32,f16 --num-steps 1,4 --results "$tmp/whole"
same "--results: a row per type and depth" 8 "$(wc -l <"$tmp/whole" | tr -d ' ')"
for n in 1 5; do
    head -n $n "$tmp/whole" >"$tmp/part"
    [ $n -ne 5 ] || head -n 6 "$tmp/whole" | tail -n 1 | head -c 99 >>"$tmp/part"
    run divergence -f "$tmp/texts" --weight-type bf16,f16 --kv-type f32,f16 --num-steps 1,4 --results "$tmp/part" --resume -o jsonl
    same "--resume behind $n rows: nothing lost, nothing twice" "$(bare "$tmp/whole")" "$(bare "$tmp/part")"
    same "--resume behind $n rows: all are printed" "$(bare "$tmp/part")" "$(bare "$tmp/out")"
done
run divergence -f "$tmp/texts" --weight-type bf16,f16 --kv-type f32,f16 --num-steps 1,4 --results "$tmp/part" --resume --ctx 4
same "--resume with texts cut in another way: done anew" 16 "$(wc -l <"$tmp/part" | tr -d ' ')"
run merge -o md "$tmp/whole"
has "merge prints them" "$out" "| same best token |"
run report "$tmp/whole" -o "$tmp/page.html"
same "report takes them" 0 "$code"

yes '{"text":"sort 2 8 0 1 : 0 1 2 8"}' | head -n 30 >"$tmp/many"
rm -f "$tmp/part"
python3 -c "$in_front" "$muninn" divergence -f "$tmp/many" --weight-type bf16,f16,f32 --kv-type f32,f16 --num-steps 1,64 --parallel 1 --results "$tmp/part" >"$tmp/out" 2>"$tmp/err" &
pid=$!
waited=0
until [ -s "$tmp/part" ] || [ $waited -ge 600 ]; do
    sleep 0.1 2>/dev/null || sleep 1
    waited=$((waited + 1))
done
kill -INT $pid
wait $pid
same "SIGINT: exit code" 130 $?
has "SIGINT: said so" "$(cat "$tmp/err")" "runs over the texts; --resume goes on from there"
json_ok "SIGINT: whole rows" "[$(paste -s -d, "$tmp/part")]"

finish
