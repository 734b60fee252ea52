import itertools
import re
from collections import Counter

import pytest

from wakeword_core.config import SPLITS, SourceConfig, SynthesisConfig
from wakeword_core.errors import ConfigError, DataError
from wakeword_core.speech.background import NOISES
from wakeword_core.speech.engines import Voice, is_latin
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.engines.hibari import HibariEngine
from wakeword_core.speech.plan import SPEAKER_RULE, SPOKEN_ROLES, Around, Cast, Said, plan, plan_speech
from wakeword_core.speech.scenes import BABBLE

ALIKE = ["hey rob", "robin hey", "hey rabbit"]
OTHER = ["It rains.", "Who knows?", "Close the door."]


class Actors:
    """An engine with some voices, which reads Latin letters, or all."""

    def __init__(self, voices, reads_all=False):
        self._voices, self._reads_all = voices, reads_all

    def voices(self):
        return tuple(self._voices)

    def can_say(self, text):
        return self._reads_all or is_latin(text)


def of_engines(engines, **options):
    """Settings with engines that need not be installed."""
    return SynthesisConfig(**options).model_copy(update={"engines": engines})


def cast(config=None, seed=1, **more):
    config = config or SynthesisConfig()
    engines = {"espeak": EspeakEngine(), "hibari": HibariEngine(), **more}
    return Cast({name: engines[name] for name, share in config.engines.items() if share}, config, seed)


class Refuses:
    """A guard that finds the phrase wherever a text is in another."""

    def __init__(self, text):
        self._text = text

    def contains(self, texts):
        return [self._text in text for text in texts]


def script(config, refused="zzz"):
    around = Around(["I said", "well"], ["turn on the lights", "stop that"], Refuses(refused))
    return [
        Said("positive", "positive", ["hey robin"], config.positives, "hey robin", around=around),
        Said("hard_negative", "hard_negative", ALIKE, config.hard_negatives, around=around),
        Said("pieces", "hard_negative", ["hey robin"], config.pieces, cut=True),
        Said("negative", "negative", OTHER, config.negatives),
    ]


def planned(refused="zzz", **options):
    config = SynthesisConfig(**options)
    return plan(script(config, refused), config, cast(config), 1, OTHER)


def spoken(config, count, texts=("hey robin",), seed=1, **more):
    return plan_speech("positive", texts, count, config, cast(config, seed, **more), seed)


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
    made = planned(positives=24, hard_negatives=24, negatives=24, engines={"espeak": 1 - share, "hibari": share})
    speakers = {role: {item.speaker for item in made.utterances if item.role == role} for role in SPOKEN_ROLES}
    assert len(speakers["positive"]) == 24
    assert speakers["positive"] == speakers["hard_negative"] == speakers["negative"]


def test_the_neural_share_is_kept_and_spread():
    made = spoken(SynthesisConfig(), 400)
    assert sum(item.engine == "hibari" for item in made) == 100
    assert sum(item.engine == "hibari" for item in made[:40]) == 10
    assert all(item.engine == "espeak" for item in spoken(SynthesisConfig(), 40, ["你好"]))


def test_shares_of_many_engines_are_kept_and_spread():
    third = Actors([Voice("x", "x", "en", "")])
    # shares need not sum to 1
    made = spoken(of_engines({"espeak": 3, "hibari": 1, "third": 6}), 1000, third=third)
    for count in range(1, 1001):
        counts = Counter(item.engine for item in made[:count])
        for engine, share in (("espeak", 0.3), ("hibari", 0.1), ("third", 0.6)):
            assert abs(counts[engine] - count * share) < 2
    longest = max(len(list(run)) for _, run in itertools.groupby(item.engine for item in made))
    assert longest <= 3


def test_what_nobody_can_read_is_an_error_and_who_can_read_it_says_it():
    latin, all_letters = Actors([Voice("x", "x", "en", "")]), Actors([Voice("y", "y", "en", "")], reads_all=True)
    config = of_engines({"latin": 0.9, "all": 0.1})
    assert {item.engine for item in spoken(config, 20, ["你好"], latin=latin, all=all_letters)} == {"all"}
    with pytest.raises(DataError, match="none of the engines latin can read '你好'"):
        spoken(of_engines({"latin": 1}), 1, ["你好"], latin=latin)


