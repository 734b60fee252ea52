"""A model and its judge: the judge is asked where the model hears something, and both decide. Needs no torch.

The scores of a stream are those of the model, on its grid, but for this:

- the gate opens at a score of a wake word of at least `gate`, and closes `hangover_seconds` after the last such score;
- the judge may look every `hop_samples` from the time of the first score on, and hears the `window_samples` before;
  while the gate is open, what it says at its last look before or at the time of a score counts;
- a word's log-odds are then the mean of the model's and the judge's; while the gate is closed its score is 0.

A second judge is asked in the same way where those scores reach a gate of its own, which nothing holds open. By the
policy `each` a word's log-odds are then the least of what they say and what it says, so that each has to reach a
threshold; by `mean` they are the mean of all three.

It is one rule for files and for streams, and its result does not depend on how the sound is cut. Looks that follow each
other share their work: each costs the sound since the last one, and the first of them that of its window.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import ArtifactError
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE, SECOND_FOLDER
from wakeword_core.runtime.judge_file import HOPS_AT_ONCE, AnyJudge, log_odds, open_judge
from wakeword_core.runtime.model import BATCH_WINDOWS, BlockScorer, WakewordModel, scored
from wakeword_core.runtime.streaming import Floats, Pcm, Times, check_pcm

_SUREST = 6.0
"""Log-odds beyond which the model is not taken to be any surer, or its rounding would outvote the judge."""

Numbers = npt.NDArray[np.float64]
Decide = Callable[[Numbers, Numbers], Numbers]
"""Maps the log-odds of who was heard before, and of a judge, to those of them together."""


def _with_model(before: Numbers, said: Numbers) -> Numbers:
    together: Numbers = (np.clip(before, -_SUREST, _SUREST) + said) / 2
    return together


_POLICIES: Mapping[str, Decide] = {
    "each": np.minimum,
    "mean": lambda before, said: (2 * before + said) / 3,  # before is a mean of two
}


@dataclass(frozen=True)
class _Turn:
    """When a judge is asked, and what becomes of its answer."""

    gate: float
    hangover: int = 0
    """scores for which the gate stays open"""
    decide: Decide = _with_model


class JudgedModel:
    """A model together with its judge, or its two; what it says of itself is what they are together.

    ArtifactError when a judge was not made for this model. Without `second`, the second judge is left out.
    """

    def __init__(self, model: WakewordModel, judge: AnyJudge, *, second: bool = True) -> None:
        if judge.facts.made_for != model.graph_digest:
            raise ArtifactError(f"{judge.path} was not made for {model.path}; build both again")
        if any(getattr(judge, name) != getattr(model, name) for name in ("labels", "sample_rate", "stride_frames")):
            raise ArtifactError(f"{judge.path} and {model.path} differ in what they score; build both again")
        self.model, self.judge = model, judge
        self.second = _second_of(judge) if second and judge.facts.second else None
        self.path, self.card, self.phrase, self.labels = model.path, model.card, model.phrase, model.labels
        self.sample_rate, self.frontend, self.stride_frames = model.sample_rate, model.frontend, model.stride_frames
        self.detector, self.threshold, self.operating_points = judge.detector, judge.threshold, judge.operating_points
        self.handicaps = judge.handicaps

    @property
    def files(self) -> list[Path]:
        """The files of the model and its judges, without those of encoders beside them."""
        return [self.model.path, self.judge.path, *([self.second.path] if self.second else [])]

    @property
    def key(self) -> str:
        """The key of the model, which the judge was made for."""
        return self.model.key

    @cached_property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which nothing of it is left in any window or average."""
        first = self.judge.window_samples + self.judge.hop_samples
        later = self.second.window_samples + self.second.hop_samples if self.second else first
        return max(self.model.quiet_samples, self.judge.quiet_samples + max(0, later - first))

    def threshold_at(self, point: str | None = None, threshold: float | None = None) -> float:
        """Choose an operating point's threshold, or `threshold`, or the default one; ConfigError for an unknown one."""
        return self.judge.threshold_at(point, threshold)

    def block_scorer(self) -> "JudgedScorer":
        """Begin a recording that comes in pieces."""
        return self.asked_by(self.model.block_scorer())

    def asked_by(self, scorer: Any) -> "JudgedScorer":
        """Return what scores with the judges where `scorer`, which has the scores of the model, opens their gates."""
        first = JudgedScorer(scorer, self.judge)
        if self.second is None or self.judge.facts.second is None:
            return first
        asked = self.judge.facts.second
        return JudgedScorer(first, self.second, _Turn(asked.gate, decide=_POLICIES[asked.policy]))

    def score_audio(
        self, pcm: Pcm, batch: int = BATCH_WINDOWS, score: Callable[[Floats], Floats] | None = None
    ) -> tuple[Times, Floats]:
        """Map mono int16 [samples] at `sample_rate` to window ends in seconds [n] and class scores [n, classes].

        `batch` and `score` are for the model's own scores, as its `score_audio` takes them.
        """
        return scored(self.asked_by(BlockScorer(self.model, batch, score)), pcm)


