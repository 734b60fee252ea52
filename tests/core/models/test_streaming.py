"""Networks that stream: what is special about the mixed-kernel and the fully connected one, and what stays as it is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models_table import describe
from torch import nn
from torch.nn import functional

from wakeword_core.config import CdDnnConfig, DsCnnConfig, MixedNetConfig, TcnConfig
from wakeword_core.config.base import deciding
from wakeword_core.models import build_model
from wakeword_core.models.cd_dnn import CdDnn
from wakeword_core.models.ds_cnn import CausalDsCnn
from wakeword_core.models.mixednet import MixedConvolution, MixedNet
from wakeword_core.models.scoring import count_parameters

N_MELS = 8


def _assert_steps_are_windows(model: MixedNet | CausalDsCnn, stride: int, more: int) -> None:
    """Compare each step over some more frames than one window has with the window that ends there."""
    reach = model.receptive_field_frames
    x = _x(reach + more)
    with torch.no_grad():
        steps, ends = model.dense(x), model.output_frames(reach + more)
        assert steps.shape == (2, 3, len(ends)) == (2, 3, more // stride + 1)
        for position, end in enumerate(ends.tolist()):
            torch.testing.assert_close(steps[:, :, position], model(x[:, :, end + 1 - reach : end + 1]))


def _x(frames: int, rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, N_MELS, frames, generator=torch.Generator().manual_seed(frames)).double()


def test_the_default_mixednet_fits_a_microcontroller() -> None:
    model = build_model(MixedNetConfig(), 64, 151, 2)
    assert count_parameters(model) < 60_000
    facts = describe(model, 64, 151)
    assert facts.streams
    assert facts.receptive_field_frames <= 151
    assert facts.macs_per_second < 2e6


@pytest.mark.parametrize(("channels", "kernels"), [(8, (5,)), (8, (3, 7)), (10, (9, 3, 4)), (5, (1, 2, 3, 4))])
def test_a_mixed_convolution_has_kernels_that_end_at_the_same_step(channels: int, kernels: tuple[int, ...]) -> None:
    """Equal to one depthwise convolution whose shorter kernels begin with zeros."""
    layer = MixedConvolution(channels, kernels).double()
    longest = max(kernels)
    rows = [functional.pad(group.weight, (longest - group.weight.shape[2], 0)) for group in layer.groups]  # type: ignore[arg-type,union-attr,operator]
    assert sorted({len(one) for one in rows}) in (
        [channels // len(kernels)],
        [channels // len(kernels), channels // len(kernels) + 1],
    )
    x = torch.randn(3, channels, 20, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        wanted = functional.conv1d(x, torch.cat(rows), groups=channels)
        torch.testing.assert_close(layer(x), wanted)
    assert layer.lost == longest - 1 == 20 - wanted.shape[2]


@settings(max_examples=25, deadline=None)
@given(
    stride=st.integers(1, 8),
    kernels=st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=3), min_size=1, max_size=3),
    head_steps=st.integers(1, 4),
    more=st.integers(0, 40),
)
def test_each_step_of_mixednet_is_the_window_that_ends_there(
    stride: int, kernels: list[list[int]], head_steps: int, more: int
) -> None:
    config = MixedNetConfig(stem_channels=8, channels=8, stride=stride, kernels=kernels, head_steps=head_steps)  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MixedNet(config, N_MELS, 50, 3).double().eval()
    assert model.receptive_field_frames == stride + 2 + stride * (head_steps - 1 + sum(max(one) - 1 for one in kernels))
    _assert_steps_are_windows(model, stride, more)


@settings(max_examples=15, deadline=None)
@given(
    stride=st.integers(1, 4), blocks=st.integers(1, 3), head_steps=st.integers(1, 4), more=st.integers(0, 15),
)  # fmt: skip
def test_each_step_of_a_causal_ds_cnn_is_the_window_that_ends_there(
    stride: int, blocks: int, head_steps: int, more: int
) -> None:
    config = DsCnnConfig(channels=4, blocks=blocks, stride=stride, causal=True, head_steps=head_steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(config, N_MELS, 50, 3).double().eval()
    assert isinstance(model, CausalDsCnn)
    assert model.receptive_field_frames == 5 * stride + stride * (2 * blocks + head_steps - 1)
    _assert_steps_are_windows(model, stride, more)


def test_a_causal_ds_cnn_is_the_papers_network_but_for_its_edges() -> None:
    """The same weights give the same inside of a window, far from where the paper's pads it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = build_model(DsCnnConfig(channels=8, blocks=2, stride=2), N_MELS, 60, 2).double().eval()
        causal = build_model(DsCnnConfig(channels=8, blocks=2, stride=2, causal=True), N_MELS, 60, 2).double().eval()
    assert isinstance(causal, CausalDsCnn)
    kept = {name: value for name, value in whole.state_dict().items() if not name.startswith("classifier")}
    causal.load_state_dict({**causal.state_dict(), **kept})
    x = _x(60)
    with torch.no_grad():
        padded = whole.blocks((whole.stem_norm(whole.stem(whole.pad(x[:, None])))).relu()).mean(dim=2)  # type: ignore[operator]
        steps = causal.steps(x)
    # of 30 steps of the window, 4 of the first layer's and 2 of each block's are not whole
    assert steps.shape[2] == 26 - 4 and padded.shape[2] == 30
    torch.testing.assert_close(padded[:, :, 4:26], steps)


