"""Configuration files: YAML with a preset underneath and overrides on top, and one sentence for whatever is wrong."""

import logging
import os
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from wakeword_core.config import Config
from wakeword_core.config.base import is_key, lookup
from wakeword_core.config.data_roots import check_in_data_roots
from wakeword_core.config.explaining import explain, renamed_in, value_text
from wakeword_core.config.training import THE_CHAMPION
from wakeword_core.errors import ConfigError
from wakeword_core.files import write_text

log = logging.getLogger(__name__)

PRESETS = ("tiny", "balanced", "accurate", "text_only")
AUTO = "auto"
"""The preset that is `text_only` where synthetic speech is all that there is of the wake word, and else `balanced`."""
_MAX_BYTES = 1_000_000
_OWN = Path(__file__).parents[2]
"""Where this package was installed; the configuration of a demonstration that comes with it is nobody's data."""
_PRESET_FOLDER = Path(__file__).with_name("presets")
_ARCHITECTURE = "training.model.arch"
_DEEPEST = 50
"""Levels of groups and lists; the settings have six."""
_MOST_DIGITS = 100
_MOST_NODES = 20_000
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_PLACES: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("data.sources.*.path", "data.sources.*.link_roots.*"), lambda path: "://" in path),
    **dict.fromkeys(("data.corrections", "judge.encoder_folder", "synthesis.piper_voices.*"), lambda path: False),
    **dict.fromkeys(("judge.second", "training.teacher.models.*"), is_key),
    "training.start_from": lambda model: is_key(model) or model == THE_CHAMPION,
}
"""Settings that are paths, and what of each is none: a URL, the key of a model, whichever is champion."""
_TABLES = {"engines", "pronunciations", "points", "class_weights", "space", "settings"}
"""Settings that are tables of names of anybody's choice: one that is given stands for the whole, as a list does."""
_VARIABLE = re.compile(r"\$\{([^}]*)\}|\$([A-Za-z_][A-Za-z0-9_]*)")


def load_config(
    path: Path | None, overrides: Sequence[str] | Mapping[str, Any] = (), preset: str | None = None
) -> Config:
    """Load the configuration in the YAML file `path` (None: the defaults), over its preset and under `overrides`.

    An override is `dotted.name=value`, the value read as YAML and list entries named by index, or a value by its dotted
    name. `preset` wins over the file's own. Relative source paths start at the file's folder.
    Raises ConfigError with one sentence.
    """
    if path is not None:
        try:
            own = path.resolve().is_relative_to(_OWN)
        except ValueError as error:  # no path at all, such as one with a null character
            raise ConfigError(f"cannot read the configuration file {path}: {error}") from None
        if not own:
            check_in_data_roots(path, "the configuration file")
    defaults = Config().model_dump(mode="json")
    where = f"{path}: " if path else ""
    tree = _without_empty(_read(path) if path else {}, defaults)
    if renamed := renamed_in(tree, defaults):
        raise ConfigError(f"{where}{renamed[0]} is now {renamed[1]}")
    pairs = [*overrides.items()] if isinstance(overrides, Mapping) else [_parse_override(text) for text in overrides]
    for name, value in pairs:
        _check_renamed(name, value, defaults)
    chosen = preset or dict(pairs).get("preset") or tree.pop("preset", None)
    tree.pop("preset", None)
    if chosen == AUTO:
        chosen = _fitting(load_config(path, overrides, preset="balanced"))
    if chosen is not None:
        kind = dict(pairs).get("features.frontend.kind") or lookup(tree, "features.frontend.kind", "log_mel")
        tree = _merge(_preset(chosen, kind), tree)
    tree = _with_overrides(tree, defaults, [(name, value) for name, value in pairs if name != "preset"])
    folder = path.resolve().parent if path else Path.cwd()
    for pattern, stays in _PLACES.items():
        tree = _with_places(tree, pattern.split("."), stays, folder)
    config = _validated(tree, defaults, where, [name for name, _ in pairs])
    for name, named in _paths(config.model_dump(), ""):
        check_in_data_roots(named, f"{where}{name}:")
    if config.serving.cascade.judge is not None:
        check_in_data_roots(Path(config.serving.cascade.judge), f"{where}serving.cascade.judge:")
    of_groups = {
        "training": (*config.training.teacher.models, config.training.start_from),
        "judge.second": (config.judge.second,),
    }
    for group, models in of_groups.items():
        for model in models:
            if not (model is None or is_key(model) or model == THE_CHAMPION):
                check_in_data_roots(Path(model), f"{where}{group}:")
    return config


