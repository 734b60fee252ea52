"""What a microcontroller cannot run is said before anything is trained, with the setting to change."""

from collections.abc import Callable

import pytest

from wakeword_core.config import Config
from wakeword_core.export.tflite.limits import off_because, problems

Make = Callable[..., Config]


def test_the_default_network_fits(for_device: Make) -> None:
    config = for_device()
    assert off_because(config) == "" and problems(config) == []


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_that_fit(for_device: Make, stride: int) -> None:
    assert problems(for_device(stride=stride)) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stride": 4}, "training.model.stride is 4"),
        ({"arch": "tcn"}, "training.model.arch is tcn"),
        ({"arch": "ds_cnn"}, "set it to mixednet"),
        ({"kernels": [[3]] * 19 + [[1]] * 4, "channels": 8, "head_steps": 2}, "remembers 21 tensors"),
        ({"channels": 160}, "parameters, more than the 60,000"),
    ],
)
def test_a_network_that_does_not_fit_is_named(for_device: Make, settings: dict, sentence: str) -> None:
    (problem,) = problems(for_device(**settings))
    assert sentence in problem


def test_as_many_variables_as_there_is_room_for(for_device: Make) -> None:
    assert problems(for_device(kernels=[[3]] * 18 + [[1]] * 4, channels=8, head_steps=2)) == []
    assert problems(for_device(kernels=[[3]] * 19 + [[1]] * 4, channels=8, head_steps=1)) == []


def test_several_words_and_curves_are_named(for_device: Make) -> None:
    config = for_device()
    labels = config.model_copy(
        update={"synthesis": config.synthesis.model_copy(update={"enabled": True, "phrases": ("stop now",)})}
    )
    assert "hey robin, stop now; train one for each" in problems(labels)[0]
    curve = config.evaluation.calibration.model_copy(update={"method": "isotonic"})
    curved = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"calibration": curve})})
    assert "set it to temperature or vector" in problems(curved)[0]


def test_where_none_is_wanted_nothing_is_wrong(for_device: Make) -> None:
    other = Config(export={"tflite": {"enabled": True}})
    assert "features.frontend.kind is log_mel" in off_because(other) and problems(other) == []
    off = for_device(arch="tcn")
    off = off.model_copy(update={"export": Config().export})
    assert off_because(off) == "export.tflite.enabled is off" and problems(off) == []
