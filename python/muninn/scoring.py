"""Likelihoods and logits."""
import collections

from . import _native
from ._native import ffi, lib

PARALLEL = 32  # items in the cache at once, as in `muninn score`
_SESSION = ('kv_policy', 'kv_type', 'beyond_trained_depth')

Likelihood = collections.namedtuple('Likelihood', 'logprob is_greedy tokens')
Likelihood.__doc__ = """`logprob`: natural logarithm of the continuation's probability; `is_greedy`: every token of it
is the most likely one at its place; `tokens`: how many were scored."""


def session_settings(settings, kv_type):
    """Those of a session out of keyword arguments, which must be no others."""
    for name in settings:
        if name not in _SESSION:
            raise TypeError(f'{name!r} is not a setting: {", ".join(_SESSION)}')
    settings = dict({name: None for name in _SESSION}, **settings)
    return dict(settings, kv_policy=settings['kv_policy'] or 'full', kv_type=settings['kv_type'] or kv_type)


def encode_pair(encode, context, continuation):
    """Ids of both, as the lm-evaluation-harness has them: blanks at the context's end belong to the continuation; the
    whole is encoded, and what lies behind the number of tokens that the context has alone is the continuation."""
    if not isinstance(context, str):
        return [int(i) for i in context], [int(i) for i in continuation]
    own = encode(context.rstrip())
    whole = encode(context + continuation)
    if not own:
        raise ValueError('the context is empty, and there is no begin token to take its place')
    if len(whole) <= len(own):
        raise ValueError(f'{continuation!r} has no token of its own behind {context[-40:]!r}')
    return own, whole[len(own):]


def loglikelihood(model, pairs, num_steps, **settings):
    """See Model.loglikelihood."""
    several = isinstance(num_steps, (list, tuple, range))
    depths = list(num_steps) if several else [num_steps or model.info.shape.mean_recurrence]
    settings = session_settings(settings, 'f32')  # likelihoods are compared, and a rounded cache shows in them
    pairs = [encode_pair(model.encode, *pair) for pair in pairs]
    if not pairs:
        return []
    keep, found = [], [None] * len(pairs)
    items = ffi.new('struct mn_score_item[]', len(pairs))
    for item, (context, continuation) in zip(items, pairs):
        ids = _native.ids_array(context + continuation)
        _native.fill(item, {'ids': ids, 'n_ids': len(ids), 'n_context': len(context)}, keep)

    def each(_user, item, likelihoods):
        found[item] = [Likelihood(likelihoods[i].logprob, likelihoods[i].is_greedy, len(pairs[item][1]))
                       for i in range(len(depths))]
        return lib.MN_OK

    engine = model._engine
    values = {'items': items, 'n_items': len(pairs), 'num_steps': ffi.new('uint32_t[]', depths),
              'n_num_steps': len(depths), 'each': engine.callback('mn_score_params', 'each', each, error=lib.MN_ERR_RUN)}
    with engine.use():
        longest = max(len(context) + len(continuation) for context, continuation in pairs) - 1
        session = engine.session(n_ctx=max(2, min(longest, model.n_ctx)), num_steps=max(depths),
                                 n_sequences=min(PARALLEL, len(pairs)), max_rows=1, **settings)
        engine.check(lib.mn_score(session, _native.new('mn_score_params', values, keep)))
    return found if several else [likelihoods[0] for likelihoods in found]


def floats(data, shape):
    """Bytes of float32 as an array of this shape."""
    view = memoryview(data).cast('B').cast('f', shape) if all(shape) else memoryview(b'').cast('f')
    try:
        import numpy
    except ImportError:
        return view
    return numpy.frombuffer(data, numpy.float32).reshape(shape)


def logits(model, ids, num_steps, state0, **settings):
    """See Model.logits."""
    settings = session_settings(settings, 'f16')
    num_steps = num_steps or model.info.shape.mean_recurrence
    array = _native.ids_array(model.encode(ids))
    n_vocab, found = model.info.shape.vocab_size, bytearray(4 * len(array) * model.info.shape.vocab_size)

    def each(_user, position, row, n):
        found[4 * n * position:4 * n * (position + 1)] = ffi.buffer(row, 4 * n)
        return lib.MN_OK

    start = ffi.NULL
    if state0 is not None:
        start = ffi.from_buffer('float[]', state0)
        if len(start) != len(array) * model.info.shape.n_embd:
            raise ValueError(f'state0: {len(start)} numbers for {len(array)} ids of {model.info.shape.n_embd}')
    engine = model._engine
    callback = engine.argument_callback('mn_logits', 5, each, error=lib.MN_ERR_RUN)
    with engine.use():
        session = engine.session(n_ctx=max(2, min(len(array), model.n_ctx)), num_steps=num_steps, n_sequences=1,
                                 max_rows=1, **settings)
        engine.check(lib.mn_logits(session, array, len(array), num_steps, start, callback, ffi.NULL))
    return floats(found, (len(array), n_vocab))
