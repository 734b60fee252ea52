"""An artifact as Dagster metadata: pages, pictures, figures that plot over time, and tables."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg

from wakeword_core.store.artifacts import Artifact
from wakeword_core.training.records import EpochRecord

_ROW_FIGURES = ("recordings", "rows", "clips")
_PICTURE_SUFFIX = ".png"
_PAGE_SUFFIX = ".html"
_NAME = "name"
_AIM = "target"
"""How the names of figures begin that say what was aimed at."""
_DIGITS = 6
_MAX_PICTURE_BYTES = 400_000


def artifact_metadata(artifact: Artifact) -> dict[str, Any]:
    """Return an artifact's metadata, in this order: where it is, its pages and pictures, its figures."""
    entries: dict[str, Any] = {
        "artifact_key": artifact.key,
        "path": dg.MetadataValue.path(str(artifact.path)),
        **_pages(artifact),
        **_picture(artifact),
        "size_mb": round(artifact.size / 1e6, 3),
        "build_seconds": artifact.seconds,
        "device": artifact.device,
        **figures_metadata(artifact.figures),
    }
    rows = next((artifact.figures[name] for name in reversed(_ROW_FIGURES) if name in artifact.figures), None)
    if isinstance(rows, int):
        entries["dagster/row_count"] = rows
    return entries


def epoch_event(stage: str, record: EpochRecord) -> dg.AssetObservation:
    """Return what Dagster shows of an epoch while the asset of a training is made: numbers that it plots."""
    figures = {name: value for name, value in asdict(record).items() if value is not None}
    return dg.AssetObservation(stage, description=f"epoch {record.epoch}", metadata=figures_metadata(figures))


def figures_metadata(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures as numbers, tables or, where they are neither, JSON; empty ones are left out."""
    return {name: _figure(value) for name, value in figures.items() if value not in ({}, [], ())}


def _figure(value: Any) -> Any:
    if isinstance(value, Mapping | list | tuple):
        return _table(_rows(value)) or dg.MetadataValue.json(value)
    return dg.MetadataValue.null() if value is None else _rounded(value)


def _rounded(value: Any) -> Any:
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _rows(value: Mapping[str, Any] | Sequence[Any]) -> list[Mapping[str, Any]]:
    """Return a mapping of numbers or of rows, or a list of rows, as rows of a table; none of anything else."""
    if not isinstance(value, Mapping):
        return list(value) if all(isinstance(row, Mapping) for row in value) else []
    if all(isinstance(figure, int | float) for figure in value.values()):
        return [{_NAME: name, "value": figure} for name, figure in value.items()]
    if all(isinstance(row, Mapping) and _NAME not in row for row in value.values()):
        return [{_NAME: name, **row} for name, row in value.items()]
    return []


def _table(rows: list[Mapping[str, Any]]) -> dg.TableMetadataValue | None:
    """Return rows as a table: texts, what was aimed at, then other numbers; None unless all have the same columns."""
    columns = list(rows[0]) if rows else []
    if not columns or any(row.keys() != rows[0].keys() for row in rows):
        return None
    if not all(isinstance(cell, str | int | float) for row in rows for cell in row.values()):
        return None
    numeric = {name for name in columns if all(isinstance(row[name], int | float) for row in rows)}
    columns.sort(key=lambda name: (name in numeric, not name.startswith(_AIM)))
    return dg.MetadataValue.table(
        records=[dg.TableRecord({name: _rounded(value) for name, value in row.items()}) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, "number" if name in numeric else "string") for name in columns]),
    )


def _pages(artifact: Artifact) -> dict[str, Any]:
    """Return links to the artifact's pages, and their paths: a browser follows no link from http to a file."""
    names = [name for name in artifact.files if name.endswith(_PAGE_SUFFIX)]
    pages = {name.removesuffix(_PAGE_SUFFIX): artifact.file(name).resolve() for name in names}
    links = {name: dg.MetadataValue.url(path.as_uri()) for name, path in pages.items()}
    return {**links, **{f"{name}_file": dg.MetadataValue.path(path) for name, path in pages.items()}}


def _picture(artifact: Artifact) -> dict[str, Any]:
    """Return the artifact's pictures that are not too large for Dagster's database."""
    pictures = {}
    for name, entry in artifact.files.items():
        if name.endswith(_PICTURE_SUFFIX) and entry.size <= _MAX_PICTURE_BYTES:
            stem = name.removesuffix(_PICTURE_SUFFIX)
            pictures[stem] = picture_metadata(artifact.file(name).read_bytes(), stem.replace("_", " "))
    return pictures


def picture_metadata(png: bytes, name: str) -> dg.MarkdownMetadataValue:
    """Return a picture as Markdown, which the UI shows after a click."""
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})")
