import importlib

import numpy as np
import pytest

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.speech.engines import Line
from wakeword_core.speech.engines import hibari as module
from wakeword_core.speech.engines.hibari import HibariEngine

ENGINE = HibariEngine()


def test_missing_package_says_what_to_install(monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "hibari":
            raise ImportError(name)
        return real(name, *rest)

    module._voice.cache_clear()
    monkeypatch.setattr(importlib, "import_module", without)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for ask in (ENGINE.prepare, lambda: ENGINE.say(Line("hello", "100"))):
        with pytest.raises(MissingDependencyError, match=r"\[speech\].*synthesis\.engines"):
            ask()


def test_speaks_by_seed_tempo_and_voice():
    pytest.importorskip("hibari")
    samples, rate = ENGINE.say(Line("hey robin", "100", seed=1))
    assert samples.dtype == np.float32 and rate == 24_000 and 0.5 < len(samples) / rate < 2.5
    np.testing.assert_array_equal(samples, ENGINE.say(Line("hey robin", "100", seed=1))[0])
    assert not np.array_equal(samples, ENGINE.say(Line("hey robin", "100", seed=2))[0])
    assert len(ENGINE.say(Line("hey robin", "100", tempo=1.4, seed=1))[0]) < 0.85 * len(samples)
    deep, deep_rate = ENGINE.say(Line("hey robin", "079", seed=1))
    assert deep_rate == 18_960
    # The tempo stays when pitch moves.
    assert len(deep) / deep_rate == pytest.approx(len(samples) / rate, rel=0.12)


@pytest.mark.parametrize("text", ["", "你好"])
def test_text_without_sound_is_named(text):
    pytest.importorskip("hibari")
    with pytest.raises(DataError, match="gives no sound"):
        ENGINE.say(Line(text, "100"))


def test_voices_are_speakers_apart_and_one_person():
    steps = np.diff(np.log([int(voice.name) for voice in ENGINE.voices()]))
    assert len(steps) >= 5 and steps.min() > 0.07
    assert {voice.split for voice in ENGINE.voices()} == {"train"}


def test_a_pronunciation_counts_and_not_the_text():
    pytest.importorskip("hibari")
    said = ENGINE.say(Line("小智.", "100", "ʃˈaʊ dʒˈɪ", seed=1))[0]
    np.testing.assert_array_equal(said, ENGINE.say(Line("hey robin.", "100", "ʃˈaʊ dʒˈɪ", seed=1))[0])
    assert 0.3 < len(said) / 24_000 < 2.5
    assert not np.array_equal(said, ENGINE.say(Line("小智.", "100", "ʃˈaʊ tʃˈɪ", seed=1))[0])
    assert not np.array_equal(said, ENGINE.say(Line("小智?", "100", "ʃˈaʊ dʒˈɪ", seed=1))[0])
