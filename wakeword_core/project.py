"""A project on disk: the stage graph, which artifact each stage should have, and how to build it.

This is the one definition of the graph; Dagster, the command line and `status` all read it.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wakeword_core.artifacts import Artifact, ArtifactStore, Build, artifact_key
from wakeword_core.config import Config, SourceConfig, Split
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.forgotten import Forgotten
from wakeword_core.progress import Progress, silent

log = logging.getLogger(__name__)

RAW_AUDIO = "raw_audio"


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

    def name(self, split: Split | None) -> str:
        """How the input is called in artifact.json: `stage` or `stage[split]`."""
        chosen = split if self.split == "same" else self.split
        return f"{self.stage}[{chosen}]" if chosen else self.stage


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


@dataclass(frozen=True)
class State:
    """Where one artifact stands: fresh (complete under the expected key), stale (an older one exists) or missing."""

    stage: str
    split: Split | None
    state: Literal["fresh", "stale", "missing"]
    because: str
    artifact: Artifact | None

    @property
    def name(self) -> str:
        """`stage` or `stage[split]`."""
        return f"{self.stage}[{self.split}]" if self.split else self.stage


@dataclass
class Project:
    """A configuration and a home; finds and builds artifacts."""

    config: Config
    home: Path
    progress: Progress = silent
    on_epoch: Callable[[Any], None] | None = None
    reference_model: Callable[[], str] = lambda: ""
    """Tells the key of the model that is in use, whose data new data are compared with; empty: there is none."""
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
            self._fingerprint = self.forgotten().enter(self._listing().fingerprint)
            self._found.clear()
        return self._fingerprint

    def missing_sources(self) -> dict[str, str]:
        """Configured sources that cannot be listed now, and why."""
        return self._listing().missing

    def _listing(self) -> Any:
        from wakeword_core.scan import scan

        data = self.config.data
        return scan(
            data.sources,
            self.scan_cache(),
            self.progress,
            missing=data.missing_source,
            forgotten=self.forgotten(),
        )

    def forgotten(self) -> Forgotten:
        """What this home must never use again, as it is known now."""
        return Forgotten.load(self.home)

    def scan_cache(self) -> Any:
        """The cache of file hashes and health facts under this home."""
        from wakeword_core.scan import ScanCache

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
            name = f"{stage}[{split}]" if split else stage
            raise ArtifactError(f"{name} is not built for the present recordings and settings; materialize it first")
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
        artifacts = {one.name(split): self._artifact(one, split) for one in spec.inputs if self._has(one)}

        def make(build: Build) -> None:
            spec.make(self, build, artifacts, split)

        name = f"{stage}[{split}]" if split else stage
        artifact, built = self.store.build(
            stage, inputs, spec.settings(self.config, split), spec.version, make, resumable=spec.resumable
        )
        (self.built if built else self.reused).append(name)
        self._found.clear()
        how = "built in" if built else "is complete; building it took"
        log.info("%s %s %.1f s: %s", name, how, artifact.seconds, artifact.key)
        return artifact, built

    def status(self) -> list[State]:
        """Each artifact of the graph in build order, and why it is stale or missing."""
        from wakeword_core.config import SPLITS

        states: list[State] = []
        for stage in self.stages.values():
            for split in SPLITS if stage.partitioned else (None,):
                states.append(self._state(stage, split))
        return states

    def _state(self, stage: Stage, split: Split | None) -> State:
        found = self.find(stage.name, split)
        if found:
            return State(stage.name, split, "fresh", "", found)
        older = [one for one in self.store.all(stage.name) if one.config.get("split") == split]
        last = older[-1] if older else None
        try:
            inputs = self._inputs(stage, split)
            damaged = (self.store.root / stage.name / self.expected_key(stage.name, split)).exists()
        except ArtifactError:
            if last is None:
                return State(stage.name, split, "missing", "never built", None)
            waiting = [one.name(split) for one in stage.inputs if self._has(one) and not self._present(one, split)]
            return State(stage.name, split, "stale", f"{', '.join(waiting)} must be built first", last)
        if damaged:
            return State(stage.name, split, "stale", "its files are damaged", last)
        if last is None:
            return State(stage.name, split, "missing", "never built", None)
        return State(stage.name, split, "stale", _difference(last, inputs, stage, self.config, split), last)

    def _has(self, one: Input) -> bool:
        return one.stage != RAW_AUDIO and one.stage in self.stages

    def _present(self, one: Input, split: Split | None) -> bool:
        return self.find(one.stage, split if one.split == "same" else one.split) is not None

    def _artifact(self, one: Input, split: Split | None) -> Artifact:
        return self.require(one.stage, split if one.split == "same" else one.split)

    def _inputs(self, stage: Stage, split: Split | None) -> dict[str, dict[str, str]]:
        inputs: dict[str, dict[str, str]] = {}
        for one in stage.inputs:
            if not one.decides(self.config):
                continue
            if one.stage == RAW_AUDIO:
                content = self.fingerprint()
                inputs[RAW_AUDIO] = {"stage": RAW_AUDIO, "key": content[:20], "content": content}
            elif self._has(one):
                artifact = self._artifact(one, split)
                facet = split if one.facet == "split" else one.facet
                content = artifact.facets[facet] if facet else artifact.content
                inputs[one.name(split)] = {"stage": one.stage, "key": artifact.key, "content": content}
        return inputs


def _difference(
    last: Artifact, inputs: dict[str, dict[str, str]], stage: Stage, config: Config, split: Split | None
) -> str:
    """What changed since `last` was built, in words."""
    changed = [name for name, one in inputs.items() if last.inputs.get(name, {}).get("content") != one["content"]]
    changed += [name for name in last.inputs if name not in inputs]
    if changed:
        return f"{', '.join(changed)} changed"
    settings = stage.settings(config, split)
    names = _changed_settings(last.config, settings)
    if names:
        return f"the setting {', '.join(names[:3])} changed"
    return f"its code changed from version {last.code_version} to {stage.version}"


def _changed_settings(old: Any, new: Any, prefix: str = "") -> list[str]:
    """Names of settings that differ; those that one side does not have come last, since they follow from others."""
    if isinstance(old, dict) and isinstance(new, dict):
        names: list[str] = []
        for key in sorted(old.keys() | new.keys(), key=lambda one: (one in old.keys() ^ new.keys(), one)):
            names += _changed_settings(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else key)
        return names
    return [] if old == new else [prefix]
