"""What a person may ask about, and what is said when it is nothing or several things."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from wakeword_core.errors import ArtifactError
from wakeword_core.lineage.subjects import find_subject
from wakeword_core.store.artifacts import ArtifactStore


def test_an_artifact_by_key_prefix_name_folder_or_file(home) -> None:
    bundle = home.project().require("model_bundle")
    keys = (bundle.key, f"model_bundle/{bundle.key[:8]}", "model_bundle")
    for wanted in (*keys, str(bundle.path), str(bundle.file("model_card.md"))):
        subject = find_subject(wanted, home.store)
        assert subject.node is not None and subject.node.id == ("model_bundle", bundle.key), wanted
    assert find_subject("mel_features[val]", home.store).node.split == "val"


def test_a_model_file_of_the_home_is_its_artifact(home, tmp_path: Path) -> None:
    copy = tmp_path / "copied.onnx"
    copy.write_bytes(home.bundle().read_bytes())
    subject = find_subject(str(copy), home.store)
    assert subject.node.id == ("model_bundle", home.project().require("model_bundle").key)
    assert subject.model is not None and subject.model.seal == "whole"


def test_a_model_file_far_from_home_tells_its_graph_by_itself(home, tmp_path: Path) -> None:
    subject = find_subject(str(home.bundle()), ArtifactStore(tmp_path / "nowhere"))
    at_home = find_subject("model_bundle", home.store)
    told = {one.id for one in subject.graph.upstream(subject.node)}
    assert told == {one.id for one in at_home.graph.upstream(at_home.node)}
    assert {"raw_audio", "raw_manifest", "trained_model", "metrics_report"} <= {stage for stage, _ in told}


def test_a_model_with_the_short_card_tells_its_keys(home, tmp_path: Path) -> None:
    onnx = home.project().require("onnx_model")
    subject = find_subject(str(onnx.path), ArtifactStore(tmp_path / "nowhere"))
    assert subject.node.id == ("onnx_model", onnx.key)
    told = {one.name: one.key for one in subject.graph.upstream(subject.node)}
    assert told == {key: value for key, value in subject.model.keys.items() if key != "onnx_model"}
    assert told["raw_manifest"] == home.project().require("raw_manifest").key


def test_a_recording_by_file_id_or_place(home) -> None:
    path = home.folder / "recordings" / "spoken" / "speaker0001" / "000060.wav"
    by_file = find_subject(str(path), home.store)
    assert by_file.node is None and by_file.starts
    row = by_file.recording[-1].row
    assert find_subject(row["recording_id"], home.store).recording == by_file.recording
    assert find_subject("speaker0001/000060.wav", home.store).recording == by_file.recording


@pytest.mark.parametrize("wanted", ["nonsense", "", "ab", "zzzz/1234", "no/such/file.wav", "."])
def test_what_is_nothing_is_said(home, wanted: str) -> None:
    with pytest.raises(ArtifactError):
        find_subject(wanted, home.store)


def test_what_is_several_things_is_said(home, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="more of its path"):
        find_subject("000000.wav", _with_copy(home, tmp_path))


def _with_copy(home, folder: Path) -> ArtifactStore:
    """A store with one more recording of the same name elsewhere."""
    store = ArtifactStore(folder / "store")
    shutil.copytree(home.store.root, store.root)
    manifest = next((store.root / "raw_manifest").glob("*/manifest.parquet"))
    rows = pd.read_parquet(manifest)
    more = rows[rows["path"].str.endswith("000000.wav")].assign(source="else", recording_id="f" * 64)
    pd.concat([rows, more]).to_parquet(manifest, index=False)
    return store
