"""`wakeword models`, `promote` and `rollback`: the models of the registry, and which one is champion."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wakeword_core.errors import ConfigError
from wakeword_core.evaluation.measure.wording import percent, rate
from wakeword_core.graph.project import Project
from wakeword_core.graph.promotion import promote as promote_in
from wakeword_core.graph.promotion import rollback as rollback_in
from wakeword_core.registry.history import Entry, Registry, bundles_by_model
from wakeword_core.stage_names import MODEL
from wakeword_core.store.artifacts import Artifact
from wakeword_core.store.cleaning import shown_key
from wakeword_core.text import printable
from wakeword_pipeline.orchestration.home import ProjectOptions

ROLE_STYLES = {"champion": "bold green", "candidate": "cyan", "refused": "red", "retired": "dim", "removed": "dim"}


def show_models(options: ProjectOptions, *, as_json: bool) -> None:
    """Print every model of the registry, the newest last, and why each has its role."""
    project = options.project()
    registry = project.registry()
    bundles = bundles_by_model(project.store)
    rows = [_row(project, registry, bundles.get(key), version, key) for version, key in enumerate(registry.keys, 1)]
    if as_json:
        history = [asdict(entry) for entry in registry.history]
        print(json.dumps({"phrase": registry.phrase, "models": rows, "history": history}))
    elif rows:
        _print(rows, registry)
    else:
        print(printable(f"No model of {registry.phrase!r} was decided about yet; `wakeword run` builds one."))


def promote_model(key: str, reason: str, options: ProjectOptions, *, force: bool) -> None:
    """Make a model champion; ConfigError for --force without a reason."""
    if force and not reason:
        raise ConfigError("--force goes against the gate: say why with --reason")
    project = options.project()
    with project.store.in_use():
        entry = promote_in(project, key, reason, force=force)
    took_over = f", instead of {shown_key(entry.opponent)}" if entry.opponent else ""
    print(printable(f"{shown_key(entry.key)} is champion{took_over}."))
    _print_place(project, entry)
    _mirror(project)


def roll_back(reason: str, options: ProjectOptions) -> None:
    """Make the champion before the present one champion again."""
    project = options.project()
    with project.store.in_use():
        champion, refused = rollback_in(project, reason)
    print(printable(f"{shown_key(champion.key)} is champion again, instead of {shown_key(refused.key)}."))
    _print_place(project, champion)
    _mirror(project)


def _mirror(project: Project) -> None:
    from wakeword_pipeline.tracking.versions import mirror

    mirror(project)


def _row(project: Project, registry: Registry, bundle: Artifact | None, version: int, key: str) -> dict[str, Any]:
    last = registry.last(key)
    assert last is not None
    model = project.store.find(MODEL, key)
    return {
        "version": version,
        "key": key,
        "role": registry.role(key),
        "decision": last.decision,
        "when": last.when,
        "because": last.reason,
        "held_against": last.opponent or None,
        "figures": dict(last.figures),
        "artifacts": dict(last.artifacts),
        "path": str(bundle.path) if bundle else str(model.path) if model else None,
    }


def _print(rows: Sequence[dict[str, Any]], registry: Registry) -> None:
    champion = registry.champion
    title = f"{printable(registry.phrase)}: " + (f"champion {shown_key(champion.key)}" if champion else "no champion")
    table = Table(title=Text(title, "bold"), title_justify="left", show_lines=True)
    for heading in ("", "model"):
        table.add_column(heading, no_wrap=True)
    table.add_column("decided\n(UTC)", no_wrap=True)
    for heading in ("missed", "alarms/h"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("because", overflow="fold", ratio=1)
    for row in rows:
        figures, key = row["figures"], shown_key(row["key"])
        table.add_row(
            str(row["version"]),
            Text.assemble(
                (f"{row['role']}\n", ROLE_STYLES[row["role"]]), printable(key), ("" if row["path"] else "\nno files")
            ),
            Text(printable(row["when"])[:16].replace("T", "\n")),
            percent(figures.get("frr")),
            rate(figures.get("fah")),
            Text(printable(_with_short_keys(row["because"], registry))),
        )
    Console(highlight=False).print(table)


def _with_short_keys(text: str, registry: Registry) -> str:
    for key in registry.keys:
        text = text.replace(key, shown_key(key))
    return text


def _print_place(project: Project, entry: Entry) -> None:
    bundle = bundles_by_model(project.store).get(entry.key)
    if bundle:
        print(printable(f"Its bundle is {bundle.path}"))
