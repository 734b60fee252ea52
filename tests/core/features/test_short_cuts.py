"""A probe names what gives wake words away besides their sound, and finds nothing where nothing does."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wakeword_core.audio import encode_wav
from wakeword_core.config import Config, FeaturesConfig, Split
from wakeword_core.features import short_cuts
from wakeword_core.features.short_cuts import LEAST_RECORDINGS, find_short_cuts, measure, told_apart, told_by
from wakeword_core.graph.stage import CheckRun, Judgement, Verdict
from wakeword_core.graph.stages.features import no_short_cuts
from wakeword_core.recordings.row import RecordingRow
from wakeword_core.shards.packed_split import shard_name
from wakeword_core.shards.shard_file import write_recordings

RATE = 16_000
FEATURES = FeaturesConfig()
FLOOR = FEATURES.frontend.log_floor
Floats = np.ndarray


def recorded(random: np.random.Generator, lead: float = 0.5, tail: float = 0.5, noise: float = 0.002) -> Floats:
    """A burst of sound of about half a second in a little noise, float [samples]."""
    length = random.uniform(0.4, 0.6)
    lead, tail = (seconds * random.uniform(0.8, 1.2) for seconds in (lead, tail))
    sound = random.normal(0, noise * random.uniform(0.8, 1.2), round((lead + length + tail) * RATE))
    first, last = round(lead * RATE), round((lead + length) * RATE)
    sound[first:last] += random.normal(0, 0.1 * random.uniform(0.7, 1.3), last - first)
    return sound


def pcm(sound: Floats) -> np.ndarray:
    return (np.clip(sound, -1, 1) * 32_767).astype(np.int16)


def shards(folder: Path, words: list[Floats], others: list[Floats], role: str = "negative", speakers: int = 10) -> Path:
    """A shard of wake words and other recordings."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, sound in enumerate([*words, *others]):
        name, kind = ("robin", "positive") if number < len(words) else ("_negative", role)
        speaker = f"{kind}{number % speakers}"
        row = RecordingRow(f"{number:064x}", name, kind, speaker, "s", len(sound) / RATE, np.nan, np.nan)
        rows.append((row, encode_wav(pcm(sound), RATE)))
    write_recordings(folder / shard_name(0), rows, RATE)
    return folder


def made(seed: int, count: int = 60, **how: float) -> list[Floats]:
    random = np.random.default_rng(seed)
    return [recorded(random, **how) for _ in range(count)]


def low_passed(sounds: list[Floats]) -> list[Floats]:
    """The same sounds as a telephone would leave them."""
    kept = []
    for sound in sounds:
        spectrum = np.fft.rfft(sound)
        spectrum[np.fft.rfftfreq(len(sound), 1 / RATE) > 3_500] = 0
        kept.append(np.fft.irfft(spectrum, len(sound)))
    return kept


