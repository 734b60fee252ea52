"""One row a recording: what it is, whether it is fit for use, who speaks in it, and which split it is in."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from wakeword_core.config import SPLITS, DataConfig, SourceConfig, wake_words
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import reading, replacing, write_json
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.corrections import CORRECTED, correct, read_corrections
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN, Forgotten
from wakeword_core.recordings.health import NOT_HEARD, SPAN_ROLES, Fault, header_faults, sound_faults
from wakeword_core.recordings.health import left_out as left_out_by_people
from wakeword_core.recordings.labels import labels_and_roles, nearly_wake_words, speaker_groups
from wakeword_core.recordings.measures import MEASURES, Measures, read_measures
from wakeword_core.recordings.measuring import add_headers, add_sound
from wakeword_core.recordings.row import (
    RecordingRow,
    hash_table,
    places_by_id,
    plain_rows,
    require_types,
    row_columns,
    row_schema,
)
from wakeword_core.recordings.scan import Listing, ScanCache, scan
from wakeword_core.recordings.sources import LeftOut
from wakeword_core.recordings.splits import check_classes, split_recordings
from wakeword_core.recordings.summary import ManifestSummary, counted, counts_of, source_facts, summarize
from wakeword_core.recordings.tables import SPAN
from wakeword_core.workers.base import Workers
from wakeword_core.workers.local import THIS_MACHINE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

MANIFEST_FILE = "manifest.parquet"
SUMMARY = "summary.json"
ROOTS = "roots.json"
"""Source -> folder that its paths begin at, by which a place is known again when its source has another name."""
SPLIT_PLACES = "splits"
"""Folder beside the scan cache that remembers where each speaker group was put."""
_ALL_FORGOTTEN = "every recording there is has been forgotten; add others under data.sources"
_STATED_SPAN = dict(zip(("stated_start", "stated_end"), SPAN, strict=True))
_NO_SOURCES = "there are no sources of recordings; add one under data.sources, or enable synthesis"


@dataclass(frozen=True)
class ManifestRow(RecordingRow):
    """A recording as the manifest lists it, whether it is used or not."""

    path: str
    """Relative to the folder of its source."""
    licence: str
    speaker_known: bool
    sample_rate: int
    channels: int
    frames: int
    peak: float
    rms_dbfs: float
    clipped_ratio: float
    speech_ratio: float
    status: str
    reason: str
    split: str


COLUMNS = row_columns(ManifestRow)


def build_manifest(
    sources: Sequence[SourceConfig],
    config: DataConfig,
    phrase: str,
    seed: int,
    cache: ScanCache,
    out: Path,
    progress: Progress = silent,
    forgotten: Forgotten = NOTHING_FORGOTTEN,
    workers: Workers = THIS_MACHINE,
    listed: Listing | None = None,
    earlier: "pa.Table | None" = None,
) -> ManifestSummary:
    """Scan, measure, judge and split all recordings; writes MANIFEST_FILE, MEASURES and summary.json to `out`.

    What is `forgotten` has no row, since a row says whose voice it is: its number is all that is told.
    Unfit recordings stay in the manifest with status "quarantined" and a reason. Only recordings not seen before are
    decoded; the `earlier` measures of another manifest, and the cache, have what was found out of the others.
    A source that is missing or broken is left out and named in the summary; DataError when nothing is left,
    or with `missing_source: fail`. The sources of `config` are not looked at again where they were just `listed`.
    """
    listing = scan(
        sources if listed is None else [source for source in sources if source not in config.sources],
        cache,
        progress,
        threads=workers.cores,
        missing=config.missing_source,
        forgotten=forgotten,
        corrections=read_corrections(config.corrections) if listed is None else {},
    )
    if listed is not None:
        listing = listed.joined(listing)
    rows, missing, near_labels = _described(listing, sources, config, phrase)
    forgotten_files, left_out = listing.forgotten, listing.left_out
    del listing, listed
    measures = Measures(rows["recording_id"], earlier)
    synthetic = sorted(source.name for source in sources if source.synthetic)
    add_headers(rows, measures, sources, config.health, cache, progress, workers)
    faults = [left_out_by_people(rows), *header_faults(rows, config.health)]
    fit = ~np.logical_or.reduce([fault.rows for fault in faults])
    add_sound(rows, pd.Series(fit, rows.index), measures, sources, config.health, cache, progress, workers)
    _write_table(measures.table(), out / MEASURES)
    del measures
    _put_stated_spans(rows)
    faults += sound_faults(rows, config.audio, config.health)
    rows["kind"], rows["reason"] = judged(rows, faults)
    quarantine_copies(rows)
    rows["status"] = np.where(rows["kind"] == "", "ok", "quarantined")
    unheard = (rows["kind"] == "") & (rows["heard"] == 0)
    rows.loc[unheard, "reason"] = NOT_HEARD
    heard = (rows["kind"] == "") & (rows["corrected"] != "")
    said = rows.loc[heard, ["corrected", "reason"]]
    rows.loc[heard, "reason"] = ["; ".join(filter(None, texts)) for texts in plain_rows(said)]
    rows["usable"] = rows["kind"] == ""
    rows["split"] = split_recordings(rows, phrase, seed, config.splits, cache.folder / SPLIT_PLACES)
    _write(rows, out)
    missing |= _without_usable(rows, config)
    notes = {NOT_HEARD: int(unheard.sum()), CORRECTED: int((heard & rows["relabelled"]).sum())}
    summary = replace(
        summarize(rows, notes, missing, forgotten_files, synthetic),
        near_labels=near_labels,
        found=[_found(source.name, rows[rows["source"] == source.name], left_out) for source in sources],
        not_read=_not_read(rows[~rows["source"].isin(missing)], left_out),
    )
    for entry in summary.found:
        of_source = [entry[name] for name in ("source", "found", "used")]
        log.info("source %r: %d files found, %d used, left out: %s", *of_source, entry["left_out"] or "none")
    write_json(out / SUMMARY, asdict(summary))
    return summary


def read_manifest(
    folder: Path, split: str | None = None, usable: bool = True, columns: Sequence[str] = COLUMNS
) -> pd.DataFrame:
    """Read a manifest's rows, all or those of one split or fit for use; `columns` name split and status if used."""
    import pyarrow.parquet as pq

    path = folder / MANIFEST_FILE
    with reading(path, "build the manifest again"):
        if lacking := set(columns) - set(pq.read_schema(path).names):
            names = ", ".join(sorted(lacking))
            raise ArtifactError(f"{path} is of another version of wakeword: it lacks {names}; build the manifest again")
        table = pq.read_table(path, columns=list(columns), page_checksum_verification=True)
        require_types(table, ManifestRow)
        table = table.replace_schema_metadata(None)
        frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)
    if split is not None:
        frame = frame[frame["split"] == split]
    if usable:
        frame = frame[frame["status"] == "ok"]
    return frame.reset_index(drop=True)


