"""Misses of a wake word among strangers: other wake words, kinds of speech and languages that nothing taught it.

    python benchmarks/elsewhere.py --audio-root FOLDER --preset balanced

`words.py` tests in a world like that of training: other wake words of the same collection are heard there too. Here
neither training nor validation holds a wake word but the word itself; the test has all of the others, said alone by
strangers, and a whole source that is heard nowhere else (folds.py: German, prompts and commands in turn). Thresholds
are read off the test, for several lengths over which the detector averages scores. Alarms are counted by the source
they happened in, and strangers also apart from the rest. Homes are kept; the last line is one JSON object.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np
from folds import STRANGERS, WORDS
from words import argument_parser, as_shipped, read_off, word_config

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.evaluation.streams.scores import PreparedSession, SessionScores, StreamScores, prepare_sessions
from wakeword_core.evaluation.streams.thresholds import Tradeoff
from wakeword_core.graph.project import Project

TARGETS = (0.1, 0.5, 1.0, 5.0)
HEADLINE = 0.5
AVERAGED = (1, 3, 5, 8)
"""Scores that are averaged, 40 ms apart, besides as many as the model's own detector takes."""
LOUDEST = 40
EVERY_RUN = tuple((word, index) for index, word in enumerate(WORDS))
"""A fold a word, so that each of the three held-out sources is tested once."""


def main() -> int:
    """Run the benchmark."""
    given = argument_parser(__doc__, ".wakeword-elsewhere", EVERY_RUN, "a fold a word").parse_args()
    results = [_result(word, fold, given) for word, fold in given.runs]
    _print_table(results, given)
    print(json.dumps(_summary(results, given)))
    return 0


def _result(word: str, fold: int, given: argparse.Namespace) -> dict[str, Any]:
    from wakeword_core.evaluation.streams.scores import score_streams
    from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams

    config = word_config(word, fold, given, elsewhere=True)
    project = Project(config, given.home.resolve())
    model = as_shipped(project, f"{word} {fold}")
    scores = score_streams(model.score_audio, project.require("audio_shards", "test").path, config)
    chosen = evaluate_streams(scores, model.threshold, config.evaluation, model.detector)
    averaged = {
        seconds: read_off(scores, config, detector, TARGETS)
        for seconds, detector in averaging_detectors(model.detector).items()
    }
    others = without_strangers(scores)
    at = Tradeoff(scores, config.evaluation, model.detector).point(HEADLINE).threshold
    result = {
        "word": word,
        "fold": fold,
        "words": scores.words,
        "background_hours": round(scores.background_hours, 3),
        "frr_at_fah": read_off(scores, config, model.detector, TARGETS),
        "frr_at_fah_by_averaged_seconds": averaged,
        "without_strangers": {
            "background_hours": round(others.background_hours, 3),
            "frr_at_fah": read_off(others, config, model.detector, TARGETS),
        },
        "strangers_accepted": strangers_accepted(scores, config, model.detector, model.threshold),
        "strangers_accepted_at_headline": strangers_accepted(scores, config, model.detector, at),
        "loudest": loudest_sources(scores, config, model.detector),
        "chosen_on_validation": {
            "frr": chosen.misses / chosen.words,
            "fah": chosen.false_alarm_count / scores.background_hours,
        },
        "model": project.require("onnx_model").key,
    }
    print(json.dumps(result), file=sys.stderr, flush=True)
    return result


def averaging_detectors(detector: DetectorConfig) -> dict[str, DetectorConfig]:
    """Detectors that average scores over other lengths, by seconds; that of the model's own length is among them."""
    return {
        f"{count * detector.stride_seconds:.2f}": detector.model_copy(update={"smoothing": count, "votes": 0})
        for count in sorted({*AVERAGED, detector.smoothing})
    }


def is_stranger(source: str) -> bool:
    """Tell whether a source of `folds.sources` holds other wake words."""
    return source.rpartition("-")[0] in {folder.replace("_", "-") for folder in STRANGERS}


def without_strangers(scores: StreamScores) -> StreamScores:
    """Return the same streams, without the scores of background in which strangers speak."""
    spoken = tuple(session for session in scores.sessions if not session.background)
    background = replace(scores, sessions=tuple(session for session in scores.sessions if session.background))
    return replace(scores, sessions=(*spoken, *without(background, is_stranger).sessions))


