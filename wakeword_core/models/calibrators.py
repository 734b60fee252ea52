"""What lies between logits and softmax: the ways of calibrating a model, as layers without anything to train.

Subtractions stand where additions would do: INT8 quantization takes additions for those of residual connections, and
would round the scores.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from wakeword_core.errors import DataError

CURVE_SEGMENTS = 32


class Temperature(nn.Module):
    """Logits over one temperature (Guo et al. 2017)."""

    temperature: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [batch, classes] to calibrated logits."""
        return logits / self.temperature


class VectorScaling(nn.Module):
    """A scale and a shift for each class (Guo et al. 2017)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(classes))
        self.register_buffer("shift", torch.zeros(classes))

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [batch, classes] to calibrated logits."""
        return logits * self.scale - self.shift


class IsotonicCurve(nn.Module):
    """An increasing curve of the log-odds that a wake word was said; the words keep their ratios to each other.

    curve(odds) = slope * odds - drop + rise * sum of clip((odds - lows[i]) / widths[i], 0, 1): segments of equal rise,
    beyond which `slope` alone goes on.
    """

    lows: Tensor
    widths: Tensor
    rise: Tensor
    slope: Tensor
    drop: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("lows", torch.arange(float(CURVE_SEGMENTS)))
        self.register_buffer("widths", torch.ones(CURVE_SEGMENTS))
        for name, value in (("rise", 0.0), ("slope", 1.0), ("drop", 0.0)):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, logits: Tensor) -> Tensor:
        """Map logits [batch, classes] to calibrated logits."""
        negative, words = logits[:, :1], logits[:, 1:]
        odds = torch.logsumexp(words, dim=1, keepdim=True) - negative
        passed = ((odds - self.lows) / self.widths).clamp(0.0, 1.0).sum(dim=1, keepdim=True)
        curve = passed * self.rise - (self.drop - self.slope * odds)
        return torch.cat([negative, words - (odds - curve)], dim=1)


CALIBRATORS: dict[str, type[Temperature] | type[VectorScaling] | type[IsotonicCurve]] = {
    "temperature": Temperature,
    "vector": VectorScaling,
    "isotonic": IsotonicCurve,
}
"""`CalibrationConfig.method` -> layer; a new one changes nothing."""


def new_calibrator(method: str, classes: int, parameters: Mapping[str, Any]) -> nn.Module:
    """Make a layer of `method` with `parameters`; those left out change nothing. DataError where they do not fit."""
    if method not in CALIBRATORS:
        raise DataError(f"calibration {method!r} is not one of {', '.join(CALIBRATORS)}; calibrate the model again")
    calibrator = CALIBRATORS[method](classes)
    known = calibrator.state_dict()
    for name, value in parameters.items():
        values = torch.as_tensor(value, dtype=torch.float32)
        if name not in known or values.shape != known[name].shape or not bool(values.isfinite().all()):
            raise DataError(f"{name} = {value} is no parameter of {method} calibration here; calibrate the model again")
        known[name].copy_(values)
    return calibrator
