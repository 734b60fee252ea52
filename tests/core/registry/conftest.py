"""A home of rivals, and the modules beside the tests."""

import sys
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[3] / "benchmarks"):
    sys.path.insert(0, str(folder))

from rivals import RivalProject, Rivals, hearing_once, write_shards  # noqa: E402

from wakeword_core.evaluation.measure import plots  # noqa: E402
from wakeword_core.graph.stage import Check, Verdict  # noqa: E402
from wakeword_core.registry import trial  # noqa: E402


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def rivals_with_pictures(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> Rivals:
    monkeypatch.setattr(trial, "run_test", hearing_once(trial.run_test))
    return Rivals(tmp_path / "rivals", shards)


@pytest.fixture
def rivals(rivals_with_pictures: Rivals, monkeypatch: pytest.MonkeyPatch) -> Rivals:
    """The same for tests that look at no picture, of which each takes as long as a model that is heard."""
    monkeypatch.setattr(plots, "det_curve", lambda *given, **named: b"")
    return rivals_with_pictures


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch):
    """Gives stages a check that has a verdict; else the generated artifacts, which have no data, have none."""

    def use(**verdicts: Verdict) -> None:
        checks = {
            stage: (Check(f"check_of_{stage}", "", lambda *_, verdict=verdict: verdict),)
            for stage, verdict in verdicts.items()
        }
        monkeypatch.setattr(RivalProject, "checks", checks)

    return use
