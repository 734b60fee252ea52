"""The checks that artifacts do not pass, as commands print them."""

from collections.abc import Mapping, Sequence

from rich.text import Text

from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Judgement
from wakeword_core.store.artifacts import artifact_name
from wakeword_core.text import printable

SEVERITY_STYLES = {"warning": "yellow", "error": "bold red"}


def failures_of(project: Project) -> dict[str, list[Judgement]]:
    """Return the checks that artifacts which are there now do not pass, by the artifacts' names."""
    by_artifact = {}
    for stage in project.stages.values():
        for split in stage.splits:
            verdicts = project.recorded_verdicts(stage.name, split) or ()
            if failures := [verdict for verdict in verdicts if not verdict.passed]:
                by_artifact[artifact_name(stage.name, split)] = failures
    return by_artifact


def failures_json(failures: Mapping[str, Sequence[Judgement]]) -> list[dict[str, str]]:
    """Return checks that are not passed as JSON values."""
    return [
        {"artifact": name, "check": check.check, "severity": check.severity, "description": check.description}
        for name, checks in failures.items()
        for check in checks
    ]


def failure_text(failure: Judgement) -> Text:
    """Write whether a check that is not passed warns or is an error, its name, and what it found."""
    word = (failure.severity, SEVERITY_STYLES.get(failure.severity, ""))
    return Text.assemble(word, printable(f": {failure.check}: {failure.description}"))
