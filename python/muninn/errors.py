"""What goes wrong, as exceptions: one class per status of muninn.h, with the lines that the library logged."""
import enum

from . import _native

#: enum mn_status without its prefix: OK, RUN, USAGE, NO_DEVICE, FILE, ...
Status = enum.IntEnum('Status', {name.removeprefix('MN_').removeprefix('ERR_'): value
                                 for name, value in _native.enum('mn_status').items()})


class Error(Exception):
    """A call of the library failed. `status` says how, `lines` why: what was logged at MN_LOG_ERROR during the call."""

    def __init__(self, status, lines=()):
        self.status = Status(status)
        self.lines = list(lines)
        super().__init__('; '.join(self.lines) or _native.text(_native.lib.mn_status_name(status)))

    @property
    def exit_code(self):
        """The exit code that the command line has for it."""
        return _native.lib.mn_status_exit_code(self.status)

    def __reduce__(self):
        return type(self), (int(self.status), self.lines)


class UsageError(Error, ValueError):
    """A bad argument: draft_steps not below num_steps, a prompt longer than the context, an unknown strategy."""


class NoDeviceError(Error):
    """No Vulkan loader, no driver, no device that meets the requirements."""


class FileError(Error):
    """A file that is missing or cannot be read."""


class FormatError(Error):
    """A file whose content is malformed."""


class UnsupportedError(Error):
    """A well-formed file that asks for something this build cannot do."""


class DeviceLostError(Error):
    """The device was lost or did not answer in time; the model cannot be used any more."""


class OutOfMemoryError(Error, MemoryError):
    """Host or device memory ran out, or a limit was reached."""


class CheckError(Error):
    """A check of the device failed."""


class Interrupted(Error):
    """The call was asked to stop, by closing a stream or by the end of the program."""


_CLASSES = {'USAGE': UsageError, 'NO_DEVICE': NoDeviceError, 'FILE': FileError, 'FORMAT': FormatError,
            'UNSUPPORTED': UnsupportedError, 'DEVICE_LOST': DeviceLostError, 'MEMORY': OutOfMemoryError,
            'CHECK': CheckError, 'INTERRUPTED': Interrupted}


def error_for(status, lines=()):
    """The exception that belongs to a status which is not OK."""
    return _CLASSES.get(Status(status).name, Error)(status, lines)
