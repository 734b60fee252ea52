from pathlib import Path

import pytest
from made_data_sets import DataSet


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    monkeypatch.setenv("WAKEWORD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "set").mkdir()
    return DataSet(tmp_path / "set", tmp_path / "home")
