from collections import Counter

import pytest

from wakeword_core.config import AccentName, MannerName, SynthesisConfig
from wakeword_core.speech import espeak
from wakeword_core.speech.delivery import Delivery, accent_of
from wakeword_core.speech.engines.espeak import EspeakEngine
from wakeword_core.speech.engines.hibari import HibariEngine
from wakeword_core.speech.people import MANNERS
from wakeword_core.speech.pronunciation import Pronunciations
from wakeword_core.speech.pronunciation.accents import ACCENTS
from wakeword_core.speech.pronunciation.ipa import canonical, from_espeak
from wakeword_core.speech.pronunciation.phonetics import TOO_NEAR, edit_cost, normalise

ENGINE = EspeakEngine()


class Reader:
    """An engine that goes by the text."""

    speaks_ipa = False

    def can_say(self, text):
        return True


@pytest.fixture(autouse=True)
def _engine():
    pytest.importorskip("espeakng_loader")


def delivery(given=None, phrase="hey robin", others=(), speech=(), **settings):
    config = SynthesisConfig(**settings)
    return Delivery((phrase,), Pronunciations(given or {}), config, 1, others, speech)


def said(of, text, count, language="en-us", folder="positive"):
    return [of.ipa(text, ENGINE, language, (folder, index)) for index in range(count)]


def test_names_of_the_settings_are_those_that_there_are():
    assert set(ACCENTS) == set(AccentName.__args__) and set(MANNERS) == set(MannerName.__args__)


def test_by_default_engines_read_by_themselves():
    plain = delivery()
    assert said(plain, "hey robin", 20) == [None] * 20
    assert {plain.manner(("positive", index)) for index in range(20)} == {None}
    assert plain.can_say(HibariEngine(), "hey robin") and not plain.can_say(HibariEngine(), "小智")


def test_what_is_given_is_said_by_those_that_can():
    given = delivery({"小智": "ʃaʊdʒɪ"}, "小智")
    assert given.can_say(HibariEngine(), "小智") and given.can_say(HibariEngine(), "hey 小智")
    assert not given.can_say(HibariEngine(), "小智 你好")
    assert not given.can_say(Reader(), "小智") and given.can_say(Reader(), "hey")
    assert said(given, "小智", 2) == ["ʃaʊdʒɪ"] * 2


def test_ways_take_turns_in_no_fixed_order():
    drawn = said(delivery({"robin": ["a", "e", "i"]}), "robin", 30)
    assert Counter(drawn) == {"a": 10, "e": 10, "i": 10}
    assert all(set(drawn[start : start + 3]) == {"a", "e", "i"} for start in range(0, 30, 3))
    assert len({tuple(drawn[start : start + 3]) for start in range(0, 30, 3)}) > 1


def test_a_share_is_said_in_accents_and_a_larger_count_begins_the_same():
    of = delivery(accent_share=0.5)
    drawn = said(of, "hey robin", 300)
    accented = [ipa for ipa in drawn if ipa is not None]
    assert 110 < len(accented) < 190 and len(set(accented)) > 20
    plain = from_espeak(espeak.phonemes(["hey robin"])[0])
    assert plain not in accented and all(canonical(ipa) == ipa for ipa in accented)
    assert said(delivery(accent_share=0.5), "hey robin", 40) == drawn[:40]
    assert said(of, "hey robin", 40, folder="words") != drawn[:40]
    assert set(said(delivery(accent_share=0.0), "hey robin", 40)) == {None}
    only = set(said(delivery(accent_share=1.0, accents=("london",)), "hey robin", 40))
    assert only == {"ˈeɪ ɹˈɑːbɪn"}


def test_accents_keep_the_phrase_apart_from_the_others():
    others = ["hey lobin", "hey roving", "hey robot"]
    of = delivery(accent_share=1.0, others=others)
    sounds = [normalise(ipa) for ipa in espeak.phonemes(others)]
    for ipa in filter(None, said(of, "hey robin", 100)):
        assert min(edit_cost(normalise(ipa), sound) for sound in sounds) >= TOO_NEAR
    own = normalise(espeak.phonemes(["hey robin"])[0])
    for text in others:
        for ipa in filter(None, said(of, text, 60, folder="hard_negative")):
            assert edit_cost(normalise(ipa), own) >= min(
                TOO_NEAR, edit_cost(normalise(espeak.phonemes([text])[0]), own)
            )


def test_an_accent_makes_no_wake_word_another_one():
    words = ("hey rock", "hey lock")
    of = Delivery(words, Pronunciations(), SynthesisConfig(accent_share=1.0), 1)
    for word, other in (words, words[::-1]):
        sound = normalise(espeak.phonemes([other])[0])
        drawn = list(filter(None, said(of, word, 150)))
        assert len(set(drawn)) > 5
        assert min(edit_cost(normalise(ipa), sound) for ipa in drawn) >= TOO_NEAR


def test_a_given_pronunciation_gets_the_accent_too():
    of = delivery({"hey robin": "hˈeɪ θˈɪbɪn"}, accent_share=1.0, accents=("german",))
    drawn = set(said(of, "hey robin", 60))
    assert "hˈeɪ sˈɪbɪn" in drawn and all(ipa for ipa in drawn)


def test_an_engine_that_goes_by_the_text_gets_no_accent():
    of = delivery(accent_share=1.0)
    assert {of.ipa("hey robin", Reader(), "en-us", ("positive", index)) for index in range(20)} == {None}


def test_the_accent_of_a_voice_is_where_it_starts():
    assert accent_of("en-gb-scotland") == "en-gb-scotland" and accent_of("ja") == "en-us"
    of = delivery(accent_share=1.0, accents=("polish",))
    assert not set(said(of, "better water", 30)) & set(said(of, "better water", 30, "en-gb"))


def test_manners_come_in_their_share_and_as_chosen():
    of = delivery(people_share=0.4)
    drawn = Counter(of.manner(("positive", index)) for index in range(1_000))
    assert 340 < 1_000 - drawn[None] < 460 and set(drawn) == {None, *MANNERS}
    chosen = delivery(people_share=1.0, people=("child", "tired"))
    assert {chosen.manner(("positive", index)) for index in range(40)} == {"child", "tired"}
