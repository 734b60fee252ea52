"""`wakeword lineage`: what something was made from, and what was made from it."""

import csv
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.recordings import COLUMNS, count, count_by_source, recordings_behind
from wakeword_core.lineage.subjects import Subject, find_subject
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import home_path

if TYPE_CHECKING:
    import pandas as pd


def show_lineage(what: str, home: Path | None, *, recordings: bool, as_json: bool) -> None:
    """Print the graph around `what` both ways and the recordings behind it; with `recordings`, list those alone."""
    store = ArtifactStore(home_path(home) / "store")
    subject = find_subject(what, store)
    rows, missing = _recordings(subject, store)
    if recordings and rows is None:
        raise ArtifactError(missing)
    if as_json:
        print(json.dumps(_tree(subject, rows, listed=recordings), default=lambda number: number.item()))
    elif recordings and rows is not None:
        _list(rows)
    else:
        from wakeword_pipeline.cli.tables import print_lineage

        print_lineage(subject, _data(subject, rows), missing)


def _recordings(subject: Subject, store: ArtifactStore) -> "tuple[pd.DataFrame | None, str]":
    """Return the recordings behind the subject, or None and why they cannot be listed."""
    if subject.node is None:
        import pandas as pd

        return pd.DataFrame([subject.recording[-1].row]), ""
    known = any(node.stage != subject.node.stage for node in subject.graph.upstream(subject.node))
    if not store.root.is_dir() and known:
        return None, f"the recordings are listed in the home that made it, and there is none at {store.root.parent}"
    try:
        return recordings_behind(subject.graph, subject.node, store.root), ""
    except ArtifactError as error:
        return None, str(error)


def _data(subject: Subject, rows: "pd.DataFrame | None") -> dict[str, Any] | None:
    """Count the recordings by the manifests, else by the card in the model file."""
    if rows is not None and len(rows):
        sources = [{**asdict(source), **asdict(source.counts)} for source in count_by_source(rows)]
        return {**asdict(count(rows)), "sources": sources}
    card = subject.model.model_card if subject.model else None
    return card["data"] if card else None


def _tree(subject: Subject, rows: "pd.DataFrame | None", *, listed: bool) -> dict[str, Any]:
    graph, node, file = subject.graph, subject.node, subject.model
    after = {
        consumer.id: consumer
        for start in subject.starts
        for consumer in (*([] if node else [start]), *graph.downstream(start))
    }
    newest = subject.recording[-1].row if subject.recording else None
    tree: dict[str, Any] = {
        "artifact": node.to_json() if node else None,
        "recording": {name: newest[name] for name in COLUMNS} if newest else None,
        "model": None
        if file is None
        else {"path": str(file.path), "sha256": file.sha256, "seal": file.seal, "card": file.model_card or file.card},
        "made_from": [source.to_json() for source in graph.upstream(node)] if node else [],
        "goes_into": [consumer.to_json() for consumer in after.values()],
        "recordings": _data(subject, rows),
    }
    if listed and rows is not None:
        tree["recording_list"] = rows[list(COLUMNS)].to_dict("records")
    return tree


def _list(rows: "pd.DataFrame") -> None:
    """Print a line for each recording, tab-separated, for other programs."""
    writer = csv.writer(sys.stdout, delimiter="\t", lineterminator="\n")
    writer.writerow(COLUMNS)
    # a third of what itertuples takes
    writer.writerows(zip(*(map(printable, rows[name]) for name in COLUMNS), strict=True))
