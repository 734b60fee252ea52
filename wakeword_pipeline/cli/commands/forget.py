"""`wakeword forget`: never again use a recording or a speaker, and delete what was made from it."""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wakeword_core.config import SPLITS
from wakeword_core.errors import ArtifactError, ConfigError, DataError, WakewordError
from wakeword_core.graph.project import Project
from wakeword_core.stage_names import MANIFEST, SHARDS
from wakeword_core.store.cleaning import Item, delete, freed_bytes, shown_key
from wakeword_core.text import printable
from wakeword_pipeline.cli.tables import count_items, items_json, print_items, size_text
from wakeword_pipeline.orchestration.home import ProjectOptions, open_instance, prepare_home

if TYPE_CHECKING:
    from wakeword_core.store.parts import FileEntry
    from wakeword_core.store.remote import Remote, RemoteItem
    from wakeword_pipeline.tracking.versions import ModelRun

_ELSEWHERE = (
    "Not searched: the recordings' own files, which stay where they are; models that were exported or copied out of "
    "the home; and figures and pictures in Dagster's history and in reports that were copied."
)
_SHOWN = 5


@dataclass(frozen=True)
class ForgetRequest:
    """A recording, a folder or a speaker to forget, the reason, and whether to rebuild, to purge, and to ask before."""

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
    wanted: "set[FileEntry]"
    """Size and hash of every file of the artifacts: whatever has them holds it, too."""


def run_forget(request: ForgetRequest, options: ProjectOptions, *, as_json: bool) -> None:
    """Write the tombstone, print what is affected, and rebuild and purge where that is asked for.

    ConfigError for an unclear request or where nobody can be asked, ArtifactError while a build is running.
    """
    if (request.recording is None) == (request.speaker is None) or "" in (request.recording, request.speaker):
        raise ConfigError("name either a recording or --speaker")
    if request.purge and request.ask and not sys.stdin.isatty():
        raise ConfigError("--purge asks before it deletes, and there is no terminal to ask at; add --yes")
    options = replace(options, given_config=options.config)
    project = options.project()
    with project.store.undisturbed("forget"):
        recording_ids = _bury(project, request)
    if request.rebuild:
        from wakeword_pipeline.cli.commands.run import run_config

        try:
            run_config(options, (), as_json=False)
        except WakewordError as error:
            raise ArtifactError(
                f"{error}; what was named is forgotten, but the build without it failed, so nothing that was made from "
                "it is listed or deleted: run the same command again, without --rebuild if there need be no new model"
            ) from error
    if request.purge:
        if not request.rebuild:
            _make_manifest(project)
        _compact(project, recording_ids)
    affected = _affected(project, recording_ids)
    _print(project, recording_ids, affected)
    on_remote = _on_remote(project, recording_ids, affected)
    purged = request.purge and _purge(project, options, recording_ids, affected, request)
    if purged and project.remote:
        _purge_remote(project.remote, on_remote, request)
    print(_ELSEWHERE)
    if as_json:
        runs = [
            {"run": run.run_id, "stage": run.stage, "key": run.key, "versions": list(map(str, run.versions))}
            for run in affected.runs
        ]
        items = items_json(affected.items)
        remote = None if on_remote is None else items_json(on_remote)
        result = {"recordings": list(recording_ids), "affected": items, "mlflow": runs, "remote": remote}
        print(json.dumps({**result, "purged": purged}))


