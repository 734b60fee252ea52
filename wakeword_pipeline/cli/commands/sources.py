"""`wakeword sources`: what each source of recordings holds, before anything is built from it."""

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import ProjectOptions

if TYPE_CHECKING:
    from wakeword_core.recordings.inventory import Holding

_SHOWN = 12
"""Labels, licences and rates that are named; the others are counted."""


def show_sources(options: ProjectOptions, *, as_json: bool) -> None:
    """Print a table for each source: what it holds, and what of it is refused and why."""
    from wakeword_core.recordings.inventory import holdings
    from wakeword_core.workers import workers_for

    # a source that is broken is shown with the others
    options = replace(options, settings=(*options.settings, "data.missing_source=report"))
    project = options.project()
    config = project.config
    with Bars() as bars:
        project.progress = bars
        cache = project.scan_cache()
        workers = workers_for(config.compute, project.home)
        listing = project.listing()
        found = holdings(listing, config.data.sources, config.data, config.phrase, cache, bars, workers)
    if as_json:
        print(json.dumps({"sources": [asdict(holding) for holding in found], "forgotten": listing.forgotten}))
        return
    console = Console(highlight=False)
    if not found:
        console.print(
            Text(printable(f"{options.config} has no sources of recordings; add one under data.sources.")),
            soft_wrap=True,
        )
    for holding in found:
        _print(console, holding)
    if listing.forgotten:
        told = f"{listing.forgotten:,} recordings are" if listing.forgotten > 1 else "1 recording is"
        text = printable(f"{told} forgotten in {project.home}, and counted nowhere above.")
        console.print(Text(text), soft_wrap=True)


def _print(console: Console, holding: "Holding") -> None:
    heading = Text.assemble((printable(holding.source), "bold"), printable(f"  {holding.role}, {holding.place}"))
    console.print(heading, soft_wrap=True)
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(holding):
        if text:
            table.add_row(name, Text(printable(text), "yellow" if name in ("refused", "", "problem") else ""))
    console.print(table)
    console.print()


def _lines(holding: "Holding") -> Iterator[tuple[str, str]]:
    """What is told of a source, and what it is; an empty text is not told."""
    from wakeword_core.recordings.summary import counted

    if holding.problem:
        yield "problem", holding.problem
    else:
        yield "recordings", f"{holding.recordings:,}, {holding.hours:,.2f} h"
        yield "labels", counted(holding.labels, _SHOWN)
        unknown = f"{holding.unknown_speakers:,} recordings by unknown ones" if holding.unknown_speakers else ""
        yield "speakers", ", ".join(filter(None, (f"{holding.speakers:,}" if holding.speakers else "", unknown)))
        yield "licences", counted(holding.licences, _SHOWN)
        yield "rates", counted({f"{int(rate):,} Hz": count for rate, count in holding.rates.items()}, _SHOWN)
        yield "splits", counted(holding.splits)
    if holding.columns:
        yield "columns", ", ".join(holding.columns)
    for index, refused in enumerate(holding.refused):
        yield "" if index else "refused", f"{refused['count']:,} {refused['reason']}, such as {refused['example']}"
