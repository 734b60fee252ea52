"""The files for microcontrollers of two models on the same made-up streams, and what the comparison makes of them."""

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pymicro_wakeword
import pytest

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.graph.stages import comparison
from wakeword_core.registry import trial
from wakeword_core.registry.trial import device_errors
from wakeword_core.store.artifacts import Artifact, ArtifactStore, Build

MODELS = Path(pymicro_wakeword.__file__).parent / "models"
CONFIG = Config.model_validate({"evaluation": {"conditions": {"tuning": {"snr_db": [None]}}}})
RUN, WORDS, APART = 0.03, 12, 100
LEVEL = 220
"""Of every word, of 256; an alarm of the background has 180."""


@pytest.fixture(autouse=True)
def imagined_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words that are all equally loud, and an hour in which something is a little less loud each minute."""

    def streams(*arguments: object, **more: object) -> StreamScores:
        scores = np.zeros(WORDS * APART + 50)
        ends = [APART * (number + 1) for number in range(WORDS)]
        for end in ends:
            scores[end - 10 : end] = LEVEL / 256
        times = RUN * np.arange(1, len(scores) + 1)
        words = tuple(
            Word("hey robin", f"{end:064}", RUN * (end - 20), RUN * end, "people", begin=RUN * (end - 20))
            for end in ends
        )
        span = (SourceSpan("people", "a" * 64, 0.0, float(times[-1])),)
        said = SessionScores(Condition(None), times, scores, np.ones(len(scores), np.int64), words, span)
        hour = np.zeros(round(3_600 / RUN))
        for minute in range(60):
            start = round((60 * minute + 30) / RUN)
            hour[start : start + 10] = 180 / 256
        moments = RUN * np.arange(1, len(hour) + 1)
        street = (SourceSpan("street", "b" * 64, 0.0, 3_600.0),)
        background = SessionScores(None, moments, hour, np.ones(len(hour), np.int64), (), street)
        return StreamScores((said, background), ("_negative", "hey robin"))

    monkeypatch.setattr(trial, "score_streams", streams)


def write_file(folder: Path, cutoff: float) -> Path:
    """A real model whose manifest has this cutoff; what it hears is made up."""
    shutil.copyfile(MODELS / "alexa.tflite", folder / "alexa.tflite")
    manifest = json.loads((MODELS / "alexa.json").read_text())
    manifest["micro"] |= {"probability_cutoff": cutoff, "sliding_window_size": 5}
    (folder / "alexa.json").write_text(json.dumps(manifest))
    return folder / "alexa.tflite"


class Home:
    """A store in which the champion has a bundle, and with it a file for microcontrollers."""

    def __init__(self, folder: Path) -> None:
        self.store = ArtifactStore(folder / "store")

    def artifact(self, stage: str, *inputs: Artifact, cutoff: float | None = None, made: bool = True) -> Artifact:
        def make(build: Build) -> None:
            build.figures = {"made": made, "model": "alexa.tflite"}
            if cutoff is not None:
                write_file(build.path, cutoff)

        sources = {one.stage: {"stage": one.stage, "key": one.key, "content": one.content} for one in inputs}
        return self.store.build(stage, sources, {"cutoff": cutoff, "made": made}, "1", make)[0]

    def compared(self, mine: Artifact | None, champion: Artifact) -> "list[trial.Contrast]":
        inputs = {"audio_shards[test]": self.artifact("audio_shards")}
        run = SimpleNamespace(
            config=CONFIG, store=self.store, progress=None, inputs=inputs | ({"tflite_model": mine} if mine else {})
        )
        return comparison.compare_devices(run, champion)  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_errors_are_those_at_the_cutoff_of_the_manifest(tmp_path: Path) -> None:
    found = device_errors(write_file(tmp_path, 0.8), tmp_path, CONFIG)
    assert (found.missed, found.words, found.recordings) == (frozenset(), WORDS, WORDS)
    assert found.background_hours == pytest.approx(1.0) and found.false_alarms == []
    low = device_errors(write_file(tmp_path, 0.6), tmp_path, CONFIG)
    assert len(low.false_alarms) == 60 and low.false_alarms[1].time == pytest.approx(90.0, abs=0.5)
    assert {alarm.recording_id for alarm in low.false_alarms} == {"b" * 64}
    high = device_errors(write_file(tmp_path, 0.95), tmp_path, CONFIG)
    assert len(high.missed) == WORDS and (f"{APART:064}", "clean") in high.missed


@pytest.mark.parametrize(
    ("mine", "theirs", "against"),
    [
        (0.8, 0.8, []),
        (0.95, 0.8, ["missed by alexa.tflite at its cutoff"]),
        (0.6, 0.8, ["false alarms an hour of alexa.tflite at its cutoff"]),
        (0.8, 0.95, []),
        (0.8, 0.6, []),
    ],
)
def test_a_file_that_lost_more_than_the_rule_allows_speaks_against_its_model(
    home: Home, mine: float, theirs: float, against: list[str]
) -> None:
    champion, file = home.artifact("onnx_model"), home.artifact("tflite_model", cutoff=theirs)
    home.artifact("model_bundle", champion, file)
    rows = home.compared(home.artifact("tflite_model", cutoff=mine), champion)
    assert [row.name for row in rows if row.worse(CONFIG.registry)] == against
    if against:
        (told,) = [row.described(CONFIG.registry) for row in rows if row.worse(CONFIG.registry)]
        assert told.startswith(f"{against[0]} {'100 % against 0 %' if mine > theirs else '60 against 0'} (")


def test_only_where_both_have_a_file_there_is_something_to_compare(home: Home) -> None:
    champion, mine = home.artifact("onnx_model"), home.artifact("tflite_model", cutoff=0.8)
    assert home.compared(mine, champion) == []
    home.artifact("model_bundle", champion)
    assert home.compared(mine, champion) == []
    home.artifact("model_bundle", champion, home.artifact("tflite_model", made=False))
    assert home.compared(mine, champion) == []
    home.artifact("model_bundle", champion, home.artifact("tflite_model", cutoff=0.7))
    assert home.compared(None, champion) == home.compared(home.artifact("tflite_model", made=False), champion) == []
    assert len(home.compared(mine, champion)) == 2


def test_a_damaged_file_of_the_champion_is_said_and_not_taken_for_none(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    champion, file = home.artifact("onnx_model"), home.artifact("tflite_model", cutoff=0.7)
    home.artifact("model_bundle", champion, file)
    path, mine = file.file("alexa.tflite"), home.artifact("tflite_model", cutoff=0.8)
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk does it
    with pytest.raises(ArtifactError, match=rf"the files of the champion {champion.key} are damaged"):
        home.compared(mine, champion)
    path.unlink()
    assert (
        home.compared(mine, champion) == []
        and f"tflite_model {file.key} of the champion is gone or damaged" in caplog.text
    )
