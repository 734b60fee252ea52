"""What a microcontroller cannot run is said before anything is trained, with the setting to change."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from wakeword_core.config import Config
from wakeword_core.config.export import TfliteConfig
from wakeword_core.errors import ConfigError
from wakeword_core.export.cost import PLATFORMS
from wakeword_core.export.tflite import make, sound
from wakeword_core.export.tflite.limits import off_because, problems
from wakeword_core.export.tflite.make import require_possible
from wakeword_core.export.tflite.manifest import manifest_of
from wakeword_core.export.tflite.network import network_of
from wakeword_core.export.tflite.quantize import quantize
from wakeword_core.export.tflite.runtimes import least_arena
from wakeword_core.export.tflite.writer import tflite_bytes
from wakeword_core.models.scoring import ScoringModel

Make = Callable[..., Config]
SMALL = {"stem_channels": 8, "channels": 8, "kernels": [[3], [1]], "head_steps": 2}


def test_the_default_network_fits(for_device: Make) -> None:
    config = for_device()
    assert off_because(config) == "" and problems(config) == []


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_strides_that_fit(for_device: Make, stride: int) -> None:
    assert problems(for_device(stride=stride)) == []
    assert problems(for_device(arch="ds_cnn", causal=True, stride=stride)) == []


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"stride": 4}, "training.model.stride is 4"),
        ({"arch": "tcn"}, "training.model.arch is tcn"),
        ({"arch": "conformer"}, "set it to mixednet or ds_cnn"),
        ({"arch": "ds_cnn", "stride": 3}, "training.model.causal is off"),
        ({"arch": "ds_cnn", "causal": True}, "training.model.stride is 4"),
        ({"arch": "ds_cnn", "causal": True, "stride": 3, "channels": 120}, "parameters, more than the 60,000"),
        ({"channels": 160}, "parameters, more than the 60,000"),
    ],
)
def test_a_network_that_does_not_fit_is_named(for_device: Make, settings: dict, sentence: str) -> None:
    (problem,) = problems(for_device(**settings))
    assert sentence in problem


def test_as_many_variables_as_there_is_room_for_and_no_more(for_device: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "least_arena", lambda path: 20_000)
    small = {"stem_channels": 8, "channels": 8}
    require_possible(for_device(kernels=[[3]] * 18 + [[1]], head_steps=2, **small))
    with pytest.raises(ConfigError, match="21 variables, more than the 20 that ESPHome has room for; make it smaller"):
        require_possible(for_device(kernels=[[3]] * 19 + [[1]], head_steps=2, **small))


def test_windows_that_are_too_short_for_the_network_are_said(for_device: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "least_arena", lambda path: 20_000)
    config = for_device(kernels=[[64]], head_steps=1)
    needed = 3 * 64 + 2

    def with_windows(frames: int) -> Config:
        return config.model_copy(
            update={"features": config.features.changed({"frontend.window_frames": frames, "context.frames": 0})}
        )

    require_possible(with_windows(needed))
    with pytest.raises(ConfigError, match=f"depends on {needed} frames, but training windows have {needed - 1}; make"):
        require_possible(with_windows(needed - 1))


def test_an_operator_that_esphome_lacks_is_named(for_device: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound, "OPERATORS", sound.OPERATORS - {"ADD"})
    with pytest.raises(ConfigError, match="the operator ADD is not among those of ESPHome; make it smaller, or set"):
        require_possible(for_device())


def test_memory_that_a_device_lacks_is_said(for_device: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    config = for_device()
    config = config.model_copy(update={"export": config.export.model_copy(update={"platform": "rp2040"})})
    arenas = iter((20_005, 20_006))
    monkeypatch.setattr(make, "least_arena", lambda path: next(arenas))
    monkeypatch.setitem(PLATFORMS, "rp2040", replace(PLATFORMS["rp2040"], ram_bytes=27_008))
    require_possible(config)
    with pytest.raises(ConfigError, match="runs in 27,024 bytes of memory, of which rp2040 has 27,008 for it"):
        require_possible(config)


def test_weights_have_no_part_in_the_memory_that_is_measured_before_training(
    for_device: Make, random_network: Callable[..., ScoringModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.setattr(make, "least_arena", lambda path: found.append(least_arena(path)) or found[-1])
    config = for_device(**SMALL)
    require_possible(config)
    other = quantize(network_of(random_network(config.training.model)), [np.full((1, 100, 40), 20.0)])
    (tmp_path / "other.tflite").write_bytes(tflite_bytes(other))
    assert found == [pytest.approx(least_arena(tmp_path / "other.tflite"), abs=64)]


def test_the_default_network_takes_no_more_than_the_usual_model_of_such_a_device(
    for_device: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of microWakeWord's "alexa", in bytes and in memory."""
    library = importlib.import_module("pymicro_wakeword")
    usual = Path(library.MicroWakeWord.from_builtin(library.Model.ALEXA).tflite_model)
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(make, "least_arena", lambda path: found.append(taken(path)) or found[-1][1])

    def taken(path: Path) -> tuple[int, int]:
        return path.stat().st_size, least_arena(path)

    require_possible(for_device())
    assert all(own < other for own, other in zip(found[0], taken(usual), strict=True))


def test_no_memory_is_measured_for_what_settings_refuse_or_nobody_wants(
    for_device: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(make, "least_arena", lambda path: pytest.fail("the file was made"))
    with pytest.raises(ConfigError, match="set it to mixednet"):
        require_possible(for_device(arch="tcn"))
    require_possible(Config(export={"tflite": {"enabled": True}}))


@pytest.mark.parametrize("language", ["xx", "xx-gb", "english", "EN", "e", ""])
def test_a_language_that_nobody_speaks_is_refused(language: str) -> None:
    with pytest.raises(ValidationError, match="languages"):
        TfliteConfig(languages=("en", language))


def test_languages_have_tags_of_two_or_three_letters() -> None:
    assert TfliteConfig(languages=("en", "pt-br", "yue")).languages == ("en", "pt-br", "yue")


def test_a_manifest_takes_every_phrase_that_a_project_may_have() -> None:
    phrase = "a" * 60
    chosen = {"cutoff": 0.5, "window": 1, "least_arena": 20_000}
    assert manifest_of("a.tflite", Config(phrase=phrase).phrase, TfliteConfig(), **chosen).wake_word == phrase  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="at most 60 characters"):
        Config(phrase=phrase + "a")


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
