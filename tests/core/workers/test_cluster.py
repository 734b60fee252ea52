"""A Ray cluster does what this machine would, to the same bytes, whatever happens to its machines meanwhile."""

import hashlib
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from tasks import die_at, fail_at, paths_of_modules, square, wait_for

from wakeword_core.config import Config, DataConfig, ShardsConfig, SourceConfig, SynthesisConfig
from wakeword_core.errors import ClusterError, ConfigError, DataError, WakewordError
from wakeword_core.features.build import build_features
from wakeword_core.features.store import FeatureFile
from wakeword_core.files import remove_unfinished_parts
from wakeword_core.graph.project import Project
from wakeword_core.mining import miner
from wakeword_core.models.scoring import new_model
from wakeword_core.progress import Progress, silent
from wakeword_core.recordings import measuring
from wakeword_core.recordings.manifest import build_manifest, read_manifest
from wakeword_core.recordings.scan import ScanCache
from wakeword_core.shards.building import build_shards
from wakeword_core.speech.synthesis import synthesize
from wakeword_core.store.artifacts import ArtifactStore
from wakeword_core.store.parts import Parts
from wakeword_core.workers import base, cluster, workers_for
from wakeword_core.workers.base import Workers
from wakeword_core.workers.cluster import RayWorkers, connect
from wakeword_core.workers.local import LocalWorkers

pytestmark = pytest.mark.ray

RATE = 16_000
RECORDINGS = 32
CONFIG = Config.model_validate(
    {
        "phrase": "robin",
        "features": {
            "frontend": {"n_mels": 16, "window_frames": 32},
            "augment": {"views": 2, "negative_views": 2, "generated_noise_minutes": 0.1, "generated_rirs": 2},
        },
        "training": {"model": {"arch": "tiny_conv", "channels": 4}},
        "mining": {"enabled": True, "search": {"min_score": 0.1, "lockout_seconds": 0.5}},
        "compute": {"threads": 1},
    }
)
SPEECH = SynthesisConfig(
    engines={"espeak": 1}, positives=48, hard_negatives=24, negatives=24, words=0, pieces=0, background_minutes=0.2,
    recognise="none",
)  # fmt: skip


@dataclass(frozen=True)
class World:
    """What the work begins with: a folder of recordings, their manifest, and their shards."""

    recordings: Path
    manifest: Path
    shards: Path

    @property
    def source(self) -> SourceConfig:
        return SourceConfig(name="mine", path=self.recordings, role="negative", split="train")

    def measure(self, workers: Workers, out: Path, progress: Progress) -> None:
        with closing(ScanCache(out.parent / f"{out.name}-cache")) as cache:
            build_manifest([self.source], DataConfig(), "robin", 1, cache, out, progress, workers=workers)

    def pack(self, workers: Workers, out: Path, progress: Progress) -> None:
        rows, parts = read_manifest(self.manifest, split="train"), Parts(out.parent / f"{out.name}-parts")
        roots, config = {"mine": self.recordings}, ShardsConfig(count=8)
        build_shards(rows, roots, RATE, config, workers, 1, out, parts, progress)

    def compute(self, workers: Workers, out: Path, progress: Progress) -> None:
        parts = Parts(out.parent / f"{out.name}-parts")
        build_features(self.shards, "train", CONFIG, "cpu", out, parts, progress, workers=workers)

    def speak(self, workers: Workers, out: Path, progress: Progress) -> None:
        pytest.importorskip("espeakng_loader")
        synthesize("hey robin", SPEECH, RATE, 1, out, out.parent / "cache", progress, workers)

    def listen(self, workers: Workers, out: Path, progress: Progress) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = new_model(CONFIG).eval()
        assert miner.mine(model, self.shards, CONFIG, "cpu", out, progress, workers)["clips"] > 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    made = World(root / "recordings", root / "manifest", root / "shards")
    for folder in (made.recordings, made.manifest, made.shards):
        folder.mkdir()
    for number in range(RECORDINGS):
        sound = np.random.default_rng(number).normal(0, 0.1, RATE + number)
        soundfile.write(made.recordings / f"{number:02}.flac", sound, RATE)
    made.measure(LocalWorkers(1), made.manifest, silent)
    made.pack(LocalWorkers(1), made.shards, silent)
    return made


