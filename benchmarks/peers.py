"""This project's model beside the open engines that have the same wake word: the same audio, the same rules.

    python benchmarks/peers.py --home HOME --config CONFIG.yaml           a finished build of the project
    python benchmarks/peers.py --model MODEL.onnx --home HOME             a model of that home, whatever changed since
    python benchmarks/peers.py --model MODEL.onnx --audio-root FOLDER     a model by itself, and the recordings

Every engine hears the same int16 sessions from a fresh start, in blocks of its own size: the test split's words in that
split's noise, and hours without the word. Scores become events by this project's `detect`: everybody gets the lockout
and hysteresis that our model ships with, and smooths as itself ships. At each rate of false alarms everybody gets the
threshold with the fewest misses on these very streams. What the other engines were trained on is not known: it may hold
some of this background.

Needs `pip install -e '.[bench]'`; nothing is downloaded. The last line of standard output is one JSON object.
"""

import argparse
import contextlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from peer_engines import cpu_costs, engines
from rich.console import Console
from rich.table import Table

from wakeword_core.config import Config, DetectorConfig, Split
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, ConfigError, WakewordError
from wakeword_core.evaluation.streams.build import background_sessions
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import StreamScores, hear_streams
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.evaluation.streams.thresholds import Tradeoff
from wakeword_core.graph.project import Project
from wakeword_core.listeners.listener import OURS, Listener
from wakeword_core.listeners.peers import RATE
from wakeword_core.progress import Progress, silent
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.store.artifacts import ArtifactStore

EXAMPLE = Path(__file__).parents[1] / "examples" / "alexa.yaml"
FAH_TARGETS = (0.1, 0.5, 1.0)
RATIO_AT = 0.5
GOAL = 3.0
"""How many times fewer misses than the best rival the project is after, at RATIO_AT false alarms an hour."""
COST_SECONDS = 8.0
COST_ROUNDS = 5
WIDTH = 110
"""Columns of the table where there is no terminal to ask."""


@dataclass(frozen=True)
class Audio:
    """Folders of shards by split, the test first; `held_out`: they are of the manifest that the model was made from."""

    shards: dict[Split, Path]
    held_out: bool


def stream_config(config: Config, snr_db: float, minutes: float | None) -> Config:
    """The configuration with words in one condition only, and with sessions no longer than `minutes`."""
    conditions, longest = "evaluation.conditions", config.evaluation.streams.session_minutes
    return config.changed(
        {
            f"{conditions}.test.snr_db": (snr_db,),
            f"{conditions}.test.far_snr_db": (),
            f"{conditions}.tuning.snr_db": (snr_db,),
            "evaluation.streams.session_minutes": longest if minutes is None else min(longest, minutes),
        }
    )


def hear(
    everybody: Sequence[Listener], audio: Audio, config: Config, minutes: float | None, progress: Progress
) -> list[StreamScores]:
    """Play the words, the background and the phrases that sound alike to every engine, a session at a time."""
    words = [Condition(config.evaluation.conditions.test.snr_db[0])]
    heard: list[list[StreamScores]] = [
        hear_streams(
            [one.score for one in everybody], folder, config, progress, words if split == "test" else [],
            short_phrases=False, minutes=minutes,
        )
        for split, folder in audio.shards.items()
    ]  # fmt: skip
    return [
        replace(
            parts[0],
            sessions=tuple(session for part in parts for session in part.sessions),
            confusables=tuple(session for part in parts for session in part.confusables),
        )
        for parts in zip(*heard, strict=True)
    ]


def figures(
    engine: Listener, scores: StreamScores, config: Config, cpu_ms_per_s: float, targets: Sequence[float]
) -> dict[str, Any]:
    """All that is known about one engine, as JSON values."""
    return {
        "version": engine.version,
        "smoothing": describe_smoothing(engine.detector),
        "detector": engine.detector.model_dump(mode="json"),
        "model_bytes": sum(path.stat().st_size for path in engine.files),
        "cpu_ms_per_s": round(cpu_ms_per_s, 3),
        "points": {f"{target:g}": _point(scores, target, config, engine.detector) for target in targets},
    }


def describe_smoothing(detector: DetectorConfig) -> str:
    """How scores are smoothed, for people."""
    text = f"{detector.votes} of {detector.smoothing}" if detector.votes else f"mean of {detector.smoothing}"
    if detector.smoothing == 1:
        text = "none"
    held = f", {detector.hold} in a row" if detector.hold > 1 else ""
    return f"{text}{held}, every {1_000 * detector.stride_seconds:.0f} ms"


