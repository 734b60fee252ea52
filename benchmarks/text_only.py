"""Misses of wake words that were taught by synthetic speech alone: no real recording of them before the test.

    python benchmarks/text_only.py --audio-root FOLDER --preset balanced

All real recordings of a word are tested, clean and at 10 dB. Real negatives and noise are those of a fold (folds.py);
its test part is the background. The phrase, phrases that sound alike, sentences and words are made as the preset says,
with `--set synthesis...` over it, and with the recordings of `--voices`: folders with any of positive/, hard_negative/,
negative/ and words/, files named as the product names its own (`00012_SPEAKER_ACCENT.flac`).

What ships is tested: the model together with its judge where the preset has one, and then the model alone besides.
Thresholds are read off the test, condition by condition, for several lengths over which the detector averages scores;
beside them stands what validation's threshold gives, chosen on synthetic words. "Strangers" are other wake words in the
background; "short phrases" are those that sound alike, which are no background. With `--peers`, the other engines that
have the word hear the same streams. Homes are kept, so a second run goes on; the last line is one JSON object.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from elsewhere import averaging_detectors, loudest_sources, strangers_accepted, without
from folds import WORDS, text_sources
from words import TARGETS, argument_parser, built_up_to_onnx, with_judge

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import StreamScorer, StreamScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import StreamResult, evaluate_streams
from wakeword_core.evaluation.streams.thresholds import OperatingPoint, Tradeoff
from wakeword_core.graph.project import Project
from wakeword_core.judge.together import heard_share
from wakeword_core.progress import Progress
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.runtime.judge import JudgedModel
from wakeword_core.speech.plan import SPEAKER_RULE, SPOKEN_ROLES
from wakeword_core.speech.plan import WORDS as SINGLE_WORDS

HOME = ".wakeword-text"
"""The same for few_shot.py, whose training on no recording is this one."""
EVERY_RUN = tuple((word, 0) for word in WORDS)
HEADLINE = 0.5
CONDITIONS = (Condition(None), Condition(10.0))
_NO_SHARE = 1e-9
"""Share of synthetic voices that chance puts in the test, where real recordings alone count."""


def main() -> int:
    """Run the benchmark."""
    from wakeword_pipeline.cli.logs import Bars, setup_logging

    setup_logging()
    parser = text_parser(__doc__, EVERY_RUN, "fold 0 of each word")
    parser.add_argument("--peers", action="store_true", help="the other engines that have the word, on the same audio")
    given = parser.parse_args()
    results = []
    with Bars() as progress:
        for word, fold in given.runs:
            sources = text_sources(given.audio_root.resolve(), word, fold, given.elsewhere)
            results.append(tested(f"{word}:{fold}", text_config(word, sources, given), given, progress))
    print_table(f"Taught by text, preset {given.preset}", results)
    print(json.dumps({"name": "text_only", **summary(results, given)}))
    return 0


def text_parser(description: str | None, runs: Sequence[tuple[str, int]], default_runs: str) -> argparse.ArgumentParser:
    """A parser of what a benchmark of words taught by text is told."""
    parser = argument_parser(description, HOME, runs, default_runs)
    parser.add_argument(
        "--voices", nargs="+", type=Path, default=[], metavar="FOLDER", help="more recordings for training"
    )
    parser.add_argument(
        "--elsewhere", action="store_true", help="test all other wake words, and learn none of them (folds.py)"
    )
    parser.set_defaults(peers=False)
    return parser


def text_config(word: str, sources: list[dict[str, Any]], given: argparse.Namespace) -> Config:
    """The preset with synthetic speech and these real sources; tuned at 10 dB on synthetic words, tested on real ones.

    Synthetic background is left out, since there is real noise, unless `--set` asks for it.
    """
    ours = [
        "synthesis.enabled=true",
        f"synthesis.words={given.words}",
        "synthesis.background_minutes=0",
        "synthesis.held_out_background_minutes=0",
    ]
    base = load_config(None, [f"preset={given.preset}", *ours, *given.set]).model_dump(mode="json")
    base["phrase"] = word
    voices = [source for number, folder in enumerate(given.voices) for source in voice_sources(folder, number)]
    base["data"]["sources"] = sources + voices
    base["data"]["splits"]["test_fraction"] = _NO_SHARE
    base["evaluation"]["conditions"]["test"] |= {"snr_db": [one.snr_db for one in CONDITIONS], "far_snr_db": []}
    base["evaluation"]["conditions"]["tuning"] |= {"snr_db": [10.0]}
    return Config.model_validate(base)


def voice_sources(folder: Path, number: int) -> Iterator[dict[str, Any]]:
    """Sources of a folder of recordings that another synthesis made; DataError where it has none of the sub-folders."""
    names = [name for name in (*SPOKEN_ROLES, SINGLE_WORDS) if (folder / name).is_dir()]
    if not names:
        raise DataError(f"{folder} has none of the folders {', '.join((*SPOKEN_ROLES, SINGLE_WORDS))}")
    for name in names:
        yield {
            "name": f"voices{number}-{name}",
            "path": str((folder / name).resolve()),
            "role": "negative" if name == SINGLE_WORDS else name,
            "licence": "synthetic",
            "speaker": SPEAKER_RULE,
            "speaker_space": "synthetic",
            "synthetic": True,
        }


def tested(name: str, config: Config, given: argparse.Namespace, progress: Progress) -> dict[str, Any]:
    """Build the model of a configuration, and say what it makes of the test."""
    project = Project(config, given.home.resolve(), progress)
    seconds: dict[str, float] = {}
    exported = built_up_to_onnx(project, name, seconds)
    counts = recordings_by_split(project)
    model = WakewordModel(exported.file(MODEL_FILE))
    shards = project.require("audio_shards", "test").path
    started = time.monotonic()
    alone = scores_of_real(model.score_audio, shards, config, progress)
    seconds["test"] = round(time.monotonic() - started, 1)
    without = outcome(alone, config, model)
    judged = config.judge.enabled
    found = {
        "run": name,
        "word": config.phrase,
        "words": alone.words // len(CONDITIONS),
        "recordings": counts,
        "background_hours": round(alone.background_hours, 3),
        **(judged_outcome(project, model, progress) if judged else without),
        **({"alone": without} if judged else {}),
        "seconds": seconds,
        "model": exported.key,
    }
    if given.peers:
        found["peers"] = peers(exported.file(MODEL_FILE), shards, config, progress)
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found


def outcome(scores: StreamScores, config: Config, model: WakewordModel | JudgedModel) -> dict[str, Any]:
    """What a model makes of the test, at thresholds read off it and at its own."""
    chosen = evaluate_streams(scores, model.threshold, config.evaluation, model.detector)
    return {
        **read_off_test(scores, config, model.detector),
        "by_averaged_seconds": {
            length: conditions_at_targets(scores, config, detector)
            for length, detector in averaging_detectors(model.detector).items()
        },
        "loudest": loudest_sources(scores, config, model.detector),
        "chosen_on_validation": at_threshold(chosen, scores, config, model.detector),
    }


def judged_outcome(project: Project, model: WakewordModel, progress: Progress) -> dict[str, Any]:
    """Build the judge, and say what it and the model together make of the test."""
    together, config = with_judge(project, model, progress), project.config
    scores = scores_of_real(together.score_audio, project.require("audio_shards", "test").path, config, progress)
    judge = project.require("judge_model").figures
    return {**outcome(scores, config, together), "heard_share": heard_share(scores), "judge": judge}


def recordings_by_split(project: Project) -> dict[str, dict[str, int]]:
    """Count usable recordings of the word by split and source."""
    rows = read_manifest(project.require("raw_manifest").path, columns=("split", "source", "role", "status"))
    counts = rows[rows["role"] == "positive"].groupby(["split", "source"]).size()
    return {
        str(split): {str(source): int(count) for (_, source), count in part.items()}
        for split, part in counts.groupby(level=0)
    }


def scores_of_real(score: StreamScorer, shards: Path, config: Config, progress: Progress) -> StreamScores:
    """Score the test, and leave out what synthetic voices say there, of which some are held in the test."""
    real = {source.name for source in config.data.sources if source.split == "test"}
    return without(score_streams(score, shards, config, progress), lambda source: source not in real)


def read_off_test(scores: StreamScores, config: Config, detector: DetectorConfig) -> dict[str, Any]:
    """Misses of each condition at thresholds read off the test, and what else is let in at that of the headline."""
    at = _tradeoff(scores, config, detector, CONDITIONS[-1]).point(HEADLINE).threshold
    result = evaluate_streams(scores, at, config.evaluation, detector)
    return {
        "missed": conditions_at_targets(scores, config, detector),
        "at_headline": _let_in(result, scores, config, detector),
    }


def conditions_at_targets(scores: StreamScores, config: Config, detector: DetectorConfig) -> dict[str, Any]:
    """Misses of each condition by false alarms an hour; None where so few cannot be had."""
    found = {}
    for condition in CONDITIONS:
        tradeoff = _tradeoff(scores, config, detector, condition)
        found[condition.name] = {f"{target:g}": _missed(tradeoff.point(target)) for target in TARGETS}
    return found


def _tradeoff(scores: StreamScores, config: Config, detector: DetectorConfig, condition: Condition) -> Tradeoff:
    alone = config.changed({"evaluation.conditions.tuning.snr_db": (condition.snr_db,)})
    return Tradeoff(scores, alone.evaluation, detector)


def _missed(point: OperatingPoint) -> dict[str, Any] | None:
    if not point.reachable:
        return None
    return {"frr": point.frr, "interval": list(point.frr_interval), "threshold": point.threshold}


def at_threshold(
    result: StreamResult, scores: StreamScores, config: Config, detector: DetectorConfig
) -> dict[str, Any]:
    """What one threshold gives: misses of each condition, false alarms, and what else is let in."""
    return {
        "threshold": result.threshold,
        "missed": {one.name: {"frr": one.frr, "interval": list(one.frr_interval)} for one in result.conditions},
        "fah": result.fah,
        "fah_interval": list(result.fah_interval),
        **_let_in(result, scores, config, detector),
    }


def _let_in(result: StreamResult, scores: StreamScores, config: Config, detector: DetectorConfig) -> dict[str, Any]:
    return {
        "strangers": strangers_accepted(scores, config, detector, result.threshold),
        "short_phrases": {"accepted": result.short_phrases.accepted, "of": result.short_phrases.recordings},
    }


def peers(model: Path, shards: Path, config: Config, progress: Progress) -> dict[str, Any]:
    """The same figures of the other engines; none of a word that one of them does not have."""
    from peer_engines import engines

    try:
        others = engines(model, config)[1:]
    except ConfigError as error:
        print(f"no other engine was asked: {error}", file=sys.stderr, flush=True)
        return {}
    found = {}
    for one in others:
        scores = scores_of_real(one.score, shards, config, progress)
        found[one.name] = {"version": one.version, **read_off_test(scores, config, one.detector)}
    return found


def told(given: argparse.Namespace) -> dict[str, Any]:
    """What a benchmark of words taught by text was told, but for its runs."""
    return {
        "preset": given.preset,
        "settings": given.set,
        "voices": [str(folder) for folder in given.voices],
        "elsewhere": given.elsewhere,
    }


def summary(results: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """What all runs say together; a mean is missing where one word cannot reach the target."""
    return {
        **told(given),
        "mean_frr_at_fah": {one.name: mean_missed(results, one) for one in CONDITIONS},
        "mean_frr_at_validations_threshold": {
            one.name: mean(result["chosen_on_validation"]["missed"][one.name]["frr"] for result in results)
            for one in CONDITIONS
        },
        "results": results,
    }


def mean_missed(results: list[dict[str, Any]], condition: Condition) -> dict[str, float | None]:
    """The mean FRR of words in a condition at each target, or None where one of them cannot reach it."""
    means: dict[str, float | None] = {}
    for target in (f"{one:g}" for one in TARGETS):
        found = [result["missed"][condition.name][target] for result in results]
        means[target] = None if None in found else mean(one["frr"] for one in found)
    return means


def print_table(title: str, results: list[dict[str, Any]]) -> None:
    """Show all runs to people, a row a run and condition."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{title}; missed at thresholds read off the test, 95 % intervals")
    for heading in (
        *("run", "clips", "condition"),
        *(f"{target:g} FAH" for target in TARGETS),
        *("validation's threshold", f"strangers at {HEADLINE:g}", f"short phrases at {HEADLINE:g}"),
    ):
        table.add_column(heading)
    for result in results:
        for name, row in _rows(result):
            table.add_row(name, *row)
    Console(file=sys.stderr, width=150).print(table)


def _rows(result: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    alone = {"without its judge": result["alone"]} if "alone" in result else {}
    clips, engines = str(result["words"]), {"": result, **alone, **result.get("peers", {})}
    for engine, one in engines.items():
        let_in = [
            f"{count['accepted']} of {count['of']}"
            for count in (one["at_headline"]["strangers"], one["at_headline"]["short_phrases"])
        ]
        for condition, missed in one["missed"].items():
            reached = [_share(found) for found in missed.values()]
            chosen = one.get("chosen_on_validation")
            text = f"{_share(chosen['missed'][condition])} at {chosen['fah']:.2f}" if chosen else ""
            yield engine or result["run"], [clips, condition, *reached, text, *let_in]


def _share(found: dict[str, Any] | None) -> str:
    if found is None:
        return "unreachable"
    low, high = found["interval"]
    return f"{100 * found['frr']:.1f} % ({100 * low:.0f}–{100 * high:.0f})"


if __name__ == "__main__":
    sys.exit(main())