@pytest.mark.parametrize(
    "voice", [Voice("a", "../x", "en", ""), Voice("a", "x_y", "en", ""), Voice("a", "x", "e/n", "")]
)
def test_a_voice_whose_names_are_not_for_files_is_refused(voice):
    with pytest.raises(ConfigError, match="the engine others has a voice 'a' whose speaker"):
        Cast({"others": Actors([voice])}, of_engines({"others": 1}), 1)


def test_voices_held_in_splits_take_turns_and_each_role_has_all_splits():
    voices = [Voice(f"{split}{n}", f"{split}-{n}", "en", "", split=split) for split in SPLITS for n in range(7)]
    made = spoken(of_engines({"held": 1}), 105, held=Actors(voices))
    counts = Counter(item.speaker.split("-")[1] for item in made)
    assert counts == {"train": 63, "val": 21, "test": 21}
    assert {item.speaker.split("-")[1] for item in made[:3]} == set(SPLITS)
    assert len({item.speaker for item in made[:15]}) == 13  # three of training a round, before any has a second turn
    assert len({item.speaker for item in made}) == 21


def test_languages_choose_voices():
    voices = [Voice(tag, tag, tag, "") for tag in ("en-us", "en-gb", "es", "eng")]
    for languages, expected in (([], 4), (["en"], 2), (["en-gb", "es"], 2)):
        config = of_engines({"some": 1}, languages=languages)
        assert len({item.voice for item in spoken(config, 12, some=Actors(voices))}) == expected
    with pytest.raises(ConfigError, match="languages is fr, but the engine some has no voice"):
        spoken(of_engines({"some": 1}, languages=["fr"]), 1, some=Actors(voices))


def test_a_rare_sex_has_two_turns_for_one():
    voices = [Voice(f"m{n}", f"m{n}", "en", "", "male") for n in range(5)] + [Voice("f", "f", "en", "", "female")]
    made = spoken(of_engines({"some": 1}), 7, some=Actors(voices))
    assert Counter(item.voice for item in made) == {"f": 2, **{f"m{n}": 1 for n in range(5)}}


def test_the_speaker_rule_is_valid_and_finds_the_speaker():
    SourceConfig(name="x", path="x", role="positive", speaker=SPEAKER_RULE)
    pattern = re.compile(SPEAKER_RULE.removeprefix("regex:"))
    for item in planned(positives=80).utterances:
        assert pattern.match(item.path)["speaker"] == item.speaker
        assert pattern.match(item.path.rpartition("/")[2])["speaker"] == item.speaker


def test_values_stay_within_the_settings_and_margins_tell_nothing():
    config = SynthesisConfig(positives=300, hard_negatives=300, rate_range=(130, 140), pitch_range=(40, 42))
    made = plan(script(config), config, cast(config), 1, OTHER).utterances
    assert {item.pitch for item in made} == {40, 41, 42}
    assert all(130 <= item.rate <= 140 for item in made)
    for name, (low, high) in (("lead_seconds", config.margin_seconds), ("level_dbfs", config.level_dbfs)):
        for role in ("positive", "hard_negative"):
            values = [getattr(item, name) for item in made if item.role == role]
            assert low <= min(values) and max(values) <= high
            assert sum(values) / len(values) == pytest.approx((low + high) / 2, abs=0.06 * (high - low))


def test_more_recordings_begin_with_the_same_ones():
    config = SynthesisConfig()
    assert spoken(config, 20) == spoken(config, 90)[:20]
    assert spoken(config, 20) != spoken(config, 20, seed=2)


def of(made, role, kept=bool):
    return [item for item in made.utterances if item.role == role and kept(item)]


