# The paragraph of bench/first_contact.sh, from the rows that `muninn merge` prints. Variables: version, banner, cpu
# ("cpu" for such a device), failures ("STEP (why); .."), left_out, took.

function number(key,    n) {
    n = length(key) + 3
    return match($0, "\"" key "\":-?[0-9.e+-]+") ? substr($0, RSTART + n, RLENGTH - n) + 0 : 0
}
function text(key) {
    return match($0, "\"" key "\":\"[^\"]*\"") ? substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 5) : ""
}
function units() { return text("matrix_units") == "" ? "" : ", matrix units" }
function of() { return text("model") " " text("weight_type") units() }
function count(n, word) { return n " " word (n == 1 ? "" : "s") }
function once(list, word) { return index("; " list, "; " word "; ") ? list : list word "; " }
# Without the "; " at its end.
function trimmed(list) { return substr(list, 1, length(list) - 2) }

{
    c = number("ceiling_gb_s")
    if (c > high) high = c
    if (c && (!low || c < low)) low = c
}
/"bench":"selftest"/ {
    kind = text("check") == "kernel" ? "kernel" : "promise"
    cases[kind] += number("cases")
    bad[kind] += number("failed")
    if (kind == "promise") models = once(models, of())
    if (number("failed") && n_wrong++ < 5)
        wrong = wrong text("check") " " text("what") (kind == "promise" ? " of " of() : units()) \
            ": " text("detail") "; "
}
/"bench":"pass"/ && text("pass") == "core" {
    name = of()
    if (!(name in t)) passes[++n_passes] = name
    n = number("rows")
    if (n == 8 || n == 16 || n == 32) t[name] = t[name] sprintf(" t(%d) %.2f", n, number("t_ratio"))
    else t[name] = t[name] ""
}
/"bench":"run"/ {
    name = of()
    if (!(name in seen)) { seen[name] = 1; runs[++n_runs] = name }
    speed = number("decode_tok_s")
    if (text("strategy") == "ar") { if (speed > ar[name]) ar[name] = speed }
    else if (number("speedup") > best[name]) {
        best[name] = number("speedup")
        setting[name] = text("strategy") " K " number("draft_steps")
        if (number("lookahead")) setting[name] = setting[name] " L " number("lookahead")
        best_speed[name] = speed
        forced[name] = text("class") == "forced"
    }
    if (index($0, "\"lossless\":true") && index($0, "\"equals_ar\":false")) {
        differ[name] = 1
        wrong = wrong text("strategy") " of " name ": other tokens than ar; "
        n_wrong++
    }
}
END {
    printf "Muninn %s on %s", version, banner
    if (cpu == "cpu") printf "; a CPU device: small shapes"
    printf ". Self-test: "
    if (cases["kernel"]) printf "%s, %d failed", count(cases["kernel"], "kernel case"), bad["kernel"]
    else printf "kernels were not tested"
    printf "; D0 to D2: "
    if (cases["promise"]) printf "%s, %d failed (%s)", count(cases["promise"], "trial"), bad["promise"], trimmed(models)
    else printf "not tried"
    if (n_wrong) printf ". WRONG: %s%s", trimmed(wrong), (n_wrong > 5 ? " and more" : "")
    if (high) printf ". Read ceiling %.4g GB/s", high
    if (high > 1.05 * low) printf " (%.4g in the worst of its measurements)", low
    for (i = 1; i <= n_runs; i++) {
        name = runs[i]
        printf ". %s: ", name
        if (ar[name]) printf "ar %.4g tok/s", ar[name]
        else printf "ar was not measured"
        if (best[name]) printf ", %s%s %.4g tok/s, %.2fx of ar", (forced[name] ? "at forced agreement " : ""),
            setting[name], best_speed[name], best[name]
    }
    for (i = 1; i <= n_passes; i++)
        if (t[passes[i]] != "") printf ". Core pass of %s over one row's:%s", passes[i], t[passes[i]]
    if (left_out != "") printf ". Left out: %s", trimmed(left_out)
    printf ". %s: %s", "Failed", failures == "" ? "nothing" : trimmed(failures)
    printf ". Took %s.\n", took
}
