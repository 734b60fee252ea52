"""A home as real builds leave it, with as many recordings and artifacts as wanted, made without any audio or training.

Keys, inputs, settings and the manifest are what the project itself would make; only the files of the other artifacts
are a few bytes each, and the recordings cannot be listened to.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from wakeword_core.config import Config
from wakeword_core.config.loading import save_config
from wakeword_core.graph.project import Project
from wakeword_core.graph.stage import Check, Stage, StageRun, fit_always
from wakeword_core.graph.stages.bundle import MODEL_FACET
from wakeword_core.graph.stages.manifest import SYNTHETIC_FACET
from wakeword_core.recordings.manifest import COLUMNS, MANIFEST_FILE, sources_facet, split_facets, summarize
from wakeword_core.recordings.scan import scan

Make = Callable[[StageRun], None]

CONFIG = "wakeword.yaml"
A_SPEAKER = 20
"""Recordings of each speaker, in a folder."""
_PLACES = ("train", "train", "train", "val", "test")
"""Splits of the speakers, in turns."""
_SOURCES: tuple[tuple[str, str, str], ...] = (
    ("spoken", "positive", "CC-BY-4.0"), ("other", "negative", "CC0-1.0"), ("street", "background", ""),
)  # fmt: skip
"""Name, role and licence."""


class GeneratedProject(Project):
    """A project whose stages leave a few bytes each."""

    makers: ClassVar[dict[str, Make]] = {}
    """Stages that leave more than that."""
    checks: ClassVar[dict[str, tuple[Check, ...]]] = {}

    @property
    def stages(self) -> dict[str, Stage]:
        """The graph, with other bodies, and without checks of what is not there, or of models to start from."""
        makers = {"raw_manifest": _make_manifest, "model_bundle": _make_bundle, **self.makers}
        return {
            name: replace(stage, make=makers.get(name, _make_file), checks=self.checks.get(name, ()), fit=fit_always)
            for name, stage in super().stages.items()
        }

    def build_all(self) -> None:
        """Build every artifact that is not there."""
        for name, stage in self.stages.items():
            for split in stage.splits:
                self.build(name, split)


def generate_home(
    folder: Path, recordings: int, models: int = 1, kind: type[GeneratedProject] = GeneratedProject
) -> Config:
    """Write `recordings` below `folder/recordings`, `wakeword.yaml` and a home with the artifacts of so many models.

    The models differ in `training.schedule.epochs`, of which the configuration has the last one's.
    """
    sources = []
    for place, (name, role, licence) in enumerate(_SOURCES):
        root = folder / "recordings" / name
        root.mkdir(parents=True)
        _write(root, range(place, recordings, len(_SOURCES)))
        sources.append({"name": name, "path": str(root), "role": role, "licence": licence, "speaker": "parent"})
    config = Config()
    for epochs in range(1, models + 1):
        tree = {"phrase": "robin", "data": {"sources": sources}, "training": {"schedule": {"epochs": epochs}}}
        config = Config.model_validate(tree)
        kind(config, folder / "home").build_all()
    save_config(config, folder / CONFIG)
    return config


def _write(root: Path, numbers: Sequence[int]) -> None:
    for index, number in enumerate(numbers):
        speaker = root / f"speaker{index // A_SPEAKER:04}"
        if index % A_SPEAKER == 0:
            speaker.mkdir()
        (speaker / f"{number:06}.wav").write_bytes(b"recording %d" % number)


def _make_manifest(run: StageRun) -> None:
    folders = run.recordings
    listed = scan(run.config.data.sources, folders.scan_cache(), forgotten=folders.forgotten()).rows
    by_name = {source.name: source for source in run.config.data.sources}
    sources = [by_name[name] for name in listed["source"]]
    speaker_folders = listed["path"].str.split("/").str[0]
    speakers = {name: place for place, name in enumerate(sorted(set(speaker_folders)))}
    rows = pd.DataFrame(
        {
            "recording_id": listed["recording_id"],
            "path": listed["path"],
            "source": listed["source"],
            "licence": [source.licence for source in sources],
            "role": [source.role for source in sources],
            "label": ["robin" if source.role == "positive" else "_negative" for source in sources],
            "speaker": listed["source"] + "/" + speaker_folders,
            "speaker_known": True,
            "split": [_PLACES[speakers[name] % len(_PLACES)] for name in speaker_folders],
        }
    )
    values: dict[str, Any] = {"sample_rate": 16_000, "channels": 1, "frames": 16_000, "seconds": 1.0, "status": "ok"}
    values |= {"peak": 0.5, "rms_dbfs": -30.0, "clipped_ratio": 0.0, "speech_ratio": 0.5, "reason": ""}
    values |= {"speech_start": 0.2, "speech_end": 0.8}
    rows = rows.assign(**values)[list(COLUMNS)]
    rows.to_parquet(run.out / MANIFEST_FILE, index=False)
    health = summarize(rows.assign(kind=""), {}, {}).health
    run.figures = {"quarantined": 0, "synthetic": [], "health": health}
    run.facets = {**split_facets(rows), "summary": "0" * 64, "sources": sources_facet(rows), SYNTHETIC_FACET: "0" * 64}


def _make_bundle(run: StageRun) -> None:
    _make_file(run)
    run.facets = {MODEL_FACET: run.inputs["onnx_model"].content}


def _make_file(run: StageRun) -> None:
    (run.out / "made.txt").write_text(run.key)
