"""A folder of captures, a model that hears loudness, and a client of a server in this process."""

import pytest
from kept_captures import keep_captures
from loud_model import save_model

from wakeword_core.runtime.live import open_model


@pytest.fixture
def names(tmp_path):
    """The captures in `folder`."""
    return keep_captures(tmp_path / "kept")


@pytest.fixture
def folder(tmp_path, names):
    return tmp_path / "kept"


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return open_model(save_model(tmp_path_factory.mktemp("model")))


@pytest.fixture
def client(folder):
    """`client(token=..., loopback=..., model=...)`: a client of the folder's server."""
    from fastapi.testclient import TestClient

    from wakeword_core.reviewing.app import Defaults, create_app
    from wakeword_core.reviewing.captured_sound import CapturedSound

    def start(token="", loopback=True, model=None):
        app = create_app(CapturedSound(folder, model), Defaults("anna", "parent", "CC0-1.0"), token, loopback=loopback)
        return TestClient(app, base_url="http://127.0.0.1:8766")

    return start
