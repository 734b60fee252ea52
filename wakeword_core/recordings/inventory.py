"""What sources hold before anything is built from them, by the headers of their recordings."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from wakeword_core.config import DataConfig, SourceConfig
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.data_sets.files import Index
from wakeword_core.recordings.health import header_faults, left_out
from wakeword_core.recordings.labels import stated_labels
from wakeword_core.recordings.manifest import describe, judged, quarantine_copies
from wakeword_core.recordings.measures import Measures
from wakeword_core.recordings.measuring import add_headers
from wakeword_core.recordings.scan import Listing, ScanCache
from wakeword_core.recordings.sources import LeftOut
from wakeword_core.recordings.summary import counts_of, source_facts
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

BY_SPEAKER = "by speaker"
"""Instead of a split, where none is stated."""


@dataclass(frozen=True)
class Holding:
    """What one source holds."""

    source: str
    role: str
    place: str
    """Path or URL."""
    problem: str = ""
    """Why nothing of it can be used."""
    recordings: int = 0
    hours: float = 0.0
    labels: dict[str, int] = field(default_factory=dict)
    """As the source has them; where it has none, as the class that its recordings are of."""
    speakers: int = 0
    unknown_speakers: int = 0
    """Recordings of which it is not known who speaks."""
    licences: dict[str, int] = field(default_factory=dict)
    rates: dict[str, int] = field(default_factory=dict)
    """Sample rate in Hz -> recordings."""
    splits: dict[str, int] = field(default_factory=dict)
    """Split that is stated, or `BY_SPEAKER` -> recordings."""
    refused: list[dict[str, Any]] = field(default_factory=list)
    """What is there and is not used: {reason, count, example}."""
    columns: list[str] = field(default_factory=list)
    """What a data set has to choose from."""


def holdings(
    listing: Listing,
    sources: Sequence[SourceConfig],
    config: DataConfig,
    phrase: str,
    cache: ScanCache,
    progress: Progress = silent,
    workers: Workers = THIS_MACHINE,
) -> list[Holding]:
    """Say of each source what a listing has of it; only headers are read, so that silence and noise are not known."""
    parts, missing, _ = describe(listing, sources, config, phrase)
    rows = pd.concat(parts, ignore_index=True) if parts else None
    if rows is not None:
        add_headers(rows, Measures(rows["recording_id"]), sources, config.health, cache, progress, workers)
        rows["kind"], rows["reason"] = judged(rows, [left_out(rows), *header_faults(rows, config.health)])
        quarantine_copies(rows)
        rows["label"] = _called(rows, listing, sources)
    return [
        _holding(
            source,
            missing.get(source.name, ""),
            rows[rows["source"] == source.name] if rows is not None else None,
            listing.left_out.get(source.name, LeftOut()),
        )
        for source in sources
    ]


def _called(rows: pd.DataFrame, listing: Listing, sources: Sequence[SourceConfig]) -> pd.Series:
    """What each source itself calls its recordings; their class where it says nothing."""
    called = rows["label"].copy()
    for source in sources:
        own = rows[rows["source"] == source.name]
        if len(own):
            texts = stated_labels(source, own["path"].tolist(), listing.stated.get(source.name))
            called[own.index] = [text or label for text, label in zip(texts, own["label"], strict=True)]
    return called


def _holding(source: SourceConfig, problem: str, rows: pd.DataFrame | None, left_out: LeftOut) -> Holding:
    refused = [
        {"reason": reason, "count": count, "example": left_out.examples[reason]}
        for reason, count in sorted(left_out.counts.items())
    ]
    files = Index.of(source).files.values() if source.columns is not None else ()
    holding = Holding(
        source.name,
        source.role,
        source.url or str(source.path),
        problem,
        refused=refused,
        columns=sorted({column for file in files for column in file.columns}),
    )
    if rows is None or problem:
        return holding
    for kind, unusable in rows[rows["kind"] != ""].groupby("kind"):
        first = unusable.iloc[0]
        refused.append({"reason": str(kind), "count": len(unusable), "example": f"{first['path']}: {first['reason']}"})
    usable = rows[rows["kind"] == ""]
    splits = counts_of(usable["fixed"].replace("", BY_SPEAKER))
    return replace(holding, recordings=len(usable), splits=splits, **source_facts(usable))
