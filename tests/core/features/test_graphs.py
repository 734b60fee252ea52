"""A shape that comes again is recorded, once; what is computed is the same."""

import pytest
import torch

from wakeword_core.features.graphs import MOST_GRAPHS, Recurring


class Recorder:
    """Stands for CUDA graphs, which only a GPU has: keeps what was recorded, and replays it."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.replayed: list[int] = []
        self.full = False

    def __call__(self, function, example):
        if self.full:
            raise torch.OutOfMemoryError("full")
        self.recorded.append(len(example))

        def replay(given):
            self.replayed.append(len(given))
            return function(given)

        return replay


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_every_shape_is_recorded_when_it_comes_again_and_replayed_from_then_on(recorder: Recorder) -> None:
    double = Recurring(lambda given: given * 2, recorder)
    for rows in (4, 3, 4, 4, 3, 3, 2):
        given = torch.randn(rows, 5)
        assert torch.equal(double(given), given * 2)
    assert recorder.recorded == [4, 3] and recorder.replayed == [4, 4, 3, 3]


def test_no_more_shapes_are_kept_than_allowed(recorder: Recorder) -> None:
    same = Recurring(lambda given: given, recorder)
    for _ in range(3):
        for rows in range(1, MOST_GRAPHS + 9):
            assert len(same(torch.zeros(rows, 1))) == rows
    assert recorder.recorded == list(range(1, MOST_GRAPHS + 1))


def test_memory_that_is_exhausted_while_recording_is_told_and_tried_again(recorder: Recorder) -> None:
    same = Recurring(lambda given: given, recorder)
    same(torch.zeros(2))
    recorder.full = True
    with pytest.raises(torch.OutOfMemoryError):
        same(torch.zeros(2))
    recorder.full = False
    same(torch.zeros(2))
    assert recorder.replayed == [2]
