"""The file says what the network says, in every runtime; and no file ends the process that asks."""

import importlib.util
from pathlib import Path

import numpy as np
import pymicro_wakeword
import pytest

from wakeword_core.config.export import TfliteConfig
from wakeword_core.errors import DataError, MissingDependencyError, WakewordError
from wakeword_core.export.tflite import runtimes
from wakeword_core.export.tflite.manifest import manifest_of, write_manifest
from wakeword_core.export.tflite.parity import compare, joined_rows, network_scores
from wakeword_core.runtime.microcontroller import esphome_events, levels, pymicro_events

ALEXA = Path(pymicro_wakeword.__file__).parent / "models" / "alexa.tflite"


@pytest.mark.parametrize("network", ["trained", "trained_ds_cnn"])
def test_every_runtime_agrees_with_the_network_over_a_minute(
    network: str, request: pytest.FixtureRequest, stream: np.ndarray
) -> None:
    model, file = request.getfixturevalue(network).model, request.getfixturevalue(f"{network}_file")
    scores = network_scores(model, stream[: len(stream) // 3 * 3])
    assert 0.02 < np.mean(scores > 0.5) < 0.5  # there is something to agree on
    found = compare(model, file, stream, 0.5)
    assert [one.runtime for one in found] == list(runtimes.RUNTIMES)
    for one in found:
        assert one.seconds > 59 and one.mean_difference < 0.005 and one.agreement >= 0.995, one
        assert one.mean_difference < one.largest_difference < 0.15


def test_a_model_of_other_weights_does_not_agree(trained, trained_file: Path, stream: np.ndarray) -> None:
    trained.model.set_calibrator("temperature", {"temperature": 20.0})
    try:
        found = compare(trained.model, trained_file, stream[:600], 0.5)
    finally:
        trained.model.set_calibrator("temperature", {"temperature": 0.9})
    assert min(one.mean_difference for one in found) > 0.1


def test_a_stream_that_is_too_short_is_said(trained, trained_file: Path, stream: np.ndarray) -> None:
    with pytest.raises(DataError, match="too few to compare"):
        compare(trained.model, trained_file, stream[:30], 0.5)


def test_runs_are_of_whole_strides_from_the_first_frame(trained_file: Path, stream: np.ndarray) -> None:
    for name in runtimes.RUNTIMES:
        scores = runtimes.run(name, trained_file, stream[:32])
        assert scores.shape == (10,)
        assert scores == pytest.approx(runtimes.run(name, trained_file, stream[:30]), abs=0)


@pytest.mark.parametrize("runtime", [*runtimes.RUNTIMES, runtimes.ARENA])
def test_junk_ends_no_process_but_its_own(runtime: str, tmp_path: Path, stream: np.ndarray) -> None:
    (tmp_path / "junk.tflite").write_bytes(b"\x20\0\0\0TFL3" + bytes(range(256)) * 8)
    with pytest.raises(WakewordError, match=rf"^{runtime} (was ended by signal|failed)") as raised:
        runtimes.run(runtime, tmp_path / "junk.tflite", stream[:30])
    assert "\n" not in str(raised.value)


def test_the_least_arena_is_the_least() -> None:
    assert runtimes.least_arena(ALEXA) == pytest.approx(20_727, abs=64)  # of which its manifest has 22,348


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, trained_file: Path) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None if name == "tflite_micro" else known(name))
    with pytest.raises(MissingDependencyError, match=r"of which tflite_micro is missing: .*esp"):
        runtimes.least_arena(trained_file)


def test_esphomes_integers_are_within_a_step_of_the_models(stream: np.ndarray) -> None:
    raw = np.arange(0, 700, dtype=np.float32)
    mine = runtimes.esphome_integers(raw / np.float32(25.6))
    assert mine.tolist() == [min((value * 256 + 333) // 666 - 128, 127) for value in range(700)]
    models = np.clip(np.rint(raw / 25.6 / (26 / 255)) - 128, -128, 127)
    assert np.abs(mine - models).max() <= 1


def test_a_stream_of_the_tests_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Rows:
        frames, n_mels = 100, 40

        def __init__(self, folder: Path) -> None:
            assert folder == tmp_path

        def __len__(self) -> int:
            return 7

        def rows(self, chosen: list[int]) -> np.ndarray:
            return np.stack([np.full((40, 100), row, np.float32) for row in chosen])

    monkeypatch.setattr("wakeword_core.export.tflite.parity.FeatureFile", Rows)
    assert joined_rows(tmp_path, 3.0)[::100, 0].tolist() == [0, 3, 6]
    assert joined_rows(tmp_path, 60.0)[::100, 0].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_the_rules_of_detection_are_those_of_the_runtime(
    trained_file: Path, stream: np.ndarray, tmp_path: Path
) -> None:
    scores = levels(runtimes.run("pymicro", trained_file, stream))
    copied = tmp_path / "model.tflite"
    copied.write_bytes(trained_file.read_bytes())
    manifest = manifest_of(copied.name, "tone", TfliteConfig(), cutoff=0.7, window=4, least_arena=20_000)
    detector = pymicro_wakeword.MicroWakeWord.from_config(write_manifest(manifest, tmp_path))
    said = np.asarray([detector.process_streaming(frame[None]) for frame in stream])[2::3]
    begins = np.flatnonzero(said & ~np.concatenate([[False], said[:-1]]))
    assert pymicro_events(scores, 0.7, 4).tolist() == begins.tolist() and 20 < len(begins) < 100
    # ESPHome cools off after each, while a word follows in less than a second
    esphome = esphome_events(scores, 0.7, 4, 3)
    assert 10 < len(esphome) < len(begins) and np.diff(esphome).min() >= 33
