"""The arithmetic of the benchmark of words: what is read off a fold, and what several folds say together."""

import argparse
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import words

from wakeword_core.config import Config
from wakeword_core.evaluation.streams.build import SourceSpan, Word
from wakeword_core.evaluation.streams.conditions import Condition
from wakeword_core.evaluation.streams.scores import SessionScores, StreamScores
from wakeword_core.graph.project import Project
from wakeword_core.graph.stages import STAGES


def one_fold(word: str, fold: int, frr: dict[str, float | None], clips: int = 100) -> words.Tested:
    return words.Tested(word, fold, frr, clips, 2.0, 5, 1, 1.0, "key")


def at(*frr: float | None) -> dict[str, float | None]:
    return dict(zip(("0.1", "0.5", "1", "2"), frr, strict=True))


def test_folds_count_by_their_words_and_an_unreachable_one_is_told() -> None:
    found = words._word_figures(
        "alexa", [one_fold("alexa", 0, at(None, 0.1, 0.1, 0)), one_fold("alexa", 1, at(0, 0, 0, 0), 300)]
    )
    assert found["frr_at_fah"] == {"0.1": None, "0.5": pytest.approx(0.025), "1": pytest.approx(0.025), "2": 0}
    assert found["words"] == 400 and found["background_hours"] == 4
    assert found["chosen_on_validation"] == {"frr": 10 / 400, "fah": 2 / 4}


def test_no_more_is_built_than_the_exported_model_takes() -> None:
    built: list[tuple[str, str | None]] = []

    def build(stage: str, split: str | None) -> tuple[str, bool]:
        built.append((stage, split))
        return f"{stage} artifact", True

    project = SimpleNamespace(build=build, stages={stage.name: stage for stage in STAGES})
    assert words.built_up_to_onnx(project, "here") == "onnx_model artifact"
    assert built[-1] == ("onnx_model", None) and ("mel_features", "test") in built
    of = {stage.name: {one.stage for one in stage.inputs} for stage in STAGES}
    assert of["onnx_model"] <= {stage for stage, _ in built} and "metrics_report" not in {stage for stage, _ in built}


def test_a_teacher_is_built_of_its_preset_alone_and_named_by_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built: list[Config] = []

    def build(project: Project, name: str) -> SimpleNamespace:
        built.append(project.config)
        return SimpleNamespace(key="abcdef123456")

    monkeypatch.setattr(words, "built_up_to_onnx", build)
    monkeypatch.setattr(words, "sources", lambda *given: [])
    given = argparse.Namespace(
        preset="balanced", teacher="accurate", set=["training.teacher.share=0.3"], home=tmp_path, words=0,
        audio_root=tmp_path,
    )  # fmt: skip
    config = words.word_config("alexa", 0, given)
    student = words.taught(config, "alexa", 0, given)
    assert student.training.teacher.models == ("abcdef123456",) and student.training.teacher.share == 0.3
    assert built[0].training.model.members == 3 and built[0].training.teacher == Config().training.teacher
    assert built[0].data == student.data and student.training.model == config.training.model
    given.teacher = None
    assert words.taught(config, "alexa", 0, given) is config and len(built) == 1


def test_some_folds_are_no_ratio_to_the_goal() -> None:
    results = [words._word_figures(word, [one_fold(word, 0, at(0.1, 0.05, 0, 0))]) for word in words.WORDS]
    given = argparse.Namespace(runs=list(words.EVERY_RUN), preset="accurate", teacher=None, set=[])
    assert words._summary(results, given)["ratio"] == pytest.approx(0.03 / 0.05)
    given.runs = given.runs[:3]
    some = words._summary(results, given)
    assert some["ratio"] is None and some["folds"] == "3 of 9" and some["mean_frr_at_fah"]["0.5"] == pytest.approx(0.05)


def test_thresholds_are_read_off_with_the_exported_models_detector() -> None:
    """A mean over eight scores does not hear a word of one; the score by itself is heard."""
    times = np.arange(750) * 0.08
    scores = np.where(np.isclose(times, 5.6), 0.9, 0.01)
    one = np.ones(len(times), dtype=int)
    spoken = (Word("hey robin", "w", 5.0, 5.8),)
    streams = StreamScores(
        (
            SessionScores(None, times, np.full(len(times), 0.2), one, (), (SourceSpan("s", "b", 0, 60),)),
            SessionScores(Condition(10.0), times, scores, one, spoken, (SourceSpan("s", "p", 0, 60),)),
        ),
        ("_negative", "hey robin"),
    )
    config = Config.model_validate(
        {"evaluation": {"conditions": {"test": {"snr_db": [10.0]}, "tuning": {"snr_db": [10.0]}}}}
    )
    by_itself, smoothed = (config.evaluation.detector.model_copy(update={"smoothing": n, "votes": 0}) for n in (1, 8))
    assert words.read_off(streams, config, by_itself, words.TARGETS)["0.5"] == 0
    assert words.read_off(streams, config, smoothed, words.TARGETS)["0.5"] is None
