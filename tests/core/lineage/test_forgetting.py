"""A recording of noise, which is mixed into others, is forgotten: by content it is nowhere afterwards."""

import errno
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.files import hash_file
from wakeword_core.graph.project import Project
from wakeword_core.lineage.forgetting import (
    affected,
    copies,
    held_recording_ids,
    search,
    traces,
)
from wakeword_core.lineage.named_recordings import find_recordings, find_speaker, known_recordings
from wakeword_core.mining.clips import TABLE, read_clips
from wakeword_core.recordings.forgotten import NOTHING_FORGOTTEN
from wakeword_core.recordings.manifest import MANIFEST_FILE, read_manifest
from wakeword_core.shards.shard_file import read_recordings, read_table
from wakeword_core.store.artifacts import Artifact, Build
from wakeword_core.store.cleaning import delete

RATE = 16_000
STAGES = (
    ("raw_manifest", None), ("audio_shards", "train"), ("audio_shards", "val"),
    ("mel_features", "train"), ("mel_features", "val"),
)  # fmt: skip
SETTINGS = {
    "shards": {"count": 2},
    "features": {
        "frontend": {"n_mels": 16, "window_frames": 32},
        "augment": {
            "views": 3,
            "negative_views": 3,
            "generated_noise_minutes": 0.0,
            "generated_rirs": 1,
            "noise_probability": 1.0,
        },
    },
    "compute": {"device": "cpu"},
}


def make_recordings(folder: Path) -> None:
    generator = np.random.default_rng(3)
    for role, split, count, seconds in (
        ("noise", "train", 2, 4.0),
        ("negative", "train", 6, 0.6),
        ("negative", "val", 3, 0.6),
    ):
        for number in range(count):
            sound = generator.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
            write_audio(folder / f"{role}-{split}" / f"who{number}" / f"{number}.wav", sound, RATE)


def project(recordings: Path, home: Path) -> Project:
    sources = [
        {
            "name": one.name,
            "path": str(one),
            "role": one.name.split("-")[0],
            "split": one.name.split("-")[1],
            "speaker": "parent",
        }
        for one in sorted(recordings.iterdir())
    ]
    return Project(Config.model_validate({**SETTINGS, "data": {"sources": sources}, "compute": {"workers": 1}}), home)


def build(made: Project) -> dict[str, Artifact]:
    return {f"{stage}[{split}]": made.build(stage, split)[0] for stage, split in STAGES}


def stand_in(made: Project, stage: str, *inputs: Artifact) -> Artifact:
    """An artifact of a later stage, of which only the inputs matter."""

    def make(build: Build) -> None:
        (build.path / "weights").write_bytes(b"1")

    edges = {one.key: {"stage": one.stage, "key": one.key, "content": one.content} for one in inputs}
    return made.store.build(stage, edges, {}, "1", make)[0]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    """Recordings, and a home built from them up to the features."""
    folder = tmp_path_factory.mktemp("forgetting")
    make_recordings(folder / "recordings")
    build(project(folder / "recordings", folder / "home"))
    return folder


@pytest.fixture
def home(built: Path, tmp_path: Path) -> Project:
    """A home of its own, with the same content, that a test may spoil."""
    shutil.copytree(built / "home", tmp_path / "home")
    return project(built / "recordings", tmp_path / "home")


def noise(built: Path) -> str:
    return hash_file(built / "recordings" / "noise-train" / "who0" / "0.wav")


def test_what_is_built_afterwards_is_as_if_it_had_never_been_there(built: Path, home: Project, tmp_path: Path) -> None:
    before = build(home)
    one = noise(built)
    model = stand_in(home, "trained_model", before["mel_features[train]"], before["mel_features[val]"])
    other = stand_in(home, "cmvn_stats", before["mel_features[val]"])
    NOTHING_FORGOTTEN.adding([one], [], "asked").save(home.home)
    home = project(built / "recordings", home.home)
    after = build(home)
    items = affected(home.store, [one])
    named = {item.paths[0].name for item in items}
    gone = {before[name].key for name in ("raw_manifest[None]", "audio_shards[train]", "mel_features[train]")}
    assert gone | {model.key} <= named
    assert not named & {other.key, before["audio_shards[val]"].key, *(artifact.key for artifact in after.values())}
    assert after["mel_features[val]"].key == before["mel_features[val]"].key
    assert search(home.store.root, [one]).holders

    delete(items)
    found = search(home.store.root, [one])
    assert found.files > 8 and not found.holders and not found.unreadable
    assert not affected(home.store, [one])
    assert all(not artifact.damaged(read=True) for artifact in after.values())

    # by content: the noise was mixed into rows of other recordings, and not one of them is left
    without = tmp_path / "without"
    shutil.copytree(built / "recordings", without)
    (without / "noise-train" / "who0" / "0.wav").unlink()
    fresh = build(project(without, tmp_path / "fresh"))
    for name in ("audio_shards[train]", "mel_features[train]"):
        assert after[name].content == fresh[name].content != before[name].content
    pieces = {
        path.name for path in (tmp_path / "fresh" / "store" / "mel_features.parts").iterdir() if path.suffix == ""
    }
    assert {path.name for path in (home.store.root / "mel_features.parts").iterdir() if path.suffix == ""} == pieces


