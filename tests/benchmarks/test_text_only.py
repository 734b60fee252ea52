"""What is tested of a word that was taught by text, and what its figures mean."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import elsewhere
import few_shot
import numpy as np
import pytest
import text_only

from wakeword_core.config import Config, DetectorConfig
from wakeword_core.errors import DataError
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.graph.project import Project

RATE = 16_000


def given(*arguments: str) -> argparse.Namespace:
    return text_only.text_parser("", text_only.EVERY_RUN, "").parse_args(["--audio-root", "x", *arguments])


def write(path: Path, seed: int) -> None:
    import soundfile

    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.02, RATE // 2), RATE)


@pytest.fixture
def recordings(tmp_path: Path) -> list[dict[str, Any]]:
    """Sources as `folds.text_sources` gives them, of a few noises each."""
    trees = []
    for number, (name, role, split) in enumerate(
        [("alexa", "positive", "test")]
        + [(f"talk-{split}", "negative", split) for split in ("train", "val", "test")]
        + [(f"hum-{split}", "noise", split) for split in ("train", "val", "test")]
    ):
        for index in range(4):
            write(tmp_path / name / f"{index:04}.wav", 10 * number + index)
        trees.append({"name": name, "path": str(tmp_path / name), "role": role, "split": split})
    return trees


def voices(folder: Path) -> Path:
    """Recordings as another synthesis would leave them: eight speakers, each in every folder."""
    for number, name in enumerate(("positive", "hard_negative", "words")):
        for index in range(8):
            write(folder / name / f"{index:05}_voice-{index}_en-us.wav", 1_000 + 100 * number + index)
    return folder


def test_words_of_other_voices_are_learnt_by_speaker_and_never_tested(
    tmp_path: Path, recordings: list[dict[str, Any]]
) -> None:
    folder = voices(tmp_path / "voices")
    config = text_only.text_config(
        "alexa", recordings, given("--voices", str(folder), "--set", "synthesis.positives=7")
    )
    assert config.synthesis.enabled and config.synthesis.positives == 7 and config.synthesis.words == 1_600
    assert [s.name for s in config.data.sources if s.synthetic] == [
        s.name for s in config.data.sources if s.name.startswith("voices0")
    ]
    project = Project(config.changed({"synthesis.enabled": False}), tmp_path / "home")
    project.build("raw_manifest")
    found = text_only.recordings_by_split(project)
    assert found["test"] == {"alexa": 4}
    assert set(found) == {"train", "val", "test"}
    assert found["train"]["voices0-positive"] + found["val"]["voices0-positive"] == 8
    rows = text_only.read_manifest(project.require("raw_manifest").path)
    made = rows[rows["source"].str.startswith("voices0")]
    assert set(made["split"]) == {"train", "val"} and (made.groupby("speaker")["split"].nunique() == 1).all()
    assert dict(made.groupby("source")["role"].first())["voices0-words"] == "negative"


def test_a_folder_without_voices_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the folders positive, hard_negative, negative, words"):
        list(text_only.voice_sources(tmp_path, 0))


def streams() -> tuple[StreamScores, Config]:
    """An hour in which something scores 0.5; of four words two are above it when clean, and one in noise."""
    times = np.arange(0, 3_600, 0.04)

    def session(condition: Condition | None, peaks: dict[float, float]) -> SessionScores:
        scores = np.full(len(times), 0.01)
        for moment, score in peaks.items():
            scores[np.abs(times - moment) < 0.3] = score
        words = () if condition is None else tuple(Word("alexa", f"w{t}", t - 0.3, t + 0.3) for t in peaks)
        stranger = SourceSpan("jarvis-test", "stranger", 1_800, 3_600, role="negative", spoken=0.7)
        spans = (SourceSpan("keywords", "r", 0, 1_800, role="positive", spoken=0.6), stranger)
        return SessionScores(condition, times, scores, np.ones(len(times), int), words, spans)

    clean = session(Condition(None), {10: 0.9, 20: 0.8, 30: 0.4, 40: 0.3})
    noisy = session(Condition(10.0), {10: 0.7, 20: 0.4, 30: 0.3, 40: 0.2})
    scores = StreamScores((clean, noisy, session(None, {2_000: 0.5})), ("_negative", "alexa"))
    return scores, text_only.text_config("alexa", [], given())


def test_misses_are_read_off_for_each_condition_by_itself() -> None:
    scores, config = streams()
    found = text_only.read_off_test(scores, config, config.evaluation.detector)
    assert [found["missed"][name]["0.5"]["frr"] for name in ("clean", "10 dB")] == [0.5, 0.75]
    assert [found["missed"][name]["1"]["frr"] for name in ("clean", "10 dB")] == [0, 0]
    low, high = found["missed"]["clean"]["0.5"]["interval"]
    assert low < 0.5 < high
    assert found["at_headline"]["strangers"] == {"accepted": 0, "of": 1}


def test_what_is_let_in_is_told_at_the_threshold_that_was_chosen() -> None:
    scores, config = streams()
    evaluation, detector = config.evaluation, config.evaluation.detector
    result = text_only.evaluate_streams(scores, 0.45, evaluation, detector)
    found = text_only.at_threshold(result, scores, config, detector)
    assert found["strangers"] == {"accepted": 1, "of": 1} and found["fah"] == 1
    assert found["missed"]["clean"]["frr"] == 0.5 and found["missed"]["10 dB"]["frr"] == 0.75


def test_what_synthetic_voices_say_in_the_test_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two words one is synthetic and missed, of three alarms two are at synthetic recordings."""
    times = np.arange(0, 100, 0.04)

    def session(condition: Condition | None, names: dict[float, tuple[str, float]]) -> SessionScores:
        scores = np.full(len(times), 0.01)
        for moment, (_, score) in names.items():
            scores[np.abs(times - moment) < 0.3] = score
        spans = tuple(SourceSpan(name, f"r{t}", t - 5, t + 5) for t, (name, _) in names.items())
        spoken = tuple(Word("alexa", f"r{t}", t - 0.3, t + 0.3, name) for t, (name, _) in names.items())
        words = () if condition is None else spoken
        return SessionScores(condition, times, scores, np.ones(len(times), int), words, spans)

    said = {20: ("alexa-test", 0.9), 40: ("synthetic_positive_kokoro_test", 0.1)}
    heard = {20: ("talk-test", 0.9), 40: ("synthetic_negative_kokoro_test", 0.9)}
    alike = {20: ("synthetic_hard_negative_kokoro_test", 0.9)}
    every = StreamScores(
        (*(session(condition, said) for condition in text_only.CONDITIONS), session(None, heard)),
        ("_negative", "alexa"),
        (session(None, alike),),
    )
    monkeypatch.setattr(text_only, "score_streams", lambda *given: every)
    trees = [
        {"name": name, "path": "x", "role": role, "split": "test"}
        for name, role in (("alexa-test", "positive"), ("talk-test", "negative"))
    ]
    config = text_only.text_config("alexa", trees, given())
    scores = text_only.scores_of_real(lambda pcm: (pcm, pcm), Path("x"), config, lambda *told: None)
    assert scores.words == 2 and scores.background_hours == pytest.approx(10 / 3_600)
    found = text_only.evaluate_streams(scores, 0.5, config.evaluation, config.evaluation.detector)
    assert (found.misses, found.false_alarm_count, found.confusables) == (0, 1, 0)


