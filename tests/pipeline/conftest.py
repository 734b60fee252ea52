"""Projects of other tests are used here as well; one database for MLflow, and a cheap graph, are shared by all."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "mining"))
sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))
sys.path.insert(0, str(Path(__file__).parent / "search"))


@pytest.fixture(scope="session")
def empty_store(shared_folder) -> Path:
    """An MLflow database without anything in it, which takes seconds to make."""
    from wakeword_pipeline.tracking.training_runs import MlflowResource

    return shared_folder("mlflow", lambda home: MlflowResource(home=str(home)).client()) / "mlflow.db"
