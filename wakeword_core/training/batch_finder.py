"""The largest batch that fits in memory: steps of training with batches that double until one does not."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from wakeword_core.config import Config
from wakeword_core.cores import torch_threads
from wakeword_core.errors import ConfigError
from wakeword_core.models.scoring import ScoringModel
from wakeword_core.progress import Progress, silent
from wakeword_core.teaching.scores import TeacherScores
from wakeword_core.training.data import Sampler, check_windows, counting_teacher
from wakeword_core.training.device import choose_device, cuda_arithmetic, cuda_devices, keep_freed_memory
from wakeword_core.training.feed import allowed_memory, on_device, within_memory
from wakeword_core.training.loop import compute_gradients, draw_batches
from wakeword_core.training.run import new_run
from wakeword_core.training.usage import Usage

if TYPE_CHECKING:
    from wakeword_core.features.cmvn import Cmvn
    from wakeword_core.features.store import WindowSet

_FEWEST, _MOST = 32, 65_536
_STEPS = 2
"""Of each size: the first one makes what the optimizer remembers, and the second has all of it."""
_LOOK_SECONDS = 0.005
_GIGABYTE = 1e9


@dataclass(frozen=True)
class BatchTrial:
    """Steps of training with one size of batches."""

    batch_size: int
    memory_gb: float
    """at its peak: of this process, or of torch's tensors on a GPU"""
    windows_per_second: float


@dataclass(frozen=True)
class BatchTest:
    """The sizes that fit, each twice the one before, and why there is no larger one."""

    trials: tuple[BatchTrial, ...]
    end: str

    @property
    def largest(self) -> int:
        """The largest batch that fits."""
        return self.trials[-1].batch_size


def find_batch(
    train: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    progress: Progress = silent,
    start_from: ScoringModel | None = None,
    teacher: TeacherScores | None = None,
) -> BatchTest:
    """Take a few steps of a training that would begin now, of batches that double; nothing is written or kept.

    On a GPU its memory is the limit. On a CPU the whole process may take `compute.memory_gb`, and a batch that would
    take more, by what the ones before took, is not tried. Raises ConfigError when not even the smallest fits.
    """
    check_windows(train, "train", config.features, len(config.labels))
    teacher = counting_teacher(teacher, train, config.training)
    device = choose_device(config.compute.device)
    allowed = float("inf") if device == "cuda" else allowed_memory(config.compute) / _GIGABYTE
    trials: list[BatchTrial] = []
    with (
        torch_threads(config.compute.threads),
        keep_freed_memory(),
        cuda_arithmetic(config.training.precision.tf32, config.compute.cudnn_benchmark),
        torch.random.fork_rng(devices=cuda_devices(device)),
    ):
        (rows,) = within_memory([train], config.compute)
        rows, said = on_device(rows, device), None if teacher is None else teacher.to(device)
        before = psutil.Process().memory_info().rss / _GIGABYTE
        size = _FEWEST
        while not trials or size <= min(len(train), _MOST):
            wanted = before if not trials else before + 2 * (trials[-1].memory_gb - before)
            tried = (
                None if wanted > allowed else _try(rows, cmvn, _with_batches(config, size), start_from, said, device)
            )
            if tried is None or tried.memory_gb > allowed:
                limit = "the GPU's memory" if device == "cuda" else f"the {allowed:.3g} GB of memory that are allowed"
                end = f"{size} windows would take more than {limit}"
                break
            trials.append(tried)
            progress("batches", size, _MOST)
            size *= 2
        else:
            end = f"{size} are more than there are windows of training, or than training.sampling.batch_size may be"
    if not trials:
        raise ConfigError(f"{end}; take a smaller model, or raise compute.memory_gb")
    return BatchTest(tuple(trials), end)


def _with_batches(config: Config, size: int) -> Config:
    sampling = {"batch_size": size, "micro_batch": 0, "steps_per_epoch": _STEPS}
    settings = {f"training.sampling.{name}": value for name, value in sampling.items()}
    return config.changed({**settings, "training.schedule.learning_rate": 1e-6})


def _try(
    rows: "WindowSet",
    cmvn: "Cmvn",
    config: Config,
    start_from: ScoringModel | None,
    teacher: TeacherScores | None,
    device: str,
) -> BatchTrial | None:
    """Train for some steps; None where the GPU's memory is exhausted, so that a batch has to be cut in parts."""
    size, usage = config.training.sampling.batch_size, Usage(torch.device(device))
    try:
        run = new_run(rows, cmvn, config, device, "", start_from)
        sampler = Sampler(rows, config.labels, config.training, config.training_seed)
        run.train_mode()
        with (
            _watching(usage),
            closing(draw_batches(run, rows, *sampler.draw(0, run.device), teacher)) as batches,
        ):
            for batch in batches:
                began = time.perf_counter()
                float(compute_gradients(run, batch, config.training.loss)[0])
                run.optimizers.step(run.clipper, run.scaler)
        seconds = time.perf_counter() - began
    except torch.OutOfMemoryError:
        return None
    except ConfigError as error:
        if isinstance(error.__cause__, torch.OutOfMemoryError):
            return None
        raise
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()
    if run.micro_batch < size:
        return None
    used = usage.used()
    memory = used.memory_mb if used.gpu_memory_mb is None else used.gpu_memory_mb
    return BatchTrial(size, memory * 1e6 / _GIGABYTE, size / seconds)


@contextmanager
def _watching(usage: Usage) -> Iterator[None]:
    """Look at what is used all the time, since a step has freed its largest tensors when it ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            usage.look()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
