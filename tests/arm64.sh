#!/bin/sh
# Goal: on arm64 Debian 12 the unit tests pass, its lavapipe (Mesa 22.3, LLVM 15) compiles the kernels and passes the
# selftest's quick cases, and a generation gives the text of every other device, whatever the strategy. A big-endian
# target is refused when it is configured.
# Method: Debian 12 in a folder, with the cross compiler, arm64's libraries and driver beside its own (multiarch), and
# qemu-user; cross-built by cmake/arm64.cmake. Nothing of the system outside the folder changes. A tool for maintainers:
# root, network, 2 GB; most of the time goes into the emulator.
#
# usage: tests/arm64.sh FOLDER     makes the folder if need be
#        tests/arm64.sh            the folder that MUNINN_ARM64 names, if there is one: the test `arm64` of ctest
# Exit 77: skipped, the reason is printed.
set -eu

skip() {
    echo "arm64: skipped: $*"
    exit 77
}
if [ $# -eq 0 ]; then
    [ -n "${MUNINN_ARM64-}" ] || skip 'MUNINN_ARM64 names no folder that tests/arm64.sh has made'
    [ -x "$MUNINN_ARM64/usr/bin/apt-get" ] ||
        skip "$MUNINN_ARM64 is no Debian system: tests/arm64.sh makes one"
    set -- "$MUNINN_ARM64"
fi
if [ $# -ne 1 ]; then
    echo "usage: $0 [FOLDER]" >&2
    exit 2
fi
[ "$(id -u)" -eq 0 ] || skip 'debootstrap, chroot and mount need root'
[ "$(uname -m)" = x86_64 ] || skip 'it is written for x86-64'
command -v debootstrap >/dev/null 2>&1 || [ -x "$1/usr/bin/apt-get" ] ||
    skip 'there is no debootstrap (a Debian package of that name)'
mkdir -p "$1"
root=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

current=
mounted=
step() {
    current=$*
    echo "==== $current"
}
cleanup() {
    rc=$?
    [ -z "$mounted" ] || umount "$root/proc" 2>/dev/null || true
    [ "$rc" -eq 0 ] || echo "arm64: FAILED (exit $rc) in step: $current" >&2
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! [ -x "$root/usr/bin/apt-get" ] || [ -d "$root/debootstrap" ]; then
    if [ -n "$(ls -A "$root")" ] && ! [ -d "$root/debootstrap" ]; then
        echo "$0: $root is neither empty nor a Debian system" >&2
        exit 2
    fi
    step "debootstrap bookworm into $root"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase bookworm "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
fi
proxies=$(grep -lEi 'Acquire::(https?::Proxy|Check-)' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null || true)
for file in $proxies /etc/resolv.conf /etc/hosts; do
    cp -L "$file" "$root$file"
done
if ! mountpoint -q "$root/proc"; then
    mount -t proc proc "$root/proc"
    mounted=1
fi

inside() { # command line, run in the copy of the tree
    # shellcheck disable=SC2016 # for the inner shell
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$root" /bin/sh -c 'cd /muninn && exec "$@"' sh "$@" </dev/null
}
step "copying the tree to $root/muninn"
mkdir -p "$root/muninn"
find "$root/muninn" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
git ls-files --cached --others --exclude-standard | while read -r file; do
    if [ -e "$file" ]; then echo "$file"; fi # not what was deleted and is still in the index
done | tar -c -T - | tar -x --no-same-owner -C "$root/muninn"

if ! [ -e "$root/muninn-packages" ]; then
    step 'packages'
    inside dpkg --add-architecture arm64
    inside apt-get -q update
    inside apt-get -q -y install --no-install-recommends qemu-user-static gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
        cmake ninja-build pkg-config glslang-tools spirv-tools python3-minimal libvulkan-dev:arm64 libcjson-dev:arm64 \
        libpcre2-dev:arm64 libutf8proc-dev:arm64 libcmocka-dev:arm64 libonig-dev:arm64 mesa-vulkan-drivers:arm64 \
        vulkan-validationlayers:arm64
    : >"$root/muninn-packages"
fi

step 'a big-endian target is refused'
if inside cmake -S . -B build-big -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/arm64.cmake -DCMAKE_C_FLAGS=-mbig-endian \
    -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY >"$root/big.log" 2>&1; then
    echo 'it was not'
    exit 1
fi
grep -q 'little-endian' "$root/big.log" || { tail -n 20 "$root/big.log"; exit 1; }
rm -rf "$root/muninn/build-big"

step 'cross-build'
inside cmake -S . -B build -G Ninja -DCMAKE_TOOLCHAIN_FILE=cmake/arm64.cmake -DMUNINN_WERROR=ON
inside ninja -C build
step 'unit tests'
inside ctest --test-dir build --output-on-failure --no-tests=error --timeout 3000 -R \
    '^(text|device_select|json|json_numbers|safetensors|config|trajectory|tokenizer|tokenizer_kinds|chat|replay_.*)$'
step 'selftest --quick'
inside qemu-aarch64-static build/muninn selftest --quick
step 'generation'
for strategy in ar draft-verify; do
    text=$(inside qemu-aarch64-static build/muninn generate -m models/raven-tiny -p 'sort 2 8 0 1 9 4 :' -n 16 -q \
        --strategy "$strategy")
    echo "$strategy: $text"
    [ "$text" = ' 0 1 2 4 8 9' ]
done
echo 'arm64: ok'
