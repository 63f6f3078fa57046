"""One sequence on its way: tokens come in, pieces of text go out, and a Generation is what is left."""
import dataclasses
import types

from . import _native
from .tokenizer import StreamDecoder
from ._native import lib


@dataclasses.dataclass
class Generation:
    """What a prompt was continued with."""

    text: str  #: None where the model has no tokenizer
    ids: list  #: new tokens, also those that a stop string or an end token is made of
    prompt_ids: list
    finish_reason: str  #: "eos", "stop" (a text or an id), "length", "interrupted" or "error"
    stats: types.SimpleNamespace  #: the fields of mn_stats and its derived figures: lossless, acceptance_rate, ...
    error: Exception = None  #: of a sequence of a batch that could not run

    def __str__(self):
        return self.text if self.text is not None else ' '.join(map(str, self.ids))


class StopText:
    """Text that ends before a stop string. What may be the beginning of one is held back. The string that is complete
    first counts; of several complete at once, the longest."""

    def __init__(self, stops):
        self.text, self.stopped, self._given = '', False, 0
        self._stops = [stops] if isinstance(stops, str) else list(stops or ())
        if not all(isinstance(stop, str) and stop for stop in self._stops):
            raise ValueError('stop: must be a text or several, none of them empty')

    def push(self, piece):
        """Takes text, returns what can be shown."""
        if self.stopped or not piece:
            return ''
        searched, self.text = len(self.text), self.text + piece
        ends = [(at + len(stop), at) for stop in self._stops
                for at in [self.text.find(stop, max(0, searched - len(stop) + 1))] if at >= 0]
        if ends:
            self.text, self.stopped = self.text[:min(ends)[1]], True
            return self.finish()
        begun = (n for stop in self._stops for n in range(1, len(stop)) if self.text.endswith(stop[:n]))
        return self._give(len(self.text) - max(begun, default=0))

    def finish(self):
        """The end of the text: what was held back."""
        return self._give(len(self.text))

    def _give(self, end):
        given, self._given = self._given, max(self._given, end)
        return self.text[given:self._given]


class Sequence:
    """The callbacks of one sequence. `emit` gets pieces of text, or ids where there is no tokenizer."""

    def __init__(self, engine, tokenizer, prompt_ids, eos_token_ids, settings, emit=None):
        self.ids, self.prompt_ids, self.ended, self.lines = [], prompt_ids, False, []
        self._engine, self._emit, self._eos = engine, emit, eos_token_ids
        self._text = StopText(settings.pop('stop', None))
        self._stop_ids, self._stopped = set(map(int, settings.pop('stop_ids', None) or ())), False
        skip = settings.pop('skip_special_tokens', True)
        if tokenizer is None and self._text._stops:
            raise ValueError('stop: the model has no tokenizer')
        self._decoder = StreamDecoder(tokenizer, skip) if tokenizer else None
        self.on_token = engine.callback('mn_generate_params', 'on_token', self._on_token, error=1)
        self.log = engine.callback('mn_log', 'write', self._on_line)

    def _on_line(self, _user, level, line):
        if level == lib.MN_LOG_ERROR:
            self.lines.append(_native.text(line))

    def _on_token(self, _user, token):
        self.ids.append(token)
        self.ended = self.ended or token in self._eos
        self._stopped = self._stopped or token in self._stop_ids
        if self._decoder:
            piece = self._text.push(self._decoder.push(token))
            if piece and self._emit:
                self._emit(piece)
        elif self._emit:
            self._emit(token)
        return self._text.stopped or self._engine.is_cancelled()

    def finish(self, stats, status=0, error=None):
        """The rest of the text, and everything as a Generation."""
        if self._decoder:
            piece = self._text.push(self._decoder.finish()) + self._text.finish()
            if piece and self._emit:
                self._emit(piece)
            self._decoder.close()
        reason = ('error' if error else 'stop' if self._text.stopped else 'eos' if self.ended else
                  'stop' if self._stopped else
                  'interrupted' if status == lib.MN_ERR_INTERRUPTED or stats.end == lib.MN_END_CALLER else 'length')
        return Generation(self._text.text if self._decoder else None, self.ids, self.prompt_ids, reason,
                          stats_record(stats), error)


def stats_record(stats):
    """mn_stats as an object, with what muninn.h derives from it: mn_stats_X is X."""
    found = _native.record(stats)
    for name in dir(lib):
        if name.startswith('mn_stats_'):
            setattr(found, name[len('mn_stats_'):], getattr(lib, name)(stats))
    return found
