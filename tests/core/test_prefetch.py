"""Results come in order, no more of them than allowed, and errors in their turn."""

import threading
import time

import pytest

from wakeword_core.errors import DataError
from wakeword_core.prefetch import prefetch


def test_prefetching_keeps_the_order_and_never_holds_more_than_allowed() -> None:
    alive, most, lock = 0, 0, threading.Lock()

    def work(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        time.sleep(0.002 * (item % 3))
        return item

    results = []
    for item in prefetch(work, range(40), workers=4, waiting=5):
        results.append(item)
        with lock:
            alive -= 1
    assert results == list(range(40)) and most <= 6  # five that wait and the one that is taken


def test_an_error_comes_in_its_turn_and_ends_the_work() -> None:
    done = []

    def work(item: int) -> int:
        if item == 3:
            raise DataError("three")
        done.append(item)
        return item

    taken = []
    with pytest.raises(DataError, match="three"):
        for item in prefetch(work, range(1_000), workers=2, waiting=4):
            taken.append(item)
    assert taken == [0, 1, 2] and len(done) < 20
