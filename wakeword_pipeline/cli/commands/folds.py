"""The command that cross-validates, and the table it prints."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wakeword_core.config.loading import load_config
from wakeword_core.errors import WakewordError
from wakeword_core.graph.cross_validation import FIGURES, Fold, Together, cross_validate, together
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import config_path, home_path

_COUNTS = ("words", "background_hours")
_HEADINGS = {"background_hours": "hours", "roc_auc": "ROC-AUC", "latency_p50": "latency (s)", "f1": "F1"}
"""Of figures that have another name on the screen than in capitals."""


def run_folds(config: Path | None, home: Path | None, settings: Sequence[str], folds: int, *, as_json: bool) -> None:
    """Build every fold of a configuration and print each one's figures and checks, their mean and their spread.

    Raises WakewordError, when all is printed, that names the folds that failed.
    """
    loaded = load_config(config_path(config), settings)
    with Bars() as bars:
        found = list(cross_validate(loaded, home_path(home), folds, bars))
    confidence = loaded.evaluation.operating_points.confidence
    everything = together(found, confidence)
    _print_table(found, everything, loaded.phrase, confidence)
    if as_json:
        whole = {} if everything is None else asdict(everything)
        print(json.dumps({"phrase": loaded.phrase, "folds": [asdict(one) for one in found], **whole}))
    failed = [f"fold {one.number} ({one.problem})" for one in found if one.problem]
    if failed:
        raise WakewordError(f"{len(failed)} of {folds} folds failed: {'; '.join(failed)}")


def _print_table(folds: Sequence[Fold], everything: Together | None, phrase: str, confidence: float) -> None:
    title = f"\n{phrase!r} in {len(folds)} folds"
    if everything is not None:
        title += (
            f", together: {everything.misses} of {everything.words} words missed ({everything.frr:.1%}), "
            f"{everything.false_alarms} false alarm{'s' * (everything.false_alarms != 1)} "
            f"in {everything.background_hours:.2f} h"
        )
    table = Table(title=escape(title), title_justify="left")
    for name in ("fold", *_COUNTS, *FIGURES, "checks"):
        table.add_column(_HEADINGS.get(name, name.upper() if name in FIGURES else name), justify="right")
    for one in folds:
        held = f"{one.checks - len(one.failures)} of {one.checks}"
        table.add_row(str(one.number), *_shown(one.figures, (*_COUNTS, *FIGURES)), "failed" if one.problem else held)
    if everything is not None:
        table.add_section()
        blank = [""] * len(_COUNTS)
        table.add_row("mean", *blank, *_shown(everything.mean, FIGURES), "")
        table.add_row("deviation", *blank, *_shown(everything.deviation, FIGURES), "")
        for name, end in ((f"{confidence:.0%} from", 0), ("to", 1)):
            ends = {figure: interval[end] for figure, interval in everything.interval.items()}
            table.add_row(name, *blank, *_shown(ends, FIGURES), "")
    console = Console()
    console.print(table)
    for one in folds:
        for failure in one.failures:
            text = f"fold {one.number}, {failure.artifact}: {failure.severity}: {failure.check}: {failure.description}"
            console.print(escape(text), highlight=False)


def _shown(figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return ["" if figures.get(name) is None else f"{figures[name]:.4g}" for name in names]
