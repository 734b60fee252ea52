"""The differences between what was built and what would be built now: recordings, settings, code and inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

_MAX_LENGTH = 40
_ABSENT = "nothing"


@dataclass(frozen=True)
class Cause:
    """One reason why an artifact is not what would be built now."""

    kind: Literal["recordings", "setting", "code", "input", "waits", "damaged"]
    sentence: str
    name: str = ""
    """Of the setting or the input."""
    old: Any = None
    new: Any = None


@dataclass(frozen=True)
class RecordingChanges:
    """How many recordings of a listing differ from those of an older one; each counts once."""

    added: int
    changed: int
    removed: int
    renamed: int

    @property
    def any(self) -> bool:
        """Return whether there is any difference."""
        return bool(self.added or self.changed or self.removed or self.renamed)

    def __str__(self) -> str:
        return "recordings: " + ", ".join(f"{count:,} {name}" for name, count in asdict(self).items() if count)


def recording_changes(old: "pd.DataFrame", new: "pd.DataFrame", described: tuple[str, ...] = ()) -> RecordingChanges:
    """Compare two listings with the columns source, path and recording_id, and more that `described` names.

    A recording is changed when there are other bytes, or another description, at the same place; and renamed when the
    same bytes lie at another place.
    """
    place = ["source", "path"]
    old, new = (rows[[*place, "recording_id", *described]].drop_duplicates(place) for rows in (old, new))
    both = old.merge(new, on=place, how="outer", suffixes=("_old", "_new"), indicator=True)
    here = both[both["_merge"] == "both"]
    changed = here["recording_id_old"] != here["recording_id_new"]
    for name in described:
        changed |= here[f"{name}_old"] != here[f"{name}_new"]
    gone = both.loc[both["_merge"] == "left_only", "recording_id_old"]
    come = both.loc[both["_merge"] == "right_only", "recording_id_new"]
    renamed = min(int(gone.isin(set(come)).sum()), int(come.isin(set(gone)).sum()))
    return RecordingChanges(len(come) - renamed, int(changed.sum()), len(gone) - renamed, renamed)


def setting_causes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Cause]:
    """Return a cause for each setting that differs; those that one side lacks come last: they follow from others."""
    differing = sorted(_differing(dict(old), dict(new)), key=lambda row: _Missing in (type(row[1]), type(row[2])))
    return [
        Cause("setting", f"{name} {_written(was)} → {_written(now)}", name, _plain(was), _plain(now))
        for name, was, now in differing
    ]


def code_cause(old: str, new: str) -> list[Cause]:
    """Return a cause when the stage's code version is another."""
    return [] if old == new else [Cause("code", f"code version {old} → {new}", "code_version", old, new)]


class _Missing:
    """Stands for a setting that one side does not have."""


def _differing(old: Any, new: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            name = f"{prefix}.{key}" if prefix else str(key)
            yield from _differing(old.get(key, _Missing()), new.get(key, _Missing()), name)
    elif _are_named(old) and _are_named(new):
        yield from _differing({group["name"]: group for group in old}, {group["name"]: group for group in new}, prefix)
    elif old != new:
        yield prefix, old, new


def _are_named(value: Any) -> bool:
    """Return whether a value is a list of groups of settings that have names, such as sources."""
    return isinstance(value, list) and all(
        isinstance(group, dict) and isinstance(group.get("name"), str) for group in value
    )


def _plain(value: Any) -> Any:
    return None if isinstance(value, _Missing) else value


def _written(value: Any) -> str:
    from wakeword_core.config.explaining import value_text

    if isinstance(value, _Missing):
        return _ABSENT
    text = value_text(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[: _MAX_LENGTH - 1]}…"
