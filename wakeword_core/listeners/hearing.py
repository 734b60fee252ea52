"""What listeners make of the same sound: at the threshold that each ships with, and read off the test itself."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wakeword_core.config import Config
from wakeword_core.evaluation.measure.wording import rule
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import (
    FalseAlarm,
    Miss,
    PreparedSession,
    StreamScores,
    hear_streams,
    prepare_sessions,
)
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, WordRate, told_by_word, word_rates
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, Tradeoff
from wakeword_core.listeners.listener import Listener
from wakeword_core.progress import Progress, silent
from wakeword_core.registry.trial import TestRun, contrasts


@dataclass(frozen=True)
class Heard:
    """What one listener makes of the sound; its handicaps have lowered the scores."""

    listener: Listener
    scores: StreamScores
    run: TestRun
    by_word: list[WordRate]
    """The same of each of several wake words; nothing of one."""
    fah_points: list[OperatingPoint]
    quietest: list[Miss]
    """The words of the headline that it hears least, whether it misses them or not."""
    loudest: list[FalseAlarm]
    """What else it hears most: its false alarms, and those that it has at the most lenient rate that is read off."""

    @classmethod
    def of(cls, listener: Listener, scores: StreamScores, config: Config) -> "Heard":
        """Measure a listener by its scores of streams of `config`."""
        labels = _labels(listener, scores.labels)
        lowered = replace(scores, labels=labels).lowered(listener.handicaps)
        evaluation, detector = config.evaluation, listener.detector
        tradeoff = Tradeoff(lowered, evaluation, detector)
        points = [tradeoff.point(target) for target in evaluation.report.fah_points]
        sessions = prepare_sessions(tradeoff.scores, evaluation.streams, detector)
        least = min([listener.threshold, *(point.threshold for point in points if point.reachable)])
        return cls(
            listener,
            lowered,
            TestRun.of(lowered, listener.threshold, evaluation, detector),
            word_rates(lowered, listener.threshold, evaluation, detector, listener.handicaps),
            points,
            _quietest(sessions)[: evaluation.report.clips],
            _loudest(sessions, least, labels)[: evaluation.report.clips],
        )

    @property
    def shown(self) -> StreamResult:
        """Its result with what one should listen to in place of what it gets wrong."""
        return replace(self.result, miss_list=self.quietest, false_alarms=self.loudest)

    @property
    def result(self) -> StreamResult:
        """What it gives at its own threshold."""
        return self.run.shipped

    def to_json(self) -> dict[str, Any]:
        """Return every figure, as JSON values."""
        listener = self.listener
        return {
            "name": listener.name,
            "version": listener.version,
            "files": [path.name for path in listener.files],
            "bytes": sum(path.stat().st_size for path in listener.files),
            "threshold": listener.threshold,
            "rule": rule(listener.detector),
            "detector": listener.detector.model_dump(mode="json"),
            "stream": asdict(self.result),
            **told_by_word(self.by_word),
            "fah_points": [asdict(point) for point in self.fah_points],
            "quietest": [
                {**asdict(word), "tag": "missed" if word in self.result.miss_list else ""} for word in self.quietest
            ],
            "loudest": [
                {**asdict(event), "tag": "fires" if event in self.result.false_alarms else ""} for event in self.loudest
            ],
            "sweep": [asdict(point) for point in self.run.curve],
        }


def hear(
    listeners: Sequence[Listener],
    shards: Path,
    config: Config,
    conditions: Sequence[Condition],
    progress: Progress = silent,
    synthetic: Sequence[str] = (),
    minutes: float | None = None,
) -> list[Heard]:
    """Play the recordings of a folder of shards to every listener, and measure each of them.

    `minutes` and `synthetic` are as `hear_streams` takes them. DataError where there is no word, or nothing else.
    """
    scorers = [listener.score for listener in listeners]
    everything = hear_streams(scorers, shards, config, progress, conditions, synthetic=synthetic, minutes=minutes)
    return [Heard.of(listener, scores, config) for listener, scores in zip(listeners, everything, strict=True)]


def differences(heard: Sequence[Heard], config: Config) -> list[dict[str, Any]]:
    """Return the figures of the first listener beside those of each other, with the interval of their difference."""
    first, *others = heard
    return [
        {
            "against": other.listener.name,
            "figures": [
                {
                    "name": contrast.name,
                    "kind": contrast.kind,
                    "this": contrast.candidate,
                    "other": contrast.champion,
                    "this_only": contrast.candidate_only,
                    "other_only": contrast.champion_only,
                    "difference": contrast.difference,
                    "interval": contrast.interval,
                }
                for contrast in contrasts(first.run, other.run, config.evaluation.allowed_fah, config.registry)
            ],
        }
        for other in others
    ]


def _labels(listener: Listener, tested: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes of a listener; whoever knows one word is tested on the only one that there is."""
    return tested if len(listener.labels) == len(tested) == 2 else listener.labels


def _quietest(sessions: Sequence[PreparedSession]) -> list[Miss]:
    """List all words as if they were missed, that with the lowest score first."""
    words = [word for one in sessions if len(one.starts) for word in one.misses(np.zeros(len(one.starts), np.bool_))]
    return sorted(words, key=lambda word: word.score)


def _loudest(sessions: Sequence[PreparedSession], threshold: float, labels: tuple[str, ...]) -> list[FalseAlarm]:
    """List the events in background at a threshold, that with the highest score first."""
    events = [event for one in sessions if one.scores.background for event in one.false_alarms(threshold, labels)]
    return sorted(events, key=lambda event: -event.score)
