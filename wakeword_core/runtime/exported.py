"""An exported file, the card in it and its seal. Needs numpy and onnxruntime, never torch or onnx."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from wakeword_core.config import DetectorConfig, Device, FrontendConfig
from wakeword_core.errors import ArtifactError, ConfigError, reason_of
from wakeword_core.files import canonical_json, digest, parse_json
from wakeword_core.runtime.onnx_file import OnnxFile, read_onnx

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Arrays = dict[str, npt.NDArray[Any]]
    from onnx import ModelProto

SEAL_KEY = "wakeword_seal"
"""Entry of `metadata_props` that holds the digests as JSON."""

Seal = Literal["whole", "graph altered", "card altered", "unsealed"]
WEIGHTS_FILE, WEIGHTS_CARD = "model.safetensors", "model.json"
"""Files of a model as it was trained, which is no exported one and can be trained further."""
MODEL_FILE, INT8_FILE, FP16_FILE = "model.onnx", "model.int8.onnx", "model.fp16.onnx"
"""Files of a model of windows, by the numbers that it computes with."""
PROGRAM_FILE = "model.pt2"
"""The same model as a program of `torch.export`."""
JUDGE_FILE = "judge.onnx"
"""The judge of the model beside it."""
ENCODER_FOLDER = "encoder"
"""The folder beside a judge whose encoder is not inside its file."""
SECOND_FOLDER = "second_judge"
"""The folder beside a judge in which another one lies that is asked after it."""
OPENWAKEWORD_FOLDER = "openwakeword"
"""Where the files of openWakeWord are, whose names are what it calls the wake words."""
CARD_MARKDOWN = "model_card.md"
"""The whole model card, for people."""
STREAMING_SUFFIXES = (".streaming.onnx", ".streaming.int8.onnx")
STREAMING_FILE, INT8_STREAMING_FILE = (f"model{suffix}" for suffix in STREAMING_SUFFIXES)
STREAMING_FILES = {MODEL_FILE: STREAMING_FILE, INT8_FILE: INT8_STREAMING_FILE}
"""What the same model is called as it streams."""
_KEY_CHARACTERS = 20
MODEL_CARD_KEY = "wakeword_model_card"
"""Entry of `metadata_props` of a bundle's model that holds the whole model card as JSON."""
CARD_KEY = "wakeword"
"""Entry of `metadata_props` that holds what the runtime reads, as JSON."""
SCORES = "scores"
"""What every model calls its scores."""
_MAX_STATE_BYTES = 64 * 2**20
_TYPE_BYTES = {"float32": 4, "float16": 2, "int64": 8, "uint8": 1, "int8": 1}
MAX_HANDICAP = 1e7
"""Odds of more than this are of a score that single precision does not tell from 1."""
_ROUNDING = 1e-3
"""By so much a score may be outside of 0 to 1: a softmax in few bits does not sum up to 1."""

Name = Annotated[str, Field(max_length=1_000)]
Score = Annotated[float, Field(ge=0, le=1 + _ROUNDING)]
Shapes = dict[str, list[Any]]
AnyCard = TypeVar("AnyCard", bound=BaseModel)


