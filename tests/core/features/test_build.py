"""Shards to HDF5 and back: shapes, alignment with the shards, determinism, reuse, and broken files."""

import hashlib
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, DataError, WakewordError
from wakeword_core.features.build import FeaturesSummary, build_features
from wakeword_core.features.materials import materials_for
from wakeword_core.features.mel import front_end
from wakeword_core.features.store import COLUMNS, MEL, FeatureFile, load_windows, write_part
from wakeword_core.features.windows import verify_features
from wakeword_core.models.layers import windows_ending
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.store.parts import Parts


@pytest.fixture(scope="module")
def whole(make_shards_in, config: Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the shards and the features of a training split."""
    folder = tmp_path_factory.mktemp("whole")
    parts = Parts(folder / "parts")
    build_features(make_shards_in(folder), "train", config, "cpu", folder / "features", parts)
    return folder


@pytest.fixture
def built(whole: Path, tmp_path: Path) -> tuple[Path, Path]:
    """(shards, features) of a training split, which the test may change."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    return tmp_path / "shards", tmp_path / "features"


def tree_hash(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("parts/*.h5"))}


def test_rows_labels_and_shape(built, config: Config) -> None:
    shards, out = built
    windows = load_windows(out)
    assert windows.mel.shape[1:] == (64, 301) and windows.mel.dtype == torch.float16
    # 3 positives of 3 views; 3 hard negatives of 2 rows, 3 negatives of 3 and 3 noises of 2, of 2 views each
    assert len(windows) == 3 * 3 + (3 * 2 + 3 * 3 + 3 * 2) * 2
    assert int((windows.labels == 1).sum()) == 9
    with h5py.File(out / "train.h5") as file:
        assert file[MEL].shape == (len(windows), 1, 1, 64, 301) and file[MEL].is_virtual
        assert json.loads(file.attrs["label2id_json"]) == {"_negative": 0, "hey robin": 1}
    assert verify_features(out, shards, "train", config) == []


def test_clean_rows_are_the_front_end_of_the_recording_itself(built, config: Config) -> None:
    shards, out = built
    windows = load_windows(out, clean_only=True)
    file = FeatureFile(out)
    starts, ids = (file.column(name)[file.column("views") == 0] for name in ("starts", "recording_ids"))
    sounds = {recording.recording_id: recording.audio for recording in iter_recordings(shards)}
    size = config.features.row_samples("train")
    for row in range(0, len(windows), 5):
        sound, start = sounds[ids[row].decode()], int(starts[row])
        cut = np.zeros(size, np.int16)
        first, last = max(0, start), min(len(sound), start + size)
        cut[first - start : last - start] = sound[first:last]
        expected = front_end(cut, config.features.frontend, 16_000)
        np.testing.assert_allclose(windows.mel[row].float().numpy(), expected, atol=0.01)


def test_sets_of_windows_are_joined_row_by_row(built) -> None:
    windows, clean = load_windows(built[1]), load_windows(built[1], clean_only=True)
    both = windows.joined(clean)
    assert len(both) == len(windows) + len(clean) and both.mel.dtype == windows.mel.dtype
    for name in ("mel", "labels", "roles", "views", "word_ends"):
        found = getattr(both, name)
        assert (found[: len(windows)] == getattr(windows, name)).all(), name
        assert (found[len(windows) :] == getattr(clean, name)).all(), name
    for other in (replace(clean, mel=clean.mel[:, :, :-1]), replace(clean, mel=clean.mel.float())):
        with pytest.raises(DataError, match="cannot be joined"):
            windows.joined(other)


def test_a_row_says_where_its_word_ends(built, config: Config) -> None:
    """The sound of a positive stops at 1.0 s and its word at 0.7 s, so 30 frames later the row falls silent."""
    windows = load_windows(built[1], clean_only=True)
    assert torch.equal(windows.word_ends >= 0, windows.labels == 1)
    for row in torch.nonzero(windows.labels == 1).flatten().tolist():
        sounding = torch.nonzero(windows.mel[row].float().mean(0) > -12).flatten()
        assert abs(int(sounding[-1]) - (int(windows.word_ends[row]) + 30)) <= 3


