import ctypes
import sys
import threading
from itertools import count

import numpy as np
import pytest

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.speech import espeak
from wakeword_core.speech.espeak import Voice, phonemes, speak


def test_voices_are_many_and_different_without_an_engine():
    voices = [Voice(accent, variant) for accent in espeak.ACCENTS for variant in espeak.VARIANTS]
    assert len({voice.name for voice in voices}) == len(voices)
    assert len(espeak.VARIANTS) >= 50
    assert not {"whisper", "croak", "robosoft", "UniRobot"} & set(espeak.VARIANTS)


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingDependencyError, match=r"GPL-3.*pip install.*\[speech\]"):
        speak("hello", Voice())


@pytest.fixture
def engine():
    pytest.importorskip("espeakng_loader")


def disturb(monkeypatch: pytest.MonkeyPatch, takes: int) -> None:
    """Have more random numbers drawn before each of so many takes than before the last one."""
    set_voice, begun = espeak._set_voice, count(1)

    def drawing(library: ctypes.CDLL, name: str) -> None:
        take = next(begun)
        for _ in range(take if take <= takes else 0):
            library.rand()
        set_voice(library, name)

    monkeypatch.setattr(espeak, "_set_voice", drawing)


@pytest.mark.usefixtures("engine")
class TestEngine:
    def test_speech_has_a_plausible_length_and_level(self):
        samples, rate = speak("hey robin", Voice())
        assert samples.dtype == np.int16 and rate == 22_050
        assert 0.4 < len(samples) / rate < 1.5
        assert 3_000 < np.abs(samples.astype(int)).max() < 32_768

    # Breath comes from the clock (f2) and from the C library (Reed), oscillators from history (m3).
    @pytest.mark.parametrize("variant", ["f2", "victor", "Reed", "m3"])
    def test_same_request_same_bytes_whatever_was_said_before(self, variant):
        first, _ = speak("hey robin", Voice("en-gb", variant))
        speak("something else altogether", Voice("en-us", "f5"), rate=200, pitch=10)
        again, _ = speak("hey robin", Voice("en-gb", variant))
        np.testing.assert_array_equal(first, again)

    @pytest.mark.parametrize("variant", ["Reed", "m3"])
    def test_same_bytes_though_another_thread_draws_random_numbers_as_well(self, variant, monkeypatch):
        text = "seven robins sing in the garden"
        alone, _ = speak(text, Voice("en-us", variant))
        disturb(monkeypatch, takes=3)
        among_others, _ = speak(text, Voice("en-us", variant))
        np.testing.assert_array_equal(among_others, alone)

    def test_where_no_two_takes_are_the_same_nothing_is_said(self, monkeypatch):
        disturb(monkeypatch, takes=99)
        with pytest.raises(DataError, match=r"en-us\+Reed sounds different each time.*compute\.engine local"):
            speak("hey robin", Voice("en-us", "Reed"))

    def test_every_voice_speaks_and_no_two_are_alike(self):
        voices = [Voice(accent, variant) for accent in espeak.ACCENTS for variant in espeak.VARIANTS]
        spoken = {voice.name: speak("robin", voice)[0].tobytes() for voice in voices[:: len(espeak.ACCENTS)]}
        assert len(set(spoken.values())) == len(spoken)

    def test_accents_differ(self):
        assert len({speak("thirty robins", Voice(accent))[0].tobytes() for accent in espeak.ACCENTS}) == len(
            espeak.ACCENTS
        )

    def test_rate_shortens_pitch_raises_and_intonation_moves(self):
        slow, fast = (speak("hey robin", Voice(), rate=rate)[0] for rate in (120, 220))
        assert len(slow) > 1.3 * len(fast)
        low, high = (_pitch(speak("ah aah aaah", Voice(), pitch=pitch)[0]) for pitch in (20, 80))
        assert high > 1.3 * low
        flat, lively = (speak("hey robin", Voice(), intonation=value)[0] for value in (10, 90))
        assert flat.tobytes() != lively.tobytes()

    @pytest.mark.parametrize("text", ["", "  ", "...", "\n"])
    def test_text_without_sound_is_named(self, text):
        with pytest.raises(DataError, match="gives no sound"):
            speak(text, Voice())

    @pytest.mark.parametrize(("text", "reason"), [("a\0b", "null"), ("\ud800", "Unicode")])
    def test_text_that_is_no_text_is_refused(self, text, reason):
        with pytest.raises(DataError, match=reason):
            speak(text, Voice())

    @pytest.mark.parametrize("name", ["xx", "en-us+nosuch", "en-us+../en", "+f3"])
    def test_unknown_voice_is_an_error_not_the_default_voice(self, name):
        with pytest.raises(DataError, match="no voice"):
            speak("hello", Voice(*name.split("+")))

    def test_a_voice_is_named_as_espeak_names_it(self):
        assert Voice("en-us", "f3").name == "en-us+f3" and Voice("en-gb").name == "en-gb"

    def test_phonemes_split_words_and_differ_by_accent(self):
        american, silent, clauses = phonemes(["hey robin", "", "hey robin, come here"])
        assert american.replace("ˈ", "") == "h_eɪ ɹ_ɑː_b_ɪ_n"
        assert silent == "" and " | " in clauses
        assert phonemes(["robin"], "en-gb-x-rp")[0] != phonemes(["robin"])[0]

    def test_threads_take_turns(self):
        expected = speak("hey robin", Voice())[0].tobytes()
        heard: list[bytes] = []
        threads = [
            threading.Thread(target=lambda: heard.append(speak("hey robin", Voice())[0].tobytes())) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert heard == [expected] * 6


def _pitch(samples, rate=22_050):
    """Median fundamental in Hz by autocorrelation."""
    found = []
    for start in range(0, len(samples) - 1_024, 512):
        frame = samples[start : start + 1_024].astype(float)
        if frame.std() > 500:
            frame -= frame.mean()
            correlation = np.correlate(frame, frame, "full")[1_023:]
            low, high = rate // 400, rate // 60
            found.append(rate / (low + correlation[low:high].argmax()))
    return np.median(found)
