"""The command that finds what nothing needs any more, and deletes it when asked to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wakeword_core.config.loading import load_config
from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import status
from wakeword_core.stage_names import COMPARISON, MODEL
from wakeword_core.store.cleaning import Item, delete, freed_bytes, garbage
from wakeword_core.store.graph import Graph, NodeId
from wakeword_pipeline.cli.tables import items_json, print_items, shown_size, things
from wakeword_pipeline.orchestration.home import config_of, home_path, prepare_home


def collect_garbage(
    config: Path | None, home: Path | None, settings: Sequence[str], keep: int, *, really: bool, as_json: bool
) -> None:
    """List, and if `really` delete, what neither the last `keep` builds, nor the registry, nor `status` names.

    WakewordError when something is to be deleted while a build is running.
    """
    folder = home_path(home)
    if not (folder / "store").is_dir():
        raise WakewordError(f"{folder} holds no artifacts; name a home with --home")
    path = config_of(folder, config)
    project = Project(load_config(path, settings), folder)
    prepare_home(folder, path)
    if really:
        import dagster as dg

        from wakeword_pipeline.orchestration.runs import require_rest

        require_rest(folder, dg.DagsterInstance.get(), "gc --delete")
        with project.store.undisturbed("gc --delete"):
            items = _garbage(project, keep)
            result = {"items": items_json(items), "freed": freed_bytes(items), "deleted": True}
            delete(items)
    else:
        items = _garbage(project, keep)
        result = {"items": items_json(items), "freed": freed_bytes(items), "deleted": False}
    _report(items, result, folder)
    if as_json:
        print(json.dumps(result))


def _garbage(project: Project, keep: int) -> list[Item]:
    present = {(state.stage, state.artifact.key) for state in status(project) if state.artifact}
    return garbage(project.store, present | _recorded(keep) | _registered(project), _to_be(project))


def _to_be(project: Project) -> set[NodeId]:
    """Artifacts that the next build makes, as far as their keys are known: one that was killed may go on."""
    found: set[NodeId] = set()
    for stage in project.stages.values():
        for split in stage.splits:
            try:
                found.add((stage.name, project.expected_key(stage.name, split)))
            except ArtifactError:
                continue  # an input is to be built first
    return found


def _recorded(keep: int) -> set[NodeId]:
    import dagster as dg

    from wakeword_pipeline.orchestration.runs import last_builds

    return last_builds(dg.DagsterInstance.get(), keep)


def _registered(project: Project) -> set[NodeId]:
    """Champions and those before them, candidates, and everything made from them, for all projects of the home.

    But for comparisons, which would keep whoever they were held against.
    """
    from wakeword_core.registry.history import Registry

    graph = Graph.of_store(project.store)
    models = graph.known((MODEL, key) for registry in Registry.all(project.home) for key in registry.in_use)
    return {one.id for one in (*models, *graph.downstream(*models)) if one.stage != COMPARISON}


def _report(items: Sequence[Item], result: dict[str, Any], home: Path) -> None:
    if not items:
        print(f"everything in {home} is needed")
    elif result["deleted"]:
        print(f"deleted {things(items)} from {home}: {shown_size(result['freed'])} freed")
    else:
        print_items("not needed any more", items)
        print("nothing was deleted; `wakeword gc --delete` does it")
