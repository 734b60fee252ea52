import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "serving"))
    from loud_model import save_model

    return save_model(tmp_path_factory.mktemp("model"))