def _point(scores: StreamScores, target: float, config: Config, detector: DetectorConfig) -> dict[str, Any]:
    point = Tradeoff(scores, config.evaluation, detector).point(target)
    result = evaluate_streams(scores, point.threshold, config.evaluation, detector)
    return {
        "reachable": point.reachable,
        "lowest_fah": round(point.lowest_fah, 4),
        "note": point.note,
        "threshold": point.threshold,
        "words": result.words,
        "misses": result.misses,
        "frr": round(result.frr, 4),
        "frr_interval": [round(end, 4) for end in result.frr_interval],
        "false_alarms": result.false_alarm_count,
        "fah": round(result.fah, 4),
        "fah_interval": [round(end, 4) for end in result.fah_interval],
        "confusables": result.confusables,
        "confusables_accepted": result.confusables_accepted,
        "latency_p50": result.latency_p50,
        "latency_p95": result.latency_p95,
    }


def verdict(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """How many times as many words as ours the best of the others misses; none missed counts as one.

    An engine that cannot be so quiet misses every word there.
    """
    points = {name: engine["points"][f"{RATIO_AT:g}"] for name, engine in found.items()}
    misses = {name: point["misses"] if point["reachable"] else point["words"] for name, point in points.items()}
    rival = min((name for name in found if name != OURS), key=lambda name: misses[name])
    return {"ratio": round(max(misses[rival], 1) / max(misses[OURS], 1), 3), "goal": GOAL, "best_rival": rival}


def listen(
    everybody: Sequence[Listener],
    audio: Audio,
    config: Config,
    targets: Sequence[float] = FAH_TARGETS,
    minutes: float | None = None,
    progress: Progress = silent,
) -> tuple[StreamScores, dict[str, dict[str, Any]]]:
    """Play everything to everybody; the scores of the first, and the figures of each by name."""
    heard = hear(everybody, audio, config, minutes, progress)
    session = next(background_sessions(audio.shards["test"], config))
    start = round(session.sources[0].start * RATE)
    costs = cpu_costs(everybody, session.pcm[start : start + round(COST_SECONDS * RATE)], COST_ROUNDS)
    found = {
        one.name: figures(one, scores, config, costs[one.name], targets)
        for one, scores in zip(everybody, heard, strict=True)
    }
    return heard[0], found


def compare(
    everybody: Sequence[Listener],
    audio: Audio,
    config: Config,
    minutes: float | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Play everything to everybody, `config` being one of `stream_config`; returns the JSON object."""
    first, found = listen(everybody, audio, config, FAH_TARGETS, minutes, progress)
    return {
        "name": "peers",
        **verdict(found),
        "phrase": config.phrase,
        "snr_db": config.evaluation.conditions.test.snr_db[0],
        "words": first.words,
        "background_hours": round(first.background_hours, 4),
        "splits": list(audio.shards),
        "held_out": audio.held_out,
        "confidence": config.evaluation.operating_points.confidence,
        "tolerance_seconds": config.evaluation.streams.tolerance_seconds,
        "engines": found,
    }


def table(report: dict[str, Any]) -> Table:
    """The report for people: a column for each engine."""
    found, hours = report["engines"], report["background_hours"]
    shown = Table(
        title=f'"{report["phrase"]}": {report["words"]} words at {report["snr_db"]:g} dB, {hours:.2f} h of background '
        f"({' and '.join(report['splits'])})",
        title_justify="left",
        show_lines=True,
    )
    for column in ("", *found):
        shown.add_column(column)
    for target in FAH_TARGETS:
        label = f"FRR at {target:g} FAH\n{int(target * hours)} alarms allowed"
        shown.add_row(label, *(cell(one["points"][f"{target:g}"]) for one in found.values()))
    points = [one["points"][f"{RATIO_AT:g}"] for one in found.values()]
    shown.add_row(f"at {RATIO_AT:g}: ms after the word,\np50 and p95", *(_latency(one) for one in points))
    accepted = [f"{one['confusables_accepted']} of {one['confusables']}" for one in points]
    shown.add_row(f"at {RATIO_AT:g}: phrases that sound\nalike taken for the word", *accepted)
    shown.add_row("CPU for a second of audio", *(f"{one['cpu_ms_per_s']:.1f} ms" for one in found.values()))
    shown.add_row("model files", *(f"{one['model_bytes'] / 1e3:,.0f} kB" for one in found.values()))
    shown.add_row("smoothing of scores", *(one["smoothing"].replace(", every", "\nevery") for one in found.values()))
    shown.add_row("version", *(one["version"] for one in found.values()))
    return shown


def cell(point: dict[str, Any]) -> str:
    """What is missed at a rate of false alarms, and that rate, with intervals."""
    if not point["reachable"]:
        return f"unreachable:\nlowest is {point['lowest_fah']:.2f}"
    low, high = (100 * end for end in point["frr_interval"])
    least, most = point["fah_interval"]
    return f"{100 * point['frr']:.1f} % ({low:.1f}–{high:.1f})\nFAH {point['fah']:.2f} ({least:.2f}–{most:.2f})"


def _latency(point: dict[str, Any]) -> str:
    if point["latency_p50"] is None:
        return "–"
    return f"{1_000 * point['latency_p50']:.0f} and {1_000 * point['latency_p95']:.0f}"


def remarks(report: dict[str, Any]) -> list[str]:
    """What has to be known to read the table right."""
    ours, rival = report["ratio"], report["best_rival"]
    said = [
        f"At {RATIO_AT:g} false alarms an hour {rival} misses {ours:g} times as many words as {OURS} (goal {GOAL:g}).",
        f"In brackets: {100 * report['confidence']:g} % intervals (misses: Wilson; false alarms: exact Poisson).",
    ]
    if "val" in report["splits"]:
        said.append(
            f"{OURS} was never fitted to the validation background, but its epoch, calibration and detector were "
            "chosen on it, which favours it there."
        )
    if not report["held_out"]:
        said.append(
            f"The model was made from another manifest than these recordings: nothing shows that {OURS} was not "
            "trained on some of them."
        )
    return said


def shards_of_model(model: WakewordModel, home: Path, splits: Sequence[Split]) -> Audio:
    """The shards in a home that come from the very manifest the model was made from, so that nothing was trained on."""
    store = ArtifactStore(home / "store")
    key = model.card.get("keys", {}).get("raw_manifest", "")
    manifest = store.find("raw_manifest", key) if key else None
    if manifest is None:
        raise ArtifactError(f"{home} has no manifest {key or 'for this model'}; name the home that {model.path} is of")
    every = store.all("audio_shards")
    shards: dict[Split, Path] = {}
    for split in splits:
        content = manifest.facets[split]
        own = [one for one in every if one.config.get("split") == split]
        fitting = [one for one in own if one.inputs["raw_manifest"]["content"] == content]
        if not fitting:
            raise ArtifactError(f"{home} has no audio_shards[{split}] of manifest {key}; materialize it first")
        shards[split] = fitting[-1].path
    return Audio(shards, held_out=True)


def build_audio(model: WakewordModel, config: Config, home: Path, splits: Sequence[Split], progress: Progress) -> Audio:
    """Scan the configured recordings and pack the splits in a home."""
    project = Project(config, home, progress)
    if "synthetic_speech" in project.stages:
        project.build("synthetic_speech")
    manifest, _ = project.build("raw_manifest")
    shards = {split: project.build("audio_shards", split)[0].path for split in splits}
    return Audio(shards, held_out=model.card.get("keys", {}).get("raw_manifest") == manifest.key)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--home", type=Path, help="home in which the model was built; its test split is used")
    parser.add_argument("--config", type=Path, default=EXAMPLE, help="configuration [default: examples/alexa.yaml]")
    parser.add_argument("--model", type=Path, help="exported model [default: the home's, if it is up to date]")
    parser.add_argument("--audio-root", type=Path, help="what ${AUDIO_ROOT} stands for in the configuration")
    parser.add_argument("--snr", type=float, default=10.0, help="noise under the words, in dB [default: 10]")
    parser.add_argument("--all-background", action="store_true", help="validation background too")
    parser.add_argument("--minutes", type=float, help="so much of each kind of audio at most, for a quick look")
    chosen = parser.parse_args(given)
    if chosen.home is None and (chosen.model is None or chosen.audio_root is None):
        parser.error("give --home, or both --model and --audio-root")
    if chosen.minutes is not None and not chosen.minutes > 0:
        parser.error("--minutes must be above 0")
    return chosen


def run(given: Sequence[str] | None, progress: Progress) -> dict[str, Any]:
    """Find model and audio as the arguments say, and compare."""
    chosen = _arguments(given)
    if chosen.audio_root is not None:
        os.environ["AUDIO_ROOT"] = str(chosen.audio_root.resolve())
    config = load_config(chosen.config)
    home = chosen.home.resolve() if chosen.home else None
    if chosen.model is None:
        found = Project(config, home, progress).require("onnx_model").file(MODEL_FILE)
    else:
        found = chosen.model
    everybody = engines(found, config)
    splits: tuple[Split, ...] = ("test", "val") if chosen.all_background else ("test",)
    with contextlib.ExitStack() as stack:
        if home:
            audio = shards_of_model(WakewordModel(found), home, splits)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            audio = build_audio(WakewordModel(found), config, folder, splits, progress)
        return compare(everybody, audio, stream_config(config, chosen.snr, chosen.minutes), chosen.minutes, progress)


def main(given: Sequence[str] | None = None) -> int:
    """Run, and show what was found; the exit status."""
    return show("peers", lambda progress: run(given, progress), table, remarks)


def show(
    name: str,
    run: Callable[[Progress], dict[str, Any]],
    table: Callable[[dict[str, Any]], Table],
    remarks: Callable[[dict[str, Any]], list[str]],
) -> int:
    """Run, print the table on standard error and the JSON object on standard output; the exit status."""
    from wakeword_pipeline.cli.logs import Bars, setup_logging

    setup_logging()
    logging.getLogger("wakeword_core").setLevel("WARNING")
    try:
        with Bars() as progress:
            report = run(progress)
    except WakewordError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    console = Console(stderr=True, width=None if sys.stderr.isatty() else WIDTH)
    console.print(table(report))
    for sentence in remarks(report):
        console.print(sentence)
    print(json.dumps(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
