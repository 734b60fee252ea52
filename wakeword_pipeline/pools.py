"""One step at a time on the GPU: the pool of Dagster that says so, and slots that are asked for one after the other."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.storage.base_storage import DagsterStorage
from dagster._utils.concurrency import ConcurrencyClaimStatus

from wakeword_core.store.locks import exclusive

GPU_POOL = "gpu"


def make_gpu_pool(instance: dg.DagsterInstance) -> None:
    """Add the pool, if it is missing, before runs do.

    Dagster cannot add it twice on PostgreSQL (it goes on in the transaction that failed), as the first two runs would.
    """
    if all(pool.name != GPU_POOL for pool in instance.event_log_storage.get_pool_limits()):
        instance.event_log_storage.initialize_concurrency_limit_to_default(GPU_POOL)


def with_slots_in_turn(storage: DagsterStorage) -> DagsterStorage:
    """The storage, whose slots only one process of the home asks for at a time.

    Dagster 1.13 looks for a free slot in one statement and takes it in the next, and neither its sqlite nor its
    PostgreSQL storage holds a transaction over both: of two processes that ask in the same instant both would get it.
    """
    events = storage.event_log_storage
    claim = events.claim_concurrency_slot
    lock = Path(os.environ["WAKEWORD_DAGSTER"]) / "slots.lock"

    def claim_in_turn(*arguments: Any, **named: Any) -> ConcurrencyClaimStatus:
        with exclusive(lock, "another process asks for a slot of a pool"):
            return claim(*arguments, **named)

    events.claim_concurrency_slot = claim_in_turn  # type: ignore[method-assign]
    return storage