def test_a_model_whose_features_are_gone_may_hold_it(built: Path, home: Project) -> None:
    features = build(home)["mel_features[val]"]
    model = stand_in(home, "trained_model", features)
    onnx = stand_in(home, "onnx_model", model)
    shutil.rmtree(features.path)
    why = {item.paths[0].name: item.because for item in affected(home.store, [noise(built)])}
    assert "is gone: it may hold it" in why[model.key] and why[onnx.key].startswith("made from trained_model")


def test_what_has_the_same_content_as_what_is_gone_clears_nothing(built: Path, home: Project) -> None:
    made = build(home)
    gone, same = (stand_in(home, "cmvn_stats", made[f"mel_features[{split}]"]) for split in ("train", "val"))
    model = stand_in(home, "trained_model", gone)
    shutil.rmtree(gone.path)
    named = {item.paths[0].name for item in affected(home.store, [noise(built)])}
    assert gone.content == same.content and model.key in named and same.key not in named


def test_unfinished_and_damaged_leftovers_count(built: Path, home: Project) -> None:
    for name in (".building-abc", ".damaged-abc-1"):
        (home.store.root / "trained_model" / name).mkdir(parents=True)
    found = {item.paths[0].name for item in affected(home.store, [noise(built)])}
    assert {".building-abc", ".damaged-abc-1"} <= found


def test_a_file_that_cannot_be_read_is_told_by_the_search(built: Path, home: Project) -> None:
    broken = home.store.root / "audio_shards" / "broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    assert search(home.store.root, [noise(built)]).unreadable == [broken]


def test_what_an_older_version_built_may_hold_it(built: Path, tmp_path: Path, caplog) -> None:
    made = project(built / "recordings", tmp_path)

    def make(build: Build) -> None:
        pd.DataFrame({"id": [noise(built)], "path": "0.wav"}).to_parquet(build.path / "manifest.parquet")

    old, _ = made.store.build("raw_manifest", {}, {}, "4", make)
    features = made.store.root / "mel_features.parts" / "old"
    features.parent.mkdir()
    with h5py.File(features, "w") as file:
        file["file_ids"] = np.array([noise(built)], "S64")
    assert search(made.store.root, [noise(built)]).unreadable == [features, old.path / "manifest.parquet"]
    (item, *_) = affected(made.store, [noise(built)])
    assert (item.paths[0].name, item.because) == (old.key, "it cannot be read: it may hold it")
    assert known_recordings(made.store).empty and "is of another version of wakeword" in caplog.text


def test_mined_clips_are_found_by_their_origin(tmp_path: Path) -> None:
    pd.DataFrame({"recording_id": ["clip", "other"], "from_recording_id": ["one", "two"]}).to_parquet(
        tmp_path / "clips.parquet"
    )
    for name in ("clip", "other"):
        pd.DataFrame({"recording_id": [name]}).to_parquet(tmp_path / name)
    assert search(tmp_path, ["one"]).holders == [tmp_path / "clip", tmp_path / "clips.parquet"]


@pytest.fixture
def named(home: Project):
    """The ids of what a text names: (present, listed)."""

    def find(text: object, roots: dict[str, Path] | None = None) -> tuple[set[str], set[str]]:
        roots = {source.name: source.root for source in home.config.data.sources} if roots is None else roots
        found = find_recordings(str(text), known_recordings(home.store), roots, home.scan_cache())
        return set(found.present), set(found.listed)

    return find


def test_recordings_are_named_by_file_by_id_and_by_the_name_of_a_file_that_is_gone(
    built: Path, home: Project, named
) -> None:
    one, path = noise(built), built / "recordings" / "noise-train" / "who0" / "0.wav"
    assert named(path) == ({one}, {one})
    assert named(one[:8].upper()) == named(one) == (set(), {one})
    aside = path.rename(path.with_suffix(".gone"))
    try:
        assert named(path) == (set(), {one})
    finally:
        aside.rename(path)
    assert named("0" * 64) == (set(), {"0" * 64})
    for text in ("0" * 8, one[:7], "no such file.wav", "a" * 5_000, f"{path}/below"):
        with pytest.raises(DataError, match="is no recording: there is no such file"):
            named(text)
    known = known_recordings(home.store)
    twins = known.assign(recording_id="12345678" + known["recording_id"].str[8:])
    with pytest.raises(DataError, match=r"may be 11 recordings: .*negative-train/who0/0\.wav.*name one by more"):
        find_recordings("12345678", twins, {}, home.scan_cache())


