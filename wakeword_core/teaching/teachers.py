"""Teachers: finished models of any kind as what maps features, or sound, of rows to log-probabilities of classes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wakeword_core.config import Config, FrontendConfig
from wakeword_core.config.base import deciding
from wakeword_core.errors import ConfigError
from wakeword_core.files import as_type
from wakeword_core.lineage.given import GivenModel
from wakeword_core.models.layers import StreamingBackbone
from wakeword_core.models.scoring import ScoringModel, load_model

_LEAST = 1e-7
"""Probability that counts as the least: single precision tells no smaller one from the rest of 1."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Maps what is heard of rows, [rows, bands, frames] or [rows, samples], and where steps end, int64 [steps], to
log-probabilities [rows, classes, steps]: not a number at steps before which there is too little to hear."""


@dataclass(frozen=True)
class Teacher:
    """A finished model, and how it scores rows."""

    name: str
    labels: tuple[str, ...]
    sample_rate: int
    frontend: FrontendConfig | None
    """What it hears sound through; None: the sound itself, as a judge does"""
    least: int
    """frames, or samples where it has no front end, that a score rests on"""
    score: Score

    def takes_features(self, config: Config) -> bool:
        """Return whether the features of the rows are what it hears; else it has to hear their sound."""
        if self.frontend is None or self.sample_rate != config.data.audio.sample_rate:
            return False
        return _without_window(self.frontend) == _without_window(config.features.frontend)

    def with_classes(self, labels: tuple[str, ...]) -> Score:
        """Return how it scores rows with its classes in the order of `labels`, which it knows."""
        order = torch.tensor([self.labels.index(label) for label in labels])
        return lambda heard, ends: self.score(heard, ends).index_select(1, order.to(heard.device))


def open_teacher(given: GivenModel, device: str, threads: int) -> Teacher:
    """Open a model as a teacher; ArtifactError when it is damaged, ConfigError when it is of a kind that is none."""
    if given.has_weights:
        return _of_weights(given, device)
    from wakeword_core.runtime.exported import STREAMING_SUFFIXES, runtime_card
    from wakeword_core.runtime.onnx_file import read_onnx

    if given.path.name.endswith(STREAMING_SUFFIXES):
        raise ConfigError(f"{given.path} hears a stream, and a teacher windows: name the model.onnx beside it")
    if "judge" in runtime_card(read_onnx(given.path)):
        return _of_judge(given, threads)
    return _of_windows(given, threads)


def require_fitting(teacher: Teacher, config: Config) -> None:
    """Raise ConfigError, with both sides named, where a teacher cannot teach the configured model."""
    if set(teacher.labels) != set(config.labels):
        raise ConfigError(
            f"the teacher {teacher.name} tells {_listed(teacher.labels)} apart, but the model is to tell "
            f"{_listed(config.labels)}; name a teacher of the same wake words"
        )
    rate, row = config.data.audio.sample_rate, config.features.row_samples("train")
    own = config.features.frontend
    if teacher.takes_features(config):
        seconds = _seconds(teacher.least, own, rate)
    elif teacher.frontend is None:
        seconds = teacher.least / teacher.sample_rate
    elif teacher.frontend.lead_in_samples and not own.lead_in_samples:
        raise ConfigError(
            f"the teacher {teacher.name} hears through features.frontend.kind {teacher.frontend.kind}, which adapts to "
            f"the sound before a row, and rows of {own.kind} have none: name another teacher"
        )
    else:
        seconds = _seconds(teacher.least, teacher.frontend, teacher.sample_rate)
    if seconds > row / rate:
        raise ConfigError(
            f"the teacher {teacher.name} hears {seconds:.2f} s, but training rows are {row / rate:.2f} s: make "
            "features.context.frames larger, or name another teacher"
        )


def _seconds(frames: int, frontend: FrontendConfig, rate: int) -> float:
    return ((frames - 1) * frontend.hop_length + frontend.n_fft) / rate


def _listed(labels: tuple[str, ...]) -> str:
    return " and ".join(repr(label) for label in labels[1:])


def _without_window(frontend: FrontendConfig) -> dict[str, object]:
    return {name: value for name, value in deciding(frontend).items() if name != "window_frames"}


def _of_weights(given: GivenModel, device: str) -> Teacher:
    model, card = load_model(given.path)
    model.to(device)
    frontend, rate = as_type(FrontendConfig, card["frontend"]), as_type(int, card["sample_rate"])
    if model.backbone.streams:
        score, least = _dense(model), cast(StreamingBackbone, model.backbone).receptive_field_frames
    else:
        score, least = _each_window(model.frames, lambda windows: model.calibrated_logits(windows)), model.frames
    return Teacher(given.name, tuple(card["labels"]), rate, frontend, min(least, model.frames), score)


def _dense(model: ScoringModel) -> Score:
    """Score all steps of rows in one pass, and take the nearest to each that is asked for."""
    backbone = cast(StreamingBackbone, model.backbone)

    @torch.inference_mode()
    def score(features: Tensor, ends: Tensor) -> Tensor:
        steps = backbone.output_frames(features.shape[2])
        logits = backbone.dense(model.normalise(features))
        calibrated = model.calibrator(logits.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(features), -1))
        distance = (ends[:, None] - steps).abs()
        said = torch.log_softmax(calibrated, dim=2).transpose(1, 2)[:, :, distance.argmin(dim=1).to(features.device)]
        return said.masked_fill((2 * distance.amin(dim=1) > backbone.stride).to(said.device), torch.nan)

    return score


def _each_window(frames: int, logits: Callable[[Tensor], Tensor]) -> Score:
    """Score the window of `frames` that ends with each step by itself; `logits` are of [windows, bands, frames]."""

    @torch.inference_mode()
    def score(features: Tensor, ends: Tensor) -> Tensor:
        whole = [end + 1 for end in ends.tolist() if end >= frames - 1]
        said = [torch.log_softmax(logits(features[:, :, end - frames : end]).float(), dim=1) for end in whole]
        return functional.pad(torch.stack(said, dim=2), (len(ends) - len(said), 0), value=torch.nan)

    return score


def _of_windows(given: GivenModel, threads: int) -> Teacher:
    from wakeword_core.runtime import WakewordModel

    model = WakewordModel(given.path, threads)

    def logits(windows: Tensor) -> Tensor:
        scores = model.score_stream_windows(np.ascontiguousarray(windows.float().cpu().numpy()))
        return torch.from_numpy(np.log(scores.clip(_LEAST, 1))).to(windows.device)

    frontend = model.frontend
    score = _each_window(frontend.window_frames, logits)
    return Teacher(given.name, model.labels, model.sample_rate, frontend, frontend.window_frames, score)


def _of_judge(given: GivenModel, threads: int) -> Teacher:
    from wakeword_core.runtime.judge_file import open_judge

    judge = open_judge(given.path, threads)
    hop, tail, before = judge.hop_samples, judge.tail_samples, judge.facts.hops - 1

    def score(sound: Tensor, ends: Tensor) -> Tensor:
        hops = (sound.shape[1] - tail) // hop
        heard = sound[:, sound.shape[1] - tail - hops * hop :].cpu().numpy()
        # the first looks lack what lies before the row
        said = np.stack([judge.stream().follow(one)[before:] for one in np.ascontiguousarray(heard)])
        looks = sound.shape[1] - hop * torch.arange(said.shape[1] - 1, -1, -1)
        distance = (ends[:, None] - looks).abs()
        words = np.clip(said[:, distance.argmin(dim=1).numpy(), 1:], _LEAST, 1 - _LEAST)
        odds = torch.from_numpy(np.log(words) - np.log1p(-words)).transpose(1, 2)
        nothing = torch.zeros_like(odds[:, :1])
        log_probabilities = torch.log_softmax(torch.cat([nothing, odds], dim=1), dim=1)
        return log_probabilities.masked_fill(2 * distance.amin(dim=1) > hop, torch.nan).to(sound.device)

    return Teacher(given.name, judge.labels, judge.sample_rate, None, judge.window_samples, score)
