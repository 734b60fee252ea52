"""What every backbone of the registry does: shapes, equal paths, learning, files, export, streaming."""

import copy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.nn import functional

from wakeword_core.config import Config, ExportConfig, FeaturesConfig, FrontendConfig, LossConfig, ModelConfig
from wakeword_core.errors import ConfigError
from wakeword_core.export.onnx_export import export_onnx
from wakeword_core.export.onnx_graph import write_model
from wakeword_core.export.pack import pack_weights
from wakeword_core.export.streaming import export_streaming
from wakeword_core.features.cmvn import Cmvn
from wakeword_core.models import MIN_FRAMES, REGISTRY, build_model
from wakeword_core.models.mixednet import MixedConvolution
from wakeword_core.models.scoring import ScoringModel, load_model, model_card, new_model, save_model
from wakeword_core.runtime import WakewordModel
from wakeword_core.training.losses import NO_WORD, row_losses, zones
from wakeword_core.training.objective import members, row_logits, step_ends

TCN = {"arch": "tcn", "channels": 24, "kernel": 3, "dilations": (1, 1, 2, 2), "stride": 3, "head_steps": 3}
CRNN = {"arch": "crnn", "channels": 8, "units": 12, "hidden_units": 16, "stride_frames": 4}
_FIRST = [
    {"kind": "conv", "channels": 12, "kernel": (5, 5), "stride": (2, 2), "activation": "hard_swish"},
    {"kind": "depthwise"},
    {"kind": "conv", "channels": 16, "kernel": (1, 1), "activation": "none"},
]
SETTINGS: dict[str, dict[str, Any]] = {
    "bc_resnet": {"arch": "bc_resnet"},
    "tiny_conv": {"arch": "tiny_conv", "channels": 8},
    "tiny_conv_separable": {"arch": "tiny_conv", "channels": 8, "separable": True},
    "tcn": TCN,
    "tcn_ensemble": {**TCN, "members": 2},
    "mixednet": {"arch": "mixednet", "stem_channels": 16, "channels": 25, "kernels": ((3,), (3, 5), (5,)), "stride": 2},
    "cd_dnn": {"arch": "cd_dnn", "stacked_frames": 14, "frame_step": 3, "hidden_units": 24},
    "ds_cnn": {"arch": "ds_cnn", "channels": 16, "blocks": 2, "stride": 2},
    "ds_cnn_causal": {"arch": "ds_cnn", "channels": 16, "blocks": 2, "stride": 2, "causal": True, "head_steps": 5},
    "crnn_gru": {**CRNN, "layers": 1, "bidirectional": False},
    "crnn_lstm": {**CRNN, "cell": "lstm"},
    "mobilenetv3": {"arch": "mobilenetv3", "width": 0.25},
    "mobilenetv3_gru": {"arch": "mobilenetv3", "width": 0.25, "gru_units": 12},
    "resnet18": {"arch": "resnet18", "width": 4},
    "resnet34": {"arch": "resnet34", "width": 4},
    "conformer": {"arch": "conformer", "channels": 24, "layers": 1, "heads": 2, "expansion": 2, "kernel": 7},
    "vgg": {"arch": "vgg", "width": 4, "hidden_units": 24},
    "custom": {
        "arch": "custom",
        "layers": [
            *_FIRST,
            {"kind": "mean_pool"},
            {"kind": "conv", "channels": 12, "kernel": (2, 3)},
            {"kind": "mean"},
        ],
    },
    "custom_causal": {
        "arch": "custom",
        "layers": [*_FIRST, {"kind": "max_pool", "kernel": (2, 1)}, {"kind": "dense", "channels": 20}],
        "causal": True,
        "head_steps": 3,
    },
}
SMALL: dict[str, Any] = {
    name: TypeAdapter(ModelConfig).validate_python({**settings, "dropout": 0.0}) for name, settings in SETTINGS.items()
}
"""Every architecture and every option that changes its layers, in sizes that tests can afford."""
ARCHS = list(SMALL)
STREAMING = ["tcn", "tcn_ensemble", "mixednet", "cd_dnn", "ds_cnn_causal", "custom_causal"]
BY_PRODUCTS = ["bc_resnet", "tiny_conv", "tiny_conv_separable"]
"""Those that compute some convolutions as matrix products on a CPU."""
BANDS, FRAMES = 16, 48
"""Windows of the models that are written to files."""


