"""One row a recording: what it is, whether it is fit for use, who speaks in it, and which split it is in."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from wakeword_core.config import NEGATIVE_LABEL, SPLITS, DataConfig, SourceConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import digest, replacing, write_json
from wakeword_core.health import (
    NOT_HEARD,
    SPAN_ROLES,
    Fault,
    header_faults,
    measure_header,
    measure_sound,
    sound_faults,
)
from wakeword_core.progress import Progress, silent
from wakeword_core.scan import ScanCache, in_threads, scan
from wakeword_core.splits import assign_splits, check_classes, check_splits, speaker_groups
from wakeword_core.vad import SpeechDetector

log = logging.getLogger(__name__)

__all__ = ["ManifestSummary", "build_manifest", "check_manifest", "check_splits", "read_manifest", "split_facets"]

MANIFEST = "manifest.parquet"
SUMMARY = "summary.json"
COLUMNS = (
    "id", "path", "source", "licence", "label", "role", "speaker", "speaker_known", "sample_rate", "channels",
    "frames", "seconds", "peak", "rms_dbfs", "clipped_ratio", "speech_ratio", "speech_start", "speech_end", "status",
    "reason", "split",
)  # fmt: skip
_FACET_COLUMNS = ["id", "label", "role", "speaker", "source", "seconds", "speech_start", "speech_end"]
_SAVE_EVERY = 200


@dataclass(frozen=True)
class ManifestSummary:
    """Counts of a manifest, for people; hours, speakers and licences are of the usable recordings."""

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


def build_manifest(
    sources: Sequence[SourceConfig],
    config: DataConfig,
    phrase: str,
    seed: int,
    cache: ScanCache,
    out: Path,
    progress: Progress = silent,
) -> ManifestSummary:
    """Scan, measure, judge and split all recordings; writes manifest.parquet and summary.json to `out`.

    Unfit recordings stay in the manifest with status "quarantined" and a reason. Only recordings not seen before are
    decoded. DataError when a source's folder is missing or has no recordings.
    """
    listing = scan(sources, cache, progress, workers=config.workers)
    if listing.rows.empty:
        raise DataError("there are no sources of recordings; add one under data.sources, or enable synthesis")
    rows = _described(listing.rows, sources, phrase)
    faults: list[Fault] = []
    _add_headers(rows, sources, config, cache, progress)
    faults += header_faults(rows, config)
    _add_sound(rows, ~_any(faults, rows), sources, config, cache, progress)
    faults += sound_faults(rows, config)
    rows["kind"], rows["reason"] = _judged(rows, faults)
    _quarantine_copies(rows)
    rows["status"] = np.where(rows["kind"] == "", "ok", "quarantined")
    unheard = (rows["kind"] == "") & (rows["heard"] == False)  # noqa: E712 - missing where nothing was to be heard
    rows.loc[unheard, "reason"] = NOT_HEARD
    fixed = rows["source"].map({source.name: source.split for source in sources})
    rows["split"] = assign_splits(rows["speaker"], fixed, seed, config)
    summary = _summary(rows, unheard)
    _write(rows, out)
    write_json(out / SUMMARY, asdict(summary))
    return summary


def read_manifest(folder: Path, split: str | None = None, usable: bool = True) -> pd.DataFrame:
    """The rows of a manifest, of one split and fit for use, or all of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / MANIFEST
    try:
        frame: pd.DataFrame = pq.read_table(path, page_checksum_verification=True).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); build the manifest again") from error
    if split is not None:
        frame = frame[frame["split"] == split]
    if usable:
        frame = frame[frame["status"] == "ok"]
    return frame.reset_index(drop=True)


def quarantined(folder: Path) -> list[dict[str, str]]:
    """Recordings that are not used, as {source, path, reason}, in manifest order."""
    rows = read_manifest(folder, usable=False)
    return rows.loc[rows["status"] == "quarantined", ["source", "path", "reason"]].to_dict("records")


def split_facets(frame: pd.DataFrame) -> dict[str, str]:
    """Split -> hash over what its usable recordings are; file names do not count, so a rename changes nothing."""
    facets: dict[str, str] = {}
    for split in SPLITS:
        rows = frame[(frame["split"] == split) & (frame["status"] == "ok")].sort_values("id")[_FACET_COLUMNS]
        facets[split] = digest(rows.astype(object).where(rows.notna(), None).to_numpy().tolist())
    return facets


