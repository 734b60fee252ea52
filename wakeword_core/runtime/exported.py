"""An exported file, the card in it and its seal. Needs numpy and onnxruntime, never torch."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from wakeword_core.config import DetectorConfig, FrontendConfig
from wakeword_core.errors import ArtifactError, ConfigError, MissingDependencyError
from wakeword_core.files import canonical_json, digest

if TYPE_CHECKING:
    from onnx import ModelProto

SEAL_KEY = "wakeword_seal"
"""Entry of `metadata_props` that holds the digests as JSON."""

Seal = Literal["whole", "graph altered", "card altered", "unsealed"]
MODEL_FILE, INT8_FILE, FP16_FILE = "model.onnx", "model.int8.onnx", "model.fp16.onnx"
"""Files of a model of windows, by the numbers that it computes with."""
STREAMING_SUFFIXES = (".streaming.onnx", ".streaming.int8.onnx")
STREAMING_FILE, INT8_STREAMING_FILE = (f"model{suffix}" for suffix in STREAMING_SUFFIXES)
STREAMING_FILES = {MODEL_FILE: STREAMING_FILE, INT8_FILE: INT8_STREAMING_FILE}
"""What the same model is called as it streams."""
MODEL_CARD_KEY = "wakeword_model_card"
"""Entry of `metadata_props` of a bundle's model that holds the whole model card as JSON."""
CARD_KEY = "wakeword"
"""Entry of `metadata_props` that holds what the runtime reads, as JSON."""
_MAX_MODEL_BYTES = 256 * 2**20


def stride_frames(detector: DetectorConfig, frontend: FrontendConfig, sample_rate: int) -> int:
    """Return the frames between two scores: the nearest to `stride_seconds`, at least one."""
    return max(1, frontend.frames(detector.stride_seconds, sample_rate))


class ExportedModel:
    """An exported file and what it says of itself; a kind of file defines how it is run.

    `path` is an .onnx file or a folder that holds one of `names`; ArtifactError when it is missing, too large, damaged
    or not one of ours. `threads` is the number of threads of one inference. `operating_points` are the sensitivities
    that validation chose thresholds for, by name: threshold, target_fah and what they gave there; one of them, named by
    the card's `operating_point`, is `threshold`.
    """

    names: tuple[str, ...]  # what is looked for in a folder, in this order

    def __init__(self, path: Path | str, threads: int = 1) -> None:
        self.path = model_file(Path(path), self.names)
        self.threads = threads
        self._session = _open_session(self.path, threads)
        self.card = _read_card(self._session, self.path)
        try:
            self.phrase = str(self.card["phrase"])
            self.labels = tuple(str(label) for label in self.card["labels"])
            self.sample_rate = int(self.card["sample_rate"])
            self.threshold = float(self.card["threshold"])
            self.frontend = FrontendConfig.model_validate(self.card["frontend"])
            self.detector = DetectorConfig.model_validate(self.card["detector"])
            self.operating_points: dict[str, dict[str, Any]] = dict(self.card["operating_points"])
            self._thresholds = {name: float(point["threshold"]) for name, point in self.operating_points.items()}
        except (AttributeError, KeyError, TypeError, ValueError, ValidationError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise ArtifactError(f"the card in {self.path} cannot be used ({reason}); export the model again") from error
        self.stride_frames = stride_frames(self.detector, self.frontend, self.sample_rate)

    @property
    def graph_digest(self) -> str:
        """The digest of weights and nodes that it was sealed with, whatever card it carries; empty without one."""
        sealed = self._session.get_modelmeta().custom_metadata_map.get(SEAL_KEY)
        try:
            return str(json.loads(sealed)["graph"]) if sealed else ""
        except (ValueError, TypeError, KeyError) as error:
            raise ArtifactError(f"the seal of {self.path} cannot be read ({error}); export the model again") from error

    @property
    def model_card(self) -> dict[str, Any] | None:
        """The whole model card, which a bundle's `model.onnx` carries."""
        text = self._session.get_modelmeta().custom_metadata_map.get(MODEL_CARD_KEY)
        return parse_card(text, self.path) if text else None

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
            raise ConfigError(f"{self.path} has no sensitivity {point!r}; it has {', '.join(self._thresholds)}")
        return self._thresholds[point]


def model_file(path: Path, names: tuple[str, ...]) -> Path:
    """Find the model at `path`, a file or a folder that holds one of `names`.

    Raises ArtifactError if there is none, or if it is too large.
    """
    candidates = [path / name for name in names] if path.is_dir() else [path]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise ArtifactError(f"there is no model at {path}; give an exported .onnx file or the folder that holds it")
    if file.stat().st_size > _MAX_MODEL_BYTES:
        raise ArtifactError(
            f"{file} has {file.stat().st_size / 2**20:,.0f} MB, more than the {_MAX_MODEL_BYTES // 2**20} MB that a "
            "wake-word model may have; it is not one of ours"
        )
    return file


def _open_session(file: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError("running a model needs onnxruntime: pip install onnxruntime") from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common public base
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArtifactError(f"{file} is not an ONNX model that can run here ({reason[:200]})") from error


def _read_card(session: Any, file: Path) -> dict[str, Any]:
    text = session.get_modelmeta().custom_metadata_map.get(CARD_KEY)
    if text is None:
        raise ArtifactError(f"{file} carries no {CARD_KEY!r} card, so it was not exported by this project")
    return parse_card(text, file)


def parse_card(text: str, file: Path) -> dict[str, Any]:
    """Parse a card of the metadata of `file`; ArtifactError if it is no JSON object."""
    try:
        card = json.loads(text)
    except ValueError as error:
        raise ArtifactError(f"the card in {file} is not JSON ({error}); export the model again") from error
    if not isinstance(card, dict):
        raise ArtifactError(f"the card in {file} is not a JSON object; export the model again")
    return card


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
        sealed = json.loads(stored)
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
