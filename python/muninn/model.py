"""Models: generation, scores, logits and traces, as muninn.h has them."""
import functools
import os

from . import _native, depth, scoring
from ._native import ffi, lib
from .engine import Engine
from .errors import Interrupted, error_for
from .generation import Sequence
from .scheduler import MAX_ROWS, Scheduler
from .stream import Stream
from .tokenizer import Tokenizer

DEFAULT_NEW = 64          # these four as in `muninn generate`
DEFAULT_DRAFT_STEPS = 4
DEFAULT_LOOKAHEAD = 7
DEFAULT_PARALLEL = 8
_SAMPLER = ('temperature', 'top_p', 'top_k', 'min_p', 'seed')
_SPECULATION = ('draft_steps', 'lookahead', 'max_inflight', 'lookup', 'branches', 'verification_threshold',
                'require_lossless')
_GENERATE = ('num_steps', 'strategy', 'exit', 'diffusion', 'continuous', 'ignore_eos', 'init_scale')
_SESSION = ('kv_policy', 'kv_type', 'beyond_trained_depth')
_TEXT = ('stop', 'stop_ids', 'skip_special_tokens')


def load(path=None, *, device=None, weight_type=None, n_ctx=None, synthetic=None, synthetic_seed=0, matrix_units=None,
         validate=False, progress=None):
    """Loads a Hugging Face folder, or a `synthetic` shape, onto a device.

    device       None: the best one; a number or part of a name
    weight_type  None: as stored; "f32", "f16", "bf16", "q8_0", "q4_1", with exceptions (docs/quantisation.md)
    n_ctx        most positions of a sequence; None: the model's block_size. Caches are made as large as calls need
    progress     None, or progress(what, done, total), called while something takes long
    """
    return Model(path, device=device, weight_type=weight_type, n_ctx=n_ctx, synthetic=synthetic,
                 synthetic_seed=synthetic_seed, matrix_units=matrix_units, validate=validate, progress=progress)


