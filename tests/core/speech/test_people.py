import importlib

import numpy as np
import pytest

from wakeword_core.audio import from_pcm16
from wakeword_core.errors import MissingDependencyError
from wakeword_core.speech import espeak, people
from wakeword_core.speech.people import MANNERS, speak_as

RATE = 22_050


@pytest.fixture(scope="module")
def world():
    return pytest.importorskip("pyworld")


@pytest.fixture(scope="module")
def said(world):
    pytest.importorskip("espeakng_loader")
    pcm, rate = espeak.speak("hey robin", espeak.Voice("en-us", "max"))
    assert rate == RATE
    return from_pcm16(pcm)


def pitch(world, x):
    """Median pitch in Hz, how far it moves (a deviation of logarithms), and the share of voiced frames."""
    found, _ = world.dio(x.astype(float), RATE, f0_floor=50.0, f0_ceil=700.0)
    voiced = found[found > 0]
    if len(voiced) == 0:
        return 0.0, 0.0, 0.0
    return float(np.median(voiced)), float(np.log(voiced).std()), len(voiced) / len(found)


def formants(world, x):
    """The mean logarithmic spectral envelope of voiced frames, on a scale of octaves from 300 Hz."""
    signal = x.astype(float)
    found, times = world.dio(signal, RATE)
    envelope = np.log(world.cheaptrick(signal, found, times, RATE)[found > 0].mean(axis=0))
    octaves = 300 * 2 ** np.arange(0, 4, 0.02)
    curve = np.interp(octaves, np.linspace(0, RATE / 2, len(envelope)), envelope)
    return curve - np.convolve(np.pad(curve, 50, mode="edge"), np.ones(101) / 101, "valid")


def shift(first, second):
    """By which factor the formants of the second are higher, from the shift that fits best."""
    lags = range(-45, 46)
    fits = [
        np.corrcoef(first[max(0, -k) : len(first) - max(0, k)], second[max(0, k) : len(second) + min(0, k)])[0, 1]
        for k in lags
    ]
    return 2 ** (0.02 * lags[int(np.argmax(fits))])


@pytest.mark.parametrize("manner", MANNERS)
def test_the_same_seed_says_the_same_and_others_do_not(said, manner):
    first = speak_as(said, RATE, manner, 1)
    assert first.dtype == np.float32 and np.isfinite(first).all() and first.std() > 0.01
    np.testing.assert_array_equal(first, speak_as(said, RATE, manner, 1))
    assert speak_as(said, RATE, manner, 2).tobytes() != first.tobytes()


@pytest.mark.parametrize(
    ("manner", "lowest", "highest"), [("small_child", 240, 450), ("child", 190, 340), ("deep", 55, 112)]
)
def test_pitch_is_that_of_the_person(world, said, manner, lowest, highest):
    for seed in range(3):
        assert lowest < pitch(world, speak_as(said, RATE, manner, seed))[0] < highest


def test_formants_move_by_themselves(world, said, monkeypatch):
    own = formants(world, said)
    for factor in (0.85, 1.2, 1.45):
        monkeypatch.setitem(MANNERS, "drawn", people.Manner(formants=(factor, factor)))
        moved = speak_as(said, RATE, "drawn", 1)
        assert shift(own, formants(world, moved)) == pytest.approx(factor, rel=0.06)
        assert pitch(world, moved)[0] == pytest.approx(pitch(world, said)[0], rel=0.08)
    monkeypatch.setitem(MANNERS, "drawn", people.Manner(pitch=(1.5, 1.5)))
    higher = speak_as(said, RATE, "drawn", 1)
    assert pitch(world, higher)[0] == pytest.approx(1.5 * pitch(world, said)[0], rel=0.08)
    assert shift(own, formants(world, higher)) == pytest.approx(1, rel=0.06)


def test_a_person_without_changes_keeps_the_speech(world, said, monkeypatch):
    monkeypatch.setitem(MANNERS, "plain", people.Manner())
    plain = speak_as(said, RATE, "plain", 1)
    assert len(plain) == pytest.approx(len(said), abs=0.01 * RATE)
    assert pitch(world, plain)[0] == pytest.approx(pitch(world, said)[0], rel=0.03)
    assert plain.std() == pytest.approx(said.std(), rel=0.2)


def test_a_whisper_has_no_pitch(world, said):
    assert pitch(world, said)[2] > 0.6
    assert pitch(world, speak_as(said, RATE, "whispered", 1))[2] < 0.4


def test_loud_speech_is_higher_and_brighter(world, said):
    def brightness(x):
        power = np.abs(np.fft.rfft(x)) ** 2
        return power[len(power) // 7 :].sum() / power.sum()

    loud = speak_as(said, RATE, "shouted", 1)
    assert pitch(world, loud)[0] > 1.3 * pitch(world, said)[0]
    assert brightness(loud) > 2 * brightness(said)


def test_time_and_pitch_range_follow_the_manner(world, said):
    lengths = {manner: len(speak_as(said, RATE, manner, 4)) / len(said) for manner in ("drawn_out", "clipped", "tired")}
    assert 1.15 < lengths["drawn_out"] < 1.9 and 0.55 < lengths["clipped"] < 0.9 and 1 < lengths["tired"] < 1.45
    moves = pitch(world, said)[1]
    assert pitch(world, speak_as(said, RATE, "tired", 4))[1] < 0.8 * moves
    assert pitch(world, speak_as(said, RATE, "emphatic", 4))[1] > 1.2 * moves


def test_vowels_are_stretched_more_than_consonants():
    manner = people.Manner(tempo=(0.6, 0.6), unevenness=1.0)
    drawn = people._Drawn(manner, np.random.default_rng(1))
    voiced = np.repeat([False, True, False], 40)
    power = np.repeat([0.1, 1.0, 0.1], 40)[:, None]
    frames = drawn.frame_positions(voiced, power)
    vowels = int(((frames > 40) & (frames < 80)).sum())
    assert vowels > 1.9 * 40 and len(frames) - vowels < 1.25 * 80
    assert len(frames) == pytest.approx(120 / 0.6, rel=0.2)
    assert (np.diff(frames) >= 0).all() and frames.min() >= 0 and frames.max() <= 119


@pytest.mark.parametrize("samples", [0, 1, 600, 662, 1_500])
@pytest.mark.parametrize("manner", ["small_child", "deep", "whispered", "drawn_out", "clipped"])
def test_what_is_short_or_silent_is_no_fault(world, samples, manner):
    noise = np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)
    for x in (noise, np.zeros(samples, np.float32), np.ones(samples, np.float32)):
        heard = speak_as(x, RATE, manner, 1)
        assert heard.dtype == np.float32 and np.isfinite(heard).all()
        if samples < 0.03 * RATE or not x.any():
            np.testing.assert_array_equal(heard, x)


def test_missing_package_says_what_to_install(monkeypatch):
    def without(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(MissingDependencyError, match=r"\[speech\].*people_share"):
        speak_as(np.ones(RATE, np.float32), RATE, "deep", 1)
