"""The toy task is a module beside the tests; and a signal that a test may send to itself."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def term_raises() -> Iterator[None]:
    """SIGTERM ends this process unless something is done about it."""

    def stop(*_: object) -> None:
        raise InterruptedError("stopped")

    before = signal.signal(signal.SIGTERM, stop)
    yield
    signal.signal(signal.SIGTERM, before)
