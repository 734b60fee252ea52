"""`wakeword run` and `wakeword demo`: build a wake word, and print the result as a table."""

import json
import logging
import os
import shlex
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.config import Config
from wakeword_core.config.loading import load_config, save_config
from wakeword_core.errors import WakewordError
from wakeword_core.files import require_space
from wakeword_core.graph.packages import require_packages
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Judgement
from wakeword_core.runtime.exported import CARD_MARKDOWN, MODEL_FILE
from wakeword_core.stage_names import JUDGE, OPENWAKEWORD
from wakeword_core.text import printable
from wakeword_pipeline.cli.failures import failure_text, failures_json, failures_of
from wakeword_pipeline.cli.logs import Bars, banner
from wakeword_pipeline.orchestration.home import ProjectOptions, open_instance, prepare_home, require_own

log = logging.getLogger(__name__)

MIN_FREE_BYTES = 500_000_000
"""What even a small project needs: shards, features and model; larger needs are checked stage by stage."""
_REPORTED = (
    *("frr", "fah", "fah_interval", "false_alarms", "background_hours", "words", "misses", "confusables"),
    *("confusables_accepted", "short_phrases", "short_phrases_accepted", "confidence", "threshold", "eer"),
)


def run_demo(home: Path, phrase: str, *, fast: bool, as_json: bool) -> None:
    """Build a wake word from nothing but its phrase; the configuration is left in the home, to go on from."""
    source = resources.files("wakeword_pipeline.cli") / "demo" / ("fast.yaml" if fast else "demo.yaml")
    with resources.as_file(source) as file:
        config = load_config(file, {"phrase": phrase})
    _require_readable(config)
    require_space(home, MIN_FREE_BYTES, "a build")
    require_own(home)
    home.mkdir(parents=True, exist_ok=True)
    config = _with_engines_at_hand(config, home)
    path = home / f"{config.unique_name}.yaml"
    save_config(config, path)
    run_config(ProjectOptions(path, home), (), as_json=as_json)


def _with_engines_at_hand(config: Config, home: Path) -> Config:
    """Leave out the engines that are not installed or cannot be fetched, and say so; at least one is left.

    A demonstration works without a network. Its configuration names those who speak, so that it is the same next time.
    """
    from wakeword_core.speech.engines import EngineSettings, missing_engines

    missing = missing_engines(EngineSettings(config.synthesis, Project(config, home).cache))
    present = {name: share for name, share in config.synthesis.engines.items() if name not in missing}
    if not present:
        raise next(iter(missing.values()))
    for name, error in missing.items():
        log.warning("The demonstration does without %s: %s", name, error)
    return config.model_copy(update={"synthesis": config.synthesis.model_copy(update={"engines": present})})


def run_config(options: ProjectOptions, select: Sequence[str], *, as_json: bool) -> None:
    """Build what is due of a configuration, all or the assets in `select`, and print the result."""
    started = time.monotonic()
    project = options.project()
    home = project.home
    config = project.config
    require_packages(project, select)
    if config.export.tflite.enabled:
        from wakeword_core.export.tflite.make import require_possible

        require_possible(config)
    _require_readable(config)
    require_judge(project, select)
    project.models.require_fitting()
    require_space(home, MIN_FREE_BYTES, "a build")
    prepare_home(home, options.config)
    banner(project.config, home)
    # Dagster loads in seconds: only now, when the configuration is known to be right
    import dagster as dg

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    from wakeword_pipeline.orchestration.build import BuildFailedError, run_build

    try:
        with Bars() as bars:
            project.progress = bars
            outcome = run_build(project, open_instance(home), select)
    except BuildFailedError:
        _print_other_failures(project)
        raise
    failures = failures_of(project)
    seconds = round(time.monotonic() - started, 1)
    result = _result(project, {"built": outcome.built, "reused": outcome.reused, "seconds": seconds})
    result["failed_checks"] = failures_json(failures)
    _print_table(result, failures, home)
    if as_json:
        print(json.dumps(result))


def _require_readable(config: Config) -> None:
    """Raise what keeps the voices from saying what they are to say; a plain phrase needs no look."""
    synthesis = config.synthesis
    if synthesis.enabled and (not config.phrase.isascii() or synthesis.pronunciations or synthesis.phrase_language):
        from wakeword_core.speech.synthesis import require_readable

        require_readable(config.phrase, synthesis)


def require_judge(project: Project, select: Sequence[str]) -> None:
    """Raise what keeps a judge that is wanted from being made, before hours of other work."""
    wanted = [name for name in (JUDGE, OPENWAKEWORD) if name in project.stages and (not select or name in select)]
    if not wanted:
        return
    from wakeword_core.judge.encoders import chosen_encoder
    from wakeword_core.judge.rows import require_long_rows

    try:
        encoder = chosen_encoder(project.config.judge)
    except WakewordError as error:
        if not project.store.root.is_dir() or any(project.find(name) is None for name in wanted):
            raise type(error)(f"{error}; or do without: set {project.config.judge_wanted_by} to false") from error
    else:
        require_long_rows(project.config, encoder.window_samples)


