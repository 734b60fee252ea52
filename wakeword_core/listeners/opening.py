"""Opening a model as a listener by what its file is."""

from pathlib import Path

from wakeword_core.config import DetectorConfig
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.listeners.listener import Listener, OwnModel
from wakeword_core.listeners.peers import MicroWakeWord, OpenWakeWord
from wakeword_core.runtime import WakewordModel
from wakeword_core.runtime.exported import JUDGE_FILE, MODEL_FILE, PROGRAM_FILE, STREAMING_SUFFIXES
from wakeword_core.runtime.judge import JudgedModel, judged
from wakeword_core.runtime.live import WindowScorer
from wakeword_core.runtime.streaming import StreamingModel

_ENGINES = {engine.name.casefold(): engine for engine in (MicroWakeWord, OpenWakeWord)}


def open_listener(model: str, rules: DetectorConfig, name: str = "", *, alone: bool = False) -> Listener:
    """Open a model, which is called `name` or by its file or folder.

    It is a file of this project, in any of its formats, or the folder that holds model.onnx, which is opened with its
    judge unless `alone`; a .tflite with its manifest beside it, or that manifest; one for openWakeWord without; or a
    model that comes with an engine: microWakeWord:alexa, openWakeWord:alexa. `rules` are those by which an engine's
    scores become detections, but for its own smoothing. ArtifactError or ConfigError where it is none of these.
    """
    kind, _, word = model.partition(":")
    path = Path(model)
    if (engine := _ENGINES.get(kind.casefold())) and not path.exists():
        return engine(word, rules, name or model)
    name = name or path.resolve().name
    ending = path.suffix.lower()
    if ending in (".tflite", ".json"):
        manifest = path.with_suffix(".json")
        return MicroWakeWord(manifest, rules, name) if manifest.is_file() else OpenWakeWord(path, rules, name)
    if path.name == PROGRAM_FILE:
        from wakeword_core.export.torch_program import ProgramModel

        program = ProgramModel(path.with_name(MODEL_FILE), path)
        return OwnModel(program, [path], name, WindowScorer(program))
    if path.name == JUDGE_FILE:
        together = _judged(path)
        return OwnModel(together, together.files, name)
    if path.name.endswith(STREAMING_SUFFIXES):
        return OwnModel(StreamingModel(path), [path], name)
    if path.is_dir():
        return _of_folder(path, name, alone=alone)
    if ending != ".onnx":
        raise ConfigError(
            f"{model} is no model that can be heard with: give an .onnx, .pt2 or .tflite file, the folder of a bundle, "
            f"or {' or '.join(f'{one.name}:WORD' for one in _ENGINES.values())}"
        )
    windows = WakewordModel(path)
    return OwnModel(windows, [windows.path], name, WindowScorer(windows))


def _of_folder(folder: Path, name: str, *, alone: bool) -> Listener:
    windows = WakewordModel(folder)
    together = None if alone else judged(windows)
    if together is None:
        return OwnModel(windows, [windows.path], name)
    return OwnModel(together, together.files, name)


def _judged(judge: Path) -> JudgedModel:
    """Open a judge with the model beside it."""
    together = judged(WakewordModel(judge.with_name(MODEL_FILE))) if judge.is_file() else None
    if together is None:
        raise ArtifactError(f"there is no judge {judge}; name another model")
    return together
