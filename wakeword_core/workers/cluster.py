"""Tasks done by the machines of a Ray cluster, to which this one belongs."""

import contextlib
import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

from wakeword_core.config.data_roots import DATA_ROOTS
from wakeword_core.errors import ClusterError, ConfigError, MissingDependencyError, reason_of
from wakeword_core.python import install_command
from wakeword_core.workers.base import Here, Pool, WorkerDiedError, Workers
from wakeword_core.workers.tasks import Expected, Outcome, perform_there, software

THIS_CLUSTER = "auto"
"""The address of the cluster that this machine belongs to."""
_WAITING_A_CORE = 2
_HEAD_SECONDS = 20.0
"""How long the head of the cluster may be out of reach."""
_CONNECT_SECONDS = 5.0
_SIZE_SECONDS = 10.0
"""How often to look how large the cluster is, which may grow."""
_CANCEL_SECONDS = 30.0
_ROOT = Path(__file__).parents[2]


class RayWorkers(Workers):
    """Does tasks on a Ray cluster, of which each machine has this Python, these packages and the `shared` folder."""

    elsewhere = True

    def __init__(self, address: str, cores: int, retries: int, shared: Path) -> None:
        super().__init__(cores, retries)
        self._address, self._shared = address, shared

    def device(self, wanted: str, here: Callable[[], str]) -> str:
        """Choose `cuda` where the cluster has GPUs; ConfigError where it has none and `wanted` asks for one."""
        if wanted == "cpu":
            return "cpu"
        if connect(self._address).cluster_resources().get("GPU", 0) >= 1:
            return "cuda"
        if wanted == "cuda":
            raise ConfigError("compute.device is cuda, but the Ray cluster has no GPU; use auto or cpu")
        return "cpu"

    def _pool(self, here: Here, device: str) -> Pool:
        return _Cluster(connect(self._address), device, Expected(software(), self._shared))


class _Cluster:
    def __init__(self, ray: ModuleType, device: str, expected: Expected) -> None:
        self._ray, self._expected = ray, expected
        self._needs = {"num_cpus": 1, "num_gpus": 1} if device == "cuda" else {"num_cpus": 1}
        self._counted = "GPU" if device == "cuda" else "CPU"
        self._perform = ray.remote(perform_there)
        self._running: dict[Future[Outcome[Any]], Any] = {}
        self._size, self._sized = 1, 0.0
        self._silent_since: float | None = None
        self._head = str(ray.get_runtime_context().gcs_address)

    @property
    def most(self) -> int:
        """Enough tasks to keep every core busy, or every GPU, and to have an autoscaler see that there are more."""
        if time.monotonic() - self._sized > _SIZE_SECONDS:
            self._size = max(1, int(self._ray.cluster_resources().get(self._counted, 0)))
            self._sized = time.monotonic()
        return self._size * _WAITING_A_CORE

    def submit(self, function: Callable[[Any], Any], task: Any, name: str, alone: bool) -> Future[Outcome[Any]]:
        """Have a task done on a core, or on all of a machine when it is to be `alone`."""
        # it is done again by who sent it, and not by Ray, which would do so for ever when memory runs out
        options = {**self._needs, **({"num_cpus": self._cores_of_a_machine()} if alone else {}), "max_retries": 0}
        reference = self._perform.options(**options).remote(function, task, name, self._expected)
        future: Future[Outcome[Any]] = reference.future()
        self._running[future] = reference
        future.add_done_callback(lambda done: self._running.pop(done, None))
        self._silent_since = None  # tasks are sent as others come back
        return future

    def death(self, error: BaseException) -> WorkerDiedError | None:
        """Tell a lost machine and a dead worker from what else goes wrong in a cluster, which is a ClusterError."""
        errors = self._ray.exceptions
        if isinstance(error, errors.OutOfMemoryError):
            return WorkerDiedError("memory ran out on its machine")
        if isinstance(error, errors.WorkerCrashedError):
            return WorkerDiedError("its worker died")
        if isinstance(error, (errors.NodeDiedError, errors.ObjectLostError, errors.LocalRayletDiedError)):
            return WorkerDiedError("its machine was lost", machine_lost=True)
        if isinstance(error, Exception):
            cause = getattr(error, "cause", None) or error
            raise ClusterError(
                f"a machine of the cluster cannot work for this one ({reason_of(cause)}); install wakeword "
                f"{self._expected.software['wakeword']} there, with the same packages"
            ) from error
        return None

    def check(self) -> None:
        """Raise ClusterError when the head has been out of reach for long: without it nothing is done again."""
        if _answers(self._head):
            self._silent_since = None
        elif self._silent_since is None:  # nobody looks while tasks come back
            self._silent_since = time.monotonic()
        elif time.monotonic() - self._silent_since > _HEAD_SECONDS:
            self._running.clear()
            raise ClusterError(
                f"the head of the Ray cluster, {self._head}, has not answered for {_HEAD_SECONDS:g} s; what is "
                "finished is kept: start the cluster again and run again, or set compute.engine to local"
            )

    def close(self) -> None:
        """Cancel what is running, and wait a while for it to end."""
        references = list(self._running.values())
        for reference in references:
            self._ray.cancel(reference)
        if references:
            self._ray.wait(references, num_returns=len(references), timeout=_CANCEL_SECONDS)

    def _cores_of_a_machine(self) -> int:
        cores = [node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]]
        return max(1, int(max(cores, default=1)))


def connect(address: str) -> ModuleType:
    """Return Ray, connected to the cluster at `address`; ClusterError where that cannot be or must not be used."""
    if address != THIS_CLUSTER and os.environ.get(DATA_ROOTS):
        raise ConfigError(
            f"compute.address is {address}, but where {DATA_ROOTS} is set, only {THIS_CLUSTER} is allowed: the cluster "
            "that this machine belongs to"
        )
    try:
        import ray
    except ImportError as error:
        raise MissingDependencyError(
            f"compute.engine is ray, which is not installed: {install_command('ray')}, or set it to local"
        ) from error
    if ray.is_initialized():
        if _answers(str(ray.get_runtime_context().gcs_address)):
            return ray
        ray.shutdown()  # of a cluster that is gone
    if address != THIS_CLUSTER and not _answers(address):
        raise ClusterError(f"no Ray cluster answers at {address}; start one, or correct compute.address")
    try:
        _join(ray, address)
    except ConnectionError as error:
        raise ClusterError(
            f"there is no Ray cluster at {address!r} ({reason_of(error)}); start one with `ray start --head`, or "
            "correct compute.address"
        ) from error
    except RuntimeError as error:  # which has both versions of Ray and of Python
        raise ClusterError(f"the Ray cluster at {address!r} cannot be used: {reason_of(error)}") from error
    return ray


def _join(ray: ModuleType, address: str) -> None:
    """Join a cluster; who handles signals to stop stays who did."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        # workers look for modules in the working directory first, which therefore is one without strangers
        with contextlib.chdir(_ROOT), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError):
        return False
    return True
