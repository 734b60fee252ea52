"""Models of every kind as teachers: what they say of rows is what they say of the same sound in use."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_project import Toy

from wakeword_core.config import Config
from wakeword_core.errors import ConfigError
from wakeword_core.export.onnx_export import export_onnx
from wakeword_core.features.store import FeatureFile, load_windows
from wakeword_core.graph.project import Project
from wakeword_core.lineage.given import GivenModel, find_given
from wakeword_core.models.scoring import load_model, model_card, new_model, save_model
from wakeword_core.runtime.exported import MODEL_FILE
from wakeword_core.teaching.rows import Source, score_rows
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.teaching.teachers import Teacher, open_teacher, require_fitting

POINTS: dict[str, Any] = {
    "threshold": 0.5,
    "operating_points": {},
    "detector": Config().evaluation.detector.model_dump(),
}


def opened(path: Path) -> Teacher:
    return open_teacher(GivenModel("teacher", path, "outside_model", "k", "c"), "cpu", threads=1)


def source(toy: Toy, **changes: Any) -> Source:
    project, config = toy.project(), toy.config.changed(changes)
    features = project.require("mel_features", "train").path
    return Source(features, toy.shards(), (), config)


def trained(toy: Toy) -> Path:
    return toy.project().require("trained_model").path


def exported(toy: Toy, folder: Path) -> Path:
    model, card = load_model(trained(toy))
    export_onnx(model, {**card, **POINTS}, toy.config.export.onnx, folder)
    return folder / MODEL_FILE


def by_windows(toy: Toy, scores: TeacherScores) -> torch.Tensor:
    """What the trained model says of the window before each step: log-probabilities [rows, classes, steps]."""
    model, _ = load_model(trained(toy))
    rows = load_windows(toy.project().require("mel_features", "train").path).mel
    with torch.inference_mode():
        said = [model.calibrated_logits(rows[:, :, end + 1 - model.frames : end + 1]) for end in scores.ends.tolist()]
    return torch.log_softmax(torch.stack(said, dim=2), dim=1)


@pytest.mark.parametrize("kind", ["weights", "onnx"])
def test_scores_are_those_of_the_window_before_each_step(kind: str, toy: Toy, tmp_path: Path) -> None:
    teacher = opened(trained(toy) if kind == "weights" else exported(toy, tmp_path))
    scores = score_rows(teacher, source(toy), "cpu")
    windows = load_windows(toy.project().require("mel_features", "train").path)
    assert len(scores) == len(windows) and scores.last == windows.mel.shape[2] - 1 and scores.step_frames == 3
    said = scores.log_probabilities[:, 0].float()
    known = scores.ends >= toy.config.features.frontend.window_frames - 1
    whole = replace(scores, log_probabilities=scores.log_probabilities[..., known])
    torch.testing.assert_close(said[..., known], by_windows(toy, whole), rtol=2e-3, atol=5e-3)
    if kind == "weights":  # which sees fewer frames than a window has, and so says something earlier
        assert int((~known).sum()) > 0 and bool(said.isfinite().all())


def test_steps_are_as_far_apart_as_the_setting_says(toy: Toy) -> None:
    teacher = opened(trained(toy))
    fine = score_rows(teacher, source(toy), "cpu")
    coarse = score_rows(teacher, source(toy, **{"training.teacher.step_frames": 9}), "cpu")
    alike = fine.log_probabilities[..., (fine.last - fine.ends) % 9 == 0]
    assert torch.equal(coarse.log_probabilities, alike) and alike.shape[3] > 1


@pytest.mark.parametrize("change", ["hop", "rate"])
def test_a_teacher_with_a_front_end_of_its_own_hears_the_sound(change: str, toy: Toy, tmp_path: Path) -> None:
    """It says of rows what it says of features that are built for it, at the same moments."""
    frontend = {"hop": {"hop_length": 120, "window_frames": 43}, "rate": {"f_max": 3_900.0}}[change]
    changes = {f"features.frontend.{name}": value for name, value in frontend.items()}
    config = toy.config.changed(changes | ({"data.audio.sample_rate": 8_000} if change == "rate" else {}))
    torch.manual_seed(3)
    model = new_model(config)
    save_model(tmp_path / "teacher", model, model_card(config))
    teacher = opened(tmp_path / "teacher")
    given = source(toy)
    assert not teacher.takes_features(given.config)
    require_fitting(teacher, given.config)
    scores = score_rows(teacher, given, "cpu")
    assert bool(scores.log_probabilities[..., -4:].isfinite().all())
    if change == "rate":
        return
    project = Project(config, tmp_path / "home")
    for stage, split in (("raw_manifest", None), ("audio_shards", "train"), ("mel_features", "train")):
        project.build(stage, split)
    built = project.require("mel_features", "train").path
    own = load_windows(built)
    clean = own.views == 0
    with torch.inference_mode():
        said = torch.log_softmax(model.eval().logits(own.mel[clean][:, :, -model.frames :]), dim=1)
    mine = load_windows(given.features)
    found = scores.log_probabilities[mine.views == 0, 0, :, -1].float()
    # both rows end at the same sample where a word is in them
    words, theirs = mine.labels[mine.views == 0] > 0, own.labels[clean] > 0
    my_ids, their_ids = (FeatureFile(folder).column("recording_ids") for folder in (given.features, built))
    order = np.argsort(my_ids[(mine.views == 0).numpy()][words.numpy()])
    other = np.argsort(their_ids[clean.numpy()][theirs.numpy()])
    torch.testing.assert_close(found[words][order], said[theirs][other], rtol=0.02, atol=0.02)


def test_a_judge_teaches_by_what_it_says_at_each_of_its_looks(toy: Toy, tmp_path: Path) -> None:
    pytest.importorskip("pyopen_wakeword", reason="needs the extra `judge`: Google's speech embedding")
    pytest.importorskip("ai_edge_litert", reason="needs the extra `judge`: what reads the embedding's file")
    from wakeword_core.config.judge import JudgeHeadConfig
    from wakeword_core.judge.embedding import STEP_SAMPLES, speech_embedding
    from wakeword_core.judge.export import HOPS_HEARD, export_judge
    from wakeword_core.judge.head import JudgeHead, JudgeHeads
    from wakeword_core.runtime.judge_file import Judge

    torch.manual_seed(4)
    heads = JudgeHeads([JudgeHead(1, JudgeHeadConfig(channels=8))]).eval()
    asked = {"hop_samples": STEP_SAMPLES, "hops": HOPS_HEARD, "gate": 0.0, "hangover_seconds": 0.0, "made_for": ""}
    export_judge(speech_embedding(), heads, {**model_card(toy.config), **POINTS, "judge": asked}, 17, 1e-3, tmp_path)
    path = tmp_path / "judge.onnx"
    teacher = opened(path)
    with pytest.raises(ConfigError, match=r"hears 1\.\d+ s, but training rows are 0\.\d+ s"):
        require_fitting(teacher, toy.config)
    sound = torch.randn(2, 32_000) * 0.05
    ends = torch.tensor([32_000 - STEP_SAMPLES, 32_000 - 500, 32_000])
    said = teacher.score(sound, ends)
    judge = Judge(path)
    for number, end in enumerate((32_000 - STEP_SAMPLES, 32_000, 32_000)):
        expected = judge.score_sound(sound[:, end - judge.window_samples : end].numpy())
        np.testing.assert_allclose(said[:, :, number].exp().numpy(), expected, atol=1e-4)
    assert bool(teacher.score(sound, torch.tensor([judge.window_samples - STEP_SAMPLES])).isnan().all())


def test_classes_are_put_in_the_order_of_the_student() -> None:
    def score(heard: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        return torch.arange(3.0)[None, :, None].expand(len(heard), -1, len(ends))

    teacher = Teacher("t", ("_negative", "robin", "cat"), 16_000, None, 1, score)
    said = teacher.with_classes(("_negative", "cat", "robin"))(torch.zeros(2, 10), torch.tensor([4]))
    assert said[0, :, 0].tolist() == [0.0, 2.0, 1.0]


def test_a_teacher_of_another_word_is_refused_with_both_named(toy: Toy) -> None:
    teacher = replace(opened(trained(toy)), labels=("_negative", "cat"))
    with pytest.raises(ConfigError, match=r"the teacher teacher tells 'cat' apart, .* to tell 'robin'"):
        require_fitting(teacher, toy.config)


def test_a_stream_is_no_teacher(toy: Toy, tmp_path: Path) -> None:
    (tmp_path / "model.streaming.onnx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"name the model\.onnx beside it"):
        opened(tmp_path / "model.streaming.onnx")


def test_a_model_is_found_by_key_folder_and_file(toy: Toy, tmp_path: Path) -> None:
    project = toy.project()
    artifact = project.require("trained_model")
    by_key = find_given(artifact.key[:10], project.store)
    by_folder, by_file = (
        find_given(str(path), project.store) for path in (artifact.path, artifact.path / "model.json")
    )
    assert by_key.source == by_folder.source == by_file.source
    assert by_key.source == {"stage": "trained_model", "key": artifact.key, "content": artifact.content}
    outside = find_given(str(exported(toy, tmp_path)), project.store)
    assert outside.stage == "outside_model" and not outside.has_weights and len(outside.content) == 64
    assert find_given(str(tmp_path), project.store).source == outside.source
    for name, said in (("abcdef12", "no model with the key"), (str(tmp_path / "x"), "there is no model at")):
        with pytest.raises(ConfigError, match=said):
            find_given(name, project.store)
    with pytest.raises(ConfigError, match=r"is mel_features\[train\] .* no model"):
        find_given(project.require("mel_features", "train").key, project.store)