def check_manifest(frame: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Sentences about labels (and the negatives) that some split has nothing usable of; empty when all is well."""
    usable = frame[(frame["status"] == "ok") & (frame["role"] != "rir")]
    advice = {
        "train": "add recordings, or lower data.test_fraction and data.val_fraction",
        "val": "add recordings of more speakers, or raise data.val_fraction",
        "test": "add recordings of more speakers, or raise data.test_fraction",
    }
    return check_classes(usable, labels, advice)


def _described(listing: pd.DataFrame, sources: Sequence[SourceConfig], phrase: str) -> pd.DataFrame:
    """The listing with licence, label, role, speaker and speaker_known added."""
    by_name = {source.name: source for source in sources}
    rows = listing.rename(columns={"error": "unread"})
    rows["licence"] = rows["source"].map({name: source.licence for name, source in by_name.items()})
    rows["role"] = rows["source"].map({name: source.role for name, source in by_name.items()})
    words = {name: source.label or phrase for name, source in by_name.items() if source.role == "positive"}
    rows["label"] = [words.get(name, NEGATIVE_LABEL) for name in rows["source"]]
    speakers: list[str] = []
    known: list[bool] = []
    for name, group in rows.groupby("source", sort=False):
        found = speaker_groups(by_name[str(name)], group["path"].tolist(), group["id"].tolist())
        speakers += found[0]
        known += found[1]
    rows["speaker"], rows["speaker_known"] = speakers, known
    return rows


def _add_headers(
    rows: pd.DataFrame, sources: Sequence[SourceConfig], config: DataConfig, cache: ScanCache, progress: Progress
) -> None:
    readable = (rows["unread"] == "") & (rows["size"] > 0) & (rows["size"] <= config.max_file_mb * 1e6)
    facts = cache.facts("header", rows["id"][readable])
    missing = rows[readable & ~rows["id"].isin(facts)].drop_duplicates("id")
    jobs = _jobs(missing, sources)
    fresh = []
    for done, ((one, _), header) in enumerate(in_threads(lambda job: measure_header(job[1]), jobs, config.workers)):
        facts[one] = header
        fresh.append((one, "header", header))
        progress("read headers", done + 1, len(missing))
    cache.remember_facts(fresh)
    _spread(rows, facts, {"sample_rate": 0, "channels": 0, "frames": 0, "seconds": np.nan, "error": ""}, "header_error")


def _add_sound(
    rows: pd.DataFrame,
    fit: pd.Series,
    sources: Sequence[SourceConfig],
    config: DataConfig,
    cache: ScanCache,
    progress: Progress,
) -> None:
    spoken = rows["role"].isin(SPAN_ROLES)
    speech_kind = f"speech {config.vad_threshold:g}"
    levels = cache.facts("levels", rows["id"][fit])
    speech = cache.facts(speech_kind, rows["id"][fit & spoken])
    heard_or_unfit = rows["id"].isin(speech) | rows["id"].map(lambda one: "peak" not in levels.get(one, {"peak": 0}))
    needed = fit & (~rows["id"].isin(levels) | (spoken & ~heard_or_unfit))
    wanted = set(rows["id"][needed & spoken])
    missing = rows[needed].drop_duplicates("id")
    rates = dict(zip(missing["id"], missing["sample_rate"], strict=True))
    detector = SpeechDetector() if wanted else None

    def measure(job: tuple[str, Path]) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return measure_sound(job[1], rates[job[0]], detector if job[0] in wanted else None, config.vad_threshold)

    fresh: list[tuple[str, str, Any]] = []
    try:
        measured = in_threads(measure, _jobs(missing, sources), config.workers)
        for done, ((one, _), (level, span)) in enumerate(measured):
            levels[one] = level
            fresh.append((one, "levels", level))
            if span is not None:
                speech[one] = span
                fresh.append((one, speech_kind, span))
            progress("measure recordings", done + 1, len(missing))
            if len(fresh) >= _SAVE_EVERY:
                cache.remember_facts(fresh)
                fresh.clear()
    finally:
        cache.remember_facts(fresh)
    defaults = {"peak": np.nan, "rms_dbfs": np.nan, "clipped_ratio": np.nan, "finite": True, "error": ""}
    _spread(rows, levels, defaults, "levels_error")
    speech_defaults = {"speech_ratio": np.nan, "speech_start": np.nan, "speech_end": np.nan, "heard": None}
    _spread(rows, speech, speech_defaults, "")
    rows.loc[~spoken, ["speech_ratio", "speech_start", "speech_end"]] = np.nan


def _jobs(rows: pd.DataFrame, sources: Sequence[SourceConfig]) -> Iterable[tuple[str, Path]]:
    roots = {source.name: source.path.resolve() for source in sources}
    return [(one, roots[name] / path) for one, name, path in rows[["id", "source", "path"]].itertuples(index=False)]


def _spread(
    rows: pd.DataFrame, facts: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Any], error_column: str
) -> None:
    """Add a column a fact to `rows`, matched by id; `error` goes to `error_column`."""
    found = [facts.get(one, {}) for one in rows["id"]]
    for name, default in defaults.items():
        rows[error_column if name == "error" else name] = [fact.get(name, default) for fact in found]


def _any(faults: Iterable[Fault], rows: pd.DataFrame) -> pd.Series:
    found = pd.Series(False, index=rows.index)
    for fault in faults:
        found |= fault.rows
    return found


def _judged(rows: pd.DataFrame, faults: Sequence[Fault]) -> tuple[pd.Series, pd.Series]:
    """Kind and sentence of the first fault of each row, both empty where there is none."""
    kinds, reasons = pd.Series("", index=rows.index), pd.Series("", index=rows.index)
    for fault in faults:
        new = fault.rows & (kinds == "")
        kinds[new] = fault.kind
        reasons[new] = [fault.sentence(row) for row in rows[new].itertuples(index=False)]
    return kinds, reasons


def _quarantine_copies(rows: pd.DataFrame) -> None:
    """Of equal recordings keep the first; if their labels or roles disagree, keep none."""
    fit = rows[rows["kind"] == ""]
    meanings = (fit["label"] + " as " + fit["role"]).groupby(fit["id"])
    for one, group in meanings:
        if len(group) < 2:
            continue
        first, *others = group.index
        if group.nunique() > 1:
            rows.loc[group.index, "kind"] = "conflicting labels"
            rows.loc[group.index, "reason"] = (
                f"the same bytes are {' and '.join(sorted(group.unique()))}; remove the wrong ones"
            )
            log.warning("recording %s is quarantined: it has conflicting labels", one)
        else:
            rows.loc[others, "kind"] = "duplicate"
            rows.loc[others, "reason"] = f"duplicate of {rows.at[first, 'source']}/{rows.at[first, 'path']}"


def _summary(rows: pd.DataFrame, unheard: pd.Series) -> ManifestSummary:
    usable = rows[rows["status"] == "ok"]
    by_split = {split: usable[usable["split"] == split] for split in SPLITS}
    quarantined = rows[rows["status"] != "ok"]
    return ManifestSummary(
        recordings=len(rows),
        usable=len(usable),
        quarantined=len(quarantined),
        hours=_hours(usable),
        speakers=int(usable["speaker"].nunique()),
        unknown_speaker_share=round(float((~usable["speaker_known"]).mean()), 4) if len(usable) else 0.0,
        roles=_counts(usable["role"]),
        labels=_counts(usable["label"]),
        splits={split: len(part) for split, part in by_split.items()},
        sources=_counts(usable["source"]),
        split_labels={split: _counts(part["label"]) for split, part in by_split.items()},
        split_hours={split: _hours(part) for split, part in by_split.items()},
        split_speakers={split: int(part["speaker"].nunique()) for split, part in by_split.items()},
        licences=_counts(usable["licence"].replace("", "not stated")),
        reasons=_counts(quarantined["kind"]),
        notes={NOT_HEARD: int(unheard.sum())} if unheard.any() else {},
    )


def _counts(values: pd.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in sorted(values.value_counts().items())}


def _hours(rows: pd.DataFrame) -> float:
    return round(float(rows["seconds"].sum()) / 3600, 4)


def _write(rows: pd.DataFrame, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(rows[list(COLUMNS)], preserve_index=False).replace_schema_metadata(None)
    with replacing(out / MANIFEST) as part:
        pq.write_table(table, part, write_page_checksum=True)
