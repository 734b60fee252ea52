"""Misses and false alarms of several wake words, trained and tested on real recordings, fold by fold.

    python benchmarks/words.py --audio-root FOLDER --preset balanced

Each word and fold is a whole build (manifest to ONNX) in a home that is kept, so a second run goes on where the first
stopped. What ships, the exported model and its judge, then scores the fold's test third, at 10 dB over noise, and its
background, with the detector that they were exported with. Thresholds of the table are read off each fold's test, as
for other engines in peers.py; beside it stands what the thresholds chosen on validation gave, which is what a device
would do. With --teacher accurate, each model also learns what one of that preset says, which is built first, from the
same recordings and in the same home. The last line is one JSON object; the ratio to the goal is that of all words and
folds, and missing where only some were asked for.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from folds import FOLDS, WORDS, sources

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.config.loading import load_config
from wakeword_core.evaluation.streams.scores import StreamScores
from wakeword_core.graph.project import Project
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE
from wakeword_core.store.artifacts import Artifact, artifact_name

if TYPE_CHECKING:
    from wakeword_core.runtime import WakewordModel
    from wakeword_core.runtime.judge import JudgedModel

GOALS = {"accurate": {0.5: 0.03, 0.1: 0.06}, "balanced": {0.5: 0.045, 0.1: 0.09}}
"""Preset -> false alarms an hour -> misses to stay under, in the mean over the words."""
TARGETS = (0.1, 0.5, 1.0, 2.0)
EVERY_RUN = tuple((word, fold) for word in WORDS for fold in range(FOLDS))


@dataclass(frozen=True)
class Tested:
    """One word and fold: its scores, and what the threshold chosen on validation gives."""

    word: str
    fold: int
    frr_at_fah: dict[str, float | None]
    words: int
    background_hours: float
    misses: int
    alarms: int
    seconds: float
    model: str


def main() -> int:
    """Run the benchmark."""
    parser = argument_parser(__doc__, ".wakeword-words", EVERY_RUN, "all nine")
    parser.add_argument("--teacher", metavar="PRESET", help="preset of a model that teaches; it gets no --set")
    given = parser.parse_args()
    tested = [_tested(word, fold, given) for word, fold in given.runs]
    by_word = {one.word: [other for other in tested if other.word == one.word] for one in tested}
    results = [_word_figures(word, folds) for word, folds in by_word.items()]
    _print_table(results, given)
    print(json.dumps(_summary(results, given)))
    return 0


def argument_parser(
    description: str | None, home: str, runs: Sequence[tuple[str, int]], default_runs: str
) -> argparse.ArgumentParser:
    """A parser of what a benchmark of words and folds is told; `runs` are those of the default."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio-root", type=Path, required=True, help="folder of recordings; see examples/README.md")
    parser.add_argument("--home", type=Path, default=Path(home), help="where builds are kept")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument(
        "--runs", nargs="+", type=_run, default=runs, metavar="WORD:FOLD", help=f"default: {default_runs}"
    )
    parser.add_argument(
        "--words", type=int, default=1_600, help="synthetic single words among the negatives of training"
    )
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings over the preset's")
    return parser


def _run(text: str) -> tuple[str, int]:
    word, _, fold = text.partition(":")
    if word not in WORDS or fold not in map(str, range(FOLDS)):
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(WORDS)}, a colon and 0 to {FOLDS - 1}")
    return word, int(fold)


def word_config(word: str, fold: int, given: argparse.Namespace, elsewhere: bool = False) -> Config:
    """The preset, with the fold's sources and synthetic single words to learn from, tested at 10 dB."""
    base = load_config(None, [f"preset={given.preset}", *given.set]).model_dump(mode="json")
    base["phrase"] = word
    base["data"]["sources"] = sources(given.audio_root.resolve(), word, fold, elsewhere)
    nothing = {
        "positives": 0,
        "hard_negatives": 0,
        "negatives": 0,
        "background_minutes": 0.0,
        "held_out_background_minutes": 0.0,
    }
    base["synthesis"] |= {"enabled": given.words > 0, "words": given.words, **nothing}
    base["evaluation"]["conditions"]["test"] |= {"snr_db": [10.0], "far_snr_db": []}
    base["evaluation"]["conditions"]["tuning"] |= {"snr_db": [10.0]}
    return Config.model_validate(base)


