"""The runtimes that an exported model meets, each in a process of its own: a broken file may end it.

As a program it reads a model and a stream of features, and writes the scores: `runtimes NAME MODEL FEATURES SCORES`.
For the name `arena` it writes the least bytes of memory instead, and `sound` begins with samples, not with features.
Models of openWakeWord's take embeddings for features.
"""

import importlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from wakeword_core.errors import MissingDependencyError, WakewordError
from wakeword_core.python import forked_processes, install_command, python_command

RUNTIMES = {"litert": "ai_edge_litert", "tflite_micro": "tflite_micro", "pymicro": "pymicro_wakeword"}
"""Runtimes by name, and the package that each is in: Google's for phones and for microcontrollers, and that of
microWakeWord's own satellites. They are those of models for microcontrollers."""
PYOPEN, LITERT_WINDOWS, ONNX = "pyopen", "litert_windows", "onnxruntime"
"""Those of models of openWakeWord's: pyopen-wakeword, and the two that openWakeWord itself uses."""
ARENA, SOUND = "arena", "sound"
MICRO = "tflite_micro"
_MICRO_MODULE = "tflite_micro.python.tflite_micro.runtime"
_NAME = "wakeword_core.export.tflite.runtimes"
"""Of this module, which is a program as well."""
_PATIENCE_SECONDS = 600
_LARGEST_ARENA = 2**20
"""Bytes; a microcontroller has less."""
_ESPHOME_STEPS = 256, 333, 666
"""ESPHome makes (raw * 256 + 333) // 666 - 128 of what the front end gives, of which a feature is 25.6th."""
_RAW = 25.6
ESPHOME_STEP = _ESPHOME_STEPS[2] / _ESPHOME_STEPS[0] / _RAW
"""What a feature has to grow by for the next of those whole numbers: a little less than the file counts it for."""

Features = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]


def run(runtime: str, model: Path, features: Features) -> Scores:
    """Return the scores that a runtime gives to a stream [frames, bands], one for each stride: [frames // stride].

    WakewordError where the runtime refuses the file or is ended by it.
    """
    return _ask(runtime, model, features)


def hear(model: Path, pcm: npt.NDArray[np.int16]) -> Scores:
    """Return the scores of a stream of sound at 16 kHz, int16 [samples], from the device's front end on: [runs]."""
    return _ask(SOUND, model, pcm)


def score_windows(runtime: str, model: Path, embeddings: Features) -> Scores:
    """Return the scores that one of openWakeWord's runtimes gives to embeddings [steps, 96], one after the other.

    There is one for each step from the first on with which a model has as many as it takes. WakewordError where the
    runtime refuses the file or is ended by it.
    """
    return _ask(runtime, model, embeddings)


def least_arena(model: Path) -> int:
    """Return the fewest bytes of memory with which TFLite Micro runs a model, on this processor."""
    return int(_ask(ARENA, model, np.empty((0, 0), np.float32))[0])


def require_runtimes() -> None:
    """Raise MissingDependencyError where one of them is not installed."""
    missing = [package for package in RUNTIMES.values() if find_spec(package) is None]
    if missing:
        raise MissingDependencyError(
            f"models for microcontrollers are tried in {', '.join(RUNTIMES.values())}, of which {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing: {install_command('esp')}"
        )


