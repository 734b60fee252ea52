"""`wakeword forget`: never again use a recording or a speaker, and delete what was made from it."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wakeword_core.errors import ArtifactError, ConfigError
from wakeword_core.graph.project import Project
from wakeword_core.store.cleaning import Item, delete, freed_bytes, shown_key
from wakeword_core.text import printable
from wakeword_pipeline.cli.tables import count_items, items_json, print_items, size_text
from wakeword_pipeline.orchestration.home import ProjectOptions, prepare_home

if TYPE_CHECKING:
    from wakeword_pipeline.tracking.versions import ModelRun

_ELSEWHERE = (
    "Not searched: the recordings' own files, which stay where they are; models that were exported or copied out of "
    "the home; and figures and pictures in Dagster's history and in reports that were copied."
)


@dataclass(frozen=True)
class ForgetRequest:
    """A recording or a speaker to forget, the reason, and whether to rebuild, to purge, and to ask before."""

    recording: str | None
    speaker: str | None
    reason: str
    rebuild: bool
    purge: bool
    ask: bool


@dataclass(frozen=True)
class Affected:
    """Artifacts and leftovers that hold the recordings or were made from them, and their runs in MLflow."""

    items: list[Item]
    runs: "list[ModelRun]"


def run_forget(request: ForgetRequest, options: ProjectOptions, *, as_json: bool) -> None:
    """Write the tombstone, print what is affected, and rebuild and purge where that is asked for.

    ConfigError for an unclear request or where nobody can be asked, ArtifactError while a build is running.
    """
    if (request.recording is None) == (request.speaker is None):
        raise ConfigError("name either a recording or --speaker")
    if request.purge and request.ask and not sys.stdin.isatty():
        raise ConfigError("--purge asks before it deletes, and there is no terminal to ask at; add --yes")
    options = replace(options, given_config=options.config)
    project = options.project()
    with project.store.undisturbed("forget"):
        recording_ids = _bury(project, request)
    if request.rebuild:
        from wakeword_pipeline.cli.commands.run import run_config

        run_config(options, (), as_json=False)
    affected = _affected(project, recording_ids)
    _print(project, recording_ids, affected)
    purged = request.purge and _purge(project, options, recording_ids, affected, request)
    print(_ELSEWHERE)
    if as_json:
        runs = [
            {"run": run.run_id, "stage": run.stage, "key": run.key, "versions": list(map(str, run.versions))}
            for run in affected.runs
        ]
        items = items_json(affected.items)
        print(json.dumps({"recordings": list(recording_ids), "affected": items, "mlflow": runs, "purged": purged}))


def _bury(project: Project, request: ForgetRequest) -> list[str]:
    """Write the tombstone, remove what was measured of the recordings, and return their recording_ids."""
    from wakeword_core.lineage.forgetting import find_recording, find_speaker, known_recordings

    known = known_recordings(project.store)
    if request.speaker is not None:
        speaker, recording_ids = find_speaker(request.speaker, known)
        speakers = [speaker]
    else:
        assert request.recording is not None
        roots = {source.name: source.root for source in project.config.data.sources}
        recording_ids, speakers = [find_recording(request.recording, known, roots)], []
    project.forgotten().adding(recording_ids, speakers, request.reason).save(project.home)
    project.scan_cache().forget_facts(recording_ids)
    return recording_ids


def _affected(project: Project, recording_ids: Collection[str]) -> Affected:
    """Return what is affected now. A run whose artifact is gone counts: it may be made from the recordings too."""
    from wakeword_core.lineage.forgetting import affected
    from wakeword_core.store.graph import Graph
    from wakeword_pipeline.tracking.versions import model_runs

    items = affected(project.store, recording_ids)
    names = {(item.stage, item.paths[0].name) for item in items}
    clean = Graph.of_store(project.store).artifacts.keys() - names
    return Affected(items, [run for run in model_runs(str(project.home)) if (run.stage, run.key) not in clean])


def _print(project: Project, recording_ids: Sequence[str], affected: Affected) -> None:
    what = (
        f"Recording {recording_ids[0][:16]} is" if len(recording_ids) == 1 else f"{len(recording_ids)} recordings are"
    )
    print(printable(f"{what} forgotten: no build in {project.home} will use it again."))
    if affected.items:
        print_items("what holds it, was made from it, or cannot be traced", affected.items)
    else:
        print("There is no artifact that holds it or was made from it.")
    for run in affected.runs:
        versions = ", ".join(map(str, run.versions)) or "no registered version"
        print(printable(f"MLflow run {run.run_id[:8]} of {run.stage} {run.key[:10]}: {versions}"))


def _purge(
    project: Project,
    options: ProjectOptions,
    recording_ids: Collection[str],
    affected: Affected,
    request: ForgetRequest,
) -> bool:
    """Delete what is affected, if the person agrees, and search what is left; return whether it was done."""
    import dagster as dg

    from wakeword_pipeline.orchestration.runs import require_rest
    from wakeword_pipeline.tracking.versions import delete_runs, mirror

    prepare_home(project.home, options.config)
    require_rest(project.home, dg.DagsterInstance.get(), "forget --purge")
    if affected.items:
        if not _agreed(f"Delete these, {size_text(freed_bytes(affected.items))}?", request):
            print("Nothing was deleted.")
            return False
        with project.store.undisturbed("forget --purge"):
            items = _affected(project, recording_ids).items
            freed = freed_bytes(items)
            delete(items)
            print(f"Deleted {count_items(items)}, which freed {size_text(freed)}.")
            _remove_from_registries(project, items, request.reason)
            _require_gone(project, recording_ids)
    runs = affected.runs
    if runs and _agreed(f"Delete {len(runs)} runs and the versions of models made from them from MLflow?", request):
        delete_runs(str(project.home), runs)
        print(f"Deleted {len(runs)} runs from MLflow.")
    mirror(project)
    return True


def _remove_from_registries(project: Project, items: Collection[Item], reason: str) -> None:
    from wakeword_core.graph.promotion import remove_deleted
    from wakeword_core.stage_names import MODEL

    keys = {item.paths[0].name for item in items if item.stage == MODEL}
    why = "made from what was forgotten" + (f" ({reason})" if reason else "")
    for entry in remove_deleted(project.home, keys, why):
        print(printable(f"Model {shown_key(entry.key)} is removed from the registry."))


def _agreed(question: str, request: ForgetRequest) -> bool:
    import typer

    return not request.ask or typer.confirm(question)


def _require_gone(project: Project, recording_ids: Collection[str]) -> None:
    from wakeword_core.lineage.forgetting import search

    result = search(project.store.root, recording_ids)
    left = [*result.holders, *result.unreadable]
    if left:
        raise ArtifactError(f"{left[0]} and {len(left) - 1} more files still hold it or cannot be read; delete them")
    root = printable(project.store.root)
    print(f"Searched {result.files} tables, shards and feature files in {root}: none of them holds it.")
