"""The pages of the site that are made from the code: every setting, every command, the routes of the server, classes.

`python docs/reference.py` prints the page of settings.
"""

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast, get_args

import typer

from wakeword_core.config import Config
from wakeword_core.config.base import DECIDES_NOTHING, Settings
from wakeword_core.config.explaining import allowed_values, written
from wakeword_core.config.loading import AUTO, PRESETS
from wakeword_core.graph.stage import Stage
from wakeword_core.graph.stages import STAGES
from wakeword_core.serving.app import create_app
from wakeword_core.serving.service import Service
from wakeword_pipeline.cli.main import app

_INPUTS = {
    **dict.fromkeys(("training.teacher.models", "training.start_from"), ("trained_model", "tuned_model")),
    "judge.second": ("judged_model",),
}
"""Settings that name models, and the stages that these are inputs of."""


def settings_page() -> str:
    """Return the page of all settings: a table for each group of them."""
    presets = ", ".join(f"`{name}`" for name in PRESETS)
    lines = [
        "# Settings",
        "Every setting that a configuration may have, as the code defines it. A name such as "
        "`training.schedule.epochs` stands in the file as `epochs` under `schedule` under `training`, and on the "
        "command line as `--set training.schedule.epochs=30`.",
        f"Besides these, `preset` chooses the values of those that are not set: {presets}, or `{AUTO}`.",
        "A stage that becomes stale is made anew by the next build, and so is what is made from it, as far as its "
        "content changes ([the pipeline](../pipeline.md)).",
    ]
    for name, choice, group in _groups(Config):
        lines += _settings_of(name, choice, group)
    return "\n\n".join(lines) + "\n"


def _groups(group: type[Settings], name: str = "", choice: str = "") -> Iterator[tuple[str, str, type[Settings]]]:
    """Every group of settings, with its dotted name, and with what chooses it where there are several of that name."""
    yield name, choice, group
    for field, info in group.model_fields.items():
        inner = list(_groups_in(info.annotation))
        for one in inner:
            kind = next((key for key in ("arch", "kind") if key in one.model_fields), "")
            chosen = f"{kind}: {one.model_fields[kind].default}" if kind and len(inner) > 1 else ""
            yield from _groups(one, f"{name}.{field}".lstrip("."), chosen)


def _groups_in(annotation: Any) -> Iterator[type[Settings]]:
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from _groups_in(argument)


def _settings_of(name: str, choice: str, group: type[Settings]) -> Iterator[str]:
    """The heading of a group, what it is for, and the table of its own settings."""
    anchor = "-".join(filter(None, (name, choice.partition(": ")[2]))) or "project"
    title = f"`{name}`" if name else "The project"
    yield f"{'#' * (2 + name.count('.'))} {title}{f', `{choice}`' if choice else ''} {{ #{anchor} }}"
    yield _inline(" ".join((group.__doc__ or "").split()))
    fields = [field for field, info in group.model_fields.items() if info.annotation not in _groups_in(info.annotation)]
    stages = {field: stale_stages(f"{name}.{field}".lstrip("."), group) for field in fields}
    if len({*stages.values()}) == 1:
        yield _stale(stages[fields[0]])
        stages = {}
    if fields:
        rows = [_setting(group, field, stages.get(field)) for field in fields]
        yield _table(("setting", "default", "allowed", "what it is"), rows)


def _setting(group: type[Settings], field: str, stages: Sequence[str] | None) -> tuple[str, ...]:
    """The row of a setting; `stages` are told with it unless they are None."""
    info, schema = group.model_fields[field], group.model_json_schema()
    default = "must be given" if info.is_required() else _code(_default(info.get_default(call_default_factory=True)))
    allowed = html.escape(allowed_values(schema["properties"][field], schema.get("$defs", {})))
    note = "" if stages is None else f"<br><small>{_stale(stages)}</small>"
    return _code(field), default, allowed, _inline(info.description or "") + note


def _default(value: Any) -> str:
    """A default as it would stand in a configuration; of a group, what chooses it."""
    return f"{{arch: {value.arch}}}" if isinstance(value, Settings) else written(value)


def stale_stages(name: str, group: type[Settings]) -> tuple[str, ...]:
    """Return the stages whose own settings hold the setting of a dotted name, which is one of `group`."""
    if name in _INPUTS:
        return _INPUTS[name]
    if DECIDES_NOTHING in group.model_fields[name.rpartition(".")[2]].metadata:
        return tuple(stage.name for stage in STAGES if name in stage.settings)
    return tuple(stage.name for stage in STAGES if any(f"{name}.".startswith(branch) for branch in _branches(stage)))


