"""Builds the wheel: the package, muninn.h as it is, and the shared library that CMake built.

    cmake --build build && pip wheel --no-deps --no-build-isolation -w dist ./python

MUNINN_LIBRARY names another library than build/libmuninn.so. The version is that of muninn.h. A wheel is for one
platform and any Python 3.
"""
import os
import re
import shutil

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70
    from wheel.bdist_wheel import bdist_wheel

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(HERE, '..', 'api', 'muninn.h')
LIBRARY = os.environ.get('MUNINN_LIBRARY') or os.path.join(HERE, '..', 'build', 'libmuninn.so')


class BuildWithLibrary(build_py):
    """Python files, and beside them what they load."""

    def run(self):
        super().run()
        if not os.path.exists(LIBRARY):
            raise SystemExit(f'{LIBRARY} is not there: build it (cmake --build build), or name it with MUNINN_LIBRARY')
        package = os.path.join(self.build_lib, 'muninn')
        shutil.copyfile(HEADER, os.path.join(package, 'muninn.h'))
        shutil.copyfile(LIBRARY, os.path.join(package, 'libmuninn.so.0'))


class WithLibrary(Distribution):
    """Not pure Python, although nothing is compiled here."""

    def has_ext_modules(self):
        return True


class PlatformWheel(bdist_wheel):
    """py3-none-PLATFORM: no Python is linked to."""

    def get_tag(self):
        return 'py3', 'none', super().get_tag()[2]


with open(HEADER, encoding='utf-8') as header:
    version = re.search(r'^#define MN_VERSION "([^"]+)"', header.read(), re.M)[1]
setup(version=version, packages=['muninn'], distclass=WithLibrary,
      cmdclass={'build_py': BuildWithLibrary, 'bdist_wheel': PlatformWheel})
