"""A model and its judge: the judge is asked where the model hears something, and both decide. Needs no torch.

The scores of a stream are those of the model, on its grid, but for this:

- the gate opens at a score of a wake word of at least `gate`, and closes `hangover_seconds` after the last such score;
- while it is open the judge hears the last `window_samples` before the time of a score: of the first, and then of those
  whose number is a multiple of its own step; between, what it said last holds;
- a word's log-odds are then the mean of the model's and the judge's; while the gate is closed its score is 0.

It is one rule for files and for streams, and its result does not depend on how the sound is cut.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.runtime.exported import (
    JUDGE_FILE,
    MODEL_FILE,
    SCORES,
    Card,
    ExportedModel,
    Name,
    RuntimeCard,
    Score,
    Shapes,
    read_card,
)
from wakeword_core.runtime.model import BATCH_WINDOWS, BlockScorer, WakewordModel, scored
from wakeword_core.runtime.streaming import AUDIO, Floats, Pcm, Times, check_pcm

_HEARD_AT_ONCE = 8
"""Windows that a judge hears in one go: all of a long recording's would be a hundred times its size."""
_SUREST = 6.0
"""Log-odds beyond which the model is not taken to be any surer, or its rounding would outvote the judge."""
_CERTAIN = 1e-7
_MAX_WINDOW_SAMPLES = 1_000_000

Numbers = npt.NDArray[np.float64]


class JudgeCard(Card):
    """How a judge is asked."""

    window_samples: int = Field(ge=1, le=_MAX_WINDOW_SAMPLES)
    step_seconds: float = Field(gt=0, le=60)
    gate: Score
    hangover_seconds: float = Field(ge=0, le=60)
    made_for: Name
    """the digest of the model that it was tested with"""


class Judge(ExportedModel):
    """A model of the sound of windows, whose detector and thresholds are those of it and the other model together."""

    names = (JUDGE_FILE,)

    def _example(self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes) -> tuple[dict[str, npt.NDArray[Any]], int]:
        self.facts = read_card(JudgeCard, self.card.get("judge") or {}, self.path)
        window = self.facts.window_samples
        if inputs.get(AUDIO, [None])[1:] != [window] or SCORES not in outputs or len(inputs) != 1:
            raise ArtifactError(
                f"{self.path} takes {inputs} and gives {outputs}, but its card promises {AUDIO} [batch, {window}] and "
                f"{SCORES}; build the judge again"
            )
        return {AUDIO: np.zeros((2, window), np.float32)}, 2

    @property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which no answer to it is left in any average."""
        held = round(self.facts.step_seconds * self.sample_rate)
        return super().quiet_samples - self.frontend.window_samples + self.facts.window_samples + held

    def score_sound(self, windows: Floats) -> Floats:
        """Map windows of sound float32 [n, window_samples] in [-1, 1] to class scores float32 [n, classes]."""
        try:
            scores = self.session.run([SCORES], {AUDIO: windows})[0]
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise ArtifactError(f"{self.path} cannot be run ({reason_of(error)}); build the judge again") from error
        return self.checked(scores, len(windows))


class JudgedModel:
    """A model together with its judge; what it says of itself is what they are together.

    ArtifactError when the judge was not made for this model.
    """

    def __init__(self, model: WakewordModel, judge: Judge) -> None:
        if judge.facts.made_for != model.graph_digest:
            raise ArtifactError(f"{judge.path} was not made for {model.path}; build both again")
        if any(getattr(judge, name) != getattr(model, name) for name in ("labels", "sample_rate", "stride_frames")):
            raise ArtifactError(f"{judge.path} and {model.path} differ in what they score; build both again")
        self.model, self.judge = model, judge
        self.path, self.card, self.phrase, self.labels = model.path, model.card, model.phrase, model.labels
        self.sample_rate, self.frontend, self.stride_frames = model.sample_rate, model.frontend, model.stride_frames
        self.detector, self.threshold, self.operating_points = judge.detector, judge.threshold, judge.operating_points

    @cached_property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which nothing of it is left in any window or average."""
        return max(self.model.quiet_samples, self.judge.quiet_samples)

    def threshold_at(self, point: str | None = None, threshold: float | None = None) -> float:
        """Choose an operating point's threshold, or `threshold`, or the default one; ConfigError for an unknown one."""
        return self.judge.threshold_at(point, threshold)

    def block_scorer(self) -> "JudgedScorer":
        """Begin a recording that comes in pieces."""
        return JudgedScorer(self.model.block_scorer(), self.judge)

    def score_audio(
        self, pcm: Pcm, batch: int = BATCH_WINDOWS, score: Callable[[Floats], Floats] | None = None
    ) -> tuple[Times, Floats]:
        """Map mono int16 [samples] at `sample_rate` to window ends in seconds [n] and class scores [n, classes].

        `batch` and `score` are for the model's own scores, as its `score_audio` takes them.
        """
        return scored(JudgedScorer(BlockScorer(self.model, batch, score), self.judge), pcm)


