"""Mining and tuning as stages of a real, if small, project."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from toy_project import MINING, Toy

from wakeword_core.config import Config
from wakeword_core.errors import ArtifactError
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, CheckRun, Judgement, Verdict
from wakeword_core.graph.stages import STAGES, mining
from wakeword_core.graph.stages import tuning as tuning_stage
from wakeword_core.mining import tuning
from wakeword_core.mining.clips import read_clips
from wakeword_core.mining.tuning import no_worse, tuning_config, validation_figures
from wakeword_core.progress import silent
from wakeword_core.recordings import manifest
from wakeword_core.shards.packed_split import iter_recordings
from wakeword_core.store.artifacts import Artifact
from wakeword_core.store.parts import Parts
from wakeword_core.training.records import HISTORY, read_history
from wakeword_core.training.validation import ValidationFigures


class KilledError(Exception):
    """Stands for whatever ends a build."""


def build(project: Project) -> tuple[Artifact, Artifact]:
    return project.build("mined_negatives")[0], project.build("tuned_model")[0]


def verdicts(project: Project, artifact: Artifact) -> dict[str, Judgement]:
    """What the checks of a stage find, as the project measures and records it."""
    return {verdict.check: verdict for verdict in project.verdicts(artifact.stage)}


def garble(folder: Path) -> int:
    """Overwrite files where they lie, so that they seem whole and nothing in them can be read."""
    paths = [path for path in folder.rglob("*") if path.suffix in (".parquet", ".h5")]
    for path in paths:
        stat = path.stat()
        path.unlink()
        path.write_bytes(b"\0" * stat.st_size)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return len(paths)


def contents(artifact: Artifact) -> dict[str, str]:
    return {name: entry.sha256 for name, entry in artifact.files.items() if name != HISTORY}


def at_sweeps(clips: pd.DataFrame) -> "pd.Series[bool]":
    """Whether a clip ends with one of the background's sweeps: each begins at second 1 or 3 and lasts 0.3 s."""
    return (clips["time"] % 2).between(1.1, 1.5) & (clips["from_role"] == "background")


@pytest.fixture(scope="module")
def built(toy: Toy) -> tuple[Project, Artifact, Artifact]:
    project = toy.project(**MINING)
    return project, *build(project)


def test_the_false_alarms_of_the_background_are_mined(toy: Toy, built) -> None:
    project, mined, _ = built
    found = read_clips(mined.path)
    sweeps = at_sweeps(found)
    assert set(found["source"]) <= {"train-background", "train-negative"}
    assert sweeps.sum() == 6 and set(found.loc[sweeps, "from_role"]) == {"background"}  # two a recording
    lasts = found["from_role"].map({"background": 4.0, "negative": 0.6})
    assert (found.loc[~sweeps, "time"] > lasts[~sweeps]).all()  # where sound breaks off, as it does behind a word
    assert mined.figures["listened"] == 15 and mined.figures["clips"] == len(found)
    assert all(one.passed for one in verdicts(project, mined).values())


def test_tuning_lowers_the_scores_of_the_clips_and_keeps_what_is_no_worse(built) -> None:
    project, mined, tuned = built
    figures = tuned.figures
    assert figures["tuned"] and figures["mined_clips"] == mined.figures["clips"]
    # a row aligned on the window that scored and two that slide over the clip (one where its sound breaks off),
    # each in two views
    sweeps = at_sweeps(read_clips(mined.path)).sum()
    assert figures["mined_windows"] == 6 * sweeps + 4 * (mined.figures["clips"] - sweeps)
    assert figures["mean_clip_score_tuned"] < figures["mean_clip_score"]
    trained = project.require("trained_model")
    assert figures["kept"] and contents(tuned)["model.safetensors"] != contents(trained)["model.safetensors"]
    assert figures["val_pauc"] == figures["tuned_val_pauc"] >= figures["base_val_pauc"]
    assert figures["base_val_loss"] == trained.figures["val_loss"]
    assert [record.epoch for record in read_history(tuned.file(HISTORY))] == [1, 2, 3, 4]
    assert set(tuned.files) == set(trained.files)
    assert contents(tuned)["model.json"] == contents(trained)["model.json"]
    verdict = verdicts(project, tuned)["tuning_not_worse"]
    assert verdict.passed and verdict.figures["pauc_after"] == pytest.approx(figures["val_pauc"], abs=1e-4)


