#!/bin/sh
# Goal: muninn.exe does under Wine what the build of this machine does. Method: the folder that cmake/windows.sh filled;
# devices, kernels, tokens of three strategies for a model in a folder whose name is not ASCII, texts with CR LF through standard
# input and output, a file that is replaced, exit codes, an interrupt; test programs of the module below. Every program
# of `ctest` with further arguments: `quick` runs those labelled so, `all` the others, too.
# The device is this machine's: Wine hands Vulkan on. Needs wine64 and xvfb.
# usage: windows.sh FOLDER MUNINN SOURCE_DIR [quick|all]
set -eu

skip() {
    echo "skipped: $*"
    exit 77
}
exe=$1/build/muninn.exe
[ -e "$exe" ] || skip "no $exe: cmake/windows.sh $1"
folder=$(cd "$1" && pwd) native=$2 source=$3 more=${4-}
exe=$folder/build/muninn.exe
wine=
for candidate in wine64 /usr/lib/wine/wine64 wine; do
    if command -v "$candidate" >/dev/null 2>&1; then wine=$candidate && break; fi
done
[ -n "$wine" ] || skip 'no Wine (package wine64)'
command -v Xvfb >/dev/null 2>&1 || skip 'no Xvfb (package xvfb)'
command -v wineserver >/dev/null 2>&1 || PATH=$PATH:/usr/lib/wine

work=$(mktemp -d)
export WINEPREFIX="$work/prefix" WINEDEBUG=-all DISPLAY= XDG_CACHE_HOME="$work"
server=
finish() {
    rc=$?
    wineserver -k >/dev/null 2>&1 || true
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; fi
    rm -rf "$work"
    exit $rc
}
trap finish EXIT
Xvfb -displayfd 3 -screen 0 320x240x24 3>"$work/display" >/dev/null 2>&1 &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -s "$work/display" ] && break
    sleep 1
done
DISPLAY=:$(cat "$work/display")
"$wine" "$exe" --version >/dev/null 2>&1 || true # makes the prefix, and says so

fail() {
    echo "FAILED: $*"
    exit 1
}
muninn() {
    timeout 300 "$wine" "$exe" "$@"
}
ends() { # exit code, command of muninn
    wanted=$1
    shift
    rc=0
    muninn "$@" >"$work/out" 2>"$work/err" || rc=$?
    [ "$rc" -eq "$wanted" ] || { cat "$work/err"; fail "muninn $*: exit code $rc instead of $wanted"; }
    echo "ok      muninn $*: $wanted"
}

ends 0 devices
grep -q '| yes |' "$work/out" || skip "no device under Wine: $(cat "$work/out")"

ends 0 selftest --quick

model="$work/模型 ünï/räven"
mkdir -p "$work/模型 ünï"
cp -r "$source/models/raven-tiny" "$model"
tokens() { sed 's/.*"tokens":\(\[[0-9,]*\]\).*/\1/'; }
for strategy in 'ar' 'draft-verify --temp 3 --seed 7' 'wavefront'; do
    # shellcheck disable=SC2086 # a list of words
    set -- generate -m "$model" -p 'sort 2 8 0 1 9 4 :' -n 24 -o json --strategy $strategy
    ends 0 "$@"
    tokens <"$work/out" >"$work/windows"
    "$native" "$@" 2>/dev/null | tokens >"$work/linux"
    grep -q '^\[[0-9]' "$work/linux" || fail 'no tokens'
    cmp "$work/windows" "$work/linux" || fail "other tokens: $(cat "$work/windows" "$work/linux")"
    echo "ok      tokens of $strategy: $(cat "$work/windows")"
done

printf '{"text":"a\\r\\nü 模"}\r\n{"text":"sort 2 8 :"}\n' >"$work/lines"
muninn tokenize -m "$model" <"$work/lines" >"$work/windows"
"$native" tokenize -m "$model" <"$work/lines" >"$work/linux"
cmp "$work/windows" "$work/linux" || fail 'tokenize: other bytes'
printf 'sort 2 8 0 1 9 4 :' >"$work/prömpt.txt"
echo old >"$work/zeilen ü.html"
cp "$source"/bench/results/*raven-deep.jsonl "$work/"
"$native" report "$work"/*raven-deep.jsonl -o "$work/linux.html" 2>/dev/null
ends 0 report "$work"/*raven-deep.jsonl -o "$work/zeilen ü.html"
sed 's/"commit":"[^"]*"//' "$work/zeilen ü.html" >"$work/windows"
sed 's/"commit":"[^"]*"//' "$work/linux.html" >"$work/linux"
cmp "$work/windows" "$work/linux" || fail 'report: other bytes'
ends 0 generate -m "$model" -f "$work/prömpt.txt" -n 4
ends 2 generate --no-such-option
ends 4 generate -m "$work/gibt es nicht ü" -p x

"$wine" "$exe" generate -m "$model" -p 'sort 2 8 :' -n 900 --ignore-eos --ctx 1024 >"$work/out" 2>"$work/err" &
run=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ -s "$work/out" ] && break
    sleep 1
done
kill -INT "$run"
rc=0
wait "$run" || rc=$?
[ "$rc" -eq 130 ] || { cat "$work/err"; fail "an interrupt: exit code $rc instead of 130"; }
echo 'ok      an interrupt: 130'

for test in disk text; do
    (cd "$folder/build" && timeout 300 "$wine" "./test_$test.exe" >"$work/out" 2>&1) || { cat "$work/out"; fail "test_$test"; }
    echo "ok      test_$test"
done
# `kernels` asks the validation layers, which Wine has not; `selftest` above runs the same cases without.
case $more in
quick) ctest --test-dir "$folder/build" --output-on-failure -L '^quick$' ;;
all) ctest --test-dir "$folder/build" --output-on-failure -E '^kernels$' ;;
esac
