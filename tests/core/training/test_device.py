"""Choice of device and threads; torch.compile: asked for, left out, and where it does not work; memory that is kept."""

import ctypes
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import CMVN, TINY_TCN, TRAIN, VAL, config_for, same_weights, weights
from torch import nn

from wakeword_core.config import TcnConfig, TinyConvConfig
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError
from wakeword_core.training import device as device_module
from wakeword_core.training.device import choose_device, compile_backbone
from wakeword_core.training.loop import train


@pytest.mark.parametrize("available", [True, False])
def test_device(available: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert choose_device("cpu") == "cpu"
    assert choose_device("auto") == ("cuda" if available else "cpu")
    if available:
        assert choose_device("cuda") == "cuda"
    else:
        with pytest.raises(ConfigError, match="no CUDA device"):
            choose_device("cuda")


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(KeyError), torch_threads(0):
        assert torch.get_num_threads() >= 1
        raise KeyError
    assert torch.get_num_threads() == before


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of what is compiled, which nothing really is, and in which mode where it is another than usual.

    The first is what is compiled to see whether anything can be.
    """
    names: list[str] = []
    device_module._compiler_works.cache_clear()

    def compile_nothing(function: Any, mode: str = "default") -> Any:
        names.append(function.__name__ + ("" if mode == "default" else f" {mode}"))
        return function

    monkeypatch.setattr(torch, "compile", compile_nothing)
    yield names
    device_module._compiler_works.cache_clear()


@pytest.mark.parametrize(
    ("compile", "device", "processes", "wanted"),
    [
        ("auto", "cpu", 1, False),
        ("auto", "cuda", 1, True),
        ("auto", "cuda", 2, False),
        ("on", "cpu", 1, True),
        ("off", "cuda", 1, False),
    ],
)
def test_when_a_network_is_compiled(
    compile: Any, device: str, processes: int, wanted: bool, monkeypatch: pytest.MonkeyPatch, compiled: list[str]
) -> None:
    monkeypatch.setattr(torch, "ones", lambda count, device: torch.zeros(count))  # as on a machine with that device
    compile_backbone(nn.Linear(2, 2), compile, device, processes)
    assert len(compiled) == 2 * wanted and compiled[1:] == (["forward"] if wanted else [])


def test_a_network_is_compiled_in_the_mode_that_is_set(tmp_path: Path, compiled: list[str]) -> None:
    compute = {"compile": "on", "compile_mode": "max-autotune"}
    config = config_for(schedule={"epochs": 1}, sampling={"steps_per_epoch": 1}, compute=compute)
    train(TRAIN, VAL, CMVN, config, tmp_path)
    assert compiled[1:] == ["dense max-autotune"]


@pytest.mark.parametrize(
    ("tf32", "matrices", "convolutions"), [("torch", False, True), ("on", True, True), ("off", False, False)]
)
def test_arithmetic_on_cuda_is_as_set_while_it_trains_and_then_as_before(
    tf32: Any, matrices: bool, convolutions: bool, tmp_path: Path
) -> None:
    def flags() -> tuple[bool, bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark

    before, seen = flags(), set()
    config = config_for(
        schedule={"epochs": 1},
        sampling={"steps_per_epoch": 1},
        precision={"tf32": tf32},
        compute={"cudnn_benchmark": True},
    )
    train(TRAIN, VAL, CMVN, config, tmp_path, lambda *_: seen.add(flags()))
    assert seen == {(matrices, convolutions, True)} and before == flags() == (False, True, False)


def test_what_training_calls_is_what_is_compiled(tmp_path: Path, compiled: list[str]) -> None:
    for number, model in enumerate((TcnConfig(**TINY_TCN), TinyConvConfig(channels=4))):
        config = config_for(model, schedule={"epochs": 1}, sampling={"steps_per_epoch": 1}, compute={"compile": "on"})
        train(TRAIN, VAL, CMVN, config, tmp_path / str(number))
    assert compiled == ["_something", "dense", "forward"]
    train(
        TRAIN,
        VAL,
        CMVN,
        config_for(TinyConvConfig(channels=4), schedule={"epochs": 1}, sampling={"steps_per_epoch": 1}),
        tmp_path / "off",
    )
    assert same_weights(tmp_path / "1", tmp_path / "off")
    assert not any("compiled" in name or "_orig_mod" in name for name in weights(tmp_path / "1"))


def test_without_a_compiler_training_goes_on_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(function: Any) -> Any:
        raise RuntimeError("no C++ compiler found\nin 20 lines")

    monkeypatch.setattr(torch, "compile", no_compiler)
    device_module._compiler_works.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            train(
                TRAIN,
                VAL,
                CMVN,
                config_for(schedule={"epochs": 1}, sampling={"steps_per_epoch": 1}, compute={"compile": "on"}),
                tmp_path,
            )
    device_module._compiler_works.cache_clear()
    assert [one.message for one in caplog.records if "compile" in one.message] == [
        "torch.compile does not work here (no C++ compiler found); training goes on without"
    ]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_compiled_network_learns_on_cuda(tmp_path: Path) -> None:
    summary = train(
        TRAIN, VAL, CMVN, config_for(schedule={"epochs": 2}, compute={"device": "cuda", "compile": "on"}), tmp_path
    )
    assert summary.epochs == 2


FRESH_PAGES = """
import resource
from contextlib import nullcontext
from wakeword_core.training.device import keep_freed_memory

def pages(context):
    with context:
        bytes(bytearray(20_000_000))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(20):
            bytearray(b"x") * 20_000_000
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1])

print(pages(nullcontext()), pages(keep_freed_memory()))
with keep_freed_memory():
    before = resident()
    bytearray(b"x") * 20_000_000
    kept = resident() - before
print(kept, resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_pages_are_mapped_once_and_given_back_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", FRESH_PAGES], capture_output=True, text=True, timeout=60, check=True)
    (usual, mapped), (kept, left) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert mapped < usual / 5
    assert kept > 4_000 > 1_000 > left
