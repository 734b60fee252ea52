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

    uploaded, there, missing = _for_each(project, push)
    print(printable(f"Uploaded {_counted(uploaded)} to {remote.url}; {_counted(there)} were there already."))
    _print_missing("Not built yet", missing)
    if as_json:
        print(json.dumps({"remote": remote.url, "uploaded": uploaded, "there": there, "missing": missing}))


def pull_artifacts(options: ProjectOptions, *, as_json: bool) -> None:
    """Fetch every artifact of the present recordings and settings that this home lacks."""
    project = options.project()
    remote = remote_of(project)
    prepare_home(project.home, options.config)

    def pull(place: Place) -> str:
        if project.find(*place):
            return _THERE
        return _MOVED if project.fetch(*place) else _MISSING

    fetched, there, missing = _for_each(project, pull)
    print(printable(f"Fetched {_counted(fetched)} from {remote.url}; {_counted(there)} were here already."))
    _print_missing("Not on the remote", missing)
    if as_json:
        print(json.dumps({"remote": remote.url, "fetched": fetched, "there": there, "missing": missing}))


def _for_each(project: Project, move: Callable[[Place], str]) -> tuple[list[str], list[str], list[str]]:
    """Move every artifact of a project, in build order; the names of what was moved, was there, and is missing."""
    outcome: dict[str, list[str]] = {_MOVED: [], _THERE: [], _MISSING: []}
    with Bars() as bars, project.store.in_use():
        project.progress = bars
        for stage in project.stages.values():
            for split in stage.splits:
                outcome[move((stage.name, split))].append(artifact_name(stage.name, split))
    return outcome[_MOVED], outcome[_THERE], outcome[_MISSING]


def _print_missing(what: str, names: list[str]) -> None:
    if names:
        listed = ", ".join(names)
        print(f"{what} for the present recordings and settings: {listed}; `wakeword run` builds what is missing.")


def _counted(names: list[str]) -> str:
    return f"{len(names)} artifact{'s' * (len(names) != 1)}"
