#!/bin/sh
# Goal: `muninn score` says the same number for the same thing, whatever form it came in, what ran beside it and how often it was killed;
# and refuses every line that it cannot score by name.
#
# Method: raven-tiny on small files. Numbers are compared as text between forms; against the model in double see test_score.c.
# Usage: tests/test_cli_score.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

# number KEY < JSON lines: each value of a number or boolean
number() { sed -n "s/.*\"$1\":\([-0-9.a-z+]*\).*/\1/p"; }
# rows: the lines that are no summary; at_steps R: of those, the ones at R steps
rows() { grep -v '^{"summary"' "$tmp/out"; }
at_steps() { rows | grep "\"num_steps\":$1[,}]"; }

# ---- before there is a device ----

refuses "no file" 2 "-f FILE" score
refuses "--resume without --results" 2 "--results" score -f x --resume
refuses "a file that is missing" 4 "$tmp/none" score -f "$tmp/none"
refuses "--num-steps 0" 2 "--num-steps" score -f x --num-steps 0
refuses "--num-steps backwards" 2 "--num-steps" score -f x --num-steps 8-2
refuses "--kv-policy unknown" 2 "kv_policy most" score -f x --kv-policy most

"$muninn" generate --ids 1 -n 1 --num-steps 1 >/dev/null 2>&1
if [ $? -eq 3 ]; then
    echo "skipped: no Vulkan device"
    exit 77
fi

# ---- likelihoods ----

printf '%s\n' '{"context":"sort 2 8 0 1 :","continuation":" 0 1 2 8","task":"sort","id":7,"more":{"a":[1,null]}}' \
    '{"context":"sort 2 8 0 1 : ","continuation":"0 1 2 8"}' \
    '{"context_ids":[0,393,226,23,226,29,226,21,226,22,286],"continuation_ids":[226,21,226,22,226,23,226,29]}' \
    '' '{"context":"","continuation":"sort"}' '{"context":"caf","continuation":"\u00e9\u20ac \ud83d\ude00"}' >"$tmp/likely"
run score -f "$tmp/likely" --num-steps 1,2,4-16*2
same "exit code" 0 "$code"
same "a row per line and depth" 25 "$(rows | wc -l | tr -d ' ')"
json_ok "JSON" "[$(paste -s -d, "$tmp/out")]"
same "the input's own members stay" 5 "$(rows | grep -c '"task":"sort","id":7,"more":{"a":\[1,null\]}')"
same "tokens: those behind the context" 226,21,226,22,226,23,226,29 "$(rows | head -n 1 | numbers tokens)"
same "blanks at the context's end belong to the continuation" "$(at_steps 2 | sed -n 1p | number logprob)" "$(at_steps 2 | sed -n 2p | number logprob)"
same "ids give what their text gives" "$(at_steps 16 | sed -n 1p | number logprob)" "$(at_steps 16 | sed -n 3p | number logprob)"
same "is_greedy" "true true true" "$(at_steps 16 | head -n 3 | number is_greedy | paste -s -d' ')"
has "an empty context is the begin token" "$(at_steps 1 | sed -n 4p)" '"line":5,"num_steps":1,"logprob":-'
has "characters that are several tokens" "$(at_steps 1 | sed -n 5p)" '"is_greedy":false,"tokens":['
same "summary: a line per metric and depth" 10 "$(grep -c '^{"summary":{"metric":"' "$tmp/out")"
has "summary: standard error" "$(grep '"is_greedy","num_steps":16' "$tmp/out" | tail -n 1)" '"value":0.6,"stderr":0.2449489742783178'
cp "$tmp/out" "$tmp/all"

# Depths alone, sequences one by one, another order: the same numbers.
for steps in 1 16; do
    run score -f "$tmp/likely" --num-steps $steps --parallel 1
    same "depth $steps alone, one item at a time: the same rows" "$(grep -v summary "$tmp/all" | grep "\"num_steps\":$steps[,}]")" "$(rows)"
done
run score -f - --num-steps 16,1 <"$tmp/likely"
same "standard input, depths in another order" "$(grep -v summary "$tmp/all" | grep '"num_steps":16,')" "$(at_steps 16)"

