"""What is special about each network that sees whole windows: sizes of the papers, parity with other code."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models_table import describe
from torch import nn
from torch.nn import functional
from torchaudio.models.conformer import ConformerLayer

from wakeword_core.config import (
    ConformerConfig,
    CrnnConfig,
    DsCnnConfig,
    MobileNetV3Config,
    ResNet18Config,
    ResNet34Config,
    TinyConvConfig,
)
from wakeword_core.config.layers import CustomConfig, VggConfig
from wakeword_core.models import build_model
from wakeword_core.models.conformer import ConformerBlock, RelativeAttention
from wakeword_core.models.crnn import Crnn
from wakeword_core.models.layers import recurrent_initialise, same_padding
from wakeword_core.models.mobilenetv3 import rounded_channels
from wakeword_core.models.scoring import count_parameters


@pytest.mark.parametrize(
    ("config", "published", "layers"), [(ResNet18Config(), 11_689_512, 18), (ResNet34Config(), 21_797_672, 34)]
)
def test_resnets_have_the_published_sizes(config: ResNet18Config | ResNet34Config, published: int, layers: int) -> None:
    """Torchvision's, for three colours and 1000 classes, with a stem of 7 x 7."""
    model = build_model(config, 64, 151, 1000)
    assert count_parameters(model) - 64 * 9 == published - 64 * 3 * 49
    weighted = [one for one in model.modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    projections = [one for one in weighted if isinstance(one, nn.Conv2d) and one.kernel_size == (1, 1)]
    assert len(weighted) - len(projections) == layers
    half = build_model(config.model_copy(update={"width": 32}), 64, 151, 1000)
    assert 0.23 < count_parameters(half) / count_parameters(model) < 0.28


def test_mobilenetv3_has_the_published_size() -> None:
    """Torchvision's, for three colours and 1000 classes; the paper says 2.5 million."""
    model = build_model(MobileNetV3Config(), 64, 151, 1000)
    assert count_parameters(model) + 2 * 16 * 9 == 2_542_856
    sizes = [count_parameters(build_model(MobileNetV3Config(width=width), 64, 151, 2)) for width in (0.1, 0.5, 1, 2)]
    assert sizes == sorted(set(sizes))


@pytest.mark.parametrize(("channels", "rounded"), [(1, 8), (8, 8), (11, 16), (12, 16), (19, 24), (35, 32), (36, 40)])
def test_channels_are_rounded_as_in_the_papers_code(channels: float, rounded: int) -> None:
    assert rounded_channels(channels) == rounded


def test_a_gru_on_mobilenetv3_takes_the_place_of_pooling() -> None:
    model = build_model(MobileNetV3Config(width=0.25, gru_units=12), 40, 98, 2)
    pooled = build_model(MobileNetV3Config(width=0.25), 40, 98, 2)
    gru = 3 * 12 * (144 + 12) + 2 * 3 * 12
    convolutions = count_parameters(pooled.layers)  # type: ignore[arg-type]
    assert count_parameters(model) == convolutions + gru + 12 * 2 + 2
    assert model.embed(torch.zeros(1, 40, 98)).shape == (1, 12)  # type: ignore[operator]


def test_ds_cnn_has_the_papers_size() -> None:
    """Zhang et al. 2017, small: 38.6 kB with 16,000 activations of a byte, and 5.4 million operations."""
    config = DsCnnConfig(channels=64, blocks=4, stride=2)
    model = build_model(config, 10, 49, 12)
    norms = 9 * 64  # folded: one number a channel is left of two
    assert count_parameters(model) - norms == 38_604 - 16_000
    assert abs(2 * describe(model, 10, 49).macs - 5.4e6) < 0.1e6


def test_crnn_has_the_papers_size() -> None:
    """Arik et al. 2017: 229 thousand parameters for 40 bands and 1.5 s."""
    assert abs(count_parameters(build_model(CrnnConfig(), 40, 151, 2)) - 229_000) < 1_000
    sizes = {
        (cell, both): count_parameters(build_model(CrnnConfig(cell=cell, bidirectional=both), 40, 151, 2).recurrent)  # type: ignore[arg-type]
        for cell in ("gru", "lstm")
        for both in (True, False)
    }
    one_way = 32 * (640 + 32 + 2) + 32 * (32 + 32 + 2)
    both_ways = 2 * (32 * (640 + 32 + 2) + 32 * (64 + 32 + 2))
    wanted = {("gru", False): 3 * one_way, ("lstm", False): 4 * one_way}
    assert sizes == {**wanted, ("gru", True): 3 * both_ways, ("lstm", True): 4 * both_ways}


def test_only_a_bidirectional_crnn_knows_the_future() -> None:
    x = torch.randn(2, 40, 50, generator=torch.Generator().manual_seed(0))
    changed = x.clone()
    changed[:, :, 40:] += 1
    for both in (True, False):
        model = Crnn(CrnnConfig(units=8, bidirectional=both), 40, 50, 2).eval()
        with torch.no_grad():
            first, other = (
                model.recurrent(functional.relu(model.stem(model.pad(one[:, None]))).flatten(1, 2).transpose(1, 2))[0]
                for one in (x, changed)
            )
        # kernels of 20 frames every 8: the first two steps end before frame 40
        assert torch.equal(first[:, :2], other[:, :2]) != both
        assert not torch.equal(first[:, -1], other[:, -1])


@pytest.mark.parametrize("cell", [nn.GRU, nn.LSTM])
def test_recurrent_weights_begin_orthogonal_and_forget_gates_open(cell: type[nn.GRU] | type[nn.LSTM]) -> None:
    network = cell(5, 6, num_layers=2, bidirectional=True)
    recurrent_initialise(network)
    for name, parameter in network.named_parameters():
        if name.startswith("weight_hh"):
            for gate in parameter.split(6):
                torch.testing.assert_close(gate @ gate.T, torch.eye(6), atol=1e-5, rtol=0)
        elif name.startswith("bias"):
            wanted = torch.zeros_like(parameter)
            if cell is nn.LSTM and name.startswith("bias_ih"):
                wanted[6:12] = 1
            assert torch.equal(parameter, wanted)


@given(size=st.integers(1, 60), kernel=st.integers(1, 20), stride=st.integers(1, 8))
def test_same_padding_leaves_a_step_for_each_stride(size: int, kernel: int, stride: int) -> None:
    before, after = same_padding(size, kernel, stride)
    assert 0 <= before <= after <= before + 1
    padded = functional.pad(torch.zeros(1, 1, size), (before, after))
    if padded.shape[2] >= kernel:
        steps = functional.conv1d(padded, torch.zeros(1, 1, kernel), stride=stride).shape[2]
        assert steps == -(-size // stride)


def test_separable_tiny_conv_has_fewer_weights_and_products() -> None:
    plain, separable = (build_model(TinyConvConfig(separable=one), 64, 151, 2) for one in (False, True))
    fewer = 24 * 48 * 9 + 48 * 96 * 9 - (24 * 9 + 24 * 48 + 48 * 9 + 48 * 96)
    assert count_parameters(plain) - count_parameters(separable) == fewer - 2 * (24 + 48)
    assert describe(separable, 64, 151).macs < describe(plain, 64, 151).macs / 2


def _random(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            tensor.data = torch.rand(tensor.shape, generator=generator).double() - 0.3
    return module.double().eval()


def test_a_conformer_block_without_bias_is_torchaudios() -> None:
    config = ConformerConfig(channels=12, heads=3, expansion=2, kernel=5, dropout=0.0)
    mine = _random(ConformerBlock(config, steps=9))
    assert isinstance(mine, ConformerBlock)
    for norm in (one for one in mine.modules() if isinstance(one, nn.BatchNorm1d)):
        nn.init.uniform_(norm.running_var, 0.5, 2.0)  # type: ignore[arg-type]
    nn.init.zeros_(mine.attention.bias)
    theirs = ConformerLayer(12, 24, 3, 5, dropout=0.0).double().eval()
    pairs = [
        (theirs.ffn1.sequential, mine.before),
        (theirs.self_attn_layer_norm, mine.attention.norm),
        (theirs.self_attn.out_proj, mine.attention.output),
        (theirs.conv_module.layer_norm, mine.convolution.norm),
        (theirs.ffn2.sequential, mine.after),
        (theirs.final_layer_norm, mine.norm),
    ]
    for other, one in pairs:
        other.load_state_dict(one.state_dict())
    theirs.self_attn.in_proj_weight.data = mine.attention.projection.weight.data
    theirs.self_attn.in_proj_bias.data = mine.attention.projection.bias.data
    depthwise = theirs.conv_module.sequential[2].bias  # which batch norm makes superfluous
    theirs.conv_module.sequential.load_state_dict({**mine.convolution.layers.state_dict(), "2.bias": 0 * depthwise})
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        torch.testing.assert_close(mine(x), theirs(x.transpose(0, 1), None).transpose(0, 1))


def test_attention_adds_a_number_for_each_distance() -> None:
    attention = _random(RelativeAttention(8, heads=2, steps=6, dropout=0.0))
    assert isinstance(attention, RelativeAttention)
    x = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        query, key, value = (
            part.view(3, 6, 2, 4).transpose(1, 2) for part in attention.projection(attention.norm(x)).chunk(3, dim=2)
        )
        bias = torch.empty(2, 6, 6).double()
        for head in range(2):
            for at in range(6):
                for seen in range(6):
                    bias[head, at, seen] = attention.bias[head, seen - at + 5]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        wanted = attention.output(mixed.transpose(1, 2).reshape(3, 6, 8))
        torch.testing.assert_close(attention(x), wanted)
        attention.bias += 1  # the same for all distances changes nothing
        torch.testing.assert_close(attention(x), wanted)


@pytest.mark.parametrize(("depth", "weights"), [(11, 9_216_576), (16, 14_709_312)])
def test_vgg_has_the_papers_convolutions(depth: int, weights: int) -> None:
    """Table 1 of the paper, on one channel in place of three and without biases."""
    with torch.device("meta"):
        model = build_model(VggConfig(depth=depth), 64, 151, 2)
    convolutions = [one.weight for one in model.modules() if isinstance(one, nn.Conv2d)]
    assert len(convolutions) == depth - 1 and sum(one.numel() for one in convolutions[:-2]) == weights
    assert convolutions[-2].shape == (512, 512, 2, 4)  # 64 bands and 151 frames, halved five times


@pytest.mark.parametrize("causal", [False, True])
def test_listed_layers_give_the_shapes_that_their_settings_say(causal: bool) -> None:
    settings = CustomConfig(causal=causal, head_steps=4)
    model = build_model(settings, 40, 98, 3).eval()
    given = torch.zeros(2, 40, 98)
    y, shapes = given[:, None], settings.shapes(40, 98)
    for layer, shape in zip(model.layers, shapes, strict=True):  # type: ignore[arg-type]
        y = layer(y)
        assert y.shape == (2, *shape)
    if causal:  # by hand: 5, then 2 * 2 more, then a pool over 2 places, then 4 * 2 more, at a step of 4 frames
        assert settings.reach == (5 + 2 * 2 + 2 + 4 * 2, 4)
        assert model.receptive_field_frames == 19 + 3 * 4 and shapes[-1][2] == (98 - 19) // 4 + 1
    else:
        assert shapes[-1] == (64, 1, 1)
