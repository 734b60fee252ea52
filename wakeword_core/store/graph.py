"""Which artifacts were made from which: read from a store's cards, or from the card inside a model file.

Lineage, status, gc and forget all use it. The few walks are written out: importing networkx for them would make
`wakeword status` a tenth of a second slower.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from wakeword_core.config import SPLITS
from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.store.artifacts import Artifact, ArtifactStore, artifact_name
from wakeword_core.store.parts import PathPart

Text = Annotated[str, Field(max_length=10_000)]
Keys = Annotated[dict[PathPart, PathPart], Field(max_length=100)]
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

    @property
    def part(self) -> str | None:
        """Return the split of the input, or the part of a finished model that a configuration named, if any."""
        return _parts(self.name)[1]

    @property
    def given(self) -> bool:
        """Return whether it is a finished model that the configuration named, such as a teacher."""
        return self.part is not None and self.part not in SPLITS


class NodeEntry(BaseModel):
    """A node as it stands in a model card, which anybody may have written."""

    name: PathPart
    key: PathPart | Literal[""]
    created: Text
    code_version: Text
    inputs: Keys


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
    artifact: Artifact | None = field(default=None, compare=False, repr=False)
    """The artifact in its store; None for recordings, for what is gone, and for what only a model's card names."""

    @property
    def id(self) -> NodeId:
        """Return stage and key."""
        return self.stage, self.key

    @property
    def name(self) -> str:
        """Return `stage` or `stage[split]`."""
        return artifact_name(self.stage, self.split)

    @property
    def contents(self) -> set[str]:
        """Return the hashes that its consumers may have recorded for it: of all of it, and of its facets."""
        return {self.content, *(self.facets or {}).values()} - {""}

    def to_json(self) -> dict[str, Any]:
        """Return the node as it stands in a model card; `from_json` reads it."""
        return {
            "name": self.name,
            "key": self.key,
            "created": self.created,
            "code_version": self.code_version,
            "inputs": {edge.name: edge.key for edge in self.inputs},
        }

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "Node":
        """Read the node that `to_json` wrote, if anybody's model has it; ArtifactError if it is none."""
        try:
            entry = NodeEntry.model_validate(tree)
        except ValueError as error:
            raise ArtifactError(
                f"an entry of the lineage in the model's card cannot be read ({reason_of(error)})"
            ) from error
        stage, split = _parts(entry.name)
        edges = tuple(Edge(name, _parts(name)[0], key, "") for name, key in entry.inputs.items())
        return cls(stage, entry.key, split, created=entry.created, code_version=entry.code_version, inputs=edges)

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> "Node":
        """Return the node of an artifact in a store."""
        inputs, split = artifact.inputs.items(), artifact.config.get("split")
        return cls(
            artifact.stage,
            artifact.key,
            split=split if isinstance(split, str) else None,
            content=artifact.content,
            facets=artifact.facets,
            created=artifact.created,
            code_version=artifact.code_version,
            inputs=tuple(Edge(name, **source) for name, source in inputs),
            artifact=artifact,
        )


