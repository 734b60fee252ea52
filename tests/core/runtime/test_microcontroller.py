"""The detection rules of ESPHome and pymicro-wakeword: on traces made by hand, and beside a literal imitation."""

import numpy as np
import pytest

from wakeword_core.runtime.microcontroller import COOL_OFF_STEPS, esphome_events, levels, pymicro_events

QUIET, LOUD = 3, 255


def trace(*stretches: tuple[int, int]) -> np.ndarray:
    """Stretches of (score, runs), one after the other."""
    return np.concatenate([np.full(runs, score, np.int64) for score, runs in stretches])


class Imitation:
    """What the firmware does at each step of the front end, with one thing at a time."""

    def __init__(self, cutoff: float, window: int, stride: int) -> None:
        self.cutoff, self.stride = int(cutoff * 255), stride
        self.ring, self.place, self.step, self.ignored, self.new = [0] * window, 0, 0, -100, False

    def hear(self, score: int) -> bool:
        """One frame of the front end; the model runs if it is the last of its stride, and then gives `score`."""
        self.step %= self.stride
        self.step += 1
        if self.step >= self.stride:
            self.place = (self.place + 1) % len(self.ring)
            self.ring[self.place] = score
            self.new = True
        if self.ring[self.place] < self.cutoff:
            self.ignored = min(self.ignored + 1, 0)
        if not self.new or self.ignored < 0:
            return False
        self.new = False
        if sum(self.ring) <= self.cutoff * len(self.ring):
            return False
        self.ring, self.ignored = [0] * len(self.ring), -100
        return True

    def events(self, scores: np.ndarray) -> list[int]:
        found = []
        for frame in range(len(scores) * self.stride + self.stride - 1):
            run = (frame + 1) // self.stride - 1
            if self.hear(int(scores[min((frame + 1) // self.stride, len(scores)) - 1])) and run < len(scores):
                found.append(run)
        return found


def test_it_detects_when_the_mean_of_the_window_is_above_the_cutoff() -> None:
    scores = trace((QUIET, 50), (LOUD, 5), (QUIET, 50))
    assert esphome_events(scores, 0.9, 5, 3).tolist() == [54]
    assert esphome_events(scores, 0.5, 5, 3).tolist() == [52]  # three of five are loud
    assert esphome_events(scores, 0.9, 6, 3).tolist() == []


def test_the_sum_has_to_be_above_the_whole_number_of_the_cutoff() -> None:
    at, above = trace((0, 50), (229, 4)), trace((0, 50), (229, 3), (230, 1))
    assert int(0.9 * 255) == 229
    assert esphome_events(at, 0.9, 4, 3).tolist() == [] and esphome_events(above, 0.9, 4, 3).tolist() == [53]


@pytest.mark.parametrize(("stride", "runs"), [(1, 100), (2, 50), (3, 33)])
def test_nothing_is_detected_in_the_first_second(stride: int, runs: int) -> None:
    """The steps before the first run count, too."""
    early, late = trace((QUIET, runs - 1), (LOUD, 9)), trace((QUIET, runs), (LOUD, 9))
    enough = runs * stride + stride - 1 >= COOL_OFF_STEPS
    assert esphome_events(early, 0.9, 1, stride).tolist() == []
    assert esphome_events(late, 0.9, 1, stride).tolist() == ([runs] if enough else [])
    assert Imitation(0.9, 1, stride).events(late) == ([runs] if enough else [])


def test_only_quiet_runs_count_as_cooling_off() -> None:
    always_loud = trace((LOUD, 400))
    assert esphome_events(always_loud, 0.9, 5, 3).tolist() == []
    broken = trace((QUIET, 20), (LOUD, 30), (QUIET, 14), (LOUD, 5))
    assert esphome_events(broken, 0.9, 5, 3).tolist() == [68]


def test_a_second_word_is_not_detected_before_it_cooled_off() -> None:
    soon = trace((QUIET, 50), (LOUD, 10), (QUIET, 20), (LOUD, 10), (QUIET, 40), (LOUD, 10))
    assert esphome_events(soon, 0.9, 5, 3).tolist() == [54, 134]


def test_the_emptied_ring_has_to_fill_again() -> None:
    scores = trace((QUIET, 34), (LOUD, 60), (QUIET, 34), (LOUD, 60))
    first, second = esphome_events(scores, 0.55, 60, 3).tolist()
    # 33 quiet scores are behind the second, and none from before the first detection counts
    assert first < 94 and second >= first + 34 and [first, second] == Imitation(0.55, 60, 3).events(scores)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("window", [1, 2, 5, 40])
def test_it_is_what_the_firmware_does_step_by_step(stride: int, window: int) -> None:
    generator, found = np.random.default_rng(stride * 100 + window), 0
    for cutoff in (0.3, 0.62, 0.97):
        for _ in range(12):
            parts = generator.integers(1, 45, 30)
            heights = generator.choice([0, 40, 150, 158, 160, 247, 248, 255], 30)
            scores = trace(*zip(heights, parts, strict=True))
            expected = Imitation(cutoff, window, stride).events(scores)
            assert esphome_events(scores, cutoff, window, stride).tolist() == expected
            found += len(expected)
    assert found > 30


def test_pymicros_events_begin_where_the_mean_rises_above_the_cutoff() -> None:
    scores = trace((LOUD, 3), (QUIET, 10), (LOUD, 20), (QUIET, 10), (LOUD, 4))
    assert pymicro_events(scores, 0.9, 4).tolist() == [16, 46]
    assert pymicro_events(scores, 0.9, 1).tolist() == [0, 13, 43]
    assert pymicro_events(trace((128, 9)), 0.5, 3).tolist() == []  # not above
    assert pymicro_events(trace((129, 9)), 0.5, 3).tolist() == [2]  # not before the window is full
    assert pymicro_events(trace((LOUD, 2)), 0.5, 3).tolist() == []


def test_no_scores_give_no_events() -> None:
    assert esphome_events(trace((0, 0)), 0.5, 5, 3).tolist() == [] == pymicro_events(trace((0, 0)), 0.5, 5).tolist()


def test_scores_that_no_device_gives_are_refused() -> None:
    assert levels([0.0, 0.5, 255 / 256]).tolist() == [0, 128, 255]
    for scores in ([1.0], [-1 / 256], [0.3], [float("nan")]):
        with pytest.raises(ValueError, match="multiples of 1/256"):
            levels(scores)