def readable_manifests(folders: Iterable[Path], columns: Sequence[str]) -> dict[Path, pd.DataFrame]:
    """Read all rows of those manifests that can be read; a warning names the others: damaged, or of another version."""
    frames = {}
    for folder in folders:
        try:
            frames[folder] = read_manifest(folder, usable=False, columns=columns)
        except ArtifactError as error:
            log.warning("the recordings of an older build are not looked at: %s", error)
    return frames


def read_fingerprints(folder: Path) -> pd.DataFrame:
    """Read id, source, path, split and fingerprint (bytes) of the usable recordings of a manifest that have one."""
    rows = read_manifest(folder, columns=("recording_id", "source", "path", "split", "status"))
    prints = read_measures(folder / MEASURES, ["recording_id", "fingerprint"]).to_pandas()
    rows = rows.merge(prints[prints["fingerprint"].str.len() > 0], on="recording_id")
    return rows[["recording_id", "source", "path", "split", "fingerprint"]]


def quarantined(folder: Path) -> list[dict[str, str]]:
    """List the recordings that are not used, as {source, path, reason}, in manifest order."""
    rows = read_manifest(folder, usable=False, columns=["source", "path", "reason", "status"])
    return rows.loc[rows["status"] == "quarantined", ["source", "path", "reason"]].to_dict("records")


def recording_paths(folder: Path) -> dict[str, str]:
    """Return where each recording of a manifest lies, below the name of its source, by `recording_id`."""
    return places_by_id(read_manifest(folder))


def split_facets(frame: pd.DataFrame) -> dict[str, str]:
    """Hash what the usable recordings of each split are; file names do not count, so a rename changes nothing."""
    facets: dict[str, str] = {}
    for split in SPLITS:
        chosen = (frame["split"] == split) & (frame["status"] == "ok")
        facets[split] = hash_table(frame.loc[chosen, list(row_columns())].sort_values("recording_id"))
    return facets


