"""What the package raises: one tree under ``IronError``, each also the built-in that Python would use.

``except ValueError`` catches a wrong setting, ``except OSError`` a port in use, ``except IronError`` all of them.
A call that a provider refuses is none of these: the client library raises its own exception for it.
"""


class IronError(Exception):
    """Anything that this package raises."""


class ConfigError(IronError, ValueError):
    """A setting can't be used: of the wrong form, out of range, contradicting another one, or missing."""


class UnknownKeywordError(ConfigError, TypeError):
    """A keyword that ``LlmRouter`` does not have; the message names the nearest one."""


class BindError(IronError, OSError):
    """The port could not be listened on; ``errno`` says why (``errno.EADDRINUSE``: something else has it)."""


class FileError(IronError, OSError):
    """A file named in a setting can't be read or written."""


class FileMissingError(FileError, FileNotFoundError):
    """A file named in a setting does not exist."""


class RouterTimeoutError(IronError, TimeoutError):
    """Something took longer than it may."""


class ControlServerError(IronError, ConnectionError):
    """The control server could not be asked, or refused."""


class StoppedError(IronError, RuntimeError):
    """The router was asked for its address after ``stop()``."""


class NotRunningHereError(IronError, RuntimeError):
    """The router was used in a forked child of the process that made it."""
