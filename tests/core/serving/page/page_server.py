"""The page on a server in a thread."""

from in_thread import served

from wakeword_core.config import ServingConfig
from wakeword_core.serving.app import create_app
from wakeword_core.serving.service import Service

NOWHERE = "http://127.0.0.1:9"
"""Where nobody answers."""


def running(folder, cache, token=""):
    """A server of a model in a thread."""
    service = Service(ServingConfig(stream_message_bytes=10_000), folder)
    return served(create_app(service, token, page_cache=cache), ws="websockets-sansio")
