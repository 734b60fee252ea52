"""Features of microcontrollers are those of the device's own code, in streams, rows and stretches."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pymicro_features import MicroFrontend as Device

from wakeword_core.config import Config, FrontendConfig
from wakeword_core.errors import MissingDependencyError
from wakeword_core.features import augment
from wakeword_core.features.build import build_features
from wakeword_core.features.frontend import row_front_end
from wakeword_core.features.mel import NumpyFrontend, front_end, new_front_end
from wakeword_core.features.micro import MicroFrontend
from wakeword_core.features.store import FeatureFile
from wakeword_core.features.windows import verify_features
from wakeword_core.shards.packed_split import iter_recordings

RATE, HOP, WINDOW, LEAD_IN = 16_000, 160, 480, 32_000
MICRO = FrontendConfig(kind="micro")
STEP = 1 / 25.6
"""Between two numbers of the device."""


def on_device(pcm: np.ndarray) -> np.ndarray:
    """What the package gives for int16 [samples], 10 ms at a time: [bands, frames]."""
    device, frames = Device(), []
    for start in range(0, len(pcm) - HOP + 1, HOP):
        if features := device.process_samples(pcm[start : start + HOP].tobytes()).features:
            frames.append(features)
    return np.asarray(frames, np.float32).reshape(-1, 40).T


def voice(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """Something like speech, int16: harmonics of a gliding pitch in syllables, over noise 30 dB below."""
    generator, time = np.random.default_rng(seed), np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    harmonics = sum(np.sin(k * phase) / k for k in range(1, 24))
    syllables = np.maximum(0, np.sin(2 * np.pi * 3.1 * time)) ** 2 * (np.sin(2 * np.pi * 0.4 * time) > -0.5)
    sound = harmonics * syllables + 0.03 * generator.standard_normal(len(time))
    return np.clip(np.rint(sound * level), -32_768, 32_767).astype(np.int16)


SOUNDS = {
    "speech": voice(6.0, 4_000),
    "quiet": voice(4.0, 12),
    "clipped full scale": voice(4.0, 200_000),
    "digital silence": np.zeros(3 * RATE, np.int16),
    "loud, then nothing": np.concatenate([voice(2.0, 15_000), np.zeros(2 * RATE, np.int16), voice(2.0, 15_000, 1)]),
}


@pytest.mark.parametrize("name", SOUNDS)
def test_each_frame_is_the_devices_however_a_stream_is_cut(name: str) -> None:
    pcm = SOUNDS[name]
    expected = on_device(pcm)
    assert expected.shape == (40, 100 * len(pcm) // RATE - 2) == (40, (len(pcm) - WINDOW) // HOP + 1)
    np.testing.assert_array_equal(front_end(pcm, MICRO, RATE), expected)
    np.testing.assert_array_equal(new_front_end(MICRO, RATE)(pcm.astype(np.float32) / 32_768), expected)
    random, stream, first, found = np.random.default_rng(1), new_front_end(MICRO, RATE).stream(), 0, []
    while first < expected.shape[1]:
        count = int(random.integers(1, 80))
        found.append(stream(pcm[first * HOP : (first + count - 1) * HOP + WINDOW + int(random.integers(HOP))]))
        first += found[-1].shape[1]
    np.testing.assert_array_equal(np.concatenate(found, axis=1), expected)
    assert expected.min() >= 0 and expected.max() < 27
    assert expected.any() == (name != "digital silence")


def test_what_is_no_whole_frame_has_none_and_is_not_lost() -> None:
    pcm, stream = voice(1.0, 4_000), MicroFrontend(MICRO).stream()
    assert stream(pcm[: WINDOW - 1]).shape == stream(pcm[:0]).shape == (40, 0)
    np.testing.assert_array_equal(stream(pcm), on_device(pcm))
    assert stream(pcm[-WINDOW + 1 :]).shape == (40, 0)


def test_every_recording_and_every_stream_begins_anew() -> None:
    frames, pcm = MicroFrontend(MICRO), voice(2.0, 4_000)
    one, other = frames.stream(), frames.stream()
    first = one(pcm)
    np.testing.assert_array_equal(frames(pcm), first)
    np.testing.assert_array_equal(other(pcm), first)
    assert np.abs(one(pcm)[:, :20] - first[:, :20]).mean() > 0.5  # the same sound once more, to a warm front end


def test_silence_is_what_the_device_makes_of_it_and_nothing_is_clamped() -> None:
    frames = MicroFrontend(MICRO)
    np.testing.assert_array_equal(frames.silence(7), on_device(np.zeros(WINDOW + 6 * HOP, np.int16)))
    windows = front_end(voice(1.0, 4_000), MICRO, RATE)[None]
    assert frames.clamp(windows) is windows


def test_rows_hear_the_lead_in_and_do_not_give_it() -> None:
    pcm = np.stack([voice(4.0, level, seed) for seed, level in enumerate((40, 4_000, 100_000))])
    rows = row_front_end(MICRO, RATE)(torch.from_numpy(pcm.astype(np.float32) / 32_768))
    assert rows.shape == (3, 40, 400 - 2 - 200)
    for row, sound in zip(rows.numpy(), pcm, strict=True):
        np.testing.assert_array_equal(row, on_device(sound)[:, 200:])


def config_of(**augmented: object) -> Config:
    features = {"frontend": {"kind": "micro"}, "augment": {"views": 2, "negative_views": 2, **augmented}}
    return Config.model_validate({"features": features})


def rows_of(folder: Path, shards: Path) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Each stored row, the recording that it is of, and where in that it begins."""
    file, sounds = FeatureFile(folder), {one.recording_id: one.audio for one in iter_recordings(shards)}
    recordings, starts = file.column("recording_ids").astype(str), file.column("starts")
    for number, stored in enumerate(file.rows(range(len(file)))):
        yield stored, sounds[recordings[number]], int(starts[number])


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_row_is_cut_from_a_stream_that_began_two_seconds_before(
    split: str, make_shards, tmp_path, parts, monkeypatch
) -> None:
    """Without a floor it is the device's, whatever device the build was to run on."""
    monkeypatch.setattr(augment, "_FLOOR_DBFS", (-300.0, -300.0))
    config = config_of(speed_probability=0, noise_probability=0, rir_probability=0, gain_db=(0, 0))
    shards = make_shards()
    build_features(shards, split, config, "cuda", tmp_path / "out", parts)
    assert verify_features(tmp_path / "out", shards, split, config) == []
    size, heard = config.features.row_samples(split), 0
    for stored, sound, start in rows_of(tmp_path / "out", shards):
        padded = np.pad(sound, (LEAD_IN + size, size))[start + size : start + LEAD_IN + 2 * size]
        heard += int(sound[: max(start, 0)].any())
        # float16 holds the device's numbers to less than half a step
        np.testing.assert_allclose(stored, on_device(padded)[:, 200:], atol=STEP / 4)
    assert heard > 0  # long recordings have a lead-in of their own


