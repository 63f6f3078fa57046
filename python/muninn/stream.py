"""Pieces of text while the library is still at work, in a thread of its own."""
import queue
import threading


class Stream:
    """Iterates over pieces of text as they come; `result` is the Generation once they have ended. Whoever stops
    listening (close, the end of a `with`, the last reference gone) stops the library within a moment."""

    def __init__(self, run):
        """`run(emit, cancelled)` returns the Generation."""
        self.result = None
        self._queue, self._cancelled = queue.SimpleQueue(), threading.Event()
        # Not a method: the thread must not keep alive the object whose end stops it.
        self._thread = threading.Thread(target=_work, args=(run, self._queue, self._cancelled), name='muninn stream')
        self._thread.start()

    def __iter__(self):
        return self

    def __next__(self):
        if self._thread is None:
            raise StopIteration
        try:
            kind, value = self._queue.get()
        except BaseException:  # Ctrl-C while waiting
            self.close()
            raise
        if kind == 'piece':
            return value
        self._end()
        if kind == 'error':
            raise value
        self.result = value
        raise StopIteration

    def _end(self):
        thread, self._thread = self._thread, None
        if thread and thread is not threading.current_thread():
            thread.join()

    def close(self):
        """Stops the library and waits until it has stopped."""
        self._cancelled.set()
        self._end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, '_thread', None):
            self.close()


def _work(run, pieces, cancelled):
    try:
        pieces.put(('result', run(lambda piece: pieces.put(('piece', piece)), cancelled)))
    except BaseException as error:  # raised where the pieces are read
        pieces.put(('error', error))
