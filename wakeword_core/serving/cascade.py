"""Two models in a row: the sentry hears everything, the judge only what the sentry calls it for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wakeword_core.audio import from_pcm16, resample, to_pcm16
from wakeword_core.config import CascadeConfig
from wakeword_core.errors import ConfigError
from wakeword_core.files import hash_file
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.detector import Detection, prepare
from wakeword_core.serving.answers import DecidedBy

Floats = npt.NDArray[np.float32]
Pcm = npt.NDArray[np.int16]
KEY_CHARACTERS = 20

_COMBINED: dict[str, Callable[[float, float], float]] = {"mean": lambda one, other: (one + other) / 2, "least": min}


def model_key(model: WakewordModel) -> str:
    """The key of the artifact that a model was exported as; of a file that names none, digits of its own hash."""
    keys = model.card.get("keys")
    key = keys.get("onnx_model") if isinstance(keys, dict) else None
    return str(key or hash_file(model.path)[:KEY_CHARACTERS])


@dataclass(frozen=True)
class ServedModel:
    """A model, the score that counts, and how its windows are scored."""

    model: WakewordModel
    key: str
    threshold: float
    score: Callable[[Floats], Floats]
    batch: int
    """Windows that `score` gets at once, at most."""

    def score_audio(self, pcm: Pcm) -> tuple[npt.NDArray[np.float64], Floats]:
        """As `WakewordModel.score_audio`."""
        return self.model.score_audio(pcm, self.batch, self.score)


class Decision(NamedTuple):
    """What became of a call of the sentry."""

    accepted: bool
    confidence: float
    """What was held against the threshold of who decided."""
    judge_score: float | None


class Cascade:
    """The policy: what the judge hears, and what its score has to be."""

    def __init__(self, sentry: ServedModel, judge: ServedModel | None, policy: CascadeConfig) -> None:
        self.sentry, self.judge, self.policy = sentry, judge, policy
        unknown = [] if judge is None else sorted({*sentry.model.labels[1:]} - {*judge.model.labels[1:]})
        if judge is not None and unknown:
            raise ConfigError(
                f"the judge {judge.model.path} cannot confirm {unknown[0]!r}, which the sentry hears; it knows "
                f"{', '.join(judge.model.labels[1:])}"
            )

    @property
    def decider(self) -> ServedModel:
        """The model that a wake word has to convince last."""
        return self.judge or self.sentry

    @property
    def decided_by(self) -> DecidedBy:
        """Its part."""
        return "judge" if self.judge else "sentry"

    def span(self, time: float) -> tuple[int, int]:
        """Of a call at `time` in seconds, the samples at the sentry's rate that are judged: from, to (not checked)."""
        rate = self.sentry.model.sample_rate
        return round((time - self.policy.before_seconds) * rate), round((time + self.policy.after_seconds) * rate)

    def decide(self, call: Detection, heard: Pcm) -> Decision:
        """What becomes of a call of the sentry; `heard` is int16 [samples] of its span, as much as there is."""
        if self.judge is None:
            return Decision(True, call.score, None)
        score = confidence = self._peak(self.judge, heard, call.label)
        if self.policy.combine != "judge":
            # the score of the call itself is the first that reached the threshold, and says no more than that
            confidence = _COMBINED[self.policy.combine](self._peak(self.sentry, heard, call.label), score)
        return Decision(confidence >= self.judge.threshold, confidence, score)

    def _peak(self, served: ServedModel, heard: Pcm, word: str) -> float:
        """The highest threshold at which a model would detect this word; 0 in less than a window's hop."""
        rate = self.sentry.model.sample_rate
        pcm = heard if rate == served.model.sample_rate else _at_rate(heard, rate, served.model.sample_rate)
        times, scores = served.score_audio(pcm)
        if not len(times):
            return 0.0
        return min(1.0, prepare(times, scores[:, served.model.labels.index(word)], served.model.detector).peak)


def _at_rate(pcm: Pcm, source_rate: int, target_rate: int) -> Pcm:
    return to_pcm16(resample(from_pcm16(pcm), source_rate, target_rate))
