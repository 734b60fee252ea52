"""The toy project of mining's tests, with a model to learn from."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "mining"))

from toy_project import Toy, copy_of_toy


@pytest.fixture(scope="session")
def toy(shared_folder, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A home with a trained model of a toy word."""
    return copy_of_toy(shared_folder, tmp_path_factory.mktemp("taught"))
