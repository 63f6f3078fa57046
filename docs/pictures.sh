#!/bin/sh
# Draws the pictures of docs/strategies.md anew: prints the page with each picture replaced by what its command shows now.
#
#     docs/pictures.sh build/muninn docs/strategies.md >page && mv page docs/strategies.md
#     docs/pictures.sh build/muninn FILE.jsonl                 one trace (--trace FILE.jsonl) as a picture
#
# A picture is an indented block behind a line that begins with a command in backticks. One line per event, one column per position: the depth
# a row has reached, x for a row that was dropped; a round of draft-verify shows draft depth > final depth. Of a batch, one line per core pass
# after which an event ended, its sequences side by side.
set -eu
muninn=$1
page=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

draw() {
    awk '
BEGIN { n = n_lines = n_sequences = 0 }
function value(row, key) { match(row, "\"" key "\":[a-z0-9]+"); return substr(row, RSTART + length(key) + 3, RLENGTH - length(key) - 3) }
/"event":"prompt"/ { next }
/"sequence":/ {
    s = value($0, "sequence") + 0
    pass = value($0, "end_pass")
    if (!(pass in line_of)) { line_of[pass] = n_lines; n_lines++ }
    l = line_of[pass]
    if (s >= n_sequences) n_sequences = s + 1
    m = split(substr($0, index($0, "\"rows\":[") + 8), rows, "},")
    for (i = 1; i <= m; i++) {
        p = value(rows[i], "position") + 0
        if (!(s in first_of)) first_of[s] = p
        if (p > last_of[s]) last_of[s] = p
        at[l, s, p] = value(rows[i], "kept") == "false" ? "x" : value(rows[i], "depth_after")
    }
    busy[l, s] = 1
    commit[l, s] = value($0, "committed") > 0
    next
}
{
    match($0, /"event":"[a-z]+"/); name = substr($0, RSTART + 9, RLENGTH - 10)
    commits[n] = value($0, "committed")
    events[n] = name
    m = split(substr($0, index($0, "\"rows\":[") + 8), rows, "},")
    for (i = 1; i <= m; i++) {
        p = value(rows[i], "position") + 0
        if (n == 0 && i == 1) first = p
        if (p > last) last = p
        depth = value(rows[i], "depth_after")
        if (name == "round") depth = value(rows[i], "depth_before") ">" depth
        if (value(rows[i], "kept") == "false") depth = "x"
        cell[n, p] = depth
        if (length(depth) > width) width = length(depth)
    }
    n++
}
END {
    title = ""
    for (s = 0; s < n_sequences; s++) {
        wide[s] = 2 * (last_of[s] - first_of[s] + 1) + 9
        if (wide[s] < 13) wide[s] = 13
        title = title sprintf("%-" wide[s] "s", "sequence " s)
    }
    if (n_sequences > 0) { sub(/ +$/, "", title); print "    " title }
    for (l = 0; l < n_lines; l++) {
        line = ""
        for (s = 0; s < n_sequences; s++) {
            part = ""
            for (p = first_of[s]; p <= last_of[s] && busy[l, s]; p++) part = part ((l, s, p) in at ? at[l, s, p] : ".") " "
            if (commit[l, s]) part = part "commit"
            line = line sprintf("%-" wide[s] "s", part)
        }
        sub(/ +$/, "", line)
        print "    " line
    }
    for (e = 0; e < n; e++) {
        line = sprintf("    %-6s %2d   ", events[e], e)
        for (p = first; p <= last; p++) line = line sprintf(" %" width "s", (e, p) in cell ? cell[e, p] : ".")
        if (commits[e] > 0) line = line "   commits " commits[e]
        print line
    }
}' "$1"
}

# Commands on the page name files from the top of the source tree.
muninn=$(command -v "$muninn")
case $muninn in /*) ;; *) muninn=$PWD/$muninn ;; esac
case $page in *.jsonl) draw "$page"; exit ;; esac

top=$(cd "$(dirname "$page")/.." && pwd)
MUNINN_MODEL=$top/models/raven-tiny # whatever the default model becomes
export MUNINN_MODEL
in_picture=no
while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    '`muninn generate '*'`:')
        command=${line#\`muninn }
        command=${command%\`:}
        eval '(cd "$top" &&' "$muninn" "$command" --trace '"$tmp/trace.jsonl")' >"$tmp/out" 2>"$tmp/err" || { cat "$tmp/err" >&2; exit 1; }
        printf '%s\n\n' "$line"
        draw "$tmp/trace.jsonl"
        in_picture=yes
        ;;
    '    '* | '') [ $in_picture = yes ] || printf '%s\n' "$line" ;;
    *)
        [ $in_picture = no ] || echo
        in_picture=no
        printf '%s\n' "$line"
        ;;
    esac
done <"$page"
