"""A project on disk: the stage graph, which artifact each stage should have, and how to build it.

This is the one definition of the graph; Dagster, the command line and `status` all read it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wakeword_core.config import SPLITS, Config, SourceConfig, Split
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.store.artifacts import KEY_LENGTH, Artifact, ArtifactStore, Build, artifact_key, artifact_name

if TYPE_CHECKING:
    from wakeword_core.lineage.status import State
    from wakeword_core.recordings.scan import Listing
    from wakeword_core.registry.history import Registry

log = logging.getLogger(__name__)

RAW_AUDIO = "raw_audio"
CHAMPION = "champion"
"""The input of a comparison that no stage of this configuration makes: the model that the new one is held against."""


def _always(config: Config) -> bool:
    return True


@dataclass(frozen=True)
class Input:
    """An edge of the graph: the stage it comes from, and which split or facet of it."""

    stage: str
    split: Split | Literal["same"] | None = None
    facet: str | Literal["split"] | None = None
    """Depend on a named facet of the input instead of all of it; 'split' is the facet of the consumer's split."""
    decides: Callable[[Config], bool] = _always
    """Whether the result depends on it; else it is only measured on, and a change of it makes nothing stale."""

    def at(self, split: Split | None) -> Split | None:
        """Which split of its stage the input is, for a consumer of `split`."""
        return split if self.split == "same" else self.split

    def name(self, split: Split | None) -> str:
        """How the input is called in artifact.json: `stage` or `stage[split]`."""
        return artifact_name(self.stage, self.at(split))


@dataclass(frozen=True)
class Stage:
    """One node of the graph."""

    name: str
    inputs: tuple[Input, ...]
    settings: Callable[[Config, Split | None], dict[str, Any]]
    """The part of the configuration that its result depends on."""
    make: Callable[["Project", Build, dict[str, Artifact], Split | None], None]
    version: str
    """Raise it when the same inputs and settings give another result."""
    partitioned: bool = False
    resumable: bool = False
    optional: Callable[[Config], bool] | None = None
    """Whether the configuration has this stage at all; None: always."""


