"""The manifest beside a model for microcontrollers: what ESPHome and Home Assistant read of it, in their version 2.

ESPHome takes a manifest whose threshold no score can reach, and one whose model is missing; here neither is one.
"""

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from wakeword_core.config.base import LANGUAGE_TAG, LONGEST_PHRASE, Settings
from wakeword_core.config.export import TfliteConfig
from wakeword_core.errors import ArtifactError, DataError, reason_of
from wakeword_core.export.tflite.limits import MAX_ARENA
from wakeword_core.files import read_json, write_json

STEP_MS: Literal[10] = 10
"""Of the front end; ESPHome has one front end for all models, and so one step."""
LONGEST_WINDOW = 255
"""Scores of which ESPHome takes the mean at most."""
_FIRST_ESPHOME = "2024.7.0"
"""Which knows this version of manifests."""
_RESERVE = 1.35
"""How much more memory than here a microcontroller is given: its structures have other sizes, as the models that come
with ESPHome show, which are given 1.08 to 1.33 times as much."""
_ARENA_STEP = 16


class Micro(Settings):
    """What the detector does with the scores, and the memory that it gives the model."""

    feature_step_size: Literal[10] = STEP_MS
    tensor_arena_size: int = Field(ge=_ARENA_STEP, le=MAX_ARENA)
    probability_cutoff: float = Field(ge=1 / 255, le=254 / 255)
    sliding_window_size: int = Field(ge=1, le=LONGEST_WINDOW)
    minimum_esphome_version: str = Field(_FIRST_ESPHOME, pattern=r"^\d{4}\.\d{1,2}\.\d{1,2}$")


class Manifest(Settings):
    """A whole manifest; ESPHome refuses any name besides these."""

    type: Literal["micro"] = "micro"
    version: Literal[2] = 2
    model: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*\.tflite$", max_length=100)
    wake_word: str = Field(min_length=1, max_length=LONGEST_PHRASE)
    author: str = Field(min_length=1, max_length=130)
    website: str | None = Field(None, pattern=r"^https?://\S+$")
    trained_languages: tuple[Annotated[str, Field(pattern=LANGUAGE_TAG)], ...] = Field(min_length=1)
    micro: Micro


def manifest_of(
    model: str, phrase: str, settings: TfliteConfig, *, cutoff: float, window: int, least_arena: int
) -> Manifest:
    """Return the manifest of the file `model` for a phrase; DataError where a number is out of bounds."""
    try:
        return Manifest(
            model=model,
            wake_word=phrase,
            author=f"{settings.author} ({settings.licence})" if settings.licence else settings.author,
            website=settings.website or None,
            trained_languages=settings.languages,
            micro=Micro(tensor_arena_size=arena_of(least_arena), probability_cutoff=cutoff, sliding_window_size=window),
        )
    except ValidationError as error:
        raise DataError(f"no manifest for a microcontroller can be made: {reason_of(error)}") from error


def arena_of(least: int) -> int:
    """Return how many bytes of memory a model is given that needs at least so many here."""
    return math.ceil(_RESERVE * least / _ARENA_STEP) * _ARENA_STEP


def write_manifest(manifest: Manifest, folder: Path) -> Path:
    """Write the manifest beside its model, under the same name but for the ending; returns the path."""
    path = (folder / manifest.model).with_suffix(".json")
    write_json(path, manifest.model_dump(mode="json", exclude_none=True))
    return path


def read_manifest(path: Path) -> Manifest:
    """Read a manifest; ArtifactError where it is none, or its model is not beside it under the same name."""
    try:
        manifest = Manifest.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} is no manifest of a model for microcontrollers ({reason_of(error)})") from error
    model = path.with_suffix(".tflite")
    if manifest.model != model.name:
        raise ArtifactError(f"{path} names the model {manifest.model}, but Home Assistant looks for {model.name}")
    if not model.is_file():
        raise ArtifactError(f"{path} names {model.name}, which is not beside it")
    return manifest


def described(manifest: Manifest) -> dict[str, Any]:
    """Return the figures of a manifest that people look at."""
    micro = manifest.micro
    return {
        "cutoff": micro.probability_cutoff,
        "window": micro.sliding_window_size,
        "arena_bytes": micro.tensor_arena_size,
        "author": manifest.author,
        "languages": list(manifest.trained_languages),
    }
