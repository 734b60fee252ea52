"""What became of each of a project's models, and which is champion: one file a project, that is only added to."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, DataError, reason_of
from wakeword_core.files import read_json, write_json
from wakeword_core.stage_names import BUNDLE, MODEL
from wakeword_core.store.artifacts import Artifact, ArtifactStore
from wakeword_core.store.locks import exclusive
from wakeword_core.store.parts import PathPart

log = logging.getLogger(__name__)

FOLDER = "registry"
Decision = Literal["candidate", "promoted", "refused", "rolled_back", "removed"]
Role = Literal["champion", "candidate", "refused", "retired", "removed"]


@dataclass(frozen=True)
class Entry:
    """Something that was decided about a model."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    key: PathPart
    """Of the exported model (onnx_model)."""
    decision: Decision
    reason: str
    by: Literal["gate", "person"]
    opponent: str = ""
    """Key of the champion that it was compared with; empty: there was none."""
    cleared: bool = False
    """Whether checks and comparison let it be champion."""
    artifacts: Mapping[PathPart, PathPart] = field(default_factory=dict)
    """Stage -> key of what was built with the model."""
    figures: Mapping[str, float] = field(default_factory=dict)
    when: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    phrase: str
    champion: str | None
    history: tuple[Entry, ...]


@dataclass(frozen=True)
class Registry:
    """The decisions about the models of one project, the oldest first."""

    path: Path
    phrase: str
    history: tuple[Entry, ...] = ()

    @classmethod
    def of(cls, home: Path, config: Config) -> "Registry":
        """Read the registry of a project in a home; DataError when it cannot be read."""
        path = home / FOLDER / f"{config.unique_name}.json"
        return cls._read(path) if path.exists() else cls(path, config.phrase)

    @classmethod
    def all(cls, home: Path) -> "list[Registry]":
        """Read the registries of every project in a home."""
        return [cls._read(path) for path in sorted((home / FOLDER).glob("*.json"))]

    @classmethod
    def _read(cls, path: Path) -> "Registry":
        try:
            file = _File.model_validate(read_json(path))
            read = cls(path, file.phrase, file.history)
            if (read.champion.key if read.champion else None) != file.champion:
                raise ValueError("its champion does not follow from its history")
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path}, which says which model is champion, cannot be read ({reason_of(error)}); restore it from a "
                "backup, or move it away: then the next model is the first"
            ) from error
        return read

    @contextmanager
    def changing(self) -> "Iterator[Registry]":
        """Yield the registry as it is now, which nobody else changes meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(self.path.with_name(f".{self.path.stem}.lock"), f"another process changes {self.path}"):
            yield self._read(self.path) if self.path.exists() else replace(self, history=())

    def adding(self, entry: Entry) -> "Registry":
        """Write one more entry and return the registry with it; only what `changing` gave may be added to."""
        added = replace(self, history=(*self.history, entry))
        champion = added.champion
        tree = {
            "phrase": added.phrase,
            "champion": champion.key if champion else None,
            "history": [asdict(decided) for decided in added.history],
        }
        try:
            write_json(self.path, tree)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror}; the registry is as it was") from error
        return added

    @property
    def champion(self) -> Entry | None:
        """The entry that made the present champion one."""
        reigns = self._reigns
        return reigns[-1] if reigns else None

    @property
    def previous(self) -> Entry | None:
        """The entry that made the champion before it one, to which a rollback goes."""
        reigns = self._reigns
        return reigns[-2] if len(reigns) > 1 else None

    @property
    def _reigns(self) -> list[Entry]:
        """The champions that a rollback can still reach, the present one last."""
        reigns: list[Entry] = []
        for entry in self.history:
            if entry.decision == "promoted":
                reigns.append(entry)
            elif entry.decision == "rolled_back":
                if len(reigns) < 2 or reigns[-1].key != entry.key:
                    raise ValueError(f"{entry.key} was rolled back, but it was not champion then, or the only one")
                reigns.pop()
            elif entry.decision == "removed":
                left = [reign for reign in reigns if reign.key != entry.key]
                # reigns of one model between which nobody is left are one
                reigns = [next(several) for _, several in groupby(left, key=lambda reign: reign.key)]
        return reigns

    @property
    def keys(self) -> list[str]:
        """Every model that was ever decided about, in order of the first time: its place is its version."""
        return list(dict.fromkeys(entry.key for entry in self.history))

    def last(self, key: str) -> Entry | None:
        """Return the last decision about a model."""
        return next((entry for entry in reversed(self.history) if entry.key == key), None)

    def role(self, key: str) -> Role:
        """Return what a model of the registry is now."""
        last, champion = self.last(key), self.champion
        assert last is not None
        if champion is not None and champion.key == key:
            return "champion"
        if last.decision == "promoted":
            return "retired"
        return "refused" if last.decision == "rolled_back" else last.decision

    def opponent(self, key: str) -> str:
        """Return the key of the model that a model is compared with; empty where there is none.

        It is the champion, and for the champion the one before it: so what a model was compared with stays the same
        when it becomes champion.
        """
        champion = self.champion
        if champion is None:
            return ""
        return champion.opponent if champion.key == key else champion.key

    @property
    def in_use(self) -> set[str]:
        """Models whose artifacts are needed: champion, the one before it, and candidates."""
        return {reign.key for reign in self._reigns[-2:]} | {key for key in self.keys if self.role(key) == "candidate"}


def bundles_by_model(store: ArtifactStore) -> dict[str, Artifact]:
    """Return the newest bundle of each model, by its key: new facts about its data make a bundle anew."""
    return {bundle.inputs[MODEL]["key"]: bundle for bundle in store.all(BUNDLE) if MODEL in bundle.inputs}


def delivered_bundle(home: Path, config: Config) -> Artifact:
    """Return the bundle of a phrase's champion, or, with a warning, the one built last while there is no champion.

    Raises ArtifactError where there is none: what was built for other phrases is not taken.
    """
    store, champion = ArtifactStore(home / "store"), Registry.of(home, config).champion
    if champion is not None:
        bundle = bundles_by_model(store).get(champion.key)
        if bundle is None:
            raise ArtifactError(f"the bundle of the champion {champion.key} is gone from {home}; name a model")
        return bundle
    everything = store.all(BUNDLE)
    bundles = [bundle for bundle in everything if bundle.config.get("phrase") == config.phrase]
    if not bundles:
        others = sorted({repr(bundle.config.get("phrase")) for bundle in everything})
        raise ArtifactError(
            f"there is no model bundle of {config.phrase!r} in {home}"
            + (f", only of {', '.join(others)}" if others else "")
            + "; name a model, or build one with wakeword run"
        )
    log.warning("%r has no champion in %s: the bundle built last is taken", config.phrase, home)
    return bundles[-1]