def _model(config: Any, n_mels: int = 40, frames: int = 50, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_model(config, n_mels, frames, classes)


def _settled(config: Any, n_mels: int = 40, frames: int = 50, classes: int = 2) -> nn.Module:
    """In eval mode, with running statistics that are not the trivial ones."""
    model = _momentless(_model(config, n_mels, frames, classes))
    with torch.no_grad():
        model.train()(torch.randn(64, n_mels, frames, generator=torch.Generator().manual_seed(7)) * 2 + 1)
    return model.eval()


def _momentless(model: nn.Module) -> nn.Module:
    """With running statistics that one batch sets."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
    return model


def _project(arch: str) -> Config:
    """Two wake words in one model."""
    words = [{"name": one, "path": "/x", "role": "positive", "label": one} for one in ("robin", "stop")]
    frontend = FrontendConfig(n_mels=BANDS, window_frames=FRAMES)
    features = FeaturesConfig(frontend=frontend)
    return Config.model_validate(
        {"training": {"model": SMALL[arch]}, "features": features, "phrase": "robin", "data": {"sources": words}}
    )


def _scoring(config: Config) -> ScoringModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = new_model(config)
    model.set_cmvn(Cmvn(np.full(BANDS, -6.0, np.float32), np.full(BANDS, 2.0, np.float32)))
    assert model.classes == 3
    x = torch.randn(64, BANDS, FRAMES, generator=torch.Generator().manual_seed(7)) * 2 - 6
    with torch.no_grad():
        _momentless(model).train()(x)
        logits = model.eval().logits(x)
        for member in getattr(model.backbone, "members", [model.backbone]):
            # so that scores are neither constant nor saturated
            member.classifier.bias -= logits.mean(0)
            for parameter in member.classifier.parameters():
                parameter /= logits.std(0).mean()
    return model


def test_the_small_models_cover_the_registry() -> None:
    assert set(REGISTRY) == {config.arch for config in SMALL.values()}


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize(
    ("n_mels", "frames", "classes"), [(16, MIN_FRAMES, 2), (40, 98, 12), (64, 151, 2), (80, MIN_FRAMES, 3), (8, 33, 2)]
)
def test_shapes_in_both_modes(arch: str, n_mels: int, frames: int, classes: int) -> None:
    model = _model(SMALL[arch], n_mels, frames, classes)
    x = torch.randn(3, n_mels, frames, generator=torch.Generator().manual_seed(1))
    for mode in (True, False):
        model.train(mode)
        logits = model(x)
        assert logits.shape == (3, classes)
        assert logits.isfinite().all()
        assert model.embed(x).ndim == 2  # type: ignore[operator]
        assert torch.equal(model.embed(x).isfinite().all(), torch.tensor(True))  # type: ignore[operator]


def test_too_short_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"window_frames is 31.*at least 32"):
        build_model(SMALL["tcn"], 64, 31, 2)


@pytest.mark.parametrize("arch", BY_PRODUCTS)
@pytest.mark.parametrize("training", [True, False])
def test_products_have_the_maths_of_the_convolutions(
    arch: str, training: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, gradients and running statistics: the path on the CPU against the path of other devices."""
    fast = _model(SMALL[arch]).double().train(training)
    plain = copy.deepcopy(fast)
    x = torch.randn(6, 40, 50, generator=torch.Generator().manual_seed(1)).double()
    target = torch.tensor([0, 1, 0, 1, 1, 0])
    functional.cross_entropy(fast(x), target).backward()
    monkeypatch.setattr(sys.modules[type(plain).__module__], "products_pay", lambda x: False)
    functional.cross_entropy(plain(x), target).backward()
    for (name, one), (_, other) in zip(fast.named_parameters(), plain.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-9, rtol=1e-6, msg=name)
    for (name, mine), (_, theirs) in zip(fast.named_buffers(), plain.named_buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-6, msg=name)


@pytest.mark.parametrize("arch", ARCHS)
def test_learns_the_direction_of_a_sweep(arch: str) -> None:
    """Rising against falling: the same bands are lit, in another order, so a bag of frames cannot tell them apart."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 40, 50, generator=generator) * 0.3
    labels = torch.arange(96) % 2
    rising = torch.eye(40)
    x[:, :, 8:48] += torch.where(labels[:, None, None] == 1, rising, rising.flip(0)) * 4
    model = _model(SMALL[arch]).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = 0.5  # two dozen steps are too few for the usual 0.1 through a dozen layers
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(12):
        for chosen in torch.randperm(64, generator=generator).split(32):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[chosen]), labels[chosen]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        assert (model(x[64:]).argmax(1) == labels[64:]).float().mean() > 0.9


@pytest.mark.parametrize("arch", ARCHS)
def test_dropout_acts_in_training_only(arch: str) -> None:
    model = _model(SMALL[arch].model_copy(update={"dropout": 0.5}))
    x = torch.randn(4, 40, 50, generator=torch.Generator().manual_seed(1))
    still = _model(SMALL[arch])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        assert torch.equal(model.eval()(x), model(x))
        model.train()
        still.train()
        assert not torch.equal(model(x), model(x))
        torch.testing.assert_close(still(x), still(x))


@pytest.mark.parametrize("arch", ARCHS)
def test_a_row_has_its_scores_whatever_its_neighbours(arch: str) -> None:
    model = _settled(SMALL[arch]).double()
    x = torch.randn(5, 40, 50, generator=torch.Generator().manual_seed(1)).double()
    loud = x.clone()
    loud[1:] = 100 * loud[1:].flip(2)
    with torch.no_grad():
        whole = model(x)
        torch.testing.assert_close(whole, model(x), atol=0, rtol=0)
        torch.testing.assert_close(whole, torch.cat([model(row[None]) for row in x]), atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(whole[0], model(loud)[0], atol=1e-10, rtol=1e-10)
        assert not torch.allclose(whole[1], model(loud)[1])


@pytest.mark.parametrize("arch", ARCHS)
def test_the_classifier_sees_the_embedding(arch: str) -> None:
    model = _settled(SMALL[arch], classes=4)
    x = torch.randn(3, 40, 50, generator=torch.Generator().manual_seed(1))
    members = list(getattr(model, "members", [model]))
    with torch.no_grad():
        parts = model.embed(x).chunk(len(members), dim=1)  # type: ignore[operator]
        logits = [
            part @ member.classifier.weight.flatten(1).T + member.classifier.bias
            for part, member in zip(parts, members, strict=True)
        ]
        torch.testing.assert_close(torch.stack(logits).mean(0), model(x))


@pytest.mark.parametrize("arch", ARCHS)
def test_the_gradient_reaches_every_parameter(arch: str) -> None:
    model = _model(SMALL[arch], classes=3).train()
    x = torch.randn(9, 40, 50, generator=torch.Generator().manual_seed(1))
    functional.cross_entropy(model(x), torch.arange(9) % 3).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()) and float(parameter.grad.abs().max()) > 0, name


@pytest.mark.parametrize("arch", ARCHS)
def test_saved_and_loaded_is_the_same(arch: str, tmp_path: Path) -> None:
    config = _project(arch)
    model = _scoring(config)
    save_model(tmp_path, model, model_card(config))
    loaded, _ = load_model(tmp_path)
    assert loaded.settings == SMALL[arch]
    x = torch.randn(4, BANDS, FRAMES, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


EXPORTED_ALONE = ("tcn_ensemble", "mixednet", "cd_dnn", "mobilenetv3_gru", "resnet18", "custom")
"""A trace takes seconds: tests/core/export has some of the others, and the rest are of the same layers."""


@pytest.mark.parametrize("arch", EXPORTED_ALONE)
def test_onnx_export_has_the_scores_of_torch(arch: str, tmp_path: Path) -> None:
    config = _project(arch)
    model = _scoring(config)
    chosen = {"detector": config.evaluation.detector.model_dump(mode="json"), "threshold": 0.5, "operating_points": {}}
    card = {**model_card(config), **chosen}
    summary = export_onnx(model, card, ExportConfig().onnx, tmp_path)
    assert summary.parity < 1e-5 and summary.logit_parity < 1e-4
    x = torch.randn(5, BANDS, FRAMES, generator=torch.Generator().manual_seed(2)) * 2 - 6
    with torch.no_grad():
        wanted = model(x).numpy()
    assert wanted.std(0).min() > 1e-3  # constant scores would agree with anything
    assert export_streaming(tmp_path / "model.onnx", 1e-4, tmp_path).native == (arch in STREAMING)
    exported = WakewordModel(tmp_path)
    for rows in (1, 5):
        np.testing.assert_allclose(exported.score_windows(x[:rows].numpy()), wanted[:rows], atol=1e-5)
    graph = onnx.load(tmp_path / "model.onnx")
    operators = [node.op_type for node in graph.graph.node]
    convolutions = sum(isinstance(one, nn.Conv1d | nn.Conv2d) for one in model.modules())
    mixed = [one for one in model.modules() if isinstance(one, MixedConvolution)]
    assert operators.count("Conv") == convolutions - sum(len(one.groups) - 1 for one in mixed)
    assert arch not in BY_PRODUCTS or "MatMul" not in operators
    packed = tmp_path / "packed.onnx"
    write_model(pack_weights(graph), packed)
    small = WakewordModel(packed).score_windows(x.numpy())
    assert 0 < np.abs(small - wanted).max() < 0.1


@pytest.mark.parametrize("arch", ARCHS)
def test_training_takes_every_step_of_what_streams_and_a_window_of_the_rest(arch: str) -> None:
    model = _model(SMALL[arch], 16, 40, 3).train()
    x = torch.randn(6, 16, 90, generator=torch.Generator().manual_seed(1))
    ends, labels = torch.tensor([60, 60, 70, 70, NO_WORD, NO_WORD]), torch.tensor([1, 2, 1, 2, 0, 0])
    steps = step_ends(model, ends, 90, 40, 10, torch.Generator().manual_seed(2))
    logits = row_logits(model, x, steps, 40)
    count = members(model)
    dense = arch in STREAMING
    assert count == (2 if arch == "tcn_ensemble" else 1) and len(logits) == 6 * count
    assert logits.shape[1:] == (3, len(model.output_frames(90)) if dense else 1)  # type: ignore[operator,arg-type]
    zone = zones(ends.repeat(count), steps.repeat(count, 1), 10, 20)
    row_losses(logits, labels.repeat(count), zone, None, LossConfig()).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().max()) > 0, name


def test_what_streams_has_a_score_at_every_step_and_nothing_else_has() -> None:
    streaming = [arch for arch in ARCHS if _model(SMALL[arch]).streams]
    assert streaming == STREAMING == [arch for arch in ARCHS if hasattr(_model(SMALL[arch]), "dense")]


@pytest.mark.parametrize("arch", STREAMING)
@pytest.mark.parametrize("more", [0, 1, 2, 31])
def test_a_stretch_has_the_scores_of_its_windows(arch: str, more: int) -> None:
    model: Any = _settled(SMALL[arch], n_mels=16, frames=32, classes=3).double()
    reach = model.receptive_field_frames
    x = torch.randn(2, 16, reach + more, generator=torch.Generator().manual_seed(1)).double()
    with torch.no_grad():
        steps, ends = model.dense(x), model.output_frames(reach + more)
        assert steps.shape == (2, 3, more // model.stride + 1)
        assert int(ends[-1]) == reach + more - 1 and bool((ends.diff() == model.stride).all())
        for position, end in enumerate(ends.tolist()):
            window = x[:, :, end + 1 - reach : end + 1]
            torch.testing.assert_close(steps[:, :, position], model(window))
            torch.testing.assert_close(steps[:, :, position], model(x[:, :, : end + 1]))
            changed = window.clone()
            changed[:, :, 0] += 10
            assert not torch.allclose(steps[:, :, position], model(changed))
