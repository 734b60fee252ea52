"""What validation chose, chosen and stored."""

import json
from dataclasses import asdict, replace

import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import ArtifactError
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.thresholds import Tradeoff

EVALUATION = EvaluationConfig(
    detector={"smoothing": 1},
    operating_points={"points": {"strict": 1, "balanced": 65, "lenient": 125}},
    tuning={"smoothing": [1], "votes": [0], "hold": [1, 2], "off_ratio": [0.6]},
)


@pytest.fixture(scope="module")
def chosen(made):
    """Two alarms that last and one that does not, in a minute; words between and above them."""
    alarms = [(10, 0.99), (30, 0.8), (30.08, 0.8), (44, 0.5), (44.08, 0.5)]
    words = [(at + step * made.STEP, score) for at, score in ((5.6, 0.9), (20.56, 0.6)) for step in range(3)]
    scores = made.streams(made.background(alarms), made.positives(words, [5.0, 20.0]))
    return scores, *choose_operating_points(scores, EVALUATION)


def test_each_point_is_of_the_tuned_detector(chosen):
    scores, found, tuning = chosen
    assert found.detector.hold == 2 == tuning.detector.hold and tuning.tuned_frr < tuning.configured_frr
    assert list(found.points) == ["strict", "balanced", "lenient"] and found.name == "balanced"
    for name, target in EVALUATION.operating_points.points.items():
        by_itself = Tradeoff(scores, EVALUATION, found.detector).point(target)
        assert replace(found.points[name], note=by_itself.note) == by_itself
    assert "that of balanced" in found.points["lenient"].note
    assert [(one.frr, one.false_alarms) for one in found.points.values()] == [(0.5, 0), (0.0, 1), (0.0, 1)]
    assert found.default == found.points["balanced"]


def test_what_is_saved_is_loaded_in_order_of_strictness(chosen, tmp_path):
    _, found, _ = chosen
    found.save(tmp_path)
    again = OperatingPoints.load(tmp_path)
    assert again == found and list(again.points) == ["strict", "balanced", "lenient"]
    stored = json.loads((tmp_path / "operating_point.json").read_text())
    assert stored["name"] == "balanced" and stored["detector"]["hold"] == 2
    assert stored["threshold"] == found.default.threshold == stored["points"]["balanced"]["threshold"]
    assert {"frr_interval", "fah_interval", "background_hours", "note"} < stored["points"]["strict"].keys()


def test_the_card_holds_what_a_device_needs(chosen):
    _, found, _ = chosen
    card = found.card()
    assert card["threshold"] == found.default.threshold and card["operating_point"] == "balanced"
    assert card["detector"] == found.detector.model_dump(mode="json")
    assert set(card["operating_points"]["strict"]) == {
        "threshold", "target_fah", "frr", "frr_interval", "fah", "fah_interval", "reachable", "background_hours",
    }  # fmt: skip
    json.dumps(card, allow_nan=False)


@pytest.mark.parametrize("damage", [{"detector": None}, {"points": []}, {"name": "other"}, {"points": {"a": {}}}])
def test_another_format_is_one_clear_error(chosen, tmp_path, damage):
    _, found, _ = chosen
    found.save(tmp_path)
    path = tmp_path / "operating_point.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **damage}))
    with pytest.raises(ArtifactError, match="build calibrated_model again"):
        OperatingPoints.load(tmp_path)
    path.write_text(json.dumps(asdict(found.default)))
    with pytest.raises(ArtifactError, match="no operating points"):
        OperatingPoints.load(tmp_path)
