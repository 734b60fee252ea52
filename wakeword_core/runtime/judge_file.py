"""The file `judge.onnx`: what it says of itself, and how it is run. Needs no torch, but for some encoders.

There are two kinds. With Google's speech embedding inside, `judge.onnx` is run as `model.streaming.onnx` is (see
`streaming`), but that `audio` is float32 [n * hop_samples], and row i of `scores` [n, classes] is of the look at the
end of hop i. `audio_tail` has the samples right before the first hop; nothing is left of the other states after `hops`
of them, which the first look therefore takes.

A judge on another encoder holds the heads alone: `numbers` float32 [n, steps, numbers] -> `scores` [n, classes]. The
encoder is in the folder `encoder` beside it, which has to be the one that the card names by its hash. Each look encodes
the `window_samples` before it anew, and the heads get the last steps of that.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from pydantic import Field

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.runtime.encoders import SAMPLE_RATE, STEP_SAMPLES, WINDOW_SAMPLES, FolderEncoderName, open_encoder
from wakeword_core.runtime.exported import (
    ENCODER_FOLDER,
    JUDGE_FILE,
    SCORES,
    Card,
    ExportedModel,
    Name,
    RuntimeCard,
    Score,
    Shapes,
    model_file,
    read_card,
    runtime_card,
)
from wakeword_core.runtime.onnx_file import read_onnx
from wakeword_core.runtime.streaming import TAIL, Floats, StatefulModel

HOPS_AT_ONCE = 32
"""Hops that a judge hears in one go at most: as many as it is tried with when it is opened, however long the sound."""
NUMBERS = "numbers"
"""The input of a judge that holds the heads alone."""
_CERTAIN = 1e-7
_MAX_HOP_SAMPLES = _MAX_TAIL_SAMPLES = 20_000

Numbers = npt.NDArray[np.float64]


class EncoderCard(Card):
    """The encoder that the heads of a judge rest on, where it is not inside the file."""

    name: FolderEncoderName
    content: Name
    licence: Name


class SecondCard(Card):
    """The second judge, in the folder `second_judge` beside the first one, and how both decide."""

    graph: Annotated[Name, Field(min_length=1)]
    """the digest of its graph"""
    gate: Score
    policy: Literal["each", "mean"]


class JudgeCard(Card):
    """How a judge is asked."""

    hop_samples: int = Field(ge=1, le=_MAX_HOP_SAMPLES)
    hops: int = Field(ge=1, le=HOPS_AT_ONCE)
    """those that an answer rests on"""
    gate: Score
    hangover_seconds: float = Field(ge=0, le=60)
    made_for: Name
    """the digest of the model that it was tested with"""
    encoder: EncoderCard | None = None
    second: SecondCard | None = None


class _SoundModel(ExportedModel):
    """A model of the sound of windows, one of which begins every so many samples."""

    names = (JUDGE_FILE,)
    facts: JudgeCard
    hop_samples: int
    tail_samples: int
    """Those of a window before its last hops."""

    @property
    def window_samples(self) -> int:
        """Samples that an answer rests on."""
        return self.tail_samples + self.facts.hops * self.hop_samples

    @property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which no answer to it is left in any average."""
        return super().quiet_samples - self.frontend.window_samples + self.window_samples + self.hop_samples


class Judge(_SoundModel, StatefulModel):
    """A model of the sound of windows, whose detector and thresholds are those of it and the other model together."""

    def _example(self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes) -> tuple[dict[str, npt.NDArray[Any]], int]:
        asked = self.card.get("judge")
        if isinstance(asked, dict) and "window_samples" in asked:
            raise ArtifactError(f"{self.path} is of an older form, which hears whole windows; build the judge again")
        self.facts = read_card(JudgeCard, asked or {}, self.path)
        self.hop_samples = self.facts.hop_samples
        example = self._stateful(facts.streaming, inputs, outputs, HOPS_AT_ONCE)
        tail = self.start.get(TAIL)
        if tail is None or tail.ndim != 1 or len(tail) > _MAX_TAIL_SAMPLES:
            raise ArtifactError(f"{self.path} has no state {TAIL} of a few samples; build the judge again")
        self.tail_samples = len(tail)
        return example

    def score_sound(self, windows: Floats) -> Floats:
        """Map windows of sound float32 [n, window_samples] in [-1, 1] to class scores float32 [n, classes]."""
        stream = self.stream()
        scores = [stream.follow(window)[-1:] for window in windows]
        return np.concatenate([np.empty((0, len(self.labels)), np.float32), *scores])