def sources_facet(frame: pd.DataFrame) -> str:
    """Hash what a model card says of each source's usable recordings: licences, splits, speakers and length."""
    counted = frame.groupby(["source", "licence", "split"]).agg(
        recordings=("recording_id", "size"), seconds=("seconds", "sum"), speakers=("speaker", "nunique")
    )
    return hash_table(counted.round(3).reset_index())


def check_manifest(frame: pd.DataFrame, labels: Sequence[str]) -> list[str]:
    """Say which labels (and negatives) some split has nothing usable of; empty when all is well."""
    return check_classes(_classified(frame), labels)


def prevents_model(frame: pd.DataFrame, labels: Sequence[str]) -> bool:
    """Tell whether no calibrated model can come of a manifest: training or validation lacks a label altogether.

    Without recordings for the test there is a model all the same, of which nothing is known but by validation.
    """
    usable = _classified(frame)
    held = {split: set(own.unique()) for split, own in usable.groupby("split")["label"]}
    return any(not held.get(split, set()).issuperset(labels) for split in ("train", "val"))


def _classified(frame: pd.DataFrame) -> pd.DataFrame:
    """The usable recordings that have a class, which impulse responses have not."""
    return frame[(frame["status"] == "ok") & (frame["role"] != "rir")]


def _without_usable(rows: pd.DataFrame, config: DataConfig) -> dict[str, str]:
    """Source -> why none of its recordings can be used; copies are used by another name. DataError where that fails."""
    problems = {}
    for name, own in rows.groupby("source", sort=False):
        if not own["kind"].isin(["", "duplicate"]).any():
            first = own.iloc[0]
            counts = ", ".join(f"{count} {kind}" for kind, count in counts_of(own["kind"]).items())
            problems[str(name)] = (
                f"none of its {len(own)} recordings can be used ({counts}), as {first['path']}: {first['reason']}"
            )
    if problems and config.missing_source == "fail":
        raise DataError("; ".join(f"source {name!r}: {problem}" for name, problem in problems.items()))
    return problems


def _not_read(rows: pd.DataFrame, left_out: Mapping[str, LeftOut]) -> list[str]:
    problems = [f"source {name!r}: {problem}" for name, unlisted in left_out.items() for problem in unlisted.unexpected]
    for name, own in rows[rows["kind"] == "unreadable"].groupby("source", sort=False):
        first = own.iloc[0]
        problems.append(f"source {name!r}: {len(own)} recordings, such as {first['path']}: {first['reason']}")
    return problems


def _found(name: str, rows: pd.DataFrame, left_out: Mapping[str, LeftOut]) -> dict[str, Any]:
    """What a source's folder or table has, what is used of it, and why the rest is not."""
    unlisted = left_out.get(name, LeftOut())
    unusable = ", ".join(f"{count} {kind}" for kind, count in counts_of(rows.loc[rows["kind"] != "", "kind"]).items())
    facts = source_facts(rows[rows["kind"] == ""])
    return {
        "source": name,
        "found": len(rows) + unlisted.counts.total(),
        "used": int((rows["kind"] == "").sum()),
        "left_out": ", ".join(filter(None, (unusable, str(unlisted)))),
        **{fact: counted(value) if isinstance(value, dict) else value for fact, value in facts.items()},
    }


def _described(
    listing: Listing, sources: Sequence[SourceConfig], config: DataConfig, phrase: str
) -> tuple[pd.DataFrame, dict[str, str], list[dict[str, Any]]]:
    """As `describe`, in one table; DataError where there is nothing."""
    parts, missing, near_labels = describe(listing, sources, config, phrase)
    if not parts:
        everything = _ALL_FORGOTTEN if listing.forgotten else _NO_SOURCES
        raise DataError("; ".join(missing.values()) if missing else everything)
    return pd.concat(parts, ignore_index=True), missing, near_labels


