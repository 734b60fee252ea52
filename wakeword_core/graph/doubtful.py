"""Which recordings of a project are probably mislabelled: those that its newest report lists, where they lie now."""

import logging
from collections.abc import Iterator
from typing import Any

from wakeword_core.errors import ArtifactError, DataError, reason_of
from wakeword_core.evaluation.measure.wording import percent
from wakeword_core.files import read_json
from wakeword_core.graph.project import Project
from wakeword_core.reviewing.doubtful_sound import DoubtfulRecording
from wakeword_core.stage_names import MODEL
from wakeword_core.store.artifacts import Artifact
from wakeword_core.text import printable

log = logging.getLogger(__name__)

_REPORT, _FIGURES = "metrics_report", "metrics.json"


def newest_report(project: Project) -> Artifact:
    """Return the newest report of the project's phrase, whatever has changed since; ArtifactError without any."""
    reports = [one for one in project.store.all(_REPORT) if one.config["phrase"] == project.config.phrase]
    if not reports:
        raise ArtifactError(f"{project.home} has no report of {project.config.phrase!r} yet; `wakeword run` makes one")
    return reports[-1]


def model_of(project: Project, report: Artifact) -> Artifact | None:
    """Return the exported model that a report is of, or None where it is gone."""
    return project.store.find(MODEL, report.inputs[MODEL]["key"])


def doubtful_recordings(project: Project, report: Artifact) -> list[DoubtfulRecording]:
    """Return the recordings of a wake word that a report doubts, the worst first, and of them those that are there.

    Those in which a recogniser did not hear the word come before those that score least like it.
    """
    listed: dict[str, tuple[str, str]] = {}
    figures = report.file(_FIGURES)
    try:
        for recording_id, label, why in _doubted(read_json(figures)):
            listed.setdefault(recording_id, (label, why))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DataError(
            f"{figures} cannot be read ({reason_of(error)}); remove {report.path}, and run again"
        ) from error
    listing = project.listing()
    roots = {source.name: source.root for source in project.config.data.sources}
    columns = (listing.columns[name] for name in ("recording_id", "source", "path", "error"))
    there = {
        recording_id: (f"{source}/{path}", roots[source] / path)
        for recording_id, source, path, error in zip(*columns, strict=True)
        if recording_id in listed and not error
    }
    if gone := len(listed) - len(there):
        log.warning("%d of the recordings that the report doubts are synthetic, or not there any more", gone)
    return [
        DoubtfulRecording(recording_id, *there[recording_id], label, why)
        for recording_id, (label, why) in listed.items()
        if recording_id in there
    ]


def _doubted(metrics: Any) -> Iterator[tuple[str, str, str]]:
    """Yield recording, label and why it is doubtful, the worst first; a recording may come twice."""
    for row in metrics.get("doubtful", {}).get("worst", ()):
        heard = f"“{printable(row['heard'])}”" if row["heard"] else "nothing"
        yield row["recording_id"], row["label"], f"Whisper heard {heard}, not {percent(row['unheard'])} of the word"
    for row in metrics["suspicious"]["worst"]:
        if row["positive"]:
            yield row["recording_id"], row["label"], f"the model gives it a score of {row['score']:.3f} at best"
