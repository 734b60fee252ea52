"""torch.compile: asked for, left out, and where it does not work."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import CMVN, TINY_TCN, TRAIN, VAL, config_for, same_weights, weights
from torch import nn

from wakeword_core.config import TcnConfig, TinyConvConfig, TrainingConfig
from wakeword_core.training import compiling
from wakeword_core.training.compiling import compile_backbone
from wakeword_core.training.distributed import ALONE, Ranks
from wakeword_core.training.fit import train


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what is compiled, which nothing really is."""
    names: list[str] = []
    compiling._compiler_works.cache_clear()

    def compile_nothing(function: Any) -> Any:
        names.append(function.__name__)
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    return names


@pytest.mark.parametrize(
    ("compile", "device", "ranks", "wanted"),
    [
        ("auto", "cpu", ALONE, False),
        ("auto", "cuda", ALONE, True),
        ("auto", "cuda", Ranks(0, 2), False),
        ("on", "cpu", ALONE, True),
        ("off", "cuda", ALONE, False),
    ],
)
def test_when_a_network_is_compiled(
    compile: Any, device: str, ranks: Ranks, wanted: bool, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setattr(compiling, "_compiler_works", lambda device: True)
    compile_backbone(nn.Linear(2, 2), TrainingConfig(compile=compile), ranks, device)
    assert compiled == (["forward"] if wanted else [])


def test_what_training_calls_is_what_is_compiled(tmp_path: Path, compiled: list[str]) -> None:
    for number, model in enumerate((TcnConfig(**TINY_TCN), TinyConvConfig(channels=4))):
        config = config_for(model, epochs=1, steps_per_epoch=1, compile="on")
        train(TRAIN, VAL, CMVN, config, tmp_path / str(number))
    assert compiled == ["_something", "dense", "forward"]
    train(TRAIN, VAL, CMVN, config_for(TinyConvConfig(channels=4), epochs=1, steps_per_epoch=1), tmp_path / "off")
    assert same_weights(tmp_path / "1", tmp_path / "off")
    assert not any("compiled" in name or "_orig_mod" in name for name in weights(tmp_path / "1"))


def test_without_a_compiler_training_goes_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(function: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nin 20 lines")

    monkeypatch.setattr(torch, "compile", no_compiler)
    compiling._compiler_works.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            train(TRAIN, VAL, CMVN, config_for(epochs=1, steps_per_epoch=1, compile="on"), tmp_path)
    compiling._compiler_works.cache_clear()
    assert [one.message for one in caplog.records if "compile" in one.message] == [
        "torch.compile does not work here (no C++ compiler found); training goes on without"
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_compiled_network_learns_on_cuda(tmp_path: Path) -> None:
    summary = train(TRAIN, VAL, CMVN, config_for(epochs=2, device="cuda", compile="on"), tmp_path)
    assert summary.epochs == 2