def without(scores: StreamScores, left_out: Callable[[str], bool]) -> StreamScores:
    """Return the same streams, without the words and the scores of recordings of some sources."""

    def kept(sessions: Iterable[SessionScores]) -> tuple[SessionScores, ...]:
        rest = (_without(session, left_out) for session in sessions)
        return tuple(session for session in rest if session.sources)

    return replace(scores, sessions=kept(scores.sessions), confusables=kept(scores.confusables))


def _without(session: SessionScores, left_out: Callable[[str], bool]) -> SessionScores:
    spans = tuple(span for span in session.sources if not left_out(span.source))
    words = tuple(word for word in session.words if not left_out(word.source))
    quiet = session.scores.copy()
    starts = [span.start for span in session.sources] + [float("inf")]
    for span, following in zip(session.sources, starts[1:], strict=True):
        if left_out(span.source):
            quiet[(session.times >= span.start) & (session.times < following)] = 0.0
    return replace(session, scores=quiet, sources=spans, words=words)


def strangers_accepted(
    scores: StreamScores, config: Config, detector: DetectorConfig, threshold: float
) -> dict[str, Any]:
    """Count strangers' short phrases that set off a detection at a threshold, and all of them, as a report does."""
    from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams

    phrases = evaluate_streams(scores, threshold, config.evaluation, detector).short_phrases
    strangers = [source for source in phrases.by_source if is_stranger(source.name)]
    return {
        "accepted": sum(source.accepted for source in strangers),
        "of": sum(source.recordings for source in strangers),
    }


def loudest_sources(scores: StreamScores, config: Config, detector: DetectorConfig) -> dict[str, int]:
    """Count the sources of the loudest background recordings, by their highest averaged score."""
    peaks: dict[tuple[str, str], float] = {}
    for session in prepare_sessions(scores, config.evaluation.streams, detector):
        if session.scores.background:
            for span, loudest in zip(session.scores.sources, _loudest(session), strict=True):
                key = span.source, span.recording_id
                peaks[key] = max(peaks.get(key, 0.0), loudest)
    return dict(Counter(source for source, _ in sorted(peaks, key=peaks.__getitem__)[-LOUDEST:]).most_common())


def _loudest(session: PreparedSession) -> list[float]:
    """The highest averaged score in each part of a session of background; an alarm's own is that of its beginning."""
    starts = [span.start for span in session.scores.sources]
    owner = np.searchsorted(starts, session.prepared.times, side="right") - 1
    peaks = np.zeros(len(starts))
    np.maximum.at(peaks, owner.clip(0), session.prepared.held)
    return [float(peak) for peak in peaks]


def _summary(results: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    means: dict[str, float | None] = {}
    for target in TARGETS:
        reached = [result["frr_at_fah"][f"{target:g}"] for result in results]
        means[f"{target:g}"] = None if None in reached else mean(reached)
    return {
        "name": "elsewhere",
        "runs": [f"{word}:{fold}" for word, fold in given.runs],
        "preset": given.preset,
        "settings": given.set,
        "mean_frr_at_fah": means,
        "words": results,
    }


def _print_table(results: list[dict[str, Any]], given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Missed at 10 dB among strangers, preset {given.preset}, thresholds read off the test")
    table.add_column("word")
    for heading in (
        *(f"{target:g} FAH" for target in TARGETS),
        f"{HEADLINE:g} without strangers",
        "strangers let in",
        "validation's threshold",
    ):
        table.add_column(heading, justify="right")
    for result in results:
        reached = (_share(frr) for frr in result["frr_at_fah"].values())
        strangers, chosen = result["strangers_accepted"], result["chosen_on_validation"]
        table.add_row(
            f"{result['word']}:{result['fold']}",
            *reached,
            _share(result["without_strangers"]["frr_at_fah"][f"{HEADLINE:g}"]),
            f"{strangers['accepted']} of {strangers['of']}",
            f"{chosen['frr']:.1%} at {chosen['fah']:.2f}",
        )
    Console(file=sys.stderr, width=130).print(table)


def _share(frr: float | None) -> str:
    return "unreachable" if frr is None else f"{frr:.1%}"


if __name__ == "__main__":
    sys.exit(main())
