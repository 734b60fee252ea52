"""The whole way from features to scores (CMVN, backbone, calibration, softmax), and its files."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from wakeword_core.config import Config, ModelConfig
from wakeword_core.config.models import PluginModelConfig, architecture
from wakeword_core.config.training import Normalisation
from wakeword_core.errors import ArtifactError, ConfigError, DataError, WakewordError, reason_of
from wakeword_core.files import as_type, read_json, replacing, write_json
from wakeword_core.models import build_model
from wakeword_core.models.calibrators import new_calibrator
from wakeword_core.models.layers import StandardisedWindows, WindowBackbone
from wakeword_core.models.rounding import TrainedRounding
from wakeword_core.runtime.exported import WEIGHTS_CARD, WEIGHTS_FILE

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn

WEIGHTS, CARD = WEIGHTS_FILE, WEIGHTS_CARD
_CARD_NEEDS = ("labels", "frontend", "sample_rate")
_SHAPE = ("n_mels", "frames", "classes")
_Size = Annotated[int, Field(ge=1, le=10_000)]
_ROUNDING = "rounding"
_ARCHITECTURE = ("model", *_SHAPE, "calibration")


class ScoringModel(nn.Module):
    """Log-mels in, class probabilities out; everything they depend on is in its state dict."""

    mean: Tensor
    std: Tensor
    rounding: TrainedRounding | None
    """of a model that was trained for 8-bit integers"""

    def __init__(
        self,
        settings: ModelConfig,
        n_mels: int,
        frames: int,
        classes: int,
        calibration: str = "temperature",
        normalisation: Normalisation = "corpus",
    ) -> None:
        super().__init__()
        self.settings, self.n_mels, self.frames, self.classes = settings, n_mels, frames, classes
        self.backbone, self.normalisation = build_model(settings, n_mels, frames, classes), normalisation
        if normalisation == "window":
            if not isinstance(self.backbone, WindowBackbone):
                raise ConfigError(
                    f"training.normalisation is window, but {architecture(settings)} is a network that scores every "
                    "step of a stream; set it to corpus"
                )
            self.backbone = StandardisedWindows(self.backbone)
        self.register_buffer("mean", torch.zeros(n_mels))
        self.register_buffer("std", torch.ones(n_mels))
        self.set_calibrator(calibration, {})
        self.register_module(_ROUNDING, None)

    def set_cmvn(self, cmvn: "Cmvn") -> None:
        """Take over mean and standard deviation; DataError when they do not fit or cannot normalise."""
        mean, std = (torch.as_tensor(values, dtype=torch.float32) for values in (cmvn.mean, cmvn.std))
        if mean.shape != self.mean.shape or std.shape != self.std.shape:
            raise DataError(f"CMVN is for {mean.numel()} mel bands, the model for {self.n_mels}; compute it again")
        if not bool(mean.isfinite().all() and std.isfinite().all() and (std > 0).all()):
            raise DataError("CMVN must be finite with positive deviations; compute it again from good features")
        self.mean.copy_(mean)
        self.std.copy_(std)

    @property
    def cmvn(self) -> "Cmvn":
        """Return mean and standard deviation of each band, by which features are normalised."""
        from wakeword_core.features.cmvn import Cmvn

        return Cmvn(*(values.cpu().numpy().copy() for values in (self.mean, self.std)))

    @property
    def weights(self) -> dict[str, Tensor]:
        """Return the state dict without the rounding, which is that of these very weights."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith(f"{_ROUNDING}.")}

    def set_calibrator(self, method: str, parameters: Mapping[str, Any]) -> None:
        """Calibrate by `method` of `CalibrationConfig` with its layer's parameters; those left out change nothing."""
        calibrator = new_calibrator(method, self.classes, parameters).train(self.training)
        self.calibration, self.calibrator = method, calibrator.to(self.mean.device)

    def normalise(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] log-mel of any float type to float32 with the mean of each band at zero."""
        return (x.float() - self.mean[:, None]) / self.std[:, None]

    def logits(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] log-mel to raw logits [batch, classes], not calibrated."""
        logits: Tensor = self.backbone(self.normalise(x))
        return logits

    def calibrated_logits(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] log-mel to what enters the softmax [batch, classes]."""
        logits: Tensor = self.calibrator(self.logits(x))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """Map [batch, n_mels, frames] log-mel to probabilities [batch, classes]."""
        return torch.softmax(self.calibrated_logits(x), dim=1)


def new_model(config: Config) -> ScoringModel:
    """Make an untrained model for a project's windows and classes."""
    frontend, training = config.features.frontend, config.training
    return ScoringModel(
        training.model,
        frontend.bands,
        frontend.window_frames,
        len(config.labels),
        normalisation=training.normalisation,
    )


