import re
from collections import Counter

import pytest

from wakeword_core.config import SPLITS, SourceConfig, SynthesisConfig
from wakeword_core.speech.plan import BABBLE, SPEAKER_RULE, SPOKEN_ROLES, neural_can_read, plan, plan_speech

ALIKE = ["hey rob", "robin hey", "hey rabbit"]
OTHER = ["It rains.", "Who knows?", "Close the door."]


def planned(**options):
    return plan("hey robin", SynthesisConfig(**options), 1, ALIKE, OTHER)


def test_counts_roles_texts_and_unique_paths():
    made = planned(positives=30, hard_negatives=20, negatives=40, background_minutes=6)
    assert Counter(item.role for item in made.utterances) == {"positive": 30, "hard_negative": 20, "negative": 40}
    paths = [item.path for item in (*made.utterances, *made.scenes)]
    assert len(set(paths)) == len(paths)
    assert {item.text.rstrip(".!?") for item in made.utterances if item.role == "positive"} == {"hey robin"}
    assert {item.text.rstrip(".!?") for item in made.utterances if item.role == "hard_negative"} == set(ALIKE)
    assert {item.text for item in made.utterances if item.role == "negative"} == set(OTHER)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_few_recordings_still_have_many_speakers_and_roles_share_them(share):
    made = planned(positives=24, hard_negatives=24, negatives=24, neural_share=share)
    speakers = {role: {item.speaker for item in made.utterances if item.role == role} for role in SPOKEN_ROLES}
    assert len(speakers["positive"]) == 24
    assert speakers["positive"] == speakers["hard_negative"] == speakers["negative"]


def test_the_neural_share_is_kept_and_spread():
    made = plan_speech("positive", ["hey robin"], 400, SynthesisConfig(neural_share=0.25), 1)
    assert sum(item.engine == "hibari" for item in made) == 100
    assert sum(item.engine == "hibari" for item in made[:40]) == 10
    assert all(item.engine == "espeak" for item in plan_speech("positive", ["你好"], 40, SynthesisConfig(), 1))


def test_the_speaker_rule_is_valid_and_finds_the_speaker():
    SourceConfig(name="x", path="x", role="positive", speaker=SPEAKER_RULE)
    pattern = re.compile(SPEAKER_RULE.removeprefix("regex:"))
    for item in planned(positives=80).utterances:
        assert pattern.match(item.path)["speaker"] == item.speaker
        assert pattern.match(item.path.rpartition("/")[2])["speaker"] == item.speaker


def test_values_stay_within_the_settings_and_margins_tell_nothing():
    config = SynthesisConfig(positives=300, hard_negatives=300, rate_range=(130, 140), pitch_range=(40, 42))
    made = plan("hey robin", config, 1, ALIKE, OTHER).utterances
    assert {item.pitch for item in made} == {40, 41, 42}
    assert all(130 <= item.rate <= 140 for item in made)
    for name, (low, high) in (("lead_seconds", config.margin_seconds), ("level_dbfs", config.level_dbfs)):
        for role in ("positive", "hard_negative"):
            values = [getattr(item, name) for item in made if item.role == role]
            assert low <= min(values) and max(values) <= high
            assert sum(values) / len(values) == pytest.approx((low + high) / 2, abs=0.06 * (high - low))


def test_more_recordings_begin_with_the_same_ones():
    config = SynthesisConfig()
    assert plan_speech("positive", ["a b"], 20, config, 1) == plan_speech("positive", ["a b"], 90, config, 1)[:20]
    assert plan_speech("positive", ["a b"], 20, config, 1) != plan_speech("positive", ["a b"], 20, config, 2)


@pytest.mark.parametrize("minutes", [0.2, 1.5, 6, 40])
def test_background_reaches_every_split_and_keeps_its_length(minutes):
    scenes = planned(background_minutes=minutes).scenes
    assert len(scenes) >= 16
    for split in SPLITS:
        for role in ("noise", "background"):
            kinds = [scene.kind for scene in scenes if scene.split == split and scene.role == role]
            assert len(set(kinds)) >= 2
            assert role == "noise" or BABBLE in kinds
    assert sum(scene.seconds for scene in scenes) == pytest.approx(max(minutes * 60, 40), rel=0.02)
    assert all((len(scene.talkers) >= 5) == (scene.kind == BABBLE) for scene in scenes)
    if minutes == 40:
        assert all(20 <= scene.seconds <= 40 for scene in scenes)


def test_nothing_asked_nothing_planned():
    made = planned(positives=0, hard_negatives=0, negatives=0, background_minutes=0)
    assert made.utterances == () and made.scenes == ()
    assert all(scene.kind != BABBLE for scene in plan("x", SynthesisConfig(), 1, [], []).scenes)


@pytest.mark.parametrize(
    ("text", "answer"), [("naïve o'clock 9", True), ("你好", False), ("hey привет", False), ("!", False)]
)
def test_what_the_neural_voice_can_read(text, answer):
    assert neural_can_read(text) is answer


@pytest.mark.parametrize(
    "options", [{"rate_range": (200, 100)}, {"pitch_range": (0, 120)}, {"margin_seconds": (-1, 0.5)}]
)
def test_wrong_ranges_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SynthesisConfig(**options)
