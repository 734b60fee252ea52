"""`wakeword cross-validate`: build and test a wake word once for each fold of the speakers."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.errors import WakewordError
from wakeword_core.graph.cross_validation import FIGURES, Fold, Together, cross_validate, together
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import ProjectOptions

_COUNTS = ("words", "background_hours")
_HEADINGS = {"background_hours": "hours", "roc_auc": "ROC-AUC", "latency_p50": "latency (s)", "f1": "F1"}
"""Headings of figures that are not their names in capitals."""


def run_folds(options: ProjectOptions, folds: int, *, as_json: bool) -> None:
    """Build every fold of a configuration and print the figures and checks of each, their mean and their spread.

    Raises WakewordError, when all is printed, that names the folds that failed.
    """
    project = options.project()
    config = project.config
    with Bars() as bars:
        results = list(cross_validate(config, project.home, folds, bars))
    confidence = config.evaluation.operating_points.confidence
    everything = together(results, confidence)
    _print_table(results, everything, config.phrase, confidence)
    if as_json:
        whole = {} if everything is None else asdict(everything)
        print(json.dumps({"phrase": config.phrase, "folds": [asdict(fold) for fold in results], **whole}))
    failed = [f"fold {fold.number} ({fold.problem})" for fold in results if fold.problem]
    if failed:
        raise WakewordError(f"{len(failed)} of {folds} folds failed: {'; '.join(failed)}")


def _print_table(folds: Sequence[Fold], everything: Together | None, phrase: str, confidence: float) -> None:
    title = f"\n{printable(repr(phrase))} in {len(folds)} folds"
    if everything is not None:
        title += (
            f", together: {everything.misses} of {everything.words} words missed ({everything.frr:.1%}), "
            f"{everything.false_alarms} false alarm{'s' * (everything.false_alarms != 1)} "
            f"in {everything.background_hours:.2f} h"
        )
    table = Table(title=Text(title, "table.title"), title_justify="left")
    for name in ("fold", *_COUNTS, *FIGURES, "checks"):
        table.add_column(_HEADINGS.get(name, name.upper() if name in FIGURES else name), justify="right")
    for fold in folds:
        passed = f"{fold.checks - len(fold.failures)} of {fold.checks}"
        figures = _cells(fold.figures, (*_COUNTS, *FIGURES))
        table.add_row(str(fold.number), *figures, "failed" if fold.problem else passed)
    if everything is not None:
        table.add_section()
        blank = [""] * len(_COUNTS)
        table.add_row("mean", *blank, *_cells(everything.mean, FIGURES), "")
        table.add_row("deviation", *blank, *_cells(everything.deviation, FIGURES), "")
        for name, end in ((f"{confidence:.0%} from", 0), ("to", 1)):
            ends = {figure: interval[end] for figure, interval in everything.interval.items()}
            table.add_row(name, *blank, *_cells(ends, FIGURES), "")
    console = Console()
    console.print(table)
    for fold in folds:
        for failure in fold.failures:
            text = f"fold {fold.number}, {failure.artifact}: {failure.severity}: {failure.check}: {failure.description}"
            console.print(Text(printable(text)))


def _cells(figures: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return ["" if figures.get(name) is None else f"{figures[name]:.4g}" for name in names]