def judged(model: WakewordModel, *, second_elsewhere: bool = False) -> JudgedModel | None:
    """Return the model together with the judge that lies beside it, or None where there is no judge.

    A second judge that is asked elsewhere is left out where each has to agree, since the threshold is the same then.
    ArtifactError when a judge cannot be used: the thresholds of the model alone are others.
    """
    beside = model.path.with_name(JUDGE_FILE)
    if model.path.name != MODEL_FILE or not beside.is_file():
        return None
    try:
        judge = open_judge(beside, model.threads)
        left_out = second_elsewhere and judge.facts.second is not None and judge.facts.second.policy == "each"
        return JudgedModel(model, judge, second=not left_out)
    except ArtifactError as error:
        alone = f"take {JUDGE_FILE} away to use the model alone (or --alone of detect, listen and score)"
        raise ArtifactError(f"{error}; {alone}") from error


def _second_of(judge: AnyJudge) -> AnyJudge:
    """Open the second judge; ArtifactError where it is another one than this judge was put together with."""
    asked, path = judge.facts.second, judge.path.parent / SECOND_FOLDER / JUDGE_FILE
    if not path.is_file():
        raise ArtifactError(f"{judge.path} decides together with {path}, which is not there; put it back")
    second = open_judge(path, judge.threads)
    if asked is None or second.graph_digest != asked.graph:
        raise ArtifactError(f"{path} is another judge than {judge.path} decides with; put back the one it came with")
    if any(getattr(second, name) != getattr(judge, name) for name in ("labels", "sample_rate")):
        raise ArtifactError(f"{path} and {judge.path} differ in what they score; build both again")
    return second


class JudgedScorer:
    """Scores of a model and its judge together, from those of the model; of a second one, from theirs."""

    def __init__(self, scorer: Any, judge: AnyJudge, turn: _Turn | None = None) -> None:
        self._scorer, self._judge = scorer, judge
        stride = judge.stride_frames * judge.frontend.hop_length
        hangover = round(judge.facts.hangover_seconds * judge.sample_rate / stride)
        self._turn = turn or _Turn(judge.facts.gate, hangover)
        self._begin()

    def _begin(self) -> None:
        judge = self._judge
        self._sound: Pcm = np.zeros(judge.window_samples, np.int16)
        self._first = -judge.window_samples  # the sample of the stream that `_sound` begins with
        self._number = 0
        self._loud_at = -np.inf
        self._grid = 0  # the sample at which look 0 is, and hop 0 ends
        self._stream = judge.stream()
        self._heard = -judge.facts.hops - 1  # the last hop that the judge has heard, and what it said there
        self._said = np.zeros(len(judge.labels) - 1)

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
        ends = np.rint(times * self._judge.sample_rate).astype(np.int64)
        if not self._number:
            self._grid = int(ends[0])
        looks = (ends - self._grid) // self._judge.hop_samples
        is_open = self._gate(scores[:, 1:].max(axis=1))
        words = np.zeros((len(scores), len(self._said)))
        if is_open.any():
            said = self._answers(looks[is_open])
            odds = self._turn.decide(log_odds(scores[is_open, 1:]), said)
            words[is_open] = 1 / (1 + np.exp(-odds))
        self._forget(int(looks[-1]))
        together = np.concatenate([1 - words.max(axis=1, keepdims=True), words], axis=1)
        return times, together.astype(np.float32)

    def _gate(self, wake: Floats) -> npt.NDArray[np.bool_]:
        """At which scores [n] the gate is open."""
        numbers = self._number + np.arange(len(wake))
        loud_at = np.maximum.accumulate(np.where(wake >= self._turn.gate, numbers, self._loud_at))
        self._number += len(wake)
        self._loud_at = loud_at[-1]
        is_open: npt.NDArray[np.bool_] = numbers - loud_at <= self._turn.hangover
        return is_open

    def _answers(self, looks: npt.NDArray[np.int64]) -> Numbers:
        """What the judge says at looks [n], by number and in order: log-odds [n, words]."""
        hops = np.unique(np.subtract.outer(np.unique(looks), np.arange(self._judge.facts.hops)))
        hops = hops[hops > self._heard]
        numbers = np.concatenate([[self._heard], hops])
        said = np.concatenate([self._said[None], *(self._hear(first, count) for first, count in _runs(hops))])
        self._heard, self._said = int(numbers[-1]), said[-1]
        return said[np.searchsorted(numbers, looks)]

    def _hear(self, first: int, count: int) -> Numbers:
        """Let the judge hear so many hops from number `first` on, and return the log-odds [count, words] there."""
        judge = self._judge
        begin = self._grid + (first - 1) * judge.hop_samples - judge.tail_samples - self._first
        sound = self._sound[begin : begin + judge.tail_samples + count * judge.hop_samples]
        return log_odds(self._stream.follow(from_pcm16(sound)))[:, 1:]

    def _forget(self, look: int) -> None:
        """Drop the sound before the window of a look."""
        done = self._grid + look * self._judge.hop_samples - self._judge.window_samples - self._first
        if done > 0:
            self._sound, self._first = self._sound[done:].copy(), self._first + done


def _runs(numbers: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first of numbers that follow each other, and how many they are: `HOPS_AT_ONCE` at most."""
    for run in np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1):
        for at in range(0, len(run), HOPS_AT_ONCE):
            yield int(run[at]), min(HOPS_AT_ONCE, len(run) - at)
