"""Which artifacts on the disk were made from which, as their cards tell."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from wakeword_core.artifacts import Artifact, ArtifactStore

Name = tuple[str, str]
"""Stage and key of an artifact."""


class ArtifactGraph:
    """Every artifact of a store whose card can be read, and the edges between them."""

    def __init__(self, store: ArtifactStore) -> None:
        self.artifacts: dict[Name, Artifact] = {(one.stage, one.key): one for one in store.cards()}
        self.inputs: dict[Name, set[Name]] = {
            name: {(one["stage"], one["key"]) for one in artifact.inputs.values()}
            for name, artifact in self.artifacts.items()
        }
        self._consumers: defaultdict[Name, set[Name]] = defaultdict(set)
        for name, inputs in self.inputs.items():
            for one in inputs:
                self._consumers[one].add(name)

    def upstream(self, names: Iterable[Name]) -> set[Name]:
        """Those of `names` that are there, and everything they were made from that is there."""
        return _reached(self.inputs, names) & self.artifacts.keys()

    def downstream(self, names: Iterable[Name]) -> set[Name]:
        """Those of `names` that are there, and everything made from them."""
        return _reached(self._consumers, names) & self.artifacts.keys()

    def consumers(self, name: Name) -> set[Name]:
        """What was made directly from an artifact, which need not be there any more."""
        return set(self._consumers.get(name, ()))


def _reached(edges: Mapping[Name, set[Name]], names: Iterable[Name]) -> set[Name]:
    found, waiting = set[Name](), list(names)
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += edges.get(one, ())
    return found


def manifest_behind(store: ArtifactStore, key: str) -> Artifact | None:
    """The newest manifest that the artifact of that key, of whatever stage, was made from; None when it is gone."""
    graph = ArtifactGraph(store)
    behind = graph.upstream(name for name in graph.artifacts if name[1] == key)
    manifests = [graph.artifacts[name] for name in behind if name[0] == "raw_manifest"]
    return max(manifests, key=lambda artifact: artifact.created, default=None)
