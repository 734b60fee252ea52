"""Errors that are meant for a person: one sentence that says what is wrong, where, and what to do."""


class WakewordError(Exception):
    """Base of every error this project raises for its user; the command line prints it as one line and exits 1."""


class ConfigError(WakewordError):
    """A wrong setting: names the field, the value and what is allowed; the command line exits 2."""


class DataError(WakewordError):
    """Recordings or derived files that cannot be used as they are."""


class ChangedRecordingError(DataError):
    """A recording whose bytes are not those that were hashed: the scan cache must forget its path."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.path = path

    def __str__(self) -> str:
        return f"{self.args[0]}: its bytes changed since the scan; run again to scan it anew"


class ArtifactError(WakewordError):
    """A stored artifact that is missing, incomplete or damaged."""


class MissingDependencyError(WakewordError):
    """An optional package or system library that a feature needs is not installed."""