class Graph:
    """Artifacts and their inputs, both ways.

    An edge leads to the artifact that was recorded as an input or, where that one is gone, to the newest of the same
    content: a manifest that was made again without changing a split then stands behind that split's shards.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.nodes = {node.id: node for node in nodes}
        self._newest: dict[tuple[str, str], Node] = {}
        for node in sorted(self.nodes.values(), key=lambda node: node.created):
            self._newest.update({(node.stage, content): node for content in node.contents})
        self._inputs = {node.id: [self._maker(edge) for edge in node.inputs] for node in self.nodes.values()}
        self._consumers: dict[NodeId, dict[NodeId, Node]] = {}
        for node in sorted(self.nodes.values(), key=lambda node: (node.created, node.name)):
            for source in self._inputs[node.id]:
                self._consumers.setdefault(source.id, {})[node.id] = node

    @classmethod
    def of_store(cls, store: ArtifactStore) -> "Graph":
        """Return the graph of every artifact that a store has a card of."""
        return cls(Node.of_artifact(artifact) for artifact in store.cards())

    @property
    def artifacts(self) -> dict[NodeId, Artifact]:
        """Return the artifacts of those nodes that lie in a store, oldest first."""
        return {node.id: node.artifact for node in self.nodes.values() if node.artifact}

    def known(self, names: Iterable[NodeId]) -> list[Node]:
        """Return the nodes of those names that are here."""
        return [self.nodes[name] for name in names if name in self.nodes]

    def inputs(self, node: Node) -> list[Node]:
        """Return what `node` was made from; what is not known here appears by its key alone."""
        return list(self._inputs.get(node.id, ()))

    def consumers(self, node: Node) -> list[Node]:
        """Return what has `node` among its inputs, oldest first."""
        return list(self._consumers.get(node.id, {}).values())

    def direct_inputs(self, node: Node) -> list[Node]:
        """Return the inputs of `node` that are not behind another of its inputs too: these show the whole graph."""
        inputs = self.inputs(node)
        behind: set[NodeId] = set()
        newest = {source.id: source for source in inputs}
        while newest:
            further = (source for reached in newest.values() for source in self.inputs(reached))
            newest = {source.id: source for source in further if source.id not in behind}
            behind |= newest.keys()
        return [source for source in inputs if source.id not in behind]

    def direct_consumers(self, node: Node) -> list[Node]:
        """Return what was made from `node` itself, without what also comes by way of another of its consumers."""
        return [
            consumer
            for consumer in self.consumers(node)
            if node.id in {source.id for source in self.direct_inputs(consumer)}
        ]

    def upstream(self, *nodes: Node) -> list[Node]:
        """Return everything behind the nodes, nearest first, without themselves."""
        return _reached(nodes, self.inputs)

    def own_upstream(self, *nodes: Node) -> list[Node]:
        """Return everything behind the nodes but finished models that the configuration named, and what made those."""
        return _reached(nodes, lambda node: [self._maker(edge) for edge in self._node(node).inputs if not edge.given])

    def given_models(self, *nodes: Node) -> dict[str, Edge]:
        """Return the finished models that the configuration of the nodes, or of what is behind them, named, by name."""
        behind = (*nodes, *self.own_upstream(*nodes))
        return {edge.name: edge for node in behind for edge in self._node(node).inputs if edge.given}

    def _node(self, node: Node) -> Node:
        return self.nodes.get(node.id, node)

    def downstream(self, *nodes: Node) -> list[Node]:
        """Return everything that came of the nodes, nearest first, without themselves."""
        return _reached(nodes, self.consumers)

    def _maker(self, edge: Edge) -> Node:
        recorded = self.nodes.get((edge.stage, edge.key))
        # a content that was not recorded is empty, and no artifact has that one
        return (
            recorded or self._newest.get((edge.stage, edge.content)) or Node(edge.stage, edge.key, _parts(edge.name)[1])
        )


def keys_behind(store: ArtifactStore, artifact: Artifact) -> dict[str, str]:
    """Return the keys of all that an artifact was made from, by name; of two with one name, that of the nearer one.

    Of a finished model that the configuration named it is that alone, and not of what made it.
    """
    graph = Graph.of_store(store)
    node = graph.nodes[artifact.stage, artifact.key]
    given = {name: edge.key for name, edge in graph.given_models(node).items()}
    return dict(sorted((given | {node.name: node.key for node in reversed(graph.own_upstream(node))}).items()))


def _reached(starts: Collection[Node], step: Callable[[Node], list[Node]]) -> list[Node]:
    reached = {node.id: node for node in starts}
    count, newest = len(reached), list(starts)
    while newest:
        nearest = (neighbour for node in newest for neighbour in step(node))
        new = {node.id: node for node in nearest if node.id not in reached}
        reached |= new
        newest = list(new.values())
    return list(reached.values())[count:]


def _parts(name: str) -> tuple[str, str | None]:
    stage, _, split = name.partition("[")
    return stage, split.removesuffix("]") or None
