"""The INT8 stage on stored features whose training rows are longer than windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from wakeword_core.config import ROLES, Config
from wakeword_core.export import int8
from wakeword_core.export.int8 import make_int8
from wakeword_core.features.store import WindowSet
from wakeword_core.runtime import WakewordModel

CONTEXT, TAIL = 40, 10


def _config(**features: object) -> Config:
    return Config.model_validate({"features": {"context_frames": CONTEXT, "tail_seconds": TAIL / 100, **features}})


def test_int8_is_calibrated_on_windows_that_end_behind_the_word(
    trained_tcn, sweeps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sweeps end in frame 99 at most; every row holds its window from frame 20 on."""
    _, folder = trained_tcn
    windows, labels = sweeps(96, 0)
    tests, truth = sweeps(200, 9)
    rows = np.full((96, 64, 151 + CONTEXT), -6.0, np.float32)
    rows[:, :, 20 : 20 + 151] = windows
    # words end so that their windows begin in frame 20; rows without a word are cut at their end
    ends = torch.full((96,), 20 + 150 - TAIL)
    role = torch.full((96,), ROLES.index("positive"))
    stored = WindowSet(
        torch.from_numpy(rows), torch.from_numpy(labels), role, role * 0, ends, np.arange(96).astype(str)
    )
    calibrated_on = []

    def quantize(path, chosen, config, out):
        calibrated_on.append(chosen)
        return whole(path, chosen, config, out)

    whole = int8.quantize_int8
    monkeypatch.setattr(int8, "load_windows", lambda path, clean_only: stored)
    monkeypatch.setattr(int8, "quantize_int8", quantize)
    monkeypatch.setattr(
        int8, "onnx_clip_scores", lambda path, features: (WakewordModel(path).score_windows(tests), truth)
    )
    figures = make_int8(folder / "model.onnx", tmp_path, tmp_path, _config(), tmp_path)
    np.testing.assert_array_equal(calibrated_on[0], windows)
    assert figures["size_ratio"] <= 0.35
    assert figures["f1_fp32"] > 0.75
    assert figures["f1_int8"] >= figures["f1_fp32"] - Config().export.int8_max_f1_drop
    assert 0 < figures["mean_score_difference"] < 0.1
