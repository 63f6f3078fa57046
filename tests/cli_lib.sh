# What the tests of the command line share. A script sources it with its own two arguments: path/to/muninn and source_dir. Every check prints
# one line; finish prints the counts and gives the exit code. JSON is checked by the program's own strict parser: `muninn tokenize` refuses a
# line that is not exactly one JSON document.
set -u

if [ $# -ne 2 ]; then
    echo "usage: $0 path/to/muninn source_dir" >&2
    exit 2
fi
muninn=$1
vectors=$2/tests/vectors
model=$2/models/raven-tiny
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
MUNINN_MODEL=$model
export MUNINN_MODEL
passed=0
failed=0

ok() {
    passed=$((passed + 1))
    echo "ok      $1"
}
not_ok() {
    failed=$((failed + 1))
    echo "FAILED  $1"
    shift
    [ $# -eq 0 ] || printf '        %s\n' "$@"
}
# same NAME WANTED GOT
same() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "wanted: $2" "got:    $3"; fi
}
# has NAME TEXT PART
has() {
    case $2 in
    *"$3"*) ok "$1" ;;
    *) not_ok "$1" "wanted: ...$3..." "got:    $2" ;;
    esac
}
# Runs the program; leaves $code, $out and $err. A test may redirect its input.
run() {
    "$muninn" "$@" >"$tmp/out" 2>"$tmp/err"
    code=$?
    out=$(cat "$tmp/out")
    err=$(cat "$tmp/err")
}
# For programs behind which a & stands: a shell starts those with SIGINT ignored, and then it stays ignored.
in_front='import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])'
# run, interrupted as soon as its first line on stderr, the banner, shows that the work has begun.
run_interrupted() {
    rm -f "$tmp/err"
    python3 -c "$in_front" "$muninn" "$@" >"$tmp/out" 2>"$tmp/err" &
    pid=$!
    waited=0
    until [ -s "$tmp/err" ] || [ $waited -ge 120 ]; do
        sleep 0.5 2>/dev/null || sleep 1
        waited=$((waited + 1))
    done
    kill -INT $pid
    wait $pid
    code=$?
}
# refuses NAME EXIT_CODE PART ARGS...: that exit code, nothing on stdout, one error line that names the thing
refuses() {
    name=$1 want=$2 part=$3
    shift 3
    run "$@" </dev/null
    if [ "$code" -eq "$want" ] && [ -z "$out" ] && [ "$(wc -l <"$tmp/err")" -eq 1 ]; then
        case $err in
        "muninn: "*"$part"*) ok "$name" && return ;;
        esac
    fi
    not_ok "$name" "wanted: exit $want, 'muninn: ...$part...'" "got:    exit $code, $(wc -l <"$tmp/err") error lines, $err"
}
json_ok() {
    if printf '{"text":"","json":%s}\n' "$(printf %s "$2" | tr -d '\n')" | "$muninn" tokenize >"$tmp/json" 2>&1; then
        ok "$1"
    else
        not_ok "$1" "$(cat "$tmp/json")"
    fi
}
# numbers KEY < JSON: an array of numbers, without blanks; string KEY < JSON: a string without quotes inside
numbers() { sed -n "s/.*\"$1\": *\[\([0-9, ]*\)\].*/\1/p" | tr -d ' '; }
string() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