def _bury(project: Project, request: ForgetRequest) -> list[str]:
    """Write the tombstones, remove what is remembered of the recordings, and return their ids."""
    from wakeword_core.lineage.named_recordings import find_recordings, find_speaker, known_recordings
    from wakeword_core.recordings.corrections import forget_corrections
    from wakeword_core.recordings.data_sets.unpacking import remove_forgotten
    from wakeword_core.recordings.forgotten import Forgotten

    before = project.forgotten().recordings
    known = known_recordings(project.store)
    if request.speaker is not None:
        speaker, listed = find_speaker(request.speaker, known)
        Forgotten.add_to(project.home, listed, [speaker], request.reason)
        try:
            project.listing()  # which forgets what of the speaker no manifest lists yet
        except DataError as error:
            by_name = f"What no manifest lists of {speaker} is left out by name alone, since it cannot be listed now"
            print(printable(f"{by_name}: {error}"))
        recording_ids = sorted({*listed, *(project.forgotten().recordings - before)})
        for name in sorted(set(known.loc[known["recording_id"].isin(listed), "speaker"]) - {speaker}):
            also = f"Some of them were listed as of {name}, too; to forget that name as well, name it with --speaker."
            print(printable(also))
    else:
        assert request.recording is not None
        roots = {source.name: source.folder for source in project.config.data.sources}
        named = find_recordings(request.recording, known, roots, project.scan_cache())
        recording_ids = named.recording_ids
        Forgotten.add_to(project.home, recording_ids, (), request.reason)
        if older := sorted(named.listed - named.present):
            _print_older(request.recording, older, there_now=len(named.present))
    project.scan_cache().forget(recording_ids)
    forget_corrections(project.config.data.corrections, recording_ids)
    remove_forgotten(project.config.data.sources, project.forgotten())
    return recording_ids


def _print_older(name: str, older: Sequence[str], *, there_now: int) -> None:
    if there_now:
        shown = ", ".join(recording_id[:16] for recording_id in older[:_SHOWN])
        more = f" and {len(older) - _SHOWN} more" if len(older) > _SHOWN else ""
        print(
            f"{printable(name)} has changed since it was used: what was there then ({shown}{more}) is forgotten "
            "together with what is there now."
        )


def _make_manifest(project: Project) -> None:
    """Make the manifest without the recordings: by it alone is known which shards and features are not made from them.

    Nothing is made where no shards hold rows that do not count.
    """
    if not any(shards.figures.get("dead") for shards in project.store.cards(SHARDS)):
        return
    try:
        manifest, _ = project.build(MANIFEST)
        known = all(project.find(SHARDS, split) for split in SPLITS)
        lacking = "" if known else "; ".join(entry["problem"] for entry in manifest.figures["missing_sources"])
    except WakewordError as error:
        lacking = str(error)
    if lacking:
        print(
            printable(
                f"No whole manifest can be made without what is forgotten ({lacking}). So shards and features that "
                "hold it count as made from it, though it may have been removed before, with all that was made from "
                "them."
            )
        )


def _compact(project: Project, recording_ids: Collection[str]) -> None:
    """Write those present artifacts anew that hold the recordings though these do not count: they were removed before.

    What was made from such an artifact was not made from the recordings, and stays.
    """
    from wakeword_core.graph.compaction import compact

    with project.store.undisturbed("forget --purge"):
        for name in compact(project, recording_ids):
            print(f"{name} held rows of theirs that did not count, and is written anew without them.")


def _affected(project: Project, recording_ids: Collection[str]) -> Affected:
    """Return what is affected now. A run whose artifact is gone counts: it may be made from the recordings too."""
    from wakeword_core.lineage.forgetting import affected, copies, traces
    from wakeword_core.store.graph import Graph
    from wakeword_pipeline.tracking.versions import model_runs, unknown_files

    items, runs = affected(project.store, recording_ids), model_runs(str(project.home))
    wanted = traces(project.store, items)
    names = {(item.stage, item.paths[0].name) for item in items}
    clean = Graph.of_store(project.store).artifacts.keys() - names
    of_runs = [run for run in runs if (run.stage, run.key) not in clean]
    items += unknown_files(str(project.home))
    covered = [*(path for item in items for path in item.paths), *(run.files for run in of_runs)]
    found = copies(project.home, wanted)
    loose = tuple(path for path in found if not any(path.is_relative_to(place) for place in covered))
    if loose:
        what = loose[0].name + (f" and {len(loose) - 1} more" if len(loose) > 1 else "")
        items.append(Item("copies", what, f"the bytes of what is listed here, in {loose[0].parent}", loose))
    return Affected(items, of_runs, wanted)