def count_parameters(model: nn.Module) -> int:
    """Count the trainable numbers of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


def model_card(config: Config) -> dict[str, Any]:
    """Return the part of `model.json` that comes from the configuration."""
    frontend, model = config.features.frontend, config.training.model
    others = [frontend.plugin, model if isinstance(model, PluginModelConfig) else None]
    packages = sorted({other.plugin.package for other in others if other is not None})
    return {
        "phrase": config.phrase,
        "labels": list(config.labels),
        "sample_rate": config.data.audio.sample_rate,
        "frontend": frontend.model_dump(mode="json", exclude_none=True),
        # so that whatever is made from the model is made anew with another version
        **({"packages": packages} if packages else {}),
    }


def save_model(folder: Path, model: ScoringModel, card: dict[str, Any]) -> None:
    """Write `model.safetensors` and `model.json` (architecture and `card`: labels, frontend, sample_rate, any more)."""
    missing = [name for name in _CARD_NEEDS if name not in card]
    if missing:
        raise ArtifactError(f"the model card lacks {', '.join(missing)}; a model cannot be used without")
    if len(card["labels"]) != model.classes:
        raise ArtifactError(f"the card names {len(card['labels'])} classes, but the model has {model.classes}")
    kept = model.weights if model.rounding is not None and not model.rounding.known else model.state_dict()
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}
    broken = [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ArtifactError(f"weights of {', '.join(broken[:3])} are not finite; the model is not saved")
    facts = {name: getattr(model, name) for name in (*_SHAPE, "calibration")}
    if model.normalisation != "corpus":
        facts["normalisation"] = model.normalisation
    architecture = {"model": model.settings.model_dump(mode="json"), **facts}
    with replacing(folder / WEIGHTS) as part:
        save_file(state, part)
    write_json(folder / CARD, {**card, **architecture})


def load_model(folder: Path) -> tuple[ScoringModel, dict[str, Any]]:
    """Load the model in `folder`, in eval mode on the CPU, and its card; ArtifactError if anything does not fit."""
    card = _read_card(folder / CARD)
    try:
        settings: ModelConfig = TypeAdapter(ModelConfig).validate_python(card["model"])
        n_mels, frames, classes = as_type(tuple[_Size, _Size, _Size], [card[name] for name in _SHAPE])
        with torch.random.fork_rng(devices=[]):
            normalisation = TypeAdapter[Normalisation](Normalisation).validate_python(
                card.get("normalisation", "corpus")
            )
            model = ScoringModel(settings, n_mels, frames, classes, card["calibration"], normalisation)
    except (ValidationError, ValueError, TypeError, RuntimeError, WakewordError) as error:
        raise ArtifactError(
            f"{folder / CARD} does not describe a known model ({reason_of(error)}); train it again"
        ) from error
    labels = card["labels"]
    if (
        not isinstance(labels, list)
        or len(labels) != model.classes
        or not all(isinstance(name, str) for name in labels)
    ):
        raise ArtifactError(f"{folder / CARD} does not name its {model.classes} classes; train the model again")
    try:
        state = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{folder / WEIGHTS} cannot be read ({reason_of(error)}); train the model again") from error
    model.rounding = _room_for_rounding(state)
    _check_fit(state, model.state_dict(), folder / WEIGHTS)
    model.load_state_dict(state, strict=True)
    return model.eval(), card


def _room_for_rounding(state: Mapping[str, Tensor]) -> TrainedRounding | None:
    sizes = [state[name].numel() for name in (f"{_ROUNDING}.steps", f"{_ROUNDING}.shares") if name in state]
    return TrainedRounding(*sizes) if len(sizes) == 2 else None


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = read_json(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing; {path.parent} holds no trained model") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({reason_of(error)}); train the model again") from error
    missing = [name for name in (*_ARCHITECTURE, *_CARD_NEEDS) if not isinstance(card, dict) or name not in card]
    if missing:
        raise ArtifactError(f"{path} is not a model card: it lacks {', '.join(missing)}; train the model again")
    assert isinstance(card, dict)
    return card


def _check_fit(stored: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Refuse weights of another model: names, shapes, number formats and finiteness must all be right."""
    unlike = sorted(stored.keys() ^ expected.keys())
    unlike += [
        name
        for name in sorted(stored.keys() & expected.keys())
        if stored[name].shape != expected[name].shape or stored[name].dtype != expected[name].dtype
    ]
    if unlike:
        raise ArtifactError(f"{path} does not fit its card: {', '.join(unlike[:3])} differ; train the model again")
    broken = [name for name, tensor in stored.items() if not bool(torch.isfinite(tensor).all())]
    if broken:
        raise ArtifactError(f"{path} has values that are not finite in {', '.join(broken[:3])}; train the model again")
