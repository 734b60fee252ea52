"""`wakeword gc`: which artifacts nothing needs any more, and their deletion."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from wakeword_core.errors import ArtifactError, WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.graph.status import status
from wakeword_core.stage_names import COMPARISON, MODEL
from wakeword_core.store.cleaning import Item, delete, freed_bytes, garbage, remote_garbage
from wakeword_core.store.graph import Graph, NodeId
from wakeword_core.store.remote import RemoteItem
from wakeword_core.text import printable
from wakeword_pipeline.cli.commands.remote import remote_of
from wakeword_pipeline.cli.tables import count_items, items_json, print_items, size_text
from wakeword_pipeline.orchestration.home import ProjectOptions, open_instance, prepare_home
from wakeword_pipeline.search.needed import needed_by_searches


def collect_garbage(options: ProjectOptions, keep: int, *, deletes: bool, compacts: bool, as_json: bool) -> None:
    """List, and with `deletes` delete, what no build, registry or search needs, as `_roots` says.

    With `compacts`, shards and features are written anew before that where rows do not count or lie scattered.
    WakewordError when something is to be deleted or written while a build is running.
    """
    home = options.home
    _require_artifacts(home)
    project = options.project()
    prepare_home(home, options.config)
    what = "gc --delete" if deletes else "gc --compact"
    if deletes or compacts:
        from wakeword_pipeline.orchestration.runs import require_rest

        require_rest(home, open_instance(home), what)
    with project.store.undisturbed(what) if deletes or compacts else nullcontext():
        compacted = _compact(project) if compacts else []
        items = _garbage(project, keep)
        result = {
            "items": items_json(items), "freed": freed_bytes(items), "deleted": deletes, "compacted": compacted,
        }  # fmt: skip
        if deletes:
            delete(items)
    _report(items, result, home, "gc")
    if as_json:
        print(json.dumps(result))


def collect_remote_garbage(options: ProjectOptions, keep: int, *, deletes: bool, as_json: bool) -> None:
    """Do the same on the remote, where what was pushed lately stays too: another home may need it."""
    _require_artifacts(options.home)
    project = options.project()
    remote = remote_of(project)
    prepare_home(project.home, options.config)
    with project.store.in_use():
        roots = _roots(project, keep) | _next_build(project)
        items = remote_garbage(remote, project.store, roots, project.config.remote.keep_days)
        freed = sum(item.size for item in items)
        if deletes:
            remote.delete(items)
    result = {"items": items_json(items), "freed": freed, "deleted": deletes}
    _report(items, result, remote.url, "gc --remote")
    if as_json:
        print(json.dumps(result))


def _require_artifacts(home: Path) -> None:
    """Refuse a home that needs nothing, such as one that was named by mistake."""
    if not (home / "store").is_dir():
        raise WakewordError(f"{home} holds no artifacts; name a home with --home")


def _compact(project: Project) -> list[str]:
    from wakeword_core.graph.compaction import compact

    compacted = compact(project)
    print(f"Written anew without dead and scattered rows: {', '.join(compacted) or 'nothing, all is compact'}.")
    return compacted


def _garbage(project: Project, keep: int) -> list[Item]:
    from wakeword_pipeline.tracking.versions import unknown_files

    items = garbage(project.store, _roots(project, keep), _next_build(project) | needed_by_searches(project.home))
    return [*items, *unknown_files(str(project.home))]


def _roots(project: Project, keep: int) -> set[NodeId]:
    """Return what `status` names, what the last `keep` builds made, and what registries and searches use."""
    from wakeword_pipeline.orchestration.runs import last_builds

    present = {(state.stage, state.artifact.key) for state in status(project) if state.artifact}
    built = last_builds(open_instance(project.home), keep)
    return present | built | _registered(project) | needed_by_searches(project.home)


def _next_build(project: Project) -> set[NodeId]:
    """Return what the next build makes, as far as keys are known: it may go on with a build that was killed."""
    expected: set[NodeId] = set()
    for stage in project.stages.values():
        for split in stage.splits:
            try:
                expected.add((stage.name, project.expected_key(stage.name, split)))
            except ArtifactError:
                continue  # an input is to be built first
    return expected


def _registered(project: Project) -> set[NodeId]:
    """Return the models that registries of the home use, and what was made from them.

    Comparisons are left out: they would keep whichever model theirs was compared with.
    """
    from wakeword_core.registry.history import Registry

    graph = Graph.of_store(project.store)
    models = graph.known((MODEL, key) for registry in Registry.all(project.home) for key in registry.in_use)
    return {node.id for node in (*models, *graph.downstream(*models)) if node.stage != COMPARISON}


def _report(items: Sequence[Item | RemoteItem], result: dict[str, Any], where: Path | str, command: str) -> None:
    if not items:
        print(printable(f"Everything in {where} is needed."))
    elif result["deleted"]:
        freed = size_text(result["freed"])
        print(printable(f"Deleted {count_items(items)} from {where}, which freed {freed}."))
    else:
        print_items("not needed any more", items, result["freed"])
        print(f"Nothing was deleted; `wakeword {command} --delete` deletes all of this.")
