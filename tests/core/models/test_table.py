"""The table of architectures in the documentation is the one that the code prints."""

import subprocess
import sys
from pathlib import Path

from wakeword_core.models import REGISTRY
from wakeword_core.models.table import PAPERS, table

DOCS = Path(__file__).parents[3] / "docs" / "models.md"


def test_the_documentation_holds_the_table() -> None:
    assert table() in DOCS.read_text(encoding="utf-8"), "python -m wakeword_core.models.table prints the table of now"


def test_every_architecture_is_in_the_table_with_its_source() -> None:
    assert set(PAPERS) == set(REGISTRY)
    rows = [line.strip("| ").split(" | ") for line in table().splitlines()[2:]]
    assert [row[0] for row in rows] == [f"`{arch}`" for arch in REGISTRY]
    assert rows[2] == ["`tcn`", "124,802", "4.1", "4.1", "1,510", "yes", PAPERS["tcn"]]


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wakeword_core.models.table"], capture_output=True, text=True, check=True
    )
    assert done.stdout == table()
