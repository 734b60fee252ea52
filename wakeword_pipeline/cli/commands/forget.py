"""The command that makes a home forget a recording or a speaker: tombstone, what is affected, rebuild, purge."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.graph.project import Project
from wakeword_core.store.cleaning import Item, delete, freed_bytes, shown_key
from wakeword_pipeline.cli.tables import items_json, print_items, shown_size, things
from wakeword_pipeline.orchestration.home import config_of, home_path, prepare_home

if TYPE_CHECKING:
    from wakeword_pipeline.tracking.versions import ModelRun

_ELSEWHERE = (
    "Not looked into: the recordings' own files, which stay where they are; models that were exported or copied out of "
    "the home; and figures and pictures in Dagster's history and in reports that were copied."
)


@dataclass(frozen=True)
class Wanted:
    """What is to be forgotten, one of a recording and a speaker; why; and what is to be done about it."""

    recording: str | None
    speaker: str | None
    reason: str
    rebuild: bool
    purge: bool
    ask: bool


@dataclass(frozen=True)
class Affected:
    """What holds the recordings or was made from them: artifacts and leftovers of the store, and runs in MLflow."""

    items: list[Item]
    runs: "list[ModelRun]"


def run_forget(
    wanted: Wanted, config: Path | None, home: Path | None, settings: Sequence[str], *, as_json: bool
) -> None:
    """Write the tombstone, tell what is affected, and rebuild and purge where that is wanted.

    ConfigError when what is wanted is not clear or cannot be asked, ArtifactError while a build is running.
    """
    if (wanted.recording is None) == (wanted.speaker is None):
        raise ConfigError("name either a recording or --speaker")
    if wanted.purge and wanted.ask and not sys.stdin.isatty():
        raise ConfigError("--purge asks before it deletes, and there is no terminal to ask at; add --yes")
    folder = home_path(home)
    path = config_of(folder, config)
    project = Project(load_config(path, settings), folder)
    with project.store.undisturbed("forget"):
        ids = _bury(project, wanted)
    if wanted.rebuild:
        from wakeword_pipeline.cli.commands.run import run_config

        run_config(path, folder, settings, (), as_json=False)
    found = _affected(project, ids)
    result = _result(ids, found)
    _show(project, ids, found)
    result["purged"] = wanted.purge and _purge(project, path, ids, found, wanted)
    print(_ELSEWHERE)
    if as_json:
        print(json.dumps(result))


def _bury(project: Project, wanted: Wanted) -> list[str]:
    """Write the tombstone, and remove what was measured of the recordings; their ids."""
    from wakeword_core.lineage.forgetting import find_recording, find_speaker, known_recordings

    known = known_recordings(project.store)
    if wanted.speaker is not None:
        speaker, ids = find_speaker(wanted.speaker, known)
        speakers = [speaker]
    else:
        assert wanted.recording is not None
        roots = {source.name: source.root for source in project.config.data.sources}
        ids, speakers = [find_recording(wanted.recording, known, roots)], []
    project.forgotten().adding(ids, speakers, wanted.reason).save(project.home)
    project.scan_cache().forget_facts(ids)
    return ids


def _affected(project: Project, ids: Collection[str]) -> Affected:
    """What is affected now; a run of which the artifact is gone already may be made from the recordings too."""
    from wakeword_core.lineage.forgetting import affected
    from wakeword_core.store.graph import Graph
    from wakeword_pipeline.tracking.versions import model_runs

    items = affected(project.store, ids)
    named = {(item.stage, item.paths[0].name) for item in items}
    clean = Graph.of_store(project.store).artifacts.keys() - named
    return Affected(items, [run for run in model_runs(str(project.home)) if (run.stage, run.key) not in clean])


def _show(project: Project, ids: Sequence[str], found: Affected) -> None:
    what = f"recording {ids[0][:16]}" if len(ids) == 1 else f"{len(ids)} recordings"
    print(f"{what} forgotten: nothing that is built from now on in {project.home} uses it")
    if found.items:
        print_items("what holds it, was made from it, or cannot be told", found.items)
    else:
        print("no artifact holds it or was made from it")
    for run in found.runs:
        versions = ", ".join(map(str, run.versions)) or "no registered version"
        print(f"MLflow run {run.run_id[:8]} of {run.stage} {run.key[:10]}: {versions}")


def _purge(project: Project, config: Path, ids: Collection[str], found: Affected, wanted: Wanted) -> bool:
    """Delete what is affected, if the person agrees, and search what is left; whether it was done."""
    import dagster as dg

    from wakeword_pipeline.orchestration.runs import require_rest
    from wakeword_pipeline.tracking.versions import delete_runs, mirror

    prepare_home(project.home, config)
    require_rest(project.home, dg.DagsterInstance.get(), "forget --purge")
    if found.items and _agreed(f"Delete these, {shown_size(freed_bytes(found.items))}?", wanted):
        with project.store.undisturbed("forget --purge"):
            items = _affected(project, ids).items
            freed = freed_bytes(items)
            delete(items)
            print(f"deleted {things(items)}: {shown_size(freed)} freed")
            _enter(project, items, wanted.reason)
            _require_gone(project, ids)
    elif found.items:
        print("nothing was deleted")
        return False
    if found.runs and _agreed(f"Delete {len(found.runs)} runs and their versions of models from MLflow?", wanted):
        delete_runs(str(project.home), found.runs)
        print(f"deleted {len(found.runs)} runs from MLflow")
    mirror(project)
    return True


def _enter(project: Project, items: Collection[Item], reason: str) -> None:
    """Tell the registries which of their models were deleted."""
    from wakeword_core.graph.promotion import remove_deleted
    from wakeword_core.stage_names import MODEL

    keys = {item.paths[0].name for item in items if item.stage == MODEL}
    why = "made from what was forgotten" + (f" ({reason})" if reason else "")
    for entry in remove_deleted(project.home, keys, why):
        print(f"model {shown_key(entry.key)} is removed from the registry")


def _agreed(question: str, wanted: Wanted) -> bool:
    import typer

    return not wanted.ask or typer.confirm(question)


def _require_gone(project: Project, ids: Collection[str]) -> None:
    from wakeword_core.lineage.forgetting import search

    found = search(project.store.root, ids)
    left = [*found.holders, *found.unreadable]
    if left:
        raise ArtifactError(f"{left[0]} and {len(left) - 1} more files still hold it or cannot be read; delete them")
    print(f"searched {found.files} tables, shards and feature files of {project.store.root}: it is in none")


def _result(ids: Sequence[str], found: Affected) -> dict[str, Any]:
    return {
        "recordings": list(ids),
        "affected": items_json(found.items),
        "mlflow": [
            {"run": run.run_id, "stage": run.stage, "key": run.key, "versions": [str(one) for one in run.versions]}
            for run in found.runs
        ],
    }
