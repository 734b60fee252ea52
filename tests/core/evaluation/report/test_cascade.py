"""Model and judge in the report: who misses and lets in what, what the judge took away, how fast, and the goals."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from loud_model import loud_and_quiet, save_model
from small_judge import save_judge

from wakeword_core.config import Config, EvaluationConfig
from wakeword_core.evaluation.measure.computing import ChunkTime, Computing, computing_times
from wakeword_core.evaluation.report.cascade import (
    TOGETHER,
    cascade_figures,
    cascade_rows,
    cascade_summary,
    goals,
    latency_rows,
)
from wakeword_core.evaluation.report.figures import stream_figures
from wakeword_core.evaluation.streams.operating_points import choose_operating_points
from wakeword_core.judge import together
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import seal
from wakeword_core.runtime.judge import judged

PLAIN = EvaluationConfig(detector={"smoothing": 1}, tuning={"enabled": False})
FAST = Computing(ChunkTime(1.0, 2.0), ChunkTime(0.5, 3.0), ChunkTime(1.5, 5.0))


def measured(made, scores, monkeypatch, folder):
    """The figures of scores as if they were those of model and judge, and of the model alone."""
    chosen, _ = choose_operating_points(scores, PLAIN)
    model = SimpleNamespace(
        threshold=chosen.default.threshold, detector=PLAIN.detector, handicaps=None, score_audio=None, second=None
    )
    monkeypatch.setattr(together, "score_streams", lambda *_, **__: scores)
    config = Config(evaluation=PLAIN)
    alone = stream_figures(scores, model, chosen, PLAIN).to_json()
    return alone, together.measure_together(model, chosen, folder, config, folder)


def gated(session):
    """The same with the score of a closed gate wherever nothing is said."""
    return replace(session, scores=np.where(session.scores < 0.05, 0.0, session.scores))


@pytest.fixture
def asked(made):
    """Three words, of which the gate opens at two and one is declined; it opens twice in background, for one alarm."""
    words = made.positives([(5.4, 0.95), (20.4, 0.2)], [5.0, 20.0, 35.0])
    return made.streams(*map(gated, (made.background([(10.0, 0.97), (30.0, 0.1)]), words)))


def test_what_a_judge_is_asked_about_is_where_the_gate_is_open(asked):
    found = together.what_it_is_asked(asked, PLAIN)
    assert (found.words_asked, found.openings) == (2, 2)
    closed = asked._changed(lambda one: replace(one, scores=np.zeros_like(one.scores)))
    assert asdict(together.what_it_is_asked(closed, PLAIN)) == {"words_asked": 0, "openings": 0}


def test_an_opening_at_the_first_score_counts_and_one_without_a_break_counts_once(made):
    session = gated(made.background([]))
    scores = session.scores.copy()
    scores[:3] = 0.5
    streams = made.streams(replace(session, scores=scores), gated(made.positives([(5.4, 0.9)], [5.0])))
    assert together.what_it_is_asked(streams, PLAIN).openings == 1


def test_each_row_says_what_is_lost_there(made, asked, monkeypatch, tmp_path):
    alone, figures = measured(made, asked, monkeypatch, tmp_path)
    judged_model = SimpleNamespace(file=lambda name: tmp_path / name)
    assert (tmp_path / TOGETHER).is_file() and figures["openings"] == 2
    metrics = {**alone, **cascade_figures(judged_model, alone)}
    model, gate, judge, both = cascade_rows(metrics)
    assert (gate["misses"], gate["words"], gate["false_alarms"]) == (1, 3, 2)
    assert judge["words"] == 2 and judge["misses"] + gate["misses"] == both["misses"]
    assert both["misses"] == model["misses"] and judge["false_alarms"] == both["false_alarms"]
    assert metrics["cascade"]["filtered"] == pytest.approx(1 - figures["heard_share"])
    # the same scores: nothing is taken away and nothing is lost
    assert set(metrics["cascade"]["taken_away"].values()) == {0}


def test_a_second_judge_has_rows_of_its_own(made, asked, monkeypatch, tmp_path):
    """Of three words its gate opens at the one that the first judge passes, and no false alarm is left."""
    alone, _ = measured(made, asked, monkeypatch, tmp_path)
    judged_model = SimpleNamespace(file=lambda name: tmp_path / name)
    cascade = cascade_figures(judged_model, alone)["cascade"]
    both = cascade["stream"]
    hours = both["background_hours"]
    cascade["second"] = {
        "policy": "each",
        "heard_share": 0.01,
        "asked": {"words_asked": 1, "openings": 1},
        "first": {**both, "misses": 2, "false_alarm_count": 1, "background_hours": hours},
    }
    cascade["stream"] = {**both, "misses": 2, "false_alarm_count": 0}
    metrics = {**alone, "cascade": cascade}
    rows = {row["name"]: (row["misses"], row["words"], row["false_alarms"]) for row in cascade_rows(metrics)}
    assert rows["the judge, of what it is asked about"] == (1, 2, 1)
    assert rows["the second gate"] == (1, 2, 1)
    assert rows["the second judge, of what it is asked about"] == (0, 1, 0)
    assert rows["all three"] == (2, 3, 0) and "both" not in rows
    times = Computing(*(ChunkTime(number, number) for number in range(1, 6)))
    late = {row["name"]: row["computing_p50_ms"] for row in latency_rows(metrics, times)}
    assert late == {"the model alone": 1, "the model and the first judge": 3, "all three": 5}
    found = {goal.name: goal.found for goal in goals(metrics, times)}
    assert found["computing of the second judge, on a server"] == 4
    assert found["computing of the model and the first judge"] == 3 and "computing of both" not in found


def test_alarms_and_words_of_one_of_the_two_are_counted(made, asked, monkeypatch, tmp_path):
    alone, _ = measured(made, asked, monkeypatch, tmp_path)
    judged_model = SimpleNamespace(file=lambda name: tmp_path / name)
    more = {"recording_id": "elsewhere", "time": 3.0}
    stream = alone["stream"]
    heard = {**stream, "miss_list": [], "false_alarms": [*stream["false_alarms"], more]}
    taken = cascade_figures(judged_model, {**alone, "stream": heard})["cascade"]["taken_away"]
    assert (taken["alarms_gone"], taken["alarms_new"]) == (1, 0)
    assert (taken["words_lost"], taken["words_won"]) == (stream["misses"], 0)
    late = [{**alarm, "time": alarm["time"] + 5} for alarm in stream["false_alarms"]]
    taken = cascade_figures(judged_model, {**alone, "stream": {**stream, "false_alarms": late}})["cascade"][
        "taken_away"
    ]
    assert taken["alarms_gone"] == taken["alarms_new"] == len(stream["false_alarms"]) > 0


def test_a_model_without_a_judge_has_no_such_figures():
    assert cascade_figures(None, {}) == {} and cascade_summary({}, None) == {} and cascade_rows({}) == []


def pair(late):
    stream = {"latency_p50": late, "latency_p95": late and 2 * late}
    return {"stream": stream, "cascade": {"stream": stream, "filtered": 0.9}}


def test_an_event_is_as_late_as_the_rule_and_computing_together():
    alone, both = latency_rows(pair(0.1), FAST)
    assert alone["event_p50_ms"] == pytest.approx(101) and alone["event_p95_ms"] == pytest.approx(202)
    assert both["event_p50_ms"] == pytest.approx(101.5) and both["event_p95_ms"] == pytest.approx(205)
    assert latency_rows(pair(None), FAST) == [] and latency_rows(pair(0.1), None) == []


@pytest.mark.parametrize(
    ("computing", "met"),
    [
        (FAST, ["yes"] * 4),
        (Computing(ChunkTime(1, 50), ChunkTime(1, 150), ChunkTime(1, 200)), ["no", "no", "no", "yes"]),
        (Computing(ChunkTime(1, 2), None, None), ["yes", "unknown", "unknown", "yes"]),
    ],
)
def test_goals_are_met_or_not_or_nobody_knows(computing, met):
    found = goals(pair(0.1), computing)
    assert [goal.met for goal in found] == met
    less = {**pair(0.1), "cascade": {"stream": {}, "filtered": 0.899}}
    assert goals(less, computing)[-1].met == "no"
    assert found[-1].bound == "at least 90 %" and found[0].bound == "under 50 ms"


def test_times_of_chunks_are_of_the_pair_only_where_the_gate_is_open(tmp_path):
    folder = save_model(tmp_path)
    sealed = onnx.load(folder / "model.onnx")
    seal(sealed)
    onnx.save(sealed, folder / "model.onnx")
    model = WakewordModel(folder)
    save_judge(folder / "judge.onnx", model)
    found = computing_times(judged(model), loud_and_quiet(6.0))
    assert 0 < found.sentry.p50 <= found.sentry.p95
    assert found.both is not None and found.judge is not None and found.judge.p50 <= found.both.p50
    assert found.second is None and found.with_second is None
    quiet = computing_times(judged(model), np.zeros(32_000, np.int16))
    assert quiet.both is None and quiet.judge is None and quiet.sentry.p95 > 0
    with pytest.raises(ValueError, match="too few"):
        computing_times(judged(model), np.zeros(1_000, np.int16))
