"""`wakeword push` and `wakeword pull`: share finished artifacts with other machines."""

import json
from collections.abc import Callable

from wakeword_core.config.remote import REMOTE_VARIABLE
from wakeword_core.errors import ConfigError
from wakeword_core.graph.project import Place, Project
from wakeword_core.store.artifacts import artifact_name
from wakeword_core.store.remote import Remote
from wakeword_core.text import printable
from wakeword_pipeline.cli.logs import Bars
from wakeword_pipeline.orchestration.home import ProjectOptions, prepare_home

_THERE, _MOVED, _MISSING = "there", "moved", "missing"


def remote_of(project: Project) -> Remote:
    """Return the remote of a project; ConfigError where it has none."""
    if project.remote is None:
        raise ConfigError(f"there is no remote: name one as remote.url in the configuration, or in {REMOTE_VARIABLE}")
    return project.remote


def push_artifacts(options: ProjectOptions, *, as_json: bool) -> None:
    """Upload every artifact of the present recordings and settings that the remote lacks."""
    project = options.project()
    remote = remote_of(project)

    def push(place: Place) -> str:
        artifact = project.find(*place)
        if artifact is None:
            return _MISSING
        return _MOVED if remote.push(artifact) else _THERE

    outcome = _for_each(project, push)
    _report(
        outcome,
        f"Uploaded {{moved}} to {remote.url}; {{there}} were there already.",
        "Not built yet for the present recordings and settings: {names}; `wakeword run` builds them.",
    )
    if as_json:
        print(json.dumps({"remote": remote.url, **outcome}))


def pull_artifacts(options: ProjectOptions, *, as_json: bool) -> None:
    """Fetch every artifact of the present recordings and settings that this home lacks."""
    project = options.project()
    remote = remote_of(project)
    prepare_home(project.home, options.config)

    def pull(place: Place) -> str:
        if project.find(*place):
            return _THERE
        return _MOVED if project.fetch(*place) else _MISSING

    outcome = _for_each(project, pull)
    _report(
        outcome,
        f"Fetched {{moved}} from {remote.url}; {{there}} were here already.",
        "Not on the remote for the present recordings and settings: {names}; `wakeword run` builds them.",
    )
    if as_json:
        print(json.dumps({"remote": remote.url, **outcome}))


def _for_each(project: Project, move: Callable[[Place], str]) -> dict[str, list[str]]:
    """Move every artifact of a project, in build order, and return the names of those with each outcome."""
    outcome: dict[str, list[str]] = {_MOVED: [], _THERE: [], _MISSING: []}
    with Bars() as bars, project.store.in_use():
        project.progress = bars
        for stage in project.stages.values():
            for split in stage.splits:
                outcome[move((stage.name, split))].append(artifact_name(stage.name, split))
    return outcome


def _report(outcome: dict[str, list[str]], done: str, missing: str) -> None:
    moved, there = (_counted(len(outcome[name])) for name in (_MOVED, _THERE))
    print(printable(done.format(moved=moved, there=there)))
    if outcome[_MISSING]:
        print(printable(missing.format(names=", ".join(outcome[_MISSING]))))


def _counted(count: int) -> str:
    return f"{count} artifact{'s' * (count != 1)}"
