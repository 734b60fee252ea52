"""Artifacts as Dagster metadata."""

from dataclasses import replace
from pathlib import Path

import dagster as dg

from wakeword_core.config import Config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, Verdict
from wakeword_core.graph.stages import cmvn
from wakeword_core.store.artifacts import ArtifactStore, Build
from wakeword_pipeline.orchestration.assets import check_results
from wakeword_pipeline.orchestration.metadata import artifact_metadata


def artifact(tmp_path: Path, figures: dict, files: dict[str, bytes] | None = None):
    def make(build: Build) -> None:
        for name, data in (files or {"data.bin": b"x" * 1_500_000}).items():
            (build.path / name).write_bytes(data)
        build.figures = figures

    return ArtifactStore(tmp_path).build("stage", {}, {}, "1", make)[0]


def test_figures_are_numbers_that_plot(tmp_path: Path) -> None:
    found = artifact_metadata(artifact(tmp_path, {"frr": 0.031, "rows": 42, "recordings": 7, "stopped_early": True}))
    assert found["frr"] == 0.031 and found["dagster/row_count"] == 42 and found["size_mb"] == 1.5
    assert found["stopped_early"] is True


def test_counts_are_tables_and_nothing_is_lost(tmp_path: Path) -> None:
    figures = {
        "labels": {"hey robin": 3, "_negative": 9},
        "nested": {"train": {"a": 1}, "val": {"a": 2}},
        "settings": {"keep": "last", "epochs": 4},
        "conditions": [{"snr_db": "clean", "frr": 0.1}, {"snr_db": 10.0, "frr": 0.2}],
        "interval": [0.0, 1.0],
        "latency": None,
        "empty": {},
        "missing": [],
    }
    found = artifact_metadata(artifact(tmp_path, figures))
    assert isinstance(found["labels"], dg.TableMetadataValue) and len(found["labels"].records) == 2
    assert isinstance(found["conditions"], dg.TableMetadataValue)
    nested = [dict(row.data) for row in found["nested"].records]
    assert nested == [{"name": "train", "a": 1}, {"name": "val", "a": 2}]
    assert found["settings"].data == figures["settings"] and found["interval"].data == [0.0, 1.0]
    assert found["latency"].value is None and not {"empty", "missing"} & set(found)


def test_a_table_says_first_what_a_row_is_about_and_rounds(tmp_path: Path) -> None:
    points = [{"fah": 0.0, "frr": 0.017857142857142856, "name": "strict", "target_fah": 0.1}]
    table = artifact_metadata(artifact(tmp_path, {"operating_points": points}))["operating_points"]
    assert [column.name for column in table.schema.columns] == ["name", "target_fah", "fah", "frr"]
    assert table.records[0].data["frr"] == 0.0178571


def test_pictures_stand_before_the_figures(tmp_path: Path) -> None:
    order = list(artifact_metadata(artifact(tmp_path, {"frr": 0.1}, {"det.png": b"small"})))
    assert order.index("path") < order.index("det") < order.index("frr")


def test_rows_that_are_no_table_stay_json(tmp_path: Path) -> None:
    figures = {"tried": [{"method": "static", "f1": None}], "split_labels": {"train": {"a": 1}, "val": {"b": 3}}}
    found = artifact_metadata(artifact(tmp_path, figures))
    assert {name: found[name].data for name in figures} == figures


def test_pictures_are_shown_unless_they_are_huge(tmp_path: Path) -> None:
    found = artifact_metadata(artifact(tmp_path, {}, {"det.png": b"small", "huge.png": b"0" * 500_000}))
    assert "data:image/png;base64," in found["det"].md_str and "huge" not in found


def test_a_page_is_linked(tmp_path: Path) -> None:
    made = artifact(tmp_path / "a b", {"frr": 0.1}, {"report.html": b"<p>"})
    found = artifact_metadata(made)
    assert found["report"].url == (made.path / "report.html").as_uri() and "%20" in found["report"].url


def test_figures_of_a_check_are_shown_as_those_of_an_artifact(tmp_path: Path) -> None:
    figures = {"worst_psi": 0.123456789, "shifts": [{"measured": "loudness", "psi": 0.123456789}], "pairs": []}
    check = Check("steady", "As before.", lambda artifact, run: Verdict(True, "![as](http://before)", figures))
    stage = replace(
        cmvn.STAGE, inputs=(), checks=(check,), make=lambda run: (run.out / "statistics").write_text("measured")
    )
    project = Project(Config.model_validate({"phrase": "robin"}), tmp_path / "home", graph=(stage,))
    project.build(stage.name)
    (result,) = check_results(project.verdicts(stage.name))
    assert result.description == r"\!\[as\](http\://before)"  # which Dagster shows as Markdown
    assert result.metadata["worst_psi"].value == 0.123457 and "pairs" not in result.metadata
    assert [dict(row.data) for row in result.metadata["shifts"].records] == [{"measured": "loudness", "psi": 0.123457}]