GIVE_AWAYS: dict[str, list[Floats]] = {
    "noise before the sound (s)": made(1, lead=1.2),
    "noise after the sound (s)": made(1, tail=1.2),
    "noise beside the sound (dBFS)": made(1, noise=0.0006),
    "length of the sound (s)": [np.concatenate([one[: RATE // 2], one[RATE // 2 :].repeat(2)]) for one in made(1)],
    "level (dBFS)": [0.3 * one for one in made(1, noise=0.0066)],
    "clipped samples": [np.where(np.abs(one) > 0.25, np.sign(one), one) for one in made(1)],
}


@pytest.mark.parametrize("role", ["negative", "hard_negative"])
@pytest.mark.parametrize("name", GIVE_AWAYS)
def test_what_gives_the_word_away_is_named(tmp_path: Path, name: str, role: str) -> None:
    (found,) = find_short_cuts(shards(tmp_path, GIVE_AWAYS[name], made(2), role), FEATURES, RATE)
    assert (found.role, found.words, found.others) == (role, 60, 60)
    assert found.together > 0.95
    first, auc = next(iter(found.alone.items()))
    assert auc > 0.95 and (first == name or found.alone[name] > 0.95)


def test_a_telephones_bandwidth_is_named(tmp_path: Path) -> None:
    (found,) = find_short_cuts(shards(tmp_path, low_passed(made(1)), made(2)), FEATURES, RATE)
    assert found.alone["bandwidth (kHz)"] == 1 and found.together > 0.99
    assert found.medians["bandwidth (kHz)"] == (pytest.approx(3.75), 8)


def test_where_nothing_differs_nothing_is_found(tmp_path: Path) -> None:
    (found,) = find_short_cuts(shards(tmp_path, made(1, 150), made(2, 150)), FEATURES, RATE)
    assert found.together < 0.65 and max(found.alone.values()) < 0.65


def test_noise_that_the_front_end_does_not_show_is_no_short_cut(tmp_path: Path) -> None:
    quiet = {"noise": 3e-5}
    words, others = made(1, lead=1.2, **quiet), made(2, noise=6e-5)
    (found,) = find_short_cuts(shards(tmp_path / "deaf", words, others), FEATURES, RATE)
    assert found.together < 0.75
    sharper = FeaturesConfig.model_validate({"frontend": {"log_floor": 1e-9}})
    (found,) = find_short_cuts(shards(tmp_path / "sharp", words, others), sharper, RATE)
    assert found.together > 0.95


@pytest.mark.parametrize(("words", "others"), [(LEAST_RECORDINGS - 1, 60), (60, LEAST_RECORDINGS - 1), (0, 60)])
def test_of_few_recordings_nothing_is_said(tmp_path: Path, words: int, others: int) -> None:
    assert find_short_cuts(shards(tmp_path, made(1, words, lead=1.2), made(2, others)), FEATURES, RATE) == []


def test_recordings_without_any_sound_are_not_counted(tmp_path: Path) -> None:
    silent = [np.zeros(RATE)] * 30
    assert find_short_cuts(shards(tmp_path, made(1, 30) + silent, made(2)), FEATURES, RATE) == []


def test_speakers_are_on_one_side_of_a_fold() -> None:
    """A measure that is each speaker's own says nothing of the next one; by recording it would tell all."""
    random = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 10)
    is_word = speakers % 2 == 0
    values = (random.normal(size=(20, 6))[speakers] + random.normal(0, 0.01, (200, 6))).astype(np.float64)
    own = np.array([f"speaker{one}" for one in speakers])
    each = np.array([f"recording{one}" for one in range(200)])
    assert told_apart(values, is_word, own) < 0.8 < 0.9 < told_apart(values, is_word, each)


def test_one_speaker_of_a_kind_is_no_hindrance() -> None:
    is_word = np.arange(80) < 40
    speakers = np.where(is_word, "a", "b")
    assert told_apart(np.where(is_word, 1.0, 0.0)[:, None], is_word, speakers) == 1


def test_a_measure_that_lies_between_those_of_the_others_gives_a_word_away() -> None:
    values, is_word = np.array([3.07, 3.07, 3.07, 1.0, 2.0, 4.0, 5.0]), np.arange(7) < 3
    assert told_by(values, is_word) == 1
    assert told_by(-np.arange(4.0), np.array([True, True, False, False])) == 1


def test_the_row_is_that_of_training_and_silence_is_not_noise() -> None:
    random = np.random.default_rng(0)
    sound = np.concatenate([random.normal(0, 0.002, RATE), random.normal(0, 0.1, RATE // 2), np.zeros(RATE)])
    found = measure(pcm(sound), 2 * RATE, RATE, RATE, FLOOR)
    assert found is not None
    assert found["length of the sound (s)"] == pytest.approx(0.5, abs=0.03)
    assert found["noise before the sound (s)"] == pytest.approx(1.0, abs=0.04)
    assert found["noise after the sound (s)"] == pytest.approx(0, abs=0.04)
    shorter = measure(pcm(sound), round(0.7 * RATE), RATE, RATE, FLOOR)
    assert shorter is not None and shorter["noise before the sound (s)"] == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize("samples", [1, 100, RATE // 50])
def test_a_recording_shorter_than_a_frame_is_measured(samples: int) -> None:
    found = measure(np.full(samples, 9_000, np.int16), RATE, RATE, RATE, FLOOR)
    assert found is not None and all(np.isfinite(list(found.values())))


def test_a_telephones_rate_has_no_high_frequencies() -> None:
    sound = np.random.default_rng(0).normal(0, 0.1, 8_000)
    found = measure(pcm(sound), 8_000, 8_000, 8_000, FLOOR)
    assert found is not None and "noise above 4 kHz (dB)" not in found and found["bandwidth (kHz)"] == 4


def verdict(folder: Path, split: Split = "train", limit: float = 0.85) -> Verdict:
    """What the check says of features that were made from the shards in a folder."""
    config = Config.model_validate({"checks": {"short_cut_auc": limit}})
    made_from: Any = {f"audio_shards[{split}]": SimpleNamespace(path=folder)}
    nothing: Any = None
    return no_short_cuts(nothing, CheckRun(config, made_from, split, nothing))


def test_the_check_names_the_measure_that_gives_most_away(tmp_path: Path) -> None:
    found = verdict(shards(tmp_path, made(1, lead=1.2), made(2)))
    assert not found.passed and found.severity is None
    assert "wake words are told from negatives with a ROC-AUC of 0.999 (0.85 are allowed)" in found.description
    assert "most by noise before the sound (s): 1.000 by itself, median 1.18 against 0.50" in found.description
    assert "add other words that were recorded as the wake word was" in found.description
    assert found.figures["against"]["negative"]["measures"]["noise before the sound (s)"]["auc"] == 1


def test_the_check_holds_where_nothing_differs_and_at_its_limit(tmp_path: Path) -> None:
    found = verdict(shards(tmp_path, made(1), made(2)))
    assert found.passed and "instead of the word" not in found.description
    assert verdict(shards(tmp_path / "told", made(1, lead=1.2), made(2)), limit=1).passed


def test_what_was_looked_at_before_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(tmp_path, made(1), made(2))
    first = verdict(folder)
    monkeypatch.setattr(short_cuts, "find_short_cuts", lambda *_: pytest.fail("measured again"))
    earlier = Judgement("no_short_cuts", False, True, "warning", first.description, first.figures)
    nothing: Any = None
    made_from: Any = {"audio_shards[train]": SimpleNamespace(path=folder)}
    config = Config.model_validate({"checks": {"short_cut_auc": 0.85}})
    run = CheckRun(config, made_from, "train", nothing, lambda: [(nothing, earlier)])
    assert no_short_cuts(nothing, run) == first
    for other in ({"checks.short_cut_auc": 0.9}, {"features.windows.tail_seconds": 0.3}):
        with pytest.raises(pytest.fail.Exception):
            no_short_cuts(nothing, replace(run, config=config.changed(other)))


def test_a_short_cut_does_not_pay_where_one_kind_of_recordings_is_made_alike(tmp_path: Path) -> None:
    folder = shards(tmp_path, made(1, lead=1.2), made(2))
    extra = shards(tmp_path / "extra", [], made(3, lead=1.2), "hard_negative")
    (extra / shard_name(0)).rename(folder / shard_name(1))
    found = verdict(folder)
    assert found.passed and "told from hard negatives" in found.description
    assert found.figures["against"]["negative"]["auc"] > 0.99


def test_the_check_says_when_it_can_say_nothing(tmp_path: Path) -> None:
    found = verdict(shards(tmp_path, made(1, 39), made(2)))
    assert found.passed and "fewer than 40 recordings" in found.description
    assert verdict(tmp_path / "not there", split="val").description == "only what is learnt from is looked at"
