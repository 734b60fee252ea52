"""Training that goes on from a finished model: what is taken over of it, and which of its layers stay as they are."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from wakeword_core.config import Config, FrontendConfig
from wakeword_core.config.base import deciding
from wakeword_core.errors import ArtifactError, ConfigError, reason_of
from wakeword_core.models.scoring import ScoringModel, load_model, new_model
from wakeword_core.training.data import derived_seed

if TYPE_CHECKING:
    from wakeword_core.lineage.given import GivenModel

log = logging.getLogger(__name__)

_CLASSIFIER, _DROPOUT = "classifier", "dropout"
"""Of every backbone: what makes scores of what it has heard, and a setting of it that weights do not depend on."""


def require_startable(given: "GivenModel", config: Config) -> None:
    """Raise ConfigError, with both sides named, where the configured model cannot begin as a given one."""
    if not given.has_weights:
        raise ConfigError(
            f"training.start_from names {given.name}, an exported file, which cannot be trained further; name the "
            "model's key in this home, or a folder with model.safetensors and model.json"
        )
    model, card = load_model(given.path)
    own, wanted = (deciding(settings) | {_DROPOUT: None} for settings in (model.settings, config.training.model))
    if own != wanted:
        raise ConfigError(
            f"training.start_from names {given.name}, a model of {_differing(own, wanted)}, but training.model is "
            f"{_differing(wanted, own)}; a model starts from one of its own architecture"
        )
    if model.normalisation != config.training.normalisation:
        raise ConfigError(
            f"training.start_from names {given.name}, whose training.normalisation is {model.normalisation}, but here "
            f"it is {config.training.normalisation}; a model starts from one whose features are normalised alike"
        )
    try:
        heard = deciding(FrontendConfig.model_validate(card["frontend"])) | {"sample_rate": card["sample_rate"]}
    except ValueError as error:
        raise ArtifactError(f"the card of {given.path} cannot be used ({reason_of(error)})") from error
    hears = deciding(config.features.frontend) | {"sample_rate": config.data.audio.sample_rate}
    if heard != hears:
        raise ConfigError(
            f"training.start_from names {given.name}, which hears {_differing(heard, hears)}, but features.frontend "
            f"and data.audio are {_differing(hears, heard)}; a model starts from one with its own front end"
        )
    layers_to_freeze(model.backbone, config.training.freeze)


def _differing(one: dict[str, object], other: dict[str, object]) -> str:
    """Write down what one group of settings has that another has not."""
    return ", ".join(f"{name}={value}" for name, value in one.items() if other.get(name) != value) or "less"


def starting_config(config: Config) -> Config:
    """Return the configuration with the lower rate of a training that goes on from a model, where it does."""
    training = config.training
    if training.start_from is None:
        return config
    return config.changed({"training.schedule.learning_rate": training.schedule.peak * training.start_share})


def starting_model(folder: Path, config: Config) -> ScoringModel:
    """Return the model of `folder` as training goes on from it; its features are normalised as they were before.

    Where it told other wake words apart, what makes its scores is that of a model that begins with random weights.
    """
    before, card = load_model(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.training_seed, 0, "weights"))
        model = new_model(config)
    weights = before.backbone.state_dict()
    if tuple(card["labels"]) == config.labels:
        log.info("training goes on from %s", folder)
    else:
        log.info(
            "training goes on from %s, which told %s: the layer that makes scores is replaced by a new one for %s",
            folder,
            ", ".join(card["labels"][1:]),
            ", ".join(config.labels[1:]),
        )
        new = model.backbone.state_dict()
        weights = {name: new[name] if _CLASSIFIER in name.split(".") else value for name, value in weights.items()}
    model.backbone.load_state_dict(weights, strict=True)
    model.set_cmvn(before.cmvn)
    return model


def layers_to_freeze(backbone: nn.Module, wanted: int | tuple[str, ...]) -> dict[str, list[nn.Module]]:
    """Return the layers that `training.freeze` asks for, by name: of each network of an ensemble, the same.

    A layer is what has weights before the classifier; of a row of layers it is each of them. ConfigError for more
    layers than there are, or an unknown name.
    """
    layers: dict[str, list[nn.Module]] = {}
    for network in getattr(backbone, "members", [backbone]):
        for name, layer in _layers(cast(nn.Module, network)):
            layers.setdefault(name, []).append(layer)
    if isinstance(wanted, int):
        chosen, unknown = [*layers][:wanted], wanted > len(layers)
    else:
        of = {one: [name for name in layers if name == one or name.startswith(f"{one}.")] for one in wanted}
        chosen, unknown = [name for names in of.values() for name in names], not all(of.values())
    if unknown:
        asked = wanted if isinstance(wanted, int) else ", ".join(wanted)
        raise ConfigError(f"training.freeze is {asked}, but the {len(layers)} layers are {', '.join(layers)}")
    return {name: layers[name] for name in chosen}


def _layers(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in network.named_children():
        several = isinstance(child, nn.ModuleList | nn.Sequential)
        inner = [(f"{name}.{place}", part) for place, part in child.named_children()] if several else [(name, child)]
        for place, layer in inner if name != _CLASSIFIER else ():
            if any(True for _ in layer.parameters()):
                yield place, layer


def freeze(backbone: nn.Module, wanted: int | tuple[str, ...]) -> tuple[nn.Module, ...]:
    """Keep the layers that `training.freeze` asks for as they are, and return them."""
    layers = layers_to_freeze(backbone, wanted)
    if layers:
        log.info("layers that stay as they are: %s", ", ".join(layers))
    frozen = tuple(layer for alike in layers.values() for layer in alike)
    for layer in frozen:
        layer.requires_grad_(False)
    return frozen