# Agreement with `generate`: its greedy text is greedy here.
run generate -p 'Kai crosses the clever' --num-steps 4 -n 8 --ignore-eos -o json
printf '{"context_ids":[%s],"continuation_ids":[%s]}\n' "$(numbers prompt_ids <"$tmp/out")" "$(numbers tokens <"$tmp/out")" >"$tmp/greedy"
run score -f "$tmp/greedy" --num-steps 4
has "what generate says is greedy" "$out" '"is_greedy":true'
run score -f "$tmp/likely" --num-steps 2 --no-bos
same "--no-bos with an empty context: refused" 4 "$code"
has "--no-bos with an empty context: line" "$err" "$tmp/likely: line 5: the context is empty"

# ---- multiple choice ----

# Sums of -1.0 over 2 bytes and of -1.5 over 10: acc and acc_norm disagree where the long choice is better per byte.
printf '%s\n' '{"query":"sort 2 8 0 1 :","choices":["0 2 1 8","0 1 2 8","8"],"gold":1,"task":"a"}' '{"context":"sort 2 8 0 1 :","choices":["8","0 1 2 8"],"gold":0,"task":"b"}' >"$tmp/choice"
run score -f "$tmp/choice" --num-steps 2,8 --group-by task
same "choices: exit code" 0 "$code"
json_ok "choices: JSON" "[$(paste -s -d, "$tmp/out")]"
same "choices: right and wrong" "1 0" "$(at_steps 8 | number acc | paste -s -d' ')"
same "choices: a likelihood each" 3 "$(at_steps 8 | head -n 1 | sed 's/.*"logprobs":\[\([^]]*\)\].*/\1/' | tr ',' '\n' | wc -l | tr -d ' ')"
same "choices: a choice has the likelihood of its text behind query and delimiter" "$(grep '"line":1,"num_steps":8' "$tmp/all" | number logprob)" \
    "$(at_steps 8 | head -n 1 | sed 's/.*"logprobs":\[[^,]*,\([^,]*\),.*/\1/')"
has "choices: summary of a group" "$out" '{"summary":{"metric":"acc","group":"a","num_steps":8,"value":1,"stderr":0,"n":1,"model":"raven-tiny",'
has "choices: summary of all" "$out" '{"summary":{"metric":"acc","num_steps":8,"value":0.5,"stderr":0.5,"n":2,"model":"raven-tiny",'
run score -f "$tmp/choice" --num-steps 8 --delimiter ''
same "--delimiter '': other tokens, other numbers" 1 "$(rows | head -n 1 | grep -vce "$(grep '"line":1,"num_steps":8' "$tmp/all" | number logprob)")"
# Normalised by bytes: two spellings of different length with logprobs l1 < l2 but l1/n1 > l2/n2.
printf '{"query":"Kai crosses the clever","choices":["river behind the mill.","x"],"gold":0}\n' >"$tmp/norm"
run score -f "$tmp/norm" --num-steps 8
line=$(rows | sed 's/.*"logprobs":\[\([^,]*\),\([^]]*\)\].*"pred":\([01]\),"pred_norm":\([01]\).*/\1 \2 \3 \4/')
same "acc_norm divides by the choice's bytes" ok "$(echo "$line" | awk '{p = ($1 >= $2) ? 0 : 1; q = ($1 / 22 >= $2 / 1) ? 0 : 1; print (p == $3 && q == $4) ? "ok" : $0}')"
run score -f "$tmp/choice" --num-steps 4 --kv-policy share:2
same "a shared cache: every line says so" 0 "$(grep -vc '"lossy_because":"kv_policy share:k"' "$tmp/out")"
has "a shared cache: LOSSY" "$err" "LOSSY"
run score -f "$tmp/choice" --num-steps 2,8 --group-by task -o md
has "table: head" "$out" '| task | metric | n | R = 2 | R = 8 |'
has "table: a group" "$out" '| a | acc | 1 | 1.000 ± 0.000 | 1.000 ± 0.000 |'
same "table: alone" 0 "$(grep -c '^{' "$tmp/out")"

# ---- the input's own numbers, and what editors put in front ----

