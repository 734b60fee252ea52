"""A configuration file, and the sentence with which one is refused."""

import pytest

from wakeword_core.config.loading import load_config
from wakeword_core.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """The function that writes a configuration file and returns its path."""

    def write_it(text):
        path = tmp_path / "wakeword.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_it


@pytest.fixture(scope="session")
def refused():
    """The function that loads a configuration which is wrong, and returns the one sentence that says so."""

    def load(path=None, *overrides, preset=None):
        with pytest.raises(ConfigError) as caught:
            load_config(path, overrides, preset)
        message = str(caught.value)
        assert "\n" not in message
        assert len(message) < 400
        return message

    return load
