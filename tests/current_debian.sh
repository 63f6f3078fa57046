#!/bin/sh
# Goal: the tree builds without a warning and passes its tests on a current Debian (sid): newer compilers, glslang, cmocka and Mesa than
# those of the stable release that CI runs on.
# Method: debootstrap sid into a folder once; every call then brings its packages up to date, copies the working tree in (without .git),
# builds it with -Werror by gcc and by clang, and runs the suite there, on that Debian's lavapipe. A tool for maintainers: root, network, 3 GB.
#
# usage: tests/current_debian.sh FOLDER [CTEST_ARGUMENTS...]     default arguments: --parallel 2
# The test that needs PyTorch is skipped, unless python3-torch is installed in the folder. Exit 77: skipped, the reason is printed.
set -eu

if [ $# -eq 0 ]; then
    echo "usage: $0 FOLDER [CTEST_ARGUMENTS...]" >&2
    exit 2
fi
skip() {
    echo "current-debian: skipped: $*"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip 'debootstrap, chroot and mount need root'
command -v debootstrap >/dev/null 2>&1 || skip 'there is no debootstrap (a Debian package of that name)'
mkdir -p "$1"
root=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- --parallel 2
cd "$(dirname "$0")/.."

current=
step() {
    current=$*
    echo "==== $current"
}
cleanup() {
    rc=$?
    umount "$root/dev/pts" 2>/dev/null || true
    umount "$root/dev/shm" 2>/dev/null || true
    umount "$root/proc" 2>/dev/null || true
    [ "$rc" -eq 0 ] || echo "current-debian: FAILED (exit $rc) in step: $current" >&2
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A first stage that was cut short leaves a debootstrap/ folder: start over then.
if ! [ -x "$root/usr/bin/apt-get" ] || [ -d "$root/debootstrap" ]; then
    [ -z "$(ls -A "$root")" ] || [ -d "$root/debootstrap" ] || { echo "$0: $root is neither empty nor a Debian system" >&2; exit 2; }
    step "debootstrap sid into $root"
    rm -rf --one-file-system "$root"
    debootstrap --variant=minbase sid "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
fi

# The folder knows its mirror; the host knows the name server and the proxy on the way to it.
for file in $(grep -lEi 'Acquire::(https?::Proxy|Check-)' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null || true) /etc/resolv.conf /etc/hosts; do
    cp -L "$file" "$root$file"
done
# Its own /dev (debootstrap made null, zero, urandom and so on), never the host's: no GPU is visible inside.
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$root/dev/pts" # for the tests that need a terminal

inside() { # command line, run in the copy of the tree
    # shellcheck disable=SC2016 # $1 is for the inner shell
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$root" /bin/sh -c 'cd /muninn && "$@"' sh "$@" </dev/null
}

# The build folders stay, so that a second call builds what has changed.
step "copying the tree to $root/muninn"
mkdir -p "$root/muninn"
find "$root/muninn" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
git ls-files --cached --others --exclude-standard | while read -r file; do
    if [ -e "$file" ]; then echo "$file"; fi # not what was deleted and is still in the index
done | tar -c -T - | tar -x --no-same-owner -C "$root/muninn"

step 'bringing the packages up to date'
inside apt-get -q update
inside apt-get -q -y dist-upgrade
inside apt-get -q -y install --no-install-recommends chromium chromium-driver python3-selenium # for the test of `muninn report`
step './bootstrap compilers'
inside ./bootstrap compilers
step "ctest $*"
inside ctest --test-dir build --output-on-failure --no-tests=error "$@"
echo 'current-debian: ok'
