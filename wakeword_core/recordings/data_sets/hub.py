"""Data sets of Hugging Face's hub, read as they come over the network, without a copy of their files here."""

import os
from collections.abc import Iterator
from typing import Any

from wakeword_core.config.remote import HubName
from wakeword_core.errors import MissingDependencyError, RemoteError, reason_of
from wakeword_core.recordings.data_sets.members import AUDIO, BrokenFileError, Layout, Member, Wanted

_ROWS_AT_ONCE = 16


def splits_on_hub(named: HubName) -> tuple[str, list[str]]:
    """Return the revision that a data set has now, and the names of its splits; RemoteError when the hub has none."""
    hub, datasets = _libraries()
    if os.path.exists(named.name):  # which datasets would read instead
        raise RemoteError(f"the data set {named.name} is not asked for, since a folder {named.name} is here; rename it")
    try:
        revision = hub.HfApi().dataset_info(named.name, revision=named.revision).sha
        return revision, list(datasets.get_dataset_split_names(named.name, named.subset, revision=revision))
    except Exception as error:  # of whichever library the network, the hub or the data set's own description broke
        raise RemoteError(
            f"the hub does not give the data set {named.name} ({reason_of(error)}); correct its name, or try later"
        ) from error


def read_split(named: HubName, wanted: Wanted) -> Iterator[Member]:
    """Yield the recordings of the split that is `wanted`, undecoded.

    BrokenFileError where it breaks off or lacks a column.
    """
    _, datasets = _libraries()
    audio = wanted.columns.audio or AUDIO
    try:
        which = {"split": wanted.name, "revision": named.revision}
        rows = datasets.load_dataset(named.name, named.subset, streaming=True, **which)
        if audio in (rows.column_names or ()) and isinstance(rows.features[audio], datasets.Audio):
            rows = rows.cast_column(audio, datasets.Audio(decode=False))
        layout = None
        for batch in rows.with_format("arrow").iter(_ROWS_AT_ONCE):
            layout = layout or Layout(batch.schema, wanted)
            yield from layout.members(batch)
    except BrokenFileError:
        raise
    except Exception as error:
        raise BrokenFileError(f"cannot be read ({reason_of(error)})") from error


def _libraries() -> tuple[Any, Any]:
    try:
        import datasets
        import huggingface_hub
    except ImportError as error:
        raise MissingDependencyError(
            "data sets of the hub need the package datasets; install it with: pip install -e '.[datasets]'"
        ) from error
    return huggingface_hub, datasets
