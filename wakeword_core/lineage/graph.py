"""Which artifacts were made from which: read from a store's cards, or from the card inside a model file."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wakeword_core.artifacts import Artifact, ArtifactStore
from wakeword_core.errors import ArtifactError
from wakeword_core.project import RAW_AUDIO, artifact_name

NodeId = tuple[str, str]
"""(stage, key)"""


@dataclass(frozen=True)
class Edge:
    """One input of an artifact as it was when the artifact was built."""

    name: str
    """As in artifact.json: `stage` or `stage[split]`."""
    stage: str
    key: str
    content: str
    """Content hash of the input, or of the facet that was depended on."""


@dataclass(frozen=True)
class Node:
    """An artifact, or the recordings themselves, as a point of the graph."""

    stage: str
    key: str
    split: str | None = None
    content: str = ""
    facets: Mapping[str, str] | None = None
    created: str = ""
    code_version: str = ""
    inputs: tuple[Edge, ...] = ()

    @property
    def id(self) -> NodeId:
        """(stage, key)"""
        return self.stage, self.key

    @property
    def name(self) -> str:
        """`stage` or `stage[split]`."""
        return artifact_name(self.stage, self.split)

    @property
    def contents(self) -> set[str]:
        """The hashes under which its consumers know it."""
        return {self.content, *(self.facets or {}).values()} - {""}

    def to_json(self) -> dict[str, Any]:
        """As it stands in a model card; `from_json` reads it."""
        return {
            "name": self.name,
            "key": self.key,
            "created": self.created,
            "code_version": self.code_version,
            "inputs": {edge.name: edge.key for edge in self.inputs},
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Node":
        """The node that `to_json` wrote; ArtifactError if it is none."""
        try:
            stage, split = _parts(str(tree["name"]))
            edges = tuple(Edge(str(name), _parts(str(name))[0], str(key), "") for name, key in tree["inputs"].items())
            created, version = str(tree["created"]), str(tree["code_version"])
            return cls(stage, str(tree["key"]), split, created=created, code_version=version, inputs=edges)
        except (AttributeError, KeyError, TypeError) as error:
            raise ArtifactError(f"an entry of the lineage in the model's card cannot be read ({error})") from error

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> "Node":
        """The node of an artifact in a store."""
        edges = tuple(Edge(name, one["stage"], one["key"], one["content"]) for name, one in artifact.inputs.items())
        split = artifact.config.get("split")
        return cls(
            artifact.stage,
            artifact.key,
            split,
            artifact.content,
            artifact.facets,
            artifact.created,
            artifact.code_version,
            edges,
        )


class Graph:
    """Artifacts and their inputs, both ways.

    An input is found by its key or, where that artifact is gone or was never needed again, by its content: a manifest
    that was made again without changing a split stands behind that split's shards as the one they were packed from.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self._by_content: dict[tuple[str, str], list[Node]] = {}
        for node in sorted(self.nodes.values(), key=lambda one: one.created):
            for content in node.contents:
                self._by_content.setdefault((node.stage, content), []).append(node)
        self._consumers: dict[NodeId, list[Node]] = {}
        for node in list(self.nodes.values()):
            for edge in node.inputs:
                for maker in self._makers(edge):
                    self._consumers.setdefault(maker.id, []).append(node)

    @classmethod
    def of_store(cls, store: ArtifactStore) -> "Graph":
        """Every artifact that a store has a card of."""
        return cls(Node.of_artifact(one) for one in store.cards())

    def inputs(self, node: Node) -> list[Node]:
        """What `node` was made from; what is not known here appears by its key alone."""
        return [self.maker(edge) for edge in node.inputs]

    def consumers(self, node: Node) -> list[Node]:
        """What was made from `node`, oldest first."""
        found = {one.id: one for one in self._consumers.get(node.id, [])}
        return sorted(found.values(), key=lambda one: (one.created, one.name))

    def direct_inputs(self, node: Node) -> list[Node]:
        """The inputs of `node` that are not behind another input of it, too: these show the whole graph."""
        inputs = self.inputs(node)
        behind = {one.id for source in inputs for one in self.upstream(source)}
        return [one for one in inputs if one.id not in behind]

    def direct_consumers(self, node: Node) -> list[Node]:
        """What was made from `node` itself, without what also comes by way of another of its consumers."""
        return [one for one in self.consumers(node) if any(source.id == node.id for source in self.direct_inputs(one))]

    def upstream(self, node: Node) -> list[Node]:
        """Everything behind `node`, nearest first, without itself."""
        return self._reached(node, self.inputs)

    def downstream(self, node: Node) -> list[Node]:
        """Everything that came of `node`, nearest first, without itself."""
        return self._reached(node, self.consumers)

    def maker(self, edge: Edge) -> Node:
        """The artifact at the other end of an edge: the recorded one, else the newest of the same content."""
        makers = self._makers(edge)
        exact = next((one for one in makers if one.key == edge.key), None)
        return exact or (makers[-1] if makers else Node(edge.stage, edge.key, _parts(edge.name)[1]))

    def _makers(self, edge: Edge) -> list[Node]:
        """Every artifact that could stand at the other end of an edge, newest last."""
        makers = self._by_content.get((edge.stage, edge.content), []) if edge.content else []
        exact = self.nodes.get((edge.stage, edge.key))
        return makers if exact is None or exact in makers else [*makers, exact]

    def _reached(self, start: Node, step: Callable[[Node], list[Node]]) -> list[Node]:
        found: dict[NodeId, Node] = {}
        waiting = step(start)
        while waiting:
            for node in waiting:
                found.setdefault(node.id, node)
            waiting = [new for node in waiting for new in step(node) if new.id not in found]
            waiting = list({node.id: node for node in waiting}.values())
        return [node for node in found.values() if node.id != start.id]


def is_recordings(node: Node) -> bool:
    """Whether the node is the recordings themselves instead of something made from them."""
    return node.stage == RAW_AUDIO


def _parts(name: str) -> tuple[str, str | None]:
    """Stage and split of an artifact's name."""
    stage, _, split = name.partition("[")
    return stage, split.removesuffix("]") or None
