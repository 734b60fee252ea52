"""Models of any kind on recordings that somebody gives: played to all of them, measured, and written as a report."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, spelling
from wakeword_core.errors import ConfigError, DataError, WakewordError, reason_of
from wakeword_core.evaluation.report.players import stream_players
from wakeword_core.evaluation.report.side_by_side import Sounds, write_side_by_side
from wakeword_core.evaluation.streams.beds import SPOKEN_ROLES
from wakeword_core.evaluation.streams.conditions import Condition, all_conditions, target_conditions
from wakeword_core.features.mel import new_front_end
from wakeword_core.files import require_writable, write_csv
from wakeword_core.graph.given_recordings import (
    NO_SPEECH,
    GivenRecordings,
    PackedRecordings,
    config_for,
    pack,
    require_named,
)
from wakeword_core.graph.project import Project
from wakeword_core.listeners.hearing import Heard, differences, hear
from wakeword_core.listeners.listener import Listener
from wakeword_core.listeners.tables import EVENT_COLUMNS, WINDOW_COLUMNS, events, windows
from wakeword_core.progress import Progress, silent

log = logging.getLogger(__name__)

EVENTS_FILE, WINDOWS_FILE = "events.csv", "windows.csv"


def evaluate(
    listeners: Sequence[Listener],
    given: GivenRecordings,
    settings: Config,
    home: Path,
    out: Path,
    *,
    phrase: str = "",
    conditions: Sequence[Condition] = (),
    minutes: float | None = None,
    tables: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Write `report.html` and `metrics.json` to the folder `out`, and with `tables` what happened; returns the figures.

    The first listener is the one that the others are held against. Words are heard in the `conditions`, besides those
    of the headline; without any in those of the test. What is read of the recordings is kept in `home`. `minutes` is
    as `hear_streams` takes it.
    """
    words = _words(listeners[0], phrase)
    made_for_others = _made_for_other_words(listeners, words)
    for told in made_for_others:
        log.warning("%s", told)
    changes = _test_settings(listeners)
    if minutes is not None:  # a session is heard whole
        changes["evaluation.streams.session_minutes"] = min(settings.evaluation.streams.session_minutes, minutes)
    config = config_for(given, words, settings, changes)
    targets = target_conditions(config.evaluation.conditions)
    tested = (
        tuple(dict.fromkeys([*targets, *conditions])) if conditions else all_conditions(config.evaluation.conditions)
    )
    require_named(given, config, speech=any(condition.under == "speech" for condition in tested))
    _make_room(out, tables=tables)
    project = Project(config, home, progress)
    packed = pack(project, words)
    config = project.config
    _require_speech(tested, packed)
    heard = hear(listeners, packed.shards, config, tested, progress, packed.synthetic, minutes)
    metrics = {**_figures(heard, packed, config, tested), "made_for_other_words": made_for_others}
    front_end = new_front_end(config.features.frontend, config.data.audio.sample_rate)
    sounds = [Sounds(*stream_players(one.shown, tested, front_end, packed.shards, config)) for one in heard]
    write_side_by_side(out, metrics, sounds, packed.paths)
    if tables:
        write_csv(out / EVENTS_FILE, EVENT_COLUMNS, events(heard, config.evaluation.streams, packed.paths))
        write_csv(out / WINDOWS_FILE, WINDOW_COLUMNS, windows(heard, config.evaluation.streams, packed.paths))
    return metrics


def _words(listener: Listener, phrase: str) -> tuple[str, ...]:
    """Return the wake words that the recordings may be of; ConfigError where nothing says which."""
    words = (phrase,) if phrase else tuple(label for label in listener.labels[1:] if label)
    if not words:
        raise ConfigError(f"{listener.name} does not say which wake word it is for; name it with --phrase")
    return words


def _made_for_other_words(listeners: Sequence[Listener], words: Sequence[str]) -> list[str]:
    """Say which listeners are made for none of the words, whose misses say nothing of them."""
    known = set(map(spelling, words))
    return [
        f"{listener.name} is made for {listener.phrase!r}, and the test is of {' and '.join(words)}"
        for listener in listeners
        if listener.phrase and not known & set(map(spelling, listener.labels[1:]))
    ]


def _require_speech(tested: Sequence[Condition], packed: PackedRecordings) -> None:
    if any(condition.under == "speech" for condition in tested) and not any(map(packed.counts.get, SPOKEN_ROLES)):
        raise DataError(NO_SPEECH)


def _make_room(out: Path, *, tables: bool) -> None:
    """Make the folder of the report, before all is heard in vain; WakewordError where it cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        require_writable(out)
    except OSError as error:
        raise WakewordError(f"{out} cannot be written ({reason_of(error)}); name another --out") from error
    for old in (out / name for name in (EVENTS_FILE, WINDOWS_FILE)):
        if not tables and old.exists():
            log.warning("%s stays as it is, and is not of this evaluation", old)


def _test_settings(listeners: Sequence[Listener]) -> dict[str, Any]:
    """Return the settings of a test that follow from who hears it; ConfigError where they hear unlike sound."""
    rates = {listener.name: listener.sample_rate for listener in listeners}
    if len(set(rates.values())) > 1:
        told = " and ".join(f"{name} at {rate:,} Hz" for name, rate in rates.items())
        raise ConfigError(f"models that are held beside one another must hear the same sound, but hear {told}")
    rate = listeners[0].sample_rate
    most = Config().features.frontend.f_max
    return {
        "data.audio.sample_rate": rate,
        "data.missing_source": "fail",
        "features.frontend.f_max": min(most, rate / 2),
        "synthesis.enabled": False,
    }


def _figures(
    heard: Sequence[Heard], packed: PackedRecordings, config: Config, tested: Sequence[Condition]
) -> dict[str, Any]:
    evaluation = config.evaluation
    return {
        "phrase": config.phrase,
        "seed": config.seed,
        "counts": dict(packed.counts),
        "left_out": [dict(entry) for entry in packed.left_out],
        "conditions": [condition.name for condition in tested],
        "target_conditions": [condition.name for condition in target_conditions(evaluation.conditions)],
        "allowed_fah": evaluation.allowed_fah,
        "difference_confidence": 1 - 2 * config.registry.level,
        "models": [one.to_json() for one in heard],
        "differences": differences(heard, config),
    }


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the key figures of an evaluation, without lists of events and curves."""
    figures = (
        "words", "misses", "frr", "frr_interval", "false_alarm_count", "background_hours", "fah", "fah_interval",
        "confidence", "confusables", "confusables_accepted", "latency_p50", "latency_p95",
    )  # fmt: skip
    point_figures = ("target_fah", "reachable", "threshold", "frr", "frr_interval", "fah", "fah_interval", "lowest_fah")
    return {
        **{name: metrics[name] for name in ("phrase", "counts", "conditions", "target_conditions", "differences")},
        "left_out": len(metrics["left_out"]),
        "models": [
            {
                **{name: model[name] for name in ("name", "version", "files", "bytes", "threshold", "rule")},
                **{name: model["stream"][name] for name in figures},
                "conditions": model["stream"]["conditions"],
                "by_speaker": model["stream"]["by_speaker"],
                "points": [{name: point[name] for name in point_figures} for point in model["fah_points"]],
            }
            for model in metrics["models"]
        ],
    }
