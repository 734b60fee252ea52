"""The manifest: what ESPHome reads, within bounds that it does not look at itself."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pymicro_wakeword
import pytest

from wakeword_core.config.export import TfliteConfig
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.export.tflite.manifest import Manifest, manifest_of, read_manifest, write_manifest

REPOSITORY = Path(__file__).parents[4]
BOARD = REPOSITORY / "examples" / "esphome" / "esp32-s3.yaml"
OWN_ESPHOME = REPOSITORY / ".venv-esphome" / "bin" / "esphome"
"""From an environment of its own: it wants other versions of many packages."""
NAMED_ESPHOME = os.environ.get("WAKEWORD_TEST_ESPHOME")


def manifest(**values: object) -> Manifest:
    given = {"cutoff": 0.9, "window": 5, "least_arena": 20_000, **values}
    return manifest_of("rising_tone.tflite", "rising tone", TfliteConfig(), **given)  # type: ignore[arg-type]


@pytest.fixture
def folder(trained_file: Path, tmp_path: Path) -> Path:
    """A model with its manifest."""
    shutil.copyfile(trained_file, tmp_path / "rising_tone.tflite")
    write_manifest(manifest(), tmp_path)
    return tmp_path


@pytest.mark.parametrize(("least", "arena"), [(20_000, 27_008), (20_720, 27_984), (11_851, 16_000), (11_852, 16_016)])
def test_the_arena_is_a_third_more_in_whole_sixteens(least: int, arena: int) -> None:
    assert manifest(least_arena=least).micro.tensor_arena_size == arena
    assert arena % 16 == 0 and 0 <= arena - 1.35 * least < 16


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"cutoff": 0.0}, "probability_cutoff"),
        ({"cutoff": 1.0}, "probability_cutoff"),
        ({"cutoff": 1.7}, "probability_cutoff"),
        ({"cutoff": 255 / 256}, "probability_cutoff"),
        ({"window": 0}, "sliding_window_size"),
        ({"window": 256}, "sliding_window_size"),
        ({"least_arena": 0}, "tensor_arena_size"),
        ({"least_arena": 262_144}, "tensor_arena_size"),
    ],
)
def test_what_esphome_takes_and_no_device_can_do_is_refused(values: dict, named: str) -> None:
    with pytest.raises(DataError, match=named):
        manifest(**values)


def test_the_ends_of_the_bounds_are_within() -> None:
    assert manifest(cutoff=254 / 255, window=255).micro.sliding_window_size == 255
    assert manifest(cutoff=1 / 255, window=1).micro.probability_cutoff == 1 / 255


def test_it_reads_as_it_was_written(folder: Path) -> None:
    assert read_manifest(folder / "rising_tone.json") == manifest()
    assert "website" not in json.loads((folder / "rising_tone.json").read_text())


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda tree: tree["micro"].update(probability_cutoff=2.0), "probability_cutoff"),
        (lambda tree: tree["micro"].update(feature_step_size=20), "feature_step_size"),
        (lambda tree: tree.update(version=1), "version"),
        (lambda tree: tree.update(licence="MIT"), "licence"),  # ESPHome says something misleading instead
        (lambda tree: tree.pop("wake_word"), "wake_word"),
        (lambda tree: tree.update(trained_languages=[]), "trained_languages"),
        (lambda tree: tree.update(model="../rising_tone.tflite"), "model"),
        (lambda tree: tree.update(model="falling_tone.tflite"), "Home Assistant looks for rising_tone.tflite"),
    ],
)
def test_a_manifest_that_is_wrong_is_named(folder: Path, change, sentence: str) -> None:
    path = folder / "rising_tone.json"
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(ArtifactError, match=sentence):
        read_manifest(path)


def test_a_model_that_is_not_beside_it_is_missed(folder: Path) -> None:
    (folder / "rising_tone.tflite").unlink()
    with pytest.raises(ArtifactError, match="is not beside it"):
        read_manifest(folder / "rising_tone.json")
    (folder / "rising_tone.json").write_text("{")
    with pytest.raises(ArtifactError, match="is no manifest"):
        read_manifest(folder / "rising_tone.json")


def test_official_manifests_are_within_the_bounds() -> None:
    for path in sorted((Path(pymicro_wakeword.__file__).parent / "models").glob("*.json")):
        assert read_manifest(path).model == f"{path.stem}.tflite"


@pytest.mark.skipif(
    not NAMED_ESPHOME and not OWN_ESPHOME.exists(),
    reason="there is no ESPHome: `make esphome` installs it, or WAKEWORD_TEST_ESPHOME names it",
)
def test_esphome_takes_it(folder: Path) -> None:
    text = BOARD.read_text()
    assert text.count("hey_robin.json") == 2
    (folder / "board.yaml").write_text(text.replace("hey_robin.json", "rising_tone.json"))

    def config() -> subprocess.CompletedProcess[str]:
        command = [NAMED_ESPHOME or str(OWN_ESPHOME), "config", "board.yaml"]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True)

    done = config()
    assert done.returncode == 0 and "Configuration is valid" in done.stdout + done.stderr, done.stdout + done.stderr
    path = folder / "rising_tone.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "licence": "MIT"}))
    assert config().returncode != 0  # so that it is known to read the manifest
