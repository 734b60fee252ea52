"""The settings as a schema of Dagster, by which the launchpad completes, explains and checks what a run sets.

It is made from the JSON schema of the configuration, and a setting is written as in a configuration file. Only the
settings of a model are below the name of its architecture: `training: {model: {tcn: {channels: 96}}}`.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import dagster as dg
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_jsonable_python

from wakeword_core.config import Config
from wakeword_core.config.base import Settings
from wakeword_core.config.explaining import allowed_values, written
from wakeword_core.config.loading import AUTO, PRESETS

_Schema = Mapping[str, Any]
_SCALARS = {"integer": dg.Int, "number": dg.Float, "string": dg.String, "boolean": dg.Bool}
_PRESET = {
    "enum": [*PRESETS, AUTO],
    "default": "that of the configuration file",
    "description": "The settings that hold where neither the configuration file nor this run gives another.",
}


class _JsonSchema(GenerateJsonSchema):
    """The JSON schema without defaults of whole groups, whose settings have their own: that takes a third less time."""

    def encode_default(self, dft: Any) -> Any:
        return None if isinstance(dft, Settings) else to_jsonable_python(dft)


@cache
def settings_schema() -> dg.Shape:
    """Return the type of a group of any settings of the configuration, and of the preset below them."""
    whole = Config.model_json_schema(schema_generator=_JsonSchema)
    return _Types(whole["$defs"]).group({"properties": {"preset": _PRESET, **whole["properties"]}})


def given_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return by their dotted names what a value of this schema sets, as `load_config` takes it."""
    return dict(_given(given, Config))


def _given(given: Mapping[str, Any], group: type[Settings], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        field = group.model_fields.get(name)
        inner = field.annotation if field else None
        if field and field.discriminator:
            ((choice, settings),) = value.items()
            yield f"{prefix}{name}.{field.discriminator}", choice
            yield from ((f"{prefix}{name}.{setting}", one) for setting, one in settings.items())
        elif isinstance(inner, type) and issubclass(inner, Settings):
            yield from _given(value, inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class _Types:
    """The types of Dagster for the JSON schemas of settings, with the definitions that these refer to."""

    def __init__(self, definitions: Mapping[str, _Schema]) -> None:
        self._definitions = definitions

    def group(self, schema: _Schema, without: str = "") -> dg.Shape:
        """Return the type of a group, in which nothing must be given that has a default."""
        required = schema.get("required", ())
        return dg.Shape(
            {
                name: dg.Field(self._type(setting), is_required=name in required, description=self._described(setting))
                for name, setting in schema["properties"].items()
                if name != without
            }
        )

    def _type(self, schema: _Schema) -> Any:
        schema = self._resolved(schema)
        if "discriminator" in schema:
            return self._choice(**schema["discriminator"])
        if "anyOf" in schema:
            return self._either(schema["anyOf"])
        if "enum" in schema:
            return dg.Enum(" | ".join(map(written, schema["enum"])), [dg.EnumValue(value) for value in schema["enum"]])
        if "properties" in schema:
            return self.group(schema)
        if schema.get("type") == "array":
            first, *others = schema.get("prefixItems", [schema.get("items")])
            return dg.Array(self._type(first) if all(one == first for one in others) else dg.Any)
        if schema.get("type") == "object":
            (value,) = schema.get("patternProperties", {"": schema.get("additionalProperties")}).values()
            # what is no plain value can be written in several ways, such as one text in place of a list
            return dg.Map(str, _SCALARS.get(self._resolved(value).get("type", ""), dg.Any))
        return _SCALARS.get(schema.get("type", ""), dg.Any)

    def _choice(self, mapping: Mapping[str, str], propertyName: str) -> dg.Selector:  # noqa: N803  of JSON schemas
        groups = {name: self._resolved({"$ref": place}) for name, place in mapping.items()}
        return dg.Selector(
            {
                name: dg.Field(self.group(group, propertyName), is_required=False, description=self._described(group))
                for name, group in groups.items()
            }
        )

    def _either(self, choices: Sequence[_Schema]) -> Any:
        types = [self._type(choice) for choice in choices if choice.get("type") != "null"]
        if len(types) == 1:
            return dg.Noneable(types[0])
        scalar, other = types  # Dagster has no type for a scalar or names with values
        return dg.ScalarUnion(scalar, other) if isinstance(other, dg.Array) else dg.Any

    def _described(self, schema: _Schema) -> str:
        """Return what a setting is for, and of a single one its default and what it may be."""
        resolved = self._resolved(schema)
        text = " ".join(str(schema.get("description") or resolved.get("description", "")).split())
        if "properties" in resolved or "discriminator" in resolved:
            return text
        default = f" Default: {written(schema['default'])}." if "default" in schema else ""
        return f"{text}{default} Allowed: {allowed_values(schema, self._definitions)}."

    def _resolved(self, schema: _Schema) -> _Schema:
        """Return what a schema refers to, or itself where it does not."""
        return self._definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
