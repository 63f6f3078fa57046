"""Many prompts on one session that come and go between steps: mn_scheduler, whose promises muninn.h has."""
import collections
import contextlib
import dataclasses

from . import _native
from ._native import ffi, lib
from .errors import error_for
from .generation import Generation, stats_record

MAX_ROWS = 128    # mn_session_params.max_rows
LEAST_ROWS = 16   # a prompt may ask for a strategy that takes more than the usual one


class Request:
    """A prompt that was added. `result` is its Generation once it has ended, of whatever cause."""

    def __init__(self, scheduler, sequence):
        self.id, self.result = None, None  #: the library's number of it, from 1
        self._scheduler, self._sequence, self._n_told, self._text = scheduler, sequence, 0, []

    @property
    def done(self):
        """Has it ended?"""
        return self.result is not None

    @property
    def ids(self):
        """New tokens so far."""
        return list(self._sequence.ids)

    def cancel(self):
        """Ends it: `result` has what came until then, its finish_reason is "interrupted"."""
        self._scheduler.cancel(self)

    def _news(self):
        """What came since the last time; None where nothing did."""
        ids, self._n_told = self._sequence.ids[self._n_told:], len(self._sequence.ids)
        text, self._text[:] = ''.join(map(str, self._text)), []
        return Event(self, text, ids, self.result) if ids or text or self.result else None


@dataclasses.dataclass
class Event:
    """What a step brought for a request. All `text` of a request together is its result's text."""

    request: Request
    text: str  #: possibly nothing: characters that are not complete and what may begin a stop text are held back
    ids: list  #: new tokens
    result: Generation  #: None until the last event of the request


class Scheduler:
    """Use it with `with`, or close it. Iterating over it steps until no request is left:

        with model.scheduler(num_steps=16) as scheduler:
            request = scheduler.add('sort 2 8 0 1 :', 12)
            for event in scheduler:
                ...                      # add and cancel are possible here

    The tokens of each request are, bit for bit, those that `model.generate` gives for its settings."""

    def __init__(self, model, parallel, n_ctx, max_rows, prompt_rows, reuse, defaults):
        self._model, self._engine, self._defaults = model, model._engine, defaults
        self._alive, self._events = {}, collections.deque()
        self._pointer = self._session = None
        self._on_end = self._engine.argument_callback('mn_scheduler_add', 2, self._ended)
        settings = model._check(dict(defaults))
        rows = model._rows(settings)
        parallel = max(1, min(parallel, (max_rows or MAX_ROWS) // rows))
        self.n_ctx = n_ctx or model.n_ctx
        wanted = model._session_settings(settings, n_ctx=self.n_ctx, n_sequences=parallel,
                                         max_rows=max_rows or max(LEAST_ROWS, parallel * rows))
        with self._engine.use():
            self._session = self._engine.own_session(self, **wanted)
            try:
                model._costs(settings, self._session)
                out, keep = ffi.new('struct mn_scheduler **'), []
                values = {'prompt_rows': prompt_rows, 'no_reuse': not reuse}
                self._engine.check(lib.mn_scheduler_create(out, self._session,
                                                           _native.new('mn_scheduler_params', values, keep)))
                self._pointer = out[0]
            except BaseException:
                self._engine.disown_session(self)
                raise

    # ---- requests ----

    def add(self, prompt, max_new_tokens=None, **settings):
        """Adds a prompt, which waits for its turn; `settings` are those of `model.generate`, in place of the
        scheduler's own, but for those of the session (kv_policy, kv_type, beyond_trained_depth). -> Request"""
        settings, keep = self._model._check_scheduled(settings, self._defaults), []
        plan = self._model._plan(prompt, max_new_tokens, settings, self.n_ctx)
        text = []
        sequence = self._model._sequence(plan, settings, text.append)
        request = Request(self, sequence)
        request._text = text
        if self._model.tokenizer is None:
            sequence._emit = None  # ids are told by themselves
        params = _native.new('mn_generate_params', dict(plan[1], on_token=sequence.on_token), keep)
        number = ffi.new('uint64_t *')
        with self._use():
            self._engine.check(lib.mn_scheduler_add(self._pointer, params, self._on_end, ffi.NULL, number))
            request.id = number[0]
            self._alive[request.id] = request  # keeps the callback as long as the library may call it
        return request

    def cancel(self, request):
        """Ends a request; one that has ended stays as it is. Its last event comes with the next step."""
        with self._use():
            if request._scheduler is not self:
                raise ValueError('the request belongs to another scheduler')
            self._engine.check(lib.mn_scheduler_cancel(self._pointer, request.id))

    def _ended(self, _user, number, stats):
        request = self._alive.pop(number)
        error = None
        if stats.status and stats.status != lib.MN_ERR_INTERRUPTED:
            error = error_for(stats.status, self._engine.lines())
        request.result = request._sequence.finish(stats, stats.status, error)
        self._tell(request)

    def _tell(self, request):
        event = request._news()
        if event:
            self._events.append(event)

    # ---- steps ----

    def step(self):
        """One round of muninn.h's FAIRNESS: lets requests in, reads prompts, takes those that decode further.
        -> a list of Event, what came since the last one. What a step raises has ended every request whose turn had
        come; their events, with results, come with the next step."""
        with self._use():
            n_alive = ffi.new('uint32_t *')
            status = lib.mn_scheduler_step(self._pointer, n_alive)
            for request in list(self._alive.values()):
                self._tell(request)
            self._engine.check(status)
        events = list(self._events)
        self._events.clear()
        return events

    def __iter__(self):
        while self._alive or self._events:
            yield from self.step()

    @property
    def n_alive(self):
        """Requests that wait or run."""
        return len(self._alive)

    @property
    def stats(self):
        """The fields of mn_scheduler_stats; `total` has the derived figures as well."""
        stats = ffi.new('struct mn_scheduler_stats *')
        with self._use():
            lib.mn_scheduler_stats(self._pointer, stats)
        found = _native.record(stats)
        found.total = stats_record(ffi.addressof(stats, 'total'))
        return found

    # ---- life ----

    @contextlib.contextmanager
    def _use(self):
        with self._engine.use():
            if self._pointer is None:
                raise ValueError('muninn: the scheduler is closed')
            yield

    def _destroy(self):
        """Inside a call of the engine."""
        lib.mn_scheduler_destroy(self._pointer or ffi.NULL)
        lib.mn_session_destroy(self._session or ffi.NULL)
        self._pointer = self._session = None
        self._alive.clear()

    def close(self):
        """Frees the session. Requests that are there still end without a result."""
        if self._session is not None:
            with self._engine.use():
                self._engine.disown_session(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, '_session', None) is not None:
            self.close()
