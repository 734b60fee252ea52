"""The page on a server in a thread."""

import threading
import time
from contextlib import contextmanager

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
