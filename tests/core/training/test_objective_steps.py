"""Steps of rows: every one of dense backbones, one window of the others."""

from typing import Any

import pytest
import torch
from torch import nn

from wakeword_core.config import TcnConfig
from wakeword_core.models.tcn import tcn
from wakeword_core.training.losses import NO_WORD
from wakeword_core.training.objective import members, row_logits, step_ends

N_MELS, FRAMES = 8, 32


class _Windowed(nn.Module):
    """Scores are the window's first and last frame, so that its place can be read off them."""

    streams = False

    def __init__(self) -> None:
        super().__init__()
        self.seen = torch.empty(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x
        return torch.stack([x[:, 0, 0], x[:, 0, -1]], dim=1)


def _scored(
    model: nn.Module, x: torch.Tensor, words: torch.Tensor, hit: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of rows, and where their steps end."""
    ends = step_ends(model, words, x.shape[2], FRAMES, hit, generator)
    return row_logits(model, x, ends, FRAMES), ends


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _ramps(rows: int, frames: int) -> torch.Tensor:
    """Every value tells its frame, band and row."""
    return (
        torch.arange(frames).float()[None, None, :]
        + torch.arange(N_MELS)[None, :, None] / 16
        + 1_000 * torch.arange(rows)[:, None, None]
    )


def _read(ends: list[int], frames: int, hit: int, seed: int = 0, rows: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """First and last frame of the window of each of `rows` repeats of each end: [rows, ends] each."""
    words = torch.tensor(ends).repeat(rows)
    logits, steps = _scored(_Windowed(), _ramps(len(words), frames), words, hit, _generator(seed))
    assert logits.shape == (len(words), 2, 1)
    assert steps.shape == (len(words), 1)
    found = logits[:, :, 0] - 1_000 * torch.arange(len(words))[:, None]
    assert torch.equal(found[:, 1].long(), steps[:, 0])
    return found[:, 0].long().view(rows, -1), found[:, 1].long().view(rows, -1)


@pytest.mark.parametrize("more", [0, 1, 24])
def test_dense_backbones_give_every_step(more: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TcnConfig(channels=8, kernel=3, dilations=(1, 2), stride=3, head_steps=2)
        model = tcn(config, N_MELS, FRAMES, 3).eval()
    x = torch.randn(4, N_MELS, FRAMES + more, generator=_generator())
    generator = _generator()
    state = generator.get_state()
    logits, steps = _scored(model, x, torch.tensor([5, NO_WORD, 30, 40]), 9, generator)
    wanted = model.output_frames(FRAMES + more)
    assert torch.equal(logits, model.dense(x))
    assert logits.shape == (4, 3, len(wanted))
    assert torch.equal(steps, wanted.expand(4, -1))
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("training", [True, False])
def test_ensembles_give_the_batch_once_a_member_in_training(training: bool) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TcnConfig(members=3, channels=8, kernel=3, dilations=(1, 2), stride=3, head_steps=2)
        model = tcn(config, N_MELS, FRAMES, 3).train(training)
    x = torch.randn(4, N_MELS, FRAMES + 9, generator=_generator())
    with torch.random.fork_rng(devices=[]):
        logits, steps = _scored(model, x, torch.tensor([5, NO_WORD, 30, 40]), 9, _generator())
    ends = model.output_frames(FRAMES + 9)
    assert logits.shape == (12 if training else 4, 3, len(ends))
    assert torch.equal(steps, ends.expand(4, -1)) and members(model) == len(logits) // 4


@pytest.mark.parametrize(
    ("end", "hit", "allowed"),
    [
        (40, 6, range(40, 47)),
        (40, 0, range(40, 41)),
        (54, 20, range(54, 60)),
        (10, 6, range(31, 32)),
        (28, 6, range(31, 35)),
        (80, 6, range(59, 60)),
        (NO_WORD, 6, range(31, 60)),
    ],
    ids=str,
)
def test_a_window_ends_anywhere_in_its_range_and_nowhere_else(end: int, hit: int, allowed: range) -> None:
    first, last = _read([end], 60, hit, rows=600)
    assert set(last.flatten().tolist()) == set(allowed)
    assert torch.equal(last - first, torch.full_like(last, FRAMES - 1))


def test_the_window_is_the_rows_own_and_whole() -> None:
    model, x = _Windowed(), _ramps(5, 60)
    ends = torch.tensor([NO_WORD, 33, 40, 50, NO_WORD])
    _, steps = _scored(model, x, ends, 5, _generator())
    for row, end in enumerate(steps[:, 0].tolist()):
        assert torch.equal(model.seen[row], x[row, :, end + 1 - FRAMES : end + 1])


def test_ends_are_drawn_from_the_generator_only() -> None:
    ends: list[Any] = [40, NO_WORD]
    state = torch.random.get_rng_state()
    one, same, other = (_read(ends, 60, 9, seed)[1] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_rows_as_short_as_a_window_are_the_window() -> None:
    model, x = _Windowed(), _ramps(3, FRAMES)
    _, steps = _scored(model, x, torch.tensor([5, NO_WORD, 31]), 9, _generator())
    assert torch.equal(model.seen, x)
    assert steps.flatten().tolist() == [FRAMES - 1] * 3