@pytest.mark.parametrize("keep", ["better", "always"])
def test_weights_that_are_worse_on_validation_are_kept_only_if_so_asked(
    keep: str, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flawless = ValidationFigures(loss=0.0, auc=1.0, pauc=1.0, f1=1.0, frr=0.0)
    monkeypatch.setattr(tuning, "validation_figures", lambda *_: flawless)  # nothing that is tuned is better
    settings = {**MINING, "tuning": {"keep": keep, "epochs": 2}}
    project = toy.project(toy.copy(tmp_path / "home"), **settings)
    tuned = build(project)[1]
    trained = project.require("trained_model")
    figures = tuned.figures
    assert figures["tuned"] and figures["kept"] is (keep == "always")
    after, before = ((figures[f"{one}_val_pauc"], -figures[f"{one}_val_loss"]) for one in ("tuned", "base"))
    assert after < before and figures["val_loss"] == figures["tuned_val_loss" if figures["kept"] else "base_val_loss"]
    same = contents(tuned)["model.safetensors"] == contents(trained)["model.safetensors"]
    assert same is not figures["kept"]
    assert len(read_history(tuned.file(HISTORY))) == 2  # of the attempt
    verdict = verdicts(project, tuned)["tuning_not_worse"]
    if figures["kept"]:
        assert verdict.passed or verdict.severity == "warning"
    else:
        assert verdict.description == "the trained model as it was"


def test_a_rate_that_was_found_is_the_trainings_and_the_share_of_it_the_tunings(toy: Toy, tmp_path: Path) -> None:
    config = toy.project(**MINING).config.changed(
        {"training.schedule.learning_rate": "auto", "training.schedule.kind": "constant"}
    )
    project = Project(config, toy.copy(tmp_path / "home"))
    trained, _ = project.build("trained_model")
    found = trained.figures["learning_rate"]
    assert [record.learning_rate for record in read_history(trained.file(HISTORY))] == [found] * 3
    _, tuned = build(project)
    assert tuned.figures["tuned"]
    share = config.mining.tuning.learning_rate_fraction
    assert read_history(tuned.file(HISTORY))[-1].learning_rate == pytest.approx(found * share)


def judge(check: Check, artifact: Artifact, project: Project, config: Config | None = None) -> Verdict:
    """What a check finds now, whatever is recorded."""
    inputs = {wanted.name(None): project.require(wanted.stage, wanted.at(None)) for wanted in check.inputs}
    return check.run(artifact, CheckRun(config or project.config, inputs, None, project.store))


def test_the_check_sees_a_model_that_suffered(toy: Toy, built, monkeypatch: pytest.MonkeyPatch) -> None:
    project, _, tuned = built
    before = validation_figures(project.require("trained_model").path, _val(toy), project.config, "cpu")
    figures = iter((before, replace(before, pauc=before.pauc - 0.05)))
    monkeypatch.setattr(tuning, "validation_figures", lambda *_: next(figures))
    (check,) = tuning_stage.STAGE.checks
    assert not judge(check, tuned, project).passed


@pytest.mark.parametrize(
    ("metric", "worse", "better"),
    [("loss", {"loss": 0.02}, {"pauc": -0.05, "loss": -0.02}), ("frr", {"frr": 0.4}, {"pauc": -0.05, "frr": 1 / 6})],
)
def test_the_check_goes_by_the_metric_that_the_model_was_kept_by(
    metric: str, worse: dict, better: dict, toy: Toy, built, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else weights that were kept by one metric would end the build by another."""
    project, _, tuned = built
    before = validation_figures(project.require("trained_model").path, _val(toy), project.config, "cpu")
    tree = project.config.model_dump(mode="json")
    tree["training"]["validation"]["metric"] = metric
    config = Config.model_validate(tree)
    (check,) = tuning_stage.STAGE.checks
    for change, passes in ((worse, False), (better, True)):
        after = replace(before, **{name: getattr(before, name) + by for name, by in change.items()})
        figures = iter((before, after))
        monkeypatch.setattr(tuning, "validation_figures", lambda *_, figures=figures: next(figures))
        verdict = judge(check, tuned, project, config)
        assert verdict.passed is passes and set(verdict.figures) == {f"{metric}_before", f"{metric}_after"}


def test_clips_are_augmented_with_the_noise_of_the_training_split(toy: Toy, built, tmp_path: Path) -> None:
    """Their own shards hold none."""
    project, mined, _ = built
    tree = project.config.model_dump(mode="json")
    tree["features"]["augment"] |= {"noise_probability": 1, "generated_noise_minutes": 0, "snr_db": [0, 0]}
    tree["features"]["augment"] |= {"rir_probability": 0, "speed_probability": 0, "gain_db": [0, 0]}
    config, parts = Config.model_validate(tree), Parts(tmp_path / "parts")
    noisy, quiet = (
        tuning._mined_windows(
            tuning.Sources(tmp_path, mined.path, shards, tmp_path, tmp_path), config, "cpu", out, parts, silent
        )
        for out, shards in ((tmp_path / "noisy", toy.shards()), (tmp_path / "quiet", mined.path))
    )
    clean = noisy.views == 0
    assert clean.any() and torch.equal(noisy.mel[clean], quiet.mel[clean])
    louder = noisy.mel[~clean].float().mean(dim=(1, 2)) - quiet.mel[~clean].float().mean(dim=(1, 2))
    assert bool((louder > 0.1).all())


def _val(toy: Toy):
    from wakeword_core.features.store import load_windows

    return load_windows(toy.project().require("mel_features", "val").path)


@pytest.mark.parametrize(
    ("pauc", "loss", "expected"), [(0.9, 0.3, True), (0.9, 0.31, False), (0.91, 0.9, True), (0.89, 0.1, False)]
)
def test_what_training_calls_best_decides(pauc: float, loss: float, expected: bool) -> None:
    after, before = ValidationFigures(loss, 0.5, pauc, 0.5, 0.9), ValidationFigures(0.3, 0.99, 0.9, 0.6, 0.1)
    assert no_worse(after, before, "pauc") is expected


def test_other_splits_are_never_read(toy: Toy, built, tmp_path: Path) -> None:
    """Neither their sound nor, but for validation's windows, which the tuning is measured on, their features."""
    home = toy.copy(tmp_path / "home")
    project = toy.project(home, **MINING)
    held_out = [project.require("audio_shards", split).path for split in ("val", "test")]
    validation = project.require("mel_features", "val").path
    windows = {path: path.read_bytes() for path in validation.rglob("*.h5")}
    assert sum(garble(folder) for folder in (*held_out, validation)) >= 5
    with pytest.raises(Exception, match="damaged"):
        list(iter_recordings(held_out[0]))
    for one in ("mined_negatives", "tuned_model"):
        for old in (home / "store" / one).glob("[!.]*"):
            old.rename(old.with_name(f".old-{old.name}"))
    mined, was_built = project.build("mined_negatives")
    assert was_built and mined.content == built[1].content
    for path, data in windows.items():
        path.write_bytes(data)
    tuned, was_built = project.build("tuned_model")
    assert was_built and tuned.content == built[2].content


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_check_fails_when_an_origin_is_held_out(split: str, built, monkeypatch: pytest.MonkeyPatch) -> None:
    project, mined, _ = built
    origin = read_clips(mined.path)["from_recording_id"].iloc[0]
    read = manifest.read_manifest

    def moved(*arguments: Any, **options: Any) -> pd.DataFrame:
        rows = read(*arguments, **options)
        rows.loc[rows["recording_id"] == origin, "split"] = split
        return rows

    monkeypatch.setattr(manifest, "read_manifest", moved)
    check = next(check for check in mining.STAGE.checks if check.name == "mined_from_training")
    verdict = judge(check, mined, project)
    assert not verdict.passed and origin in verdict.description and f"is in {split}" in verdict.description
    assert check.blocking


def test_a_clip_that_the_disk_changed_is_set_aside(toy: Toy, built, tmp_path: Path) -> None:
    project = toy.project(toy.copy(tmp_path / "home"), **MINING)
    mined = project.require("mined_negatives")
    (mined.path / "checks.json").unlink(missing_ok=True)
    shard = mined.file("00000.parquet")
    data, times = bytearray(shard.read_bytes()), shard.stat()
    data[data.index(b"RIFF") + 1_000] ^= 4
    shard.write_bytes(data)
    os.utime(shard, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(ArtifactError, match=r"mined_negatives changed on disk .*00000\.parquet"):
        project.verdicts("mined_negatives")
    assert not mined.path.exists()


def test_switched_off_it_is_quick_and_the_trained_model_goes_on(toy: Toy) -> None:
    project = toy.project()
    started = time.process_time()
    mined, tuned = build(project)
    assert time.process_time() - started < 1
    assert mined.figures == {"enabled": False, "clips": 0} and len(read_clips(mined.path)) == 0
    trained = project.require("trained_model")
    assert tuned.files == trained.files and tuned.content == trained.content
    assert not tuned.figures["tuned"] and not tuned.figures["kept"]
    assert tuned.figures["parameters"] == trained.figures["parameters"]
    assert all(one.passed for found in (mined, tuned) for one in verdicts(project, found).values())


def test_nothing_found_leaves_the_trained_model_as_it_is(toy: Toy) -> None:
    project = toy.project(**{**MINING, "search": {**MINING["search"], "min_score": 0.9999}})
    mined, tuned = build(project)
    assert mined.figures["clips"] == 0 and mined.figures["listened"] == 15
    assert tuned.content == project.require("trained_model").content and not tuned.figures["tuned"]
    assert all(one.passed for found in (mined, tuned) for one in verdicts(project, found).values())


def test_a_killed_tuning_goes_on_after_its_last_epoch_to_the_same_bytes(toy: Toy, built, tmp_path: Path) -> None:
    home = toy.copy(tmp_path / "home")
    for old in (home / "store" / "tuned_model").glob("[!.]*"):
        old.rename(old.with_name(f".old-{old.name}"))
    seen: list[int] = []

    def kill(record: Any) -> None:
        seen.append(record.epoch)
        if record.epoch == 2:
            raise KilledError

    killed = toy.project(home, **MINING)
    killed.on_epoch = kill
    with pytest.raises(KilledError):
        killed.build("tuned_model")
    assert killed.find("tuned_model") is None
    project = toy.project(home, **MINING)
    project.on_epoch = lambda record: seen.append(record.epoch)
    tuned, _ = project.build("tuned_model")
    assert seen == [1, 2, 3, 4]
    assert contents(tuned) == contents(built[2]) and tuned.content == built[2].content
    assert list((home / "store" / "tuned_model").glob(".building-*")) == []


UNUSED = {
    "epochs": 9, "learning_rate_fraction": 0.9, "min_score": 0.9, "max_clips": 7, "per_recording": 3,
    "lockout_seconds": 9.0, "keep": "better",
}  # fmt: skip
TUNING = ("epochs", "learning_rate_fraction", "keep")


def keys(config: Config) -> dict[str, Any]:
    return {stage.name: stage.deciding_settings(config, "train" if stage.partitioned else None) for stage in STAGES}


def config_of(base: dict[str, Any] | None = None, *, enabled: bool = False, **changed: Any) -> Config:
    places = {name: "tuning" if name in TUNING else "search" for name in changed}
    mining = Config.model_validate({**(base or {}), "mining": {"enabled": enabled}})
    return mining.changed({f"mining.{places[name]}.{name}": value for name, value in changed.items()})


def test_hard_negatives_without_a_share_of_a_batch_are_not_mined() -> None:
    none = {"training": {"sampling": {"mix": [0.5, 0.5, 0.0]}}}
    with pytest.raises(ValidationError, match="no share of a batch"):
        config_of(none, enabled=True)
    assert config_of(none).training.sampling.mix[2] == 0
    config_of({"training": {"sampling": {**none["training"]["sampling"], "kind": "plain"}}}, enabled=True)


@pytest.mark.parametrize("name", UNUSED)
def test_settings_count_only_where_they_matter(name: str) -> None:
    assert keys(config_of(**{name: UNUSED[name]})) == keys(Config())  # switched off, nothing does
    before, after = (keys(config_of(enabled=True, **more)) for more in ({}, {name: UNUSED[name]}))
    changed = {stage for stage in before if before[stage] != after[stage]}
    assert changed == {"tuned_model" if name in TUNING else "mined_negatives"}


@pytest.mark.parametrize(
    ("tree", "changed"),
    [
        ({"training": {"schedule": {"epochs": 5}}}, {"tuned_model"}),  # whose input is another model then in any case
        ({"compute": {"device": "cpu", "threads": 1}}, set()),
        ({"training": {"schedule": {"learning_rate": 0.1}}}, {"tuned_model"}),
        ({"features": {"frontend": {"n_mels": 40}}}, {"tuned_model"}),
        ({"features": {"augment": {"views": 5}}}, set()),  # which is in the training split's features, an input
        ({"features": {"context": {"frames": 90}}}, {"mined_negatives"}),
        ({"compute": {"batch_windows": 8}}, set()),
        ({"evaluation": {"streams": {"gap_seconds": 2}}}, set()),
    ],
)
def test_settings_of_others_count_where_they_matter(tree: dict[str, Any], changed: set[str]) -> None:
    both = ("mined_negatives", "tuned_model")
    before, after = (keys(config_of(base, enabled=True)) for base in ({}, tree))
    assert {stage for stage in both if before[stage] != after[stage]} == changed
    before, after = (keys(config_of(base)) for base in ({}, tree))
    assert all(before[stage] == after[stage] for stage in both)


def test_mining_is_no_part_of_what_comes_before_it() -> None:
    off, on = keys(Config()), keys(config_of(enabled=True))
    assert {stage for stage in off if off[stage] != on[stage]} == {"mined_negatives", "tuned_model"}


def test_the_tuning_has_epochs_and_a_rate_of_its_own() -> None:
    config = tuning_config(
        config_of(
            {"training": {"schedule": {"epochs": 30, "learning_rate": 0.01}, "validation": {"keep_every": 2}}},
            learning_rate_fraction=0.5,
        )
    )
    assert config.training.validation.keep_every == 0
    assert (config.training.schedule.epochs, config.training.schedule.learning_rate) == (4, 0.005)
    rest = {"schedule": {"epochs", "learning_rate"}}
    assert config.training.model_dump(exclude=rest) == Config().training.model_dump(exclude=rest)
