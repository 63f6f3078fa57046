# For Windows on x86-64 with Debian's mingw-w64; libraries are those in MUNINN_SYSROOT, which cmake/windows.sh fills.
#   cmake -S . -B build-windows --toolchain cmake/mingw.cmake -DMUNINN_SYSROOT=FOLDER
set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES MUNINN_SYSROOT)
set(CMAKE_FIND_ROOT_PATH ${MUNINN_SYSROOT} /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
# What pkg-config knows is of the machine that builds.
set(ENV{PKG_CONFIG_LIBDIR} ${MUNINN_SYSROOT}/lib/pkgconfig)
set(ENV{PKG_CONFIG_PATH} "")
set(ENV{PKG_CONFIG_SYSROOT_DIR} "")
# Debian's wine64 has it there; ctest runs the tests under it.
find_program(MUNINN_WINE NAMES wine64 wine PATHS /usr/lib/wine NO_CMAKE_FIND_ROOT_PATH)
if(MUNINN_WINE)
  set(CMAKE_CROSSCOMPILING_EMULATOR ${MUNINN_WINE})
endif()
