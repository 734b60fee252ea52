"""A project on disk: a configuration and a home, which artifact each stage should have, and how to build it.

Dagster, the command line and `status` all read the graph and its state here.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, SourceConfig, Split
from wakeword_core.errors import ArtifactError
from wakeword_core.files import read_json, write_json
from wakeword_core.graph.stage import Check, CheckRun, Input, Judgement, RecordingFolders, Stage, StageRun
from wakeword_core.graph.stages import STAGES
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.scan import Listing, ScanCache, scan
from wakeword_core.registry.history import Registry
from wakeword_core.stage_names import CHAMPION, MANIFEST, MODEL, RAW_AUDIO
from wakeword_core.store.artifacts import KEY_LENGTH, Artifact, ArtifactStore, Build, artifact_key, artifact_name

log = logging.getLogger(__name__)

CHECKS_FILE = "checks.json"
"""Beside an artifact's files: what its checks found, each by a key of all that the verdict depends on."""


@dataclass
class Project:
    """A configuration and a home; finds, builds and checks artifacts."""

    config: Config
    home: Path
    progress: Progress = silent
    on_epoch: Callable[[Any], None] = lambda record: None
    pinned_fingerprint: str = ""
    """Take the recordings to be as they were then: a build goes on with what its manifest lists, whatever arrives."""
    graph: tuple[Stage, ...] = STAGES

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        self.store = ArtifactStore(self.home / "store")
        self._fingerprint: str | None = None
        self._found: dict[tuple[str, Split | None], Artifact] = {}

    @property
    def stages(self) -> dict[str, Stage]:
        """Return the graph in build order, without stages that the configuration switches off."""
        return {stage.name: stage for stage in self.graph if stage.optional(self.config)}

    def sources(self) -> list[SourceConfig]:
        """Return every source of recordings: the configured folders, then synthetic speech."""
        from wakeword_core.graph.stages.manifest import all_sources

        return all_sources(self.config, self.require("synthetic_speech") if self.config.synthesis.enabled else None)

    def fingerprint(self, *, fresh: bool = False) -> str:
        """Return a hash over all configured folders of recordings; unchanged files are not read again."""
        if self.pinned_fingerprint:
            return self.pinned_fingerprint
        if self._fingerprint is None or fresh:
            self.listing()
        assert self._fingerprint is not None
        return self._fingerprint

    def listing(self) -> Listing:
        """List every recording in the configured folders, as it is now; unchanged files are not read again."""
        data, forgotten = self.config.data, self.forgotten()
        listing = scan(data.sources, self.scan_cache(), self.progress, missing=data.missing_source, forgotten=forgotten)
        self._fingerprint = forgotten.enter(listing.fingerprint)
        self._found.clear()
        return listing

    def forgotten(self) -> Forgotten:
        """Return what this home must never use again, as it is known now."""
        return Forgotten.load(self.home)

    def registry(self) -> Registry:
        """Return what became of this project's models, as it is known now; DataError when that cannot be read."""
        return Registry.of(self.home, self.config)

    def opponent(self) -> Artifact | None:
        """Return the exported model that the present one is held against: the champion, or whom that took over from."""
        present = self.find(MODEL)
        key = self.registry().opponent(present.key if present else "")
        return self.store.find(MODEL, key) if key else None

    def scan_cache(self) -> ScanCache:
        """Open the cache of file hashes and health facts under this home."""
        return ScanCache(self.home / "cache")

    def find(self, stage: str, split: Split | None = None) -> Artifact | None:
        """Return the complete artifact that fits the present recordings and settings, or None."""
        if (stage, split) in self._found:
            return self._found[stage, split]
        try:
            artifact = self.store.find(stage, self.expected_key(stage, split))
        except ArtifactError:
            return None
        if artifact:
            self._found[stage, split] = artifact
        return artifact

    def expected_key(self, stage: str, split: Split | None = None) -> str:
        """Return the key that the stage's artifact has, or will have; an error when one of its inputs is not built."""
        spec = self.stages[stage]
        contents = {name: record["content"] for name, record in self._deciding_contents(spec, split).items()}
        return artifact_key(contents, spec.deciding_settings(self.config, split), spec.version)

    def require(self, stage: str, split: Split | None = None) -> Artifact:
        """Return the artifact as `find` does; an error that says what to run when there is none."""
        artifact = self.find(stage, split)
        if artifact is None:
            raise _not_built(artifact_name(stage, split))
        return artifact

    def build(self, stage: str, split: Split | None = None) -> tuple[Artifact, bool]:
        """Build a stage whose inputs are there, or find it complete: (artifact, built now)."""
        with self.store.in_use():
            return self._build(stage, split)

    def _build(self, stage: str, split: Split | None) -> tuple[Artifact, bool]:
        spec = self.stages[stage]
        if spec.partitioned != (split is not None):
            raise ArtifactError(f"{stage} {'needs a' if spec.partitioned else 'has no'} split")
        if stage == MANIFEST:
            self.fingerprint(fresh=True)
        deciding = self._deciding_contents(spec, split)
        inputs = self._artifacts(spec.inputs, split)

        def make(build: Build) -> None:
            folders = RecordingFolders(
                self.fingerprint(), lambda: self.fingerprint(fresh=True), self.scan_cache, self.forgotten
            )
            run = StageRun(
                self.config, inputs, split, build.path, build.key, build.parts, self.store, folders, self.progress,
                self.on_epoch,
            )  # fmt: skip
            spec.make(run)
            build.figures, build.facets, build.volatile = run.figures, run.facets, run.volatile
            build.device = run.device_used

        self._set_aside_if_damaged(spec, split)
        artifact, built = self.store.build(
            stage,
            deciding,
            spec.deciding_settings(self.config, split),
            spec.version,
            make,
            resumable=spec.resumable,
            libraries=spec.libraries,
        )
        self._found.clear()
        how = "built in" if built else "is complete; building it took"
        log.info("%s %s %.1f s: %s", artifact_name(stage, split), how, artifact.seconds, artifact.key)
        return artifact, built

    def _set_aside_if_damaged(self, stage: Stage, split: Split | None) -> None:
        """Move what no check has looked at yet out of the way if a byte of it changed, so that it is built anew."""
        artifact = self.find(stage.name, split)
        if artifact and not (artifact.path / CHECKS_FILE).exists() and artifact.damaged(read=True):
            self.store.discard(artifact)

    def verdicts(self, stage: str, split: Split | None = None) -> list[Judgement]:
        """Return what each check of a stage's artifact found; only what is not recorded beside it yet is measured."""
        artifact = self.require(stage, split)
        recorded, judgements, measured = _read_verdicts(artifact), [], False
        for check in self.stages[stage].checks:
            run = self._check_run(check, split)
            judgement = _recorded(recorded, check, check.key(artifact, run))
            if judgement is None:
                judgement, measured = _judge(check, artifact, run), True
                recorded[check.name] = {"key": check.key(artifact, run), **asdict(judgement)}
            judgements.append(judgement)
        if measured:
            self._require_undamaged(artifact, artifact_name(stage, split), judgements)
            try:
                write_json(artifact.path / CHECKS_FILE, recorded)
            except OSError as error:
                where = artifact.path / CHECKS_FILE
                raise ArtifactError(
                    f"cannot write {where}: {error.strerror}; free some space, then run again"
                ) from error
        return judgements

    def _require_undamaged(self, artifact: Artifact, name: str, judgements: Sequence[Judgement]) -> None:
        """Set an artifact aside, with an error, if its checks fail because the disk changed it."""
        if any(judgement.stops for judgement in judgements) and (damaged := artifact.damaged(read=True)):
            self.store.discard(artifact)
            self._found.clear()
            raise ArtifactError(
                f"{name} changed on disk ({', '.join(damaged)}) and was set aside; run again to build it"
            )

    def recorded_verdicts(self, stage: str, split: Split | None = None) -> list[Judgement] | None:
        """Return what the checks of a stage's artifact found, or None where one of them is still to be made."""
        artifact = self.find(stage, split)
        if artifact is None:
            return None
        recorded = _read_verdicts(artifact)
        judgements = []
        for check in self.stages[stage].checks:
            try:
                run = self._check_run(check, split)
            except ArtifactError:  # what it is to be compared with is not built
                return None
            judgement = _recorded(recorded, check, check.key(artifact, run))
            if judgement is None:
                return None
            judgements.append(judgement)
        return judgements

    def _check_run(self, check: Check, split: Split | None) -> CheckRun:
        return CheckRun(self.config, self._artifacts(check.inputs, split), split, self.store)

    def names(self) -> list[str]:
        """Return the names of all artifacts, `stage` or `stage[split]`, in build order."""
        return [artifact_name(stage.name, split) for stage in self.stages.values() for split in stage.splits]

    def deciding_inputs(self, stage: Stage) -> list[Input]:
        """Return what the result of a stage depends on under this configuration."""
        return [wanted for wanted in stage.inputs if self._exists(wanted) and wanted.decides(self.config)]

    def _exists(self, wanted: Input) -> bool:
        """Whether this configuration, or the home, has what an input is of."""
        if wanted.stage == CHAMPION:
            return self.opponent() is not None
        return wanted.stage == RAW_AUDIO or wanted.stage in self.stages

    def content_of(self, wanted: Input, split: Split | None) -> dict[str, str] | None:
        """Return what an input of the consumer's `split` is now: stage, key and content; None when it is not built.

        ArtifactError when it is an artifact of an earlier version that lacks the part that the consumer depends on.
        """
        if wanted.stage == RAW_AUDIO:
            content = self.fingerprint()
            return {"stage": RAW_AUDIO, "key": content[:KEY_LENGTH], "content": content}
        artifact = self.opponent() if wanted.stage == CHAMPION else self.find(wanted.stage, wanted.at(split))
        if artifact is None:
            return None
        facet = split if wanted.facet == "split" else wanted.facet
        if facet and facet not in artifact.facets:
            raise ArtifactError(
                f"{artifact.stage} {artifact.key} was written by an earlier version and says nothing of its {facet}; "
                f"remove {artifact.path}, and `wakeword run` builds it anew"
            )
        content = artifact.facets[facet] if facet else artifact.content
        return {"stage": artifact.stage, "key": artifact.key, "content": content}

    def _artifacts(self, wanted: Sequence[Input], split: Split | None) -> dict[str, Artifact]:
        """Return the artifacts of all inputs by name, whether they decide or not; an error where one is missing."""
        artifacts = {
            made.name(split): self.require(made.stage, made.at(split)) for made in wanted if made.stage in self.stages
        }
        opponent = self.opponent() if any(made.stage == CHAMPION for made in wanted) else None
        return artifacts | ({CHAMPION: opponent} if opponent else {})

    def _deciding_contents(self, stage: Stage, split: Split | None) -> dict[str, dict[str, str]]:
        contents: dict[str, dict[str, str]] = {}
        for wanted in self.deciding_inputs(stage):
            content = self.content_of(wanted, split)
            if content is None:
                raise _not_built(wanted.name(split))
            contents[wanted.name(split)] = content
        return contents


def _judge(check: Check, artifact: Artifact, run: CheckRun) -> Judgement:
    verdict = check.run(artifact, run)
    return Judgement(
        check.name,
        check.blocking,
        verdict.passed,
        verdict.severity or check.severity,
        verdict.description,
        verdict.figures,
    )


def _read_verdicts(artifact: Artifact) -> dict[str, Any]:
    """Return what is recorded beside an artifact; what cannot be read counts as not recorded."""
    try:
        recorded = read_json(artifact.path / CHECKS_FILE)
    except (OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}


def _recorded(recorded: dict[str, Any], check: Check, key: str) -> Judgement | None:
    entry = recorded.get(check.name)
    if not isinstance(entry, dict) or entry.get("key") != key:
        return None
    try:
        return Judgement(**{name: value for name, value in entry.items() if name != "key"})
    except TypeError:
        return None


def _not_built(name: str) -> ArtifactError:
    return ArtifactError(f"{name} is not built for the present recordings and settings; `wakeword run` builds it")
