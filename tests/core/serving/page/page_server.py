"""The page on a server in a thread, and a browser to look at it."""

import shutil
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn
from stub_server import stub_app

from wakeword_core.serving.page.routes import page_routes

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers."""


@contextmanager
def running(folder, cache, token=""):
    """The address of a server in a thread."""
    app = stub_app(folder, token)
    app.include_router(page_routes(cache))
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
