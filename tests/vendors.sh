#!/bin/sh
# Goal: the compilers of AMD's, NVIDIA's, Qualcomm's and Apple's GPUs in a current Mesa take every kernel, and a whole generation runs through
# each of these drivers; lavapipe of the same Mesa passes the suite. What the compilers made of the kernels is kept as rows.
# Method: a current Debian (sid) in a folder, as in current_debian.sh, with Mesa's no-op devices: a library in front of the driver stands for
# the kernel's side of a GPU, so that pipelines are compiled by the real compiler, buffers exist and commands do nothing. Tokens of such a run
# mean nothing. A tool for maintainers: root, network, 3 GB.
#
# usage: tests/vendors.sh FOLDER [all|drivers]     drivers: without the tests on lavapipe
# Rows go to $OUT, vendors.jsonl in the folder itself unless it is set; the copy of the tree to $PLACE in the folder, /vendors unless it is set.
# docs/portability.md has a table of them (bench/vendors.py). Exit 77: skipped, the reason is printed.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: $0 FOLDER [all|drivers]" >&2
    exit 2
fi
skip() {
    echo "vendors: skipped: $*"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip 'debootstrap, chroot and mount need root'
command -v debootstrap >/dev/null 2>&1 || skip 'there is no debootstrap (a Debian package of that name)'
mkdir -p "$1"
root=$(cd "$1" && pwd)
what=${2-all}
place=${PLACE-/vendors}
out=${OUT-$root/vendors.jsonl}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")/.."

current=
mounted= # folders, the last first
step() {
    current=$*
    echo "==== $current"
}
cleanup() {
    rc=$?
    for folder in $mounted; do
        umount "$root/$folder" 2>/dev/null || true
    done
    [ "$rc" -eq 0 ] || echo "vendors: FAILED (exit $rc) in step: $current" >&2
    exit "$rc"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if ! [ -x "$root/usr/bin/apt-get" ]; then
    [ -z "$(ls -A "$root")" ] || { echo "$0: $root is neither empty nor a Debian system" >&2; exit 2; }
    step "debootstrap sid into $root"
    debootstrap --variant=minbase sid "$root" >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; exit 1; }
fi
for file in $(grep -lEi 'Acquire::(https?::Proxy|Check-)' /etc/apt/apt.conf /etc/apt/apt.conf.d/* 2>/dev/null || true) /etc/resolv.conf /etc/hosts; do
    cp -L "$file" "$root$file"
done
# Its own /dev, never the host's: no GPU is visible inside. Terminals of its own for the tests of progress lines.
mkdir -p "$root/dev/pts" "$root/dev/shm"
mount_at() { # folder, arguments of mount
    mountpoint -q "$root/$1" && return
    folder=$1
    shift
    mount "$@" "$root/$folder"
    mounted="$folder $mounted"
}
mount_at proc -t proc proc
mount_at dev/shm -t tmpfs -o mode=1777 tmpfs
mount_at dev/pts -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts
[ -e "$root/dev/ptmx" ] || ln -s pts/ptmx "$root/dev/ptmx"

inside() { # command line, run in the copy of the tree
    # shellcheck disable=SC2016 # for the inner shell
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        chroot "$root" /bin/sh -c 'cd "$0" && exec "$@"' "$place" "$@" </dev/null
}
step "copying the tree to $root$place"
mkdir -p "$root$place"
find "$root$place" -mindepth 1 -maxdepth 1 ! -name 'build*' -exec rm -rf {} +
git ls-files --cached --others --exclude-standard | while read -r file; do
    if [ -e "$file" ]; then echo "$file"; fi # not what was deleted and is still in the index
done | tar -c -T - | tar -x --no-same-owner -C "$root$place"

libraries=/usr/lib/x86_64-linux-gnu
drivers=/usr/share/vulkan/icd.d
if ! [ -e "$root$libraries/libamdgpu_noop_drm_shim.so" ] || ! [ -e "$root/usr/bin/glslangValidator" ]; then
    step 'packages'
    inside apt-get -q update
    inside apt-get -q -y install --no-install-recommends mesa-vulkan-drivers mesa-drm-shim vulkan-validationlayers gcc libc6-dev cmake ninja-build \
        pkg-config glslang-tools spirv-tools libvulkan-dev libcjson-dev libpcre2-dev libutf8proc-dev libcmocka-dev libonig-dev python3
fi
if [ "$what" = all ]; then
    step 'packages of the tests' # of reports, the server, Python, lines that are edited
    inside apt-get -q -y install --no-install-recommends chromium chromium-driver python3-selenium libmicrohttpd-dev libedit-dev \
        python3-cffi python3-numpy python3-setuptools python3-wheel python3-pip
fi
step 'build'
inside cmake -S . -B build -G Ninja -DMUNINN_TESTS="$([ "$what" = all ] && echo ON || echo OFF)"
inside ninja -C build

# A device: its name in the rows' files, what stands for the kernel, and which GPU that is.
on() { # GPU, command line
    gpu=$1
    shift
    case $gpu in
    radv:*) set -- "AMDGPU_GPU_ID=${gpu#*:}" "LD_PRELOAD=$libraries/libamdgpu_noop_drm_shim.so" "VK_DRIVER_FILES=$drivers/radeon_icd.json" "$@" ;;
    nvk:*) # Mesa asks for this where it is not sure of a chip
        set -- "NOUVEAU_CHIPSET=${gpu#*:}" "LD_PRELOAD=$libraries/libnouveau_noop_drm_shim.so" "VK_DRIVER_FILES=$drivers/nouveau_icd.json" \
            NVK_I_WANT_A_BROKEN_VULKAN_DRIVER=1 "$@" ;;
    turnip:*) set -- "FD_GPU_ID=${gpu#*:}" "LD_PRELOAD=$libraries/libfreedreno_noop_drm_shim.so" "VK_DRIVER_FILES=$drivers/freedreno_icd.json" "$@" ;;
    honeykrisp) set -- "LD_PRELOAD=$libraries/libasahi_noop_drm_shim.so" "VK_DRIVER_FILES=$drivers/asahi_icd.json" "$@" ;;
    esac
    inside env "$@"
}

: >"$out"
for gpu in radv:navi10 radv:navi21 radv:navi31 radv:navi33 radv:gfx1201 nvk:166 nvk:176 nvk:192 nvk:1a2 turnip:630 turnip:740 honeykrisp; do
    step "$gpu"
    for type in bf16 q8_0; do
        # Rows say which GPU it is: NVK calls all its no-op devices alike.
        on "$gpu" build/muninn pipelines --synthetic huginn-3.5b --weight-type "$type" -o jsonl |
            sed -e "s/^{/{\"gpu\":\"$gpu\",/" -e "s/\"key\":\"pipeline|/\"key\":\"pipeline|$gpu|/" >"$out.part"
        [ -s "$out.part" ]
        python3 bench/vendors.py keep <"$out.part" >>"$out"
    done
    on "$gpu" build/muninn generate -m models/raven-tiny --ids 0,23,29 -n 4 --num-steps 4 --ignore-eos --strategy draft-verify --draft-steps 2 \
        --lookahead 3 -o json >"$out.part"
    grep -q '"tokens"' "$out.part"
done
rm -f "$out.part"
echo "vendors: $(wc -l <"$out") rows in $out"

if [ "$what" = all ]; then
    step 'the suite on lavapipe'
    inside env "VK_DRIVER_FILES=$drivers/lvp_icd.json" ctest --test-dir build --output-on-failure --no-tests=error --parallel 2
fi
echo 'vendors: ok'
