"""A model of EleutherAI's lm-evaluation-harness. docs/python.md shows a run.

    import lm_eval, muninn.lm_eval
    lm = muninn.lm_eval.MuninnLM('models/raven-deep', num_steps=16)
    lm_eval.simple_evaluate(model=lm, tasks=[..])

With the harness installed, the class is one of its LM and has the name "muninn" in its registry. Without it the class
works all the same, for whoever calls it.
"""
try:
    from lm_eval.api.model import LM as _LM
    from lm_eval.api.registry import register_model as _register_model
except ImportError:
    _LM = object

    def _register_model(*_names):
        return lambda cls: cls

from .model import load
from .scoring import encode_pair

MAX_GEN_TOKS = 256  # as in the harness
_GENERATION = ('until', 'max_gen_toks', 'do_sample', 'temperature', 'top_p', 'top_k', 'min_p', 'seed')


@_register_model('muninn')
class MuninnLM(_LM):
    """A model folder at one depth. `requests` are the harness's: objects with `args`."""

    def __init__(self, pretrained=None, num_steps=None, device=None, weight_type=None, max_length=None, batch_size=None,
                 max_batch_size=None, strategy='ar', add_bos_token=True, model=None, **settings):
        """model     one that is loaded already, instead of the folder `pretrained`
        max_length   positions; what needs more is cut from the left, as the harness does it
        batch_size   sequences that share passes while text is generated; a number, else 8
        settings     of Model.generate: draft_steps, lookahead, ..."""
        super().__init__()
        del max_batch_size  # of a kind of batches that there is not
        self.model = model or load(pretrained, device=device, weight_type=weight_type, n_ctx=max_length)
        self.num_steps = num_steps or self.model.info.shape.mean_recurrence
        self._parallel = int(batch_size) if str(batch_size).isdigit() else None
        self._settings, self._bos = dict(settings, strategy=strategy, num_steps=self.num_steps), add_bos_token

    # ---- what the harness asks for ----

    def loglikelihood(self, requests, disable_tqdm=False):
        """(logprob, is_greedy) of each (context, continuation)."""
        del disable_tqdm  # no bar is shown
        found = self._score([self._cut(*self._pair(*request.args)) for request in requests])
        for request, likelihood in zip(requests, found):
            self._cache('loglikelihood', request, likelihood)
        return found

    def loglikelihood_rolling(self, requests, disable_tqdm=False):
        """The log-likelihood of each (text,), every token once, each behind as much text as the context holds."""
        del disable_tqdm
        windows = [self._windows(self.tok_encode(request.args[0], False)) for request in requests]
        likelihoods = iter(self._score([window for document in windows for window in document]))
        found = [sum(next(likelihoods)[0] for _ in document) for document in windows]
        for request, logprob in zip(requests, found):
            self._cache('loglikelihood_rolling', request, logprob)
        return found

    def generate_until(self, requests, disable_tqdm=False):
        """The text behind each (context, {"until": .., "max_gen_toks": .., "temperature": ..}). Greedy unless do_sample
        is true."""
        del disable_tqdm
        found, alike = [None] * len(requests), {}
        for place, request in enumerate(requests):
            alike.setdefault(repr(sorted(request.args[1].items())), []).append(place)
        for places in alike.values():
            n_new, settings = self._generation(requests[places[0]].args[1])
            prompts = [self.tok_encode(requests[place].args[0])[-(self.max_length + 1 - n_new):] for place in places]
            for place, result in zip(places, self.model.generate_batch(prompts, n_new, self._parallel, **settings)):
                if result.error:
                    raise result.error
                found[place] = result.text
                self._cache('generate_until', requests[place], result.text)
        return found

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        """The conversation as text, whose special tokens are recognised again when it is encoded."""
        return self.model.tokenizer.apply_chat_template(chat_history, tokenize=False,
                                                        add_generation_prompt=add_generation_prompt)

    @property
    def tokenizer_name(self):
        """Names the tokenizer in the harness's cache of requests."""
        return f'muninn-{self.model.info.model_hash:016x}'

    @property
    def max_length(self):
        """Positions of a sequence."""
        return self.model.n_ctx

    @property
    def max_gen_toks(self):
        """Most new tokens where a task names none."""
        return MAX_GEN_TOKS

    @property
    def prefix_token_id(self):
        """What stands in front where there is no context: the begin token, else an end token."""
        info = self.model.info
        if info.bos_token_id is None and not info.eos_token_ids:
            raise ValueError('the model has neither a begin nor an end token to stand for an empty context')
        return info.eos_token_ids[0] if info.bos_token_id is None else info.bos_token_id

    def tok_encode(self, string, add_bos=True):
        """Ids of a text."""
        return self.model.tokenizer.encode(string, add_special_tokens=add_bos and self._bos)

    # ---- inside ----

    def _pair(self, context, continuation):
        if context == '':
            return [self.prefix_token_id], self.tok_encode(continuation, False)
        return encode_pair(self.tok_encode, context, continuation)

    def _cut(self, context, continuation):
        cut = max(0, len(context) + len(continuation) - 1 - self.max_length)
        if cut >= len(context):
            raise ValueError(f'{len(continuation)} tokens behind a context do not fit into {self.max_length} positions')
        return context[cut:], continuation

    def _windows(self, ids):
        """(context, continuation) pairs that together score every id once: the first behind the prefix, the others as
        full as they can be, so that the last one has as much context as there is room for."""
        size, first = self.max_length, ids[:self.max_length]
        found = [([self.prefix_token_id], first)] if ids else []
        for at in range(size, len(ids), size):
            end = min(at + size, len(ids))
            found.append((ids[end - size - 1:at], ids[at:end]))
        return found

    def _score(self, pairs):
        return [(likelihood.logprob, bool(likelihood.is_greedy))
                for likelihood in self.model.loglikelihood(pairs, self.num_steps)]

    def _generation(self, wanted):
        """Most new tokens, settings."""
        unknown = [name for name in wanted if name not in _GENERATION]
        if unknown:
            raise ValueError(f'generate_until: {", ".join(unknown)}: not among {", ".join(_GENERATION)}')
        n_new = int(wanted.get('max_gen_toks') or MAX_GEN_TOKS)
        if n_new >= self.max_length:
            raise ValueError(f'generate_until: {n_new} new tokens leave no room for a context in {self.max_length}')
        until = wanted.get('until') or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        sampler = {name: wanted[name] for name in ('temperature', 'top_p', 'top_k', 'min_p', 'seed') if name in wanted}
        if not wanted.get('do_sample'):
            sampler = {}
        elif 'temperature' not in sampler:
            sampler['temperature'] = 1.0
        return n_new, dict(self._settings, stop=stops, **sampler)

    def _cache(self, name, request, result):
        hook = getattr(self, 'cache_hook', None)
        if hook:
            hook.add_partial(name, request.args, result)
