"""Rooms are measured as they were made, and those that are no impulse responses are warned of."""

from pathlib import Path

import numpy as np
import pytest

from wakeword_core.audio import write_audio
from wakeword_core.config import Config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Judgement
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


def checked(folder: Path, sounds: dict[str, np.ndarray], **checks: float) -> Judgement:
    """What the check says of a build whose training split has such rooms, beside one recording without the word."""
    for name, sound in sounds.items():
        write_audio(folder / "rooms" / f"{name}.wav", sound / 32_768, RATE)
    write_audio(folder / "other" / "0.wav", np.random.default_rng(1).normal(0, 0.1, RATE), RATE)
    roles = {"rooms": "rir", "other": "negative"} if sounds else {"other": "negative"}
    sources = [{"name": name, "path": str(folder / name), "role": roles[name], "split": "train"} for name in roles]
    audio = {"silence_dbfs": -90.0}  # above that, what is this quiet is left out as silent
    settings = {
        "data": {"sources": sources, "audio": audio},
        "checks": checks,
        "compute": {"device": "cpu", "workers": 1},
    }
    project = Project(Config.model_validate(settings), folder / "home")
    project.build("raw_manifest")
    project.build("audio_shards", "train")
    return next(one for one in project.verdicts("audio_shards", "train") if one.check == "rooms_fit")


def test_the_check_has_a_table_of_all_rooms_and_names_the_bad_ones(tmp_path: Path) -> None:
    good = checked(tmp_path / "good", {"hall": room(0.6), "box": room(0.2)})
    assert good.passed and "2 recordings of rooms are fit" in good.description
    table = {row["recording"]: row for row in good.figures["rooms"]}
    assert {name: round(row["rt60_seconds"], 1) for name, row in table.items()} == {"hall.wav": 0.6, "box.wav": 0.2}
    assert table["hall.wav"]["sample_rate"] == RATE
    quiet = room(0.2, peak=0.009)
    bad = checked(tmp_path / "bad", {"hall": room(0.6), "quiet": quiet}, longest_rt60_seconds=0.4)
    assert not bad.passed and bad.severity == "warning"
    assert "2 of 2 recordings of rooms are not fit to be mixed in: " in bad.description
    assert "hall.wav rings for 0." in bad.description and "quiet.wav is too quiet" in bad.description
    assert {row["recording"]: row["problems"] for row in bad.figures["rooms"]}["quiet.wav"] == "is too quiet"
    none = checked(tmp_path / "none", {})
    assert none.passed and none.description == "there are no recordings of rooms in this split"
