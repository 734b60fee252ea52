"""Devices, what a wake word may take of them, and what a model needs: measured from its exported graph.

The network is counted as it is exported, in float32. The front end is counted as what every platform's signal library
does, a real FFT of each frame, not as the matrix product that is fastest in onnxruntime.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from wakeword_core.config import FrontendConfig, Platform
from wakeword_core.export.graph_cost import GraphCost, graph_cost
from wakeword_core.export.stream_network import CannotStreamError
from wakeword_core.export.streaming import streaming_network
from wakeword_core.features.mel import mel_filterbank
from wakeword_core.runtime import WakewordModel

_KIB, _MIB = 2**10, 2**20
_FLOAT = 4


@dataclass(frozen=True)
class Budget:
    """What is there for a wake word: about half of the device, the rest is the program's."""

    flash_bytes: int
    ram_bytes: int
    macs_per_second: float
    """Multiply-adds in float32 that half of one core does."""


PLATFORMS: dict[Platform, Budget] = {
    "esp32_s3": Budget(4 * _MIB, 256 * _KIB, 30e6),
    "esp32_s3_psram": Budget(8 * _MIB, 4 * _MIB, 30e6),
    "rp2040": Budget(1 * _MIB, 132 * _KIB, 0.5e6),
    "nano_33_ble": Budget(512 * _KIB, 128 * _KIB, 7e6),
    "rpi_zero_2": Budget(256 * _MIB, 128 * _MIB, 500e6),
    "rpi_4": Budget(256 * _MIB, 512 * _MIB, 2e9),
    "rpi_5": Budget(256 * _MIB, 1_024 * _MIB, 5e9),
    "phone": Budget(64 * _MIB, 128 * _MIB, 5e9),
    "server": Budget(1_024 * _MIB, 4_096 * _MIB, 20e9),
}
"""ESP32-S3: 512 KiB SRAM, 8 MiB flash, floating point at 240 MHz; with PSRAM 8 MiB of it and 16 MiB flash. RP2040:
264 KiB, 2 MiB, 133 MHz without floating point, about 130 cycles a multiply-add. Nano 33 BLE: 256 KiB, 1 MiB, 64 MHz
with it. The Raspberry Pis: Cortex-A53, A72, A76. Orders of magnitude, to tell what cannot work from what can."""


@dataclass(frozen=True)
class Needs:
    """What a model takes of a device while it listens."""

    flash_bytes: int
    """Weights, and the tables of the front end."""
    ram_bytes: int
    """States of the stream and the tensors of a run that live at once: the most, not the sum."""
    macs_per_second: float

    def described(self) -> str:
        """In words."""
        return (
            f"{self.flash_bytes / _KIB:,.0f} KiB flash, {self.ram_bytes / _KIB:,.0f} KiB RAM, "
            f"{self.macs_per_second / 1e6:,.1f} million multiply-adds a second"
        )


def needs(clip_path: Path) -> Needs:
    """What listening with an exported `model.onnx` takes: a run each stride of the detector."""
    model = WakewordModel(clip_path)
    network = onnx.load(clip_path)
    frontend, stride = model.frontend, model.stride_frames
    try:
        cost = _streaming_cost(streaming_network(model, network), frontend.bands, stride)
        ring = 0
    except CannotStreamError:
        window = np.zeros((1, frontend.bands, frontend.window_frames), np.float32)
        cost, ring = graph_cost(network, {network.graph.input[0].name: window}), window.nbytes
    frames_per_second = model.sample_rate / frontend.hop_length
    front = _front_end(frontend, model.sample_rate)
    return Needs(
        flash_bytes=cost.constant_bytes + front.constant_bytes,
        ram_bytes=cost.peak_bytes + ring + front.peak_bytes,
        macs_per_second=frames_per_second * (cost.macs / stride + front.macs),
    )


def problems(needed: Needs, platform: Platform) -> list[str]:
    """What does not fit on a platform, in words."""
    budget = PLATFORMS[platform]
    pairs = (
        ("flash", needed.flash_bytes / _KIB, budget.flash_bytes / _KIB, "KiB"),
        ("RAM", needed.ram_bytes / _KIB, budget.ram_bytes / _KIB, "KiB"),
        ("work", needed.macs_per_second / 1e6, budget.macs_per_second / 1e6, "million multiply-adds a second"),
    )
    return [
        f"{name}: {found:,.1f} {unit}, of which {platform} has {allowed:,.1f} for it"
        for name, found, allowed, unit in pairs
        if found > allowed
    ]


def _streaming_cost(network: onnx.ModelProto, bands: int, frames: int) -> GraphCost:
    features, *states = network.graph.input
    shapes = {one.name: [dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in states}
    zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return graph_cost(network, {features.name: np.zeros((frames, bands), np.float32), **zeros})


def _front_end(frontend: FrontendConfig, sample_rate: int) -> GraphCost:
    """Of one frame: window, real FFT in place (two multiply-adds a butterfly's half), power, mel filters, logarithm."""
    weights = int((mel_filterbank(frontend, sample_rate) > 0).sum())
    bins = frontend.n_fft // 2 + 1
    transform = frontend.n_fft * math.ceil(math.log2(frontend.n_fft))
    cepstra = frontend.n_mels * frontend.n_mfcc if frontend.kind == "mfcc" else 0
    return GraphCost(
        constant_bytes=_FLOAT * (frontend.win_length + frontend.n_fft + weights + cepstra),
        peak_bytes=_FLOAT * (2 * frontend.n_fft + bins + frontend.n_mels),
        macs=frontend.win_length + transform + 2 * bins + weights + cepstra,
    )