def _branches(stage: Stage) -> Iterator[str]:
    """The beginnings of the names of all settings that a stage depends on."""
    for branch in (*stage.settings, *stage.settings_of_training, *filter(None, [stage.switch])):
        yield f"{branch}."
        if branch == "labels":
            yield "phrase."  # which they follow from


def _stale(stages: Sequence[str]) -> str:
    if not stages:
        return "A change makes no stage stale by itself."
    return f"A change makes stale: {', '.join(map(_code, stages))}."


def commands_page() -> str:
    """Return the page of all commands, with their arguments and options."""
    root = cast(Any, typer.main.get_command(app))
    lines = ["# Command line", _inline(root.help), *_options_of(root, "wakeword")]
    panels = dict.fromkeys(command.rich_help_panel for command in root.commands.values())
    for panel in panels:
        lines.append(f"## {panel}")
        for name, command in root.commands.items():
            if command.rich_help_panel == panel:
                lines += [f"### wakeword {name}", _inline(" ".join(command.help.split()))]
                lines += _options_of(command, f"wakeword {name}")
    return "\n\n".join(lines) + "\n"


def _options_of(command: Any, name: str) -> Iterator[str]:
    context = command.context_class(command, info_name=name)
    yield f"```\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```"
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    rows = [(_code(option), _inline(text.replace("\\[", "["))) for option, text in records]
    if rows:
        yield _table(("option", "what it does"), rows)


def http_page() -> str:
    """Return the page of the server's routes and answers, from its OpenAPI description."""
    stand_in = SimpleNamespace(
        settings=Config().serving, metrics=None, model_answer=SimpleNamespace(phrase=Config().phrase)
    )
    described = create_app(cast(Service, stand_in)).openapi()
    definitions = described["components"]["schemas"]
    lines = [
        "# HTTP",
        "The routes of `wakeword serve`, from the description that the server itself gives at `/openapi.json`. "
        "Streams, tokens and limits are described in [Serving](../serving.md).",
        "## Routes",
    ]
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            lines += [f"### {method.upper()} {path}", _inline(route["summary"])]
            if takes := _contents(route.get("requestBody", {})):
                lines.append(f"Takes {takes}.")
            rows = [
                (_code(status), _contents(answer), html.escape(answer["description"]))
                for status, answer in sorted(route["responses"].items())
            ]
            lines.append(_table(("status", "answer", "meaning"), rows))
    lines.append("## Answers")
    names = {name: {"const": name} if "properties" in schema else schema for name, schema in definitions.items()}
    for name, schema in definitions.items():
        rows = [
            (_code(field), html.escape(allowed_values(value, names)), _inline(value.get("description", "")))
            for field, value in schema.get("properties", {}).items()
        ]
        lines += [f"### {name}", _inline(" ".join(schema.get("description", "").split()))]
        lines.append(_table(("field", "value", "what it is"), rows))
    return "\n\n".join(line for line in lines if line) + "\n"


def _contents(body: Mapping[str, Any]) -> str:
    """The kinds of content of a request or an answer, with the names of their schemas."""
    shown = []
    for kind, content in body.get("content", {}).items():
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        shown.append(f'{_code(kind)}, <a href="#{name.lower()}">{name}</a>' if name else _code(kind))
    return "; ".join(shown)


def python_page() -> str:
    """Return the page of the classes that other programs use, which mkdocstrings fills."""
    parts = {
        "Running a model": ("Needs numpy and onnxruntime, never torch.", _RUNTIME),
        "Asking a server": ("Needs the extra `serve`.", _CLIENT),
    }
    lines = ["# Python"]
    for title, (needs, names) in parts.items():
        lines += [f"## {title}", needs, *(f"::: {name}" for name in names)]
    return "\n\n".join(lines) + "\n"


_RUNTIME = (
    "wakeword_core.runtime.Detector",
    "wakeword_core.runtime.WakewordModel",
    "wakeword_core.runtime.streaming.StreamingModel",
    "wakeword_core.runtime.detector.Detection",
)
_CLIENT = (
    "wakeword_core.serving.client.JudgeClient",
    "wakeword_core.serving.client.JudgeStream",
    "wakeword_core.serving.client.JudgeError",
)
PAGES = {
    "reference/settings.md": settings_page,
    "reference/commands.md": commands_page,
    "reference/http.md": http_page,
    "reference/python.md": python_page,
}
"""Place in the site -> what makes the page."""


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _inline(text: str) -> str:
    """Plain text as HTML, in which what stands between backticks is code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells in HTML: Markdown would take what stands in them for its own signs."""
    names = "".join(f"<th>{name}</th>" for name in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{names}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


if __name__ == "__main__":
    print(settings_page(), end="")