def taught(config: Config, word: str, fold: int, given: argparse.Namespace) -> Config:
    """The same with a teacher of the preset `given.teacher`, which is built or found; as it is where there is none."""
    if given.teacher is None:
        return config
    its_own = argparse.Namespace(**{**vars(given), "preset": given.teacher, "set": []})
    project = Project(word_config(word, fold, its_own), given.home.resolve())
    teacher = built_up_to_onnx(project, f"{word} {fold}, teacher")
    return config.changed({"training.teacher.models": [teacher.key]})


def _tested(word: str, fold: int, given: argparse.Namespace) -> Tested:
    from wakeword_core.evaluation.streams.scores import score_streams
    from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams

    started = time.monotonic()
    config = taught(word_config(word, fold, given), word, fold, given)
    project = Project(config, given.home.resolve())
    model = as_shipped(project, f"{word} {fold}")
    scores = score_streams(model.score_audio, project.require("audio_shards", "test").path, config)
    result = evaluate_streams(scores, model.threshold, config.evaluation, model.detector)
    found = Tested(
        word,
        fold,
        read_off(scores, config, model.detector, TARGETS),
        result.words,
        result.background_hours,
        result.misses,
        result.false_alarm_count,
        time.monotonic() - started,
        project.require("onnx_model").key,
    )
    print(f"{word} {fold}: {_line(_fold_figures(found))}", file=sys.stderr, flush=True)
    return found


def _fold_figures(one: Tested) -> dict[str, Any]:
    hours = one.background_hours
    return {
        "fold": one.fold,
        "words": one.words,
        "background_hours": round(hours, 3),
        "frr_at_fah": one.frr_at_fah,
        "chosen_on_validation": {"frr": one.misses / one.words, "fah": one.alarms / hours, "alarms": one.alarms},
        "seconds": round(one.seconds, 1),
        "model": one.model,
    }


def built_up_to_onnx(project: Project, name: str, seconds: dict[str, float] | None = None) -> Artifact:
    """The exported model of a project, and all before it, built or found; `name` is told with each step.

    What each step took is added to `seconds`, by the artifact's name.
    """
    for stage in project.stages:
        for split in project.stages[stage].splits:
            started = time.monotonic()
            artifact, built = project.build(stage, split)
            step, spent = artifact_name(stage, split), time.monotonic() - started
            print(f"{name}: {step} {'built' if built else 'found'} in {spent:.1f} s", file=sys.stderr, flush=True)
            if seconds is not None:
                seconds[step] = round(spent, 1)
        if stage == "onnx_model":
            break
    return artifact


def as_shipped(project: Project, name: str) -> "WakewordModel | JudgedModel":
    """The exported model of a project, with its judge where it has one, built or found with all before them."""
    from wakeword_core.runtime import WakewordModel

    model = WakewordModel(built_up_to_onnx(project, name).file(MODEL_FILE))
    return with_judge(project, model) if project.config.judge.enabled else model


def with_judge(project: Project, model: "WakewordModel", progress: Progress = silent) -> "JudgedModel":
    """The model together with its judge, which is built or found, at thresholds chosen on validation."""
    from wakeword_core.judge.together import choose_together

    judge, config = project.build("judge_model")[0].file(JUDGE_FILE), project.config
    shards, synthetic = (
        project.require("audio_shards", "val").path,
        project.require("raw_manifest").figures["synthetic"],
    )
    with TemporaryDirectory() as folder:
        return choose_together(model, judge, shards, config, Path(folder), progress, synthetic)[0]