def with_settings(config: Config, values: Mapping[str, Any]) -> Config:
    """Return the configuration with other values of dotted settings; ConfigError with one sentence for wrong ones.

    With another architecture, the model's other settings are the defaults of that one.
    """
    defaults = Config().model_dump(mode="json")
    return _validated(_with_overrides(config.model_dump(mode="json"), defaults, list(values.items())), defaults)


def _with_overrides(
    tree: Mapping[str, Any], defaults: Mapping[str, Any], pairs: Sequence[tuple[str, Any]]
) -> dict[str, Any]:
    # A new architecture first: it replaces the model's settings, among which other overrides may be.
    for name, value in sorted(pairs, key=lambda pair: pair[0] != _ARCHITECTURE):
        tree = _overridden(tree, defaults, name, value)
    return _with_architecture(tree, defaults)


def _validated(
    tree: Mapping[str, Any], defaults: Mapping[str, Any], where: str = "", overrides: Sequence[str] = ()
) -> Config:
    """Validate a tree; an error names the file `where` it stands, unless an override has to do with it."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        told = explain(error, _merge(defaults, tree))
        field = told.split(" ")[0].rstrip(":")
        overridden = any(f"{name}.".startswith(f"{field}.") or field.startswith(f"{name}.") for name in overrides)
        raise ConfigError(told if overridden else where + told) from None


def _fitting(config: Config) -> str:
    """Choose the preset for what a configuration learns from, and say so in the log."""
    real = [source for source in config.data.sources if not source.synthetic]
    recorded = any(s.role == "positive" or s.words or s.labels for s in real)
    if recorded or not config.synthesis.enabled or not config.synthesis.positives:
        return "balanced"
    if tables := [source.name for source in real if source.is_table]:
        log.info(
            "The preset balanced is taken, since %s may list recordings of %r; name another if it lists none.",
            " or ".join(tables), config.phrase,
        )  # fmt: skip
        return "balanced"
    log.info("There is no recording of %r, so the preset text_only is taken.", config.phrase)
    return "text_only"


def _paths(value: Any, name: str) -> Iterator[tuple[str, Path]]:
    """Every path below a value of a configuration, with the name of its setting."""
    if isinstance(value, Path):
        yield name, value
    elif isinstance(value, dict | list | tuple):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _paths(inner, f"{name}.{key}" if name else str(key))


def save_config(config: Config, path: Path) -> None:
    """Write every setting as YAML; `load_config` of the file gives an equal configuration."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    write_text(path, text)


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key stands once, keys are text, and nothing refers to something else."""

    depth = nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="references (*name) are not supported", problem_mark=mark)
        if self.depth == _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
        self.nodes += 1
        if self.nodes > _MOST_NODES:
            raise yaml.MarkedYAMLError(problem=f"more than {_MOST_NODES:,} names and values", problem_mark=mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_scalar(self, node: yaml.ScalarNode) -> Any:
        # which Python may refuse to write as decimals
        if node.tag in _NUMBERS and len(node.value) > _MOST_DIGITS:
            problem = f"a number of {len(node.value):,} characters; at most {_MOST_DIGITS} are allowed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
        return super().construct_scalar(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = self.construct_object(key) if isinstance(key, yaml.ScalarNode) else None
            if not isinstance(name, str):
                problem = "a setting's name must be text (YAML reads on, off, yes and no as true or false)"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if name in seen:
                raise yaml.MarkedYAMLError(problem=f"{name} is set twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  a SafeLoader: plain values only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{place}: {error.problem or 'not valid YAML'}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise ConfigError(f"{where} is not valid YAML: {' '.join(str(error).split())}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise ConfigError(f"{path} has {size:,} bytes; a configuration has at most {_MAX_BYTES:,}")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no configuration file {path}; name another with --config") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text (byte {error.start:,})") from None
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    tree = _parse(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold settings (name: value), not {value_text(tree)}")
    return tree


def _preset(name: Any, kind: Any) -> dict[str, Any]:
    if name not in PRESETS:
        raise ConfigError(f"preset is {value_text(name)}, but must be {', '.join(PRESETS)} or {AUTO}")
    tree = _read(_PRESET_FOLDER / f"{name}.yaml")
    if kind != "log_mel":  # which alone are changed in training
        tree["training"].pop("augment", None)
    return tree


def _without_empty(tree: dict[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Drop groups and lists whose entries are all commented out, which YAML reads as null."""
    kept = {}
    for name, value in tree.items():
        default = defaults.get(name)
        if value is None and isinstance(default, dict | list):
            continue
        kept[name] = _without_empty(value, default) if isinstance(value, dict) and isinstance(default, dict) else value
    return kept


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `above` over `below`, group by group; a table, or a model of another architecture, replaces the one below."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        if (
            name not in _TABLES
            and isinstance(under, dict)
            and isinstance(value, dict)
            and value.get("arch", under.get("arch")) == under.get("arch")
        ):
            merged[name] = _merge(under, value)
        else:
            merged[name] = value
    return merged