@pytest.mark.parametrize("name", ["speed", "tempo"])
def test_speed_and_tempo_move_the_end_of_the_word_within_the_row(name: str, make_shards, tmp_path: Path, parts) -> None:
    augment = {"speed_probability": 0.0, "noise_probability": 0.0, "rir_probability": 0.0}
    augment |= {f"{name}_probability": 1.0, name: [1.25, 1.25]}
    fast = Config.model_validate({"features": {"augment": {"views": 6, **{**augment, "gain_db": [0, 0]}}}})
    build_features(make_shards(), "train", fast, "cpu", tmp_path / "fast", parts)
    windows = load_windows(tmp_path / "fast")
    for row in torch.nonzero((windows.labels == 1) & (windows.views > 0)).flatten().tolist():
        sounding = torch.nonzero(windows.mel[row].float().mean(0) > -12).flatten()
        assert abs(int(sounding[-1]) - (int(windows.word_ends[row]) + 24)) <= 3


def test_a_window_of_a_row_ends_after_its_word(built, config: Config) -> None:
    rows = load_windows(built[1], clean_only=True)
    windows = windows_ending(rows.mel, rows.window_ends(151, 10), 151)
    assert windows.shape == (len(rows), 64, 151)
    for row in range(len(rows)):
        end = int(rows.word_ends[row]) + 10 if rows.labels[row] else 300
        assert torch.equal(windows[row], rows.mel[row, :, end - 150 : end + 1])


def test_views_differ_from_each_other_and_the_clean_one(built) -> None:
    windows, ids = load_windows(built[1]), FeatureFile(built[1]).column("recording_ids")
    one = ids == ids[int((windows.labels == 1).nonzero()[0])]
    views = windows.mel[torch.from_numpy(one)].float()
    assert len(views) == 3
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert (views[a] - views[b]).abs().mean() > 0.1


@pytest.mark.parametrize(("split", "more"), [("train", ()), ("train", ("device", "tempo", "pitch")), ("val", ())])
def test_the_same_build_gives_the_same_bytes_whatever_the_batch(
    split, more, make_shards, config: Config, tmp_path
) -> None:
    shards, found = make_shards(), []
    always = {f"features.augment.{name}_probability": 1 for name in more}
    for batch in (32, 32, 3):
        settings = config.changed({"compute.batch_windows": batch, **always})
        out = tmp_path / f"{len(found)}"
        build_features(shards, split, settings, "cpu", out, Parts(tmp_path / f"parts{len(found)}"))
        found.append(tree_hash(out))
    assert found[0] == found[1] == found[2] and found[0]


def test_devices_change_what_augmented_rows_sound_like_and_nothing_else(make_shards, config: Config, tmp_path) -> None:
    shards, found = make_shards(), []
    for probability in (0, 1):
        settings = config.changed({"features.augment.device_probability": probability})
        out = tmp_path / f"{probability}"
        build_features(shards, "train", settings, "cpu", out, Parts(tmp_path / f"parts{probability}"))
        assert verify_features(out, shards, "train", settings) == []
        found.append(FeatureFile(out))
    for name in COLUMNS.keys() - {"digests"}:
        np.testing.assert_array_equal(found[0].column(name), found[1].column(name))
    without, through = (file.rows(range(len(file))).astype(np.float32) for file in found)
    clean = found[0].column("views") == 0
    np.testing.assert_array_equal(without[clean], through[clean])
    changes = np.abs(without - through)[~clean].mean((1, 2))  # some rows are silent for the most part
    assert np.isfinite(through).all() and changes.min() > 0 and np.median(changes) > 0.3


def test_only_rows_of_new_recordings_are_computed_and_history_leaves_no_trace(make_shards, tmp_path: Path) -> None:
    # no recorded noise, of which a new recording changes the rows that choose it
    augment = {"noise_minutes": 1e-9}
    quiet = Config.model_validate({"features": {"augment": {"views": 3, "negative_views": 2, **augment}}})
    first, more = make_shards("one", each=3, count=2), make_shards("two", each=4, count=2)
    before = build_features(first, "train", quiet, "cpu", tmp_path / "f1", Parts(tmp_path / "parts"))
    assert before.rows_computed == before.rows
    after = build_features(more, "train", quiet, "cpu", tmp_path / "f2", Parts(tmp_path / "parts"))
    assert after.rows_computed == after.rows - before.rows > 0 and after.parts_built > 0
    fresh = build_features(more, "train", quiet, "cpu", tmp_path / "f3", Parts(tmp_path / "elsewhere"))
    assert fresh.rows_computed == fresh.rows and fresh.content == after.content