printf '\357\273\277%s\r\n' '{"context":"a","continuation":" b","id":1234567890123456789,"task":7000000000000000001,"near":9007199254740991,"share":0.30000000000000004,"as":[1.50,1e3]}' >"$tmp/exact"
printf '%s\r\n' '{"context":"a","continuation":" b","id":18446744073709551616,"task":7000000000000000002,"near":5000000000000001,"share":0.10,"as":[-0]}' \
    '{"context":"a","continuation":" b","id":0,"task":7000000000000000001.0,"near":0,"share":0,"as":[]}' >>"$tmp/exact"
run score -f "$tmp/exact" --num-steps 1 --group-by task
same "a byte order mark in front: exit code" 0 "$code"
has "numbers stay, to the last digit" "$(rows | sed -n 1p)" '"id":1234567890123456789,"task":7000000000000000001,"near":9007199254740991,"share":0.30000000000000004,"as":[1.50,1e3]'
has "numbers stay, however they are spelled" "$(rows | sed -n 2p)" '"id":18446744073709551616,"task":7000000000000000002,"near":5000000000000001,"share":0.10,"as":[-0]'
has "groups differ in the last digit" "$out" '"group":"7000000000000000002","num_steps":1,"value":'
same "groups do not differ in spelling" 2 "$(grep '"metric":"logprob"' "$tmp/out" | grep -c '"group":')"
run score -f "$tmp/exact" --num-steps 1 --results "$tmp/exact.jsonl"
same "numbers stay in results" "$(rows | wc -l | tr -d ' ') 1" "0 $(grep -c '"near":5000000000000001,"share":0.10,"as":\[-0\]' "$tmp/exact.jsonl")"

# ---- exact match ----

printf '%s\n' '{"context":"sort 2 8 0 1 :","answer":"0 1 2 8"}' '{"context":"sort 2 8 0 1 :","answer":"0 1 2"}' '{"context":"sort 2 8 0 1 :","target":" 0 1 2 ","stop":["8","z"]}' \
    '{"context_ids":[0,393,226,23,226,29,226,21,226,22,286],"answer":"0 1 2 8","stop":"\n"}' >"$tmp/match"
run score -f "$tmp/match" --num-steps 8,32 --parallel 3
same "match: exit code" 0 "$code"
json_ok "match: JSON" "[$(paste -s -d, "$tmp/out")]"
same "match: compared as a whole, blanks at the ends aside" "1:1 2:0 3:1 4:1" "$(at_steps 8 | sed 's/.*"line":\([0-9]*\).*"exact_match":\([01]\).*/\1:\2/' | sort | paste -s -d' ')"
has "match: stop string" "$(at_steps 32 | grep '"line":3')" '"text":" 0 1 2 ","exact_match":1,"finish_reason":"stop"'
run score -f "$tmp/match" --num-steps 8 --stop 2 -n 3
has "match: --stop and -n" "$(rows | grep '"line":1')" '"text":" 0 ","exact_match":0,"finish_reason":"length"'

# ---- too long ----

printf '{"context":"a","continuation":" b"}\n{"context":"%s","continuation":" b"}\n' "$(printf '1 %.0s' 1 2 3 4 5 6 7 8 9 10)" >"$tmp/long"
refuses "too long: refused with the line" 4 "$tmp/long: line 2: 'context'" score -f "$tmp/long" --num-steps 1 --ctx 12
run score -f "$tmp/long" --num-steps 1 --ctx 12 --truncate
same "--truncate: exit code" 0 "$code"
same "--truncate: said in the row" 1 "$(rows | grep -c '"line":2,"num_steps":1,"truncated":[1-9]')"
same "--truncate: not said of those that fit" 1 "$(rows | grep -vc truncated)"
printf '{"context":"a","continuation":"%s"}\n' "$(printf '1 %.0s' 1 2 3 4 5 6 7 8 9 10)" >"$tmp/long"
refuses "a continuation longer than the context" 4 "$tmp/long: line 1: 20 tokens behind" score -f "$tmp/long" --num-steps 1 --ctx 12 --truncate

# ---- hostile lines ----

while IFS='	' read -r line part; do
    printf '{"context":"a","continuation":" b"}\n\n%s\n' "$line" >"$tmp/bad"
    refuses "bad line $line" 4 "$tmp/bad: line 3: $part" score -f "$tmp/bad" --num-steps 1
