"""A server that follows its home: what begins after another model became champion is heard with that one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from wakeword_core.config import Config
from wakeword_core.errors import WakewordError
from wakeword_core.registry.history import Registry, delivered_bundle
from wakeword_core.serving.service import Service

log = logging.getLogger(__name__)

_Written = tuple[int, int, int]
"""What another file differs in under the same name: time in ns, size and inode."""


class Follower:
    """Looks at who is champion of a phrase in a home, and has a service hear with that model."""

    def __init__(self, service: Service, home: Path, config: Config) -> None:
        self._service, self._home, self._config = service, home, config
        self._path = Registry.of(home, config).path
        self._seen: _Written | None = None

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Look again and again, while it is open as a context."""
        over = asyncio.Event()
        looking = asyncio.create_task(self._look_until(over))
        try:
            yield
        finally:
            over.set()
            await looking  # a model that is tried just now needs the service open

    async def _look_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await asyncio.to_thread(self.look)
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._config.serving.follow_seconds)

    def look(self) -> None:
        """Take the champion over if it is another one than is served; one that cannot be used is told of once."""
        written = _written(self._path)
        if written == self._seen:
            return
        self._seen = written
        try:
            champion = Registry.of(self._home, self._config).champion
            if champion is None or champion.key == self._service.cascade.sentry.key:
                return
            self._service.change_sentry(delivered_bundle(self._home, self._config).path)
            log.warning("The champion %s is served now; streams that are open go on as they are.", champion.key)
        except WakewordError as error:
            log.error("the champion cannot be served, and %s stays: %s", self._service.cascade.sentry.key, error)
        except Exception:
            log.exception("the champion cannot be served, and %s stays", self._service.cascade.sentry.key)


def _written(path: Path) -> _Written | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
