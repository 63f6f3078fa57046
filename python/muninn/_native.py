"""The shared library and its declarations, which are read from muninn.h itself: no struct is written down again.

cffi in ABI mode parses the header when the package is imported and works out sizes and offsets by the platform's rules;
the tests compare them with those of a C compiler. Everything below works on any struct of the header: `fill` puts a
dictionary into one, `record` reads one, `callback` and `argument_callback` make callbacks of the types it declares.
"""
import os
import re
import types

import cffi

_HERE = os.path.dirname(os.path.abspath(__file__))
_TREE = os.path.dirname(os.path.dirname(_HERE))  # of a source tree; in a wheel header and library are beside this file


def header_path():
    """The header that belongs to this package: a wheel brings its own, a source tree has api/muninn.h."""
    for path in os.path.join(_HERE, 'muninn.h'), os.path.join(_TREE, 'api', 'muninn.h'):
        if os.path.exists(path):
            return path
    raise ImportError(f'muninn: no muninn.h beside {_HERE} and none in {_TREE}/api')


def library_path():
    """MUNINN_LIBRARY, else the wheel's library, else the source tree's in build/, else whatever the loader finds."""
    named = os.environ.get('MUNINN_LIBRARY')
    if named:
        return named
    for path in os.path.join(_HERE, 'libmuninn.so.0'), os.path.join(_TREE, 'build', 'libmuninn.so.0'):
        if os.path.exists(path):
            return path
    return 'libmuninn.so.0'


def declarations(header):
    """What cffi takes: the header without lines of the preprocessor and without what only C++ sees."""
    plain = re.sub(r'^#ifdef __cplusplus$.*?^#endif$', '', header, flags=re.M | re.S)
    return re.sub(r'^#.*$', '', plain, flags=re.M)


with open(header_path(), encoding='utf-8') as _file:
    _header = _file.read()
header_version = re.search(r'^#define MN_VERSION "([^"]+)"', _header, re.M)[1]

ffi = cffi.FFI()
ffi.cdef(declarations(_header) + '\nvoid free(void *memory);\n')
try:
    lib = ffi.dlopen(library_path())
except OSError as error:
    raise ImportError(f'muninn: the shared library cannot be loaded: {error}; build it (cmake --build build) or name '
                      'it with MUNINN_LIBRARY') from error
_libc = ffi.dlopen(None)
version = ffi.string(lib.mn_version()).decode()
if version != header_version:
    raise ImportError(f'muninn: {library_path()} has version {version}, {header_path()} {header_version}')


def text(pointer):
    """A C string as str, NULL as None."""
    return None if pointer == ffi.NULL else ffi.string(pointer).decode('utf-8', 'replace')


def take_ids(pointer, n):
    """Ids that the library allocated, as a list; frees them."""
    ids = ffi.unpack(pointer, n) if n else []
    _libc.free(pointer)
    return ids


def take_text(pointer, n_bytes):
    """Text that the library allocated; frees it."""
    data = bytes(ffi.buffer(pointer, n_bytes))
    _libc.free(pointer)
    return data.decode('utf-8', 'replace')


def ids_array(ids):
    """Ids of any kind (list, numpy, torch) as uint32_t[]."""
    values = [int(i) for i in ids]
    for value in values:
        if not 0 <= value <= 0xffffffff:
            raise ValueError(f'{value} is not a token id')
    return ffi.new('uint32_t[]', values)


def fill(struct, values, keep):
    """Puts a dictionary into a struct, dictionaries into its structs; None leaves a field zero, strings become C
    strings. `keep` is a list that holds what the struct points to: it must live as long as the struct is used."""
    fields = dict(ffi.typeof(struct).fields if ffi.typeof(struct).kind == 'struct' else ffi.typeof(struct).item.fields)
    for name, value in values.items():
        if name not in fields:
            raise TypeError(f'{name!r} is not a setting: {", ".join(f for f in fields if f != "reserved")}')
        if isinstance(value, dict):
            fill(getattr(struct, name), value, keep)
        elif isinstance(value, str):
            if '\0' in value:
                raise ValueError(f'{name}: a zero byte in {value!r}')
            keep.append(ffi.new('char[]', os.fsencode(value)))
            setattr(struct, name, keep[-1])
        elif value is not None:
            if isinstance(value, ffi.CData):
                keep.append(value)
            setattr(struct, name, value)


def new(name, values, keep):
    """A zeroed struct of the header with these values, owned by `keep` as well: a variable of whoever uses the struct,
    since a list that nothing else holds ends with this call, and the strings with it."""
    struct = ffi.new(f'struct {name} *')
    keep.append(struct)
    fill(struct, values, keep)
    return struct


def record(struct):
    """A struct as a plain object: numbers, booleans, strings, lists of numbers, structs again; pointers to other things
    and reserved words are left out."""
    kind = ffi.typeof(struct)
    found = types.SimpleNamespace()
    for name, field in (kind.item if kind.kind == 'pointer' else kind).fields:
        value = getattr(struct, name)
        if name == 'reserved' or field.type.kind == 'function':
            continue
        if field.type.kind in ('primitive', 'enum'):
            setattr(found, name, value)
        elif field.type.kind == 'struct':
            setattr(found, name, record(value))
        elif field.type.kind == 'array':
            setattr(found, name, list(value))
        elif field.type is ffi.typeof('char *'):
            setattr(found, name, text(value))
    return found


def enum(name):
    """The constants of an enum of the header: {"MN_OK": 0, ...}."""
    return dict(ffi.typeof(f'enum {name}').relements)


def callback(struct, field, function, error=0, onerror=None):
    """A callback of the type that a field of a struct of the header has."""
    kind = dict(ffi.typeof(f'struct {struct}').fields)[field].type
    return ffi.callback(kind, function, **_result(kind, error), onerror=onerror)


def argument_callback(function, index, python_function, error=0, onerror=None):
    """A callback of the type of a function's argument number `index`."""
    kind = ffi.typeof(getattr(lib, function)).args[index]
    return ffi.callback(kind, python_function, **_result(kind, error), onerror=onerror)


def _result(kind, error):
    return {} if kind.result.kind == 'void' else {'error': error}
