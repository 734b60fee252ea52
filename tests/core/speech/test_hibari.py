import importlib

import numpy as np
import pytest

from wakeword_core.errors import DataError, MissingDependencyError
from wakeword_core.speech import hibari


def test_missing_package_says_what_to_install(monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name == "hibari":
            raise ImportError(name)
        return real(name, *rest)

    hibari._voice.cache_clear()
    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=r"\[speech\].*neural_share"):
        hibari.speak("hello")


def test_speaks_by_seed_speed_and_factor():
    pytest.importorskip("hibari")
    samples, rate = hibari.speak("hey robin", seed=1)
    assert samples.dtype == np.float32 and rate == 24_000 and 0.5 < len(samples) / rate < 2.5
    np.testing.assert_array_equal(samples, hibari.speak("hey robin", seed=1)[0])
    assert not np.array_equal(samples, hibari.speak("hey robin", seed=2)[0])
    assert len(hibari.speak("hey robin", speed=1.4)[0]) < 0.85 * len(samples)
    deep, deep_rate = hibari.speak("hey robin", factor=0.8)
    assert deep_rate == 19_200
    # The tempo stays when pitch moves.
    assert len(deep) / deep_rate == pytest.approx(len(samples) / rate, rel=0.12)


@pytest.mark.parametrize("text", ["", "你好"])
def test_text_without_sound_is_named(text):
    pytest.importorskip("hibari")
    with pytest.raises(DataError, match="gives no sound"):
        hibari.speak(text)


def test_factors_are_speakers_apart():
    steps = np.diff(np.log(hibari.SPEAKER_FACTORS))
    assert len(hibari.SPEAKER_FACTORS) >= 6 and steps.min() > 0.07
