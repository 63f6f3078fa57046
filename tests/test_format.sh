#!/bin/sh
# Goal: C files are as clang-format leaves them, and a function fits on a page: 70 lines from brace to brace. (Tests may
# be longer, with a table of cases inside.) Errors are handled in one way (docs/design.md, Style), outside of tests and
# without an exception: no goto, a status is tested as a truth value, and no condition assigns one. Lines of the
# report's page have at most 120 columns, as those of C.
# Method: clang-format 14 (others break lines elsewhere) over every .c and .h; awk, which relies on the braces of
# functions being in the first column, and on a comparison being on one line; grep.
# usage: test_format.sh SOURCE_DIR
set -eu

cd "$1"
list=$(mktemp)
trap 'rm -f "$list"' EXIT
find . \( -name '.?*' -o -path './build*' \) -prune -o -name '*.[ch]' -print >"$list"
[ "$(wc -l <"$list")" -gt 100 ] || { echo "only $(wc -l <"$list") C files under $1" >&2; exit 1; }

grep -v '^\./tests/' "$list" | xargs awk -v longest=70 '
    /^\{/ { begin = FNR }
    /^\}/ && begin { if (FNR - begin + 1 > longest) { print FILENAME ":" begin ": " FNR - begin + 1 " lines"; long = 1 }; begin = 0 }
    END { exit long }' || { echo 'functions of more than 70 lines, above' >&2; exit 1; }

grep -v '^\./tests/' "$list" | xargs awk '
    /(^|[^a-z_])goto / || /[!=]= *MN_OK/ || /MN_OK *[!=]=/ || /\(status = / { print FILENAME ":" FNR ":" $0; wrong = 1 }
    END { exit wrong }' || { echo 'another error idiom than the one of docs/design.md, above' >&2; exit 1; }

[ -f bench/page/page.js ] || { echo "no page under $1" >&2; exit 1; }
if grep -n '.\{121\}' bench/page/*; then
    echo 'lines of more than 120 columns, above' >&2
    exit 1
fi

for tool in clang-format-14 clang-format; do
    case $($tool --version 2>/dev/null) in
    *'version 14.'*) exec xargs "$tool" --dry-run -Werror <"$list" ;;
    esac
done
echo 'skipped: there is no clang-format 14'
exit 77
