"""A small model's misses and false alarms are its own, by the card that it carries."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.export import comparison
from wakeword_core.export.comparison import stream_figures
from wakeword_core.export.onnx_graph import load_model, set_card, write_model
from wakeword_core.export.streaming import export_streaming
from wakeword_core.runtime import WakewordModel

STEP = 0.04
DETECTOR = {"stride_seconds": STEP, "smoothing": 1, "votes": 0, "hold": 1, "lockout_seconds": 1.0}


def session(condition: Condition | None, peaks: list[tuple[float, float]]) -> SessionScores:
    """An hour of recordings, with the word at second 10 and 20 of it if in a condition; scores peak at moments."""
    times = np.arange(0, 3_600, STEP)
    scores = np.full(len(times), 0.01)
    for at, score in peaks:
        scores[round(at / STEP)] = score
    words = [Word("hey robin", f"{at}", float(at), at + 0.8) for at in (10, 20)] if condition else []
    spans = (SourceSpan("people", "one", 0.0, 3_600.0),)
    return SessionScores(condition, times, scores, np.ones(len(times), np.int64), tuple(words), spans)


def test_misses_and_alarms_are_counted_at_the_threshold_of_the_card(
    exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, card, _, made = exports("tiny_conv")
    scores = StreamScores(
        (
            session(Condition(None), [(10.5, 0.9), (20.5, 0.55)]),
            session(Condition(10.0), [(10.5, 0.9), (20.5, 0.3)]),
            session(None, [(50.0, 0.95), (60.0, 0.55), (70.0, 0.2)]),
        ),
        ("_negative", "hey robin"),
    )
    asked: list[tuple[Any, ...]] = []

    def score(scorer: Any, shards: Path, *given: Any, **options: Any) -> StreamScores:
        asked.append((scorer.__self__.path, shards, given[-1], options))
        return scores

    monkeypatch.setattr(comparison, "score_streams", score)
    for threshold, misses, alarms in ((0.5, 1, 2), (0.7, 2, 1)):
        model = load_model(made / "model.onnx")
        set_card(model, {**card, "threshold": threshold, "detector": DETECTOR})
        path = tmp_path / "model.int8.onnx"
        write_model(model, path)
        found = stream_figures(path, Path("shards"), Config())
        assert (found["words"], found["misses"], found["frr"]) == (4, misses, misses / 4)
        assert (found["false_alarm_count"], found["background_hours"]) == (alarms, 1.0)
        assert found["frr_interval"][0] < found["frr"] < found["frr_interval"][1]
        targets = (Condition(None), Condition(10.0))
        assert asked.pop() == (path, Path("shards"), targets, {"confusables": False, "short_phrases": False})
        assert WakewordModel(path).threshold == threshold


def test_the_streaming_model_beside_it_scores_in_its_place_where_that_is_asked_for(
    exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(shutil.copy(exports("tcn")[-1] / "model.onnx", tmp_path))
    export_streaming(path, 1e-3, tmp_path)
    pcm = np.random.default_rng(0).normal(0, 1_000, 40_000).astype(np.int16)
    heard = []

    def score(scorer: Any, *given: Any, **options: Any) -> StreamScores:
        heard.append(scorer(pcm))
        return StreamScores((session(Condition(None), []), session(None, [])), ("_negative", "hey robin"))

    monkeypatch.setattr(comparison, "score_streams", score)
    windows = stream_figures(path, Path("shards"), Config())
    monkeypatch.setattr(WakewordModel, "score_windows", None)
    assert stream_figures(path, Path("shards"), Config(), streamed=True) == windows
    (times, scores), (stream_times, stream_scores) = heard
    np.testing.assert_array_equal(stream_times, times)
    np.testing.assert_allclose(stream_scores, scores, atol=1e-4)
