"""Statistics normalise the rows that they are of, and the check finds those that do not."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.build import build_features
from wakeword_core.features.cmvn import MEAN_TOLERANCE, VARIANCE_TOLERANCE, Cmvn, check_cmvn, measure
from wakeword_core.features.store import COLUMNS, PARTS_FOLDER, FeatureFile, load_windows, write_part, write_split
from wakeword_core.graph.stages import cmvn as stage
from wakeword_core.store.parts import Parts

BANDS, FRAMES = 4, 12
PADDING = -13.8


def normalises(features: FeatureFile, cmvn: Cmvn, **sample: int) -> bool:
    figures = check_cmvn(features, cmvn, **sample)
    return figures["worst_mean"] <= MEAN_TOLERANCE and figures["worst_variance"] <= VARIANCE_TOLERANCE


def stored(folder: Path, mel: np.ndarray, valid: np.ndarray | None = None, kind: str = "log_mel") -> FeatureFile:
    """A split of rows [rows, BANDS, FRAMES], of which the last `valid` [rows] frames are valid."""
    valid = np.full(len(mel), FRAMES) if valid is None else valid
    columns = {name: np.zeros(len(mel), dtype) for name, dtype in COLUMNS.items()}
    columns |= {"valid_start": FRAMES - valid, "valid_frames": valid}
    part = folder / PARTS_FOLDER / "00000.h5"
    write_part(part, len(mel), [mel.astype(np.float16)], columns, {})
    config = json.dumps({"features.frontend": {"kind": kind}})
    write_split(folder / "train.h5", [part], {"labels_json": "[]", "config_json": config})
    return FeatureFile(folder)


def sound(rows: int, seed: int = 0) -> np.ndarray:
    """Rows of different loudness, as those of recordings are, every other one louder, as views may be."""
    random = np.random.default_rng(seed)
    level = random.normal(-5, 2, (rows, 1, 1)) + 3 * (np.arange(rows) % 2)[:, None, None]
    return level + random.normal(0, 1.5, (rows, BANDS, FRAMES)) + np.arange(BANDS)[:, None]


def test_the_statistics_of_built_features_normalise_them(make_shards, config: Config, tmp_path: Path) -> None:
    build_features(make_shards(), "train", config, "cpu", tmp_path / "features", Parts(tmp_path / "parts"))
    features = FeatureFile(tmp_path / "features")
    cmvn, frames = measure(features)
    figures = check_cmvn(features, cmvn)
    assert figures["worst_mean"] < 1e-3 and figures["worst_variance"] < 1e-3
    assert figures["rows"] == len(features) and figures["frames"] == frames < len(features) * features.frames
    cmvn.save(tmp_path / "cmvn.json")
    np.testing.assert_array_equal(Cmvn.load(tmp_path / "cmvn.json").mean, cmvn.mean)
    mel = load_windows(tmp_path / "features").mel.float().numpy()
    padded = Cmvn(mel.mean((0, 2)), mel.std((0, 2)))
    assert np.abs(padded.mean - cmvn.mean).max() > 0.05 and not normalises(features, padded)


@pytest.mark.parametrize("rows", [600, 3_000])
def test_a_sample_is_enough_for_the_right_statistics(rows: int, tmp_path: Path) -> None:
    features = stored(tmp_path, sound(rows))
    cmvn, _ = measure(features)
    sample = check_cmvn(features, cmvn, rows=500)
    assert sample["rows"] == 500 and sample["frames"] == 500 * FRAMES
    assert sample == check_cmvn(features, cmvn, rows=500) != check_cmvn(features, cmvn)
    assert sample["worst_mean"] < 0.1 and sample["worst_variance"] < 0.2
    assert normalises(features, cmvn, rows=min(rows, 2_000))


def test_statistics_of_another_set_are_found(tmp_path: Path) -> None:
    features = stored(tmp_path / "one", sound(2_500))
    louder, livelier = (
        measure(stored(tmp_path / name, mel))[0]
        for name, mel in (
            ("louder", sound(2_500, 1) + 0.5),
            ("livelier", sound(2_500, 1) * 1.2),
        )
    )
    assert normalises(features, measure(features)[0], rows=2_000)
    assert not normalises(features, louder, rows=2_000) and not normalises(features, livelier, rows=2_000)


def test_statistics_that_counted_padding_are_found(tmp_path: Path) -> None:
    mel, valid = sound(2_500), np.random.default_rng(1).integers(FRAMES - 3, FRAMES + 1, 2_500)
    mel[np.broadcast_to(np.arange(FRAMES) < FRAMES - valid[:, None, None], mel.shape)] = PADDING
    features, whole = stored(tmp_path / "one", mel, valid), stored(tmp_path / "padded", mel)
    assert normalises(features, measure(features)[0], rows=2_000)
    assert not normalises(features, measure(whole)[0], rows=2_000)


def test_statistics_of_a_part_of_the_rows_are_found(tmp_path: Path) -> None:
    """As if only clean views, or the first shard, had been read."""
    mel = sound(2_500)
    features, half = stored(tmp_path / "all", mel), stored(tmp_path / "half", mel[::2])
    assert not normalises(features, measure(half)[0], rows=2_000)


def test_a_band_that_never_changes_is_no_fault(tmp_path: Path) -> None:
    mel = sound(50)
    mel[:, 1] = PADDING
    features = stored(tmp_path, mel)
    assert normalises(features, measure(features)[0])


def test_rows_without_a_valid_frame_give_no_statistics_and_pass_with_none(tmp_path: Path) -> None:
    features = stored(tmp_path, sound(5), np.zeros(5, np.int64))
    with pytest.raises(DataError, match="no frame to normalise by"):
        measure(features)
    assert not normalises(features, Cmvn(np.zeros(BANDS, np.float32), np.ones(BANDS, np.float32)))


@pytest.mark.parametrize("kind", ["log_mel", "micro"])
def test_what_the_device_does_not_normalise_stays_as_it_is(kind: str, tmp_path: Path) -> None:
    features = SimpleNamespace(path=stored(tmp_path / "features", sound(20), kind=kind).path.parent)
    inputs = {"mel_features[train]": features}
    run = SimpleNamespace(inputs=inputs, out=tmp_path, progress=lambda *_: None, figures={})
    stage.make(run)
    statistics, stays = SimpleNamespace(file=lambda name: tmp_path / name), "stay as the device makes them"
    made, verdict = Cmvn.load(tmp_path / stage.FILE), stage.normalises(statistics, run)
    assert verdict.passed and made.changes_nothing == (kind == "micro") == (stays in verdict.description)
    assert (stays in run.figures.get("note", "")) == (kind == "micro")
    for changed in (Cmvn(made.mean + 0.2, made.std), Cmvn(made.mean, made.std * np.float32(1.2))):
        changed.save(tmp_path / stage.FILE)
        assert not changed.changes_nothing and not stage.normalises(statistics, run).passed


def test_cmvn_of_nonsense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cmvn.json"
    path.write_text('{"mean": [0.0], "std": [0.0]}')
    with pytest.raises(ArtifactError, match="positive deviation"):
        Cmvn.load(path)
