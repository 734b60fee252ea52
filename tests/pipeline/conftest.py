"""The toy project of the core's tests is used here too, and one database for MLflow by all."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "core" / "mining"))


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database without anything in it, which takes seconds to make."""
    from wakeword_pipeline.tracking.training_runs import MlflowResource

    folder = tmp_path_factory.mktemp("mlflow")
    MlflowResource(home=str(folder)).client()
    return folder / "mlflow.db"