def test_keys_of_the_papers_ds_cnn_know_nothing_of_the_causal_one() -> None:
    assert set(deciding(DsCnnConfig())) == {"arch", "channels", "blocks", "stride", "dropout"}
    assert deciding(DsCnnConfig(causal=True, head_steps=3))["head_steps"] == 3


def test_the_residual_of_mixednet_ends_at_the_same_step() -> None:
    model = MixedNet(MixedNetConfig(stem_channels=8, channels=8, kernels=((3, 5),)), N_MELS, 50, 2).double().eval()
    block = model.blocks[0]
    x = _x(20).relu()
    with torch.no_grad():
        block.pointwise.weight.zero_()  # type: ignore[union-attr,operator]
        assert torch.equal(block(x), x[:, :, 4:])


@pytest.mark.parametrize("frame_step", [1, 3])
def test_cd_dnn_is_fully_connected_over_stacked_frames(frame_step: int) -> None:
    config = CdDnnConfig(stacked_frames=7, frame_step=frame_step, stride=2, hidden_units=16, hidden_layers=2)
    model = CdDnn(config, N_MELS, 50, 3).double().eval()
    assert model.receptive_field_frames == 6 * frame_step + 1
    x = _x(50)
    with torch.no_grad():
        for position, end in enumerate(model.output_frames(50).tolist()):
            stacked = torch.stack([x[:, :, end - back * frame_step] for back in reversed(range(7))], dim=2).flatten(1)
            for layer in model.layers:
                linear, norm, _ = layer  # type: ignore[misc]
                stacked = functional.linear(stacked, linear.weight.flatten(1))
                scale = norm.weight / (norm.running_var + norm.eps).sqrt()
                stacked = ((stacked - norm.running_mean) * scale + norm.bias).relu()
            logits = functional.linear(stacked, model.classifier.weight.flatten(1), model.classifier.bias)
            torch.testing.assert_close(model.dense(x)[:, :, position], logits)


def test_cd_dnn_has_the_papers_size() -> None:
    """Chen et al. 2014: 244 thousand parameters with 40 bands, 41 frames and 3 layers of 128."""
    model = build_model(CdDnnConfig(), 40, 151, 4)
    norms = sum(count_parameters(one) for one in model.modules() if isinstance(one, nn.BatchNorm1d))
    assert abs(count_parameters(model) - norms - 244_000) < 1_000


def test_weights_of_the_tcn_keep_their_names_and_order() -> None:
    """Models that were saved before are loaded by them."""
    model = build_model(TcnConfig(dilations=(1, 2)), 64, 151, 2)
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    wanted = ["stem.weight", *(f"stem_norm.{one}" for one in norm)]
    for block in range(2):
        wanted += [f"blocks.{block}.convolution.weight", *(f"blocks.{block}.norm.{one}" for one in norm)]
    assert list(model.state_dict()) == [*wanted, "classifier.weight", "classifier.bias"]
