"""The TCN: what a step sees, and one pass over a stretch against windows one by one."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import TcnConfig
from wakeword_core.models.tcn import ResidualBlock, Tcn, TcnEnsemble, tcn

N_MELS = 8


def _model(**settings: Any) -> Tcn:
    """In double precision, with normalisation that is not the trivial one."""
    chosen = {"channels": 8, "kernel": 3, "dilations": (1, 2), "stride": 3, "head_steps": 2, **settings}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tcn(TcnConfig(**chosen), N_MELS, 50, 3).double()
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
                torch.nn.init.normal_(module.bias)
                torch.nn.init.normal_(module.running_mean)  # type: ignore[arg-type]
                torch.nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    return model.eval()


def _x(frames: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, N_MELS, frames, generator=torch.Generator().manual_seed(frames)).double()


@pytest.mark.parametrize("stride", [1, 3])
def test_training_on_a_cpu_gives_what_layer_after_layer_does(stride: int) -> None:
    fast, plain = (_model(stride=stride, dropout=0.0).train() for _ in range(2))
    x = _x(40)
    steps = torch.relu(plain.stem_norm(plain.stem(x)))
    for block in plain.blocks:
        steps = block(steps)
    found = fast.steps(x)
    torch.testing.assert_close(found, steps)
    for result in (found, steps):
        result.square().sum().backward()
    for one, other in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(one[1].grad, other[1].grad, msg=one[0])
    torch.testing.assert_close(dict(fast.named_buffers()), dict(plain.named_buffers()))


def test_training_on_a_cpu_keeps_the_channels_of_a_step_together(monkeypatch: pytest.MonkeyPatch) -> None:
    formats = []
    block_of_images = ResidualBlock.of_images

    def of_images(self: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
        x.register_hook(lambda gradient: formats.append(gradient.is_contiguous(memory_format=torch.channels_last)))
        formats.append(x.is_contiguous(memory_format=torch.channels_last))
        return block_of_images(self, x)

    monkeypatch.setattr(ResidualBlock, "of_images", of_images)
    _model().float().train().dense(_x(40).float()).sum().backward()
    assert formats == [True] * 4


@settings(max_examples=25, deadline=None)
@given(
    stride=st.integers(1, 8),
    kernel=st.integers(2, 5),
    dilations=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    head_steps=st.integers(1, 4),
    more=st.integers(0, 40),
)
def test_each_step_of_a_stretch_is_the_window_that_ends_there(
    stride: int, kernel: int, dilations: list[int], head_steps: int, more: int
) -> None:
    model = _model(stride=stride, kernel=kernel, dilations=dilations, head_steps=head_steps)
    reach = model.receptive_field_frames
    x = _x(reach + more)
    with torch.no_grad():
        steps, ends = model.dense(x), model.output_frames(reach + more)
        assert steps.shape == (2, 3, len(ends)) == (2, 3, more // stride + 1)
        assert int(ends[-1]) == reach + more - 1
        assert bool((ends.diff() == stride).all())
        for position, end in enumerate(ends.tolist()):
            window = x[:, :, end + 1 - reach : end + 1]
            torch.testing.assert_close(steps[:, :, position], model(window))
            # nor does a longer window, of any length, change it
            torch.testing.assert_close(steps[:, :, position], model(x[:, :, : end + 1]))


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("more", [0, 1, 7])
def test_the_receptive_field_is_what_the_gradient_reaches(stride: int, more: int) -> None:
    model = _model(stride=stride)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()  # so that no ReLU is closed
        for block in (model.stem_norm, *(block.norm for block in model.blocks)):
            block.running_mean.zero_()
    frames = model.receptive_field_frames + more
    x = _x(frames, 1).abs().requires_grad_()
    steps = model.dense(x)
    for position, end in enumerate(model.output_frames(frames).tolist()):
        (gradient,) = torch.autograd.grad(steps[0, :, position].sum(), x, retain_graph=True)
        reached = torch.nonzero(gradient.abs().sum((0, 1))).flatten()
        assert int(reached.max()) == end
        assert int(reached.min()) == end + 1 - model.receptive_field_frames


@pytest.mark.parametrize("short", [1, 2, 9, 14])
def test_a_window_shorter_than_the_receptive_field_begins_with_the_mean(short: int) -> None:
    model = _model()
    frames = model.receptive_field_frames - short
    x = _x(frames)
    with torch.no_grad():
        whole = torch.cat([torch.zeros(2, N_MELS, short).double(), x], dim=2)
        torch.testing.assert_close(model(x), model(whole))
        torch.testing.assert_close(model.dense(x), model(whole)[:, :, None])
        torch.testing.assert_close(model.embed(x), model.embed(whole))
        assert not torch.allclose(model(x), model(torch.cat([whole[:, :, :short] + 1, x], dim=2)))
    assert model.output_frames(frames).tolist() == [frames - 1]


def test_a_block_adds_to_the_steps_it_ends_at() -> None:
    block = ResidualBlock(N_MELS, 3, 4).double().eval()
    with torch.no_grad():
        block.convolution.weight.zero_()
        assert torch.equal(block(_x(20)), _x(20)[:, :, 8:].relu())
        block.convolution.weight[:, :, 2] = torch.eye(N_MELS)
        torch.testing.assert_close(block(_x(20)), 2 * _x(20)[:, :, 8:].relu(), rtol=1e-4, atol=0)


def test_a_deeper_or_wider_reach_costs_steps_not_errors_in_training() -> None:
    model = _model(kernel=5, dilations=(1, 4, 8), head_steps=3, dropout=0.5).train()
    x = _x(40)
    assert model.receptive_field_frames > 40
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        logits = model.dense(x)
        logits.sum().backward()
    assert logits.shape == (2, 3, 1)
    assert all(parameter.grad is not None and bool(parameter.grad.isfinite().all()) for parameter in model.parameters())


@pytest.fixture
def ensemble() -> TcnEnsemble:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = TcnConfig(members=3, channels=8, kernel=3, dilations=(1, 2), stride=3, head_steps=2, dropout=0.0)
        model = tcn(config, N_MELS, 50, 3)
    assert isinstance(model, TcnEnsemble)
    return model.double().eval()


def test_an_ensemble_averages_members_that_differ(ensemble: TcnEnsemble) -> None:
    x = _x(60)
    with torch.no_grad():
        alone = torch.stack([member(x) for member in ensemble.members])
        assert alone.shape == (3, 2, 3)
        assert float(alone.std(0).min()) > 1e-3
        torch.testing.assert_close(ensemble(x), alone.mean(0))
        steps, ends = ensemble.dense(x), ensemble.output_frames(60)
        assert steps.shape == (2, 3, len(ends))
        for position, end in enumerate(ends.tolist()):
            torch.testing.assert_close(steps[:, :, position], ensemble(x[:, :, : end + 1]))
        embedded = torch.cat([member.embed(x) for member in ensemble.members], dim=1)  # type: ignore[operator]
        torch.testing.assert_close(ensemble.embed(x), embedded)
    assert ensemble.receptive_field_frames == ensemble.members[0].receptive_field_frames


def test_an_ensemble_in_training_gives_one_member_after_the_other(ensemble: TcnEnsemble) -> None:
    """So that each learns for itself: what one says has no part in the others' gradients."""
    x = _x(60)
    steps = ensemble.train().dense(x)
    assert steps.shape == (6, 3, len(ensemble.output_frames(60)))
    torch.testing.assert_close(steps[2:4], ensemble.members[1].dense(x))  # type: ignore[operator]
    steps[2:4].square().sum().backward()
    for number, member in enumerate(ensemble.members):
        reached = [one.grad is not None and bool(one.grad.abs().sum() > 0) for one in member.parameters()]
        assert any(reached) == (number == 1)
