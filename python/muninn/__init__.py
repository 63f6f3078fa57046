"""Muninn for Python: recurrent-depth language models on any Vulkan device. docs/python.md says how.

    import muninn
    with muninn.load('models/raven-tiny') as model:
        print(model.generate('sort 2 8 0 1 :', max_new_tokens=8).text)
"""
from ._native import version as __version__
from .depth import DepthTrace
from .engine import devices
from .errors import (CheckError, DeviceLostError, Error, FileError, FormatError, Interrupted, NoDeviceError,
                     OutOfMemoryError, Status, UnsupportedError, UsageError)
from .generation import Generation
from .model import Model, load
from .scheduler import Event, Request, Scheduler
from .scoring import Likelihood
from .stream import Stream
from .tokenizer import Tokenizer

__all__ = ['CheckError', 'DepthTrace', 'DeviceLostError', 'Error', 'Event', 'FileError', 'FormatError', 'Generation',
           'Interrupted', 'Likelihood', 'Model', 'NoDeviceError', 'OutOfMemoryError', 'Request', 'Scheduler', 'Status',
           'Stream', 'Tokenizer', 'UnsupportedError', 'UsageError', 'devices', 'load']
