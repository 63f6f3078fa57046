#!/bin/sh
# Builds Muninn for Windows (x86-64) on Debian 12: the libraries from Debian's source packages, then muninn.exe and the
# tests, then FOLDER/muninn-windows.zip with the program, the default models, the README and the licences of all that is
# in it. As root, since it installs mingw-w64; FOLDER takes 200 MB. What is there is not built again.
# usage: cmake/windows.sh FOLDER [NINJA_TARGET...]
set -eu

[ $# -ge 1 ] || { sed -n 's/^# usage: //p' "$0" >&2; exit 2; }
source=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
shift
sysroot=$folder/sysroot
log=$folder/build.log
libraries='cjson pcre2 utf8proc libonig cmocka' # what the programs need, then what the tests need

step() {
    echo "== $*"
    current=$*
}
current=
: >"$log"
trap 'rc=$?; [ $rc -eq 0 ] || { tail -n 20 "$log"; echo "windows.sh: FAILED in step: $current; log: $log"; } >&2' EXIT

step 'packages'
packages=
for package in gcc-mingw-w64-x86-64 dpkg-dev cmake ninja-build pkg-config glslang-tools spirv-tools libvulkan-dev zip; do
    dpkg -s "$package" >/dev/null 2>&1 || packages="$packages $package"
done
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $packages \
        >>"$log" 2>&1
fi

step 'sources'
mkdir -p "$folder/sources" "$folder/lists/partial" "$sysroot/include"
sources=$folder/sources.list
echo 'deb-src http://deb.debian.org/debian bookworm main' >"$sources"
apt() { # with a list of its own: that of the system need not have sources
    apt-get -q -o Dir::Etc::SourceList="$sources" -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$folder/lists" \
        -o APT::Sandbox::User=root "$@" >>"$log" 2>&1
}
missing=
for library in $libraries; do
    [ -e "$folder/sources/$library.done" ] || missing="$missing $library"
done
if [ -n "$missing" ]; then
    apt update
    # shellcheck disable=SC2086
    (cd "$folder/sources" && apt source $missing)
    for library in $missing; do
        touch "$folder/sources/$library.done"
    done
fi

build_library() { # library, CMake arguments
    library=$1
    shift
    [ -e "$folder/$library.built" ] && return
    step "library $library"
    cmake -S "$(echo "$folder/sources/$library"-*/)" -B "$folder/$library" -G Ninja \
        --toolchain "$source/cmake/mingw.cmake" -DMUNINN_SYSROOT="$sysroot" -DCMAKE_BUILD_TYPE=Release \
        -DCMAKE_INSTALL_PREFIX="$sysroot" -DCMAKE_INSTALL_LIBDIR=lib -DBUILD_SHARED_LIBS=OFF "$@" >>"$log" 2>&1
    cmake --build "$folder/$library" >>"$log" 2>&1
    cmake --install "$folder/$library" >>"$log" 2>&1
    touch "$folder/$library.built"
}
build_library cjson -DENABLE_CJSON_TEST=OFF -DENABLE_CUSTOM_COMPILER_FLAGS=OFF -DCMAKE_C_FLAGS=-D__USE_MINGW_ANSI_STDIO=1
build_library pcre2 -DPCRE2_BUILD_PCRE2GREP=OFF -DPCRE2_BUILD_TESTS=OFF
build_library utf8proc -DUTF8PROC_ENABLE_TESTING=OFF
build_library libonig -DENABLE_POSIX_API=OFF
build_library cmocka -DWITH_STATIC_LIB=ON -DWITH_EXAMPLES=OFF -DUNIT_TESTING=OFF
sed -i 's/-lcmocka$/-lcmocka-static/' "$sysroot/lib/pkgconfig/cmocka.pc"
for headers in vulkan vk_video; do
    if [ -d "/usr/include/$headers" ]; then cp -r "/usr/include/$headers" "$sysroot/include"; fi
done

step 'muninn'
cmake -S "$source" -B "$folder/build" -G Ninja --toolchain "$source/cmake/mingw.cmake" -DMUNINN_SYSROOT="$sysroot" \
    -DMUNINN_WERROR=ON ${CMAKE_C_COMPILER_LAUNCHER+-DCMAKE_C_COMPILER_LAUNCHER="$CMAKE_C_COMPILER_LAUNCHER"} >>"$log" 2>&1
cmake --build "$folder/build" ${1+--target "$@"} >>"$log" 2>&1

if [ $# -eq 0 ]; then # all of it was built
    step 'zip'
    name=muninn-windows-x86_64
    stage=$folder/$name
    rm -rf "$stage" "$folder/$name.zip"
    mkdir -p "$stage/bin" "$stage/share/muninn/models" "$stage/licences"
    x86_64-w64-mingw32-strip -o "$stage/bin/muninn.exe" "$folder/build/muninn.exe"
    cp -r "$source/models/raven-deep" "$source/models/raven-tiny" "$stage/share/muninn/models"
    cp "$source/README.md" "$source/LICENSE" "$stage"
    for library in cjson pcre2 utf8proc; do
        cp "$(echo "$folder/sources/$library"-*/debian/copyright)" "$stage/licences/$library"
    done
    cp /usr/share/doc/mingw-w64-common/copyright "$stage/licences/mingw-w64"
    cp /usr/share/doc/gcc-mingw-w64-base/copyright "$stage/licences/gcc"
    (cd "$folder" && zip -qr "$name.zip" "$name")
    echo "$folder/$name.zip"
fi
current=
