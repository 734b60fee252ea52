"""Short phrases by strangers: which recordings are meant, and what lets them in."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from wakeword_core.config import EvaluationConfig
from wakeword_core.evaluation.measure.intervals import Interval, wilson_interval
from wakeword_core.evaluation.streams.build import SourceSpan
from wakeword_core.evaluation.streams.phrases import longest_short_phrase
from wakeword_core.evaluation.streams.scores import SessionScores, score_streams
from wakeword_core.evaluation.streams.stream_metrics import evaluate_streams
from wakeword_core.recordings.vad import SpeechDetector, SpeechSpan

PLAIN = EvaluationConfig(detector={"smoothing": 1})


def words(made, *spoken):
    """A session of recordings of the wake word, each with so many seconds of speech."""
    spans = tuple(
        SourceSpan("people", f"w{index}", float(index), index + 0.9, role="positive", spoken=seconds)
        for index, seconds in enumerate(spoken)
    )
    return replace(made.positives([(5.6, 0.9)], [5.0]), sources=spans)


def others(made, *recordings, bumps=(), offset=0.0):
    """Background of recordings of 2 s with pauses of 1 s; each is (role, seconds of speech)."""
    times, scores = made.track(bumps)
    spans = tuple(
        SourceSpan(f"{role}s", f"{role}{index}", 3.0 * index, 3.0 * index + 2, offset, role, spoken)
        for index, (role, spoken) in enumerate(recordings)
    )
    return SessionScores(None, times, scores, np.ones(len(times), dtype=int), (), spans)


def measured(streams, threshold=0.5):
    return evaluate_streams(streams, threshold, PLAIN, PLAIN.detector).short_phrases


def test_a_short_phrase_is_about_as_short_as_the_word_and_said_by_somebody(made):
    told = [("negative", 0.4), ("negative", 1.2), ("negative", 1.2001), ("negative", np.nan), ("noise", 0.5)]
    told += [("background", 0.5), ("negative", 7.0)]
    found = measured(made.streams(words(made, 0.8, 0.8), others(made, *told)))
    assert found.longest_seconds == pytest.approx(1.2)
    assert (found.recordings, found.accepted, found.share) == (2, 0, 0.0)
    assert found.interval == wilson_interval(0, 2)


def test_the_longest_words_and_those_that_nobody_heard_do_not_decide_its_length(made):
    usual = made.streams(words(made, *[0.6] * 39, 5.0, np.nan), others(made, ("negative", 0.4)))
    assert longest_short_phrase(usual) == pytest.approx(0.9)
    nobody = made.streams(words(made, np.nan), others(made, ("negative", 0.4)))
    found = measured(nobody)
    assert (found.longest_seconds, found.recordings, found.share) == (None, 0, None)
    assert found.interval == Interval(0.0, 1.0)


def test_each_is_counted_once_by_source_and_its_loudest_event_is_kept(made):
    heard = others(
        made,
        *[("negative", 0.5)] * 4,
        bumps=[(0.4, 0.7), (1.92, 0.9), (3.52, 0.6), (11.2, 0.8)],  # two in the first, the last in the pause behind
    )
    alike = others(made, ("hard_negative", 0.5), ("hard_negative", 3.0), bumps=[(0.8, 0.95), (4.0, 0.99)])
    scores = replace(made.streams(words(made, 0.8), heard), confusables=(alike,))
    found = measured(scores)
    assert (found.recordings, found.accepted, found.share) == (5, 4, 0.8)
    assert [(one.recording_id, one.score) for one in found.alarms] == [
        ("hard_negative0", 0.95), ("negative0", 0.9), ("negative3", 0.8), ("negative1", 0.6),
    ]  # fmt: skip
    assert [(one.name, one.recordings, one.accepted) for one in found.by_source] == [
        ("hard_negatives", 1, 1),
        ("negatives", 4, 3),
    ]
    assert found.by_source[1].interval == wilson_interval(3, 4)
    assert measured(scores, 0.92).accepted == 1  # the threshold decides
    json.dumps(asdict(found), allow_nan=False)


def test_they_stay_a_part_of_the_background(made):
    streams = made.streams(words(made, 0.8), others(made, ("negative", 0.5), bumps=[(0.8, 0.9)]))
    result = evaluate_streams(streams, 0.5, PLAIN, PLAIN.detector)
    assert result.false_alarm_count == 1 and result.background_hours == pytest.approx(2 / 3600)


def test_lengths_come_from_the_manifest_or_else_from_listening(tmp_path, pack_shards, make_sound, config, monkeypatch):
    """The manifest measures speech where a row is cut by it, which is not of negatives: these are measured here."""
    random = np.random.default_rng(1)

    def said(role, seconds, *, length=2.0, label="_negative", known=True):
        audio = make_sound(random, length, 0.01)
        audio[: round(seconds * 16_000)] *= 20
        return {"audio": audio, "role": role, "label": label} | ({"speech": (0.0, seconds)} if known else {})

    sounds = [said("positive", 0.6, label="hey robin"), said("negative", 0.8, known=False)]
    sounds += [said("negative", 1.5, known=False), said("negative", 0.8, length=31.0, known=False)]
    sounds += [said("hard_negative", 0.85), said("noise", 0.5, known=False), said("negative", 0.0, known=False)]
    shards = pack_shards(tmp_path, sounds)
    heard = []

    def span(detector, sound, threshold):
        heard.append(threshold)
        loud = np.flatnonzero(np.abs(sound) > 0.15)
        return SpeechSpan(loud[0] / 16_000, loud[-1] / 16_000, 1.0) if len(loud) else None

    monkeypatch.setattr(SpeechDetector, "span", span)

    def loud(pcm):
        times = np.arange(1, 1 + len(pcm) // 1_600) / 10
        return times, np.where(times % 1 < 0.5, 1.0, 0.0)

    scores = score_streams(loud, shards.folder, config)
    assert heard == [config.data.health.vad_threshold] * 3  # neither noise nor half a minute is listened to
    found = evaluate_streams(scores, 0.5, config.evaluation, PLAIN.detector).short_phrases
    assert (found.longest_seconds, found.recordings, found.accepted) == (pytest.approx(0.9), 2, 2)
    heard.clear()
    score_streams(loud, shards.folder, config, short_phrases=False)
    assert heard == []
