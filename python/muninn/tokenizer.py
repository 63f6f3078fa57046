"""Text and ids. A tokenizer is an engine of its own, which reads tokenizer.json and opens no device, so that it can be
used while a model generates."""
import os

from . import _native
from ._native import ffi, lib
from .engine import Engine


class Tokenizer:
    """The tokenizer of a model folder. From several threads, calls wait for each other. Made by itself it reads
    tokenizer.json alone and knows of no begin token, which stands in the model's configuration; `Model.tokenizer`
    knows it."""

    def __init__(self, path, bos_token_id=None, eos_token_ids=()):
        self.path = os.fspath(path)
        self._engine = Engine({'model_dir': self.path, 'tokenizer_only': True})
        self.bos_token_id, self.eos_token_ids = bos_token_id, list(eos_token_ids)

    def encode(self, text, add_special_tokens=True, parse_special=True):
        """Ids of a text. `add_special_tokens`: the begin token in front, if there is one and the text does not begin
        with it, as `muninn generate` does. `parse_special`: special tokens in the text are recognised; for text from
        strangers, False."""
        data = text.encode()
        ids, n = ffi.new('uint32_t **'), ffi.new('size_t *')
        with self._engine.use() as engine:
            start = ffi.from_buffer('char[]', data)
            self._engine.check(lib.mn_tokenize(engine, start, len(data), parse_special, ids, n))
            found = _native.take_ids(ids[0], n[0])
        if add_special_tokens and self.bos_token_id is not None and found[:1] != [self.bos_token_id]:
            found.insert(0, self.bos_token_id)
        return found

    def decode(self, ids, skip_special_tokens=False):
        """Text of ids."""
        array = _native.ids_array(ids)
        text, n = ffi.new('char **'), ffi.new('size_t *')
        with self._engine.use() as engine:
            self._engine.check(lib.mn_detokenize(engine, array, len(array), skip_special_tokens, text, n))
            return _native.take_text(text[0], n[0])

    def apply_chat_template(self, messages, tokenize=True, add_generation_prompt=True):
        """Ids of a conversation, a list of {"role": .., "content": ..}, up to where the reply begins. The templates are
        the library's own (mn_chat); `tokenize` False gives their text."""
        if not add_generation_prompt:
            raise ValueError('apply_chat_template: add_generation_prompt=False: templates end where the reply begins')
        keep, array = [], ffi.new('struct mn_chat_message[]', len(messages))
        for place, message in zip(array, messages):
            data = message['content'].encode()
            keep.append(ffi.from_buffer('char[]', data))
            _native.fill(place, {'role': message['role'], 'text': keep[-1], 'n_bytes': len(data)}, keep)
        ids, n = ffi.new('uint32_t **'), ffi.new('size_t *')
        with self._engine.use() as engine:
            self._engine.check(lib.mn_chat(engine, array, len(array), ids, n))
            found = _native.take_ids(ids[0], n[0])
        return found if tokenize else self.decode(found)

    def close(self):
        """Frees it."""
        self._engine.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class StreamDecoder:
    """Ids to text as they come; a character that is not complete is held back. Needs no lock."""

    def __init__(self, tokenizer, skip_special_tokens):
        self._tokenizer = tokenizer  # must outlive it
        out = ffi.new('struct mn_stream_decoder **')
        with tokenizer._engine.use() as engine:
            tokenizer._engine.check(lib.mn_stream_decoder_create(out, engine, skip_special_tokens))
        self._decoder = ffi.gc(out[0], lib.mn_stream_decoder_destroy)
        self._text, self._n = ffi.new('char **'), ffi.new('size_t *')

    def push(self, token):
        """The text that can be shown now. Ids without a token have none."""
        status = lib.mn_stream_decoder_push(self._decoder, token, self._text, self._n)
        return '' if status else self._taken()

    def finish(self):
        """The rest."""
        status = lib.mn_stream_decoder_finish(self._decoder, self._text, self._n)
        return '' if status else self._taken()

    def _taken(self):
        return bytes(ffi.buffer(self._text[0], self._n[0])).decode('utf-8', 'replace')

    def close(self):
        """Frees it; before its tokenizer."""
        ffi.release(self._decoder)
