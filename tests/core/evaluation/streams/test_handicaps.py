"""A threshold for each of several wake words: which one, when it is left alone, and that it counts everywhere."""

from dataclasses import replace

import numpy as np
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.handicaps import equal_shares
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_handicaps, choose_operating_points
from wakeword_core.evaluation.streams.scores import SessionScores
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams, word_rates
from wakeword_core.evaluation.streams.thresholds import Tradeoff, logit
from wakeword_core.runtime.detector import handicaps_of

LABELS = ("_negative", "loud", "quiet")
PER_HOUR = EvaluationConfig(
    detector={"smoothing": 1, "lockout_seconds": 0.0},
    tuning={"enabled": False},
    operating_points={"points": {"strict": 2.0, "balanced": 20.0, "lenient": 60.0}},
)
DETECTOR = PER_HOUR.detector
HOURS = 0.5


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits)))


def background(made, seed, times_as_loud=10.0, source="street"):
    """Half an hour in which either word has a peak every two seconds, exponential in logits; one of them is louder."""
    times, scores = made.track([], HOURS * 3_600)
    random, classes = np.random.default_rng(seed), np.ones(len(times), dtype=int)
    step = round(1 / made.STEP)
    peaks = -5 + random.exponential(1.0, len(scores[::step]))
    peaks[::2] += np.log(times_as_loud)
    scores[::step] = sigmoid(peaks)
    classes[step // 2 :] = np.repeat([2, 1], step)[np.arange(len(times) - step // 2) % (2 * step)]
    return SessionScores(None, times, scores, classes, (), (SourceSpan(source, f"{source}{seed}", 0.0, HOURS * 3_600),))


def spoken(made, word, seed, count=15, middle=2.5, source="people"):
    """Words that are heard at logits around the middle."""
    starts = [2.0 + 3.5 * index for index in range(count)]
    heard = sigmoid(np.random.default_rng(seed).normal(middle, 1.5, count))
    code = LABELS.index(word)
    session = made.positives(
        [(start + 0.64, score) for start, score in zip(starts, heard, strict=True)], starts, labels=[word] * count
    )
    words = tuple(replace(one, source=source, recording_id=f"{word}{seed}{one.recording_id}") for one in session.words)
    return replace(session, words=words, classes=np.full(len(session.times), code))


def streams(made, seed=0, times_as_loud=10.0, **others):
    said = [spoken(made, word, 10 * seed + code, **others) for word in LABELS[1:] for code in (1, 2)]
    return made.streams(background(made, seed, times_as_loud), *said, labels=LABELS)


def test_with_a_threshold_a_word_fewer_words_are_missed_at_the_same_false_alarms(made):
    """Chosen on one half hour, and counted on others, where one word is ten times as loud as the other."""
    missed, alarms = {"same": 0, "own": 0}, {"same": 0, "own": 0}
    for seed in range(4):
        scores, others = streams(made, seed), streams(made, seed + 100)
        chosen, _ = choose_operating_points(scores, PER_HOUR)
        assert chosen.handicaps["loud"] > 1 > chosen.handicaps["quiet"]
        assert np.prod(list(chosen.handicaps.values())) == pytest.approx(1)
        handicaps = handicaps_of(LABELS, chosen.handicaps)
        for name, own in (("same", None), ("own", handicaps)):
            at_once = Tradeoff(others.lowered(own), PER_HOUR, DETECTOR).point(20.0)
            missed[name] += at_once.frr
            alarms[name] += at_once.false_alarms
            assert at_once.fah <= 20
    assert missed["own"] < 0.85 * missed["same"] and abs(alarms["own"] - alarms["same"]) <= 4


def test_each_word_has_an_equal_share_of_what_is_allowed(made):
    scores = streams(made, 3)
    handicaps = handicaps_of(LABELS, equal_shares(scores, PER_HOUR, DETECTOR))
    lowered = scores.lowered(handicaps)
    point = Tradeoff(lowered, PER_HOUR, DETECTOR).point(20.0)
    rates = word_rates(lowered, point.threshold, PER_HOUR, DETECTOR, handicaps)
    assert sum(rate.false_alarms for rate in rates) == point.false_alarms <= 10
    assert all(3 <= rate.false_alarms <= 6 for rate in rates)
    assert sum(rate.misses for rate in rates) / scores.words == pytest.approx(point.frr)
    for rate in rates:  # the threshold that is told of a word is that of its own scores
        alone = Tradeoff(scores.of_word(rate.name), PER_HOUR, DETECTOR).at(rate.threshold)
        assert (alone.frr, alone.fah) == (pytest.approx(rate.frr), pytest.approx(rate.fah))


def test_words_that_are_alike_share_a_threshold(made):
    """Where one for each gains no whole recording, it would only follow chance; ties are such a case."""
    clear = streams(made, 1, times_as_loud=1.0, middle=9.0)
    assert choose_handicaps(clear, PER_HOUR, DETECTOR) == {}
    one = made.streams(made.background([(10.0, 0.9)]), made.positives([(5.4, 0.95)], [5.0]))
    assert choose_handicaps(one, PER_HOUR, DETECTOR) == {}


def test_a_word_without_recordings_goes_by_background(made):
    scores = streams(made, 2)
    silent = made.streams(*(one for one in scores.sessions if "quiet" not in {word.label for word in one.words}))
    silent = replace(silent, labels=LABELS)
    handicaps = equal_shares(silent, PER_HOUR, DETECTOR)
    both = equal_shares(scores, PER_HOUR, DETECTOR)
    assert logit_ratio(handicaps) == pytest.approx(logit_ratio(both), abs=1.0)
    rates = word_rates(silent, 0.9, PER_HOUR, DETECTOR, None)
    assert [(rate.name, rate.words, rate.frr) for rate in rates][1] == ("quiet", 0, None)
    assert choose_operating_points(silent, PER_HOUR)[0].default.reachable


def logit_ratio(handicaps):
    return np.log(handicaps["loud"] / handicaps["quiet"])


def test_a_word_that_never_fires_takes_nothing_from_the_other(made):
    scores = streams(made, 4)
    mute = replace(
        scores,
        sessions=tuple(
            replace(one, scores=np.where(one.classes == 2, 0.0, one.scores)) if one.background else one
            for one in scores.sessions
            if "quiet" not in {word.label for word in one.words}
        ),
    )
    never = spoken(made, "quiet", 9)
    mute = replace(mute, sessions=(*mute.sessions, replace(never, scores=np.zeros(len(never.scores)))))
    handicaps = equal_shares(mute, PER_HOUR, DETECTOR)
    assert all(np.isfinite(list(handicaps.values())))
    chosen, _ = choose_operating_points(mute, PER_HOUR)
    alone = Tradeoff(mute.of_word("loud"), PER_HOUR, DETECTOR).point(20.0)
    rates = word_rates(
        mute.lowered(handicaps_of(LABELS, chosen.handicaps)),
        chosen.default.threshold,
        PER_HOUR,
        DETECTOR,
        handicaps_of(LABELS, chosen.handicaps),
    )
    assert rates[0].frr == pytest.approx(alone.frr) and rates[1].misses == rates[1].words == 15


def test_a_word_that_background_never_sounds_like_is_not_heard_in_everything(made):
    """Nothing says how low its threshold might be."""
    scores = streams(made, 3)
    silent = [replace(one, scores=np.where(one.classes == 2, 0.0, one.scores)) for one in scores.sessions]
    handicaps = equal_shares(replace(scores, sessions=tuple(silent)), PER_HOUR, DETECTOR)
    assert 1 / 20 <= handicaps["quiet"] < 1 < handicaps["loud"] <= 20


def test_a_word_that_is_always_heard_in_background_does_not_take_the_others_alarms(made):
    """No threshold finds it so seldom: it is given up, and the other keeps its own."""
    scores = streams(made, 5)
    drowned = spoken(made, "loud", 7, middle=-6.0)
    kept = tuple(one for one in scores.sessions if "loud" not in {word.label for word in one.words})
    chosen, _ = choose_operating_points(replace(scores, sessions=(*kept, drowned)), PER_HOUR)
    handicaps = handicaps_of(LABELS, chosen.handicaps)
    lowered = replace(scores, sessions=(*kept, drowned)).lowered(handicaps)
    loud, quiet = word_rates(lowered, chosen.default.threshold, PER_HOUR, DETECTOR, handicaps)
    assert loud.misses == loud.words and quiet.frr < 0.5 and chosen.handicaps["loud"] > 1


def test_voices_without_people_leave_each_word_to_its_own_background(made):
    scores = replace(streams(made, 9), synthetic=frozenset({"people"}))
    handicaps = equal_shares(scores, PER_HOUR, DETECTOR)
    assert logit_ratio(handicaps) == pytest.approx(np.log(10), abs=0.7)
    louder = replace(streams(made, 9, middle=6.0), synthetic=frozenset({"people"}))
    assert equal_shares(louder, PER_HOUR, DETECTOR) == handicaps


def test_what_was_chosen_is_stored_and_carried_and_one_word_says_nothing_of_it(made, tmp_path):
    chosen, _ = choose_operating_points(streams(made, 0), PER_HOUR)
    chosen.save(tmp_path)
    assert OperatingPoints.load(tmp_path).handicaps == chosen.handicaps == chosen.card()["handicaps"]
    (tmp_path / "one").mkdir()
    one, _ = choose_operating_points(streams(made, 0).__class__(**single(made)), PER_HOUR)
    one.save(tmp_path / "one")
    assert "handicaps" not in (tmp_path / "one" / "operating_point.json").read_text() and "handicaps" not in one.card()


def single(made):
    scores = made.streams(made.background([(10.0, 0.5)]), made.positives([(5.4, 0.95)], [5.0]))
    return {"sessions": scores.sessions, "labels": scores.labels}


def test_figures_of_the_whole_are_those_of_the_words(made):
    scores = streams(made, 8)
    result = evaluate_streams(scores, 0.9, PER_HOUR, DETECTOR)
    rates = word_rates(scores, 0.9, PER_HOUR, DETECTOR, None)
    assert [rate.name for rate in rates] == ["loud", "quiet"] and {rate.threshold for rate in rates} == {0.9}
    assert sum(rate.misses for rate in rates) == result.misses
    assert sum(rate.false_alarms for rate in rates) == result.false_alarm_count
    raised = word_rates(scores, 0.9, PER_HOUR, DETECTOR, handicaps_of(LABELS, {"loud": 4.0}))
    assert logit(raised[0].threshold) == pytest.approx(logit(0.9) + np.log(4)) and raised[1].threshold == 0.9
    assert word_rates(made.streams(*single(made)["sessions"]), 0.5, PER_HOUR, DETECTOR, None) == []
