"""A Ray cluster of two machines that are processes of this one, where Ray is installed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[2]
_SETTINGS = {
    "RAY_enable_metrics_collection": "0",
    "RAY_worker_niceness": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
_ONE_CORE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 << 20}


class TwoMachines:
    """The head of a cluster, which does no tasks, and two machines of one core each, by their names."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.machines = {name: self.add() for name in ("first", "second")}

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self, **environment: str) -> Any:
        """Let a machine join."""
        return self.cluster.add_node(**_ONE_CORE, env_vars=environment)

    def lose(self) -> str:
        """Have a machine vanish, as if its power failed: not the one by which this process is in the cluster."""
        from ray._private.worker import global_worker

        by = global_worker.node.raylet_socket_name if global_worker.node else ""
        name = next(name for name, node in self.machines.items() if node.raylet_socket_name != by)
        self.cluster.remove_node(self.machines.pop(name), allow_graceful=False)
        return name

    def lose_head(self) -> None:
        self.cluster.head_node.kill_gcs_server(check_alive=False)


@pytest.fixture(scope="module")
def two_machines() -> Iterator[TwoMachines]:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install -e '.[ray]'")
    with pytest.MonkeyPatch.context() as patched:
        path = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
        for name, value in {**_SETTINGS, "PYTHONPATH": path}.items():
            patched.setenv(name, value)
        machines = TwoMachines()
        try:
            yield machines
        finally:
            ray.shutdown()
            machines.cluster.shutdown()
