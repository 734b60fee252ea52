"""Every side of the benchmark of training does the same work, and the rivals are taken at their best."""

import argparse
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import training_cpu
from training_feeds import _places, cut, from_audio_files, mel_of

from wakeword_core.config import Config
from wakeword_core.features.store import load_windows
from wakeword_core.graph.project import Project
from wakeword_core.training.data import Sampler

ROWS = 16
"""A batch, in place of as many as trainings have."""
SMALL = ["--recordings", "16", "--model", "tiny_conv", "--epochs", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[argparse.Namespace]:
    """A tiny benchmark whose features are built."""
    given = training_cpu.arguments("", model="tcn", recordings=2_000).parse_args(SMALL)
    given.device, given.folder = "cpu", tmp_path_factory.mktemp("bench")
    threads, whole = torch.get_num_threads(), training_cpu.config_of

    def smaller(given: argparse.Namespace) -> Config:
        config = whole(given)
        return config.changed({"training.sampling.batch_size": ROWS})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_cpu, "config_of", smaller)
        torch.set_num_threads(1)
        training_cpu.prepare(given)
        yield given
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def project(given: argparse.Namespace) -> Project:
    return Project(training_cpu.config_of(given), given.folder / "home")


def side(given: argparse.Namespace, name: str) -> dict[str, float]:
    given.side = name
    return training_cpu.run_side(given)


def test_sides_take_the_same_steps_and_but_for_audio_files_end_with_the_same_weights(given: argparse.Namespace) -> None:
    own, disk, hdf5, audio = (side(given, name) for name in training_cpu.SIDES)
    assert own["steps"] == disk["steps"] == hdf5["steps"] == audio["steps"] > 0
    assert own["weights"] == disk["weights"] == hdf5["weights"] != audio["weights"]
    assert own["val_f1"] == disk["val_f1"] == hdf5["val_f1"]
    assert own["windows_mb"] == disk["windows_mb"] and own["peak_mb"] > own["windows_mb"] > 0


def test_what_windows_take_from_disk_is_told_from_what_training_takes() -> None:
    memory = {"samples_per_second": 100.0, "processor_seconds": 10.0, "peak_mb": 900.0, "windows_mb": 500.0}
    disk = {"samples_per_second": 80.0, "processor_seconds": 11.0, "peak_mb": 430.0}
    found = training_cpu.from_disk(memory, disk)
    assert (found["slower"], found["more_processor"]) == (0.25, 0.1)
    assert (found["peak_mb"], found["allowed_mb"]) == (30.0, 50.0)


def batches(project: Project, config: Config) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows and rows of noise of one epoch, and the windows that this project holds."""
    train = load_windows(project.require("mel_features", "train").path)
    sampler = Sampler(train, config.labels, config.training, 0)
    return sampler.epoch(0), sampler.noise(0), train.mel


def with_noise(config: Config, probability: float) -> Config:
    tree = config.model_dump(mode="json")
    tree["training"]["augment"] |= {"noise_probability": probability, "noise_snr_db": [6.0, 6.0]}
    return Config.model_validate(tree)


def test_windows_of_audio_files_are_those_of_the_features(project: Project) -> None:
    config = with_noise(project.config, 0.0)
    rows, noises, mel = batches(project, config)
    for fed, expected in zip(from_audio_files(project, config)(rows, noises, 0), rows, strict=True):
        assert torch.equal(fed.rows, expected) and fed.noise is None
        assert torch.allclose(fed.mel.float(), mel[expected].float(), atol=0.03)


def test_noise_is_mixed_into_audio_files_once_and_as_loud_as_it_is_set(project: Project) -> None:
    config = with_noise(project.config, 1.0)
    rows, noises, _ = batches(project, config)
    fed = next(from_audio_files(project, config)(rows[:1], noises[:1], 0))
    paths, starts = _places(project)
    samples = config.features.frontend.window_samples
    for place in range(4):
        sound, noise = (cut(paths[one], starts[one], samples) for one in (rows[0, place], noises[0, place]))
        ratio = 10 ** (-6.0 / 20) * sound.square().mean().sqrt() / noise.square().mean().sqrt()
        assert torch.allclose(fed.mel[place].float(), mel_of(config)(sound + ratio * noise), atol=0.03)


def test_a_rival_counts_with_the_number_of_workers_that_is_fastest() -> None:
    speeds = {("project", 0): (9, 9, 9), ("HDF5", 1): (1, 5, 6), ("HDF5", 2): (4, 4, 99)}
    rounds = [
        {
            way: {"samples_per_second": float(one[number]), "seconds_to_f1": 1.0, "val_f1": 1.0}
            for way, one in speeds.items()
        }
        for number in range(3)
    ]
    best = training_cpu.at_its_best("HDF5", rounds)
    assert best["samples_per_second"] == 5 and best["workers"] == 1
    assert np.isclose(training_cpu.at_its_best("project", rounds)["samples_per_second"], 9)
