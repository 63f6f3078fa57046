"""An engine of the library, and the rules under which it may be used.

One thread at a time: `use` is a lock. Messages go to the logger "muninn", errors into the exception. The library asks a
callback whether to go on, several times a second; that is where Ctrl-C, closed streams and the program's end get in.
"""
import contextlib
import logging
import threading
import weakref

from . import _native
from ._native import ffi, lib
from .errors import Status, error_for

_NO_ID = 0xffffffff  # UINT32_MAX: mn_model_info.bos_token_id where there is none
log = logging.getLogger('muninn')


class Engine:
    """mn_engine with its sessions. `params` are fields of mn_engine_params."""

    def __init__(self, params, progress=None):
        self._lock = threading.Lock()
        self._owner = None      # the thread that is in a call
        self._cancelled = None  # threading.Event of the call under way
        self._pending = None    # what a callback raised
        self._progress = progress
        self._lines = []
        self._sessions = {}     # kind -> (settings, mn_session)
        self._owners = {}       # id -> whoever has a session of its own, weakly
        self._costs = {}        # mn_session_cost_key -> mn_cost_table
        self._pointer = ffi.NULL
        self._keep = []
        self._log = _native.new('mn_log', {'write': self.callback('mn_log', 'write', self._write)}, self._keep)
        report = self.callback('mn_progress', 'report', self._report, error=1)
        values = dict(params, log=self._log, progress={'report': report})
        with self._call(None):
            out = ffi.new('struct mn_engine **')
            status = lib.mn_engine_create(out, _native.new('mn_engine_params', values, self._keep))
            self._pointer = out[0]
            self.check(status)

    # ---- callbacks ----

    def callback(self, struct, field, function, error=0):
        """A callback whose exceptions end the call under way and are raised by it."""
        return _native.callback(struct, field, function, error=error, onerror=self._on_error)

    def argument_callback(self, name, index, function, error=0):
        """The same for an argument of a function."""
        return _native.argument_callback(name, index, function, error=error, onerror=self._on_error)

    def _on_error(self, _kind, error, _traceback):
        self._pending = self._pending or error

    def _write(self, _user, level, line):
        line = _native.text(line)
        if level == lib.MN_LOG_ERROR:
            self._lines.append(line)
        log.log(logging.WARNING if level == lib.MN_LOG_WARN else logging.DEBUG, '%s', line)

    def _report(self, _user, what, done, total):
        if self._pending or (self._cancelled and self._cancelled.is_set()) or not threading.main_thread().is_alive():
            return 1  # a thread that is still here when the program ends would hold it up
        if self._progress and what != ffi.NULL:
            self._progress(_native.text(what), done, total)
        return 0

    def is_cancelled(self):
        """Was the call under way asked to stop?"""
        return bool(self._cancelled and self._cancelled.is_set())

    # ---- calls ----

    @contextlib.contextmanager
    def _call(self, cancelled):
        if self._owner == threading.get_ident():
            raise RuntimeError('muninn: a callback must not call the engine that is calling it')
        with self._lock:
            self._owner, self._lines, self._pending, self._cancelled = threading.get_ident(), [], None, cancelled
            try:
                yield
            finally:
                self._owner = self._cancelled = None

    @contextlib.contextmanager
    def use(self, cancelled=None):
        """The engine for one call. Other threads wait. `cancelled` is an Event that ends the call."""
        with self._call(cancelled):
            if self._pointer == ffi.NULL:
                raise ValueError('muninn: the model is closed')
            yield self._pointer

    def check(self, status):
        """Raises what a callback raised, else what the status stands for."""
        pending, self._pending = self._pending, None
        if pending:
            raise pending
        if status:
            raise error_for(status, self._lines)

    def info(self):
        """mn_model_info as an object, and the end tokens' ids."""
        with self.use() as pointer:
            info = ffi.new('struct mn_model_info *')
            lib.mn_engine_info(pointer, info)
            found = _native.record(info)
            found.bos_token_id = None if info.bos_token_id == _NO_ID else info.bos_token_id
            found.eos_token_ids = ffi.unpack(info.eos_token_ids, info.n_eos) if info.n_eos else []
            return found

    # ---- sessions ----

    def session(self, **wanted):
        """A session with these fields of mn_session_params, inside `use`: the last one of its kind if it is large
        enough, else a new one in its place."""
        kind = tuple(sorted((name, value) for name, value in wanted.items() if name not in _SIZES))
        settings, pointer = self._sessions.get(kind, ({}, None))
        if pointer and all(settings[name] >= wanted[name] for name in _SIZES) and (
                wanted['kv_policy'] == 'full' or settings['num_steps'] == wanted['num_steps']):
            return pointer
        if pointer:
            del self._sessions[kind]
            lib.mn_session_destroy(pointer)
        out, keep = ffi.new('struct mn_session **'), []
        self.check(lib.mn_session_create(out, self._pointer, _native.new('mn_session_params', wanted, keep)))
        self._sessions[kind] = wanted, out[0]
        return out[0]

    def own_session(self, owner, **wanted):
        """A session that is shared with nobody, inside `use`. Its owner's `_destroy` is called when the engine is
        closed before it."""
        out, keep = ffi.new('struct mn_session **'), []
        self.check(lib.mn_session_create(out, self._pointer, _native.new('mn_session_params', wanted, keep)))
        self._owners[id(owner)] = weakref.ref(owner)
        return out[0]

    def disown_session(self, owner):
        """Its owner has no use for it any more; inside `use`."""
        self._owners.pop(id(owner), None)
        owner._destroy()

    def lines(self):
        """What was logged as an error in the call under way."""
        return list(self._lines)

    def use_costs(self, session):
        """Gives a session the costs of passes that one like it has measured, or measures them."""
        key = ffi.new('char[]', lib.mn_session_cost_key(session, ffi.NULL, 0) + 1)
        lib.mn_session_cost_key(session, key, len(key))
        known = self._costs.get(ffi.string(key))
        if known:
            self.check(lib.mn_session_set_costs(session, known))
        else:
            table = ffi.new('struct mn_cost_table *')
            self.check(lib.mn_session_costs(session, table))
            self._costs[ffi.string(key)] = table

    def close(self):
        """Frees device and memory. Waits for a call under way."""
        with self._call(None):
            for owner in [reference() for reference in self._owners.values()]:
                if owner is not None:
                    owner._destroy()
            self._owners.clear()
            for _, session in self._sessions.values():
                lib.mn_session_destroy(session)
            self._sessions.clear()
            pointer, self._pointer = self._pointer, ffi.NULL
            lib.mn_engine_destroy(pointer)

    def __del__(self):
        if getattr(self, '_pointer', ffi.NULL) != ffi.NULL:
            self.close()


_SIZES = ('n_ctx', 'num_steps', 'n_sequences', 'max_rows')


def devices():
    """Every Vulkan device, as objects with the fields of mn_device_info; `refusal` is None where it can be used."""
    found, errors, lines = [], [], []
    visit = _native.argument_callback('mn_devices', 0, lambda _user, info: found.append(_native.record(info)),
                                      onerror=lambda _kind, error, _traceback: errors.append(error))
    keep = []
    write = _native.callback('mn_log', 'write', lambda _user, level, line: lines.append(_native.text(line))
                             if level == lib.MN_LOG_ERROR else None)
    status = lib.mn_devices(visit, ffi.NULL, _native.new('mn_log', {'write': write}, keep))
    if errors:
        raise errors[0]
    if status != Status.OK:
        raise error_for(status, lines)
    return found
