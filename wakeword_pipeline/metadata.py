"""An artifact as Dagster metadata: figures that plot over time, tables, and one picture."""

import base64
from collections.abc import Mapping
from typing import Any

import dagster as dg

from wakeword_core.store.artifacts import Artifact

_ROW_FIGURES = ("recordings", "rows", "clips")
_PICTURE_SUFFIX = ".png"
_PAGE_SUFFIX = ".html"
_DIGITS = 6
_MAX_PICTURE_BYTES = 400_000


def artifact_metadata(artifact: Artifact) -> dict[str, Any]:
    """Everything worth showing about an artifact: its key and size, its figures and its picture."""
    entries: dict[str, Any] = {
        "artifact_key": artifact.key,
        "path": dg.MetadataValue.path(str(artifact.path)),
        "size_mb": round(artifact.size / 1e6, 3),
        "build_seconds": artifact.seconds,
        "device": artifact.device,
    }
    for name, value in artifact.figures.items():
        entries |= _entry(name, value)
    rows = next((artifact.figures[name] for name in reversed(_ROW_FIGURES) if name in artifact.figures), None)
    if isinstance(rows, int):
        entries["dagster/row_count"] = rows
    return entries | _pages(artifact) | _picture(artifact)


def _entry(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        if not value:
            return {}
        return {name: _table(value)}
    if isinstance(value, list | tuple):
        if value and all(isinstance(row, Mapping) for row in value):
            return {name: _rows(list(value))}
        return {name: dg.MetadataValue.json(list(value))}
    if value is None:
        return {name: dg.MetadataValue.null()}
    if isinstance(value, float):
        return {name: float(f"{value:.{_DIGITS}g}")}
    return {name: value}


def _table(value: Mapping[str, Any]) -> Any:
    if all(isinstance(one, int | float) for one in value.values()):
        return dg.MetadataValue.table(
            records=[dg.TableRecord({"name": str(key), "value": one}) for key, one in value.items()],
            schema=dg.TableSchema([dg.TableColumn("name", "string"), dg.TableColumn("value", "number")]),
        )
    return dg.MetadataValue.json(dict(value))


def _rows(rows: list[Mapping[str, Any]]) -> Any:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not all(isinstance(value, str | int | float | bool) for row in rows for value in row.values()):
        return dg.MetadataValue.json([dict(row) for row in rows])
    numeric = {name for name in columns if all(isinstance(row.get(name, 0), int | float) for row in rows)}
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(row)) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name, "number" if name in numeric else "string") for name in columns]),
    )


def _pages(artifact: Artifact) -> dict[str, Any]:
    """Links to the artifact's pages, and their paths: a browser follows no link from http to a file."""
    pages = {name.removesuffix(_PAGE_SUFFIX): artifact.file(name).resolve() for name in _page_names(artifact)}
    links = {name: dg.MetadataValue.url(path.as_uri()) for name, path in pages.items()}
    return {**links, **{f"{name}_file": dg.MetadataValue.path(path) for name, path in pages.items()}}


def _page_names(artifact: Artifact) -> list[str]:
    return [name for name in artifact.files if name.endswith(_PAGE_SUFFIX)]


def _picture(artifact: Artifact) -> dict[str, Any]:
    """The artifact's pictures as Markdown; they open behind a click in the UI."""
    pictures = {}
    for name, entry in artifact.files.items():
        if name.endswith(_PICTURE_SUFFIX) and entry.size <= _MAX_PICTURE_BYTES:
            data = base64.b64encode(artifact.file(name).read_bytes()).decode()
            title = name.removesuffix(_PICTURE_SUFFIX).replace("_", " ")
            pictures[name.removesuffix(_PICTURE_SUFFIX)] = dg.MetadataValue.md(
                f"![{title}](data:image/png;base64,{data})"
            )
    return pictures
