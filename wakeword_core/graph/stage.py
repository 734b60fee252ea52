"""What a stage of the graph is: its inputs, the settings it depends on, the call that builds it, and its checks.

A stage is a value of `Stage`, in a file of its own under `stages/`. Its `make` gets a `StageRun` and fills a folder.
Each of its checks gets the finished artifact and a `CheckRun`, and returns a `Verdict`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict

from wakeword_core.config import SPLITS, Config, Split
from wakeword_core.errors import ArtifactError
from wakeword_core.files import as_type, content_hash, digest, read_json, write_json
from wakeword_core.lineage.given import GivenModel
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings.forgotten import Forgotten
from wakeword_core.recordings.scan import Listing, ScanCache
from wakeword_core.stage_names import StageName
from wakeword_core.store.artifacts import (
    CHECKS_FILE,
    Artifact,
    ArtifactStore,
    artifact_key,
    artifact_name,
    recorded_versions,
)
from wakeword_core.store.parts import FileEntry, Parts
from wakeword_core.workers import workers_for
from wakeword_core.workers.base import Workers

Severity = Literal["error", "warning"]
"""An error is something wrong, a warning something to look at; only the error of a blocking check stops a build."""
InputName = StageName | Literal["raw_audio", "champion"]
_SHOWN_PROBLEMS = 5
_MOST_VERDICTS = 100
"""Of an artifact, the newest: limits, and whom it is compared with, may change back and forth."""


def always(config: Config) -> bool:
    """Return True, whatever the configuration says."""
    return True


def no_files(config: Config) -> tuple[Path, ...]:
    """Return no files, whatever the configuration says."""
    return ()


def no_models(config: Config) -> Mapping[str, str]:
    """Return no models, whatever the configuration says."""
    return {}


def fit_always(config: Config, models: Mapping[str, GivenModel]) -> None:
    """Have nothing to say against any models."""


def never(config: Config) -> bool:
    """Return False, whatever the configuration says."""
    return False


@dataclass(frozen=True)
class Input:
    """An edge of the graph: the stage it comes from, and which split or facet of it."""

    stage: InputName
    split: Split | Literal["same"] | None = None
    facet: str | Literal["split"] | None = None
    """Depend on a named facet of the input instead of all of it; 'split' is the facet of the consumer's split."""
    decides: Callable[[Config], bool] = always
    """Whether the result depends on it; else it is only looked at, and a change of it makes nothing stale."""

    def at(self, split: Split | None) -> Split | None:
        """Return which split of its stage the input is, for a consumer of `split`."""
        return split if self.split == "same" else self.split

    def name(self, split: Split | None) -> str:
        """Return how the input is called in artifact.json: `stage` or `stage[split]`."""
        return artifact_name(self.stage, self.at(split))


@dataclass(frozen=True)
class RecordingFolders:
    """The recordings that a build is about, and what the home knows of them."""

    scan_cache: Callable[[], ScanCache]
    forgotten: Callable[[], Forgotten]
    """What this home must never use again."""
    listing: Callable[[], Listing | None]
    """What is in the configured folders, for the stage that lists it, which gets it once: it may be large."""


