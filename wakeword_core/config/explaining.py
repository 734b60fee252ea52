"""What a setting may be, in words, and what is wrong with one: name, value and what is allowed; or its new name."""

import difflib
import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from wakeword_core.config import Config, TrainingConfig
from wakeword_core.config.base import lookup

_SHOWN_LENGTH = 80
_ARCHITECTURES: dict[Any, type[BaseModel]] = {
    model.model_fields["arch"].default: model
    for model in typing.get_args(TrainingConfig.model_fields["model"].annotation)
}
_BOUNDS = {
    "minimum": "at least {:,}",
    "exclusiveMinimum": "more than {:,}",
    "maximum": "at most {:,}",
    "exclusiveMaximum": "less than {:,}",
    "minLength": "at least {:,} long",
    "maxLength": "at most {:,} long",
    "pattern": "that matches {}",
    "minItems": "at least {:,} long",
    "maxItems": "at most {:,} long",
}
"""Keyword of a JSON schema -> what it says of a value."""
_TYPES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "names with values",
}


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


_ALLOWED: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "literal_error": lambda context: str(context["expected"]),
    "finite_number": lambda _: "a finite number",
    "int_from_float": lambda _: "a whole number",
    "int_parsing": lambda _: "a whole number",
    "int_parsing_size": lambda _: "a smaller whole number",
    "int_type": lambda _: "a whole number",
    "float_parsing": lambda _: "a number",
    "float_type": lambda _: "a number",
    "bool_parsing": lambda _: "true or false",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "text (put it in quotes)",
    "string_too_short": lambda context: f"text of at least {_counted(context['min_length'], 'character')}",
    "string_too_long": lambda context: f"text of at most {_counted(context['max_length'], 'character')}",
    "string_pattern_mismatch": lambda context: f"text that matches {context['pattern']}",
    "path_type": lambda _: "a path (text)",
    "tuple_type": lambda _: "a list",
    "list_type": lambda _: "a list",
    "dict_type": lambda _: "names with values, such as {name: value}",
    "too_short": lambda context: f"a list of at least {_counted(context['min_length'], 'value')}",
    "too_long": lambda context: f"a list of at most {_counted(context['max_length'], 'value')}",
    "model_type": lambda _: "a group of settings (name: value)",
    "model_attributes_type": lambda _: "a group of settings (name: value)",
}


def value_text(value: Any) -> str:
    """Write a value as it would stand in the configuration, cut when long."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 3] + "..."


def written(value: Any) -> str:
    """Write a value as it would stand in a configuration."""
    return value if isinstance(value, str) and value else json.dumps(to_jsonable_python(value), ensure_ascii=False)


def allowed_values(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say in words which values a JSON schema allows; `definitions` are those that it may refer to."""
    if "$ref" in schema:
        return allowed_values(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if choices := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(allowed_values(choice, definitions) for choice in choices))
    if "enum" in schema or "const" in schema:
        return " or ".join(map(written, schema.get("enum", [schema.get("const")])))
    if "prefixItems" in schema:
        return f"[{', '.join(allowed_values(item, definitions) for item in schema['prefixItems'])}]"
    if "properties" in schema:
        return "a group of settings"
    kind = _TYPES.get(schema.get("type", ""), "")
    bounds = [text.format(_plain(schema[keyword])) for keyword, text in _BOUNDS.items() if keyword in schema]
    inner = schema.get("items") or schema.get("additionalProperties")
    each = allowed_values(inner, definitions) if isinstance(inner, dict) else ""
    return ", ".join(filter(None, (kind, *bounds, each and f"each {each}")))


