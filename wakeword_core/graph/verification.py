"""Whether a model file is what it says it is, what this home made, and still what this home would make."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wakeword_core.graph.project import Project
from wakeword_core.graph.status import Comparison, State
from wakeword_core.lineage.model_file import ModelFile, read_model_file
from wakeword_core.store.artifacts import Artifact, ArtifactStore, artifact_name
from wakeword_core.store.graph import Graph

Standing = Literal["current", "outdated", "matches", "altered", "differs", "whole", "unsealed"]
GOOD: tuple[Standing, ...] = ("current", "matches", "whole")
"""What a model file is when nothing is wrong."""

_WEIGHTS_OF = ("model_bundle", "onnx_model")
"""Stages whose artifact a card may name as the model's own."""


@dataclass(frozen=True)
class Verification:
    """What is known of a model file."""

    file: ModelFile
    verdict: Standing
    sentence: str
    artifact: Artifact | None = None
    """The artifact of this home that the file is, byte for byte."""
    outdated: tuple[State, ...] = ()
    """Of what the model was made from: what would be built anew now for a reason of its own."""


def verify(path: Path, store: ArtifactStore, project: Project | None) -> Verification:
    """Recompute the file's digests, look for it in the store and, with a project, compare it with what is there now.

    Verdicts: `current`, or `outdated` when recordings, settings or code are newer; `matches` the store, where there is
    no project to compare it with; `altered`; `differs` from what the store has under the key that the card names;
    `whole` or `unsealed` for a file that the store does not know.
    """
    file = read_model_file(path)
    if file.seal not in ("whole", "unsealed"):
        what = "weights or graph" if file.seal == "graph altered" else "card"
        return Verification(file, "altered", f"its {what} changed since it was exported")
    graph = Graph.of_store(store)
    artifact = next((artifact for artifact in graph.artifacts.values() if artifact.holds(file.sha256)), None)
    if artifact is None:
        return _unknown_file(file, graph)
    where = f"the {artifact.stage} {artifact.key} of this home, byte for byte"
    if project is None:
        return Verification(file, "matches", where, artifact)
    outdated = _outdated(project, artifact, graph)
    if outdated:
        return Verification(file, "outdated", f"{where}, but what it is made from is newer now", artifact, outdated)
    return Verification(file, "current", f"{where}, and what it would build now", artifact)


def _unknown_file(file: ModelFile, graph: Graph) -> Verification:
    claimed = {node.id for node in file.nodes() if node.stage in _WEIGHTS_OF}
    own = next(iter(graph.known(sorted(claimed))), None)
    if own is not None and file.seal == "unsealed":
        return Verification(file, "altered", f"it says that it is {own.stage} {own.key}, whose bytes here are others")
    if own is not None:
        sentence = (
            f"it says that it is {own.stage} {own.key}, whose bytes here are others: it was built elsewhere, or edited "
            "and sealed anew"
        )
        return Verification(file, "differs", sentence)
    if file.seal == "unsealed":
        sentence = "it carries no digest and this home does not know it: nothing can be said"
        return Verification(file, "unsealed", sentence)
    return Verification(file, "whole", "weights and card are as they were exported; this home does not know the model")


def _outdated(project: Project, artifact: Artifact, graph: Graph) -> tuple[State, ...]:
    """Return where those of the artifacts behind this one stand that are not what would be built now."""
    if artifact.stage in project.stages and project.find(artifact.stage) == artifact:
        return ()
    node = graph.nodes[artifact.stage, artifact.key]
    behind: dict[str, Artifact] = {}
    for source in (node, *graph.own_upstream(node)):
        if source.artifact:
            behind.setdefault(source.name, source.artifact)
    comparison = Comparison(project, lambda stage, split: behind.get(artifact_name(stage, split)), exact=True)
    stale = {state.name: state for state in comparison.states() if state.name in behind and state.state != "fresh"}
    # what only follows from another is left out
    return tuple(state for state in stale.values() if any(cause.name not in stale for cause in state.own_causes))
