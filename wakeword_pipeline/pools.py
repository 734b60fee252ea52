"""One step at a time on the GPU: the pool of Dagster that says so, and a storage that keeps to it.

Dagster 1.13 looks for a free slot in one statement and takes it in the next, and neither its sqlite nor its PostgreSQL
storage holds a transaction over both: of two processes that ask in the same instant both would get it. And where both
find that there is no pool yet and add it, PostgreSQL refuses the second, in whose transaction Dagster goes on.
"""

from pathlib import Path
from typing import Any

from dagster._core.storage.base_storage import DagsterStorage
from dagster._utils.concurrency import ConcurrencyClaimStatus

from wakeword_core.store.locks import for_a_moment

GPU_POOL = "gpu"


def with_pools_in_turn(storage: DagsterStorage, folder: Path) -> DagsterStorage:
    """The storage, whose pools and slots are added and claimed by one process at a time of those that share a folder.

    That is a process of the machine's, as a GPU is; other machines with the same database have locks of their own.
    """
    events, lock = storage.event_log_storage, folder / "pools.lock"
    add, claim = events.initialize_concurrency_limit_to_default, events.claim_concurrency_slot

    def add_in_turn(name: str) -> bool:
        with for_a_moment(lock):
            wanted = (name, events.get_pool_config().default_pool_limit)
            return any((pool.name, pool.limit) == wanted for pool in events.get_pool_limits()) or add(name)

    def claim_in_turn(*arguments: Any, **named: Any) -> ConcurrencyClaimStatus:
        with for_a_moment(lock):
            return claim(*arguments, **named)

    events.initialize_concurrency_limit_to_default = add_in_turn  # type: ignore[method-assign]
    events.claim_concurrency_slot = claim_in_turn  # type: ignore[method-assign]
    return storage
