"""What only the interpreter can do for a router: its log, its exit, its forks.

Imported when the first router is made, so that ``import iron_runtime`` stays light.
"""

import _thread
import atexit
import contextlib
import logging
import os
import sys
import threading
from types import BuiltinFunctionType
from typing import Dict, Optional

from iron_runtime import _core

_log = logging.getLogger("iron_runtime")
_log.addHandler(logging.NullHandler())
_forwarder: Optional[threading.Thread] = None

# Held while a line is handed over, and while a thread forks: a child that was born inside a handler's write would find the
# file's own lock taken for ever.
_gate = threading.RLock()
_forking = threading.local()


class _LevelCache(Dict[int, bool]):
    """The logger's cache of enabled levels, which ``logging`` clears whenever a level is changed anywhere."""

    def clear(self) -> None:
        super().clear()
        _tell_level()


def _tell_level() -> None:
    """Tell the Rust side which lines are worth making, so that the others cost nothing."""
    _core._set_log_level(max(_log.getEffectiveLevel(), _log.manager.disable + 1))


def start_log() -> None:
    """Start to hand the router's log lines to ``logging``, in a thread of their own."""
    global _forwarder
    if hasattr(_log, "_cache"):
        _log._cache = _LevelCache()
    _tell_level()
    if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
        # gevent or eventlet: their "threads" all run in one, which the waiting for lines would stop for good.
        _core._start_thread(_forward)
        return
    thread = threading.Thread(target=_forward, name="iron_runtime log", daemon=True)
    # An interpreter that is about to end starts no threads; then there is no log either.
    with contextlib.suppress(RuntimeError):
        thread.start()
        _forwarder = thread


def _forward() -> None:
    while True:
        lines = _core._next_log_lines()
        if lines is None:
            return
        for level, at, path, number, text in lines:
            # A handler that raises must not end the log, not even by sys.exit() or pytest.fail().
            with contextlib.suppress(BaseException), _gate:
                _hand_over(level, at, path, number, text)


def _hand_over(level: int, at: float, path: str, number: int, text: str) -> None:
    if _log.isEnabledFor(level):
        record = _log.makeRecord(_log.name, level, path, number, text, (), None)
        record.created = at
        record.msecs = at % 1 * 1000
        _log.handle(record)


def say(text: str) -> None:
    """Log one line from the calling thread."""
    _log.info(text)


@atexit.register
def _at_exit() -> None:
    """Stop what still runs: after this no thread of ours needs the interpreter."""
    _core._end()
    events = sys.modules.get("iron_runtime._events")
    if events is not None:
        events.wait_for_all()
    if _forwarder is not None:
        _forwarder.join(1)


def _before_fork() -> None:
    # Not for ever: a handler may be waiting for something that the forking thread holds.
    _forking.holds_gate = _gate.acquire(timeout=1)


def _after_fork_in_parent() -> None:
    if _forking.holds_gate:
        _gate.release()


def _after_fork_in_child() -> None:
    """Close the parent's sockets: this process has no thread that serves them."""
    global _forwarder, _gate
    _forwarder, _gate = None, threading.RLock()
    events = sys.modules.get("iron_runtime._events")
    if events is not None:
        events.forget()
    for number in _core._take_inherited_sockets():
        with contextlib.suppress(OSError):
            os.close(number)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
