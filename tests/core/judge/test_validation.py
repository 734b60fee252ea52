"""What a judge alone makes of a split's recordings: the window at the end of the speech counts, wherever that is."""

from types import SimpleNamespace

import numpy as np
import pytest
from small_judge import WINDOW, save_judge

from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.judge import validation
from wakeword_core.runtime.judge_file import Judge

RATE = 16_000
CARD = {
    "phrase": "robin",
    "labels": ["_negative", "robin"],
    "sample_rate": RATE,
    "frontend": FrontendConfig().model_dump(mode="json"),
    "detector": DetectorConfig().model_dump(mode="json"),
}


def recording(role: str, seconds: float, loud_at: float | None, speech_end: float = np.nan) -> SimpleNamespace:
    """Quiet, but for a tenth of a second that begins at `loud_at`."""
    audio = np.zeros(round(seconds * RATE), np.int16)
    if loud_at is not None:
        audio[round(loud_at * RATE) : round((loud_at + 0.1) * RATE)] = 20_000
    return SimpleNamespace(role=role, audio=audio, speech_end=speech_end)


@pytest.fixture(scope="module")
def judge(tmp_path_factory) -> Judge:
    model = SimpleNamespace(card=CARD, graph_digest="a model")
    return Judge(save_judge(tmp_path_factory.mktemp("judge") / "judge.onnx", model))


def test_the_window_ends_shortly_after_the_speech(judge, monkeypatch, tmp_path) -> None:
    recordings = [
        recording("positive", 3.0, loud_at=1.1, speech_end=1.0),  # which the window ends with
        recording("positive", 3.0, loud_at=2.5, speech_end=1.0),
        recording("positive", 1.0, loud_at=None, speech_end=1.0),  # whose window ends after it
        recording("noise", 2.0, loud_at=0.9),  # up to the middle, where there is no speech
        recording("negative", 0.02, loud_at=None),  # shorter than a window by far
    ]
    monkeypatch.setattr(validation, "iter_recordings", lambda shards, roles: iter(recordings))
    scores, positive = validation.score_recordings(judge, tmp_path)
    assert (scores > 0.5).tolist() == [True, False, False, True, False]
    assert positive.tolist() == [True, True, True, False, False]
    assert judge.window_samples == WINDOW


def test_no_recording_is_no_score(judge, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(validation, "iter_recordings", lambda shards, roles: iter(()))
    scores, positive = validation.score_recordings(judge, tmp_path)
    assert len(scores) == len(positive) == 0