def test_the_loudest_recordings_are_those_with_the_highest_peak_however_their_scores_rise() -> None:
    times = np.arange(0, 4 * (elsewhere.LOUDEST + 1), 0.04)
    scores = np.full(len(times), 0.01)
    spans = []
    for number in range(elsewhere.LOUDEST + 1):
        start = 4.0 * number
        spans.append(SourceSpan("slow" if number == 7 else "fast", f"r{number}", start, start + 4))
        scores[(times >= start + 1) & (times < start + 2)] = 0.9 if number == 7 else 0.5
    slow = (times >= 28.5) & (times < 29)
    scores[slow] = 0.1
    session = SessionScores(None, times, scores, np.ones(len(times), int), (), tuple(spans))
    found = elsewhere.loudest_sources(StreamScores((session,), ("_negative", "alexa")), Config(), DetectorConfig())
    assert found == {"fast": elsewhere.LOUDEST - 1, "slow": 1}


def result(learnt: int, *frr: float | None) -> dict[str, Any]:
    missed = {
        f"{target:g}": None if one is None else {"frr": one, "interval": [0.0, 1.0]}
        for target, one in zip(text_only.TARGETS, frr, strict=True)
    }
    chosen = {"missed": {name: {"frr": 0.5, "interval": [0.0, 1.0]} for name in ("clean", "10 dB")}, "fah": 1.0}
    return {
        "run": "alexa:0",
        "learnt": learnt,
        "words": 4,
        "missed": {"clean": missed, "10 dB": missed},
        "at_headline": {"strangers": {"accepted": 1, "of": 2}, "short_phrases": {"accepted": 0, "of": 3}},
        "chosen_on_validation": chosen,
    }


def test_a_mean_is_missing_where_one_word_cannot_reach_it() -> None:
    found = text_only.summary([result(0, None, 0.4, 0.2, 0.1), result(0, 0.1, 0.2, 0, 0)], given())
    assert found["mean_frr_at_fah"]["10 dB"] == {
        "0.1": None,
        "0.5": pytest.approx(0.3),
        "1": pytest.approx(0.1),
        "2": pytest.approx(0.05),
    }


def test_a_few_recordings_are_learnt_for_each_count_and_the_counts_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def sources(root: Path, word: str, fold: int, elsewhere: bool, learnt: int, tested: float) -> list[dict[str, Any]]:
        asked.append((word, learnt, tested))
        return []

    def tested(name: str, config: Config, given: argparse.Namespace, progress: object) -> dict[str, Any]:
        learnt = int(name.rpartition("+")[2])
        return result(learnt, *[1 / (2 + learnt)] * 4)

    monkeypatch.setattr(few_shot, "text_sources", sources)
    monkeypatch.setattr(few_shot, "tested", tested)
    arguments = ["few_shot.py", "--audio-root", "x", "--runs", "alexa:0", "jarvis:1", "--counts", "8", "0"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert few_shot.main() == 0
    assert asked == [(word, count, 0.6) for word in ("alexa", "jarvis") for count in (0, 8)]
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["mean_frr_at_fah"]["0"]["clean"]["0.5"] == 0.5
    assert last["mean_frr_at_fah"]["8"]["10 dB"]["2"] == pytest.approx(0.1)
