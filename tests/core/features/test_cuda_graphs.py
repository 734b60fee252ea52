"""A shape that comes again is recorded, once; what is computed is the same."""

import pytest
import torch

from wakeword_core.features.cuda import MOST_GRAPHS, GraphedFunction


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
    double = GraphedFunction(lambda given: given * 2, recorder)
    for rows in (4, 3, 4, 4, 3, 3, 2):
        given = torch.randn(rows, 5)
        assert torch.equal(double(given), given * 2)
    assert recorder.recorded == [4, 3] and recorder.replayed == [4, 4, 3, 3]


def test_no_more_shapes_are_recorded_than_allowed_whatever_was_seen_once(recorder: Recorder) -> None:
    same = GraphedFunction(lambda given: given, recorder)
    for rows in range(100, 100 + 2 * MOST_GRAPHS):  # never again
        same(torch.zeros(rows, 1))
    for _ in range(3):
        for rows in range(1, MOST_GRAPHS + 9):
            assert len(same(torch.zeros(rows, 1))) == rows
    assert recorder.recorded == list(range(1, MOST_GRAPHS + 1))


def test_now_and_then_a_recorded_shape_is_computed(recorder: Recorder) -> None:
    computed = []
    same = GraphedFunction(lambda given: computed.append(1) or given, lambda function, example: lambda given: given)
    for _ in range(1_000):
        same(torch.zeros(2))
    assert 2 <= len(computed) <= 30


def test_memory_that_is_exhausted_while_recording_is_told_and_tried_again(recorder: Recorder) -> None:
    same = GraphedFunction(lambda given: given, recorder)
    same(torch.zeros(2))
    recorder.full = True
    with pytest.raises(torch.OutOfMemoryError):
        same(torch.zeros(2))
    same.forget()
    recorder.full = False
    for _ in range(3):
        same(torch.zeros(2))
    assert recorder.recorded == [2] and recorder.replayed == [2, 2]


def test_what_cannot_be_recorded_is_computed(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function, example):
        raise RuntimeError("operation not permitted when stream is capturing")

    double = GraphedFunction(lambda given: given * 2, refuse)
    for _ in range(4):
        assert double(torch.ones(3)).tolist() == [2, 2, 2]
    assert caplog.text.count("without a CUDA graph") == 1
