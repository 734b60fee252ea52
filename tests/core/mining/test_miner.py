"""A model that fires at known places: what is mined is what lies there, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_project import RATE, pack

from wakeword_core.config import Config
from wakeword_core.features.windows import aligned_reach
from wakeword_core.mining import miner
from wakeword_core.mining.clips import read_clips
from wakeword_core.mining.miner import highest_scores, mine
from wakeword_core.models.scoring import ScoringModel, new_model
from wakeword_core.shards.packed_split import iter_recordings, verify_shards

LOUD_FRAMES = 10
BURST = (LOUD_FRAMES - 1) * 160 + 512


class Loud(nn.Module):
    """Fires when the last frames of a window are loud: the louder, the surer."""

    def forward(self, x: Tensor) -> Tensor:
        level = x[:, :, -LOUD_FRAMES:].mean(dim=(1, 2)) + 2.0
        return torch.stack([torch.zeros_like(level), level], dim=1)


def config_with(**search: Any) -> Config:
    features = {
        "frontend": {"n_mels": 16, "window_frames": 32},
        "windows": {"tail_seconds": 0.1, "edge_seconds": 0.1},
        "context": {"frames": 60, "jitter_seconds": 0.1},
    }
    settings = {"enabled": True, "search": {"min_score": 0.5, "lockout_seconds": 0.5, **search}}
    model = {"arch": "tiny_conv", "channels": 4}
    return Config.model_validate({"features": features, "training": {"model": model}, "mining": settings})


@pytest.fixture
def model() -> ScoringModel:
    with torch.random.fork_rng(devices=[]):
        found = new_model(config_with())
    found.backbone = Loud()
    return found.eval()


def sound(seconds: float, seed: int, bursts: dict[int, float] | None = None) -> np.ndarray:
    """Hiss with bursts of noise that begin at some samples, of some levels."""
    generator = np.random.default_rng(seed)
    pcm = generator.normal(0, 5, round(seconds * RATE))
    for start, level in (bursts or {}).items():
        pcm[start : start + BURST] += generator.normal(0, level, BURST)
    return pcm.clip(-32_768, 32_767).astype(np.int16)


def test_one_burst_gives_exactly_that_clip(tmp_path: Path, model) -> None:
    burst = 20_000
    sounds = {"quiet": ("negative", sound(2.0, 1)), "radio": ("background", sound(4.0, 2, {burst: 4_000}))}
    sounds |= {"word": ("positive", sound(2.0, 3, {9_000: 4_000})), "room": ("rir", sound(1.0, 4, {5_000: 4_000}))}
    shards, config, seen = pack(tmp_path, sounds), config_with(), []
    summary = mine(model, shards, config, "cpu", tmp_path / "out", lambda *one: seen.append(one))
    table = read_clips(tmp_path / "out")
    assert (summary["clips"], summary["events"], summary["listened"], len(table)) == (1, 1, 2, 1)
    assert summary["hours"] == pytest.approx(6 / 3_600, abs=1e-4)
    assert (summary["sources"], summary["roles"]) == ({"background-source": 1}, {"background": 1})
    (row,) = table.itertuples()
    (origin,) = iter_recordings(shards, roles=("background",))
    assert (row.from_recording_id, row.speaker, row.label) == (origin.recording_id, "who/radio", "label-radio")
    assert row.score > 0.9 and summary["top_clips"][0]["score"] == pytest.approx(row.score, abs=1e-4)
    # scores are 40 ms apart, and the best is of the window that ends nearest to the end of the burst
    assert abs(row.time - (burst + BURST) / RATE) <= 0.02
    before, after = aligned_reach(config.features, RATE)
    window_end = round(row.time * RATE)
    assert (row.start, row.end) == ((window_end - before) / RATE, (window_end + after) / RATE)
    (found,) = iter_recordings(tmp_path / "out")
    assert np.array_equal(found.audio, origin.audio[window_end - before : window_end + after])
    assert found.role == "hard_negative" and found.speech_end == pytest.approx(before / RATE)
    assert verify_shards(tmp_path / "out", table) == []
    assert {one.name for one in (tmp_path / "out").iterdir()} == {"00000.parquet", "clips.parquet", "scores.png"}
    assert ("mining (s)", 6, 6) in seen and seen[-1] == ("cut mined clips", 1, 1)


BUSY = {
    "a": ("negative", sound(6.0, 1, {16_000: 3_000, 48_000: 6_000, 80_000: 1_500})),
    "b": ("hard_negative", sound(2.0, 2, {12_000: 4_500})),
    "c": ("noise", sound(2.0, 3, {12_000: 2_000})),
}


@pytest.mark.parametrize(
    ("limits", "origins", "events"),
    [
        ({}, "abaca", 5),
        ({"per_recording": 2}, "abac", 5),
        ({"per_recording": 1}, "abc", 5),
        ({"max_clips": 2}, "ab", 5),
        ({"lockout_seconds": 2.5}, "abc", 3),
        ({"min_score": 0.9999}, "", 0),
    ],
)
def test_limits_keep_the_highest(limits, origins, events, tmp_path: Path, model, monkeypatch) -> None:
    monkeypatch.setattr(miner, "_SECONDS_A_TASK", 4.0)  # a share for each recording but one
    summary = mine(model, pack(tmp_path, BUSY), config_with(**limits), "cpu", tmp_path / "out")
    table = read_clips(tmp_path / "out")
    assert [one.removeprefix("who/") for one in table["speaker"]] == list(origins)
    assert table["score"].is_monotonic_decreasing and summary["events"] == events
    assert summary["clips"] == len(origins) == len(list(iter_recordings(tmp_path / "out")))
    assert len(summary["top_clips"]) == len(origins)


def test_equal_sound_in_two_recordings_is_mined_once(tmp_path: Path, model) -> None:
    whole = sound(4.0, 2, {30_000: 4_000})
    longer = np.concatenate([whole, np.zeros(1_000, np.int16)])
    shards = pack(tmp_path, {"one": ("negative", whole), "two": ("background", longer)})
    summary = mine(model, shards, config_with(), "cpu", tmp_path / "out")
    assert (summary["events"], summary["clips"]) == (2, 1)


def test_nothing_is_a_result(tmp_path: Path, model) -> None:
    shards = pack(tmp_path, {"quiet": ("negative", sound(2.0, 1)), "word": ("positive", sound(1.0, 2, {4_000: 9_000}))})
    summary = mine(model, shards, config_with(), "cpu", tmp_path / "out")
    assert (summary["clips"], summary["events"], summary["listened"]) == (0, 0, 1)
    assert len(read_clips(tmp_path / "out")) == 0 and not (tmp_path / "out" / "scores.png").exists()


def test_mining_twice_gives_the_same_bytes(tmp_path: Path, model) -> None:
    shards = pack(tmp_path, BUSY)
    for name in ("x", "y"):
        mine(model, shards, config_with(), "cpu", tmp_path / name)
    for path in (tmp_path / "x").iterdir():
        assert path.read_bytes() == (tmp_path / "y" / path.name).read_bytes()


def test_the_highest_score_of_each_recording(tmp_path: Path, model) -> None:
    shards = pack(tmp_path, BUSY)
    found = highest_scores(model, shards, config_with(), "cpu")
    mine(model, shards, config_with(per_recording=1), "cpu", tmp_path / "out")
    expected = read_clips(tmp_path / "out").set_index("from_recording_id")["score"]
    assert found.tolist() == pytest.approx([expected[one.recording_id] for one in iter_recordings(shards)])
