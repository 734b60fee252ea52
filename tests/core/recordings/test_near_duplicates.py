"""Copies of a recording are known by their sound; the word again by the same voice is not taken for a copy."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from wakeword_core.audio import resample
from wakeword_core.config import ChecksConfig, DataConfig, SourceConfig
from wakeword_core.recordings.manifest import build_manifest, read_fingerprints
from wakeword_core.recordings.near_duplicates import SIZE, BandPowers, fingerprint, near_duplicates
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.workers.local import LocalWorkers

SIMILARITY = ChecksConfig().near_duplicate_similarity
RATE = 16_000


def prints(sound: np.ndarray, rate: int = RATE, block: int = 1 << 20) -> bytes:
    powers = BandPowers(rate)
    for start in range(0, len(sound), block):
        powers.add(sound[start : start + block].astype(np.float32))
    return fingerprint(powers.finish()).tobytes()


def pairs(train: list[bytes], test: list[bytes], similarity: float = SIMILARITY) -> list[tuple[int, int]]:
    frame = pd.DataFrame({"split": ["train"] * len(train) + ["test"] * len(test), "fingerprint": train + test})
    found = near_duplicates(frame, similarity)
    return sorted(zip(found["first"], found["second"] - len(train), strict=True))


@pytest.fixture(scope="module")
def voices() -> list[np.ndarray]:
    """The same words by one voice at different speeds and pitches, with a little noise and quiet around."""
    pytest.importorskip("espeakng_loader")
    from wakeword_core.speech.espeak import Voice, speak

    generator = np.random.default_rng(5)
    sounds = []
    for number in range(8):
        spoken, rate = speak("hey robin", Voice("en-us", "f3"), rate=130 + 10 * number, pitch=35 + 4 * number)
        sound = resample((spoken / 32_768).astype(np.float32), rate, RATE)
        padded = np.pad(sound, (round(0.3 * RATE), round(0.4 * RATE)))
        sounds.append(padded * 0.5 + generator.normal(0, 1e-4, len(padded)))
    return sounds


def encoded(sound: np.ndarray, kind: str, subtype: str) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, sound, RATE, format=kind, subtype=subtype)
    file.seek(0)
    return soundfile.read(file)[0]


COPIES = {
    "encoded": lambda sound: encoded(encoded(sound, "FLAC", "PCM_16"), "OGG", "VORBIS"),
    "quieter": lambda sound: encoded(sound * 0.05, "WAV", "PCM_16"),
    "trimmed": lambda sound: sound[round(0.21 * RATE) : -round(0.17 * RATE)],
    "later": lambda sound: np.concatenate([np.zeros(round(0.1037 * RATE)), sound]),
    "noisier": lambda sound: sound + np.random.default_rng(1).normal(0, 0.002, len(sound)),
    "all of it": lambda sound: encoded(sound[round(0.15 * RATE) : -round(0.1 * RATE)] * 0.3, "OGG", "VORBIS"),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_and_only_the_copy(voices: list[np.ndarray], change: str) -> None:
    copies = [prints(COPIES[change](sound)) for sound in voices]
    assert pairs([prints(sound) for sound in voices], copies) == [(number, number) for number in range(len(voices))]


def test_the_strictest_limit_finds_what_is_equal_and_nothing_else() -> None:
    patches = [one.tobytes() for one in np.random.default_rng(3).integers(-60, 60, (50, SIZE), dtype=np.int8)]
    nearly = [(np.frombuffer(one, np.int8) + 1).astype(np.int8).tobytes() for one in patches]
    assert pairs(patches, patches, 1.0) == [(number, number) for number in range(len(patches))]
    assert pairs(patches, nearly, 1.0) == []


def test_a_copy_at_another_sample_rate_is_found(voices: list[np.ndarray]) -> None:
    low = prints(resample(voices[0].astype(np.float32), RATE, 8_000), 8_000)
    high = prints(resample(voices[0].astype(np.float32), RATE, 44_100), 44_100)
    assert pairs([prints(voices[0])], [low, high]) == [(0, 0), (0, 1)]


def test_the_word_again_by_the_same_voice_is_no_copy(voices: list[np.ndarray]) -> None:
    assert pairs([prints(sound) for sound in voices[::2]], [prints(sound) for sound in voices[1::2]]) == []


def test_noises_of_the_same_colour_and_length_are_no_copies_but_a_cut_of_one_is() -> None:
    generator = np.random.default_rng(2)
    noises = [np.convolve(generator.normal(0, 0.1, 30 * RATE), np.ones(8) / 8) for _ in range(3)]
    cut = noises[0][round(1.3 * RATE) :] * 0.5
    assert pairs([prints(one) for one in noises], [prints(cut)]) == [(0, 0)]
    assert pairs([prints(noises[0])], [prints(one) for one in noises[1:]]) == []


def test_blocks_do_not_matter_and_silence_is_like_nothing(voices: list[np.ndarray]) -> None:
    assert prints(voices[0], block=777) == prints(voices[0])
    assert len(prints(voices[0])) % SIZE == 0
    assert prints(np.zeros(RATE)) == b"" and prints(np.zeros(0)) == b"" and len(prints(np.ones(10))) == SIZE
    assert pairs([b"", prints(voices[0])], [b""]) == []


def test_blocks_of_the_comparison_miss_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a comparison of everything with everything in float64."""
    from wakeword_core.recordings import near_duplicates as module

    generator = np.random.default_rng(4)
    centres = generator.normal(size=(20, SIZE))
    raw = centres[generator.integers(20, size=300)] + generator.normal(0, 0.1, (300, SIZE))
    patches = np.rint(raw / np.linalg.norm(raw, axis=1, keepdims=True) * 211).astype(np.int8)
    frame = pd.DataFrame(
        {"fingerprint": [b"".join(one.tobytes() for one in two) for two in patches.reshape(150, 2, -1)]}
    )
    frame["split"] = generator.choice(["train", "val", "test"], 150)
    unit = patches / np.linalg.norm(patches.astype(float), axis=1, keepdims=True)
    cosine = (unit @ unit.T).reshape(150, 2, 150, 2).max(axis=(1, 3))
    across = frame["split"].to_numpy()[:, None] != frame["split"].to_numpy()[None]
    expected = {frozenset(pair) for pair in np.argwhere((cosine >= 0.99) & across).tolist()}
    monkeypatch.setattr(module, "_BLOCK_ROWS", 7)
    monkeypatch.setattr(module, "_BLOCK_COLUMNS", 11)
    found = near_duplicates(frame, 0.99)
    assert {frozenset(pair) for pair in found[["first", "second"]].to_numpy().tolist()} == expected
    assert len(found) == len(expected) > 50 and found["similarity"].is_monotonic_decreasing
    known = pd.Series(generator.random(150) < 0.8)
    with_others = {pair for pair in expected if not known[list(pair)].all()}
    found = near_duplicates(frame, 0.99, known)
    assert {frozenset(pair) for pair in found[["first", "second"]].to_numpy().tolist()} == with_others
    assert 0 < len(with_others) < len(expected)


