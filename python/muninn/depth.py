"""What happens inside the recurrence: every token's state and prediction after every step."""
import types

from . import _native, scoring
from ._native import ffi, lib


class DepthTrace(types.SimpleNamespace):
    """The fields of mn_depth_trace as Python has them. `tokens`: id, generated, terminal (with the kind's name), exits
    ({criterion: first step at which it asks for the exit, 0: never}). `steps[name]` [n_tokens, n_steps] for every field
    of mn_depth_step; `states` [n_tokens, n_steps + 1, n_embd]; `paths` [n_tokens, n_steps + 1, n_components];
    `distance` and `init_top1` [n_tokens, n_inits]; `readouts[rule][entries]` [n_tokens, steps asked for], best ids.
    numpy arrays, nested lists without numpy."""


def _array(values, shape):
    try:
        import numpy
        return numpy.array(values).reshape(shape)
    except ImportError:
        for n in reversed(shape[1:]):
            values = [values[i:i + n] for i in range(0, len(values), n)] if n else []
        return values


def _unpack(pointer, shape):
    n = 1
    for size in shape:
        n *= size
    return _array(ffi.unpack(pointer, n) if n else [], shape)


def _readouts(trace):
    rules, entries, n = lib.MN_READOUT_COUNT, lib.MN_ENTRIES_COUNT, trace.n_tokens
    values = ffi.unpack(trace.readouts, n * trace.readout_stride * rules * entries) if trace.n_readouts else []
    return {_native.text(lib.mn_readout_name(rule)): {
        _native.text(lib.mn_entries_name(e)): _array(values[rule * entries + e::rules * entries],
                                                     (n, trace.readout_stride))
        for e in range(entries)} for rule in range(rules)} if values else {}


def _token(token, exits_end):
    found = _native.record(token)
    found.terminal.kind = _native.text(lib.mn_terminal_name(token.terminal.kind))
    found.exits = {_native.text(lib.mn_exit_name(i)): token.exits[i] for i in range(lib.MN_EXIT_LATENT_DIFF, exits_end)}
    return found


def _read(trace):
    found = DepthTrace(**vars(_native.record(trace)))
    n, steps, stride = trace.n_tokens, trace.n_steps, trace.init_stride
    found.tokens = [_token(trace.tokens[i], trace.exits_end) for i in range(n)]
    found.steps = {name: _array([getattr(trace.steps[i], name) for i in range(n * steps)], (n, steps))
                   for name, _ in ffi.typeof('struct mn_depth_step').fields}
    states = ffi.buffer(trace.states, 4 * n * (steps + 1) * trace.n_embd)[:] if n else b''
    found.states = scoring.floats(bytearray(states), (n, steps + 1, trace.n_embd))
    found.paths = _unpack(trace.paths, (n, (steps + 1) if trace.n_components else 0, trace.n_components))
    found.distance, found.init_top1 = (_unpack(p, (n, stride)) for p in (trace.distance, trace.init_top1))
    found.readouts = _readouts(trace)
    found.variance = found.variance[:trace.n_components]
    return found


def trace(model, prompt, max_new_tokens, num_steps, kv_type=None, beyond_trained_depth=False, readout_steps=(),
          **settings):
    """See Model.trace."""
    ids = model.encode(prompt)
    num_steps = num_steps or model.info.shape.mean_recurrence
    keep, engine, steps = [], model._engine, ffi.new('uint32_t[]', [int(step) for step in readout_steps])
    params = _native.new('mn_depth_trace_params', dict(
        settings, prompt=_native.ids_array(ids), n_prompt=len(ids), n_new=max_new_tokens, num_steps=num_steps,
        readout_steps=steps, n_readouts=len(readout_steps)), keep)
    with engine.use():
        session = engine.session(n_ctx=max(2, min(len(ids) + max_new_tokens, model.n_ctx)), num_steps=num_steps,
                                 n_sequences=1, max_rows=1, kv_policy='full', kv_type=kv_type,
                                 beyond_trained_depth=beyond_trained_depth)
        found = ffi.new('struct mn_depth_trace *')
        try:
            engine.check(lib.mn_depth_trace_run(found, session, params))
            return _read(found)
        finally:
            lib.mn_depth_trace_finish(found)
