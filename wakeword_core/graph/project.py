"""A project: a configuration and a home. It says which artifact each stage should have, builds it and checks it.

Each artifact is checked once: what its checks found is recorded beside it in `checks.json`, with a key of all that the
verdict depends on (`Check.key`). A check is made again only for a key without a record: for another content, other
inputs or other limits.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from wakeword_core.config import Config, Split
from wakeword_core.config.data_roots import check_in_data_roots
from wakeword_core.errors import ArtifactError, DataError
from wakeword_core.graph.listing import Listed, forgotten_in, list_recordings
from wakeword_core.graph.named_models import NamedModels
from wakeword_core.graph.stage import (
    Check,
    CheckRun,
    Input,
    Judgement,
    RecordingFolders,
    Stage,
    StageRun,
    add_judgements,
    not_built,
    read_judgements,
)
from wakeword_core.graph.stages import STAGES
from wakeword_core.lineage.given import inputs_of
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.scan import Listing, ScanCache
from wakeword_core.registry.history import Registry
from wakeword_core.stage_names import CHAMPION, MANIFEST, MODEL, RAW_AUDIO
from wakeword_core.store.artifacts import CHECKS_FILE, KEY_LENGTH, Artifact, ArtifactStore, Build, artifact_name
from wakeword_core.store.remote import Remote

log = logging.getLogger(__name__)

Place = tuple[str, Split | None]
"""A stage and, of a partitioned one, a split."""
_MOST_CHAMPIONS = 20
"""Of other builds, one after the other, while a model is compared."""


@dataclass
class Project:
    """A configuration and a home; finds, builds and checks artifacts."""

    config: Config
    home: Path
    progress: Progress = silent
    on_epoch: Callable[[Any], None] = lambda record: None
    pinned_fingerprint: str = ""
    """Take the recordings to be as they were then: a build goes on with what its manifest lists, whatever arrives."""
    pinned_champion: str | None = None
    """Key of the champion to start from, or empty for none: a build goes on from one model, whichever is promoted."""
    graph: tuple[Stage, ...] = STAGES
    listed: Listed | None = None
    """What was listed last and not taken yet for a manifest, so that it need not be listed again."""

    def __post_init__(self) -> None:
        self.home = self.home.resolve()
        check_in_data_roots(self.home, "the home")
        url = self.config.remote.location()
        self.remote = Remote(url, uploads=self.config.remote.upload, progress=self._show) if url else None
        self.store = ArtifactStore(self.home / "store", self.remote)
        self._fingerprint = self.listed.fingerprint if self.listed else None
        self._complete: dict[Place, Artifact] = {}
        self.models = NamedModels(self)

    @property
    def cache(self) -> Path:
        """Return the folder of what can be found out, or fetched, again."""
        return self.home / "cache"

    @property
    def stages(self) -> dict[str, Stage]:
        """Return the graph in build order, without stages that the configuration switches off."""
        return {stage.name: stage for stage in self.graph if stage.optional(self.config)}

    def fingerprint(self) -> str:
        """Return a hash over all configured folders of recordings as they were listed last, or the pinned one."""
        if self.pinned_fingerprint:
            return self.pinned_fingerprint
        if self._fingerprint is None:
            self.listing()
        assert self._fingerprint is not None
        return self._fingerprint

    def listing(self) -> Listing:
        """List every recording in the configured folders, as it is now; unchanged files are not read again."""
        self.listed = list_recordings(self.config, self.home, self.cache, self.forgotten(), self.progress)
        self._fingerprint = self.listed.fingerprint
        self._look_again()
        return self.listed.listing

    def _take_listing(self) -> Listing:
        """Return what was listed just now, once and unless anything was forgotten since, or what is there now."""
        if self.listed is None or not self.listed.is_of_now(self.forgotten()):
            self.listing()
        assert self.listed is not None
        listing, self.listed = self.listed.listing, None
        return listing

    def forgotten(self) -> Forgotten:
        """Return what this home must never use again, as it is known now; DataError where that is lost."""
        return forgotten_in(self.home, self.store)

    def registry(self) -> Registry:
        """Return what became of this project's models, as it is known now; DataError when that cannot be read."""
        return Registry.of(self.home, self.config)

    def opponent(self) -> Artifact | None:
        """Return the exported model that the present one is held against: the champion, or whom that took over from."""
        present = self.find(MODEL)
        key = self.registry().opponent(present.key if present else "")
        return self.store.find(MODEL, key) if key else None

    def _show(self, what: str, done: int, total: int) -> None:
        self.progress(what, done, total)  # which may be set later

    def scan_cache(self) -> ScanCache:
        """Open the cache of file hashes and health facts under this home."""
        return ScanCache(self.cache)

    def _look_again(self) -> None:
        """Forget what is complete, and what training goes on from, which follows from that."""
        self._complete.clear()
        self.models.look_again()

    def find(self, stage: str, split: Split | None = None) -> Artifact | None:
        """Return the complete artifact that fits the present recordings and settings, or None."""
        if (stage, split) in self._complete:
            return self._complete[stage, split]
        try:
            artifact = self.store.find(stage, self.expected_key(stage, split))
        except ArtifactError:
            return None
        if artifact:
            self._complete[stage, split] = artifact
        return artifact

    def fetch(self, stage: str, split: Split | None = None) -> bool:
        """Take an artifact that this home lacks from the remote, and return whether that has it.

        It cannot be told which one that is while an input of it is missing. ArtifactError when it is damaged there.
        """
        try:
            key = self.expected_key(stage, split)
        except ArtifactError:
            return False
        with self.store.in_use():
            fetched = self.store.fetch(stage, key) is not None
        self._look_again()
        return fetched

    def expected_key(self, stage: str, split: Split | None = None) -> str:
        """Return the key that the stage's artifact has, or will have; an error when one of its inputs is not built."""
        wanted = self.stages[stage]
        contents = self.input_contents(wanted, split) | inputs_of(self.models.given_to(wanted))
        return wanted.key(self.models.config_of(wanted), split, contents)

    def require(self, stage: str, split: Split | None = None) -> Artifact:
        """Return the artifact as `find` does; an error that says what to run when there is none."""
        artifact = self.find(stage, split)
        if artifact is None:
            raise not_built(artifact_name(stage, split))
        return artifact

    def build(self, stage: str, split: Split | None = None) -> tuple[Artifact, bool]:
        """Build a stage whose inputs are there, or find it complete: (artifact, built now).

        While a model is compared with the champion, another build of the home may make its own champion: then it is
        compared with that one.
        """
        compared = any(edge.stage == CHAMPION and edge.decides(self.config) for edge in self.stages[stage].inputs)
        with self.store.in_use():
            artifact, built = self._build(stage, split)
            for _ in range(_MOST_CHAMPIONS if compared else 0):
                if self.find(stage, split) == artifact:
                    break
                log.info("Another model is champion by now; the model is compared with that one.")
                artifact, built = self._build(stage, split)
            return artifact, built

    def rebuild(self, stage: str, split: Split | None) -> Artifact:
        """Build a complete artifact once more in its place, and check it; ArtifactError where its content changes.

        The caller keeps others from the store meanwhile.
        """
        before = self.require(stage, split)
        artifact, _ = self._build(stage, split, again=True)
        if artifact.content != before.content:
            raise ArtifactError(
                f"{artifact_name(stage, split)} was built again and is not what it was; run again to build what was "
                "made from it"
            )
        self.verdicts(stage, split)
        return artifact

    def _build(self, name: str, split: Split | None, *, again: bool = False) -> tuple[Artifact, bool]:
        stage = self.stages[name]
        if stage.partitioned != (split is not None):
            raise ArtifactError(f"{name} {'needs a' if stage.partitioned else 'has no'} split")
        self.models.require_fitting()
        listings = [self._take_listing()] if name == MANIFEST else []
        config, models = self.models.config_of(stage), self.models.given_to(stage)
        deciding = self.input_contents(stage, split) | inputs_of(models)
        inputs = self._artifacts(stage.inputs, split)

        def listed() -> Listing | None:
            # a recording is read only as it was listed: one listing is enough, but it has to be what the key says
            if listings and self._fingerprint != self.fingerprint():
                raise DataError("recordings changed since this build began; run again when they are at rest")
            return listings.pop() if listings else None

        def make(build: Build) -> None:
            if stage.models(self.config) and not models:
                log.info("There is no champion to start from: %s begins with random weights.", name)
            if damaged := self.set_aside_damaged([(name, split)]):
                raise ArtifactError(
                    f"{' and '.join(damaged)}, from which {artifact_name(name, split)} is to be built, changed on disk "
                    f"and {'were' if len(damaged) > 1 else 'was'} set aside; run again to build it"
                )
            folders = RecordingFolders(self.scan_cache, self.forgotten, listed)
            run = StageRun(
                config, inputs, split, build.path, build.key, build.parts, self.store, folders, self.cache,
                models, self.progress, self.on_epoch,
            )  # fmt: skip
            stage.make(run)
            build.figures, build.facets = run.figures, run.facets
            build.volatile, build.content = run.volatile, run.content
            build.device = run.device_used

        existing = self.find(name, split)
        unchecked = existing and not (existing.path / CHECKS_FILE).exists()
        if existing and unchecked and not again and existing.damaged(read=True, again=False):
            self.store.discard(existing)  # its checks, which would notice the damage, were not made yet
        artifact, built = self.store.build(
            name,
            deciding,
            stage.deciding_settings(config, split),
            stage.version,
            make,
            resumable=stage.resumable,
            libraries=stage.libraries,
            again=again,
        )
        self._look_again()
        how = "built in" if built else "is complete; building it took"
        log.info("%s %s %.1f s: %s", artifact_name(name, split), how, artifact.seconds, artifact.key)
        return artifact, built

    def set_aside_damaged(self, places: Iterable[Place], *, themselves: bool = False) -> list[str]:
        """Set aside what is read to build and check these, or with `themselves` they, where bytes changed on disk.

        Returns the names. Everything is read as a whole, but once in a process. Of recordings and of the champion
        nothing is read: the manifest and the comparison look at them.
        """
        wanted = set(places) if themselves else {read for place in places for read in self._reads(*place)}
        artifacts = {place: artifact for place in wanted if (artifact := self.find(*place))}
        damaged = {place: artifact for place, artifact in artifacts.items() if artifact.damaged(read=True, again=False)}
        for artifact in damaged.values():
            self.store.discard(artifact)
        if damaged:
            self._look_again()
        return sorted(artifact_name(*place) for place in damaged)

    def _reads(self, name: str, split: Split | None) -> list[Place]:
        """List what is read to build an artifact, if it is not complete, and to check it, if it is not checked."""
        if self.recorded_verdicts(name, split) is not None:
            return []
        stage = self.stages[name]
        sources = [*stage.inputs, *(source for check in stage.checks for source in check.inputs)]
        places = [(source.stage, source.at(split)) for source in sources if source.stage in self.stages]
        return [(name, split), *places]

    def verdicts(self, stage: str, split: Split | None = None) -> list[Judgement]:
        """Return what each check of a stage's artifact found; only checks without a record that fits are made."""
        artifact = self.require(stage, split)
        record = read_judgements(artifact)
        judgements: dict[str, Judgement] = {}
        for check, run, key in self._checks(artifact, split):
            try:
                judgements[key] = record.get(key) or check.judge(artifact, run)
            except Exception:
                self._require_undamaged(artifact, split)
                raise
        if judgements.keys() - record.keys():
            if any(judgement.stops for judgement in judgements.values()):
                self._require_undamaged(artifact, split)
            add_judgements(artifact, judgements)
        return list(judgements.values())

    def _require_undamaged(self, artifact: Artifact, split: Split | None) -> None:
        """Set an artifact aside, with an error, if its checks may have failed because the disk changed its bytes."""
        if damaged := artifact.damaged(read=True):
            self.store.discard(artifact)
            self._look_again()
            name = artifact_name(artifact.stage, split)
            raise ArtifactError(
                f"{name} changed on disk ({', '.join(damaged)}) and was set aside; run again to build it"
            )

    def recorded_verdicts(self, stage: str, split: Split | None = None) -> list[Judgement] | None:
        """Return what the checks of a stage's artifact found, or None where one of them is still to be made."""
        artifact = self.find(stage, split)
        if artifact is None:
            return None
        record = read_judgements(artifact)
        try:
            checks = self._checks(artifact, split)
        except ArtifactError:  # what it is to be compared with is not built
            return None
        return [record[key] for _, _, key in checks] if all(key in record for _, _, key in checks) else None

    def _checks(self, artifact: Artifact, split: Split | None) -> list[tuple[Check, CheckRun, str]]:
        """Return each check of an artifact with what it is given and its key; an error where that is not built."""
        checks = []
        for check in self.stages[artifact.stage].checks:
            passed_by = partial(self._passed_by, artifact, check.name)
            run = CheckRun(self.config, self._artifacts(check.inputs, split), split, self.store, passed_by)
            contents = {source.name(split): self.content_of(source, split) for source in check.inputs}
            known = {name: content["content"] for name, content in contents.items() if content}
            checks.append((check, run, check.key(artifact, known, self.config)))
        return checks

    def _passed_by(self, artifact: Artifact, check: str) -> list[tuple[Artifact, Judgement]]:
        """Return the other artifacts of a stage that have passed a check as it is now, and what it found."""
        return [
            (other, judgement)
            for other in self.store.cards(artifact.stage)
            if other.key != artifact.key and other.code_version == artifact.code_version
            for judgement in read_judgements(other).values()
            if judgement.check == check and judgement.passed
        ]

    def deciding_inputs(self, stage: Stage) -> list[Input]:
        """Return what the result of a stage depends on under this configuration."""
        return [source for source in stage.inputs if self._exists(source) and source.decides(self.config)]

    def _exists(self, source: Input) -> bool:
        """Return whether this configuration, or the home, has the stage or the champion that an input names."""
        if source.stage == CHAMPION:
            return self.opponent() is not None
        return source.stage == RAW_AUDIO or source.stage in self.stages

    def content_of(self, source: Input, split: Split | None) -> dict[str, str] | None:
        """Return what an input of the consumer's `split` is now: stage, key and content; None when it is not built.

        ArtifactError when it is an artifact of an earlier version that lacks the part that the consumer depends on.
        """
        if source.stage == RAW_AUDIO:
            content = self.fingerprint()
            return {"stage": RAW_AUDIO, "key": content[:KEY_LENGTH], "content": content}
        artifact = self.opponent() if source.stage == CHAMPION else self.find(source.stage, source.at(split))
        if artifact is None:
            return None
        facet = split if source.facet == "split" else source.facet
        if facet and facet not in artifact.facets:
            raise ArtifactError(
                f"{artifact.stage} {artifact.key} was written by an earlier version and says nothing of its {facet}; "
                f"remove {artifact.path}, and `wakeword run` builds it anew"
            )
        content = artifact.facets[facet] if facet else artifact.content
        return {"stage": artifact.stage, "key": artifact.key, "content": content}

    def _artifacts(self, sources: Sequence[Input], split: Split | None) -> dict[str, Artifact]:
        """Return the artifacts of all inputs by name, whether they decide or not; an error where one is missing."""
        artifacts = {}
        for source in sources:
            if source.stage in self.stages:
                artifacts[source.name(split)] = self.require(source.stage, source.at(split))
            elif source.stage == CHAMPION and (opponent := self.opponent()):
                artifacts[CHAMPION] = opponent
        return artifacts

    def input_contents(self, stage: Stage, split: Split | None) -> dict[str, dict[str, str]]:
        """Return what each input that decides is now, by name; an error where one is not built."""
        contents: dict[str, dict[str, str]] = {}
        for source in self.deciding_inputs(stage):
            content = self.content_of(source, split)
            if content is None:
                raise not_built(source.name(split))
            contents[source.name(split)] = content
        return contents
