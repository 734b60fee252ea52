"""Scores of stretches of sound on the device: in one pass for networks that give every step, else window by window."""

import math
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wakeword_core.config import Config
from wakeword_core.features.frontend import TorchFrontend
from wakeword_core.features.mel import PCM_SCALE
from wakeword_core.mining.listening import Layout
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.training.steps import DenseBackbone

_WINDOW_STEP_SECONDS = 0.04
"""Between the scores of a network that sees whole windows; one that gives every step has a stride of its own."""


class StretchScorer:
    """The likeliest wake word's score of each window in stretches of sound, which all have the samples of `layout`."""

    def __init__(self, model: ScoringModel, config: Config, device: str) -> None:
        frontend, rate = config.features.frontend, config.data.sample_rate
        self._model, self._device = model.to(device).eval(), device
        self._top_db = frontend.top_db if frontend.kind == "mel_db" else None
        # decibels are clamped by the window, not by the stretch
        self._front_end = TorchFrontend(frontend.model_copy(update={"top_db": math.inf}), rate).to(device)
        self._dense = self._dense_backbone(frontend.window_frames)
        step = max(1, frontend.frames(_WINDOW_STEP_SECONDS, rate))
        if self._dense is not None:
            first, second = self._dense.output_frames(2 * frontend.window_frames)[:2].tolist()
            step = second - first
        self.layout = Layout.of(config, step)

    @torch.inference_mode()
    def __call__(self, stretches: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """int16 [n, layout.samples] -> scores [n, steps], of the windows that end `layout.step` frames apart."""
        sound = torch.from_numpy(stretches).to(self._device).float().mul_(PCM_SCALE)
        features = self._front_end(sound)
        if self._dense is not None:
            scores = self._every_step(features, self._dense)
        else:
            scores = torch.stack([self._window_by_window(one) for one in features])
        found: npt.NDArray[np.float32] = scores.cpu().numpy()
        return found

    def _dense_backbone(self, window_frames: int) -> DenseBackbone | None:
        """The backbone, if what it gives for a step is what it gives for the window that ends there."""
        backbone = self._model.backbone
        field = getattr(backbone, "receptive_field_frames", math.inf)
        if self._top_db is not None or not hasattr(backbone, "dense") or field > window_frames:
            return None
        return cast(DenseBackbone, backbone)

    def _every_step(self, features: Tensor, backbone: DenseBackbone) -> Tensor:
        """[n, bands, frames] -> [n, steps]."""
        steps = 1 + (features.shape[2] - self.layout.window) // self.layout.step
        logits = backbone.dense(self._model.normalise(features))[:, :, -steps:]
        calibrated = self._model.calibrator(logits.transpose(1, 2).flatten(0, 1))
        return _likeliest(calibrated).unflatten(0, (-1, steps))

    def _window_by_window(self, features: Tensor) -> Tensor:
        """[bands, frames] -> [steps]."""
        windows = features.unfold(1, self.layout.window, self.layout.step).transpose(0, 1)
        if self._top_db is not None:
            windows = torch.maximum(windows, windows.amax(dim=(1, 2), keepdim=True) - self._top_db)
        return _likeliest(self._model.calibrated_logits(windows))


def _likeliest(logits: Tensor) -> Tensor:
    """Logits [n, classes] -> the probability of the likeliest wake word [n]."""
    return torch.softmax(logits, dim=1)[:, 1:].amax(dim=1)
