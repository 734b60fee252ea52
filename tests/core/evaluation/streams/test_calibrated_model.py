"""A trained model made ready for use on validation: one run through the real functions, on made-up sounds."""

import json

import numpy as np
import pytest
import torch

from wakeword_core.config import Config
from wakeword_core.evaluation.streams import operating_points
from wakeword_core.evaluation.streams.conditions import target_conditions
from wakeword_core.evaluation.streams.operating_points import (
    OperatingPoints,
    calibrate_model,
    choose_operating_points,
    torch_scorer,
)
from wakeword_core.evaluation.streams.scores import score_streams
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.export.onnx_export import export_onnx
from wakeword_core.features.build import build_features
from wakeword_core.graph.stages import STAGES
from wakeword_core.models.scoring import load_model, model_card, new_model, save_model
from wakeword_core.recordings.vad import SpeechDetector
from wakeword_core.runtime import WakewordModel
from wakeword_core.store.parts import Parts

CONFIG = Config.model_validate(
    {
        "phrase": "hey robin",
        "training": {"model": {"arch": "tiny_conv", "channels": 4}},
        "evaluation": {"streams": {"session_minutes": 0.25}, "tuning": {"smoothing": [1, 3], "off_ratio": [0.6]}},
    }
)
SCORED = (CONFIG.features.frontend, CONFIG.data.audio.sample_rate, CONFIG.evaluation.detector)


@pytest.fixture(scope="module")
def calibrated(shards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("operating")
    torch.manual_seed(3)
    model = new_model(CONFIG)
    for name in ("model", "features", "out"):
        (folder / name).mkdir()
    save_model(folder / "model", model.eval(), model_card(CONFIG))
    build_features(shards.folder, "val", CONFIG, "cpu", folder / "features", Parts(folder / "parts"))
    figures = calibrate_model(folder / "model", folder / "features", shards.folder, CONFIG, folder / "out")
    return folder / "out", figures


def test_thresholds_are_chosen_with_the_confusables_heard_too(calibrated, shards, monkeypatch, tmp_path):
    monkeypatch.setattr(SpeechDetector, "span", lambda *given: pytest.fail("speech is of no use here"))
    seen = []

    def choose(scores, *given):
        seen.append((scores, given))
        return choose_operating_points(scores, *given)

    monkeypatch.setattr(operating_points, "choose_operating_points", choose)
    folder = calibrated[0].parent
    calibrate_model(folder / "model", folder / "features", shards.folder, CONFIG, tmp_path, synthetic=["source"])
    [(scores, _)] = seen
    heard = {span.recording_id for session in scores.confusables for span in session.sources}
    assert heard == {one.recording_id for one in shards.of("hard_negative")} and scores.synthetic == {"source"}


def test_the_stored_points_are_what_the_stored_model_gives(calibrated, shards):
    out, figures = calibrated
    found = OperatingPoints.load(out)
    scorer = torch_scorer(load_model(out)[0], *SCORED)
    targets = target_conditions(CONFIG.evaluation.conditions)
    scores = score_streams(scorer, shards.folder, CONFIG, conditions=targets, confusables=False, short_phrases=False)
    assert [one.name for one in scores.conditions] == ["clean", "10 dB"]
    for point in found.points.values():
        result = evaluate_streams(scores, point.threshold, CONFIG.evaluation, found.detector)
        assert (result.frr, result.false_alarm_count) == (pytest.approx(point.frr), point.false_alarms)
        assert result.background_hours == pytest.approx(point.background_hours)
    assert figures["detectors_tried"] > 5 and figures["detector"] == found.detector.model_dump(mode="json")
    assert figures["val_threshold"] == found.default.threshold and figures["val_note"] == found.default.note
    assert [one["name"] for one in figures["operating_points"]] == ["strict", "balanced", "lenient"]
    json.dumps(figures, allow_nan=False)
    assert {"calibration.json", "operating_point.json", "reliability.png"} <= {one.name for one in out.iterdir()}


def test_the_exported_model_carries_detector_and_points(calibrated, tmp_path):
    out, found = calibrated[0], OperatingPoints.load(calibrated[0])
    model, card = load_model(out)
    export_onnx(model, {**card, **found.card()}, CONFIG.export.onnx, tmp_path)
    loaded = WakewordModel(tmp_path)
    assert loaded.detector == found.detector and loaded.threshold == found.default.threshold
    assert loaded.card["operating_point"] == "balanced"
    for name, point in found.points.items():
        assert loaded.threshold_at(name) == point.threshold
        assert loaded.operating_points[name]["fah_interval"] == list(point.fah_interval)


def test_scores_of_the_stream_are_the_models(calibrated):
    model = load_model(calibrated[0])[0]
    random = np.random.default_rng(0)
    times, scores = torch_scorer(model, *SCORED)((random.standard_normal(48_000) * 3_000).astype(np.int16))
    assert len(times) == len(scores) > 20 and scores.shape[1] == 2
    assert np.diff(times) == pytest.approx(CONFIG.evaluation.detector.stride_seconds)


def test_what_only_the_test_looks_at_leaves_the_calibrated_model_fresh():
    stages = {stage.name: stage for stage in STAGES}

    def settings(name, **evaluation):
        return stages[name].deciding_settings(Config.model_validate({"evaluation": evaluation}), None)

    calibration, report = "calibrated_model", "metrics_report"
    tests: tuple[dict, ...] = ({"far_snr_db": []}, {"snr_db": [None]}, {"far_rooms": 3})
    for change in ({"report": {"fah_points": [3]}}, *({"conditions": {"test": one}} for one in tests)):
        assert settings(calibration, **change) == settings(calibration)
        assert settings(report, **change) != settings(report)
    for change in (
        {"tuning": {"enabled": False}},
        {"operating_points": {"default": "strict"}},
        {"operating_points": {"points": {"strict": 0.2}}},
        {"detector": {"hold": 2}},
        {"conditions": {"tuning": {"snr_db": [5]}}},
    ):
        assert settings(calibration, **change) != settings(calibration)
        assert settings("onnx_model", **change) == settings("onnx_model")