def _plain(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def explain(error: ValidationError, values: Mapping[str, Any]) -> str:
    """Write a ValidationError of Config as one sentence; `values` is the whole tree that was validated."""
    details = error.errors(include_url=False)
    # A misspelt name explains more than what follows from it.
    details.sort(key=lambda detail: detail["type"] != "extra_forbidden")
    more = f" (and {_counted(len(details) - 1, 'more wrong setting')})" if len(details) > 1 else ""
    return _sentence(details[0], values) + more


def _sentence(detail: ErrorDetails, values: Mapping[str, Any]) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    raw = detail["loc"]
    location = raw[:2] + raw[3:] if raw[:2] == ("training", "model") and raw[2:3] and raw[2] in _ARCHITECTURES else raw
    name = ".".join(map(str, location))
    if kind == "extra_forbidden":
        return f"{name} is not a setting; {_suggestion(location, raw)}"
    if kind == "missing" and isinstance(location[-1], int):
        group = ".".join(map(str, location[:-1]))
        count = len(typing.get_args(_annotation(raw[:-1])))
        return f"{group} is {value_text(value)}, but must be a list of {count} values"
    if kind == "missing":
        field = _group_of(raw).model_fields.get(str(location[-1]))
        described = f"it says: {field.description}" if field and field.description else "it has no default"
        return f"{name} is missing; {described}"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        tag = value.get("arch") if isinstance(value, dict) else value
        known = context.get("expected_tags", "")
        return f"{name}.arch is {value_text(tag)}, but must be {' or '.join(known.rsplit(', ', 1))}"
    if kind == "value_error":
        return _from_validator(name, str(context["error"]), value, values)
    if kind in _ALLOWED:
        return f"{name} is {value_text(value)}, but must be {_ALLOWED[kind](context)}"
    return f"{name} is {value_text(value)}, which is not allowed: {detail['msg']}"


def _from_validator(name: str, message: str, value: Any, values: Mapping[str, Any]) -> str:
    """Explain a rule of our own: about one setting, or about several of a group, whose values are then looked up."""
    if not isinstance(value, dict):
        return f"{name} is {value_text(value)}, but {message}" if message.startswith("must") else f"{name}: {message}"
    prefix = f"{name}." if name else ""
    mentioned = dict.fromkeys(re.findall(r"[a-z]\w*(?:\.\w+)*", message))
    settings = {prefix + word: lookup(values, prefix + word) for word in mentioned}
    named = [f"{full} is {value_text(setting)}" for full, setting in settings.items() if _is_plain(setting)]
    if named:
        return f"{' and '.join(named)}, but {message}"
    return f"{name or 'the configuration'} is wrong: {message}"


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(entry, int | float) for entry in value)
    return isinstance(value, int | float | str)


def _annotation(location: tuple[int | str, ...]) -> Any:
    """Return the annotation at a location of pydantic, which may have the tag of an architecture; None if unknown."""
    annotation: Any = Config
    for part in location:
        if isinstance(part, int):
            annotation = next(iter(typing.get_args(annotation)), None)
        elif _is_group(annotation):
            field = annotation.model_fields.get(part)
            annotation = field.annotation if field else None
        elif typing.get_origin(annotation) is dict:
            annotation = typing.get_args(annotation)[-1]
        else:
            annotation = _ARCHITECTURES.get(part)
    return annotation