@dataclass
class StageRun:
    """What a stage is given to build one artifact, and where it leaves the figures of the result."""

    config: Config
    inputs: dict[str, Artifact]
    """By the name that `Input.name` gives."""
    split: Split | None
    out: Path
    """The folder to fill."""
    key: str
    parts: Parts
    store: ArtifactStore
    recordings: RecordingFolders
    cache: Path
    """The folder for what is fetched once and kept, such as models of speech engines."""
    models: Mapping[str, GivenModel] = field(default_factory=dict)
    """Finished models that the configuration names, by the part that they play."""
    progress: Progress = silent
    on_epoch: Callable[[Any], None] = lambda record: None
    figures: dict[str, Any] = field(default_factory=dict)
    """Counts and measures of the result, for people and metadata."""
    facets: dict[str, str] = field(default_factory=dict)
    """Hashes of parts that consumers depend on separately."""
    volatile: set[str] = field(default_factory=set)
    """Files that differ from build to build without meaning to, such as times: hashed, but no part of the content."""
    content: str = ""
    """Hash of the result where that is not the bytes of its files, since the same may lie in files in several ways."""

    def earlier(self, stage: "Stage") -> Iterator[Artifact]:
        """Yield the whole artifacts of this stage and split by these settings, from whatever inputs; newest first."""
        made = stage.version, stage.deciding_settings(self.config, self.split)
        for card in reversed(self.store.cards(stage.name)):
            if (card.code_version, card.config) == made and (artifact := self.store.find(stage.name, card.key)):
                yield artifact

    def made_before(self, stage: "Stage", pattern: str) -> dict[Path, FileEntry]:
        """Return the files, named by a pattern, of the newest `earlier` artifact by these versions and this device.

        There are none while anything is forgotten: they may hold it.
        """
        if self.recordings.forgotten().tombstones:
            return {}
        made = recorded_versions(), self.device_used
        for artifact in self.earlier(stage):
            if (artifact.versions, artifact.device) == made:
                return {artifact.path / name: one for name, one in artifact.files.items() if fnmatch(name, pattern)}
        return {}

    @cached_property
    def device(self) -> str:
        """Choose the device that the configuration asks for: `cpu` or `cuda`."""
        from wakeword_core.training.device import choose_device

        return choose_device(self.config.compute.device)

    @cached_property
    def workers(self) -> Workers:
        """Find who does the tasks of this stage: this machine, or a cluster that shares the home with it."""
        return workers_for(self.config.compute, self.store.root)

    @cached_property
    def device_of_tasks(self) -> str:
        """Choose the device on which the workers compute, which may be those of other machines."""
        return self.workers.device(self.config.compute.device, lambda: self.device)

    @property
    def device_used(self) -> str:
        """Return the device that the stage asked for; `cpu` if it never asked."""
        asked = self.__dict__
        return str(asked.get("device_of_tasks", asked.get("device", "cpu")))


@dataclass(frozen=True)
class Verdict:
    """The outcome of a check: whether it holds, why in one sentence, and the figures behind it."""

    passed: bool
    description: str
    figures: dict[str, Any] = field(default_factory=dict)
    severity: Severity | None = None
    """Of a failure, where it depends on how much is wrong; else it is the check's."""


def verdict_on(problems: list[str], fine: str) -> Verdict:
    """Return a verdict that fails when there are problems and names the first; `fine` is said when there are none."""
    if not problems:
        return Verdict(True, fine)
    more = f" (and {len(problems) - _SHOWN_PROBLEMS} more)" if len(problems) > _SHOWN_PROBLEMS else ""
    return Verdict(False, "; ".join(problems[:_SHOWN_PROBLEMS]) + more, {"problems": len(problems)})


@dataclass(frozen=True)
class CheckRun:
    """What a check is given besides the artifact that it looks at."""

    config: Config
    inputs: Mapping[str, Artifact]
    """By the name that `Input.name` gives; without those that there are none of."""
    split: Split | None
    store: ArtifactStore
    passed_by: "Callable[[], Sequence[tuple[Artifact, Judgement]]]" = tuple
    """Other artifacts of the stage that have passed the check as it is now, and what it found, newest last."""

    @cached_property
    def verified(self) -> frozenset[str]:
        """SHA-256 of the files that the check has found sound in other artifacts: they need not be read again."""
        return frozenset(sha256 for artifact, _ in self.passed_by() for sha256 in artifact.sums.values())


@dataclass(frozen=True)
class Judgement:
    """The verdict of a check on an artifact, as it is recorded beside it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    check: str
    blocking: bool
    passed: bool
    severity: Severity
    description: str
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        """Return whether something is wrong; a warning is no failure."""
        return not self.passed and self.severity == "error"

    @property
    def stops(self) -> bool:
        """Return whether nothing may be built on the artifact."""
        return self.failed and self.blocking


def read_judgements(artifact: Artifact) -> dict[str, Judgement]:
    """Return what is recorded beside an artifact, by the key of the check; what cannot be read is made again."""
    try:
        entries = as_type(list[dict[str, Any]], read_json(artifact.path / CHECKS_FILE))
        return {str(entry.pop("key")): as_type(Judgement, entry) for entry in entries}
    except (OSError, ValueError, KeyError):
        return {}


def add_judgements(artifact: Artifact, judgements: dict[str, Judgement]) -> None:
    """Write what checks found beside what else is recorded by now, as the newest."""
    path = artifact.path / CHECKS_FILE
    older = {key: judgement for key, judgement in read_judgements(artifact).items() if key not in judgements}
    entries = [{"key": key, **asdict(judgement)} for key, judgement in (older | judgements).items()]
    try:
        write_json(path, entries[-_MOST_VERDICTS:])
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror}; free some space, then run again") from error


def not_built(name: str) -> ArtifactError:
    """Return the error that something is not there yet, with what to do."""
    return ArtifactError(f"{name} is not built for the present recordings and settings; `wakeword run` builds it")


@dataclass(frozen=True)
class Check:
    """A named condition on a stage's artifact. A check only looks: it changes nothing."""

    name: str
    description: str
    run: Callable[[Artifact, CheckRun], Verdict]
    blocking: bool = True
    """Whether what is downstream must not be built when it fails with an error."""
    inputs: tuple[Input, ...] = ()
    """What it looks at besides the artifact."""
    limits: tuple[str, ...] = ()
    """Settings that it is held against, as dotted names."""

    @property
    def severity(self) -> Severity:
        """Return the severity of a failure, unless its verdict says otherwise."""
        return "error" if self.blocking else "warning"

    def key(self, artifact: Artifact, contents: Mapping[str, str], config: Config) -> str:
        """Return a hash of all that the verdict depends on: while it stays the same, so does the verdict.

        `contents` are those of the inputs, or of the facets of them that count, by name.
        """
        limits = config.subset(*self.limits)
        return digest([self.name, artifact.content, artifact.code_version, dict(contents), limits])

    def judge(self, artifact: Artifact, run: CheckRun) -> Judgement:
        """Make the check and return its verdict with all that is recorded of it."""
        verdict = self.run(artifact, run)
        severity = verdict.severity or self.severity
        return Judgement(self.name, self.blocking, verdict.passed, severity, verdict.description, verdict.figures)