def _with_architecture(tree: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `tree` in which settings of a model that names no architecture are of the default one."""
    training = tree.get("training")
    if not isinstance(training, dict) or not isinstance(training.get("model"), dict):
        return dict(tree)
    model = {"arch": defaults["training"]["model"]["arch"], **training["model"]}
    return {**tree, "training": {**training, "model": model}}


def _check_renamed(name: str, value: Any, defaults: Mapping[str, Any]) -> None:
    tree = value
    for part in reversed(name.split(".")):
        tree = {part: tree}
    if renamed := renamed_in(tree, defaults):
        old, new = renamed
        rest = name.removeprefix(old) if name.startswith(f"{old}.") else ""
        raise ConfigError(f"{old}{rest} is now {new}{rest}")


def _parse_override(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not all(name.split(".")):
        raise ConfigError(f"--set {text!r} must have the form dotted.name=value, as in training.schedule.epochs=40")
    if name.count(".") >= _DEEPEST:
        raise ConfigError(f"--set {value_text(name)} is no setting: its name has too many parts")
    return name, _parse(value, f"--set {name}")


def _overridden(tree: Mapping[str, Any], defaults: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    if name == _ARCHITECTURE:
        return _merge(_with_architecture(tree, defaults), {"training": {"model": {"arch": value}}})
    return _set(tree, defaults, name.split("."), value, name)


def _set(node: Any, default: Any, parts: list[str], value: Any, name: str) -> Any:
    if not parts:
        return value
    head, *rest = parts
    if node is None and isinstance(default, list) and head.isdecimal():
        node = default
    if isinstance(node, list):
        if not head.isdecimal() or len(head) > _MOST_DIGITS or int(head) > len(node):
            group = name.removesuffix(".".join(parts)).rstrip(".")
            known = f"entries 0 to {len(node) - 1}" if node else "no entries yet"
            raise ConfigError(f"--set {value_text(name)}: {group} has {known}, and {value_text(head)} is none of them")
        index = int(head)
        entries: list[Any] = [*node, None] if index == len(node) else list(node)
        entries[index] = _set(entries[index], None, rest, value, name)
        return entries
    inner = default.get(head) if isinstance(default, dict) else None
    group_above = dict(node) if isinstance(node, dict) else {}
    below = group_above.get(head, inner if head in _TABLES else None)
    return {**group_above, head: _set(below, inner, rest, value, name)}


def _with_places(node: Any, pattern: Sequence[str], stays: Callable[[str], bool], folder: Path, name: str = "") -> Any:
    """Return a copy of a tree of settings, or of what has that `name` in it, with absolute paths where a pattern leads.

    ~ and variables are expanded, and relative paths begin at `folder`. A text that `stays` is no path.
    """
    if not pattern:
        return _expanded(node, name, folder) if isinstance(node, str) and not stays(node) else node
    head, *rest = pattern
    if head == "*" and isinstance(node, list):
        return [_with_places(one, rest, stays, folder, f"{name}.{place}") for place, one in enumerate(node)]
    if isinstance(node, dict) and head in node:
        return {**node, head: _with_places(node[head], rest, stays, folder, f"{name}.{head}".lstrip("."))}
    return node


def _expanded(path: str, field: str, folder: Path) -> str:
    def value_of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        value = os.environ.get(name, "")
        if not value and match[1] is None:
            return match[0]  # a dollar sign is allowed in a name
        if not value:
            raise ConfigError(f"{field} is {value_text(path)}, but the environment variable {name} is not set")
        return value

    expanded = _VARIABLE.sub(value_of, path)
    if not expanded.strip():
        raise ConfigError(f"{field} is empty, but must be a path")
    home = os.path.expanduser(expanded)
    if re.match(r"~[^/]*(?:/|$)", home) and not os.path.lexists(folder / home):
        raise ConfigError(f"{field} is {value_text(path)}, but the home folder {expanded.split('/')[0]} is not known")
    return os.path.normpath(folder / home)
