"""The manifest's health as the asset shows it: tables, figures and the picture."""

import dagster as dg
import numpy as np
import pytest
import soundfile

from wakeword_core.config import Config
from wakeword_core.errors import DataError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.recordings.sources import State
from wakeword_pipeline.orchestration.metadata import artifact_metadata


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "clips").mkdir()
    for index in range(6):
        sound = np.random.default_rng(index).normal(0, 0.1, 8_000)
        soundfile.write(folder / "clips" / f"{index}.wav", sound, 16_000)
    (folder / "clips" / "cut.wav").write_bytes(b"RIFF")
    (folder / "blobs").mkdir()
    (folder / "clips" / "5.wav").rename(folder / "blobs" / "5")
    (folder / "clips" / "5.wav").symlink_to("../blobs/5")
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [f"clips/{index}.wav,{'robin' if index < 2 else 'cat'},s{index},{splits[index]}" for index in range(6)]
    (folder / "all.csv").write_text("\n".join(["path,label,speaker,split", *rows, "clips/cut.wav,cat,s9,"]))
    sources = [
        {"name": "listed", "path": folder / "all.csv", "role": "negative", "link_roots": [folder / "blobs"]},
        {"name": "gone", "path": folder / "none", "role": "noise"},
    ]
    return Project(Config.model_validate({"phrase": "robin", "data": {"sources": sources}}), folder / "home")


def test_health_is_a_table_and_a_picture(project):
    artifact, _ = project.build("raw_manifest")
    shown = artifact_metadata(artifact)
    health = [dict(row.data) for row in shown["health"].records]
    assert sum(row["recordings"] for row in health) == 6 and sum(row["left_out"] for row in health) == 1
    counts = {"recordings", "share", "hours", "speakers", "real", "real_speakers", "left_out"}
    assert {"split", "label", *counts} == set(health[0])
    assert shown["missing_sources"].records[0].data["source"] == "gone"
    assert {row.data["name"]: row.data["value"] for row in shown["reasons"].records} == {"broken": 1}
    assert isinstance(shown["health_picture"], dg.MarkdownMetadataValue)
    listed, gone = (dict(row.data) for row in shown["found"].records)
    holds = {"labels": "_negative 4, robin 2", "licences": "not stated 6", "rates": "16000 6"}
    known = {"hours": 0.0008, "speakers": 6, "unknown_speakers": 0}
    assert listed == {"source": "listed", "found": 7, "used": 6, "left_out": "1 broken", **holds, **known}
    assert (gone["source"], gone["found"], gone["used"], gone["labels"]) == ("gone", 0, 0, "")
    assert shown["usable"] == 6 and shown["dagster/row_count"] == 7


def test_the_tables_files_are_packed_from_its_folder(project):
    project.build("raw_manifest")
    packed = [project.build("audio_shards", split)[0].figures["recordings"] for split in ("train", "val", "test")]
    assert packed == [2, 2, 2]


def test_a_changed_cell_makes_another_manifest_and_an_option_none(project):
    before = project.expected_key("raw_manifest")
    table = project.config.data.sources[0].path
    table.write_text(table.read_text().replace("s5", "s6"))
    project.listing()
    assert project.expected_key("raw_manifest") != before
    data = project.config.data.model_copy(update={"missing_source": "fail"})
    strict = Project(project.config.model_copy(update={"data": data}), project.home)
    with pytest.raises(Exception, match="'gone' does not exist"):
        strict.fingerprint()
    strict.pinned_fingerprint = project.fingerprint()
    assert strict.expected_key("raw_manifest") == project.expected_key("raw_manifest")


def test_new_options_leave_old_keys_alone(tmp_path):
    from wakeword_core.graph.stages import STAGES

    manifest = next(stage for stage in STAGES if stage.name == "raw_manifest")
    plain = {"name": "a", "path": tmp_path, "role": "positive"}
    settings = manifest.deciding_settings(Config.model_validate({"data": {"sources": [plain]}}), None)
    assert set(settings["data"]["sources"][0]) == {
        "name", "role", "label", "licence", "speaker", "speaker_space", "split",
    }  # fmt: skip
    labelled = manifest.deciding_settings(
        Config.model_validate({"data": {"sources": [{**plain, "labels": "parent"}]}}), None
    )
    assert labelled["data"]["sources"][0]["labels"] == "parent"


def test_a_recording_that_changed_unseen_is_read_again_by_the_next_run(project, tmp_path):
    path = (project.config.data.sources[0].root / "clips" / "0.wav").resolve()
    project = Project(project.config, tmp_path / "home")
    project.build("raw_manifest")
    old = hash_file(path)
    soundfile.write(path, np.random.default_rng(99).normal(0, 0.1, 8_000), 16_000)
    # as on a file system whose times are too coarse to tell
    project.scan_cache().remember_hashes([(str(path), State.of(path.stat()), old)])
    before = project.fingerprint()
    project.listing()
    assert project.fingerprint() == before
    with pytest.raises(DataError, match=r"recording listed/clips/0\.wav: its bytes changed since the scan; run again"):
        project.build("audio_shards", "train")
    project.listing()
    project.build("raw_manifest")
    assert project.build("audio_shards", "train")[0].figures["recordings"] == 2