def describe(
    listing: Listing, sources: Sequence[SourceConfig], config: DataConfig, phrase: str
) -> tuple[list[pd.DataFrame], dict[str, str], list[dict[str, Any]]]:
    """Return the rows of each source with what is said of them; source -> why it has none; labels almost a wake word.

    Columns are those of a listing (`error` is `unread`), licence, label, role, speaker, speaker_known, fixed (the split
    that is stated), stated_start, stated_end, and what people corrected (`corrections.correct`).
    """
    by_name = {source.name: source for source in sources}
    words = wake_words(sources, phrase) or {phrase}
    parts, missing, near_labels = list[pd.DataFrame](), dict(listing.missing), list[dict[str, Any]]()
    for name, group in listing.rows.groupby("source", sort=False):
        try:
            source, stated = by_name[str(name)], listing.stated.get(str(name))
            part = _source_rows(source, group, stated, words, phrase)
            if source.role != "positive":
                near_labels += nearly_wake_words(source, group["path"].tolist(), stated, words)
        except DataError as error:
            if config.missing_source == "fail":
                raise
            missing[str(name)] = str(error)
            continue
        correct(part, listing.corrections, words)
        parts.append(part)
    return parts, missing, near_labels


def _source_rows(
    source: SourceConfig, listed: pd.DataFrame, stated: pd.DataFrame | None, words: Collection[str], phrase: str
) -> pd.DataFrame:
    """One source's part of the listing, described by its table where that says something, else by its settings."""
    rows = listed.reset_index(drop=True).rename(columns={"error": "unread"})
    paths = rows["path"].tolist()
    rows["label"], rows["role"] = labels_and_roles(source, paths, stated, words, phrase)
    named = stated["speaker"].tolist() if stated is not None and "speaker" in stated else None
    rows["speaker"], rows["speaker_known"] = speaker_groups(source, paths, rows["recording_id"].tolist(), named)
    for column, stating, otherwise in (("licence", "licence", source.licence), ("fixed", "split", source.split or "")):
        rows[column] = otherwise
        if stated is not None and stating in stated:
            rows[column] = stated[stating].where(stated[stating] != "", otherwise)
    for column, stating in _STATED_SPAN.items():
        rows[column] = pd.to_numeric(stated[stating]) if stated is not None and stating in stated else np.nan
    return rows


def _put_stated_spans(rows: pd.DataFrame) -> None:
    """Let what a table says of where the word is count before what was measured, which may be of other speech."""
    stated = rows["stated_end"].notna() & rows["role"].isin(SPAN_ROLES)
    for column, measured in _STATED_SPAN.items():
        rows.loc[stated, measured] = rows.loc[stated, column]


def judged(rows: pd.DataFrame, faults: Sequence[Fault]) -> tuple[pd.Series, pd.Series]:
    """Return kind and sentence of the first fault of each row, both empty where there is none."""
    kinds, reasons = pd.Series("", index=rows.index), pd.Series("", index=rows.index)
    for fault in (fault for fault in faults if fault.rows.any()):
        new = fault.rows & (kinds == "")
        kinds[new] = fault.kind
        reasons[new] = [fault.sentence(row) for row in rows[new].itertuples(index=False)]
    return kinds, reasons


def quarantine_copies(rows: pd.DataFrame) -> None:
    """Of equal recordings keep the first; if their labels or roles disagree, keep none."""
    fit = rows.loc[rows["kind"] == "", ["recording_id", "label", "role"]]
    fit = fit[fit.duplicated("recording_id", keep=False)]
    meanings = (fit["label"] + " as " + fit["role"]).groupby(fit["recording_id"])
    for _, group in meanings:
        first, *others = group.index
        if group.nunique() > 1:
            rows.loc[group.index, "kind"] = "conflicting labels"
            places = ", ".join(sorted(rows.loc[group.index, "source"] + "/" + rows.loc[group.index, "path"]))
            meant = " and ".join(sorted(group.unique()))
            rows.loc[group.index, "reason"] = f"the same bytes are {meant} ({places}); remove the wrong ones"
            log.warning("%s are quarantined: the same recording is %s", places, meant)
        else:
            rows.loc[others, "kind"] = "duplicate"
            rows.loc[others, "reason"] = f"duplicate of {rows.at[first, 'source']}/{rows.at[first, 'path']}"


def _write(rows: pd.DataFrame, out: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pandas(rows[list(COLUMNS)], row_schema(ManifestRow), preserve_index=False)
    _write_table(table.replace_schema_metadata(None), out / MANIFEST_FILE)


def _write_table(table: "pa.Table", path: Path) -> None:
    import pyarrow.parquet as pq

    with replacing(path) as part:
        pq.write_table(table, part, write_page_checksum=True)