def test_rows_are_alike_whatever_lies_around_them_and_cold_ones_are_not(
    make_shards, tmp_path, parts, monkeypatch
) -> None:
    """With a floor, a row is what a long stream over the same floor holds in its place."""
    monkeypatch.setattr(augment, "_FLOOR_DBFS", (-65.0, -65.0))
    shards = make_shards(seconds_of={"positive": 1.0}, each=3, count=1)
    build_features(shards, "val", config_of(), "cpu", tmp_path / "val", parts)
    generator = np.random.default_rng(5)
    for stored, sound, start in rows_of(tmp_path / "val", shards):
        size = 150 * HOP + WINDOW
        cut = np.pad(sound, size)[start + size : start + 2 * size] + generator.normal(0, 32_768 * 10**-3.25, size)
        before = generator.normal(0, 32_768 * 10**-3.25, 10 * RATE)
        stream, cold = (
            on_device(np.rint(np.concatenate([lead, cut])).astype(np.int16))[:, -151:] for lead in (before, before[:0])
        )
        sounding = stream.mean(axis=0) > 5
        assert np.abs(stored - stream)[:, sounding].mean() < 0.3 < 1 < np.abs(cold - stream).mean()


def test_every_row_has_a_floor_of_its_own_level() -> None:
    keys = np.random.default_rng(2).integers(0, 2**63, 500).astype(np.uint64)
    floor = augment.Floor(4_000, torch.device("cpu"))
    rows = floor(torch.zeros(500, 4_000), keys)
    levels = 20 * np.log10(rows.square().mean(dim=1).sqrt().numpy())
    assert -101 < levels.min() < -98 and -62 < levels.max() < -59 and len(np.unique(rows[:, 0].numpy())) > 490
    np.testing.assert_array_equal(floor(torch.zeros(1, 4_000), keys[7:8]), rows[7:8])
    loud = torch.full((1, 4_000), 0.5)
    np.testing.assert_allclose(floor(loud.clone(), keys[:1]) - loud, rows[:1], atol=1e-7)


def test_augmented_rows_are_the_same_in_any_build(make_shards, tmp_path, parts) -> None:
    shards, config = make_shards(), config_of()
    build_features(shards, "train", config, "cpu", tmp_path / "one", parts)
    alone = Config.model_validate({**config.model_dump(), "compute": {"batch_windows": 1, "workers": 1}})
    build_features(shards, "train", alone, "cpu", tmp_path / "other", type(parts)(tmp_path / "other_parts"))
    first, second = (FeatureFile(tmp_path / name) for name in ("one", "other"))
    rows = range(len(first))
    np.testing.assert_array_equal(first.rows(rows), second.rows(rows))
    views = first.column("views")
    assert np.abs(np.diff(first.rows(np.flatnonzero(views < 2)[:2]), axis=0)).mean() > 0.1


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    frames = new_front_end(MICRO, RATE)
    with pytest.raises(
        MissingDependencyError, match=r"^the front end micro needs pymicro-features: .*pip install .*esp"
    ):
        frames.stream()


def test_other_kinds_have_no_state() -> None:
    frames = new_front_end(FrontendConfig(), RATE)
    assert isinstance(frames, NumpyFrontend) and frames.stream() is frames
    assert FrontendConfig().lead_in_samples == 0 and MICRO.lead_in_samples == LEAD_IN
