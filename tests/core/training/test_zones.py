"""Which steps of a row are asked what: by hand, and as properties."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.training.losses import NO_WORD, draw_step, zones


def _steps(ends: list[int], rows: int) -> torch.Tensor:
    return torch.tensor(ends).expand(rows, -1)


def test_zones_by_hand() -> None:
    ends = torch.tensor([NO_WORD, 10, 12])
    found = zones(ends, _steps([3, 6, 9, 12, 15, 18], 3), hit_frames=5, early_frames=4)
    no, yes = False, True
    assert found.hit.tolist() == [
        [no, no, no, no, no, no],
        [no, no, no, yes, yes, no],
        [no, no, no, yes, yes, no],
    ]
    assert found.quiet.tolist() == [
        [yes, yes, yes, yes, yes, yes],
        [yes, no, no, no, no, no],
        [yes, yes, no, no, no, no],
    ]


def test_limits_of_zones_are_whole_frames() -> None:
    found = zones(torch.tensor([10]), _steps(list(range(20)), 1), hit_frames=3, early_frames=2)
    assert torch.nonzero(found.hit[0]).flatten().tolist() == [10, 11, 12, 13]
    assert torch.nonzero(found.quiet[0]).flatten().tolist() == list(range(8))


@pytest.mark.parametrize(("end", "nearest"), [(0, 0), (14, 2), (16, 2), (17, 2), (18, 3), (99, 4)])
def test_a_word_without_a_step_in_its_zone_takes_the_nearest(end: int, nearest: int) -> None:
    found = zones(torch.tensor([end]), _steps([5, 10, 15, 20, 25], 1), hit_frames=0, early_frames=0)
    assert torch.nonzero(found.hit[0]).flatten().tolist() == [nearest]
    assert not bool((found.hit & found.quiet).any())
    before = [step < end and position != nearest for position, step in enumerate((5, 10, 15, 20, 25))]
    assert found.quiet[0].tolist() == before


@settings(max_examples=40, deadline=None)
@given(
    ends=st.lists(st.integers(-1, 60), min_size=1, max_size=6),
    hit=st.integers(0, 40),
    early=st.integers(0, 40),
    stride=st.integers(1, 9),
)
def test_every_word_has_a_hit_and_no_step_asks_two_things(ends: list[int], hit: int, early: int, stride: int) -> None:
    found = zones(torch.tensor(ends), _steps(list(range(20, 50, stride)), len(ends)), hit, early)
    word = torch.tensor(ends) != NO_WORD
    assert torch.equal(found.hit.any(1), word)
    assert not bool((found.hit & found.quiet).any())
    assert bool(found.quiet[~word].all())


def test_the_one_step_is_any_of_a_words_hit_zone_and_any_of_other_rows() -> None:
    ends = torch.tensor([NO_WORD, 10, 40]).repeat_interleave(400)
    zone = zones(ends, _steps([3, 6, 9, 12, 15, 18], 1200), hit_frames=6, early_frames=4)
    found = draw_step(zone, torch.Generator().manual_seed(0)).view(3, 400)
    for row, allowed in zip(found, ([0, 1, 2, 3, 4, 5], [3, 4], [5]), strict=True):
        counts = torch.bincount(row, minlength=6).double()
        assert torch.nonzero(counts).flatten().tolist() == allowed
        assert float((counts[allowed] / 400 - 1 / len(allowed)).abs().max()) < 0.1


def test_the_one_step_comes_from_the_generator_only() -> None:
    zone = zones(torch.tensor([NO_WORD, 10, 40, NO_WORD]), _steps([3, 6, 9, 12, 15, 18], 4), 6, 4)
    state = torch.random.get_rng_state()
    one, same, other = (draw_step(zone, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())
