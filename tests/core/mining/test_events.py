"""Runs of high scores are single events, and no two are closer than a lockout."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword_core.mining.miner import event_peaks

TIMES = np.arange(100) * 0.1


def scores(*high: tuple[int, float]) -> np.ndarray:
    found = np.full(100, 0.01)
    for place, score in high:
        found[place] = score
    return found


@pytest.mark.parametrize(
    ("high", "expected"),
    [
        ((), []),
        (((5, 0.49),), []),
        (((5, 0.5),), [5]),
        (((5, 0.6), (6, 0.9), (7, 0.9), (8, 0.7)), [6]),  # a run is one event, at the first of its highest scores
        (((5, 0.6), (7, 0.9)), [7]),  # two runs closer than the lockout: the higher one
        (((5, 0.6), (15, 0.9)), [15, 5]),  # as far apart as the lockout: both, the higher one first
        (((5, 0.9), (12, 0.95), (19, 0.9), (27, 0.6)), [12, 27]),  # a suppressed event suppresses nothing
        (((0, 0.9), (99, 0.9)), [0, 99]),  # of equals the earlier; ends count
    ],
)
def test_events_of_hand_made_scores(high, expected) -> None:
    assert event_peaks(TIMES, scores(*high), 0.5, 1.0) == expected


def test_a_run_that_is_longer_than_the_lockout_is_still_one_event() -> None:
    assert event_peaks(TIMES, np.full(100, 0.8), 0.5, 1.0) == [0]


def test_nothing_heard_is_no_event() -> None:
    assert event_peaks([], [], 0.5, 1.0) == []


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(0.05, 0.95), st.floats(0, 3))
def test_events_are_the_highest_of_their_surroundings(values, least, lockout) -> None:
    moments = np.arange(len(values)) * 0.1
    found = event_peaks(moments, values, least, lockout)
    assert [values[one] for one in found] == sorted((values[one] for one in found), reverse=True)
    assert all(values[one] >= least for one in found)
    for place, one in enumerate(found):
        assert all(abs(moments[one] - moments[other]) >= lockout for other in found[:place])
    for one in np.flatnonzero(np.asarray(values) >= least):  # whatever is high is explained by an event as high
        run = {one}
        for step in (-1, 1):
            at = one
            while 0 <= at + step < len(values) and values[at + step] >= least:
                at += step
                run.add(at)
        peak = max(run, key=lambda at: (values[at], -at))
        assert any(
            values[other] >= values[peak] and (other == peak or abs(moments[other] - moments[peak]) < lockout)
            for other in found
        )
