"""Where the work of preparing data is done: by processes of this machine, or by the machines of a Ray cluster."""

from pathlib import Path

from wakeword_core.config import ComputeConfig
from wakeword_core.workers.base import Workers


def workers_for(compute: ComputeConfig, shared: Path) -> Workers:
    """Return the workers that the settings name; those of a cluster share the folder `shared` with this machine."""
    if compute.engine == "ray":
        from wakeword_core.workers.cluster import RayWorkers

        return RayWorkers(compute.address, compute.workers, compute.retries, shared)
    from wakeword_core.workers.local import LocalWorkers

    return LocalWorkers(compute.workers, compute.retries)
