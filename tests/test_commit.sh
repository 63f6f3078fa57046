#!/bin/sh
# Goal: a build names the commit it was made from, and no other project's; what no commit names is told apart by its sources.
# Method: cmake/commit.cmake on a checkout, on changed ones, on a folder inside it, and on a folder outside any checkout; all paths with
# a space.
# usage: test_commit.sh SOURCE_DIR
set -eu

command -v git >/dev/null 2>&1 || { echo 'skipped: there is no git'; exit 77; }
script=$1/cmake/commit.cmake
top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
unset GIT_DIR GIT_WORK_TREE
GIT_CEILING_DIRECTORIES=$top
export GIT_CEILING_DIRECTORIES

expect() { # folder, what its commit.h has to say
    cmake -DSOURCE="$1" -DOUTPUT="$top/commit.h" "-DBUILD= cc \"2\" -O2 " -P "$script"
    grep -q '^#define MUNINN_BUILD "cc  2  -O2"$' "$top/commit.h" || { echo "$1: $(cat "$top/commit.h")" >&2; exit 1; }
    grep -q "^#define MUNINN_COMMIT \"$2\"\$" "$top/commit.h" || { echo "$1: $(cat "$top/commit.h") instead of $2" >&2; exit 1; }
}

checkout="$top/another project" plain="$top/plain folder"
mkdir -p "$checkout/muninn 1.0" "$plain"
echo 1 >"$checkout/file"
git -C "$checkout" init -q
git -C "$checkout" add file
git -C "$checkout" -c user.name=t -c user.email=t@example.org commit -q -m 'one file'
hash=$(git -C "$checkout" rev-parse --short=12 HEAD)

expect "$checkout" "$hash"
echo 2 >"$checkout/file"
sources='-[0-9a-f]\{12\}'
expect "$checkout" "$hash-dirty$sources"
expect "$checkout/muninn 1.0" "unknown$sources"
expect "$plain" "unknown$sources"

# Two changes of one commit are two builds; a source that git does not know is one; other files are not.
said() { cmake -DSOURCE="$1" -DOUTPUT="$top/said.h" -P "$script"; sed -n 's/^#define MUNINN_COMMIT "\(.*\)"$/\1/p' "$top/said.h"; }
git -C "$checkout" checkout -q file
mkdir "$checkout/engine" "$plain/engine"
echo 1 >"$checkout/engine/notes.txt"
expect "$checkout" "$hash"
for folder in "$checkout" "$plain"; do
    echo 'int a;' >"$folder/engine/a.c"
    first=$(said "$folder")
    echo 'int b;' >"$folder/engine/a.c"
    second=$(said "$folder")
    echo 'int a;' >"$folder/engine/a.c"
    [ "$first" != "$second" ] && [ "$first" = "$(said "$folder")" ] || { echo "$folder: $first and $second" >&2; exit 1; }
done
case $(said "$checkout") in "$hash-dirty"*) ;; *) echo "an unknown source does not show: $(said "$checkout")" >&2; exit 1 ;; esac
