"""How a stage tells its caller how far it is, without knowing whether that is a bar, a log or a test."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Receives what is done, how much of it (`done`) and out of how much (`total`, 0: unknown).

It is called often, from one thread, and must return at once.
"""


def silent(what: str, done: int, total: int) -> None:
    """Ignore all progress."""


class ProgressLines:
    """Logs progress: a line of each `what` at most every `interval` seconds."""

    def __init__(self, interval: float = 10.0) -> None:
        self._interval = interval
        self._seen: dict[str, tuple[float, float, int]] = {}
        """When each work started, when it was last logged, and how far it was."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Log that `done` of `total` units of `what` are done, if it is time to."""
        now = time.monotonic()
        started, logged, reached = self._seen.get(what, (now, now, -1))
        if begins_again(done, total, reached):
            started = logged = now
        is_time = now - logged >= self._interval
        self._seen[what] = (started, now if is_time else logged, done)
        if is_time:
            log.info("%s: %s", what, _in_words(done, total, now - started))


def begins_again(done: int, total: int, reached: int) -> bool:
    """Return whether work that had `reached` so many units begins again, for another split perhaps."""
    return done < reached or 0 < total <= reached


def _in_words(done: int, total: int, seconds: float) -> str:
    if total <= 0:
        return f"{done:,} done"
    left = f", about {seconds * (total - done) / done:,.0f} s left" if 0 < done < total and seconds > 0 else ""
    return f"{done:,} of {total:,} ({100 * done / total:.0f} %){left}"
