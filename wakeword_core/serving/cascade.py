"""Two models in a row: the sentry hears everything, and the judge only what the sentry detects."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16, resample, to_pcm16
from wakeword_core.config import CascadeConfig
from wakeword_core.errors import ConfigError
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.around import span_of
from wakeword_core.runtime.captures import Keeper, StreamKeeper
from wakeword_core.runtime.detector import Detection, lowered, prepare
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.serving.answers import DecidedBy
from wakeword_core.serving.batching import BatchingScorer

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]

_COMBINED: dict[str, Callable[[float, float], float]] = {
    "mean": lambda sentry, judge: (sentry + judge) / 2,
    "least": min,
}


@dataclass(frozen=True)
class ServedModel:
    """A model, its threshold, and the function that scores its windows."""

    model: WakewordModel
    key: str
    threshold: float
    score: BatchingScorer
    batch: int
    """The most windows that `score` gets at once."""
    together: JudgedModel | None = None
    """The model with the judge that lies beside it, whose threshold the above then is."""
    alone: float | None = None
    """The threshold without that judge, for who runs the model itself."""

    @property
    def listens(self) -> WakewordModel | JudgedModel:
        """What detects: the model, with its judge if it has one."""
        return self.together or self.model

    def score_audio(self, pcm: Pcm) -> tuple[npt.NDArray[np.float64], Floats]:
        """Score int16 [samples] as `score_audio` of what detects does."""
        if self.together is None:
            return self.model.score_audio(pcm, self.batch, self.score)
        return self.together.score_audio(pcm, self.batch, self.score)


class Decision(NamedTuple):
    """The decision about a detection of the sentry."""

    accepted: bool
    confidence: float
    """The score that was compared with the threshold of the model that decided."""
    judge_score: float | None


class Cascade:
    """Decides about detections of the sentry: what the judge hears, and what its score has to be."""

    def __init__(self, sentry: ServedModel, judge: ServedModel | None, policy: CascadeConfig) -> None:
        self.sentry, self.judge, self.policy = sentry, judge, policy
        if judge is not None and (unknown := sorted({*sentry.model.labels[1:]} - {*judge.model.labels[1:]})):
            raise ConfigError(
                f"the judge {judge.model.path} cannot confirm {unknown[0]!r}, which the sentry hears; it knows "
                f"{', '.join(judge.model.labels[1:])}"
            )

    @property
    def decider(self) -> ServedModel:
        """The model that decides last."""
        return self.judge or self.sentry

    @property
    def decided_by(self) -> DecidedBy:
        """The role of the model that decides last."""
        return "judge" if self.judge else "sentry"

    def span(self, time: float) -> tuple[int, int]:
        """Return from and to which sample, unchecked and at the sentry's rate, a call at `time` s is judged."""
        policy = self.policy
        return span_of(time, self.sentry.model.sample_rate, policy.before_seconds, policy.after_seconds)

    def decide(self, call: Detection, pcm: Pcm) -> Decision:
        """Decide about a call of the sentry; `pcm` is int16 [samples] of its span, as much as there is."""
        if self.judge is None:
            return Decision(True, call.score, None)
        score = confidence = self._peak(self.judge, pcm, call.label)
        if self.policy.combine != "judge":
            # the score of the call itself is the first that reached the threshold, and says no more than that
            confidence = _COMBINED[self.policy.combine](self._peak(self.sentry, pcm, call.label), score)
        return Decision(confidence >= self.judge.threshold, confidence, score)

    def kept(self, keeper: Keeper, listens: WakewordModel | JudgedModel, threshold: float) -> StreamKeeper:
        """Begin to keep what is heard of one stream or upload."""
        decided_after = self.policy.after_seconds if self.judge else None
        return StreamKeeper(keeper, listens, threshold, decided_after=decided_after)

    def _peak(self, served: ServedModel, pcm: Pcm, word: str) -> float:
        """Return the highest threshold at which a model would detect this word; 0 in too little audio for a window."""
        rate, model_rate = self.sentry.model.sample_rate, served.model.sample_rate
        if rate != model_rate:
            pcm = to_pcm16(resample(from_pcm16(pcm), rate, model_rate))
        times, scores = served.score_audio(pcm)
        if not len(times):
            return 0.0
        place, handicaps = served.model.labels.index(word), served.listens.handicaps
        wake = lowered(scores[:, place], 1.0 if handicaps is None else handicaps[place])
        return min(1.0, prepare(times, wake, served.listens.detector).peak)
