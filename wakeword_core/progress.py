"""How a stage tells its caller how far it is, without knowing whether that is a bar, a log or a test."""

from typing import Protocol


class Progress(Protocol):
    """Receives `done` of `total` units of `what`; called often, from one thread, and must return at once."""

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take notice."""


def silent(what: str, done: int, total: int) -> None:
    """The progress callback of a caller that does not want to know."""
