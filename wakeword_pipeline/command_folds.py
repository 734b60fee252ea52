"""The command that cross-validates, and the table it prints."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from wakeword_core.cross_validation import FIGURES, Fold, Together, cross_validate, together
from wakeword_core.loading import load_config
from wakeword_pipeline.home import config_path, home_path
from wakeword_pipeline.logs import Bars


def run_folds(config: Path | None, home: Path | None, settings: Sequence[str], folds: int, *, as_json: bool) -> None:
    """Build every fold of a configuration and print each one's figures, their mean and their spread."""
    loaded = load_config(config_path(config), settings)
    with Bars() as bars:
        found = list(cross_validate(loaded, home_path(home), folds, bars))
    everything = together(found)
    _print_table(found, everything, loaded.phrase)
    if as_json:
        print(json.dumps({"phrase": loaded.phrase, "folds": [asdict(one) for one in found], **asdict(everything)}))


def _print_table(folds: Sequence[Fold], everything: Together, phrase: str) -> None:
    title = (
        f"\n{phrase!r} in {len(folds)} folds: {everything.misses} of {everything.words} words missed "
        f"({everything.frr:.1%}), {everything.false_alarms} false alarms in {everything.background_hours:.2f} h"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("fold", "words", "hours", *FIGURES):
        table.add_column(heading, justify="right")
    for one in folds:
        table.add_row(str(one.number), str(one.figures["words"]), *_shown(one.figures, ("background_hours", *FIGURES)))
    table.add_section()
    table.add_row("mean", "", "", *_shown(everything.mean, FIGURES))
    table.add_row("deviation", "", "", *_shown(everything.deviation, FIGURES))
    Console().print(table)


def _shown(figures: dict[str, Any], names: Sequence[str]) -> list[str]:
    return ["" if figures.get(name) is None else f"{figures[name]:.4g}" for name in names]
