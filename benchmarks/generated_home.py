"""A home as real builds leave it, with as many recordings and artifacts as wanted, made without any audio or training.

Keys, inputs, settings and the manifest are what the project itself would make; only the files of the other artifacts
are a few bytes each, and the recordings cannot be listened to.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from wakeword_core.config import SPLITS, Config, Split
from wakeword_core.config.loading import save_config
from wakeword_core.export.bundle import MODEL_FACET
from wakeword_core.project import Project, Stage
from wakeword_core.recordings.manifest import COLUMNS, MANIFEST, sources_facet, split_facets
from wakeword_core.store.artifacts import Artifact, Build

Make = Callable[[Project, Build, dict[str, Artifact], Split | None], None]

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

    @property
    def stages(self) -> dict[str, Stage]:
        """The graph, with other bodies."""
        makers = {"raw_manifest": _make_manifest, "model_bundle": _make_bundle, **self.makers}
        return {name: replace(one, make=makers.get(name, _make_file)) for name, one in super().stages.items()}

    def build_all(self) -> None:
        """Build every artifact that is not there."""
        for name, stage in self.stages.items():
            for split in SPLITS if stage.partitioned else (None,):
                self.build(name, split)


def generate_home(
    folder: Path, recordings: int, models: int = 1, kind: type[GeneratedProject] = GeneratedProject
) -> Config:
    """Write `recordings` below `folder/recordings`, `wakeword.yaml` and a home with the artifacts of so many models.

    The models differ in `training.epochs`, of which the configuration has the last one's.
    """
    sources = []
    for place, (name, role, licence) in enumerate(_SOURCES):
        root = folder / "recordings" / name
        root.mkdir(parents=True)
        _write(root, range(place, recordings, len(_SOURCES)))
        sources.append({"name": name, "path": str(root), "role": role, "licence": licence, "speaker": "parent"})
    config = Config()
    for epochs in range(1, models + 1):
        tree = {"phrase": "robin", "data": {"sources": sources}, "training": {"epochs": epochs}}
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


def _make_manifest(project: Project, build: Build, inputs: dict[str, Artifact], split: Split | None) -> None:
    listed = project.listing().rows
    by_name = {source.name: source for source in project.config.data.sources}
    sources = [by_name[name] for name in listed["source"]]
    folders = listed["path"].str.split("/").str[0]
    speakers = {name: place for place, name in enumerate(sorted(set(folders)))}
    rows = pd.DataFrame(
        {
            "id": listed["id"],
            "path": listed["path"],
            "source": listed["source"],
            "licence": [source.licence for source in sources],
            "role": [source.role for source in sources],
            "label": ["robin" if source.role == "positive" else "_negative" for source in sources],
            "speaker": listed["source"] + "/" + folders,
            "speaker_known": True,
            "split": [_PLACES[speakers[name] % len(_PLACES)] for name in folders],
        }
    )
    values: dict[str, Any] = {"sample_rate": 16_000, "channels": 1, "frames": 16_000, "seconds": 1.0, "status": "ok"}
    values |= {"peak": 0.5, "rms_dbfs": -30.0, "clipped_ratio": 0.0, "speech_ratio": 0.5, "reason": ""}
    values |= {"speech_start": 0.2, "speech_end": 0.8}
    rows = rows.assign(**values)[list(COLUMNS)]
    rows.to_parquet(build.path / MANIFEST, index=False)
    build.figures = {"quarantined": 0}
    build.facets = {**split_facets(rows), "summary": "0" * 64, "sources": sources_facet(rows)}


def _make_bundle(project: Project, build: Build, inputs: dict[str, Artifact], split: Split | None) -> None:
    _make_file(project, build, inputs, split)
    build.facets = {MODEL_FACET: inputs["onnx_model"].content}


def _make_file(project: Project, build: Build, inputs: dict[str, Artifact], split: Split | None) -> None:
    (build.path / "made.txt").write_text(build.key)
