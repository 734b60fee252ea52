"""`wakeword evaluate`: how good models are on somebody's recordings, beside one another."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.config import DetectorConfig
from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.measure.wording import percent, rate
from wakeword_core.graph.given_recordings import GivenRecordings
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars

if TYPE_CHECKING:
    from wakeword_core.listeners.listener import Listener

_AS_RECORDED = "evaluation.conditions.tuning.snr_db=[null]"
"""The headline is of the words as they were recorded, unless a setting says otherwise."""
_CONDITIONS = ("clean", "10 dB")


@dataclass(frozen=True)
class EvaluateRequest:
    """What is evaluated, on what, and where the report goes; `home` None: what is read is not kept."""

    models: Sequence[str]
    recordings: GivenRecordings
    conditions: Sequence[str]
    phrase: str
    minutes: float | None
    out: Path
    home: Path | None
    settings: Sequence[str]
    alone: bool
    tables: bool


def evaluate_models(request: EvaluateRequest, *, as_json: bool) -> None:
    """Evaluate, write the report, and print its key figures as a table or as one JSON object."""
    from wakeword_core.evaluation.report.side_by_side import PAGE_FILE
    from wakeword_core.evaluation.streams.conditions import Condition
    from wakeword_core.graph.evaluation import EVENTS_FILE, WINDOWS_FILE, evaluate, summary

    settings = load_config(None, [_AS_RECORDED, *request.settings])
    conditions = [Condition.named(name) for name in request.conditions or _CONDITIONS]
    listeners = _listeners(request, settings.evaluation.detector)
    with ExitStack() as stack:
        home = request.home or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wakeword-")))
        metrics = evaluate(
            listeners,
            request.recordings,
            settings,
            home,
            request.out,
            phrase=request.phrase,
            conditions=conditions,
            minutes=request.minutes,
            tables=request.tables,
            progress=stack.enter_context(Bars()),
        )
    report = request.out / PAGE_FILE
    if as_json:
        written = [str(request.out / name) for name in (EVENTS_FILE, WINDOWS_FILE)] if request.tables else []
        print(json.dumps({**summary(metrics), "report": str(report), "tables": written}, allow_nan=False))
    else:
        _print(metrics)
        print(printable(f"The report is {report}"))


def _listeners(request: EvaluateRequest, rules: DetectorConfig) -> "list[Listener]":
    """Open every model; engines detect by the rules of the first model where that is one of this project."""
    from wakeword_core.listeners.listener import OwnModel
    from wakeword_core.listeners.opening import open_listener

    if twice := [model for model, count in Counter(request.models).items() if count > 1]:
        raise ConfigError(f"the model {twice[0]} is named twice; name another with --against")
    opened: list[Listener] = []
    for model in request.models:
        first = opened[0].detector if opened and isinstance(opened[0], OwnModel) else rules
        taken = {listener.name for listener in opened}
        listener = open_listener(model, first, alone=request.alone)
        if listener.name in taken:
            listener.name = model
        opened.append(listener)
    return opened


def _print(metrics: Mapping[str, Any]) -> None:
    from wakeword_core.evaluation.report.side_by_side import heard_words

    models = metrics["models"]
    stream = models[0]["stream"]
    title = (
        f"{metrics['phrase']!r}: {heard_words(metrics):,} recordings of the word "
        f"({', '.join(metrics['target_conditions'])}), {stream['background_hours']:.2f} h of other sound"
    )
    table = Table(title=Text(printable(title), "bold"), title_justify="left", show_lines=True)
    table.add_column("")
    for model in models:
        table.add_column(Text(printable(model["name"])), justify="right", overflow="fold")
    table.add_row("missed", *(_share(model["stream"]) for model in models))
    table.add_row("false alarms an hour", *(_alarms(model["stream"]) for model in models))
    for points in zip(*(model["fah_points"] for model in models), strict=True):
        label = f"missed at {points[0]['target_fah']:g} an hour"
        table.add_row(label, *(_share(point) if point["reachable"] else "unreachable" for point in points))
    console = Console(highlight=False)
    console.print(table)
    if count := len(metrics["left_out"]):
        told = f"{count:,} recordings are" if count > 1 else "1 recording is"
        console.print(f"{told} left out; the report says why.")


def _share(figures: Mapping[str, Any]) -> str:
    low, high = figures["frr_interval"]
    return f"{percent(figures['frr'])}\n{percent(low)} to {percent(high)}"


def _alarms(figures: Mapping[str, Any]) -> str:
    low, high = figures["fah_interval"]
    return f"{rate(figures['fah'])}\n{rate(low)} to {rate(high)}"
