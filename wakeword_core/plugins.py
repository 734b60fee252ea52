"""Plug-ins: what other packages add, found by its name through their entry points, and blamed where it is broken.

To list plug-ins reads what is installed and imports nothing of it. A plug-in is imported when it is first used. Its
settings are those of the class that its first parameter is annotated with.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from wakeword_core.errors import ConfigError, WakewordError, reason_of

Kind = Literal["model", "loss", "augmentation", "front end", "speech engine"]
GROUPS: dict[Kind, str] = {
    "model": "wakeword.models",
    "loss": "wakeword.losses",
    "augmentation": "wakeword.augmentations",
    "front end": "wakeword.front_ends",
    "speech engine": "wakeword.speech_engines",
}
"""Kind of plug-in -> the group of entry points in which packages declare theirs."""
_OUT_OF_MEMORY = ("MemoryError", "OutOfMemoryError")
"""Errors that no plug-in is to blame for; torch's own is not imported here."""


@dataclass(frozen=True)
class Plugin:
    """A plug-in that some package declares; it need not be fit for use."""

    kind: Kind
    name: str
    package: str
    """Name and version of the package, such as `wakeword-wavenet 1.2`."""
    entry: EntryPoint

    def load(self) -> Callable[..., Any]:
        """Import what makes it; WakewordError where that fails."""
        with self.blamed():
            make = self.entry.load()
            if not callable(make):
                raise TypeError(f"{self.entry.value} cannot be called")
            return make

    def make(self, settings: Mapping[str, Any], *given: Any) -> Any:
        """Make it of its settings and whatever else its kind is given; WakewordError where that fails."""
        make, checked = self.load(), self._checked(settings)
        with self.blamed():
            return make(checked, *given)

    def complete(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return its settings as JSON values, those left out at their defaults; ConfigError for wrong ones."""
        return self._checked(settings).model_dump(mode="json")

    def require(self, holds: bool, wanted: str) -> None:
        """Raise a WakewordError that says what was wanted of it, unless that holds."""
        if not holds:
            raise self._broken(wanted)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Turn whatever its code raises into one sentence that names its package, but for exhausted memory."""
        try:
            yield
        except WakewordError:
            raise
        except Exception as error:
            if type(error).__name__ in _OUT_OF_MEMORY:
                raise
            raise self._broken(f"{type(error).__name__}: {reason_of(error)}") from error

    def _checked(self, settings: Mapping[str, Any]) -> BaseModel:
        kind = self._settings_class()
        try:
            return kind.model_validate(settings)
        except ValidationError as error:
            known = ", ".join(kind.model_fields) or "none"
            raise ConfigError(f"{reason_of(error)}; the settings of {self.package} are: {known}") from error

    def _settings_class(self) -> type[BaseModel]:
        make = self.load()
        with self.blamed():
            first = next(iter(inspect.signature(make, eval_str=True).parameters.values()), None)
        annotation = None if first is None else first.annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            raise self._broken(f"the first parameter of {self.entry.value} is not annotated with a class of settings")
        return annotation

    def _broken(self, why: str) -> WakewordError:
        return WakewordError(
            f"the {self.kind} {self.name!r} of the package {self.package} cannot be used ({why}); mend that package, "
            "or do without it"
        )


def plugins(kind: Kind) -> dict[str, list[Plugin]]:
    """Return all plug-ins of a kind that are installed, by name; a name should be that of one."""
    found: dict[str, list[Plugin]] = {}
    for entry in sorted(entry_points(group=GROUPS[kind]), key=lambda entry: entry.name):
        package = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        found.setdefault(entry.name, []).append(Plugin(kind, entry.name, package, entry))
    return found


def find_plugin(kind: Kind, name: str, own: Sequence[str] = ()) -> Plugin:
    """Find a plug-in; ConfigError, which begins with "must be", where there is none, with all names and packages.

    `own` are further names that may be given, of this project itself.
    """
    installed = plugins(kind)
    named = installed.get(name, [])
    if len(named) == 1:
        return named[0]
    if named:
        packages = " and ".join(sorted(plugin.package for plugin in named))
        raise ConfigError(f"must be the {kind} of one package, and {packages} have it: uninstall one of them")
    known = [repr(one) for one in own]
    known += [f"{one!r} (of {plugin.package})" for one, several in installed.items() for plugin in several]
    if not known:
        raise ConfigError(f"must be that of a package, but none is installed that has a {kind}")
    raise ConfigError(f"must be {' or '.join(filter(None, (', '.join(known[:-1]), known[-1])))}")
