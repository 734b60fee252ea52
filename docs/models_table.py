"""The table of all architectures in docs/models.md, what each costs and how far it sees.

`python docs/models_table.py` prints it.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wakeword_core.config import Config, ModelConfig
from wakeword_core.models import REGISTRY, build_model
from wakeword_core.models.layers import StreamingBackbone
from wakeword_core.models.scoring import count_parameters
from wakeword_core.models.tcn import TcnEnsemble

PAPERS = {
    "bc_resnet": "[Kim et al. 2021](https://arxiv.org/abs/2106.04140)",
    "tiny_conv": "pooling: [Chen et al. 2018](https://arxiv.org/abs/1804.07573)",
    "tcn": "[Bai et al. 2018](https://arxiv.org/abs/1803.01271)",
    "mixednet": "[Tan and Le 2019](https://arxiv.org/abs/1907.09595), [microWakeWord](https://github.com/kahrendt/microWakeWord)",
    "cd_dnn": "[Chen et al. 2014](https://doi.org/10.1109/ICASSP.2014.6854370)",
    "ds_cnn": "[Zhang et al. 2017](https://arxiv.org/abs/1711.07128)",
    "crnn": "[Arik et al. 2017](https://arxiv.org/abs/1703.05390)",
    "mobilenetv3": "[Howard et al. 2019](https://arxiv.org/abs/1905.02244)",
    "resnet18": "[He et al. 2016](https://arxiv.org/abs/1512.03385)",
    "resnet34": "[He et al. 2016](https://arxiv.org/abs/1512.03385)",
    "conformer": "[Gulati et al. 2020](https://arxiv.org/abs/2005.08100)",
    "vgg": "[Simonyan and Zisserman 2015](https://arxiv.org/abs/1409.1556)",
    "custom": "[listed by you](#your-own-layers)",
}
"""Where each architecture is from."""

_CLASSES = 2
_HEADER = ("`training.model.arch`", "parameters", "MMAC a window", "MMAC a second", "sees, ms", "streams", "source")
_ALIGNED = ("---", "---:", "---:", "---:", "---:", "---", "---")
FRAMES_PER_SECOND = 100.0
"""Of the default front end."""
HOP_FRAMES = 4
"""Frames between two windows with the default detector."""


@dataclass(frozen=True)
class ModelFacts:
    """Size, cost and reach of a backbone."""

    parameters: int
    macs: int
    """Multiply-accumulates for one window: of convolutions, linear and recurrent layers, and attention's products."""
    macs_per_second: float
    """The same for a second of audio without end. A model that streams computes every step once; of the others every
    window is computed anew, one each hop."""
    receptive_field_frames: int
    """Frames that one step of the output depends on: for models that do not stream, the whole window."""
    streams: bool


def describe(
    model: nn.Module,
    n_mels: int,
    frames: int,
    *,
    frames_per_second: float = FRAMES_PER_SECOND,
    hop_frames: int = HOP_FRAMES,
) -> ModelFacts:
    """Measure a backbone for windows [n_mels, frames]; its mode and weights stay as they are.

    `hop_frames` is the step between windows of a model that does not stream.
    """
    # without numbers: only shapes are needed, and the models compute by their layers there
    shapes = copy.deepcopy(model).to("meta").eval()
    macs = _count_macs(shapes, n_mels, frames)
    parameters = count_parameters(model)
    if not model.streams:
        return ModelFacts(parameters, macs, macs * frames_per_second / hop_frames, frames, False)
    streaming = cast(StreamingBackbone | TcnEnsemble, shapes)
    reach, stride = streaming.receptive_field_frames, streaming.stride
    one, two = (_count_macs(streaming.dense, n_mels, reach + more) for more in (0, stride))
    return ModelFacts(parameters, macs, (two - one) * frames_per_second / stride, reach, True)


def _count_macs(network: Callable[[Tensor], Tensor], n_mels: int, frames: int) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, n_mels, frames, device="meta"))
    return int(counter.get_total_flops()) // 2


def table() -> str:
    """Return a Markdown table of every architecture as it is by default, for the default front end and two classes."""
    rows = [_HEADER, _ALIGNED, *(_row(arch) for arch in REGISTRY)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(arch: str) -> tuple[str, ...]:
    config = Config()
    frontend, rate = config.features.frontend, config.data.audio.sample_rate
    settings: ModelConfig = TypeAdapter(ModelConfig).validate_python({"arch": arch})
    facts = describe(
        build_model(settings, frontend.bands, frontend.window_frames, _CLASSES),
        frontend.bands,
        frontend.window_frames,
        frames_per_second=rate / frontend.hop_length,
        hop_frames=frontend.frames(config.evaluation.detector.stride_seconds, rate),
    )
    samples = (facts.receptive_field_frames - 1) * frontend.hop_length + frontend.win_length
    return (
        f"`{arch}`",
        f"{facts.parameters:,}",
        f"{facts.macs / 1e6:,.1f}",
        f"{facts.macs_per_second / 1e6:,.1f}",
        f"{1_000 * samples / rate:,.0f}",
        "yes" if facts.streams else "no",
        PAPERS[arch],
    )


if __name__ == "__main__":
    print(table(), end="")
