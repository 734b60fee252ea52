from pathlib import Path

import pytest
from loud_model import save_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    return save_model(tmp_path_factory.mktemp("model"))
