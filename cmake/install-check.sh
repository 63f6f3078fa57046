#!/bin/sh
# Goal: what `cmake --install` leaves behind is complete and usable without the source tree.
# Method: install into a temporary prefix; look for every file; build a small program against the installed header and
# each library through pkg-config and run it; list the exported symbols; generate with the installed binary and model.
# usage: install-check.sh BUILD_DIR SOURCE_DIR
set -eu

[ $# -eq 2 ] || { echo "usage: $0 BUILD_DIR SOURCE_DIR" >&2; exit 2; }
build=$(cd "$1" && pwd)
source=$(cd "$2" && pwd)
cc=${CC:-cc}

top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
prefix=$top/prefix
work=$top/work
mkdir "$work"

fail() {
    echo "install-check: $*" >&2
    exit 1
}

cmake --install "$build" --prefix "$prefix" >"$top/install.log" || { cat "$top/install.log" >&2; fail 'cmake --install failed'; }

# lib, lib64 or lib/<triplet>: GNUInstallDirs decides.
pc=$(find "$prefix" -name muninn.pc)
[ -n "$pc" ] || fail 'no muninn.pc'
lib=$(dirname "$(dirname "$pc")")
for file in "$prefix/bin/muninn" "$lib/libmuninn.so" "$lib/libmuninn.a" "$prefix/include/muninn.h" \
    "$prefix/share/muninn/models/raven-deep/config.json" "$prefix/share/muninn/models/raven-deep/model.safetensors" \
    "$prefix/share/man/man1/muninn.1" "$prefix/share/man/man1/muninn-generate.1" "$prefix/share/bash-completion/completions/muninn" \
    "$prefix/share/zsh/site-functions/_muninn" "$prefix/share/fish/vendor_completions.d/muninn.fish" \
    "$prefix/share/muninn/models/raven-deep/tokenizer.json" "$prefix/share/muninn/models/raven-tiny/model.safetensors"; do
    [ -e "$file" ] || fail "not installed: ${file#"$prefix"/}"
done
cmp "$source/api/muninn.h" "$prefix/include/muninn.h" || fail 'the installed header is not the public header'

# ---- the libraries, as another program uses them ----

cat >"$work/user.c" <<'END'
#include <muninn.h>
#include <stdio.h>
#include <string.h>

static void visit(void *user, const struct mn_device_info *info)
{
    ++*(int *)user;
    printf("device: %s\n", info->banner);
}

int main(void)
{
    int n = 0;
    if (strcmp(mn_status_name(MN_OK), mn_status_name(MN_ERR_MEMORY)) == 0)
        return 1;
    enum mn_status status = mn_devices(visit, &n, NULL);
    printf("muninn %s: %s, %d devices\n", MN_VERSION, mn_status_name(status), n);
    return status != MN_OK ? mn_status_exit_code(status) : n == 0;
}
END

export PKG_CONFIG_PATH="$lib/pkgconfig${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
flags='-std=c17 -Wall -Wextra -Wpedantic -Werror'
version=$(pkg-config --modversion muninn)
grep -q "define MN_VERSION \"$version\"" "$prefix/include/muninn.h" || fail "muninn.pc says version $version, muninn.h does not"

# With no .pc file in the world but this one, and nothing in the answer but its own: the rest is the shared library's business.
words=$(PKG_CONFIG_PATH='' PKG_CONFIG_LIBDIR="$lib/pkgconfig" pkg-config --cflags --libs muninn) || fail 'muninn.pc needs other .pc files'
for word in $words; do
    case $word in
        "-I"*/include | "-L"*/lib* | -lmuninn) ;;
        *) fail "pkg-config --cflags --libs muninn asks for $word" ;;
    esac
done
# shellcheck disable=SC2086 # flags are lists of words
$cc $flags "$work/user.c" -o "$work/user-shared" $words
LD_LIBRARY_PATH=$lib "$work/user-shared" || fail "the program on the shared library: exit $?"

# The header is C++ as well.
cxx=${CXX:-c++}
if command -v "$cxx" >/dev/null; then
    cat >"$work/user.cpp" <<'END'
#include <muninn.h>
#include <cstring>

int main()
{
    mn_engine_params params = {};
    mn_engine *engine = nullptr;
    params.synthetic = "no such shape";
    return std::strcmp(mn_version(), MN_VERSION) != 0 || mn_engine_create(&engine, &params) != MN_ERR_USAGE;
}
END
    # shellcheck disable=SC2086
    "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Werror "$work/user.cpp" -o "$work/user-cpp" $words
    LD_LIBRARY_PATH=$lib "$work/user-cpp" || fail "the C++ program: exit $?"
fi

# The linker prefers the .so beside it, so the archive is named in full.
static=$(pkg-config --static --libs muninn | sed "s|-lmuninn|$lib/libmuninn.a|")
# shellcheck disable=SC2046,SC2086
$cc $flags $(pkg-config --cflags muninn) "$work/user.c" -o "$work/user-static" $static
"$work/user-static" || fail "the program on the static library: exit $?"

# What the header declares is what a linker sees, of either library, and nothing else. (Where objects cannot be joined the
# archive has internal names as well: see CMakeLists.txt.)
grep -o 'mn_[a-z0-9_]*(' "$source/api/muninn.h" | tr -d '(' | sort -u >"$work/declared"
grep -q '^mn_generate$' "$work/declared" || fail 'no mn_generate in muninn.h'
same_names() { # which library
    sed 's/@.*//' | sort -u >"$work/names"
    diff "$work/declared" "$work/names" >"$work/names.diff" ||
        fail "$1: other names (>) than muninn.h declares (<): $(grep '^[<>]' "$work/names.diff" | tr '\n' ' ')"
}
nm -D --defined-only "$lib/libmuninn.so" | awk 'NF == 3 {print $NF}' | same_names libmuninn.so
nm -g --defined-only "$lib/libmuninn.a" | awk 'NF == 3 {print $NF}' | same_names libmuninn.a

# ---- the command line, from a folder that has no models/ ----

cd "$work"
unset MUNINN_MODEL
sort_digits() { # further arguments; text to out.txt, messages to err.txt
    "$prefix/bin/muninn" generate -p 'sort 2 8 0 1 :' -n 8 "$@" >out.txt 2>err.txt
}
sort_digits || { cat err.txt >&2; fail 'the installed muninn does not generate'; }
grep -q '0 1 2 8' out.txt || fail "the installed muninn sorts 2 8 0 1 wrongly: $(cat out.txt)"

# Was that the installed model, or the source tree's? Break the installed one: now the same command has to fail on it.
model=$prefix/share/muninn/models/raven-deep
mv "$model/config.json" "$model/config.kept"
echo '{' >"$model/config.json"
rc=0
sort_digits || rc=$?
[ "$rc" -eq 4 ] || fail "with a broken installed model: exit $rc instead of 4; another model was read"
mv "$model/config.kept" "$model/config.json"
sort_digits -m "$model" || { cat err.txt >&2; fail 'the installed muninn does not generate with -m'; }
echo 'install-check: ok'