@pytest.fixture
def workers(two_machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RayWorkers:
    """The cluster, which everything is worth being sent to, in small tasks."""
    monkeypatch.setattr(base, "WORTH_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_MOST_AT_ONCE", 4)
    monkeypatch.setattr(miner, "_SECONDS_A_TASK", 4.0)
    return RayWorkers(two_machines.address, 1, 1, tmp_path)


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file by its path."""
    files = (path for path in folder.rglob("*") if path.is_file())
    hashes = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    if "train.h5" in hashes:  # which says where its parts are
        hashes["train.h5"] = FeatureFile(folder).content()
    return hashes


def test_no_cluster_and_one_of_another_python_are_refused(two_machines, monkeypatch):
    with pytest.raises(ClusterError, match=r"no Ray cluster answers at 127\.0\.0\.1:1; start one, or correct compute"):
        connect("127.0.0.1:1")
    here = platform.python_version()
    monkeypatch.setattr("ray._private.utils.compute_version_info", lambda: (version("ray"), "3.10.1"))
    with pytest.raises(ClusterError, match=rf"cannot be used: Version mismatch.*Python: {here}.*Python: 3\.10\.1"):
        connect(two_machines.address)


def test_tasks_are_done_by_all_machines_which_look_for_no_module_where_this_one_happens_to_be(
    workers, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "wakeword_core")
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    done = list(workers.map_unordered(square, iter(range(40)), str))
    assert sorted((task, result[0]) for task, result in done) == [(number, number**2) for number in range(40)]
    assert len({pid for _, (_, pid) in done} - {os.getpid()}) >= 2 and caplog.messages.count("squaring 7") == 1
    assert signal.getsignal(signal.SIGTERM) is handler
    ((_, found),) = workers.map_unordered(paths_of_modules, [0], str)
    assert str(tmp_path) not in found and "" not in found
    monkeypatch.setattr(base, "WORTH_SECONDS", 3.0)
    assert dict(workers.map_unordered(square, [3], str, seconds=0.1)) == {3: (9, os.getpid())}


def test_what_a_task_raises_and_what_a_worker_dies_of_is_said_and_named(workers, tmp_path, caplog):
    with pytest.raises(DataError, match=r"^it is odd$"):
        list(workers.map_unordered(partial(fail_at, 1), range(1, 9), str))
    with pytest.raises(WakewordError, match=r"^number 3: an unexpected error .*: KeyError: 'mine'"):
        list(workers.map_unordered(partial(fail_at, 3), range(1, 9), lambda n: f"number {n}"))
    done = dict(workers.map_unordered(partial(die_at, tmp_path, {3: 1}), range(6), lambda n: f"number {n}"))
    assert (
        done == {number: number for number in range(6)} and "number 3: its worker died; it is done again" in caplog.text
    )
    with pytest.raises(WakewordError, match=r"^number 5: a worker died of it, also with nothing beside it"):
        list(workers.map_unordered(partial(die_at, tmp_path, {5: 9}), [5, 6], lambda n: f"number {n}"))


@pytest.mark.parametrize("work", [World.measure, World.pack, World.compute, World.speak, World.listen])
def test_bytes_are_those_of_this_machine_though_one_of_the_others_is_lost_in_the_middle(
    work: Callable[[World, Workers, Path, Progress], None], workers, two_machines, world, tmp_path
):
    lost: list[str] = []

    def lose(what: str, done: int, total: int) -> None:
        if 0 < done < total and not what.startswith(("hash", "read headers")) and not lost:
            lost.append(two_machines.lose())

    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    work(world, LocalWorkers(1), tmp_path / "here", silent)
    work(world, workers, tmp_path / "there", lose)
    two_machines.machines[lost[0]] = two_machines.add()
    remove_unfinished_parts(tmp_path / "there")  # as the store does
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


def test_a_home_that_the_cluster_built_has_the_artifacts_of_one_that_was_built_here(
    workers, two_machines, world, tmp_path
):
    data = {"sources": [world.source.model_dump(mode="json", exclude_unset=True)]}
    features = CONFIG.features.model_dump(mode="json")
    settings = {"phrase": "robin", "data": data, "shards": {"count": 4}, "features": features}
    engines = {"here": {"workers": 1}, "there": {"engine": "ray", "address": two_machines.address}}
    for name, compute in engines.items():
        project = Project(Config.model_validate({**settings, "compute": {**compute, "device": "cpu"}}), tmp_path / name)
        for stage, split in (("raw_manifest", None), ("audio_shards", "train"), ("mel_features", "train")):
            project.build(stage, split)
    for stage in ("raw_manifest", "audio_shards", "mel_features"):
        here, there = (next(iter(ArtifactStore(tmp_path / name / "store").cards(stage))) for name in engines)
        assert (here.key, here.content) == (there.key, there.content)


def test_the_settings_choose_the_cluster_and_a_gpu_only_where_it_has_one(workers, two_machines, tmp_path):
    chosen = {"engine": "ray", "address": two_machines.address}
    compute = Config.model_validate({"phrase": "robin", "compute": chosen}).compute
    assert isinstance(workers_for(compute, tmp_path), RayWorkers) and workers.elsewhere
    assert workers.device("auto", lambda: "cuda") == workers.device("cpu", lambda: "cuda") == "cpu"
    with pytest.raises(ConfigError, match="the Ray cluster has no GPU"):
        workers.device("cuda", lambda: "cuda")


def test_machines_must_have_the_same_versions_and_the_same_folders(workers, two_machines, tmp_path):
    elsewhere = RayWorkers(two_machines.address, 1, 1, tmp_path / "nowhere")
    with pytest.raises(ClusterError, match=r"has no folder .*nowhere: workers read and write files by their paths"):
        list(elsewhere.map_unordered(square, range(3), str))
    other = tmp_path / "other" / "soxr-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: soxr\nVersion: 9.9.9\n")
    path = os.pathsep.join([str(other.parent), os.environ["PYTHONPATH"]])
    two_machines.machines["other"] = two_machines.add(PYTHONPATH=path)
    with pytest.raises(
        ClusterError, match=rf"has soxr 9\.9\.9, and this one soxr {version('soxr')}: .* install the same"
    ):
        list(workers.map_unordered(partial(wait_for, tmp_path / "never", 0.5), range(200), str))
    two_machines.cluster.remove_node(two_machines.machines.pop("other"), allow_graceful=False)


def test_a_head_that_is_gone_is_one_sentence(workers, two_machines, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "_HEAD_SECONDS", 1.0)

    def lose_head() -> None:
        while not (tmp_path / "began.0").exists():
            time.sleep(0.05)
        two_machines.lose_head()

    threading.Thread(target=lose_head).start()
    with pytest.raises(
        ClusterError, match=r"the head of the Ray cluster, .*, has not answered for .* is finished is kept"
    ):
        list(workers.map_unordered(partial(wait_for, tmp_path / "never", 60.0), [0], str))
    with pytest.raises(ClusterError, match="no Ray cluster answers at"):
        list(workers.map_unordered(square, [1], str))


def test_a_task_for_which_no_machine_has_the_memory_is_named(two_machines, tmp_path, monkeypatch):
    import ray

    ray.shutdown()
    # a cluster that has no memory to give: nearly all counts as used
    for name, value in {"RAY_memory_usage_threshold": "0.001", "RAY_memory_monitor_refresh_ms": "100"}.items():
        monkeypatch.setenv(name, value)
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    crowded = RayWorkers("auto", 1, 1, tmp_path)
    with pytest.raises(WakewordError, match=r"^number 0: a worker died of it, .*memory ran out on its machine"):
        list(crowded.map_unordered(partial(wait_for, tmp_path / "never", 20.0), [0], lambda n: f"number {n}"))
