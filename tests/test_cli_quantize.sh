#!/bin/sh
# Goal: `muninn quantize` makes a folder from which every command gets what --weight-type makes of the original, and leaves nothing when it
# cannot or may not. Method: tokens and figures of both, side by side; refusals by their exit codes and lines; a signal to a run under way,
# whose model is a file full of zeros.
# Usage: tests/test_cli_quantize.sh path/to/muninn source_dir     (exit 77 when there is no Vulkan device: skipped)
. "$(dirname "$0")/cli_lib.sh"

run devices
[ $code -eq 3 ] && exit 77
place=$tmp/place
mkdir "$place"

run quantize -o "$place/q"
same "no type: exit code" 2 $code
has "no type" "$err" "--weight-type"
run quantize --weight-type q8_0
same "no folder: exit code" 2 $code
has "no folder" "$err" "--output"
run quantize -o "$place/q" --weight-type f16
same "nothing to round: exit code" 2 $code
run quantize -o "$model" --weight-type q8_0
same "onto itself: exit code" 2 $code
has "onto itself" "$err" "the input"
run quantize -o "$place/none/q" --weight-type q8_0
same "no such folder: exit code" 4 $code
same "nothing was made" "" "$(ls "$place")"

run quantize -o "$place/q" --weight-type q4_1
same "q4_1: exit code" 0 $code
has "q4_1: what was made" "$err" "matrices as q4_1"
same "nothing beside it" q "$(ls "$place")"
same "the tokenizer is a copy" "$(cksum <"$model/tokenizer.json")" "$(cksum <"$place/q/tokenizer.json")"
run generate -p "sort 2 8 0 1 :" -n 6 --num-steps 8 --weight-type q4_1
at_load=$out
run generate -m "$place/q" -p "sort 2 8 0 1 :" -n 6 --num-steps 8
same "generate: exit code" 0 $code
same "the same tokens" "$at_load" "$out"
run info --weight-type q4_1 -o json
at_load=$(printf %s "$out" | sed 's/.*"weight_type"/"weight_type"/; s/,"memory".*//')
run info -m "$place/q" -o json
same "info: the same types and bytes" "$at_load" "$(printf %s "$out" | sed 's/.*"weight_type"/"weight_type"/; s/,"memory".*//')"
run info -m "$place/q" --memory 0.001 --ctx 9999
same "too large: exit code" 6 $code
same "too large: one line" 1 "$(printf '%s\n' "$err" | grep -c '^muninn: ')"
run info -m "$place/q" --weight-type q8_0
same "another type: exit code" 4 $code
has "another type" "$err" "quantise the original"
run quantize -m "$place/q" -o "$place/again" --weight-type q8_0
same "again: exit code" 4 $code
has "again" "$err" "is quantised already"
run quantize -o "$place/q" --weight-type q8_0
same "there already: exit code" 2 $code
same "still nothing beside it" q "$(ls "$place")"

# A Llama whose embedding is 134 MB of zeros, which take no place on the disk.
large=$tmp/large
cp -r "$vectors/llama-fixed-depth" "$large"
python3 - "$large" <<'END'
import json, os, struct, sys
folder = sys.argv[1]
path = folder + '/model.safetensors'
with open(path, 'rb') as f:
    n = struct.unpack('<Q', f.read(8))[0]
    header = json.loads(f.read(n))
    data = f.read()
rows, name = 1 << 20, 'model.embed_tokens.weight'
header.pop('__metadata__', None)
begin, end = header[name]['data_offsets']
data = data[:begin] + data[end:]
for tensor in header.values():
    tensor['data_offsets'] = [at - (end - begin if at >= end else 0) for at in tensor['data_offsets']]
header[name] = {'dtype': 'BF16', 'shape': [rows, 64], 'data_offsets': [len(data), len(data) + rows * 128]}
text = json.dumps(header).encode()
with open(path, 'wb') as f:
    f.write(struct.pack('<Q', len(text)) + text + data)
    f.truncate(8 + len(text) + len(data) + rows * 128)
config = json.load(open(folder + '/config.json'))
config['vocab_size'] = rows
json.dump(config, open(folder + '/config.json', 'w'))
END
for signal in INT TERM; do
    python3 -c "$in_front" "$muninn" quantize -m "$large" -o "$place/large" --weight-type q8_0 >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    waited=0
    until ls -A "$place"/large.partial-* 2>/dev/null | grep -q . || [ $waited -ge 600 ]; do
        sleep 0.05 2>/dev/null || sleep 1
        waited=$((waited + 1))
    done
    kill -$signal $pid
    wait $pid
    code=$?
    case $signal in INT) wanted=130 ;; TERM) wanted=143 ;; esac
    same "interrupted by SIG$signal: exit code" $wanted $code
    same "interrupted by SIG$signal: nothing is left" q "$(ls "$place")"
done
finish
