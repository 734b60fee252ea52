"""Settings of plug-ins: which one of which package, and what it is told."""

from typing import Any, ClassVar

from pydantic import Field, JsonValue, ValidationInfo, field_validator

from wakeword_core.config.base import Settings
from wakeword_core.errors import ConfigError
from wakeword_core.plugins import Kind, Plugin, find_plugin


class PluginConfig(Settings):
    """Something that another package adds, by its name; its settings are checked by that package."""

    plugin_kind: ClassVar[Kind]

    name: str = Field(min_length=1, max_length=100, description="Its name, as its package declares it.")
    settings: dict[str, JsonValue] = Field({}, validate_default=True, description="What its package lets one set.")

    @property
    def plugin(self) -> Plugin:
        """The plug-in as it is installed; ConfigError where it is no longer."""
        return find_plugin(self.plugin_kind, self.name)

    @field_validator("name")
    @classmethod
    def _installed(cls, name: str) -> str:
        try:
            return find_plugin(cls.plugin_kind, name).name
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @field_validator("settings")
    @classmethod
    def _complete(cls, settings: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "name" not in info.data:  # which is wrong, and said to be
            return settings
        try:
            return find_plugin(cls.plugin_kind, info.data["name"]).complete(settings)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    def decides_besides(self) -> dict[str, Any]:
        """Return the package with its version: another one gives another result."""
        return {"package": self.plugin.package}


class LossPlugin(PluginConfig):
    """The loss of another package, where `kind` is plugin."""

    plugin_kind = "loss"


class FrontEndPlugin(PluginConfig):
    """The front end of another package, where `kind` is plugin."""

    plugin_kind = "front end"


class AugmentationPlugin(PluginConfig):
    """An augmentation of another package."""

    plugin_kind = "augmentation"

    probability: float = Field(0.5, ge=0, le=1, description="How often it changes a view.")
