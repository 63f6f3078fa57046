#!/bin/sh
# Goal: the README's two commands work on a minimal Debian 12, as root, with nothing installed beforehand.
# Method: copy a debootstrap'ed folder, unpack HEAD into the copy and run the commands in a chroot there. The folder
# itself stays as it is, so that every check starts from nothing. A tool for maintainers (root, network, about 3 GB).
#
# usage: debootstrap --variant=minbase bookworm /tmp/deb12 && tests/chroot_check.sh /tmp/deb12 [COMMAND...]
# COMMANDs are bootstrap's; default: demo test. KEEP=1 keeps the copy.
set -eu

if [ $# -eq 0 ] || ! [ -x "$1/usr/bin/apt-get" ]; then
    echo "usage: $0 DEBIAN_FOLDER [COMMAND...]   (see debootstrap)" >&2
    exit 2
fi
[ "$(id -u)" -eq 0 ] || { echo "$0: chroot and mount need root" >&2; exit 2; }
base=$(cd "$1" && pwd)
shift
[ $# -gt 0 ] || set -- demo test
cd "$(dirname "$0")/.."

root=$(mktemp -d "${TMPDIR:-/tmp}/muninn-chroot.XXXXXX")
cleanup() {
    rc=$?
    umount "$root/dev/shm" 2>/dev/null || true
    umount "$root/proc" 2>/dev/null || true
    if [ -n "${KEEP-}" ]; then
        echo "kept: $root"
    else
        rm -rf --one-file-system "$root" # in case a mount is still there
    fi
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cp -a "$base/." "$root"
mkdir -p "$root/muninn"
git archive HEAD | tar -x -C "$root/muninn"

# The folder knows its mirror; the host knows the name server and the proxy on the way to it.
for file in $(grep -lEi 'Acquire::(https?::Proxy|Check-)' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null || true) /etc/resolv.conf /etc/hosts; do
    cp -L "$file" "$root$file"
done

# Its own /dev (debootstrap made null, zero, urandom and so on), never the host's: no GPU is visible inside.
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"

for command in "$@"; do
    echo "==== ./bootstrap $command, in $root"
    begin=$(date +%s)
    # shellcheck disable=SC2016 # $1 is for the inner shell
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
        nice chroot "$root" /bin/sh -c 'cd /muninn && ./bootstrap "$1"' sh "$command" </dev/null ||
        { echo "chroot-check: ./bootstrap $command FAILED (exit $?)"; exit 1; }
    echo "==== ./bootstrap $command: ok after $(($(date +%s) - begin)) s"
done
echo "chroot-check: ok ($*)"