class WindowJudge(_SoundModel):
    """The heads of a judge and the encoder beside them, which takes whole windows; used as a `Judge` is."""

    hop_samples, tail_samples = STEP_SAMPLES, WINDOW_SAMPLES - STEP_SAMPLES

    def _example(self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes) -> tuple[dict[str, npt.NDArray[Any]], int]:
        self.facts = read_card(JudgeCard, self.card.get("judge") or {}, self.path)
        given = self.facts.encoder
        if given is None or self.facts.hops != 1 or self.facts.hop_samples != STEP_SAMPLES:
            raise ArtifactError(f"the card in {self.path} names no encoder that windows fit; build the judge again")
        if self.sample_rate != SAMPLE_RATE or inputs.keys() != {NUMBERS} or outputs.keys() != {SCORES}:
            raise ArtifactError(f"{self.path} is no judge of windows; build the judge again")
        self.encoder = open_encoder(given.name, self.path.parent / ENCODER_FOLDER, given.content, self.threads)
        _, steps, numbers = (*inputs[NUMBERS], None, None, None)[:3]
        if numbers != self.encoder.numbers or not isinstance(steps, int) or not 0 < steps <= self._steps_given:
            raise ArtifactError(f"{self.path} takes other numbers than its encoder gives; build the judge again")
        self._steps = steps
        return {NUMBERS: np.zeros((1, steps, numbers), np.float32)}, 1

    @property
    def _steps_given(self) -> int:
        return self.encoder.steps_of(WINDOW_SAMPLES)

    def stream(self) -> "WindowJudge":
        """Begin a stream: nothing of one is kept, since each window is encoded by itself."""
        return self

    def follow(self, sound: Floats) -> Floats:
        """Map the sound of some hops, with the tail before them, to scores float32 [hops, classes] at their ends."""
        return self.score_sound(sliding_window_view(sound, WINDOW_SAMPLES)[::STEP_SAMPLES])

    def score_sound(self, windows: Floats) -> Floats:
        """Map windows of sound float32 [n, window_samples] in [-1, 1] to class scores float32 [n, classes]."""
        scores = np.empty((0, len(self.labels)), np.float32)
        for at in range(0, len(windows), HOPS_AT_ONCE):
            some = np.ascontiguousarray(windows[at : at + HOPS_AT_ONCE])
            numbers = np.ascontiguousarray(self.encoder.encode(some)[:, -self._steps :])
            try:
                (found,) = self.session.run([SCORES], {NUMBERS: numbers})
            except Exception as error:  # onnxruntime's own exceptions have no common public base
                raise ArtifactError(f"{self.path} cannot be run ({reason_of(error)}); build it again") from error
            scores = np.concatenate([scores, self.checked(found, len(some))])
        return scores


AnyJudge = Judge | WindowJudge


def open_judge(path: Path, threads: int = 1) -> AnyJudge:
    """Open a judge of either kind, a file or its folder; ArtifactError where it, or its encoder, cannot be used."""
    asked = runtime_card(read_onnx(model_file(path, (JUDGE_FILE,)))).get("judge")
    on_windows = isinstance(asked, dict) and asked.get("encoder") is not None
    return WindowJudge(path, threads) if on_windows else Judge(path, threads)


def log_odds(scores: Floats) -> Numbers:
    """Map scores in [0, 1] to finite log-odds."""
    certain = np.clip(scores.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
    result: Numbers = np.log(certain) - np.log1p(-certain)
    return result
