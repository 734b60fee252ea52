"""The table of architectures in the documentation is the one that the code prints."""

import runpy
from pathlib import Path

import models_table
import pytest
from models_table import PAPERS, table

from wakeword_core import models
from wakeword_core.models import REGISTRY

DOCS = Path(__file__).parents[3] / "docs" / "models.md"


@pytest.fixture(scope="module")
def printed() -> str:
    """It takes seconds: some networks are large."""
    return table()


def test_the_documentation_holds_the_table(printed: str) -> None:
    assert printed in DOCS.read_text(encoding="utf-8"), "python docs/models_table.py prints the table of now"


def test_every_architecture_is_in_the_table_with_its_source(printed: str) -> None:
    assert set(PAPERS) == set(REGISTRY)
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines()[2:]]
    assert [row[0] for row in rows] == [f"`{arch}`" for arch in REGISTRY]
    assert rows[2] == ["`tcn`", "124,802", "4.1", "4.1", "1,510", "yes", PAPERS["tcn"]]


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "REGISTRY", {"tcn": REGISTRY["tcn"]})
    runpy.run_path(models_table.__file__, run_name="__main__")
    assert "| `tcn` | 124,802 | 4.1 | 4.1 |" in capsys.readouterr().out