def test_a_new_recording_of_noise_changes_the_rows_that_choose_it(make_shards, tmp_path: Path) -> None:
    augment = {"noise_probability": 1.0, "generated_noise_minutes": 1.0}
    noisy = Config.model_validate({"features": {"augment": {"views": 3, "negative_views": 2, **augment}}})
    first, more = make_shards("one", each=3, count=2), make_shards("two", each=4, count=2)
    before = build_features(first, "train", noisy, "cpu", tmp_path / "f1", Parts(tmp_path / "parts"))
    after = build_features(more, "train", noisy, "cpu", tmp_path / "f2", Parts(tmp_path / "parts"))
    changed = after.rows_computed - (after.rows - before.rows)
    assert 0 < changed < before.rows / 4
    fresh = build_features(more, "train", noisy, "cpu", tmp_path / "f3", Parts(tmp_path / "elsewhere"))
    assert fresh.content == after.content


@pytest.mark.parametrize("count", [2, 4])
def test_the_noise_that_is_kept_does_not_depend_on_shards(count, make_shards, tmp_path: Path) -> None:
    """Of 7 recordings of 3 s, two fit: the same in any shards, and with one more recording one of them at least."""
    augment = {"noise_minutes": 6.5 / 60, "generated_noise_minutes": 0.0}
    config = Config.model_validate({"features": {"augment": {"views": 2, **augment}}})
    one, other = (
        materials_for(
            make_shards(f"in-{shards}", each=7, count=shards), "train", config.features, 16_000, config.seed
        ).noise
        for shards in (1, count)
    )
    assert one.seconds == other.seconds == 6.0 and set(one.keys) == set(other.keys) and len(one) == 2
    more = materials_for(make_shards("more", each=8, count=count), "train", config.features, 16_000, config.seed).noise
    assert len(more) == 2 and len(set(one.keys) & set(more.keys)) >= 1


def test_of_a_long_recording_of_noise_as_much_is_kept_as_fits(make_shards, tmp_path: Path) -> None:
    shards = make_shards(seconds_of={"noise": 100.0, "positive": 1.0}, each=1, count=1)
    augment = {"noise_minutes": 1.1, "generated_noise_minutes": 0.0}
    config = Config.model_validate({"features": {"augment": {"views": 2, **augment}}})
    noise = materials_for(shards, "train", config.features, 16_000, config.seed).noise
    # in stretches of half a minute, each with a row more
    assert 66.0 - 30.0 <= noise.seconds <= 66.0 + 3 * 3.1
    (audio,) = [recording.audio for recording in iter_recordings(shards, roles=("noise",))]
    row = config.features.row_samples("train")
    _, starts = noise.choose(np.linspace(0, 0.999, 50), np.linspace(0, 0.999, 50))
    everything = audio.tobytes()
    assert all(noise.samples[start : start + row].tobytes() in everything for start in starts)


