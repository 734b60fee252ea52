"""Artifacts that two machines share through a remote."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build
from wakeword_core.store.remote import Remote

FILES = {"model/weights": b"w" * 300_000, "note.txt": b"a note"}


def machine(folder: Path, url: str, **options: Any) -> ArtifactStore:
    """The store of a machine that shares with others."""
    return ArtifactStore(folder / "store", Remote(url, **options))


def never(build: Build) -> None:
    raise AssertionError("it was built")


def writes(files: dict[str, bytes]) -> Callable[[Build], None]:
    def fill(build: Build) -> None:
        for name, content in files.items():
            path = build.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    return fill


def make(
    store: ArtifactStore,
    stage: str = "model",
    *inputs: Artifact,
    fill: Callable[[Build], None] | None = None,
    files: dict[str, bytes] = FILES,
    **config: Any,
) -> tuple[Artifact, bool]:
    """An artifact made from others, and whether it was built now."""
    edges = {one.stage: {"stage": one.stage, "key": one.key, "content": one.content} for one in inputs}
    return store.build(stage, edges, config, "1", fill or writes(files))