class Card(BaseModel):
    """A part of what a file says of itself; what it says besides is left alone."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class OperatingPointCard(Card):
    """What the runtime reads of an operating point."""

    threshold: Score


class StateCard(Card):
    """A state of a stream: its shape, and one number to begin with for each index of axis 1, or one for all."""

    shape: tuple[Annotated[int, Field(ge=0, le=_MAX_STATE_BYTES)], ...] = Field(min_length=1, max_length=8)
    start: tuple[float | int, ...] = Field(max_length=_MAX_STATE_BYTES)
    type: Literal["float32", "float16", "int64", "uint8", "int8"]

    @property
    def size(self) -> int:
        """Return the bytes of the state."""
        return math.prod(self.shape) * _TYPE_BYTES[self.type]


class StreamCard(Card):
    """How a streaming model is run."""

    native: bool
    states: dict[Name, StateCard] = Field(max_length=10_000)
    made_from: Name | None = None

    @model_validator(mode="after")
    def _small(self) -> Self:
        if sum(state.size for state in self.states.values()) > _MAX_STATE_BYTES:
            raise ValueError(f"states of more than {_MAX_STATE_BYTES // 2**20} MB")
        return self


class _Seal(Card):
    graph: Annotated[str, Field(max_length=100)]


class RuntimeCard(Card):
    """What the runtime reads of the card in a file."""

    phrase: Name
    labels: tuple[Name, ...] = Field(min_length=2, max_length=10_000)
    sample_rate: int = Field(ge=4_000, le=192_000)
    threshold: Score
    frontend: FrontendConfig
    detector: DetectorConfig
    operating_points: dict[Name, OperatingPointCard] = Field(max_length=1_000)
    handicaps: dict[Name, Annotated[float, Field(gt=0, le=MAX_HANDICAP)]] = {}
    streaming: StreamCard | None = None

    @model_validator(mode="after")
    def _handicaps_of_its_words(self) -> Self:
        if strange := sorted(self.handicaps.keys() - set(self.labels[1:])):
            raise ValueError(f"a handicap for {strange[0]!r}, which is none of its wake words")
        return self


def stride_frames(detector: DetectorConfig, frontend: FrontendConfig, sample_rate: int) -> int:
    """Return the frames between two scores: the nearest to `stride_seconds`, at least one."""
    return max(1, frontend.frames(detector.stride_seconds, sample_rate))


class ExportedModel(ABC):
    """An exported file and what it says of itself; a kind of file defines how it is run.

    `path` is an .onnx file or a folder that holds one of `names`; ArtifactError when it is missing, damaged or does
    what none of ours does. `threads` is the number of threads of one inference, `device` where it is made (the CPU
    where there is no CUDA). `operating_points` are the
    sensitivities that validation chose thresholds for, by name: threshold, target_fah and what they gave there; one of
    them, named by the card's `operating_point`, is `threshold`. `handicaps` [classes] make of each threshold one for
    each wake word; None where it is the same for all.
    """

    names: ClassVar[tuple[str, ...]]  # what is looked for in a folder, in this order

    def __init__(self, path: Path | str, threads: int = 1, device: Device = "cpu") -> None:
        from wakeword_core.runtime.detector import handicaps_of  # numpy, which those who only name files do without

        self.file = read_onnx(model_file(Path(path), self.names))
        self.path, self.threads, self.device = self.file.path, threads, device
        self.card = runtime_card(self.file)
        facts = read_card(RuntimeCard, self.card, self.path)
        self.phrase, self.labels, self.sample_rate = facts.phrase, facts.labels, facts.sample_rate
        self.threshold, self.frontend, self.detector = facts.threshold, facts.frontend, facts.detector
        self.handicaps = handicaps_of(self.labels, facts.handicaps)
        self.operating_points: dict[str, dict[str, Any]] = self.card["operating_points"]
        self._thresholds = {name: point.threshold for name, point in facts.operating_points.items()}
        self.stride_frames = stride_frames(self.detector, self.frontend, self.sample_rate)
        trial = self.file.trial()
        inputs, outputs = (
            {value.name: list(value.shape or ()) for value in values}
            for values in (trial.get_inputs(), trial.get_outputs())
        )
        example, rows = self._example(facts, inputs, outputs)
        self.checked(self.file.first_run(trial, example)[SCORES], rows)
        self.session = self.file.session(threads, device)

    @abstractmethod
    def _example(
        self, facts: RuntimeCard, inputs: Shapes, outputs: Shapes
    ) -> tuple[dict[str, "npt.NDArray[Any]"], int]:
        """Return inputs for a first run and how many scores it gives; ArtifactError if card and graph do not fit."""

    def checked(self, scores: Any, rows: int) -> "npt.NDArray[np.float32]":
        """Return scores that are float32 [rows, classes] and numbers from 0 to 1; ArtifactError for others."""
        wanted, given = (rows, len(self.labels)), getattr(scores, "shape", None)
        if given != wanted or scores.dtype != "float32":
            raise ArtifactError(
                f"{self.path} gives {getattr(scores, 'dtype', type(scores).__name__)} {list(given or ())} for the "
                f"scores of {wanted[1]} labels, not float32 {list(wanted)}; export the model again"
            )
        if scores.size and not (scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING):  # NaN is neither
            raise ArtifactError(f"{self.path} gives scores that are no numbers from 0 to 1; export the model again")
        checked: npt.NDArray[np.float32] = scores
        return checked

    @property
    def graph_digest(self) -> str:
        """The digest of weights and nodes that it was sealed with, whatever card it carries; empty without one."""
        sealed = self.file.metadata.get(SEAL_KEY)
        return read_card(_Seal, parse_card(sealed, self.path), self.path).graph if sealed else ""

    @property
    def key(self) -> str:
        """The key of the artifact that it was exported as, or digits of the file's hash if it names none."""
        keys = self.card.get("keys")
        key = keys.get("onnx_model") if isinstance(keys, dict) else None
        return str(key or self.file.sha256[:_KEY_CHARACTERS])

    @property
    def model_card(self) -> dict[str, Any] | None:
        """The whole model card, which a bundle's `model.onnx` carries."""
        text = self.file.metadata.get(MODEL_CARD_KEY)
        return parse_card(text, self.path) if text else None

    @property
    def quiet_samples(self) -> int:
        """Samples of quiet after the end of a recording by which nothing of it is left in any window or average.

        A model hears a word some frames after its end. A recording that ends with the word needs quiet behind it.
        """
        averaged = self.detector.smoothing + self.detector.hold
        return self.frontend.window_samples + averaged * self.stride_frames * self.frontend.hop_length

    @property
    def first_end(self) -> int:
        """The frame at which the first window that is scored ends; the others follow `stride_frames` apart."""
        return (self.frontend.window_frames - 1) % self.stride_frames

    def window_end(self, frame: Any) -> Any:
        """Return the time in seconds at which a window ends whose last frame is `frame` (or each of [n])."""
        return (frame * self.frontend.hop_length + self.frontend.n_fft) / self.sample_rate

    def threshold_at(self, point: str | None = None, threshold: float | None = None) -> float:
        """Choose an operating point's threshold, or `threshold`, or the model's; ConfigError for an unknown point."""
        if point is None:
            return self.threshold if threshold is None else threshold
        if threshold is not None:
            raise ConfigError(f"a threshold ({threshold:g}) and a sensitivity ({point}) were given; give one of them")
        if point not in self._thresholds:
            known = ", ".join(self._thresholds) or "none"
            raise ConfigError(f"{self.path} has no sensitivity {point!r}; it has {known}")
        return self._thresholds[point]