def _result(project: Project, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome of a build as one flat object; figures of stages that are not built are None."""
    report, onnx, int8 = (project.find(name) for name in ("metrics_report", "onnx_model", "int8_model"))
    judged = project.find("judged_model") if project.config.judge.enabled else None
    # the bundle's model is the same with its whole card inside
    bundle = project.find("model_bundle")
    shipped = bundle or onnx
    registry = project.registry()
    entry = registry.last(onnx.key) if onnx else None
    figures = report.figures if report else {}
    return {
        "phrase": project.config.phrase,
        **{name: figures.get(name) for name in _REPORTED},
        "by_word": figures.get("by_word", []),
        "with_judge": judged.figures if judged else None,
        "cpu_ms_per_s": onnx.figures["cpu_ms_per_s"] if onnx else None,
        "model_bytes": shipped.figures["bytes"] if shipped else None,
        "int8_bytes": int8.figures["bytes"] if int8 else None,
        **outcome,
        "model": str(shipped.file(MODEL_FILE)) if shipped else None,
        "model_card": str(bundle.file(CARD_MARKDOWN)) if bundle else None,
        "report": str(report.file("report.html")) if report else None,
        "registry_role": registry.role(entry.key) if entry else None,
        "registry_reason": entry.reason if entry else None,
    }


def _print_other_failures(project: Project) -> None:
    """Print the checks that are not passed, but for those that stopped the build: the error tells of them."""
    for name, failures in failures_of(project).items():
        for failure in failures:
            if not failure.stops:
                Console(highlight=False).print(Text.assemble(f"{name}: ", failure_text(failure)), soft_wrap=True)


def _print_table(result: dict[str, Any], failures: Mapping[str, Sequence[Judgement]], home: Path) -> None:
    title = f"\n{printable(repr(result['phrase']))} in {result['seconds']:.0f} s"
    table = Table(title=Text(title, "table.title"), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _rows(result):
        table.add_row(name, Text(printable(value)))
    for name, checks in failures.items():
        for number, check in enumerate(checks):
            table.add_row("" if number else name, failure_text(check))
    Console().print(table)
    for name, place in _places(result, home):
        Console(highlight=False).print(Text.assemble((f"{name:<12}", "bold"), printable(place)), soft_wrap=True)


def _places(result: dict[str, Any], home: Path) -> list[tuple[str, str]]:
    """Return what a person opens or types next, which no table may break in two."""
    files = [(name, result[name.replace(" ", "_")]) for name in ("model", "model card", "report")]
    places = [(name, _relative(path)) for name, path in files if path]
    return [*places, ("look inside", f"wakeword ui --home {shlex.quote(_relative(str(home)))}")]


def _rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if result["frr"] is not None:
        low, high = result["fah_interval"]
        rows += [
            ("miss rate", f"{result['frr']:.1%}  ({result['misses']} of {result['words']} in test streams)"),
            (
                "false alarms an hour",
                f"{result['fah']:.2f}  ({result['false_alarms']} in {result['background_hours']:.2f} h; "
                f"{result['confidence']:.0%} interval {low:.2f} to {high:.2f})",
            ),
            (
                "phrases that sound alike",
                f"{result['confusables_accepted']} of {result['confusables']} accepted, not counted above",
            ),
            (
                "short phrases by strangers",
                f"{result['short_phrases_accepted']} of {result['short_phrases']} accepted, counted above too",
            ),
            ("operating point", f"threshold {result['threshold']:.6g}, chosen on validation"),
            *_by_word(result["by_word"]),
            ("EER of clips", f"{result['eer']:.1%}"),
            *_with_judge(result["with_judge"]),
        ]
    if result["model"]:
        size = f"{result['model_bytes'] / 1e3:.0f} kB"
        if result["int8_bytes"]:
            size += f", INT8 {result['int8_bytes'] / 1e3:.0f} kB"
        rows += [
            ("model size", size),
            ("CPU", f"{result['cpu_ms_per_s']:.1f} ms a second of audio, one core"),
        ]
    if result["registry_role"]:
        rows.append(("registry", f"{result['registry_role']}: {result['registry_reason']}"))
    rows.append(("built", ", ".join(result["built"]) or "nothing: everything was complete"))
    if result["reused"] and result["built"]:
        rows.append(("reused", ", ".join(result["reused"])))
    return rows


def _by_word(words: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return [
        (
            f"  {word['name']}",
            f"{word['misses']} of {word['words']} missed, {word['fah']:.2f} false alarms an hour "
            f"({word['false_alarms']}), threshold {word['threshold']:.6g}",
        )
        for word in words
    ]


def _with_judge(figures: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    if figures is None:
        return []
    return [
        (
            "with its judge",
            f"{figures['frr']:.1%} missed ({figures['misses']} of {figures['words']}), "
            f"{figures['fah']:.2f} false alarms an hour "
            f"({figures['false_alarm_count']} in {figures['background_hours']:.2f} h), "
            f"{figures['confusables_accepted']} of {figures['confusables']} phrases that sound alike accepted, at "
            f"threshold {figures['threshold']:.6g}; the rows above are of the model alone",
        ),
        *_by_word(figures.get("by_word", [])),
    ]


def _relative(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
