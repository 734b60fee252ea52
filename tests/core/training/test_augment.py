"""SpecAugment masks."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import SpecAugmentConfig
from wakeword_core.training.augment import spec_augment


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(masks=st.tuples(st.integers(0, 3), st.integers(0, 3)), longest=st.tuples(st.integers(0, 60), st.integers(0, 30)))
def test_masks_are_whole_rows_and_columns_within_bounds(masks: tuple[int, int], longest: tuple[int, int]) -> None:
    config = SpecAugmentConfig(time_masks=masks[0], time_frames=longest[0], mel_masks=masks[1], mel_bands=longest[1])
    x = torch.ones(16, 20, 50)
    zero = spec_augment(x, config, _generator()) == 0
    in_time, in_mel = zero.all(dim=1), zero.all(dim=2)
    assert torch.equal(x, torch.ones(16, 20, 50))
    if not (in_time.all() or in_mel.all()):
        whole = in_time.all(dim=1, keepdim=True) | in_mel.all(dim=1, keepdim=True)
        assert torch.equal(zero, in_time[:, None, :] | in_mel[:, :, None] | whole[:, :, None])
    hidden = zero.flatten(1).sum(1)
    most_time, most_mel = min(masks[0] * min(longest[0], 50), 50), min(masks[1] * min(longest[1], 20), 20)
    assert int(hidden.max()) <= most_time * 20 + most_mel * 50
    if 0 in (masks[0], longest[0]) and 0 in (masks[1], longest[1]):
        assert not zero.any()


def test_widths_and_places_cover_their_ranges_and_windows_differ() -> None:
    x = torch.ones(4_000, 8, 30)
    only_time = SpecAugmentConfig(time_masks=1, time_frames=10, mel_masks=0)
    zero = (spec_augment(x, only_time, _generator()) == 0)[:, 0]
    widths = zero.sum(1)
    counts = torch.bincount(widths, minlength=11)
    assert counts.numel() == 11
    assert (counts > 4_000 / 11 * 0.7).all()
    assert zero.any(dim=0).all()


def test_drawn_from_the_generator_only() -> None:
    x = torch.randn(8, 20, 50, generator=_generator(5))
    config = SpecAugmentConfig()
    state = torch.random.get_rng_state()
    assert torch.equal(spec_augment(x, config, _generator(1)), spec_augment(x, config, _generator(1)))
    assert not torch.equal(spec_augment(x, config, _generator(1)), spec_augment(x, config, _generator(2)))
    assert torch.equal(state, torch.random.get_rng_state())