class Model:
    """A model on a device. Calls from several threads wait for each other."""

    def __init__(self, path=None, *, n_ctx=None, progress=None, **params):
        if (path is None) == (params.get('synthetic') is None):
            raise ValueError('load: either a model folder or a synthetic shape')
        if isinstance(params.get('device'), int):
            params['device'] = str(params['device'])
        self.path = None if path is None else os.fspath(path)
        self._engine = Engine(dict(params, model_dir=self.path), progress)
        self.info = self._engine.info()
        self.tokenizer = (Tokenizer(self.path, self.info.bos_token_id, self.info.eos_token_ids)
                          if self.info.has_tokenizer else None)
        self.n_ctx = n_ctx or self.info.shape.block_size

    # ---- generation ----

    def generate(self, prompt, max_new_tokens=None, **settings):
        """Continues a prompt, a text or ids; of a list of prompts, all of them together (`generate_batch`).

        max_new_tokens  None: 64, or what the context holds
        num_steps       depth; None: the model's mean_recurrence
        strategy        "ar", "draft-verify", "wavefront", "auto", "diffusion"; draft_steps, lookahead, max_inflight,
                        verification_threshold, require_lossless
        temperature, top_k, top_p, min_p, seed; 0: greedy
        stop            a text or several, before which the text ends
        stop_ids        ids that end it as an end token does, also with ignore_eos; it is the last of `ids`
        ignore_eos, skip_special_tokens, init_scale, continuous, kv_policy, kv_type, beyond_trained_depth
        exit, diffusion dictionaries with the fields of mn_exit_params and mn_diffusion_params

        Defaults are those of `muninn generate`, and so are the tokens. Ctrl-C ends it. -> Generation"""
        if not isinstance(prompt, str) and len(prompt) and not hasattr(prompt[0], '__index__'):
            return self.generate_batch(prompt, max_new_tokens, **settings)
        return self._run(prompt, max_new_tokens, settings, None, None)

    def stream(self, prompt, max_new_tokens=None, **settings):
        """As `generate`, but the text comes in pieces while the library is at work in a thread: a Stream."""
        self._check(settings)
        return Stream(functools.partial(self._run, prompt, max_new_tokens, settings))

    def generate_batch(self, prompts, max_new_tokens=None, parallel=None, **settings):
        """Continues prompts that share passes, `parallel` at a time. A prompt that cannot run has an `error`; the
        others run. -> a Generation per prompt"""
        settings, keep = self._check(settings), []
        plans = [self._plan(prompt, max_new_tokens, settings) for prompt in prompts]
        if not plans:
            return []
        rows = self._rows(settings)
        n = min(parallel or DEFAULT_PARALLEL, len(plans), MAX_ROWS // rows)
        sequences = [self._sequence(plan, settings) for plan in plans]
        params = ffi.new('struct mn_generate_params[]', len(plans))
        for place, plan, sequence in zip(params, plans, sequences):
            log = _native.new('mn_log', {'write': sequence.log}, keep)
            _native.fill(place, dict(plan[1], on_token=sequence.on_token, log=log), keep)
        stats, total = ffi.new('struct mn_stats[]', len(plans)), ffi.new('struct mn_stats *')
        with self._engine.use():
            session = self._session(settings, max(plan[2] for plan in plans), n, n * rows)
            self._costs(settings, session)
            status = lib.mn_generate_batch(session, params, len(plans), stats, total, ffi.NULL, ffi.NULL)
            errors = [error_for(s.status, q.lines) if s.status else None for s, q in zip(stats, sequences)]
            self._engine.check(0 if any(errors) and status == next(e for e in errors if e).status else status)
        return [sequence.finish(ffi.addressof(s), 0, error) for sequence, s, error in zip(sequences, stats, errors)]

    def scheduler(self, parallel=DEFAULT_PARALLEL, *, n_ctx=None, max_rows=None, prompt_rows=None, reuse=True,
                  **settings):
        """Many prompts that come and go while others run, on a session of their own: a Scheduler.

        parallel     prompts that run at once; others wait
        n_ctx        most positions of each; None: the model's
        max_rows     most rows in a pass; None: what `parallel` of these settings take
        prompt_rows  rows of prompts between two rounds of those that decode; None: 64
        reuse        prompts that begin like one before are read from the first difference on
        settings     of `generate`, for all prompts that do not say otherwise. num_steps is the most they can ask for"""
        return Scheduler(self, parallel, n_ctx, max_rows, prompt_rows, reuse, settings)

    def _run(self, prompt, max_new_tokens, settings, emit, cancelled):
        settings, keep = self._check(settings), []
        plan = self._plan(prompt, max_new_tokens, settings)
        sequence = self._sequence(plan, settings, emit)
        params = _native.new('mn_generate_params', dict(plan[1], on_token=sequence.on_token), keep)
        stats = ffi.new('struct mn_stats *')
        with self._engine.use(cancelled):
            session = self._session(settings, plan[2], 1, self._rows(settings))
            self._costs(settings, session)
            status = lib.mn_generate(session, params, stats)
            try:
                self._engine.check(status)
            except Interrupted:
                pass  # whoever closed the stream has what came until then
        return sequence.finish(stats, status)

    # ---- scores, logits, traces ----

    def score(self, context, continuation, num_steps=None, **settings):
        """Likelihood of a continuation behind a context, texts or ids; of a list of depths a list."""
        return self.loglikelihood([(context, continuation)], num_steps, **settings)[0]

    def loglikelihood(self, pairs, num_steps=None, **settings):
        """Likelihoods of (context, continuation) pairs in one run. `num_steps` is a depth, or several, which share the
        run: then each pair has a list. Texts become ids as in docs/score.md.
        -> Likelihood(logprob, is_greedy, tokens)"""
        return scoring.loglikelihood(self, pairs, num_steps, **settings)

    def logits(self, ids, num_steps=None, state0=None, **settings):
        """Logits of every position, float32 [n_ids, vocab_size]: a numpy array, or a memoryview without numpy.
        `state0`: initial states, float32 [n_ids, n_embd]."""
        return scoring.logits(self, ids, num_steps, state0, **settings)

    def trace(self, prompt, max_new_tokens=0, num_steps=None, **settings):
        """Every token's state and prediction after every step; `settings` are fields of mn_depth_trace_params.
        -> DepthTrace"""
        return depth.trace(self, prompt, max_new_tokens, num_steps, **settings)

    def close(self):
        """Frees the device and all memory. Waits for calls of other threads."""
        self._engine.close()
        if self.tokenizer:
            self.tokenizer.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- inside ----

    def encode(self, prompt):
        """Ids of a prompt: text through the tokenizer with a begin token in front, ids as they are."""
        if not isinstance(prompt, str):
            return [int(i) for i in prompt]
        if self.tokenizer is None:
            raise ValueError('the model has no tokenizer: a prompt must be ids')
        return self.tokenizer.encode(prompt)

    def _check(self, settings):
        """All settings, with defaults."""
        known = _SAMPLER + _SPECULATION + _GENERATE + _SESSION + _TEXT
        for name in settings:
            if name not in known:
                raise TypeError(f'{name!r} is not a setting: {", ".join(known)}')
        settings = dict(settings)
        settings['strategy'] = settings.get('strategy') or 'ar'
        settings['num_steps'] = settings.get('num_steps') or self.info.shape.mean_recurrence
        settings['lookahead'] = DEFAULT_LOOKAHEAD if settings.get('lookahead') is None else settings['lookahead']
        if settings.get('draft_steps') is None:
            settings['draft_steps'] = max(1, min(DEFAULT_DRAFT_STEPS, settings['num_steps'] - 1))
        settings['max_inflight'] = self._rows(settings)
        known = lib.mn_strategy_find(settings['strategy'].encode())
        needed = _native.text(known.kv_policy) if known else None
        settings['kv_policy'] = settings.get('kv_policy') or needed or 'full'
        return settings

    def _check_scheduled(self, settings, defaults):
        """The same of a prompt of a scheduler with these settings, whose session is there already."""
        for name in settings:
            if name in _SESSION:
                raise TypeError(f'{name!r} is a setting of the scheduler')
        return self._check({**defaults, **settings})

    @staticmethod
    def _rows(settings):
        speculation = {name: settings.get(name) for name in ('lookahead', 'max_inflight', 'lookup')}
        keep = []
        params = _native.new('mn_generate_params', {'strategy': settings['strategy'], 'speculation': speculation}, keep)
        return lib.mn_strategy_rows(params) or 1

    def _plan(self, prompt, n_new, settings, n_ctx=None):
        """Ids, fields of mn_generate_params, positions."""
        ids = self.encode(prompt)
        if n_new is None:
            n_new = max(1, min(DEFAULT_NEW, (n_ctx or self.n_ctx) + 1 - len(ids)))
        params = {name: settings.get(name) for name in _GENERATE}
        params['sampler'] = {name: settings.get(name) for name in _SAMPLER}
        params['speculation'] = {name: settings.get(name) for name in _SPECULATION}
        params.update(prompt=_native.ids_array(ids), n_prompt=len(ids), n_new=n_new)
        if stop_ids := list(settings.get('stop_ids') or ()):
            params.update(stop_ids=_native.ids_array(stop_ids), n_stop_ids=len(stop_ids))
        return ids, params, len(ids) + n_new - 1

    def _sequence(self, plan, settings, emit=None):
        eos = () if settings.get('ignore_eos') else self.info.eos_token_ids
        return Sequence(self._engine, self.tokenizer, plan[0], eos, dict(settings), emit)

    def _session(self, settings, n_positions, n_sequences, max_rows):
        if n_sequences == 1:  # in large pieces: calls of about one length share a session, all of them a table of costs
            n_positions = -(-n_positions // lib.MN_COST_CONTEXT) * lib.MN_COST_CONTEXT
        return self._engine.session(**self._session_settings(
            settings, n_ctx=max(2, min(n_positions, self.n_ctx)), n_sequences=n_sequences, max_rows=max_rows))

    @staticmethod
    def _session_settings(settings, **sizes):
        """Fields of mn_session_params."""
        return dict(sizes, num_steps=settings['num_steps'],
                    branch_positions=lib.MN_USUAL_BRANCH_POSITIONS if settings.get('branches') == 2 else 0,
                    **{name: settings.get(name) for name in _SESSION})

    def _costs(self, settings, session):
        known = lib.mn_strategy_find(settings['strategy'].encode())
        if known and known.uses & lib.MN_USES_COSTS:
            self._engine.use_costs(session)