def test_a_share_has_other_speech_around_it_and_the_rest_is_as_without():
    share = {"carrier_share": 0.5, "positives": 200, "hard_negatives": 200, "negatives": 40}
    made, plain = planned(**share), planned(**share | {"carrier_share": 0.0})
    for role in ("positive", "hard_negative"):
        carried = of(made, role, lambda item: item.before or item.after)
        assert 0.35 < len(carried) / 200 < 0.65
        assert {bool(item.before) + 2 * bool(item.after) for item in carried} == {1, 2, 3}
        assert all(item.path.startswith(f"carriers/{role}/") for item in carried)
        assert set(of(made, role)) - set(carried) < set(of(plain, role))
        for item, before in zip(of(made, role), of(plain, role), strict=True):
            assert (item.text, item.voice, item.rate, item.seed) == (
                before.text,
                before.voice,
                before.rate,
                before.seed,
            )
            assert (item.lead_seconds > before.lead_seconds) == bool(item.before)
            assert (item.tail_seconds > before.tail_seconds) == bool(item.after)
    assert of(made, "negative") == of(plain, "negative")


def test_only_positives_may_have_the_phrase_in_what_is_around():
    made = planned("stop", carrier_share=1.0, positives=60, hard_negatives=60)
    assert {item.after for item in of(made, "positive")} >= {"stop that", "turn on the lights"}
    assert "stop that" not in {item.after for item in of(made, "hard_negative")}
    assert any(not item.path.startswith("carriers/") for item in of(made, "hard_negative"))


def test_pieces_are_of_the_phrase_by_the_same_voices():
    made = planned(positives=60, hard_negatives=0, pieces=60, piece_range=(0.4, 0.6))
    pieces = of(made, "hard_negative")
    assert {item.path.partition("/")[0] for item in pieces} == {"pieces"}
    assert [item.speaker for item in pieces] == [item.speaker for item in of(made, "positive")]
    assert Counter(item.cut.side for item in pieces).keys() == {"beginning", "end"}
    assert all(0.4 <= item.cut.share <= 0.6 and (item.cut.least, item.cut.most) == (0.4, 0.6) for item in pieces)
    assert {item.text.rstrip(".!?") for item in pieces} == {"hey robin"}


def test_more_of_everything_begins_with_the_same():
    few, many = (
        planned(positives=n, hard_negatives=n, pieces=n, negatives=n, carrier_share=0.5).utterances for n in (10, 40)
    )
    assert set(few) < set(many)


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


def test_held_out_background_is_for_validation_and_test_alone_and_changes_nothing_else():
    few, many = (planned(background_minutes=6, held_out_background_minutes=minutes).scenes for minutes in (0, 30))
    more = many[len(few) :]
    assert many[: len(few)] == few
    assert len({scene.path for scene in many}) == len({scene.seed for scene in many}) == len(many)
    for split in SPLITS:
        own = [scene for scene in more if scene.split == split]
        assert sum(scene.seconds for scene in own) == pytest.approx(0 if split == "train" else 1_800, rel=0.01)
        assert split == "train" or {scene.kind for scene in own} == {scene.kind for scene in few} - set(NOISES)


def test_nothing_asked_nothing_planned():
    made = planned(positives=0, hard_negatives=0, negatives=0, background_minutes=0)
    assert made.utterances == () and made.scenes == ()
    assert all(scene.kind != BABBLE for scene in plan([], SynthesisConfig(), cast(), 1, []).scenes)


@pytest.mark.parametrize(
    ("text", "answer"), [("naïve o'clock 9", True), ("你好", False), ("hey привет", False), ("!", False)]
)
def test_what_neural_voices_can_read(text, answer):
    assert is_latin(text) is answer and HibariEngine().can_say(text) is answer


@pytest.mark.parametrize(
    "options",
    [
        *({"rate_range": (200, 100)}, {"pitch_range": (0, 120)}, {"margin_seconds": (-1, 0.5)}),
        *(
            {"piece_range": (0.0, 0.5)},
            {"piece_range": (0.6, 0.5)},
            {"carrier_share": 1.5},
            {"phrases": ["hey", "Hey!"]},
        ),
        *({"phrases": ["?"]}, {"confusables": ["a" * 61]}, {"confusables": ["no"], "hard_negatives": 0}),
        {"confusable_kinds": ["alike"]},
        *({"engines": {}}, {"engines": {"espeak": 0}}, {"engines": {"espeak": -1}}, {"languages": ["English"]}),
    ],
)
def test_wrong_ranges_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        SynthesisConfig(**options)