def _is_group(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _group_of(location: tuple[int | str, ...]) -> type[BaseModel]:
    group = _annotation(location[:-1])
    return group if _is_group(group) else Config


def _suggestion(location: tuple[int | str, ...], raw: tuple[int | str, ...]) -> str:
    wrong = str(location[-1])
    prefix = "".join(f"{part}." for part in location[:-1])
    names = list(_group_of(raw).model_fields)
    if near := difflib.get_close_matches(wrong, names, n=1):
        return f"did you mean {prefix}{near[0]}?"
    for tag, model in _ARCHITECTURES.items():
        if prefix == "training.model." and wrong in model.model_fields:
            return f"it belongs to training.model.arch={tag}; here: {', '.join(names)}"
    elsewhere = {name.rsplit(".", 1)[-1]: name for name in reversed(list(_all_names(Config)))}
    if near := difflib.get_close_matches(wrong, list(elsewhere), n=1, cutoff=0.8):
        return f"did you mean {elsewhere[near[0]]}?"
    return f"allowed here: {', '.join(names)}"


def _all_names(group: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in group.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *typing.get_args(field.annotation)):
            if _is_group(inner) and name != "sources":
                yield from _all_names(typing.cast(type[BaseModel], inner), f"{prefix}{name}.")


_MOVED = {
    "data": {
        "data.audio": "sample_rate silence_dbfs",
        "data.health": "min_seconds max_seconds "
        "max_background_seconds max_channels max_file_mb max_clipped_ratio vad_threshold",
        "data.splits": "val_fraction test_fraction",
        "compute": "workers",
    },
    "shards": {"compute": "retries"},
    "features": {
        "features.windows": "tail_seconds edge_seconds",
        "features.context": "jitter_seconds",
        "features.rows": "negative_hop_seconds max_windows dtype",
        "features.augment": "views negative_views",
        "compute": "batch_windows gpu_batch_windows workers",
    },
    "training": {
        "training.optimizer": "weight_decay momentum clip_norm adaptive_clip",
        "training.schedule": "epochs learning_rate "
        "warmup_fraction final_lr_fraction drop_at drop_factor plateau_patience",
        "training.sampling": "batch_size micro_batch "
        "steps_per_epoch max_steps_per_epoch mix clean_share difficulty_floor",
        "training.validation": "keep patience keep_every",
        "training.precision": "amp amp_dtype channels_last",
        "compute": "device threads processes compile",
        "checks": "min_val_auc",
    },
    "mining": {
        "mining.search": "min_score lockout_seconds per_recording max_clips",
        "mining.tuning": "epochs learning_rate_fraction keep",
    },
    "evaluation": {
        "evaluation.streams": "noise_seconds gap_seconds tolerance_seconds session_minutes floor_dbfs",
        "evaluation.conditions.test": "far_snr_db far_rooms far_rt60_seconds",
        "evaluation.operating_points": "sweep_points confidence",
        "evaluation.report": "fah_points",
    },
    "export": {"export.onnx": "opset parity_tolerance"},
}
"""Old group -> new group -> the settings that moved there with their names."""
RENAMED = {
    **{
        f"{old}.{name}": f"{new}.{name}"
        for old, groups in _MOVED.items()
        for new, names in groups.items()
        for name in names.split()
    },
    "model": "training.model",
    "synthesis.neural_share": "synthesis.engines",
    "data.split_rotation": "data.splits.rotation",
    "features.context_frames": "features.context.frames",
    "training.optimizer": "training.optimizer.kind",
    "training.schedule": "training.schedule.kind",
    "training.sampler": "training.sampling.kind",
    "training.ema_decay": "training.ema.decay",
    "training.ema_final_decay": "training.ema.final_decay",
    "training.ema_final_fraction": "training.ema.final_fraction",
    "training.val_metric": "training.validation.metric",
    "training.val_max_fpr": "training.validation.max_fpr",
    "training.val_false_alarms_per_hour": "training.validation.false_alarms_per_hour",
    "evaluation.target_snr_db": "evaluation.conditions.tuning.snr_db",
    "evaluation.stream_snr_db": "evaluation.conditions.test.snr_db",
    "evaluation.operating_points": "evaluation.operating_points.points",
    "evaluation.operating_point": "evaluation.operating_points.default",
    "evaluation.report_clips": "evaluation.report.clips",
    "evaluation.report_suspicious_clips": "evaluation.report.suspicious_clips",
    "evaluation.report_clip_seconds": "evaluation.report.clip_seconds",
    "export.int8_calibration_windows": "export.int8.calibration_windows",
    "export.int8_max_ratio": "export.int8.max_ratio",
    "export.int8_max_f1_drop": "export.int8.max_f1_drop",
}
"""Old dotted name -> new dotted name; the name of a group stands for all that is in it."""
_ABSENT = object()


def renamed_in(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first old name that a tree of settings uses, and the new one; None where there is none.

    Some old names are groups now: they are used as before where they hold no group, or had one and it is another.
    """
    for old, new in RENAMED.items():
        value, group = lookup(tree, old, _ABSENT), lookup(defaults, old)
        in_group = isinstance(value, Mapping) and isinstance(group, Mapping)
        if in_group and isinstance(lookup(defaults, new), Mapping):
            in_group = value.keys() <= group.keys()
        if value is not _ABSENT and not in_group:
            return old, new
    return None