def judged(model: WakewordModel) -> JudgedModel | None:
    """Return the model together with the judge that lies beside it, or None where there is no judge.

    ArtifactError when the judge cannot be used: the thresholds of the model alone are others.
    """
    beside = model.path.with_name(JUDGE_FILE)
    if model.path.name != MODEL_FILE or not beside.is_file():
        return None
    try:
        return JudgedModel(model, Judge(beside, model.threads))
    except ArtifactError as error:
        alone = f"take {JUDGE_FILE} away to use the model alone (or --alone of detect, listen and score)"
        raise ArtifactError(f"{error}; {alone}") from error


class JudgedScorer:
    """Scores of a model and its judge together, from those of the model."""

    def __init__(self, scorer: Any, judge: Judge) -> None:
        self._scorer, self._judge = scorer, judge
        rate, facts = judge.sample_rate, judge.facts
        stride = judge.stride_frames * judge.frontend.hop_length
        self._step = max(1, round(facts.step_seconds * rate / stride))
        self._hangover = round(facts.hangover_seconds * rate / stride)
        self._begin()

    def _begin(self) -> None:
        width = self._judge.facts.window_samples
        self._sound: Pcm = np.zeros(width, np.int16)
        self._first = -width  # the sample of the stream that `_sound` begins with
        self._number = 0
        self._loud_at = -np.inf
        self._was_open = False
        self._said = np.zeros(len(self._judge.labels) - 1)

    def reset(self) -> None:
        """Begin a new stream."""
        self._scorer.reset()
        self._begin()

    def push(self, chunk: Pcm) -> tuple[Times, Floats]:
        """Take int16 [samples] of any length and return the times [k] and scores [k, classes] that it completes."""
        check_pcm(chunk)
        self._sound = np.concatenate([self._sound, chunk])
        return self._together(*self._scorer.push(chunk))

    def finish(self) -> tuple[Times, Floats]:
        """Return the times and scores of what is left."""
        return self._together(*self._scorer.finish())

    def _together(self, times: Times, scores: Floats) -> tuple[Times, Floats]:
        if not len(times):
            return times, scores
        is_open, asked = self._gate(scores[:, 1:].max(axis=1))
        ends = np.rint(times * self._judge.sample_rate).astype(np.int64)
        said = self._held(asked, log_odds(self._answers(ends[asked]))[:, 1:])
        odds = (np.clip(log_odds(scores)[:, 1:], -_SUREST, _SUREST) + said) / 2
        words = np.where(is_open[:, None], 1 / (1 + np.exp(-odds)), 0.0)
        self._forget(int(ends[-1]))
        together = np.concatenate([1 - words.max(axis=1, keepdims=True), words], axis=1)
        return times, together.astype(np.float32)

    def _gate(self, wake: Floats) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """At which scores [n] the gate is open, and at which the judge is asked."""
        numbers = self._number + np.arange(len(wake))
        loud_at = np.maximum.accumulate(np.where(wake >= self._judge.facts.gate, numbers, self._loud_at))
        is_open = numbers - loud_at <= self._hangover
        opens = is_open & ~np.concatenate([[self._was_open], is_open[:-1]])
        self._number += len(wake)
        self._loud_at, self._was_open = loud_at[-1], bool(is_open[-1])
        asked = opens | (is_open & (numbers % self._step == 0))
        return is_open, asked

    def _answers(self, ends: npt.NDArray[np.int64]) -> Floats:
        """Ask the judge about the sound before samples `ends` [n], of a few windows at once: scores [n, classes]."""
        starts = ends - self._judge.facts.window_samples - self._first
        windows = np.lib.stride_tricks.sliding_window_view(self._sound, self._judge.facts.window_samples)
        blocks = (starts[at : at + _HEARD_AT_ONCE] for at in range(0, len(starts), _HEARD_AT_ONCE))
        scores = [self._judge.score_sound(from_pcm16(windows[block])) for block in blocks]
        return np.concatenate([np.empty((0, len(self._judge.labels)), np.float32), *scores])

    def _held(self, asked: npt.NDArray[np.bool_], answers: Numbers) -> Numbers:
        """What the judge said last at each score, of its answers [asked, words]: [n, words]."""
        said = np.concatenate([self._said[None], answers])[np.cumsum(asked)]
        self._said = said[-1]
        return said

    def _forget(self, end: int) -> None:
        """Drop the sound before the windows of later scores."""
        done = end - self._judge.facts.window_samples - self._first
        if done > 0:
            self._sound, self._first = self._sound[done:].copy(), self._first + done


def log_odds(scores: Floats) -> Numbers:
    """Map scores in [0, 1] to finite log-odds."""
    certain = np.clip(scores.astype(np.float64), _CERTAIN, 1 - _CERTAIN)
    result: Numbers = np.log(certain) - np.log1p(-certain)
    return result
