"""The INT8 stage on stored features whose training rows are longer than windows."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import ROLES, Config
from wakeword_core.export import comparison, int8
from wakeword_core.export.int8 import STREAMING_TOLERANCE, make_int8
from wakeword_core.features.store import WindowSet
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.live import stream_scorer
from wakeword_core.runtime.streaming import GraphScorer

CONTEXT, TAIL = 40, 10


def _config(**features: object) -> Config:
    features |= {"context": {"frames": CONTEXT}, "windows": {"tail_seconds": TAIL / 100}}
    # what 120 windows of a toy can show: one decision of them is another F1 by 0.01
    return Config.model_validate({"features": features, "export": {"int8": {"max_f1_drop": 0.05}}})


def test_int8_is_calibrated_on_windows_that_end_behind_the_word(
    trained_tcn, sweeps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps end in frame 99 at most; every row holds its window from frame 20 on."""
    folder = trained_tcn
    windows, labels = sweeps(96, 0)
    tests, truth = sweeps(200, 9)
    rows = np.full((96, 64, 151 + CONTEXT), -6.0, np.float32)
    rows[:, :, 20 : 20 + 151] = windows
    # words end so that their windows begin in frame 20; rows without a word are cut at their end
    ends = torch.full((96,), 20 + 150 - TAIL)
    role = torch.full((96,), ROLES.index("positive"))
    stored = WindowSet(torch.from_numpy(rows), torch.from_numpy(labels), role, role * 0, ends, role < 0)
    others, said = sweeps(120, 3)
    validation = dataclasses.replace(stored, mel=torch.from_numpy(others), labels=torch.from_numpy(said))
    splits = {Path("train"): stored, Path("val"): validation}
    given = []

    def quantize(path, chosen, held, *others):
        given.append((chosen, held))
        return whole(path, chosen, held, *others)

    whole = int8.quantize_int8
    monkeypatch.setattr(int8, "open_windows", lambda path, clean_only: splits[path])
    monkeypatch.setattr(int8, "quantize_int8", quantize)
    monkeypatch.setattr(int8, "CALIBRATIONS", ("minmax",))
    monkeypatch.setattr(
        comparison, "onnx_clip_scores", lambda path, features: (WakewordModel(path).score_windows(tests), truth)
    )
    figures = make_int8(folder / "model.onnx", *map(Path, ("train", "val", "test")), _config(), tmp_path)
    calibrated_on, held = given[0]
    np.testing.assert_array_equal(calibrated_on, windows)
    np.testing.assert_array_equal(held.windows, others)
    np.testing.assert_array_equal(held.words, said > 0)
    assert held.threshold == figures["threshold"] == WakewordModel(folder).threshold
    assert figures["size_ratio"] <= 0.35
    assert figures["f1_fp32"] > 0.75
    assert figures["f1_int8"] >= figures["f1_fp32"] - _config().export.int8.max_f1_drop
    assert 0 < figures["mean_score_difference"] < 0.1
    assert [one["method"] for one in figures["tried"]] == ["static", "weights"]
    _streams_as_its_windows(tmp_path, figures)


def _streams_as_its_windows(folder: Path, figures: dict) -> None:
    """Each layer once, in integers, and what is kept of the layers' inputs are bytes."""
    model = WakewordModel(folder)
    assert model.path.name == "model.int8.onnx" and model.streaming is not None
    assert figures["streaming_native"] and figures["streaming_bytes"] < 1.3 * figures["bytes"]
    states = model.streaming.facts["states"]
    assert [one["type"] for name, one in sorted(states.items())] == ["float32", *["uint8"] * (len(states) - 1)]
    random = np.random.default_rng(1)
    pcm = (random.normal(0, 1, 24_000) * np.repeat(random.choice([30, 3_000], 6), 4_000)).astype(np.int16)
    expected, scorer = model.score_audio(pcm)[1], stream_scorer(model)
    assert isinstance(scorer, GraphScorer) and np.ptp(expected[:, 1]) > 0.01
    found = np.concatenate([scorer.push(pcm[at : at + 777])[1] for at in range(0, len(pcm), 777)])
    np.testing.assert_allclose(found, expected, atol=STREAMING_TOLERANCE)
