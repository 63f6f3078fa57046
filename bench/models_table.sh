#!/bin/sh
# The table of docs/models.md: what published shapes take, and which context fits into how much memory, as
# `muninn info` plans it.
#
#     sh bench/models_table.sh build/muninn
#
# Planned for Mesa's lavapipe, so that the table is the same everywhere: scratch differs a little between devices.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: $0 path/to/muninn" >&2
    exit 2
fi
muninn=$1

# plan SHAPE STEPS POLICY GB: one JSON object. Exit code 6 says that the context asked for does not fit, which is an
# answer.
plan() {
    "$muninn" info --device llvmpipe --synthetic "$1" --num-steps "$2" --kv-policy "$3" --memory "$4" --weight-type bf16 -o json 2>/dev/null ||
        [ $? -eq 6 ]
}
# number KEY OBJECT
number() { printf %s "$2" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
# scaled NUMBER DIVISOR DIGITS
scaled() { awk -v n="$1" -v by="$2" -v digits="$3" 'BEGIN { printf "%.*f", digits, n / by }'; }

echo "| shape | steps | parameters | F32 file | BF16 file | weights as bf16 | cache per token | read per token | 8 GB | 12 GB | 16 GB | 24 GB | 80 GB |"
echo "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
while read -r shape steps policy; do
    json=$(plan "$shape" "$steps" "$policy" 80)
    parameters=$(number n_parameters "$json")
    read_bytes=$(($(number prelude_bytes "$json") + steps * $(number core_bytes "$json") + $(number coda_bytes "$json")))
    name="\`$shape\`"
    [ "$policy" = full ] || name="$name, \`$policy\`"
    printf '| %s | %s | %s M | %s GB | %s GB | %s GB | %s kB | %s GB |' "$name" "$steps" "$(scaled "$parameters" 1e6 0)" \
        "$(scaled $((4 * parameters)) 1e9 2)" "$(scaled $((2 * parameters)) 1e9 2)" "$(scaled "$(number weight_bytes "${json%%\"memory\"*}")" 1e9 2)" \
        "$(scaled "$(number cache_bytes_per_token "$json")" 1e3 0)" "$(scaled "$read_bytes" 1e9 1)"
    for gb in 8 12 16 24 80; do
        context=$(number largest_n_ctx "$(plan "$shape" "$steps" "$policy" $gb)")
        [ "$context" -gt 0 ] || context=-
        printf ' %s |' "$context"
    done
    echo
done <<EOF
huginn-3.5b 32 full
huginn-3.5b 32 share:4
raven-llama-1b 8 full
raven-llama-1b 32 full
raven-tinyllama 8 full
raven-tinyllama 32 full
raven-olmo-1b 8 full
raven-olmo-1b 32 full
ouro-1.4b 4 full
ouro-2.6b 4 full
llama-1b 1 full
EOF
