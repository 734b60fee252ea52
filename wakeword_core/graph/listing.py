"""The recordings in the configured folders, as they are now, and what a home must never use again."""

import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from wakeword_core.config import Config
from wakeword_core.config.data_roots import check_in_data_roots
from wakeword_core.errors import DataError, WakewordError
from wakeword_core.graph.stages.manifest import FORGOTTEN_FACET
from wakeword_core.progress import Progress
from wakeword_core.recordings.copies import refresh_copies
from wakeword_core.recordings.corrections import read_corrections
from wakeword_core.recordings.data_sets.unpacking import unpack_data_sets
from wakeword_core.recordings.forgotten import FILE, Forgotten
from wakeword_core.recordings.scan import Listing, ScanCache, scan
from wakeword_core.stage_names import MANIFEST
from wakeword_core.store.artifacts import ArtifactStore

log = logging.getLogger(__name__)

_NEW_SECONDS = 60.0


class Listed(NamedTuple):
    """A listing, and the fingerprint of it and of all that was forgotten then."""

    listing: Listing
    fingerprint: str
    at: float
    """When it was done, on the clock of `time.monotonic`."""

    def is_of_now(self, forgotten: Forgotten) -> bool:
        """Tell whether it was done just now, and nothing was forgotten since: else recordings may have come or gone."""
        new = time.monotonic() - self.at <= _NEW_SECONDS
        return new and forgotten.enter(self.listing.fingerprint) == self.fingerprint


def list_recordings(config: Config, home: Path, cache_folder: Path, forgotten: Forgotten, progress: Progress) -> Listed:
    """List every recording in the configured folders.

    What lies elsewhere is copied first, and data sets are unpacked. Unchanged files are not read again.
    """
    data, most_gb = config.data, config.compute.copies_gb
    for source in data.sources:  # which may have become a link since the configuration was loaded
        for folder in (source.path, source.root, *source.link_roots):
            check_in_data_roots(folder, f"source {source.name!r}:")
    if data.corrections:
        check_in_data_roots(data.corrections, "data.corrections:")
    corrections = read_corrections(data.corrections)
    problems = refresh_copies(data.sources, most_gb, progress)
    here = [source for source in data.sources if source.name not in problems]
    problems |= unpack_data_sets(here, forgotten, most_gb, data.health.max_file_mb, progress)
    cache = ScanCache(cache_folder)
    listing = scan(
        data.sources,
        cache,
        progress,
        missing=data.missing_source,
        forgotten=forgotten,
        problems=problems,
        corrections=corrections,
    )
    if listing.silenced:
        forgotten = _remember_silenced(listing.silenced, forgotten, home, cache)
    return Listed(listing, forgotten.enter(listing.fingerprint), time.monotonic())


def _remember_silenced(ids: Collection[str], forgotten: Forgotten, home: Path, cache: ScanCache) -> Forgotten:
    """Forget new recordings of forgotten speakers by their bytes, so that no other name brings them back."""
    try:
        forgotten = Forgotten.add_to(home, ids)
        cache.forget(ids)
    except WakewordError as error:
        log.warning("%d new recordings of forgotten speakers are left out, but not noted: %s", len(ids), error)
    return forgotten


def forgotten_in(home: Path, store: ArtifactStore) -> Forgotten:
    """Return what a home must never use again, as it is known now; DataError where that is lost."""
    if not (home / FILE).exists():
        for manifest in store.cards(MANIFEST):
            if FORGOTTEN_FACET in manifest.facets:
                raise DataError(
                    f"{home / FILE}, which names the recordings to forget, is gone, though {MANIFEST} {manifest.key} "
                    "was made without some; restore it from a backup, or write [] to it if nothing is to be forgotten "
                    "any more"
                )
    return Forgotten.load(home)
