#!/bin/sh
# Markdown tables from the JSON lines of bench_strategies, for docs/speed-log.md.
#
#     build/bench_strategies models/raven-tiny 96 5 >rows.jsonl
#     bench/table.sh rows.jsonl
#
# One table of strategies and settings, one of throughput against batch size. Rows stand in the order of the file.
set -eu
awk '
function number(key) { return match($0, "\"" key "\":-?[0-9.]+") ? substr($0, RSTART + length(key) + 3, RLENGTH - length(key) - 3) + 0 : 0 }
function text(key) { return match($0, "\"" key "\":\"[^\"]*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : "" }
function flag(key) { return index($0, "\"" key "\":true") > 0 }
function label(    s, k, l) {
    s = "`" text("strategy") "`"
    k = number("draft_steps"); l = number("lookahead")
    if (k) s = s ", K " k
    if (l) s = s ", L " l
    if (text("setting") != "") s = s ", " text("setting")
    if (text("kv_policy") != "full" && text("kv_policy") != "") s = s ", " text("kv_policy")
    if (text("last_choice") != "") s = s " (last choice: " text("last_choice") ")"
    return s
}
/"bench":"device"/ {
    printf "%s. %s, R = %d, %d prompts of %d new tokens, median of %d.\n", text("banner"), text("model"), number("num_steps"), number("prompts"), number("n_new"), number("repetitions")
}
/"bench":"strategies"/ {
    if (!strategies++) {
        print "\n| | tok/s | against `ar` | weight bytes per token | acceptance | tokens of `ar` | memory-bound gain, Huginn shapes |"
        print "|---|---|---|---|---|---|---|"
        ar_bytes = number("weight_bytes_per_token")
    }
    bytes = number("weight_bytes_per_token")
    acceptance = number("acceptance_rate") ? sprintf("%.3f", number("acceptance_rate")) : ""
    tokens = flag("lossless") ? (flag("equals_ar") ? "all" : "NOT EQUAL") : sprintf("lossy: %.1f %%", 100 * number("agreement"))
    printf "| %s | %.1f | %.2fx | %.1f MB (1/%.1f) | %s | %s | %.1fx |\n", label(), number("tok_s"), number("speedup"), bytes / 1e6, ar_bytes / bytes, acceptance, tokens, number("huginn_gain")
}
/"bench":"batch"/ {
    if (!batches++) {
        print "\n| | sequences | tok/s | against one | weight bytes per token | rows per core pass |"
        print "|---|---|---|---|---|---|"
    }
    printf "| %s | %d | %.1f | %.2fx | %.1f MB | %.1f |\n", label(), number("sequences"), number("tok_s"), number("against_one"), number("weight_bytes_per_token") / 1e6, number("rows_per_core_pass")
}' "$@"
