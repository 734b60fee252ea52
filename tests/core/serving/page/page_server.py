"""The page on a server in a thread, and a browser to look at it."""

import threading
import time
from contextlib import contextmanager

import uvicorn
from chromium import chromium

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


def hearing_chromium(recording):
    """Chromium, whose microphone hears a WAV file over and over; skips where there is none."""
    return chromium(
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={recording}",
    )
