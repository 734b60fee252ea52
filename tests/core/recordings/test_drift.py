"""How far data moved from those of the champion: by how much, where, and not by chance."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import Config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import CheckRun, Verdict
from wakeword_core.graph.stages.manifest import STAGE
from wakeword_core.recordings.drift import drift, psi
from wakeword_core.stage_names import CHAMPION
from wakeword_core.store.artifacts import Artifact, Build

LEAST = 0.1


def rows(
    count: int, seed: int = 0, split: str = "train", positives: float = 0.3, louder: float = 0.0, longer: float = 1.0
):
    generator = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "split": split,
            "status": "ok",
            "label": np.where(generator.random(count) < positives, "robin", "_negative"),
            "rms_dbfs": generator.normal(-25 + louder, 4, count),
            "seconds": generator.uniform(0.5, 2.0, count) * longer,
        }
    )


def test_psi_is_the_textbook_sum() -> None:
    before, now = np.array([500_000, 300_000, 200_000]), np.array([400_000, 300_000, 300_000])
    expected = (0.4 - 0.5) * np.log(0.4 / 0.5) + (0.3 - 0.2) * np.log(0.3 / 0.2)
    assert psi(before, now) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000)), min_size=2, max_size=10))
def test_psi_is_never_negative_symmetric_and_nothing_where_nothing_moved(counts: list[tuple[int, int]]) -> None:
    before, now = np.array(counts).T
    assert psi(before, now) >= 0 and np.isfinite(psi(before, now))
    assert psi(before, now) == pytest.approx(psi(now, before)) and psi(before, before) == pytest.approx(0)


@pytest.mark.parametrize(
    ("changed", "measured"),
    [({"positives": 0.6}, "class mix"), ({"louder": 6.0}, "loudness"), ({"longer": 1.6}, "duration")],
)
def test_what_moved_is_named_first(changed: dict[str, float], measured: str) -> None:
    shifts = drift(rows(2_000), rows(2_000, seed=1, **changed), LEAST)
    assert shifts[0].measured == measured and shifts[0].psi > 0.25
    assert all(shift.psi < 0.1 for shift in shifts if shift.measured != measured)


@pytest.mark.parametrize("count", [20, 300, 800, 3_000])
def test_chance_alone_rarely_warns(count: int) -> None:
    worst = [
        max((one.psi for one in drift(rows(count, seed), rows(count, 1_000 + seed), LEAST)), default=0.0)
        for seed in range(20)
    ]
    assert np.mean(np.array(worst) >= 0.1) <= 0.05


def test_few_recordings_tell_nothing_and_an_empty_split_is_no_error() -> None:
    assert drift(rows(100), rows(100, longer=3.0), LEAST) == []
    assert drift(rows(1_000), rows(1_000, split="test"), LEAST) == []
    assert drift(rows(1_000).assign(seconds=1.0), rows(1_000).assign(seconds=1.0), LEAST)[0].psi == pytest.approx(
        0, abs=0.05
    )


def manifest(project: Project, frame: pd.DataFrame, name: str) -> Artifact:
    def make(build: Build) -> None:
        frame.to_parquet(build.path / "manifest.parquet")

    return project.store.build("raw_manifest", {}, {"name": name}, "1", make)[0]


def test_the_check_warns_then_errs_and_never_blocks(tmp_path: Path) -> None:
    (check,) = [check for check in STAGE.checks if check.name == "data_as_before"]

    def judge(artifact: Artifact, champion: Artifact | None) -> Verdict:
        return check.run(artifact, CheckRun(Config(), {CHAMPION: champion} if champion else {}, None, project.store))

    project = Project(Config(), tmp_path / "home")
    first = manifest(project, rows(3_000), "first")
    assert not check.blocking and "no champion" in judge(first, None).description
    edge = {"raw_manifest": {"stage": "raw_manifest", "key": first.key, "content": first.content}}
    model, _ = project.store.build("trained_model", edge, {}, "1", lambda build: (build.path / "w").touch())
    outcomes = []
    for name, louder in (("same", 0.0), ("a little", 1.5), ("much", 6.0)):
        outcomes.append(judge(manifest(project, rows(3_000, seed=1, louder=louder), name), model))
    assert [one.passed for one in outcomes] == [True, False, False]
    assert [one.severity for one in outcomes[1:]] == ["warning", "error"]
    assert "loudness of" in outcomes[2].description and outcomes[2].figures["shifts"][0]["measured"] == "loudness"
    assert "is gone" in judge(first, replace(model, key="0" * 20)).description
    first.file("manifest.parquet").write_bytes(b"PAR1 and no more")
    unreadable = judge(manifest(project, rows(3_000), "now"), model)
    assert unreadable.passed and f"nothing to compare with: {first.path}" in unreadable.description
