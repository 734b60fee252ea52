"""Comparison with an earlier report: signs, what may be compared, and damage."""

import copy
import json

import pytest

from wakeword_core.evaluation.report.comparison import compare

INPUTS = {"audio_shards[test]": {"stage": "audio_shards", "key": "k", "content": "same"}}
SETTINGS = {
    "evaluation": {
        "streams": {"gap_seconds": 1.0},
        "conditions": {"tuning": {"snr_db": [None, 10.0]}},
        "tuning": {"enabled": True},
        "report": {"clips": 10},
    },
    "seed": 1,
}
METRICS = {
    "phrase": "hey robin",
    "stream": {
        "frr": 0.05,
        "fah": 0.4,
        "background_hours": 10.0,
        "latency_p50": 0.1,
        "latency_p95": None,
        "conditions": [{"name": "clean", "frr": 0.02}, {"name": "far", "frr": 0.3}],
        "miss_list": [{"recording_id": "a", "condition": "clean"}, {"recording_id": "b", "condition": "clean"}],
    },
    "fah_points": [
        {"target_fah": 0.5, "frr": 0.05, "reachable": True},
        {"target_fah": 0.1, "frr": 0.9, "reachable": False},
    ],
    "clips": {"test": {"eer": 0.01, "roc_auc": 0.999}},
}


def earlier(folder, change=lambda card, metrics: None):
    card = {"key": "old", "created": "2026-01-02T03:04:05+00:00", "inputs": INPUTS, "config": SETTINGS}
    card, metrics = copy.deepcopy((card, METRICS))
    change(card, metrics)
    folder.mkdir(exist_ok=True)
    (folder / "artifact.json").write_text(json.dumps(card))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def figures(found):
    return {one["name"]: one for one in found["figures"]}


def test_no_earlier_report():
    assert compare(METRICS, INPUTS, SETTINGS, None) is None


def test_equal_reports_differ_by_nothing(tmp_path):
    found = compare(METRICS, INPUTS, SETTINGS, earlier(tmp_path / "old"))
    assert found["same_test_data"] and found["other_settings"] == [] and found["key"] == "old"
    assert {one["difference"] for one in found["figures"]} == {0}
    assert all(one["better"] is None for one in found["figures"])
    assert found["words"] == {"missed_by_both": 2, "missed_by_this": 0, "missed_by_previous": 0}
    assert "least FRR at 0.1 an hour" not in figures(found), "what was not reachable is no figure"


def test_signs_and_which_way_is_better(tmp_path):
    def change(card, metrics):
        metrics["stream"].update(frr=0.08, fah=0.3, background_hours=5.0)
        metrics["stream"]["miss_list"] = [{"recording_id": name, "condition": "clean"} for name in "bcd"]
        metrics["clips"]["test"]["roc_auc"] = 0.9

    found = compare(METRICS, INPUTS, SETTINGS, earlier(tmp_path / "old", change))
    rows = figures(found)
    frr, fah = rows["wake words missed (FRR)"], rows["false alarms an hour (FAH)"]
    assert (frr["this"], frr["previous"]) == (0.05, 0.08)
    assert frr["difference"] == pytest.approx(-0.03) and frr["better"] is True
    assert fah["difference"] == pytest.approx(0.1) and fah["better"] is False
    assert rows["ROC-AUC of windows"]["better"] is True
    assert rows["background, hours"]["difference"] == 5.0 and rows["background, hours"]["better"] is None
    assert found["words"] == {"missed_by_both": 1, "missed_by_this": 1, "missed_by_previous": 2}


def test_other_test_data_and_settings_are_said(tmp_path):
    def other_data(card, metrics):
        card["inputs"]["audio_shards[test]"]["content"] = "other"

    found = compare(METRICS, INPUTS, SETTINGS, earlier(tmp_path / "a", other_data))
    assert not found["same_test_data"] and found["words"] is None

    def other_settings(card, metrics):
        card["config"]["seed"] = 2
        card["config"]["evaluation"]["streams"]["gap_seconds"] = 2.0
        card["config"]["evaluation"]["report"]["clips"] = 3
        card["config"]["evaluation"]["tuning"] = {"enabled": False}

    found = compare(METRICS, INPUTS, SETTINGS, earlier(tmp_path / "b", other_settings))
    assert found["same_test_data"] and found["words"] is None
    assert found["other_settings"] == ["evaluation.streams.gap_seconds", "seed"]


def test_a_report_of_an_older_kind(tmp_path):
    def change(card, metrics):
        metrics["stream"]["conditions"] = [{"name": "clean", "frr": 0.1}]
        del metrics["clips"], metrics["fah_points"]
        card["config"]["evaluation"] = {"target_fah": 0.5}

    found = compare(METRICS, INPUTS, SETTINGS, earlier(tmp_path / "old", change))
    rows = figures(found)
    assert rows["FRR, clean"]["previous"] == 0.1 and "FRR, 10 dB" not in rows
    assert rows["EER of windows"]["previous"] is None and rows["EER of windows"]["difference"] is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense"])
def test_a_damaged_report_is_left_out(tmp_path, text):
    folder = earlier(tmp_path / "old")
    (folder / "artifact.json").write_text(text)
    assert compare(METRICS, INPUTS, SETTINGS, folder) is None
    assert compare(METRICS, INPUTS, SETTINGS, tmp_path / "gone") is None