def test_rows_of_other_settings_or_of_a_damaged_part_are_not_taken(make_shards, config: Config, tmp_path: Path) -> None:
    shards, parts = make_shards(count=1), Parts(tmp_path / "parts")
    build_features(shards, "val", config, "cpu", tmp_path / "f1", parts)
    other = config.changed({"features.windows.tail_seconds": 0.2})
    second = build_features(shards, "val", other, "cpu", tmp_path / "f2", Parts(tmp_path / "parts"))
    assert second.rows_computed == second.rows
    for part in (tmp_path / "parts").iterdir():
        if part.suffix != ".json":
            data = bytearray(part.read_bytes())
            data[len(data) // 2] ^= 1
            part.write_bytes(data)
    more = make_shards("two", each=4, count=1)
    third = build_features(more, "val", config, "cpu", tmp_path / "f3", Parts(tmp_path / "parts"))
    assert third.rows_computed == third.rows


def test_parts_of_shards_that_are_shared_are_shared(make_shards, config: Config, tmp_path: Path) -> None:
    quiet = config.changed({"features.augment.views": 1, "features.augment.negative_views": 1})
    first = make_shards("one", each=6, count=4)
    build_features(first, "train", quiet, "cpu", tmp_path / "f1", Parts(tmp_path / "parts"))
    more = make_shards("two", each=7, count=4)
    summary = build_features(more, "train", quiet, "cpu", tmp_path / "f2", Parts(tmp_path / "parts"))
    assert summary.parts == 5 and (summary.parts_built, summary.parts_reused) == (1, 4)
    for part in (tmp_path / "f1" / "parts").iterdir():
        assert part.samefile(tmp_path / "f2" / "parts" / part.name)
    assert verify_features(tmp_path / "f2", more, "train", quiet) == []


def test_rows_count_and_are_read_in_the_order_of_their_recordings(make_shards, config: Config, tmp_path: Path) -> None:
    first, more, less = (make_shards(str(each), each=each, count=2) for each in (6, 7, 6))
    for name, shards in (("a", first), ("b", more), ("c", less)):
        build_features(shards, "val", config, "cpu", tmp_path / name, Parts(tmp_path / "parts"))
        build_features(shards, "val", config, "cpu", tmp_path / f"fresh {name}", Parts(tmp_path / f"parts of {name}"))
        found, fresh = FeatureFile(tmp_path / name), FeatureFile(tmp_path / f"fresh {name}")
        order = [one.recording_id.encode() for one in iter_recordings(shards)]
        assert list(dict.fromkeys(found.column("recording_ids").tolist())) == order
        assert found.content() == fresh.content() and verify_features(tmp_path / name, shards, "val", config) == []
        for clean_only in (False, True):
            one, other = (file.windows(clean_only=clean_only).in_memory() for file in (found, fresh))
            assert torch.equal(one.mel, other.mel) and torch.equal(one.labels, other.labels)
        np.testing.assert_array_equal(found.rows([5, 0, 11]), fresh.rows([5, 0, 11]))
        blocks = zip(found.blocks(7), fresh.blocks(7), strict=True)
        assert all(np.array_equal(a, b) for pair in blocks for a, b in zip(*pair, strict=True))


def test_validation_is_clean_whatever_augmentation_says(make_shards, config: Config, tmp_path: Path, parts) -> None:
    summary = build_features(make_shards(), "val", config, "cpu", tmp_path / "val", parts)
    assert set(FeatureFile(tmp_path / "val").column("views")) == {0}
    assert summary.rooms == 0 and summary.noise_seconds < 1


def test_valid_frames_hold_no_padding(built) -> None:
    features = FeatureFile(built[1])
    views = features.column("views")
    for start, mel, valid in features.blocks(1_000):
        clean = views[start : start + len(mel)] == 0
        inside = mel.astype(np.float32).mean(1)[clean][valid[clean]]
        assert inside.min() > np.log(1e-6) + 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_are_refused(wrong: float, built, tmp_path: Path) -> None:
    file = FeatureFile(built[1])
    columns = {name: file.column(name)[:3] for name in COLUMNS.keys() - {"digests"}}
    blocks = [np.zeros((2, 64, 151), np.float16), np.full((1, 64, 151), wrong, np.float16)]
    with pytest.raises(ArtifactError, match=f"{columns['recording_ids'][2].decode()} are not finite"):
        write_part(tmp_path / "bad.h5", 3, blocks, columns, {})
    assert not (tmp_path / "bad.h5").exists()


def test_a_lost_part_is_an_error_and_not_zeros(built) -> None:
    next((built[1] / "parts").glob("*.h5")).unlink()
    with pytest.raises(ArtifactError, match="missing"):
        FeatureFile(built[1])


def test_changed_labels_are_found(built, config: Config) -> None:
    part = next((built[1] / "parts").glob("*.h5"))
    with h5py.File(part, "r+") as file:
        file["labels"][0] = 1 - file["labels"][0]
    assert "labels differ" in verify_features(built[1], built[0], "train", config)[0]


def test_changed_features_are_found_unless_they_were_read_before(built, config: Config) -> None:
    part = next((built[1] / "parts").glob("*.h5"))
    with h5py.File(part, "r+") as file:
        file[MEL][0, 0, 0, 0, 0] += 1
    assert "not as they were written" in verify_features(built[1], built[0], "train", config)[0]
    assert verify_features(built[1], built[0], "train", config, verified=[part.name]) == []


def test_rows_that_should_not_count_are_found(built, config: Config) -> None:
    with h5py.File(built[1] / "train.h5", "r+") as file:
        file["rows"][:2] = file["rows"][:2][::-1]
    assert "views differ from the shards'" in verify_features(built[1], built[0], "train", config)


def test_a_full_disk_is_said_before_writing(make_shards, config: Config, tmp_path: Path, parts, monkeypatch) -> None:
    shards, usage = make_shards(), shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_000))
    with pytest.raises(WakewordError, match=r"feature part .* needs about"):
        build_features(shards, "train", config, "cpu", tmp_path / "full", parts)
    assert not list((tmp_path / "full").rglob("*.h5"))