done <<'END'
x	JSON
[1]	must be an object
{}	needs one of
{"context":"a"}	needs one of
{"context":"a","continuation":""}	JSON: key 'continuation'
{"context":1,"continuation":"b"}	JSON: key 'context'
{"context":"a","continuation":["b"]}	JSON: key 'continuation'
{"continuation":"b"}	a likelihood line: needs exactly one of 'context'
{"context_ids":[],"continuation_ids":[1]}	JSON: key 'context_ids'
{"context_ids":[1],"continuation_ids":[]}	JSON: key 'continuation_ids'
{"context_ids":[1],"continuation_ids":[512]}	JSON: key 'continuation_ids': value 512
{"context_ids":[1],"continuation_ids":[-1]}	JSON: key 'continuation_ids'
{"context_ids":[1],"continuation_ids":[1.5]}	JSON: key 'continuation_ids'
{"context_ids":[1],"continuation":"b"}	context and continuation must both be
{"context":"a","context_ids":[1],"continuation":"b"}	a likelihood line: needs exactly one of
{"context":"a","continuation":"b","choices":["a","b"],"gold":0}	is both
{"query":"a","choices":["a"],"gold":0}	key 'choices'
{"query":"a","choices":"ab","gold":0}	JSON: key 'choices'
{"query":"a","choices":["a",""],"gold":0}	JSON: key 'choices'
{"query":"a","choices":["a",1],"gold":0}	JSON: key 'choices'
{"query":"a","choices":["a","b"]}	JSON: key 'gold'
{"query":"a","choices":["a","b"],"gold":2}	JSON: key 'gold': value 2
{"query":"a","choices":["a","b"],"gold":"a"}	JSON: key 'gold'
{"context":"a","answer":"a","target":"b"}	both 'answer' and 'target'
{"context":"a","answer":1}	JSON: key 'answer'
{"context":"a","answer":"a","stop":[""]}	JSON: key 'stop'
{"context":"a","answer":"a","stop":1}	JSON: key 'stop'
{"context":"a","continuation":"b","logprob":1}	JSON: key 'logprob'
{"context":"a","context":"b","continuation":"c"}	JSON: key 'context': given twice
{"context":"a","continuation":"\ud800"}	JSON
{"context":"sort","continuation":"\u0000"}	JSON
{"context":"a","continuation":" b","share":NaN}	JSON: key 'share': value NaN
{"context":"a","continuation":" b","of":[1,-Infinity]}	JSON: key 'of': value -Infinity
END
printf '\377\376{\000' >"$tmp/bad"
refuses "UTF-16" 4 "$tmp/bad: line 1: JSON: byte 0: this is UTF-16" score -f "$tmp/bad" --num-steps 1
printf '{"context":"a","continuation":"\377"}\n' >"$tmp/bad"
refuses "a line that is not UTF-8" 4 "$tmp/bad: line 1: JSON" score -f "$tmp/bad" --num-steps 1
printf '{"context":"a","continuation":" b","task":"x"}\n{"context":"a","continuation":" b"}\n' >"$tmp/bad"
refuses "--group-by: a line without the key" 4 "$tmp/bad: line 2: key 'task'" score -f "$tmp/bad" --num-steps 1 --group-by task
printf '{"context":"a","continuation":" b","task":[1]}\n' >"$tmp/bad"
refuses "--group-by: a list" 4 "$tmp/bad: line 1: JSON: key 'task'" score -f "$tmp/bad" --num-steps 1 --group-by task
: >"$tmp/bad"
refuses "an empty file" 4 "no line to score" score -f "$tmp/bad"
refuses "text without a tokenizer" 4 "tokenizer.json" score -m "$vectors/square" -f "$tmp/likely"

# ---- results and resuming ----

