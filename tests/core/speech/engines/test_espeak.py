import numpy as np
import pytest

from wakeword_core.speech.engines import Line
from wakeword_core.speech.engines.espeak import EspeakEngine

ENGINE = EspeakEngine()


@pytest.fixture(autouse=True)
def _engine():
    pytest.importorskip("espeakng_loader")


def test_a_pronunciation_counts_and_not_the_text():
    said, rate = ENGINE.say(Line("小智", "en-us+f3", "hˈeɪ ɹˈɑːbɪn"))
    assert rate == 22_050
    np.testing.assert_array_equal(said, ENGINE.say(Line("hey robin", "en-us+f3"))[0])
    assert not np.array_equal(said, ENGINE.say(Line("hey robin", "en-us+f3", "hˈeɪ lˈɑːbɪn"))[0])


def test_the_mark_at_the_end_gives_the_melody():
    said = [ENGINE.say(Line(f"robin{mark}", "en-us+m1", "ɹˈɑːbɪn"))[0].tobytes() for mark in ("", "?", "!")]
    assert len(set(said)) >= 2


def test_names_of_phonemes_in_a_text_are_text():
    plain = ENGINE.say(Line("[[h'eI]]", "en-us+f3"))[0]
    assert len(plain) > 2 * len(ENGINE.say(Line("hey", "en-us+f3"))[0])


def test_voices_are_of_both_sexes_in_every_accent():
    voices = ENGINE.voices()
    assert {voice.sex for voice in voices} == {"female", "male"} and len({voice.language for voice in voices}) == 7