def test_shards_without_a_recording_to_cut_are_an_error(make_shards, config: Config, tmp_path: Path, parts) -> None:
    shards = make_shards(seconds_of={"rir": 0.3}, each=1, count=1)
    with pytest.raises(DataError, match="val split has no recording"):
        build_features(shards, "val", config, "cpu", tmp_path / "none", parts)


@pytest.mark.parametrize("kind", ["mel_db", "mfcc"])
def test_other_kinds_of_features_are_built_and_agree_with_the_devices(kind: str, make_shards, tmp_path, parts) -> None:
    frontend = {"kind": kind, "n_mfcc": 20, "top_db": 40}
    off = {"noise_probability": 0, "band_warp": 0, "colour_db": 0}
    features = {"frontend": frontend, "context": {"frames": 0}}
    config = Config.model_validate({"features": features, "training": {"augment": off}})
    shards = make_shards()
    build_features(shards, "val", config, "cpu", tmp_path / "val", parts)
    assert verify_features(tmp_path / "val", shards, "val", config) == []
    file = FeatureFile(tmp_path / "val")
    sounds = {recording.recording_id: recording.audio for recording in iter_recordings(shards)}
    recording_ids, starts = file.column("recording_ids").astype(str), file.column("starts")
    assert file.shape[3] == config.features.frontend.bands
    for row, stored in enumerate(file.rows(range(len(file)))):
        begin, size = int(starts[row]), config.features.frontend.window_samples
        sound = np.pad(sounds[recording_ids[row]], size)[begin + size : begin + 2 * size]
        np.testing.assert_allclose(stored, front_end(sound, config.features.frontend, 16_000), atol=0.05)


def test_rows_know_whether_their_source_is_synthetic(make_shards, config: Config, tmp_path: Path, parts: Parts) -> None:
    shards, out = make_shards(voices=1), tmp_path / "features"
    build_features(shards, "train", config, "cpu", out, parts, synthetic_sources=["voices", "not here"])
    made = {one.recording_id for one in iter_recordings(shards) if one.source == "voices"}
    windows = load_windows(out)
    assert windows.synthetic.tolist() == [one.decode() in made for one in FeatureFile(out).column("recording_ids")]
    assert len(made) == 4 and int(windows.synthetic[windows.labels == 1].sum()) == 3
    assert verify_features(out, shards, "train", config, ["voices"]) == []
    assert "synthetic differ" in verify_features(out, shards, "train", config)[0]


def test_real_positives_have_more_views_where_the_split_has_synthetic_ones(
    make_shards, config: Config, tmp_path: Path, parts: Parts
) -> None:
    shards = make_shards(voices=1)
    more = config.changed({"features.augment.real_views": 7})

    def built(name: str, settings: Config, *synthetic: str) -> tuple[Path, FeaturesSummary]:
        out = tmp_path / name
        return out, build_features(shards, "train", settings, "cpu", out, parts, synthetic_sources=synthetic)

    def positives(out: Path) -> dict[str, int]:
        file = FeatureFile(out)
        return Counter(file.column("recording_ids")[file.column("labels") == 1].astype(str).tolist())

    before, first = built("before", more)  # none is known to be synthetic
    after, second = built("after", more, "voices")
    sources = {one.recording_id: one.source for one in iter_recordings(shards)}
    assert set(positives(before).values()) == {3}
    assert positives(after) == {one: 3 if sources[one] == "voices" else 7 for one in positives(before)}
    # what was there is taken from the older parts, with the same numbers
    assert second.rows_computed == second.rows - first.rows == 2 * 4
    old, new = ({key: row for key, row in keyed(out)} for out in (before, after))
    assert all(np.array_equal(new[key], row) for key, row in old.items())
    assert verify_features(after, shards, "train", more, ["voices"]) == []
    assert built("again", more, "voices")[1].parts_built == 0


def keyed(out: Path) -> list[tuple[tuple[int, int], np.ndarray]]:
    """Every row by what names it: its key and its start."""
    file = FeatureFile(out)
    names = zip(file.column("keys").tolist(), file.column("starts").tolist(), strict=True)
    return list(zip(names, load_windows(out).mel.numpy(), strict=True))
