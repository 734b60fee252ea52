"""The files of a model that one kind of device or program takes, in a folder of their own."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from wakeword_core.errors import ArtifactError, MissingDependencyError
from wakeword_core.export.delivery import deliver
from wakeword_core.files import contained
from wakeword_core.lineage.model_file import ModelFile, read_model_file
from wakeword_core.runtime.exported import (
    CARD_MARKDOWN,
    ENCODER_FOLDER,
    FP16_FILE,
    JUDGE_FILE,
    OPENWAKEWORD_FOLDER,
    PROGRAM_FILE,
    SECOND_FOLDER,
    STREAMING_FILES,
    RuntimeCard,
    read_card,
)
from wakeword_core.text import markdown

log = logging.getLogger(__name__)

TargetName = Literal["esphome", "openwakeword", "onnx", "torch"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
_ONNX_FILES = (*STREAMING_FILES, *STREAMING_FILES.values(), FP16_FILE, JUDGE_FILE)
_BOARD, _BOARD_WORD = "esp32-s3.yaml", "hey_robin"
"""The configuration of a board, and the name that the files of a wake word have in it."""


@dataclass(frozen=True)
class Source:
    """A model whose files are handed on: the file that was named, and what it says of itself."""

    file: ModelFile
    card: RuntimeCard

    @property
    def folder(self) -> Path:
        """The folder that the other files lie in."""
        return self.file.path.parent

    def beside(self, name: str) -> Path | None:
        """Return the file of a name in the folder, if there is one; an error if it is a link that leads outside."""
        path = contained(self.folder, name)
        return path if path.is_file() else None

    @property
    def words(self) -> str:
        """Every wake word, for people."""
        return " and ".join(map(markdown, self.card.labels[1:]))


@dataclass(frozen=True)
class Parts:
    """What a target is: its files by name, each a path or its text, and what to do with them, a sentence a line."""

    files: Mapping[str, Path | str]
    what_for: str
    lines: tuple[str, ...]


def export_target(model: Path, target: TargetName, out: Path, *, force: bool = False) -> list[str]:
    """Put the files of a target into the folder `out`, with a README and a list of them; returns their names.

    `model` is an exported file or the folder that holds it. ArtifactError where it does not have what the target
    takes, which names the setting that builds it, or where a file was altered since it was exported.
    """
    source = _source(model)
    parts = _PARTS[target](source)
    files = dict(parts.files)
    if card := source.beside(CARD_MARKDOWN):
        files[CARD_MARKDOWN] = card
    listed = ", ".join(f"`{name}`" for name in files)
    key = source.file.keys.get("onnx_model", "")
    made_of = f"Made of the model {key}" if key else "It is not known which model they were made of"
    described = f"; `{CARD_MARKDOWN}` says what it was made from and what it is worth" if card else ""
    readme = (
        f"# {source.words} for {parts.what_for}",
        f"- The files are {listed}.",
        *(f"- {line}" for line in parts.lines),
        f"- {made_of}{described}.",
    )
    facts = {"target": target, "wake_words": list(source.card.labels[1:])}
    return deliver({**files, "README.md": "\n".join(readme) + "\n"}, facts, out, apart_from=source.folder, force=force)


def _source(model: Path) -> Source:
    file = read_model_file(model)
    _require_unaltered(file)
    return Source(file, read_card(RuntimeCard, file.card, file.path))


def _require_unaltered(file: ModelFile) -> None:
    if file.seal not in ("whole", "unsealed"):
        raise ArtifactError(
            f"{file.path} was altered since it was exported ({file.seal}); take it from its bundle anew"
        )


def _missing(source: Source, what: str, *settings: str) -> ArtifactError:
    *most, last = settings
    named = f"{', '.join(most)} and {last}" if most else last
    return ArtifactError(f"{source.folder} holds no {what}; a build with {named} has one")


def _onnx(source: Source) -> Parts:
    # of a file with a name of its own, nobody knows what else belongs to it
    names = _ONNX_FILES if source.file.path.name in _ONNX_FILES else (source.file.path.name,)
    files: dict[str, Path | str] = {}
    beside: list[str] = []
    for name in names:
        if path := source.beside(name):
            other = read_model_file(path)
            _require_unaltered(other)
            if other.card.get("phrase") != source.card.phrase:
                raise ArtifactError(
                    f"{path} is of another wake word than {source.file.path}; export them by themselves"
                )
            files[name] = path
            asked = other.card.get("judge") or {}
            needed = (("encoder", ENCODER_FOLDER), ("second", SECOND_FOLDER))
            beside += [folder for entry, folder in needed if asked.get(entry) is not None]
    main = source.file.path.name
    return Parts(
        files,
        "onnxruntime",
        (
            *(
                f"`{JUDGE_FILE}` needs the folder `{name}` of the model's bundle beside it, which is not here."
                for name in beside
            ),
            f"`wakeword detect {main} recording.wav`, `listen` and `serve` run them; without wakeword, "
            "`docs/deploy_model.md` of its source says what goes in and comes out.",
            f"Labels, thresholds, detector and front end are in each file as JSON; `wakeword verify {main}` tells "
            "whether it is unaltered.",
        ),
    )


def _torch(source: Source) -> Parts:
    from wakeword_core.export.torch_program import CARD_ENTRY, checked_program

    program = source.beside(PROGRAM_FILE)
    if program is None:
        raise _missing(source, "program of torch", "export.torch.enabled: true")
    checked_program(program)
    frontend = source.card.frontend
    return Parts(
        {PROGRAM_FILE: program},
        "torch",
        (
            f'`torch.export.load("{PROGRAM_FILE}").module()` maps windows of features [batch, {frontend.bands}, '
            f"{frontend.window_frames}] to scores [batch, {len(source.card.labels)}].",
            f"Labels, thresholds, detector and front end are in its extra file `{CARD_ENTRY}`, as JSON.",
        ),
    )


def _openwakeword(source: Source) -> Parts:
    folder = source.folder / OPENWAKEWORD_FOLDER
    names = sorted(path.name for path in folder.glob("*") if path.suffix in (".onnx", ".tflite"))
    if not names:
        raise _missing(source, "model in openWakeWord's format", "export.openwakeword.enabled: true")
    files: dict[str, Path | str] = {}
    for name in names:
        if path := source.beside(f"{OPENWAKEWORD_FOLDER}/{name}"):
            _require_head(path, source)
            files[name] = path
    return Parts(
        files,
        "openWakeWord",
        (
            "openWakeWord takes an `.onnx` or `.tflite` file as a custom model; each is of the wake word that it is "
            "named by, and 0.5 is its threshold.",
            "Home Assistant's openWakeWord takes the `.tflite` files from the folder `openwakeword` of its share.",
        ),
    )


def _require_head(path: Path, source: Source) -> None:
    """Raise ArtifactError unless a file is one of openWakeWord's and of a wake word of the model's.

    Only the ONNX file says which word it is of, and whether it is unaltered.
    """
    from wakeword_core.export.openwakeword import steps_taken

    if path.suffix == ".onnx":
        file = read_model_file(path)
        _require_unaltered(file)
        if (phrase := file.card.get("phrase")) not in source.card.labels[1:]:
            raise ArtifactError(
                f"{path} is of the wake word {phrase!r}, which {source.file.path} does not know; export them by "
                "themselves"
            )
    try:
        steps_taken(path)
    except MissingDependencyError as error:
        _warn_unseen(path, error)


def _warn_unseen(path: Path, error: MissingDependencyError) -> None:
    log.warning("%s was not looked at before it is handed on: %s", path, error)


def _esphome(source: Source) -> Parts:
    manifests = sorted(path for path in source.folder.glob("*.json") if path.with_suffix(".tflite").is_file())
    if not manifests:
        raise _no_microcontroller(source)
    files: dict[str, Path | str] = {}
    for path in manifests:
        _require_fit(path, source)
        names = path.name, f"{path.stem}.tflite"
        files |= {name: found for name in names if (found := source.beside(name))}
    board = resources.files("wakeword_core") / "export" / _BOARD
    files[_BOARD] = board.read_text(encoding="utf-8").replace(_BOARD_WORD, manifests[0].stem)
    return Parts(
        files,
        "ESPHome and Home Assistant",
        (
            f"ESPHome: set the pins and the board in `{_BOARD}`, then `esphome run {_BOARD}` in this folder.",
            "Home Assistant: copy the `.json` and the `.tflite`, which keep their common name, to `custom_wake_words` "
            "in the folder of its configuration.",
        ),
    )


def _no_microcontroller(source: Source) -> ArtifactError:
    from wakeword_core.export.tflite.limits import FRONT_END

    if len(source.card.labels) > 2:
        return ArtifactError(
            f"{source.folder} holds no model for microcontrollers, which have one wake word each, but this one has "
            f"{', '.join(source.card.labels[1:])}; train one for each, with export.tflite.enabled: true"
        )
    settings = ["export.tflite.enabled: true"]
    if source.card.frontend.kind != FRONT_END:
        settings += [f"features.frontend.kind: {FRONT_END}", "training.model.arch: mixednet"]
    return _missing(source, "model for microcontrollers", *settings)


def _require_fit(manifest: Path, source: Source) -> None:
    """Raise ArtifactError unless a manifest is one of the model's wake word, and its model one that ESPHome runs."""
    from wakeword_core.export.tflite.manifest import read_manifest
    from wakeword_core.export.tflite.reading import read_tflite
    from wakeword_core.export.tflite.sound import problems_of

    read = read_manifest(manifest)
    if read.wake_word != source.card.phrase:
        raise ArtifactError(
            f"{manifest} is of the wake word {read.wake_word!r}, but {source.file.path} of {source.card.phrase!r}; "
            "export them by themselves"
        )
    model = manifest.with_suffix(".tflite")
    try:
        found = problems_of(read_tflite(model))
    except MissingDependencyError as error:
        return _warn_unseen(model, error)
    if found:
        raise ArtifactError(f"{model} is no model for a microcontroller: {found[0]}; make it again")


_PARTS: Mapping[TargetName, Callable[[Source], Parts]] = {
    "esphome": _esphome,
    "openwakeword": _openwakeword,
    "onnx": _onnx,
    "torch": _torch,
}