def model_file(path: Path, names: tuple[str, ...]) -> Path:
    """Find the model at `path`, a file or a folder that holds one of `names`; ArtifactError if there is none."""
    candidates = [path / name for name in names] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ArtifactError(f"there is no model at {path}; give an exported .onnx file or the folder that holds it")
    return file


def runtime_card(file: OnnxFile) -> dict[str, Any]:
    """Return the card that the runtime reads; ArtifactError for a file without one."""
    text = file.metadata.get(CARD_KEY)
    if text is None:
        raise ArtifactError(f"{file.path} carries no {CARD_KEY!r} card, so it was not exported by this project")
    return parse_card(text, file.path)


def parse_card(text: str, file: Path) -> dict[str, Any]:
    """Parse a card of the metadata of `file`; ArtifactError if it is no JSON object."""
    try:
        card = parse_json(text)
        canonical_json(card)  # which knows no number that is infinite
    except ValueError as error:
        raise ArtifactError(f"the card in {file} is not JSON ({reason_of(error)}); export the model again") from error
    if not isinstance(card, dict):
        raise ArtifactError(f"the card in {file} is not a JSON object; export the model again")
    return card


def read_card(kind: type[AnyCard], card: Mapping[str, Any], file: Path) -> AnyCard:
    """Return what `kind` names of a card in `file`; ArtifactError, with the first thing that is wrong, if it cannot."""
    try:
        return kind.model_validate(card)
    except ValidationError as error:
        raise ArtifactError(
            f"the card in {file} cannot be used ({reason_of(error)}); export the model again"
        ) from error


def seal(model: "ModelProto") -> None:
    """Store digests of the graph (weights and nodes) and of the card, so that the file can tell if it was altered.

    It guards against accidents and careless edits. It is no signature: who edits a file knowingly can seal it anew.
    """
    properties = _properties(model)
    properties[SEAL_KEY] = canonical_json(_digests(model))
    del model.metadata_props[:]
    for name, value in properties.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, value


def check_seal(model: "ModelProto") -> Seal:
    """Tell whether the model is as it was sealed, and what is not; an unreadable seal counts as an altered card."""
    stored = next((entry.value for entry in model.metadata_props if entry.key == SEAL_KEY), None)
    if stored is None:
        return "unsealed"
    digests = _digests(model)
    try:
        sealed = parse_json(stored)
        graph, card = sealed["graph"], sealed["card"]
    except (ValueError, TypeError, KeyError):
        return "card altered"
    if graph != digests["graph"]:
        return "graph altered"
    return "whole" if card == digests["card"] else "card altered"


def _digests(model: "ModelProto") -> dict[str, str]:
    bare = type(model)()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    graph = hashlib.sha256(bare.SerializeToString(deterministic=True)).hexdigest()
    return {"graph": graph, "card": digest([graph, _properties(model)])}


def _properties(model: "ModelProto") -> dict[str, str]:
    """The metadata without the seal."""
    return {entry.key: entry.value for entry in model.metadata_props if entry.key != SEAL_KEY}