def test_a_place_names_what_is_there_now_and_all_that_any_manifest_has_had_there(
    built: Path, home: Project, named, tmp_path: Path
) -> None:
    """Whatever its source is called now, and though the manifest was set aside."""
    recordings = tmp_path / "recordings"
    shutil.copytree(built / "recordings", recordings)
    (recordings / "noise-train" / "who1" / "1.wav").unlink()
    project(recordings, home.home).build("raw_manifest")
    folder = recordings / "negative-train"
    path, before = folder / "who0" / "0.wav", hash_file(folder / "who0" / "0.wav")
    others = {hash_file(folder / f"who{number}" / f"{number}.wav") for number in range(1, 6)}
    write_audio(path, np.zeros(RATE, np.float32), RATE)
    now = hash_file(path)
    for manifest in home.store.cards("raw_manifest"):
        manifest.path.rename(manifest.path.with_name(f".damaged-{manifest.key}-1"))
    assert named(path, {}) == named(folder / "." / "who1" / ".." / "who0" / "0.wav", {}) == ({now}, {before})
    assert named(path.parent, {}) == ({now}, {before})
    assert named(folder, {}) == ({now, *others}, {before, *others})
    shutil.rmtree(folder)
    assert named(folder / "who0", {}) == (set(), {before}) and named(folder, {}) == (set(), {before, *others})
    assert before in named(recordings, {})[1]
    with pytest.raises(DataError, match="is no recording"):
        named(recordings / "negative-tra", {})


def test_a_file_that_must_not_be_read_may_hold_it_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, readable = tmp_path / "a", tmp_path / "b"
    for path in (closed, readable):
        pq.write_table(pa.table({"recording_id": ["a" * 64]}), path)
    opened = Path.open

    def refused(path: Path, *how: Any, **more: Any) -> Any:
        if path == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", refused)
    found = search(tmp_path, ["a" * 64])
    assert (found.unreadable, found.holders) == ([closed], [readable])


def test_a_manifest_that_cannot_be_read_is_named(home: Project, caplog: pytest.LogCaptureFixture) -> None:
    (broken,) = home.store.root.glob("raw_manifest/*/manifest.parquet")
    broken.write_bytes(b"PAR1 and no more")
    assert known_recordings(home.store).empty and "are not looked at" in caplog.text
    assert str(broken) in caplog.text


def odd_tables() -> dict[str, pa.Table]:
    rows = 3
    texts = pa.array(["a" * 64] * rows)
    return {
        "numbers": pa.table({"recording_id": pa.array([1.5] * rows)}),
        "lists": pa.table({"recording_id": pa.array([["a"]] * rows)}),
        "records": pa.table({"recording_id": pa.array([{"a": 1}] * rows)}),
        "no text": pa.table({"recording_id": pa.array([b"\xff"] * rows).cast(pa.binary())}),
        "twice": pa.Table.from_arrays([texts, texts], names=["recording_id", "recording_id"]),
        "nothing": pa.table({"recording_id": pa.nulls(rows)}),
        "odd notes": pa.table({"recording_id": texts}).replace_schema_metadata({b"pandas": b"{", b"x": b"\xff"}),
        "other columns": pa.table({"path": texts}),
        "no columns": pa.table({}),
    }


@pytest.mark.parametrize("name", odd_tables())
def test_a_table_of_other_hands_is_read_or_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / MANIFEST_FILE
    pq.write_table(odd_tables()[name], path)
    for read in (
        lambda: held_recording_ids(path),
        lambda: read_manifest(tmp_path, usable=False, columns=["recording_id"]),
        lambda: read_table(path, ["recording_id"]),
        lambda: list(read_recordings(path)),
        lambda: read_clips(path.rename(tmp_path / TABLE).parent),
    ):
        try:
            read()
        except ArtifactError as error:
            assert str(path) in str(error) or str(tmp_path / TABLE) in str(error)


def test_copies_of_what_is_affected_are_found_wherever_they_lie_in_the_home(built: Path, home: Project) -> None:
    model = stand_in(home, "trained_model", home.require("mel_features", "train"))
    clean = stand_in(home, "cmvn_stats", home.require("mel_features", "val"))
    items = affected(home.store, [noise(built)])
    assert model.path in {item.paths[0] for item in items}
    wanted = traces(home.store, items)
    assert wanted and not any(clean.holds(entry.sha256) for entry in wanted)  # both have the same bytes
    features = home.require("mel_features", "train")
    copy = home.home / "mlruns" / "lost" / "copy of it"
    copy.parent.mkdir(parents=True)
    shutil.copyfile(features.file("train.h5"), copy)
    delete(items)
    assert copies(home.home, wanted) == [copy]


def test_speakers_are_named_with_or_without_their_source(built: Path, home: Project) -> None:
    known = known_recordings(home.store)
    assert find_speaker("noise-train/who0", known) == ("noise-train/who0", [noise(built)])
    assert find_speaker("who5", known)[0] == "negative-train/who5"
    with pytest.raises(DataError, match=r"who0 may be .*negative-train/who0 or .*name one of them in full"):
        find_speaker("who0", known)
    with pytest.raises(DataError, match="has a speaker noise-train/who9; did you mean noise-train/who"):
        find_speaker("noise-train/who9", known)
