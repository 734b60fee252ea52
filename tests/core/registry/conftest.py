"""A home of rivals, and the modules beside the tests."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[3] / "benchmarks"):
    sys.path.insert(0, str(folder))

from rivals import Rivals, write_shards  # noqa: E402

from wakeword_core import checks  # noqa: E402


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def rivals(tmp_path: Path, shards: Path) -> Rivals:
    return Rivals(tmp_path / "rivals", shards)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch):
    """Only these verdicts are checks, of the stages that they are given for; the generated artifacts have no data."""

    def use(**verdicts: checks.Verdict) -> None:
        real = checks.checks_of("champion_comparison")
        made = [
            checks.Check(f"check_of_{stage}", stage, "", lambda *_, verdict=verdict: verdict)
            for stage, verdict in verdicts.items()
        ]
        monkeypatch.setattr(checks, "CHECKS", (*made, *real))

    use()
    return use