def check(
    function: Callable[[Artifact, CheckRun], Verdict],
    *,
    blocking: bool = True,
    inputs: tuple[Input, ...] = (),
    limits: tuple[str, ...] = (),
) -> Check:
    """Return the check that a function makes: the function's name and docstring are those of the check."""
    return Check(function.__name__, function.__doc__ or "", function, blocking, inputs, limits)


@dataclass(frozen=True)
class Stage:
    """One node of the graph: everything that is true of it."""

    name: StageName
    version: str
    """Raise it when the same inputs and settings give another result; its caches are then left behind, too."""
    make: Callable[[StageRun], None]
    inputs: tuple[Input, ...]
    settings: tuple[str, ...]
    """Branches of the configuration that its result depends on, as dotted names."""
    group: str
    kinds: tuple[str, ...]
    description: str
    checks: tuple[Check, ...] = ()
    settings_of_training: tuple[str, ...] = ()
    """Branches that only the artifact of the training split depends on."""
    switch: str = ""
    """A setting that, switched off, leaves the stage nothing to do: then its result depends on no other."""
    libraries: tuple[str, ...] = ()
    """Packages whose results its parts hold: with another version of one, no part is taken from before."""
    files: Callable[[Config], tuple[Path, ...]] = no_files
    """Files besides recordings that its result depends on, wherever they lie; no two of one name."""
    models: Callable[[Config], Mapping[str, str]] = no_models
    """Finished models that its result depends on, as settings name them, by the part that they play."""
    fit: Callable[[Config, Mapping[str, GivenModel]], None] = fit_always
    """Raises what speaks against those models; called before anything is built."""
    partitioned: bool = False
    """Whether there is an artifact for each split."""
    resumable: bool = False
    """Whether a killed build is continued from the files that it left."""
    gpu: bool = False
    """Whether it computes on the GPU where there is one, and so waits for its turn there."""
    optional: Callable[[Config], bool] = always
    """Whether the configuration has this stage at all."""

    @property
    def splits(self) -> tuple[Split | None, ...]:
        """Return the splits that there are artifacts of; (None,) for a stage without splits."""
        return SPLITS if self.partitioned else (None,)

    def branches(self, config: Config, split: Split | None) -> tuple[str, ...]:
        """Return the branches of a configuration that the artifact of `split` depends on."""
        if self.switch and not attrgetter(self.switch)(config):
            return (self.switch,)
        switch = (self.switch,) if self.switch else ()
        return (*switch, *self.settings, *(self.settings_of_training if split == "train" else ()))

    def deciding_settings(self, config: Config, split: Split | None) -> dict[str, Any]:
        """Return what of a configuration the artifact of `split` depends on, as JSON values by dotted name.

        What is in `files` is told by its hash.
        """
        files = {path.name: content_hash(path) for path in self.files(config)}
        return {
            **config.subset(*self.branches(config, split)),
            **({"split": split} if split else {}),
            **({"files": files} if files else {}),
        }

    def key(self, config: Config, split: Split | None, inputs: Mapping[str, Mapping[str, str]]) -> str:
        """Return the key of the artifact of `split` that is made from inputs, each {stage, key, content} by name."""
        contents = {name: source["content"] for name, source in inputs.items()}
        return artifact_key(contents, self.deciding_settings(config, split), self.version)
