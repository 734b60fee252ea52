"""The toy project is a module beside the tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_project import Toy, copy_of_toy


@pytest.fixture(scope="session")
def toy(shared_folder, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """A home with a trained model of a toy word, and false alarms in the training split's background."""
    return copy_of_toy(shared_folder, tmp_path_factory.mktemp("toy"))
