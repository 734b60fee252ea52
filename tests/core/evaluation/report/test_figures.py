"""What of the final test stands in metrics.json: here, the figures of each of several wake words."""

import json
from dataclasses import replace
from types import SimpleNamespace

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.evaluation.report.cascade import TOGETHER
from wakeword_core.evaluation.report.figures import stream_figures
from wakeword_core.evaluation.streams.operating_points import choose_operating_points
from wakeword_core.files import read_json
from wakeword_core.judge import together
from wakeword_core.runtime.detector import handicaps_of

PLAIN = EvaluationConfig(detector={"smoothing": 1}, tuning={"enabled": False})
LABELS = ("_negative", "hey robin", "okay house")


def exported(chosen, handicaps=None):
    """As much of an exported model as its figures on streams need."""
    return SimpleNamespace(threshold=chosen.default.threshold, detector=PLAIN.detector, handicaps=handicaps)


def two_words(made):
    """Streams of one word, and the same with another that is quieter, as its background is."""
    loud = made.positives([(5.4, 0.95), (20.4, 0.97)], [5.0, 20.0])
    quiet = made.positives([(5.4, 0.5), (20.4, 0.2)], [5.0, 20.0], labels=["okay house"] * 2)
    quiet = replace(quiet, classes=2 * quiet.classes)
    noise, faint = made.background([(10.0, 0.9)]), made.background([(10.0, 0.1)])
    faint = replace(faint, classes=2 * faint.classes)
    return made.streams(noise, loud), made.streams(noise, faint, loud, quiet, labels=LABELS)


def test_each_of_several_words_has_figures_that_are_in_no_report_of_one(made):
    one, both = two_words(made)
    chosen, _ = choose_operating_points(one, PLAIN)
    assert "by_word" not in stream_figures(one, exported(chosen), chosen, PLAIN).to_json()
    chosen, _ = choose_operating_points(both, PLAIN)
    assert chosen.handicaps
    handicaps = handicaps_of(LABELS, chosen.handicaps)
    told = stream_figures(both.lowered(handicaps), exported(chosen, handicaps), chosen, PLAIN).to_json()
    robin, house = told["by_word"]
    assert (robin["name"], robin["words"], robin["misses"], robin["false_alarms"]) == ("hey robin", 2, 0, 0)
    assert (house["name"], house["words"], house["misses"], house["false_alarms"]) == ("okay house", 2, 0, 0)
    assert robin["threshold"] > 0.9 > 0.2 >= house["threshold"]
    assert told["stream"]["misses"] == 0


def test_each_of_several_words_has_figures_of_the_model_with_its_judge(made, monkeypatch, tmp_path):
    for scores, words in zip(two_words(made), ([], ["hey robin", "okay house"]), strict=True):
        chosen, _ = choose_operating_points(scores, PLAIN)
        model = exported(chosen, handicaps_of(scores.labels, chosen.handicaps))
        alone = stream_figures(scores.lowered(model.handicaps), model, chosen, PLAIN).to_json()
        monkeypatch.setattr(together, "score_streams", lambda *_, found=scores, **__: found)
        model.score_audio = model.second = None
        figures = together.measure_together(model, chosen, tmp_path, Config(evaluation=PLAIN), tmp_path)
        told = read_json(tmp_path / TOGETHER).get("by_word", [])
        assert figures.get("by_word") == alone.get("by_word")
        assert told == json.loads(json.dumps(figures.get("by_word", [])))
        assert [word["name"] for word in told] == words
