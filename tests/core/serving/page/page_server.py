"""The page on a server in a thread, and a browser to look at it."""

import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from wakeword_core.config import ServingConfig
from wakeword_core.serving.app import create_app
from wakeword_core.serving.service import Service

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers."""


@contextmanager
def running(folder, cache, token=""):
    """The address of a server in a thread."""
    settings = ServingConfig(stream_message_bytes=10_000)
    app = create_app(Service(settings, folder), token, page_cache=cache)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", ws="websockets-sansio"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def chromium(recording):
    """Chromium, whose microphone hears a WAV file over and over; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    executable = shutil.which("chromium") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs Chromium")
    arguments = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
    ]
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=executable, args=arguments)
        yield browser
        browser.close()
