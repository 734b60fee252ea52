"""Thresholds by background and confusables, where nobody says the wake word."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword_core.config import EvaluationConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.operating_points import OperatingPoints, choose_operating_points
from wakeword_core.evaluation.streams.origins import Origins
from wakeword_core.evaluation.streams.scores import SessionScores, loudest_of_each
from wakeword_core.evaluation.streams.tail import TailTradeoff, tail_threshold, validation_tradeoff
from wakeword_core.evaluation.streams.thresholds import Tradeoff

PLAIN = EvaluationConfig(detector={"smoothing": 1}, tuning={"enabled": False})
DETECTOR = PLAIN.detector
SECONDS = 600.0


def sigmoid(logits):
    return 1 / (1 + np.exp(-np.asarray(logits)))


def noise(made, seed, source="street", spread=1.0, middle=-6.0, seconds=SECONDS):
    """Background with a moment a second, whose scores are exponential in logits above a level."""
    times, scores = made.track([], seconds)
    random = np.random.default_rng(seed)
    scores[:: round(1 / made.STEP)] = sigmoid(middle + random.exponential(spread, len(scores[:: round(1 / made.STEP)])))
    span = SourceSpan(source, f"{source}{seed}", 0.0, seconds)
    return SessionScores(None, times, scores, np.ones(len(times), dtype=int), (), (span,))


def spoken(made, *heard, source="voices"):
    """Words at these scores, all of one source."""
    starts = [3.0 + 3 * index for index in range(len(heard))]
    session = made.positives([(start + 0.64, score) for start, score in zip(starts, heard, strict=True)], starts)
    return replace(session, words=tuple(replace(word, source=source) for word in session.words))


def alike(made, *heard, session="a"):
    """Confusables of three seconds each that are heard at these scores."""
    times, scores = made.track([(3.0 * index + 1, score) for index, score in enumerate(heard)], 3.0 * len(heard))
    spans = tuple(SourceSpan("voices", f"{session}{i}", 3.0 * i, 3.0 * i + 2) for i in range(len(heard)))
    return SessionScores(None, times, scores, np.ones(len(times), dtype=int), (), spans)


def streams(made, *sessions, synthetic=("voices",), confusables=()):
    return replace(made.streams(*sessions), synthetic=frozenset(synthetic), confusables=confusables)


def test_only_words_that_no_person_said_leave_it_to_the_background(made):
    background = noise(made, 1)
    assert type(validation_tradeoff(streams(made, background, spoken(made, 0.9)), PLAIN, DETECTOR)) is TailTradeoff
    both = streams(made, background, spoken(made, 0.9), spoken(made, 0.9, source="people"))
    assert type(validation_tradeoff(both, PLAIN, DETECTOR)) is Tradeoff


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_synthetic_words_move_no_threshold(made, seed, voices):
    """Whatever the voices score, so long as one of them is heard, the background alone decides."""
    background = [noise(made, seed + number, spread=0.8) for number in range(3)]
    heard = [np.random.default_rng(voices).uniform(0.5, 0.999, 8), [0.9999] * 8]
    points = [
        TailTradeoff(streams(made, *background, spoken(made, *scores, 0.99999)), PLAIN, DETECTOR).point(5.0)
        for scores in heard
    ]
    assert points[0].threshold == points[1].threshold and all(point.reachable for point in points)


def test_the_rate_is_met_on_other_background(made):
    """An hour cannot show one alarm in two, but its loudest moments tell where it lies."""
    hours = [[noise(made, seed, seconds=1_800.0), noise(made, seed + 1, seconds=1_800.0)] for seed in range(0, 60, 2)]
    word = spoken(made, 0.99999)
    points = [TailTradeoff(streams(made, *hour, word), PLAIN, DETECTOR).point(0.5) for hour in hours]
    thresholds = np.array([point.threshold for point in points])
    # of moments that are exponential in logits from -6 on, as many an hour are above this one
    exact = -6 + np.log(3600 / 0.96 / 0.5)
    assert np.median(np.log(thresholds / (1 - thresholds))) == pytest.approx(exact, abs=0.5)
    others = [
        sum(int((session.scores > threshold).sum()) for hour in hours for session in hour) for threshold in thresholds
    ]
    assert 0.25 < np.median(others) / len(hours) < 1  # alarms an hour, over thirty hours
    assert all("for one alarm in" not in point.note for point in points)


def test_a_line_is_not_followed_to_what_nobody_can_tell(made):
    """Ten minutes tell nothing of one alarm in ten hours: of forty minutes, at the most."""
    tradeoff = TailTradeoff(streams(made, noise(made, 1), spoken(made, 0.99999)), PLAIN, DETECTOR)
    rare, rarer = tradeoff.point(1.5), tradeoff.point(0.1)
    assert rare.threshold == rarer.threshold > tradeoff.point(5.0).threshold
    assert "for one alarm in 0.67 h, as far as they tell" in rarer.note


def test_one_odd_recording_does_not_decide(made):
    background = [noise(made, seed, spread=0.5) for seed in range(3)]
    odd = replace(
        background[0], scores=np.where(np.arange(len(background[0].scores)) == 5, 0.9999, background[0].scores)
    )
    word = spoken(made, 0.99)
    calm, upset = (
        TailTradeoff(streams(made, first, *background[1:], word), PLAIN, DETECTOR).point(0.5)
        for first in (background[0], odd)
    )
    assert calm.threshold <= upset.threshold < 0.97 and (upset.frr, upset.reachable) == (0.0, True)
    assert not Tradeoff(streams(made, odd, *background[1:], word), PLAIN, DETECTOR).point(0.5).reachable
    assert upset.false_alarms == 1 and "the 1 found show" in upset.note


def test_synthetic_background_counts_where_there_is_no_other_or_too_little(made):
    word = spoken(made, 0.99999)
    loud = [noise(made, seed, "computed", middle=-3.0) for seed in range(3)]
    long = [noise(made, seed, seconds=3_600.0) for seed in range(3)]
    synthetic = ("voices", "computed")

    def threshold(*sessions, target=0.5):
        return TailTradeoff(streams(made, *sessions, word, synthetic=synthetic), PLAIN, DETECTOR).point(target)

    alone, brief = threshold(*loud), threshold(*loud, long[0])
    assert alone.background_hours == pytest.approx(0.5) and "of synthetic background alone" in alone.note
    assert brief.background_hours == pytest.approx(1.0) and "1 h of real background alone" in brief.note
    # an hour shows no alarm in two: the louder, computed sound keeps the threshold up
    assert threshold(long[0]).threshold < brief.threshold
    assert threshold(*loud, *long).threshold == threshold(*long).threshold


def test_background_that_is_left_out_is_no_moment_of_what_stays(made):
    """A minute of real sound sets the same threshold by itself and in a session with ten synthetic ones."""
    brief, word = noise(made, 1, middle=-1.0, seconds=60.0), spoken(made, 0.99999)
    long = noise(made, 2, "computed", middle=-16.0, seconds=60.0 + SECONDS)
    spans = (*brief.sources, replace(long.sources[0], start=60.0))
    mixed = replace(long, sources=spans, scores=np.append(brief.scores, long.scores[len(brief.scores) :]))
    synthetic = ("voices", "computed")
    alone, among = (
        TailTradeoff(streams(made, session, word, synthetic=synthetic), PLAIN, DETECTOR).point(100.0)
        for session in (brief, mixed)
    )
    assert alone.background_hours == among.background_hours == pytest.approx(1 / 60)
    assert 0.5 < among.threshold == pytest.approx(alone.threshold)


def quiet(made, seconds=SECONDS):
    """Background that leaves the threshold at an even chance."""
    return noise(made, 1, spread=0.01, middle=-8.0, seconds=seconds)


def by_confusables(made, words, heard, allowed=0.1, seconds=SECONDS, target=0.5):
    """The point that words and confusables at these scores give, beside ten minutes of quiet background."""
    settings = {"max_confusables_accepted": allowed}
    evaluation = EvaluationConfig(detector={"smoothing": 1}, operating_points=settings)
    confusables = (alike(made, *heard),) if heard else ()
    scores = streams(made, quiet(made, seconds), spoken(made, *words), confusables=confusables)
    return TailTradeoff(scores, evaluation, DETECTOR).point(target)


WELL_HEARD = (*(0.99,) * 9, 0.6)
"""Ten words, of which a threshold above 0.6 misses one."""


def test_confusables_raise_the_threshold_of_a_short_background_until_few_enough_are_accepted(made):
    point = by_confusables(made, WELL_HEARD, [0.9, 0.8, 0.75, 0.7, 0.6, *(0.1,) * 15])
    assert 0.75 < point.threshold < 0.76 and point.frr == pytest.approx(0.1)  # two of twenty are above
    assert point.reachable and point.false_alarms == 0
    assert point.note.startswith(
        "by phrases that sound alike, since nobody says the wake word in validation and 0.17 h of real background "
        "is too short for one alarm at the target; 2 of 20 phrases that sound alike are accepted (2.8 % to 30.1 %); "
    )
    assert by_confusables(made, WELL_HEARD, [0.9, 0.8, *(0.1,) * 18]).threshold == 0.5


def test_what_they_keep_out_never_costs_a_larger_share_of_the_words(made):
    """Five of ten confusables are as loud as words: above the second of them, three of ten of each are lost."""
    words, heard = np.linspace(0.55, 0.95, 10), [0.6, 0.675, 0.75, 0.825, 0.9, *(0.1,) * 5]
    point = by_confusables(made, words, heard)
    assert 0.675 < point.threshold < 0.68 and point.frr == pytest.approx(0.3)
    assert "3 of 10 phrases that sound alike are accepted (10.8 % to 60.3 %), " in point.note
    assert "more than 10 %, because a higher threshold would miss a larger share of the words than" in point.note


@pytest.mark.parametrize(
    ("words", "heard", "allowed", "threshold"),
    [
        (WELL_HEARD, [], 0.1, 0.5),  # none
        (WELL_HEARD, [0.9], 0.1, 0.9),  # one, which costs no more words than are allowed of either
        ((0.99, 0.6), [0.9], 0.1, 0.5),  # one, which would cost half of the words
        (WELL_HEARD, [0.999] * 20, 0.1, 0.5),  # all are accepted, and no word would be left above them
        (WELL_HEARD, [1.0] * 20, 0.0, 0.5),
        (WELL_HEARD, [0.95] * 20, 0.1, 0.95),  # all, and a word in ten is allowed
        (WELL_HEARD, [0.95] * 20, 0.0, 0.5),  # none is allowed, of either
        (WELL_HEARD, [0.95] * 20, 1.0, 0.5),  # any may be accepted
        (WELL_HEARD, [0.0] * 20, 0.0, 0.5),
        ((0.99, *(0.45,) * 9), [0.9] * 10, 0.1, 0.5),  # so many words are missed already
    ],
)
def test_few_or_odd_confusables_cost_no_more_words_than_they_are_worth(made, words, heard, allowed, threshold):
    point = by_confusables(made, words, heard, allowed)
    assert point.threshold == pytest.approx(threshold) and point.reachable
    said = f"{sum(score >= point.threshold for score in heard)} of {len(heard)} phrases that sound alike are accepted"
    assert (said if heard else "validation has no phrases that sound alike to go by besides") in point.note


def test_confusables_have_no_say_beside_background_for_one_alarm_or_beside_people(made):
    heard = [0.9] * 20
    assert by_confusables(made, WELL_HEARD, heard).threshold > 0.9
    enough = by_confusables(made, WELL_HEARD, heard, target=6.0)
    assert enough.threshold == 0.5 and "sound alike" not in enough.note
    assert enough.note.startswith(
        "at an even chance, since nobody says the wake word in validation and the loudest moments of 0.17 h of real "
        "background ask for no more; the 0 found"
    )
    people = streams(made, quiet(made), spoken(made, *WELL_HEARD, source="people"), confusables=(alike(made, *heard),))
    assert validation_tradeoff(people, PLAIN, DETECTOR).point(0.5).threshold < 0.6
    with pytest.raises(DataError, match="no background"):
        TailTradeoff(
            streams(made, spoken(made, *WELL_HEARD), confusables=(alike(made, *heard),)), PLAIN, DETECTOR
        ).point(0.5)


def test_scores_that_are_no_chances_have_a_least_threshold_of_their_own(made):
    heard = streams(made, quiet(made), spoken(made, *WELL_HEARD, 0.3))
    at_half, lower = (TailTradeoff(replace(heard, least=least), PLAIN, DETECTOR).point(6.0) for least in (0.5, 0.2))
    assert (at_half.threshold, lower.threshold) == (0.5, 0.2) and at_half.frr > lower.frr == 0
    assert lower.note.startswith("at 0.2, the least that is taken, since nobody says the wake word in validation")
    loud = replace(streams(made, noise(made, 1), spoken(made, *WELL_HEARD)), least=0.2)  # as its moments ask for
    assert TailTradeoff(loud, PLAIN, DETECTOR).point(6.0).threshold > 0.6


def test_a_recording_is_as_loud_as_its_loudest_score_wherever_it_lies(made):
    sessions = alike(made, 0.7, 0.2, 0.9), alike(made, 0.4, session="b"), alike(made, 0.8, session="a")
    labels = ("_negative", "hey robin")
    assert loudest_of_each(sessions, labels, PLAIN.streams, DETECTOR) == pytest.approx([0.2, 0.4, 0.8, 0.9])
    assert len(loudest_of_each((), labels, PLAIN.streams, DETECTOR)) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.3, 0.999), min_size=1, max_size=12),
    st.lists(st.floats(0.0, 1.0), max_size=12),
    st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_confusables_only_raise_a_threshold_and_only_where_it_pays(made, words, heard, allowed):
    point = by_confusables(made, (*words, 0.9995), heard, allowed)
    alone = by_confusables(made, (*words, 0.9995), [], allowed)
    accepted = np.mean(np.array(heard) >= point.threshold) if heard else 0.0
    assert alone.threshold <= point.threshold <= 1
    if point.threshold > alone.threshold:
        assert point.frr <= max(accepted, allowed) + 1e-9


def test_without_a_word_above_it_words_are_looked_at_after_all(made):
    background = [noise(made, seed, spread=2.0) for seed in range(2)]
    loudest = max(session.scores.max() for session in background)
    faint = spoken(made, float(loudest + 1e-6))
    tradeoff = TailTradeoff(streams(made, *background, faint), PLAIN, DETECTOR)
    point = tradeoff.point(0.01)
    assert point.frr == 0 and point.threshold > loudest and point.note.startswith("no word is found at a threshold")


@pytest.mark.parametrize(
    ("moments", "least"), [([], 0.5), ([0.9], 0.9), ([0.9, 0.2], 0.9), ([0.0] * 500, 0.5), ([1.0] * 500, 1.0)]
)
def test_few_moments_or_equal_ones_give_no_line(moments, least):
    found = tail_threshold(np.array(moments), 0.1, 0.5)
    assert least <= found <= 1 and found == pytest.approx(least)
    assert found > max(moments, default=0) or found == 1


def test_it_never_falls_below_an_even_chance_and_falls_with_the_target():
    moments = np.sort(sigmoid(-9 + np.random.default_rng(0).exponential(1.5, 7_200)))[::-1]
    found = [tail_threshold(moments, 2.0, target) for target in (0.01, 0.1, 0.5, 2.0, 1_000.0)]
    assert found == sorted(found, reverse=True) and found[-1] == 0.5 < found[0] < 1


def test_what_was_real_is_said_and_stored(made, tmp_path, caplog):
    caplog.set_level("INFO")
    sessions = [noise(made, 1), noise(made, 2, "computed"), spoken(made, 0.9999, 0.9999)]
    chosen, tuning = choose_operating_points(streams(made, *sessions, synthetic=("voices", "computed")), PLAIN)
    assert chosen.origins == Origins(2, 0, pytest.approx(1 / 3), pytest.approx(1 / 6))
    chosen.save(tmp_path)
    assert OperatingPoints.load(tmp_path) == chosen and tuning.tried == 1
    note = chosen.default.note
    assert note.startswith("by the loudest moments of 0.17 h of real background alone, since nobody says the wake word")
    told = "in validation, for one alarm in 0.67 h, as far as they tell; validation has no phrases that sound alike to "
    assert f"{told}go by besides; the 0 found show fewer than" in note
    assert "; to show 0.5 an hour at 95 % confidence takes 5.99 h of background without an alarm" in note
    assert note in caplog.text
    thresholds = [point.threshold for point in chosen.points.values()]
    assert thresholds == sorted(thresholds, reverse=True)
    real, _ = choose_operating_points(streams(made, *sessions, synthetic=("computed",)), PLAIN)
    assert real.origins.real_words == 2 and "loudest moments" not in real.default.note
