"""What people are told of a manifest: how many recordings of what, whose, how long, and what is wrong with the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from wakeword_core.config import SPLITS, Split

_NOT_STATED = "not stated"


@dataclass(frozen=True)
class ManifestSummary:
    """Counts of a manifest; hours, speakers and licences are of the usable recordings."""

    recordings: int
    usable: int
    quarantined: int
    hours: float
    speakers: int
    unknown_speaker_share: float
    """Share of usable recordings whose speaker is unknown, so that a speaker may be on both sides of the split."""
    roles: dict[str, int]
    labels: dict[str, int]
    splits: dict[str, int]
    sources: dict[str, int]
    split_labels: dict[str, dict[str, int]]
    split_hours: dict[str, float]
    split_speakers: dict[str, int]
    licences: dict[str, int]
    reasons: dict[str, int]
    """Quarantined recordings by kind of fault."""
    notes: dict[str, int]
    """Usable recordings that something is to be said about."""
    health: list[dict[str, Any]] = field(default_factory=list)
    """A row a split and label: recordings, their share of the split, hours, speakers, how many of recordings and
    speakers are real, and how many recordings are left out."""
    missing_sources: list[dict[str, str]] = field(default_factory=list)
    """Sources of which nothing is used: {source, problem}."""
    forgotten: int = 0
    """Files that are there, but that somebody asked to forget."""
    near_labels: list[dict[str, Any]] = field(default_factory=list)
    """Labels that make negatives and are almost a wake word: {source, label, word, recordings}."""
    found: list[dict[str, Any]] = field(default_factory=list)
    """A row a source: {source, found, used, left_out}, the last with the number for each reason, as text; and of what
    is used, hours, speakers, and labels, licences and rates as text."""
    not_read: list[str] = field(default_factory=list)
    """What of the sources could not be looked at, a sentence each."""
    synthetic: list[str] = field(default_factory=list)
    """Sources whose recordings are made from text or computed."""


def summarize(
    rows: pd.DataFrame,
    notes: Mapping[str, int],
    missing: Mapping[str, str],
    forgotten: int = 0,
    synthetic: Sequence[str] = (),
) -> ManifestSummary:
    """Count all rows of a manifest, with their kind of fault; `missing` is source -> problem, `synthetic` sources."""
    columns = ["label", "role", "split", "speaker", "speaker_known", "source", "licence", "seconds"]
    ok = rows["status"] == "ok"
    usable = rows.loc[ok, columns].assign(real=~rows.loc[ok, "source"].isin(synthetic))
    counted = ["label", "seconds", "speaker", "real"]
    by_split = {split: usable.loc[usable["split"] == split, counted] for split in SPLITS}
    return ManifestSummary(
        recordings=len(rows),
        usable=len(usable),
        quarantined=len(rows) - len(usable),
        hours=_hours(usable),
        speakers=int(usable["speaker"].nunique()),
        unknown_speaker_share=round(float((~usable["speaker_known"]).mean()), 4) if len(usable) else 0.0,
        roles=counts_of(usable["role"]),
        labels=counts_of(usable["label"]),
        splits={split: len(part) for split, part in by_split.items()},
        sources=counts_of(usable["source"]),
        split_labels={split: counts_of(part["label"]) for split, part in by_split.items()},
        split_hours={split: _hours(part) for split, part in by_split.items()},
        split_speakers={split: int(part["speaker"].nunique()) for split, part in by_split.items()},
        licences=counts_of(usable["licence"].replace("", _NOT_STATED)),
        reasons=counts_of(rows.loc[~ok, "kind"]),
        notes={name: count for name, count in notes.items() if count},
        health=_health(by_split, rows.loc[~ok, ["split", "label"]]),
        missing_sources=[{"source": name, "problem": problem} for name, problem in missing.items()],
        forgotten=forgotten,
        synthetic=list(synthetic),
    )


def source_facts(rows: pd.DataFrame) -> dict[str, Any]:
    """Count what the recordings of one source are: hours, labels, speakers, licences, sample rates."""
    known = rows[rows["speaker_known"].astype(bool)]
    return {
        "hours": _hours(rows),
        "labels": counts_of(rows["label"]),
        "speakers": int(known["speaker"].nunique()),
        "unknown_speakers": len(rows) - len(known),
        "licences": counts_of(rows["licence"].replace("", _NOT_STATED)),
        "rates": counts_of(rows["sample_rate"].astype(int)),
    }


def counted(counts: Mapping[str, int], most: int | None = None) -> str:
    """Write counts as text, the largest first: "marvin 1,200, sheila 900"; those beyond `most` names are a number."""
    largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    left = len(largest[most:]) if most else 0
    return ", ".join(f"{name} {count:,}" for name, count in largest[:most]) + (f", and {left:,} more" if left else "")


def _health(by_split: Mapping[Split, pd.DataFrame], left_out: pd.DataFrame) -> list[dict[str, Any]]:
    table = []
    for split, part in by_split.items():
        outside = left_out.loc[left_out["split"] == split, "label"].value_counts()
        for label in sorted(set(part["label"].unique()) | set(outside.index)):
            chosen = part[part["label"] == label]
            real = chosen[chosen["real"]]
            table.append(
                {
                    "split": split,
                    "label": str(label),
                    "recordings": len(chosen),
                    "share": round(len(chosen) / max(len(part), 1), 4),
                    "hours": _hours(chosen),
                    "speakers": int(chosen["speaker"].nunique()),
                    "real": len(real),
                    "real_speakers": int(real["speaker"].nunique()),
                    "left_out": int(outside.get(label, 0)),
                }
            )
    return table


def counts_of(values: pd.Series) -> dict[str, int]:
    """Count how often each value stands in a column, by name in order."""
    return {str(name): int(count) for name, count in sorted(values.value_counts().items())}


def _hours(rows: pd.DataFrame) -> float:
    return round(float(rows["seconds"].sum()) / 3600, 4)
