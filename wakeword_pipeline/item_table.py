"""Things that may be deleted, as a table and as JSON."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wakeword_core.store.cleaning import Item, freed_bytes

_MEGABYTE, _KILOBYTE = 1e6, 1e3


def print_items(title: str, items: Sequence[Item]) -> None:
    """Print what each item is, why it is named, its size, and what deleting all of them would give back."""
    table = Table(title=title, title_justify="left", show_footer=True)
    table.add_column("stage", footer="together", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("because")
    table.add_column("size", footer=shown_size(freed_bytes(items)), justify="right", no_wrap=True)
    for item in items:
        table.add_row(escape(item.stage), escape(item.what), escape(item.because), shown_size(item.size))
    Console().print(table)


def items_json(items: Sequence[Item]) -> list[dict[str, Any]]:
    """The items as JSON values, sizes in bytes."""
    return [
        {
            "stage": item.stage,
            "what": item.what,
            "because": item.because,
            "bytes": item.size,
            "paths": [str(path) for path in item.paths],
        }
        for item in items
    ]


def things(items: Sequence[Item]) -> str:
    """How many items there are, in words."""
    return f"{len(items)} thing{'s' * (len(items) != 1)}"


def shown_size(size: int) -> str:
    """Bytes for people: 12.3 MB, or 4.5 kB."""
    return f"{size / _MEGABYTE:,.1f} MB" if size >= _MEGABYTE else f"{size / _KILOBYTE:.1f} kB"