def read_off(
    scores: StreamScores, config: Config, detector: DetectorConfig, targets: Iterable[float]
) -> dict[str, float | None]:
    """FRR at each target of false alarms an hour, or None where it cannot be reached."""
    from wakeword_core.evaluation.streams.thresholds import Tradeoff

    points = {target: Tradeoff(scores, config.evaluation, detector).point(target) for target in targets}
    return {f"{target:g}": point.frr if point.reachable else None for target, point in points.items()}


def _word_figures(word: str, tested: list[Tested]) -> dict[str, Any]:
    """Figures of one word: its folds, and misses and words of all of them, each fold at thresholds of its own."""
    hours, words = sum(one.background_hours for one in tested), sum(one.words for one in tested)
    return {
        "word": word,
        "words": words,
        "background_hours": round(hours, 3),
        "frr_at_fah": {f"{target:g}": _together(tested, f"{target:g}") for target in TARGETS},
        "chosen_on_validation": {
            "frr": sum(one.misses for one in tested) / words,
            "fah": sum(one.alarms for one in tested) / hours,
        },
        "folds": [_fold_figures(one) for one in tested],
    }


def _together(tested: list[Tested], target: str) -> float | None:
    """Misses of all folds among all their words, or None where a fold does not reach the target."""
    misses = [None if (frr := one.frr_at_fah[target]) is None else frr * one.words for one in tested]
    reached = [one for one in misses if one is not None]
    return sum(reached) / sum(one.words for one in tested) if len(reached) == len(misses) else None


def _summary(results: list[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    means = {}
    for target in TARGETS:
        found = [one["frr_at_fah"][f"{target:g}"] for one in results]
        means[f"{target:g}"] = mean(found) if None not in found else None
    goals = GOALS.get(given.preset, GOALS["balanced"])
    # no rival runs here (peers.py has them), so the ratio is to the goal; no miss at all counts as one
    least = 1 / sum(one["words"] for one in results)
    at = means["0.5"] if set(given.runs) == set(EVERY_RUN) else None
    return {
        "name": "words",
        "ratio": None if at is None else goals[0.5] / max(at, least),
        "folds": f"{len(given.runs)} of {len(EVERY_RUN)}",
        "goal": {f"{target:g}": frr for target, frr in goals.items()},
        "preset": given.preset,
        "teacher": given.teacher,
        "settings": given.set,
        "mean_frr_at_fah": means,
        "words": results,
    }


def _line(figures: dict[str, Any]) -> str:
    reached = ", ".join(
        f"{name}: {'unreachable' if frr is None else f'{frr:.1%}'}" for name, frr in figures["frr_at_fah"].items()
    )
    chosen = figures["chosen_on_validation"]
    return (
        f"missed at false alarms an hour {reached}; threshold of validation: {chosen['frr']:.1%} missed, "
        f"{chosen['fah']:.2f} an hour; {figures['words']} words, {figures['background_hours']:.2f} h"
    )


def _print_table(results: list[dict[str, Any]], given: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.table import Table

    folds = f"{len(given.runs)} of {len(EVERY_RUN)} folds"
    table = Table(title=f"Missed at 10 dB, preset {given.preset}, thresholds read off the test; {folds}")
    for heading in (
        "word",
        "clips",
        "background",
        *(f"{target:g} FAH" for target in TARGETS),
        "validation's threshold",
    ):
        table.add_column(heading, justify="left" if heading == "word" else "right")
    for one in results:
        reached = ("unreachable" if frr is None else f"{frr:.1%}" for frr in one["frr_at_fah"].values())
        chosen = f"{one['chosen_on_validation']['frr']:.1%} at {one['chosen_on_validation']['fah']:.2f}"
        table.add_row(one["word"], str(one["words"]), f"{one['background_hours']:.2f} h", *reached, chosen)
    Console(file=sys.stderr, width=110).print(table)


if __name__ == "__main__":
    sys.exit(main())
