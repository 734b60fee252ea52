"""Signals to stop that wait until what is being written is whole."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Raised where work ends early because of a signal; all that was kept is whole.

    It passes through handlers of errors, as the interrupt of which it is a kind, and ends the command in the same way.
    """


@contextmanager
def finishing(what: str = "part") -> Iterator[Callable[[], bool]]:
    """Hold back SIGINT and SIGTERM; gives a function that tells whether one came, and raises it again afterwards.

    The log says that it waits for `what`. A second signal is not held back, and one that is ignored, as of a job in the
    background, stays so. Outside of the main thread, which alone gets signals, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    # one that Python did not set (None) cannot be set by it
    before = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        log.warning("stopping when the current %s is whole; a second signal stops at once", what)
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(came)
    finally:
        restore()
        if came:
            signal.raise_signal(came[0])
