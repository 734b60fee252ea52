"""What a model learns from teachers: their scores beside its labels, in their shares, and resumed to the bit."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sweeps_to_train import (
    CMVN,
    CONTEXT,
    LONG,
    QUICK,
    TAUGHT,
    TINY_TCN,
    VAL,
    KilledError,
    config_for,
    history,
    oracle,
    same_weights,
    weights,
    windows_for,
)

from wakeword_core.config import TcnConfig, TinyConvConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.features.store import WindowSet
from wakeword_core.models.scoring import load_model
from wakeword_core.teaching.scores import TeacherScores, load_scores, scores_file, targets_of
from wakeword_core.training.loop import train
from wakeword_core.training.losses import distances_to
from wakeword_core.training.processes import load_job, save_job
from wakeword_core.training.run import Job


def taught(share: float = 0.8, **training: Any) -> Any:
    teacher = {**TAUGHT, "share": share, **training.pop("teacher", {})}
    return config_for(TcnConfig(**TINY_TCN), CONTEXT, teacher=teacher, **training)


def distance(folder: Path, rows: WindowSet, teacher: TeacherScores) -> float:
    """How far the model in a folder is from a teacher, on rows that neither need have seen."""
    model, _ = load_model(folder)
    with torch.inference_mode():
        logits = model.backbone.dense(model.normalise(rows.mel))
    ends = model.backbone.output_frames(rows.mel.shape[2]).expand(len(rows), -1)
    targets = targets_of(teacher.at(ends), [1.0], 1.0)
    return float(distances_to(targets, logits, 1.0).mean())


def test_of_few_wrong_labels_a_good_teacher_makes_a_student_like_itself(tmp_path: Path) -> None:
    rows, strangers = windows_for(1, rows=24, context=CONTEXT), windows_for(9, rows=80, context=CONTEXT)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(2))
    kinds = {name: getattr(rows, name)[order] for name in ("labels", "roles", "word_ends")}
    wrong = replace(rows, **kinds)
    far = {}
    for name, share in (("labels", 0.0), ("taught", 0.8)):
        train(wrong, VAL, CMVN, taught(share, **QUICK), tmp_path / name, teacher=oracle(rows))
        far[name] = distance(tmp_path / name, strangers, oracle(strangers))
    assert far["taught"] < 0.6 * far["labels"], far


@pytest.mark.parametrize("model", [TcnConfig(**TINY_TCN, dropout=0.3, members=2), TinyConvConfig(channels=4)], ids=str)
def test_a_teacher_without_a_share_changes_no_bit(model: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"schedule": {"epochs": 2}, "augment": {"mixup_alpha": 0.3}}
    train(LONG, VAL, CMVN, config_for(model, CONTEXT, **settings), tmp_path / "plain")
    config = config_for(model, CONTEXT, teacher={**TAUGHT, "share": 0}, **settings)
    train(LONG, VAL, CMVN, config, tmp_path / "none", teacher=oracle(LONG))
    assert same_weights(tmp_path / "plain", tmp_path / "none")
    config = config_for(model, CONTEXT, teacher={**TAUGHT, "share": 0.5}, **settings)
    train(LONG, VAL, CMVN, config, tmp_path / "half", teacher=oracle(LONG))
    assert not same_weights(tmp_path / "plain", tmp_path / "half")


def test_rows_that_a_teacher_says_nothing_about_count_by_their_labels(tmp_path: Path) -> None:
    """As those of mined clips do, which come after the training rows."""
    silent = replace(oracle(LONG), log_probabilities=torch.full_like(oracle(LONG).log_probabilities, torch.nan))
    train(LONG, VAL, CMVN, taught(schedule={"epochs": 2}), tmp_path / "silent", teacher=silent)
    train(LONG, VAL, CMVN, config_for(None, CONTEXT, schedule={"epochs": 2}), tmp_path / "plain")
    assert same_weights(tmp_path / "silent", tmp_path / "plain")
    more = oracle(LONG).padded(len(LONG) + 2)
    assert torch.equal(more.log_probabilities[:-2], oracle(LONG).log_probabilities)
    assert bool(more.log_probabilities[-2:].isnan().all()) and len(more) == len(LONG) + 2


def test_labels_count_beside_a_teacher(tmp_path: Path) -> None:
    """A teacher that hears nothing anywhere does not keep a student from hearing the word, but where it is all."""
    far = {}
    for share in (0.3, 1.0):
        train(LONG, VAL, CMVN, taught(share, **QUICK), tmp_path / str(share), teacher=oracle(LONG, heard=0.02))
        far[share] = distance(tmp_path / str(share), LONG, oracle(LONG))
    assert far[0.3] < 0.8 * far[1.0], far


def test_a_training_that_was_ended_goes_on_to_the_same_bits(term_raises: None, tmp_path: Path) -> None:
    """Killed after its first epoch, then stopped in the middle of its second."""
    config = taught(schedule={"epochs": 3}, sampling={"steps_per_epoch": 4})

    def kill(record: Any) -> None:
        raise KilledError

    def stop(what: str, done: int, total: int) -> None:
        if done == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    train(LONG, VAL, CMVN, config, tmp_path / "whole", teacher=oracle(LONG))
    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", on_epoch=kill, teacher=oracle(LONG))
    with pytest.raises(InterruptedError):
        train(LONG, VAL, CMVN, config, tmp_path / "parts", stop, teacher=oracle(LONG))
    assert len(history(tmp_path / "parts")) == 1
    train(LONG, VAL, CMVN, config, tmp_path / "parts", teacher=oracle(LONG))
    assert same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_checkpoint_of_another_teacher_is_not_gone_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def kill(record: Any) -> None:
        raise KilledError

    config = taught(schedule={"epochs": 2})
    with pytest.raises(KilledError):
        train(LONG, VAL, CMVN, config, tmp_path, on_epoch=kill, teacher=oracle(LONG))
    records: list[Any] = []
    train(LONG, VAL, CMVN, config, tmp_path, on_epoch=records.append, teacher=oracle(LONG, heard=0.6))
    assert records[0].epoch == 1 and "other data or settings" in caplog.text


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path) -> None:
    """With mixed rows, whose teachers are mixed in the same shares."""
    for name, micro_batch in (("whole", 0), ("parts", 4)):
        config = taught(
            schedule={"epochs": 1},
            sampling={"micro_batch": micro_batch, "steps_per_epoch": 1},
            augment={"mixup_alpha": 0.5, "noise_probability": 0.0},
            optimizer={"kind": "sgd", "momentum": 0.0},
        ).changed({"training.model.dropout": 0.0})
        train(LONG, VAL, CMVN, config, tmp_path / name, teacher=oracle(LONG))
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    # batch norms see the rows of their part only
    torch.testing.assert_close(
        whole["backbone.classifier.weight"], parts["backbone.classifier.weight"], rtol=0, atol=2e-3
    )


def test_teachers_are_averaged_by_their_weights_and_their_softened_odds() -> None:
    one, other = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.2, 0.8]).log()
    said = torch.stack([one, other])[None, :, :, None].expand(1, 2, 2, 3).clone()
    said[0, 1, :, 1] = torch.nan  # where one says nothing, the other counts alone
    said[0, :, :, 2] = torch.nan
    found = targets_of(said, [3.0, 1.0], 1.0)[0]
    torch.testing.assert_close(found[:, 0], torch.tensor([0.725, 0.275]))
    torch.testing.assert_close(found[:, 1], torch.tensor([0.9, 0.1]))
    assert found[:, 2].tolist() == [0.0, 0.0]
    torch.testing.assert_close(targets_of(said, [1.0, 1.0], 2.0)[0, :, 1], torch.tensor([0.75, 0.25]))


def test_the_distance_is_none_from_what_is_alike_and_grows_with_the_temperature_as_slopes_shrink() -> None:
    logits = torch.tensor([[[2.0, -1.0], [0.0, 0.0]]], requires_grad=True)
    alike = torch.softmax(logits.detach() / 3, dim=1)
    assert distances_to(alike, logits, 3.0).item() == pytest.approx(0, abs=1e-6)
    other = torch.tensor([[[0.1, 0.0], [0.9, 0.0]]])  # at the second step nobody says anything
    apart = 0.1 * torch.log(torch.tensor(0.1)) + 0.9 * torch.log(torch.tensor(0.9))
    expected = apart - (other * torch.log_softmax(logits.detach(), dim=1)).sum()
    torch.testing.assert_close(distances_to(other, logits, 1.0).detach(), expected[None])
    assert distances_to(torch.zeros_like(other), logits, 1.0).item() == 0.0
    distances_to(other, logits, 1.0).sum().backward()
    assert logits.grad is not None and logits.grad[0, :, 1].tolist() == [0.0, 0.0]


def test_scores_are_of_the_nearest_step_and_of_none_before_the_first() -> None:
    scores = TeacherScores(torch.arange(8.0).view(1, 1, 2, 4).half(), 3, 20)
    assert scores.ends.tolist() == [11, 14, 17, 20]
    said = scores.chosen(torch.tensor([0, 0])).at(torch.tensor([[20, 19, 18], [12, 11, 9]]))
    assert said[0, 0, 0].tolist() == [3.0, 3.0, 2.0]
    assert said[1, 0, 1, :2].tolist() == [4.0, 4.0] and bool(said[1, 0, :, 2].isnan().all())


def test_teachers_that_begin_to_speak_later_are_read_beside_the_others(tmp_path: Path) -> None:
    oracle(LONG).save(tmp_path / scores_file(1))
    late = replace(oracle(LONG), log_probabilities=oracle(LONG).log_probabilities[..., 4:])
    late.save(tmp_path / scores_file(2))
    both = load_scores(tmp_path)
    assert both.log_probabilities.shape[1] == 2 and torch.equal(both.ends, oracle(LONG).ends)
    assert bool(both.log_probabilities[:, 1, :, :4].isnan().all())
    assert torch.equal(both.log_probabilities[:, 1, :, 4:], late.log_probabilities[:, 0])
    replace(late, step_frames=2).save(tmp_path / scores_file(2))
    with pytest.raises(ArtifactError, match="about other rows"):
        load_scores(tmp_path)
    (tmp_path / scores_file(1)).write_bytes(b"not scores")
    with pytest.raises(ArtifactError, match="holds no scores of a teacher"):
        load_scores(tmp_path)
    with pytest.raises(ArtifactError, match="holds no scores of teachers"):
        load_scores(tmp_path / "nowhere")


def test_scores_of_other_rows_are_refused(tmp_path: Path) -> None:
    for teacher in (oracle(LONG).padded(81), replace(oracle(LONG), last=LONG.mel.shape[2])):
        with pytest.raises(DataError, match="build the scores again"):
            train(LONG, VAL, CMVN, taught(), tmp_path, teacher=teacher)


def test_other_processes_hear_of_the_teacher(tmp_path: Path) -> None:
    save_job(Job(LONG, VAL, CMVN, taught(), teacher=oracle(LONG)), tmp_path)
    found = load_job(tmp_path).teacher
    assert found is not None and torch.equal(found.log_probabilities, oracle(LONG).log_probabilities)
    save_job(Job(LONG, VAL, CMVN, config_for(None, CONTEXT)), tmp_path / "plain")
    assert load_job(tmp_path / "plain").teacher is None