def _print(project: Project, recording_ids: Sequence[str], affected: Affected) -> None:
    what = (
        f"Recording {recording_ids[0][:16]} is" if len(recording_ids) == 1 else f"{len(recording_ids)} recordings are"
    )
    it = "it" if len(recording_ids) == 1 else "them"
    print(printable(f"{what} forgotten: no build in {project.home} will use {it} again."))
    if affected.items:
        print_items("what holds it, was made from it, or cannot be traced", affected.items, freed_bytes(affected.items))
    else:
        print("There is no artifact that holds it or was made from it.")
    for run in affected.runs:
        versions = ", ".join(map(str, run.versions)) or "no registered version"
        print(printable(f"MLflow run {run.run_id[:8]} of {run.stage} {run.key[:10]}: {versions}"))


def _on_remote(project: Project, recording_ids: Collection[str], affected: Affected) -> "list[RemoteItem] | None":
    """Print and return what of the remote is affected; None, which is said, where there is none or it is not known."""
    from wakeword_core.lineage.forgetting import affected_on_remote

    if project.remote is None:
        return None
    url = printable(project.remote.url)
    try:
        with project.store.in_use():
            items = affected_on_remote(project.remote, project.store, recording_ids, affected.wanted)
    except WakewordError as error:
        print(printable(f"Not searched: {url}, which may still have what was made from it ({error})."))
        return None
    if items:
        print(f"{url} has such artifacts, too; --purge deletes them there.")
        print_items("on the remote", items, sum(item.size for item in items))
    else:
        print(f"There is no artifact on {url} that holds it or was made from it.")
    return items


def _purge_remote(remote: "Remote", items: "Sequence[RemoteItem] | None", request: ForgetRequest) -> None:
    """Delete what of the remote is affected, if the person agrees; ArtifactError where that is not known."""
    if items is None:
        raise ArtifactError(
            f"{remote.url} could not be searched and may still have what was made from it: run this again when it can"
        )
    if items and _agreed(f"Delete these from {remote.url}, {size_text(sum(item.size for item in items))}?", request):
        remote.delete(items)
        print(printable(f"Deleted {count_items(items)} from {remote.url}."))


def _purge(
    project: Project,
    options: ProjectOptions,
    recording_ids: Collection[str],
    affected: Affected,
    request: ForgetRequest,
) -> bool:
    """Delete what is affected, if the person agrees, and search what is left; return whether it was done."""
    from wakeword_pipeline.orchestration.runs import require_rest
    from wakeword_pipeline.tracking.versions import delete_runs, mirror

    prepare_home(project.home, options.config)
    require_rest(project.home, open_instance(project.home), "forget --purge")
    wanted = affected.wanted
    if affected.items:
        if not _agreed(f"Delete these, {size_text(freed_bytes(affected.items))}?", request):
            print("Nothing was deleted.")
            return False
        with project.store.undisturbed("forget --purge"):
            now = _affected(project, recording_ids)
            wanted |= now.wanted
            freed = freed_bytes(now.items)
            delete(now.items)
            print(f"Deleted {count_items(now.items)}, which freed {size_text(freed)}.")
            _remove_from_registries(project, now.items, request.reason)
    runs = affected.runs
    if runs and _agreed(f"Delete {len(runs)} runs and the versions of models made from them from MLflow?", request):
        delete_runs(str(project.home), runs)
        print(f"Deleted {len(runs)} runs from MLflow.")
    mirror(project)
    project.scan_cache().forget(recording_ids)  # a build in between has read the files again
    _require_gone(project, recording_ids, wanted)
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


def _require_gone(project: Project, recording_ids: Collection[str], wanted: Collection["FileEntry"]) -> None:
    """Search all of the home, and what MLflow keeps there too; ArtifactError where anything is left."""
    from wakeword_core.lineage.forgetting import copies, search

    result = search(project.home, recording_ids, project.store.root)
    left = [*result.holders, *result.unreadable, *copies(project.home, wanted)]
    if left:
        more = f" and {len(left) - 1} more files still hold it, or" if len(left) > 1 else " still holds it, or"
        raise ArtifactError(f"{left[0]}{more} cannot be read; delete what is left, then run this again")
    home = printable(project.home)
    print(f"Searched {result.files} tables, shards and feature files in {home}: none of them holds it.")