def _ask(name: str, model: Path, features: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if name not in _OF_WINDOWS:
        require_runtimes()
    with tempfile.TemporaryDirectory() as folder:
        heard, scores = Path(folder) / "features.npy", Path(folder) / "scores.npy"
        np.save(heard, features)
        command = python_command("-m", __name__, name, str(model), str(heard), str(scores))
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise WakewordError(f"{name} took longer than {_PATIENCE_SECONDS} s to run {model}") from error
        if done.returncode or not scores.exists():
            how = f"was ended by signal {-done.returncode}" if done.returncode < 0 else "failed"
            said = (done.stderr.strip().splitlines() or [""])[-1]
            raise WakewordError(f"{name} {how} with {model}{': ' if said else ''}{said}")
        return np.load(scores, allow_pickle=False)


def esphome_integers(features: Features) -> npt.NDArray[np.int8]:
    """Round features as ESPHome does with what the front end gives."""
    return cast(npt.NDArray[np.int8], (esphome_levels(features) - 128).astype(np.int8))


def esphome_levels(features: Any) -> Any:
    """Return what ESPHome rounds features to, an array or a tensor of float32, as whole numbers from 0 to 255."""
    factor, half, whole = _ESPHOME_STEPS
    return (((features * _RAW).round() * factor + half) // whole).clip(0, 255)


def _in_strides(features: Features, stride: int) -> npt.NDArray[np.int8]:
    runs = len(features) // stride
    return esphome_integers(features[: runs * stride]).reshape(runs, 1, stride, features.shape[1])


def _litert(model: Path, features: Features) -> list[float]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    scores = []
    for frames in _in_strides(features, source["shape"][1]):
        interpreter.set_tensor(source["index"], frames)
        interpreter.invoke()
        scores.append(float(interpreter.get_tensor(target["index"])[0, 0]) / 256)
    return scores


def _tflite_micro(model: Path, features: Features) -> list[float]:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_file(str(model), arena_size=_LARGEST_ARENA)
    stride = interpreter.get_input_details(0)["shape"][1]
    scores = []
    for frames in _in_strides(features, stride):
        interpreter.set_input(frames, 0)
        interpreter.invoke()
        scores.append(float(interpreter.get_output(0)[0, 0]) / 256)
    return scores


def _pymicro(model: Path, features: Features) -> list[float]:
    from pymicro_wakeword import MicroWakeWord

    described = {
        "model": str(model.resolve()),
        "wake_word": "",
        "micro": {"probability_cutoff": 0.5, "sliding_window_size": 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_text(json.dumps(described), encoding="utf-8")
        detector = MicroWakeWord.from_config(path)
    scores = [detector.process_streaming_prob(frame[None, :]) for frame in features]
    return [float(score or 0.0) for score in scores[detector.stride - 1 :: detector.stride]]


def _sound(model: Path, pcm: npt.NDArray[Any]) -> list[float]:
    from pymicro_wakeword import MicroWakeWordFeatures

    frames = [*MicroWakeWordFeatures().process_streaming(pcm.astype(np.int16).tobytes())]
    return _litert(model, np.concatenate(frames).astype(np.float32)[:, 0] if frames else np.empty((0, 1), np.float32))


def _pyopen(model: Path, embeddings: Features) -> list[float]:
    from pyopen_wakeword import OpenWakeWord

    detector = OpenWakeWord.from_model(model)
    return [score for step in embeddings for score in detector.process_streaming(step[None, None, None])]


def _litert_windows(model: Path, embeddings: Features) -> list[float]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def score(window: Features) -> float:
        interpreter.set_tensor(source["index"], window)
        interpreter.invoke()
        return float(interpreter.get_tensor(target["index"])[0, 0])

    return [score(window) for window in _windows(embeddings, source["shape"][1])]


def _onnxruntime(model: Path, embeddings: Features) -> list[float]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    return [float(session.run(None, {source.name: one})[0][0, 0]) for one in _windows(embeddings, source.shape[1])]


def _windows(embeddings: Features, steps: int) -> Iterator[Features]:
    """Yield each `steps` embeddings in a row: [1, steps, 96]."""
    for last in range(steps, len(embeddings) + 1):
        yield embeddings[None, last - steps : last]


def _arena(model: Path, features: Features) -> list[float]:
    """Find the least arena by halving."""
    _allocate(model, _LARGEST_ARENA)
    processes = forked_processes([_NAME, _MICRO_MODULE])
    too_small, enough = 0, _LARGEST_ARENA
    while enough - too_small > 1:
        middle = (too_small + enough) // 2
        # each in a process of its own, which some arenas that are too small end without an error
        trial = processes.Process(target=importlib.import_module(_NAME)._allocate, args=(model, middle))
        trial.start()
        trial.join()
        if trial.exitcode == 0:
            enough = middle
        else:
            too_small = middle
    return [float(enough)]


def _allocate(model: Path, arena: int) -> None:
    """Have TensorFlow Lite Micro allocate a model in an arena of so many bytes; the process fails where it cannot."""
    runtime = importlib.import_module(_MICRO_MODULE)
    try:
        runtime.Interpreter.from_file(str(model), arena_size=arena)
    except RuntimeError:
        sys.exit(1)


_OF_WINDOWS: dict[str, Callable[[Path, Features], list[float]]] = {
    PYOPEN: _pyopen,
    LITERT_WINDOWS: _litert_windows,
    ONNX: _onnxruntime,
}
_PROGRAMS: dict[str, Callable[[Path, Features], list[float]]] = {
    **_OF_WINDOWS,
    "litert": _litert,
    MICRO: _tflite_micro,
    "pymicro": _pymicro,
    ARENA: _arena,
    SOUND: _sound,
}


def main(arguments: list[str]) -> None:
    """Run one runtime, as `run`, `score_windows` and `least_arena` ask for it."""
    name, model, features, scores = arguments
    heard = np.load(features, allow_pickle=False)
    np.save(scores, np.asarray(_PROGRAMS[name](Path(model), heard), np.float64))


if __name__ == "__main__":
    main(sys.argv[1:])
