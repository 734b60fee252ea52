"""Which recordings a person means, and what in a home was made from them."""

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pandas as pd

from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import hash_file
from wakeword_core.lineage.content_search import held_ids
from wakeword_core.recordings.manifest import read_manifest
from wakeword_core.stage_names import MANIFEST, RAW_AUDIO, SHARDS
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.cleaning import Item, artifact_item, leftovers, shown_key, unshared_pieces
from wakeword_core.store.graph import Graph, Node

_BY_CONTENT = (MANIFEST, SHARDS)
"""Stages whose files tell which recordings they hold; all others hold what their inputs do."""
_SOURCES = (RAW_AUDIO, "synthetic_speech", MANIFEST)
"""Inputs that may be gone without leaving it open what is in an artifact."""
_COLUMNS = ("id", "speaker", "source", "path")
_ID_PREFIX = re.compile(r"[0-9a-f]{8,64}")
_ID_LENGTH = 64
_SHOWN = 8


def known_recordings(store: ArtifactStore) -> pd.DataFrame:
    """Every recording that any manifest of a store lists: columns id, speaker, source, path."""
    frames = [pd.DataFrame(columns=list(_COLUMNS), dtype="str")]
    frames += [read_manifest(one.path, usable=False, columns=_COLUMNS) for one in store.all(MANIFEST)]
    return pd.concat(frames, ignore_index=True).drop_duplicates(ignore_index=True)


def find_recording(text: str, known: pd.DataFrame, roots: Mapping[str, Path]) -> str:
    """The id of a recording that is named by its file, there or gone, by its id, or by 8 digits of it or more.

    `roots` is source -> folder, where the names of files that are gone begin. DataError when none or several fit.
    """
    path = Path(text)
    if path.is_file():
        return hash_file(path)
    if _ID_PREFIX.fullmatch(text.lower()):
        found = known[known["id"].str.startswith(text.lower())]
        if found.empty and len(text) == _ID_LENGTH:
            return text.lower()
    else:
        names = pd.Series([str(roots.get(one, Path(one)) / rest) for one, rest in _places(known)], dtype="str")
        found = known[(names == str(path.absolute())).to_numpy()]
    ids = found["id"].unique()
    if len(ids) == 1:
        return str(ids[0])
    if len(ids):
        shown = "; ".join(f"{one.id[:16]} is {one.source}/{one.path}" for one in found[:_SHOWN].itertuples())
        raise DataError(f"{text} may be {len(ids)} recordings: {shown}; name one by more of its id")
    raise DataError(
        f"{text} is no recording: there is no such file, and no manifest of this home lists it; name a file, an id, or "
        "8 digits or more of one"
    )


def find_speaker(text: str, known: pd.DataFrame) -> tuple[str, list[str]]:
    """The speaker group of that name, with or without its source, and its recordings' ids; DataError if unknown."""
    groups = pd.Series(known["speaker"].unique(), dtype="str")
    found = groups[groups == text] if (groups == text).any() else groups[groups.str.split("/", n=1).str[-1] == text]
    if len(found) == 1:
        speaker = str(found.iloc[0])
        return speaker, known.loc[known["speaker"] == speaker, "id"].unique().tolist()
    if len(found):
        raise DataError(f"{text} may be {' or '.join(found[:_SHOWN])}; name one of them in full")
    close = difflib.get_close_matches(text, groups.tolist(), 3)
    hint = f"did you mean {' or '.join(close)}?" if close else "raw_manifest lists them all"
    raise DataError(f"no manifest of this home has a speaker {text}; {hint}")


def affected(store: ArtifactStore, ids: Collection[str]) -> list[Item]:
    """Everything in a store that holds any of the recordings or was made from them, the oldest artifacts first.

    A recording that others were mixed with is in all that they are in: a split's shards are looked into, and what is
    made from those that hold it counts as a whole. What cannot be traced back because an input is gone counts too, and
    so do unfinished builds and pieces that no other artifact shares: what they hold is not written down.
    """
    graph = Graph.of_store(store)
    seeds = {node.id: (node, why) for node in graph.nodes.values() if (why := _why(graph, node, ids))}
    because = {name: why for name, (_, why) in seeds.items()}
    waiting = [node for node, _ in seeds.values()]
    while waiting:
        node = waiting.pop()
        for one in graph.consumers(node):
            if one.stage not in _BY_CONTENT and one.id not in because:
                because[one.id] = f"made from {node.stage} {shown_key(node.key)}"
                waiting.append(one)
    return [
        *(artifact_item(one, because[name]) for name, one in graph.artifacts.items() if name in because),
        *leftovers(store, graph),
        *unshared_pieces(store, (one for name, one in graph.artifacts.items() if name not in because)),
    ]


def _why(graph: Graph, node: Node, ids: Collection[str]) -> str:
    """Why an artifact holds some of `ids`, or may, by what is in itself and not by its inputs; empty if it does not."""
    if node.artifact and node.stage in _BY_CONTENT:
        return _holds(node.artifact, ids)
    # another of the same content may stand in for it, but what made that one need not be what made this one
    gone = [one for one in node.inputs if (one.stage, one.key) not in graph.nodes and one.stage not in _SOURCES]
    return f"{gone[0].stage} {shown_key(gone[0].key)}, which it was made from, is gone: it may hold it" if gone else ""


def _holds(artifact: Artifact, ids: Collection[str]) -> str:
    """Why an artifact that tells its recordings counts as one that holds some of `ids`; empty if it does not."""
    try:
        held = [held_ids(path) for path in map(artifact.file, artifact.files)]
    except (ArtifactError, OSError):
        return "it cannot be read: it may hold it"
    return "" if all(one is None or one.isdisjoint(ids) for one in held) else "holds it"


def _places(known: pd.DataFrame) -> Iterator[tuple[str, str]]:
    return known[["source", "path"]].itertuples(index=False, name=None)
