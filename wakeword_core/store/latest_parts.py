"""Which parts a stage used last, so that a changed one can take what is still good from its predecessor."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wakeword_core.files import digest, read_json, write_json
from wakeword_core.store.artifacts import Parts


class LatestParts:
    """Remembers the parts of the last build of `place` (any JSON value that tells builds apart), in order.

    Only a hint: whoever takes something from an older part has to compare by itself what that one holds.
    """

    def __init__(self, parts: Parts, place: Any) -> None:
        self._parts = parts
        self._path = parts.root / f"latest-{digest([place, parts.generation])[:20]}.json"
        try:
            self._keys = [str(key) for key in read_json(self._path)]
        except (OSError, ValueError, TypeError):
            self._keys = []

    def find(self, index: int, count: int) -> Path | None:
        """Find the part that was where part `index` of `count` is to be; None if the last count does not divide it."""
        if not self._keys or count % len(self._keys):
            return None
        path = self._parts.path(self._keys[index % len(self._keys)])
        return path if path.is_file() else None

    def remember(self, keys: Sequence[str]) -> None:
        """Remember these as the latest parts."""
        if list(keys) != self._keys:
            write_json(self._path, list(keys))
            self._keys = list(keys)
