"""Signals wait until what is being written is whole."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from wakeword_core.interrupts import finishing


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """SIGINT as in a terminal: a test run in the background starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_stays_ignored(usual_interrupt: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with finishing() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert not asked()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_second_signal_is_not_held_back(usual_interrupt: None) -> None:
    with pytest.raises(KeyboardInterrupt), finishing() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked()
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("the second signal was held back")


def test_outside_of_the_main_thread_nothing_is_held_back(usual_interrupt: None) -> None:
    seen = []

    def run() -> None:
        with finishing() as asked:
            seen.append(asked())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
