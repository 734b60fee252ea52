"""Rooms are measured as they were made, and those that are no impulse responses are warned of."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.graph.stage import CheckRun, Verdict
from wakeword_core.graph.stages import shards
from wakeword_core.recordings.rooms import measure_room

RATE = 16_000


def room(rt60: float, direct_db: float = 6.0, seconds: float = 2.0, peak: float = 0.5, lead: int = 40) -> np.ndarray:
    """A direct sound, and after 5 ms decaying noise that is `direct_db` weaker altogether."""
    time = np.arange(round(seconds * RATE)) / RATE
    tail = np.random.default_rng(1).standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    tail[: round(0.005 * RATE)] = 0
    tail *= 10 ** (-direct_db / 20) / np.linalg.norm(tail)
    tail[0] = 1.0
    sound = np.pad(tail, (lead, 0))
    return np.rint(sound / np.abs(sound).max() * peak * 32_767).astype(np.int16)


@pytest.mark.parametrize(("rt60", "direct_db"), [(0.2, 10.0), (0.6, 0.0), (1.2, -5.0)])
def test_reverberation_and_direct_sound_are_those_of_the_room(rt60: float, direct_db: float) -> None:
    found = measure_room(room(rt60, direct_db), RATE)
    assert found.rt60_seconds == pytest.approx(rt60, rel=0.15) and found.direct_db == pytest.approx(direct_db, abs=0.3)
    assert found.seconds == pytest.approx(2.0025) and found.peak_dbfs == pytest.approx(-6.0, abs=0.1)
    assert found.problems(1.5) == []


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        (room(0.5)[::-1], "has no direct path"),  # all comes before the loudest
        (room(0.5, direct_db=-20.0), "has no direct path"),
        (room(3.0, seconds=4.0), "rings for 3.0 s"),
        (room(0.5, peak=0.008), "is too quiet"),
        (np.full(8_000, 9_000, np.int16), "has no direct path"),  # neither is a hum
        (np.zeros(0, np.int16), "is too quiet"),
    ],
)
def test_what_is_no_good_impulse_response_is_said(sound: np.ndarray, said: str) -> None:
    problems = measure_room(sound, RATE).problems(1.5)
    assert any(one.startswith(said[:10]) for one in problems), problems


def verdict(monkeypatch: pytest.MonkeyPatch, sounds: dict[str, np.ndarray], **checks: float) -> Verdict:
    """What the check says of shards with such rooms, and a manifest that lists them."""
    import pandas as pd

    from wakeword_core.recordings import manifest
    from wakeword_core.shards import packed_split

    rows = [{"recording_id": name, "path": f"{name}.wav", "sample_rate": 48_000, "role": "rir"} for name in sounds]
    columns = ["recording_id", "path", "sample_rate", "role"]
    monkeypatch.setattr(manifest, "read_manifest", lambda *_, **__: pd.DataFrame(rows, columns=columns))
    packed = [SimpleNamespace(recording_id=name, audio=sound) for name, sound in sounds.items()]
    monkeypatch.setattr(packed_split, "iter_recordings", lambda *_, **__: iter(packed))
    nothing: Any = None
    given: Any = {"raw_manifest": SimpleNamespace(path=None)}
    run = CheckRun(Config.model_validate({"checks": checks}), given, "train", nothing)
    return shards.rooms_fit(SimpleNamespace(path=None), run)  # type: ignore[arg-type]


def test_the_check_has_a_table_of_all_rooms_and_names_the_bad_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    good = verdict(monkeypatch, {"hall": room(0.6), "box": room(0.2)})
    assert good.passed and "2 recordings of rooms are fit" in good.description
    table = good.figures["rooms"]
    assert [row["recording"] for row in table] == ["hall.wav", "box.wav"]
    assert [round(row["rt60_seconds"], 1) for row in table] == [0.6, 0.2] and table[0]["sample_rate"] == 48_000
    bad = verdict(monkeypatch, {"hall": room(0.6), "quiet": room(0.2, peak=0.005)}, longest_rt60_seconds=0.4)
    assert not bad.passed and bad.severity is None
    assert "2 of 2 recordings of rooms are not fit to be mixed in: hall.wav rings for 0." in bad.description
    assert "quiet.wav is too quiet" in bad.description and bad.figures["rooms"][1]["problems"] == "is too quiet"
    assert verdict(monkeypatch, {}).description == "there are no recordings of rooms in this split"