@dataclass
class Project:
    """A configuration and a home; finds and builds artifacts."""

    config: Config
    home: Path
    progress: Progress = silent
    on_epoch: Callable[[Any], None] | None = None
    pinned_fingerprint: str = ""
    """Take the recordings to be as they were then: a build goes on with what its manifest lists, whatever arrives."""
    built: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        self.store = ArtifactStore(self.home / "store")
        self._fingerprint: str | None = None
        self._found: dict[tuple[str, Split | None], Artifact] = {}

    @property
    def stages(self) -> dict[str, Stage]:
        """The graph in build order, without stages that the configuration switches off."""
        from wakeword_core.stages import STAGES

        return {stage.name: stage for stage in STAGES if stage.optional is None or stage.optional(self.config)}

    def sources(self) -> list[SourceConfig]:
        """Every source of recordings: the configured folders, then synthetic speech."""
        sources = list(self.config.data.sources)
        if self.config.synthesis.enabled:
            from wakeword_core.speech.synthesis import synthetic_sources

            sources += synthetic_sources(self.require("synthetic_speech").path)
        if not sources:
            raise DataError(
                "there are no recordings: name folders under data.sources in the configuration, "
                "or set synthesis.enabled to true"
            )
        return sources

    def fingerprint(self, *, fresh: bool = False) -> str:
        """Content hash over the configured folders of recordings; unchanged files are not read again."""
        if self.pinned_fingerprint:
            return self.pinned_fingerprint
        if self._fingerprint is None or fresh:
            self.listing()
        assert self._fingerprint is not None
        return self._fingerprint

    def listing(self) -> "Listing":
        """Every recording in the configured folders, as it is now; unchanged files are not read again."""
        from wakeword_core.recordings.scan import scan

        data, forgotten = self.config.data, self.forgotten()
        listing = scan(data.sources, self.scan_cache(), self.progress, missing=data.missing_source, forgotten=forgotten)
        self._fingerprint = forgotten.enter(listing.fingerprint)
        self._found.clear()
        return listing

    def forgotten(self) -> Forgotten:
        """What this home must never use again, as it is known now."""
        return Forgotten.load(self.home)

    def registry(self) -> "Registry":
        """What became of this project's models, as it is known now; DataError when that cannot be read."""
        from wakeword_core.registry.history import Registry

        return Registry.of(self.home, self.config)

    def opponent(self) -> Artifact | None:
        """The exported model that the present one is held against; None where there is none, or its files are gone."""
        present = self.find("onnx_model")
        key = self.registry().opponent(present.key if present else "")
        return self.store.find("onnx_model", key) if key else None

    def scan_cache(self) -> Any:
        """The cache of file hashes and health facts under this home."""
        from wakeword_core.recordings.scan import ScanCache

        return ScanCache(self.home / "cache")

    def find(self, stage: str, split: Split | None = None) -> Artifact | None:
        """The complete artifact that fits the present recordings and settings, or None."""
        if (stage, split) in self._found:
            return self._found[stage, split]
        try:
            found = self.store.find(stage, self.expected_key(stage, split))
        except ArtifactError:
            return None
        if found:
            self._found[stage, split] = found
        return found

    def expected_key(self, stage: str, split: Split | None = None) -> str:
        """The key that the stage's artifact has, or will have; an error when one of its inputs is not built."""
        spec = self.stages[stage]
        contents = {name: one["content"] for name, one in self._inputs(spec, split).items()}
        return artifact_key(contents, spec.settings(self.config, split), spec.version)

    def require(self, stage: str, split: Split | None = None) -> Artifact:
        """As `find`, but an error that says what to run when there is none."""
        found = self.find(stage, split)
        if found is None:
            raise _not_built(artifact_name(stage, split))
        return found

    def build(self, stage: str, split: Split | None = None) -> tuple[Artifact, bool]:
        """Build a stage whose inputs are there, or find it complete: (artifact, built now)."""
        with self.store.in_use():
            return self._build(stage, split)

    def _build(self, stage: str, split: Split | None) -> tuple[Artifact, bool]:
        spec = self.stages[stage]
        if spec.partitioned != (split is not None):
            raise ArtifactError(f"{stage} {'needs' if spec.partitioned else 'has no'} split")
        if stage == "raw_manifest":
            self.fingerprint(fresh=True)
        inputs = self._inputs(spec, split)
        artifacts = {one.name(split): self.require(one.stage, one.at(split)) for one in self.made_inputs(spec)}
        if CHAMPION in inputs:
            artifacts[CHAMPION] = self._stored(inputs[CHAMPION])

        def make(build: Build) -> None:
            spec.make(self, build, artifacts, split)

        name = artifact_name(stage, split)
        artifact, built = self.store.build(
            stage, inputs, spec.settings(self.config, split), spec.version, make, resumable=spec.resumable
        )
        (self.built if built else self.reused).append(name)
        self._found.clear()
        how = "built in" if built else "is complete; building it took"
        log.info("%s %s %.1f s: %s", name, how, artifact.seconds, artifact.key)
        return artifact, built

    def status(self) -> list["State"]:
        """Each artifact of the graph in build order, and why it is stale or missing."""
        from wakeword_core.lineage.status import status

        return status(self)

    def names(self) -> list[str]:
        """Names of all artifacts, `stage` or `stage[split]`, in build order."""
        return [
            artifact_name(stage.name, split)
            for stage in self.stages.values()
            for split in (SPLITS if stage.partitioned else (None,))
        ]

    def made_inputs(self, stage: Stage) -> list[Input]:
        """The inputs of a stage that are artifacts of this configuration."""
        return [one for one in stage.inputs if one.stage in self.stages]

    def deciding_inputs(self, stage: Stage) -> list[Input]:
        """What the result of a stage depends on under this configuration."""
        return [one for one in stage.inputs if self._is_there(one) and one.decides(self.config)]

    def _is_there(self, one: Input) -> bool:
        """Whether this configuration, or the home, has what an input is of."""
        if one.stage == CHAMPION:
            return self.opponent() is not None
        return one.stage in (RAW_AUDIO, *self.stages)

    def input_of(self, one: Input, split: Split | None) -> dict[str, str] | None:
        """What an input of the consumer's `split` is now: stage, key and content; None when it is not built."""
        if one.stage == RAW_AUDIO:
            content = self.fingerprint()
            return {"stage": RAW_AUDIO, "key": content[:KEY_LENGTH], "content": content}
        artifact = self.opponent() if one.stage == CHAMPION else self.find(one.stage, one.at(split))
        if artifact is None:
            return None
        facet = split if one.facet == "split" else one.facet
        content = artifact.facets[facet] if facet else artifact.content
        return {"stage": artifact.stage, "key": artifact.key, "content": content}

    def _stored(self, one: dict[str, str]) -> Artifact:
        artifact = self.store.find(one["stage"], one["key"])
        if artifact is None:
            raise ArtifactError(f"{one['stage']} {one['key']} was deleted or damaged just now; run again")
        return artifact

    def _inputs(self, stage: Stage, split: Split | None) -> dict[str, dict[str, str]]:
        inputs: dict[str, dict[str, str]] = {}
        for one in self.deciding_inputs(stage):
            found = self.input_of(one, split)
            if found is None:
                raise _not_built(one.name(split))
            inputs[one.name(split)] = found
        return inputs


def _not_built(name: str) -> ArtifactError:
    return ArtifactError(f"{name} is not built for the present recordings and settings; `wakeword run` builds it")
