"""What the page consists of, and onnxruntime-web, which it loads."""

import asyncio
import logging
import math
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from wakeword_core.errors import WakewordError
from wakeword_core.serving.page.onnxruntime_web import MODULE, PACKAGE
from wakeword_core.serving.page.page_file import HEADERS, TYPES
from wakeword_core.serving.refusals import RefusedError

log = logging.getLogger(__name__)

FILES = {
    "wakeword_core.serving.page": (
        "index.html", "detector.js", "microphone_worklet.js", "pictures.js", "places.js", "sound.js", "style.css",
    ),
}  # fmt: skip
"""Package -> files in it that the page consists of."""
_RUNTIME = f"ort/{PACKAGE.version}"
_AT_ONCE_SECONDS = 1.0
"""How long a request waits for it, as it takes to read files that are here."""
_RETRY_SECONDS = 60.0
"""Time after which fetching is tried again."""


class RuntimeFacts(BaseModel):
    """Where a browser gets onnxruntime-web."""

    version: str = Field(PACKAGE.version, description="Version of onnxruntime-web.")
    module: str = Field("", description="Address of its module, relative to the page; empty if it is not here.")
    reason: str = Field("", description="Why it is not here.")


class BrowserRuntime:
    """Hands out onnxruntime-web from the folder of caches; one thread fetches it, and nobody waits for that."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._facts = RuntimeFacts(reason="it was not asked for yet")
        self._look_again = -math.inf
        self._looking: Future[RuntimeFacts] | None = None

    async def facts(self) -> RuntimeFacts:
        """Return where it is or why it is not here; RefusedError (503) while it is being fetched."""
        if self._looking is None and not self._facts.module and time.monotonic() >= self._look_again:
            self._looking = Future()
            # the process may end meanwhile, which does not wait for such a thread
            threading.Thread(target=self._look, args=(self._looking,), name="wakeword-fetch", daemon=True).start()
        if (looking := self._looking) is not None:
            await asyncio.wait([asyncio.wrap_future(looking)], timeout=_AT_ONCE_SECONDS)
            if not looking.done():
                raise RefusedError(
                    503, "being_fetched", f"{PACKAGE} is being fetched; ask again",
                    {"Retry-After": "2"},
                )  # fmt: skip
            self._looking = None
            self._look_again = time.monotonic() + _RETRY_SECONDS
            self._facts = looking.result()
        return self._facts

    def _look(self, looking: "Future[RuntimeFacts]") -> None:
        try:
            if not PACKAGE.is_whole(PACKAGE.kept_in(self._cache)):
                log.warning("Fetching %s for the page (33 MB, once).", PACKAGE)
            PACKAGE.fetch(self._cache)
        except WakewordError as error:
            log.warning("The page runs the model on the server, because %s", error)
            looking.set_result(RuntimeFacts(reason=str(error)))
        except Exception as error:
            looking.set_exception(error)
        else:
            looking.set_result(RuntimeFacts(module=f"{_RUNTIME}/{MODULE}"))

    async def file(self, name: str) -> Response:
        """Return one of its files, which never change under their address."""
        path = PACKAGE.kept_in(self._cache) / name
        if name not in PACKAGE.files or not (await self.facts()).module:
            raise HTTPException(404, f"{PACKAGE} has no {name[:100]!r} here")
        headers = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(path, headers=headers, media_type=TYPES[path.suffix])


def runtime_routes(cache: Path) -> APIRouter:
    """Make the routes of onnxruntime-web, which is kept in `cache`, and fetched when a page first needs it."""
    router = APIRouter(include_in_schema=False)
    runtime = BrowserRuntime(cache)
    router.add_api_route("/ort", runtime.facts)
    router.add_api_route(f"/{_RUNTIME}/{{name}}", runtime.file, response_model=None)
    return router
