# Toolchain file: builds for arm64 on another Debian, from its multiarch packages (tests/arm64.sh lists them). Programs
# of the build run by qemu-user, where that is installed; so do the tests.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)
set(ENV{PKG_CONFIG_LIBDIR} /usr/lib/aarch64-linux-gnu/pkgconfig:/usr/share/pkgconfig)
find_program(MUNINN_QEMU NAMES qemu-aarch64-static qemu-aarch64)
if(MUNINN_QEMU)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${MUNINN_QEMU})
endif()