cat "$tmp/likely" "$tmp/choice" "$tmp/match" >"$tmp/mixed"
run score -f "$tmp/mixed" --num-steps 1,8 --results "$tmp/whole"
same "--results: exit code" 0 "$code"
same "--results: a row per line and depth" 22 "$(wc -l <"$tmp/whole" | tr -d ' ')"
same "--results: only the summary on standard output" 0 "$(rows | wc -l | tr -d ' ')"
summary=$out
# Cut after every so many bytes: what is missing is done again, once.
for bytes in 1 300 2222; do
    head -c $bytes "$tmp/whole" >"$tmp/part"
    run score -f "$tmp/mixed" --num-steps 1,8 --results "$tmp/part" --resume
    same "--resume after $bytes bytes: exit code" 0 "$code"
    same "--resume after $bytes bytes: the same rows" "$(sort "$tmp/whole")" "$(sort "$tmp/part")"
    same "--resume after $bytes bytes: the same summary" "$summary" "$out"
done
run score -f "$tmp/mixed" --num-steps 1,8 --results "$tmp/part" --resume
same "--resume with nothing left: no row is added" "$(sort "$tmp/whole")" "$(sort "$tmp/part")"
has "--resume with nothing left: said so" "$err" "0 lines at 2 depths"
run score -f "$tmp/mixed" --num-steps 1,2,8 --results "$tmp/part" --resume
same "--resume with a new depth: only its rows are added" 11 "$(grep -c '"num_steps":2,' "$tmp/part")"
same "--resume with a new depth: nothing twice" 33 "$(sed 's/.*"key":"\([^"]*\)".*/\1/' "$tmp/part" | sort -u | wc -l | tr -d ' ')"
run score -f "$tmp/mixed" --num-steps 1,8 --results "$tmp/part" --resume --kv-type f16
same "--resume with other settings: done anew" 55 "$(wc -l <"$tmp/part" | tr -d ' ')"
printf 'x\n' >"$tmp/part"
refuses "--results: a file of something else" 4 "$tmp/part: line 1" score -f "$tmp/mixed" --num-steps 1 --results "$tmp/part"
sed 's/"exact_match":1/"exact_match":"yes"/' "$tmp/whole" >"$tmp/part"
refuses "--resume: a row of another make" 4 "$tmp/part: key 'exact_match'" score -f "$tmp/mixed" --num-steps 1,8 --results "$tmp/part" --resume
if [ -c /dev/full ]; then
    "$muninn" score -f "$tmp/likely" --num-steps 1 >/dev/full 2>"$tmp/err"
    same "a full disk: exit code" 1 $?
fi

# Interrupted: the first row is read, the second one is too long for the pipe, so the run waits there whatever the device's speed.
pad=$(head -c 200000 /dev/zero | tr '\0' x)
for i in 1 2 3 4 5 6; do
    printf '{"context":"sort 2 8 0 1 :","continuation":" 0 1","pad":"%s"}\n' "$pad"
done >"$tmp/padded"
mkfifo "$tmp/pipe"
python3 -c "$in_front" "$muninn" score -f "$tmp/padded" --num-steps 2 --parallel 1 >"$tmp/pipe" 2>"$tmp/err" &
pid=$!
{
    head -c 1000 >"$tmp/part"
    kill -INT $pid
    cat >>"$tmp/part"
} <"$tmp/pipe"
wait $pid
same "SIGINT: exit code" 130 $?
has "SIGINT: said so" "$(cat "$tmp/err")" "interrupted after 1 of 6 lines"
json_ok "SIGINT: whole lines" "$(cat "$tmp/part")"

# Killed as soon as there is a row.
yes '{"context":"sort 2 8 0 1 :","continuation":" 0 1 2 8"}' | head -n 30 >"$tmp/many"
run score -f "$tmp/many" --num-steps 1,32 --parallel 1 --results "$tmp/every"
rm -f "$tmp/part"
"$muninn" score -f "$tmp/many" --num-steps 1,32 --parallel 1 --results "$tmp/part" >"$tmp/out" 2>"$tmp/err" &
pid=$!
waited=0
until [ -s "$tmp/part" ] || [ $waited -ge 600 ]; do
    sleep 0.1 2>/dev/null || sleep 1
    waited=$((waited + 1))
done
kill -KILL $pid
wait $pid 2>/dev/null
run score -f "$tmp/many" --num-steps 1,32 --parallel 1 --results "$tmp/part" --resume
same "killed: --resume loses nothing and repeats nothing" "$(sort "$tmp/every")" "$(sort "$tmp/part")"

finish
