"""Time is stretched and pitch stays, and the other way round, measured on tones and clicks."""

import numpy as np
import pytest
import torch

from wakeword_core.config import AugmentConfig
from wakeword_core.features.augment import Augmenter, draw, samples_heard
from wakeword_core.features.materials import NO_MATERIALS
from wakeword_core.features.stretch import stretch_from_end

RATE = 16_000
WINDOW = 24_512
OFF = AugmentConfig(gain_db=(0, 0), noise_probability=0, rir_probability=0, speed_probability=0)
KEYS = np.arange(24, dtype=np.uint64)


def augmented(sound: np.ndarray, config: AugmentConfig, keys: np.ndarray = KEYS) -> tuple[torch.Tensor, np.ndarray]:
    """Rows of 16-bit sound as each key draws it, and what was drawn, as factors of tempo and pitch: [rows, 2]."""
    draws = draw(keys, np.zeros(len(keys), bool), config, NO_MATERIALS)
    rows = np.rint(np.resize(sound, (len(keys), len(sound))) * 32_768) / 32_768
    augmenter = Augmenter(np.zeros(1, np.int16), np.zeros((0, 1), np.float32), RATE, torch.device("cpu"))
    heard = samples_heard(WINDOW, draws.speed, draws.pitch, RATE)
    given = torch.from_numpy(rows[:, -heard:].astype(np.float32))
    return augmenter(given, draws, WINDOW), np.stack([draws.speed, draws.pitch], 1) / 100


def tone(hertz: float, seconds: float = 4.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)


def clicks(places: list[int]) -> np.ndarray:
    """Short bursts of noise, so many samples before the end."""
    sound = np.zeros(4 * RATE)
    for place in places:
        sound[-place : -place + 160] = np.random.default_rng(place).standard_normal(160) * 0.1
    return sound


def peak_hertz(audio: torch.Tensor) -> float:
    spectrum = torch.fft.rfft(audio * torch.hann_window(len(audio)), 1 << 18).abs()
    return float(spectrum.argmax()) * RATE / (1 << 18)


def burst(audio: torch.Tensor, place: float) -> float:
    """How many samples before the end the loudest is, within 50 ms of a place."""
    near = slice(len(audio) - round(place) - 800, len(audio) - round(place) + 800)
    energy = torch.nn.functional.avg_pool1d(audio[None, near].square(), 160, 1)[0]
    return len(audio) - (near.start + int(energy.argmax()))


@pytest.mark.parametrize("hertz", [100.0, 440.0, 2_500.0])
def test_tempo_keeps_the_pitch_and_pitch_moves_by_its_semitones(hertz: float) -> None:
    stretched, drawn = augmented(tone(hertz), OFF.changed({"tempo_probability": 1, "tempo": (0.7, 1.5)}))
    assert np.ptp(drawn[:, 0]) > 0.5 and (drawn[:, 1] == 1).all()
    found = np.asarray([peak_hertz(one) for one in stretched])
    assert np.abs(1_200 * np.log2(found / hertz)).max() < 12  # cents: far below what is drawn
    shifted, drawn = augmented(tone(hertz), OFF.changed({"pitch_probability": 1, "pitch_semitones": (-4, 4)}))
    assert (drawn[:, 0] == 1).all() and drawn[:, 1].min() < 0.85 and drawn[:, 1].max() > 1.18
    found = np.asarray([peak_hertz(one) for one in shifted])
    assert np.abs(1_200 * np.log2(found / (hertz * drawn[:, 1]))).max() < 12
    for sound in (stretched, shifted):  # no piece stands against the one before
        level = sound.unfold(1, 1_600, 1_600).square().mean(2).sqrt()[:, :-1]
        assert float(level.min()) > 0.9 * 0.3 / np.sqrt(2)


def test_tempo_moves_sound_in_time_and_pitch_does_not() -> None:
    places = [4_000, 11_000]
    stretched, drawn = augmented(clicks(places), OFF.changed({"tempo_probability": 1, "tempo": (0.8, 1.3)}))
    for row, (tempo, _) in zip(stretched, drawn, strict=True):
        assert [burst(row, place / tempo) for place in places] == pytest.approx(
            [one / tempo for one in places], abs=200
        )
    shifted, drawn = augmented(clicks(places), OFF.changed({"pitch_probability": 1, "pitch_semitones": (-4, 4)}))
    assert np.ptp(drawn[:, 1]) > 0.3
    for row in shifted:
        assert [burst(row, place) for place in places] == pytest.approx(places, abs=200)


def test_speed_tempo_and_pitch_are_drawn_apart_and_work_together() -> None:
    config = OFF.changed({"speed_probability": 0.5, "tempo_probability": 0.5, "pitch_probability": 0.5})
    keys = np.arange(4_000, dtype=np.uint64)
    drawn, before = (
        draw(keys, keys % 4 == 0, one, NO_MATERIALS) for one in (config, OFF.changed({"speed_probability": 0.5}))
    )
    assert (before.speed == before.pitch).all() and (drawn.key == before.key).all()
    apart = drawn.speed != drawn.pitch
    assert not apart[keys % 4 == 0].any() and apart[keys % 4 > 0].mean() == pytest.approx(0.74, abs=0.04)
    tempo, pitch = drawn.speed / before.speed, drawn.pitch / before.speed
    assert tempo.min() == pytest.approx(0.85, abs=0.01) and tempo.max() == pytest.approx(1.2, abs=0.01)
    assert pitch.min() == pytest.approx(2 ** (-2 / 12), abs=0.01) and pitch.max() == pytest.approx(
        2 ** (2 / 12), abs=0.01
    )
    assert abs(np.corrcoef(tempo[keys % 4 > 0], pitch[keys % 4 > 0])[0, 1]) < 0.06
    sound, factors = augmented(tone(300), config)
    assert [peak_hertz(one) for one in sound] == pytest.approx((300 * factors[:, 1]).tolist(), rel=0.007)


def test_a_row_is_the_same_alone_and_beside_others() -> None:
    sound = np.random.default_rng(0).standard_normal(6 * RATE) * 0.1
    config = OFF.changed({"tempo_probability": 0.7, "tempo": (0.6, 1.9), "pitch_probability": 0.7})
    together, _ = augmented(sound, config)
    alone = torch.cat([augmented(sound, config, KEYS[[row]])[0] for row in range(len(KEYS))])
    assert torch.equal(together, alone)


def test_tempo_1_changes_nothing_and_silence_stays_in_place() -> None:
    sound = torch.from_numpy(np.random.default_rng(0).integers(-9_000, 9_000, (2, 30_000)) / 32_768).float()
    sound[1, 9_000:-9_000] = 0
    torch.testing.assert_close(stretch_from_end(sound, np.ones(2), WINDOW, RATE), sound[:, -WINDOW:], atol=1e-6, rtol=0)
    before = stretch_from_end(sound[:, :1_000], np.full(2, 1.25), WINDOW, RATE)
    assert not before[:, : -1_000 - 200].any() and before[:, -700:].any()
