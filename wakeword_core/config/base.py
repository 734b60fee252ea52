"""The base of every group of settings, and the names of splits, roles and ways of speaking."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_jsonable_python

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Role = Literal["positive", "negative", "hard_negative", "background", "noise", "rir"]
ROLES: tuple[Role, ...] = ("positive", "negative", "hard_negative", "background", "noise", "rir")
AccentName = Literal[
    "arabic", "cantonese", "french", "german", "hindi", "italian", "japanese", "london", "mandarin", "polish",
    "portuguese", "russian", "spanish",
]  # fmt: skip
MannerName = Literal[
    "small_child", "child", "deep", "whispered", "shouted", "speaking_up", "drawn_out", "clipped", "tired", "emphatic"
]
Decibels = Annotated[float, Field(ge=-100, le=100)]
ReverberationSeconds = Annotated[float, Field(ge=0.05, le=5)]
"""In which the sound of a generated room falls by 60 dB."""
LANGUAGE_TAG = r"^[a-z]{2,3}(-[a-z0-9]+)*$"
"""What the tags of languages are like: en, en-gb."""
_KEY = re.compile(r"[0-9a-f]{6,64}")
ModelName = Annotated[str, Field(min_length=1, max_length=1_000)]
"""A model by its key in the home, or the path of its file or folder."""
LONGEST_PHRASE = 60
"""Characters of a wake word or phrase."""
NEGATIVE_LABEL = "_negative"
"""Class 0 of every model: everything that is not a wake word."""


@dataclass(frozen=True)
class DecidesIf:
    """Marks a setting that results depend on only while something holds of its group."""

    holds: Callable[[Any], bool]


DECIDES_NOTHING = DecidesIf(lambda group: False)
"""Marks a setting that no result depends on, or only through something else that is in the key."""


class Settings(BaseModel):
    """A group of settings: unknown names are errors, and a loaded group never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def require_ordered(self, *names: str) -> None:
        """Raise ValueError unless each named pair rises."""
        for name in names:
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} must be given as [from, to] with from <= to")

    def changed(self, values: Mapping[str, Any]) -> Self:
        """Return a validated copy with other values of the dotted settings, such as {"schedule.epochs": 3}."""
        tree = self.model_dump()
        for name, value in values.items():
            *groups, leaf = name.split(".")
            group = tree
            for part in groups:
                group = group[part]
            group[leaf] = value
        return self.model_validate(tree)

    def decides_besides(self) -> dict[str, Any]:
        """Return what results depend on besides the values, as JSON by name, such as the version of a package."""
        return {}


def is_key(name: str) -> bool:
    """Return whether the name of a model is a key of the home, or the beginning of one, and no path."""
    return _KEY.fullmatch(name) is not None


def lookup(values: Any, name: str, absent: Any = None) -> Any:
    """Return what stands under a dotted name in a tree of settings that need not be valid, or `absent`."""
    for part in name.split("."):
        values = values.get(part, absent) if isinstance(values, Mapping) else absent
    return values


def decides(group: Settings, name: str, *, named: bool = False) -> bool:
    """Return whether results depend on a setting of a group, or on what else has that name, as the group now is.

    What nothing depends on in general may still be `named` by a stage that does.
    """
    field = type(group).model_fields.get(name)
    marks = [mark for mark in field.metadata if isinstance(mark, DecidesIf)] if field else []
    return all(mark.holds(group) for mark in marks if not (named and mark is DECIDES_NOTHING))


def deciding(value: Any) -> Any:
    """Return a setting or a whole group as JSON values, without what is marked as deciding nothing.

    Of a path, the last name decides: files lie elsewhere on another machine.
    """
    if isinstance(value, Settings):
        own = {name: deciding(getattr(value, name)) for name in type(value).model_fields if decides(value, name)}
        return own | value.decides_besides()
    if isinstance(value, tuple):
        return [deciding(entry) for entry in value]
    if isinstance(value, Path):
        return value.name
    return to_jsonable_python(value)