def test_the_manifest_keeps_fingerprints_and_does_not_decode_twice(
    voices: list[np.ndarray], tmp_path: Path, cache: ScanCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wakeword_core.recordings import measuring

    for split, sound in (("train", voices[0]), ("test", COPIES["encoded"](voices[0])), ("test", voices[3])):
        folder = tmp_path / split
        folder.mkdir(exist_ok=True)
        soundfile.write(folder / f"{len(list(folder.iterdir()))}.ogg", sound, RATE)
    sources = [SourceConfig(name=one, path=tmp_path / one, role="negative", split=one) for one in ("train", "test")]
    build_manifest(sources, DataConfig(), "robin", 1, cache, tmp_path / "out", workers=LocalWorkers(1))
    rows = read_fingerprints(tmp_path / "out")
    names = rows["source"] + "/" + rows["path"]
    found = near_duplicates(rows, SIMILARITY)
    assert [(names[one.first], names[one.second]) for one in found.itertuples()] == [("train/0.ogg", "test/0.ogg")]
    monkeypatch.setattr(measuring, "measure_sound", None)
    build_manifest(sources, DataConfig(), "robin", 1, cache, tmp_path / "again", workers=LocalWorkers(1))
    assert read_fingerprints(tmp_path / "again").equals(rows)
