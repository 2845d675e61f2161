"""Events handed to functions: a thread for each of them.

Imported when the first one is asked for.
"""

import _thread
import contextlib
import logging
import threading
import time
from types import BuiltinFunctionType, TracebackType
from typing import Any, Callable, Dict, Iterable, Optional, Type

from iron_runtime import _core

_log = logging.getLogger("iron_runtime")

# How long those who want the last events dealt with wait for it, in seconds.
_PATIENCE = 1.0

# Those whose thread runs, and the router each belongs to.
_running: "Dict[Listener, int]" = {}


class Listener:
    """What ``LlmRouter.on_event`` returns: a function that is called with every event until this is closed."""

    def __init__(self, events: "_core.Events", callback: Callable[[Dict[str, Any]], object]) -> None:
        self._events = events
        self._callback = callback
        self._thread: Optional[threading.Thread] = None

    def close(self) -> None:
        """Call the function no more, and wait up to a second for a call under way. Twice is fine."""
        self._events.close()
        self._join(_PATIENCE)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(
        self,
        exc_type: Optional[Type[BaseException]] = None,
        exc_value: Optional[BaseException] = None,
        traceback: Optional[TracebackType] = None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        if not isinstance(_thread.start_new_thread, BuiltinFunctionType):
            # gevent or eventlet: their "threads" all run in one, which the waiting for events would stop for good.
            _core._start_thread(self._run)
            return
        self._thread = threading.Thread(target=self._run, name="iron_runtime events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._events:
                self._tell(event)
        finally:
            _running.pop(self, None)

    def _tell(self, event: Dict[str, Any]) -> None:
        # One call that fails must not be the last, not even by sys.exit() or pytest.fail().
        try:
            self._callback(event)
        except BaseException:
            with contextlib.suppress(BaseException):
                _log.exception("the callback of on_event failed on %s", event.get("type"))

    def _join(self, seconds: float) -> None:
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(seconds)


def listen(router: int, events: "_core.Events", callback: Callable[[Dict[str, Any]], object]) -> Listener:
    """Start to call a function with the events of a router."""
    listener = Listener(events, callback)
    _running[listener] = router
    try:
        listener._start()
    except BaseException:
        _running.pop(listener, None)
        events.close()
        raise
    return listener


def wait_for(router: int) -> None:
    """Wait, not for ever, until the functions of a router that has stopped have been told everything."""
    _wait(listener for listener, of in list(_running.items()) if of == router)


def wait_for_all() -> None:
    """The same for every router, at the end of the interpreter."""
    _wait(list(_running))


def forget() -> None:
    """Forget the threads of the parent, in a forked child."""
    _running.clear()


def _wait(listeners: Iterable[Listener]) -> None:
    until = time.monotonic() + _PATIENCE
    for listener in listeners:
        listener._join(max(0.0, until - time.monotonic()))
