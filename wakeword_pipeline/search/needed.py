"""Which artifacts `wakeword gc` keeps for the sake of searches: those of trials at work, and of the best ones.

Each such trial has a file in the folder of its search, which names its artifacts. The file of a trial that was killed
stays until the trial was taken up: its training goes on from what it left. Other trials have none.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from wakeword_core.errors import ArtifactError, reason_of
from wakeword_core.files import as_type, read_json, write_json
from wakeword_core.graph.search import Keep
from wakeword_core.store.graph import NodeId
from wakeword_core.store.locks import exclusive, is_held
from wakeword_core.store.parts import PathPart
from wakeword_pipeline.search import SEARCHES

_TRIALS = "trials"


@contextmanager
def at_work(search: Path, number: int) -> Iterator[Keep]:
    """Hold the lock of a trial while it runs, and yield what notes the artifacts that it needs."""
    lock, path = _lock(search, number), _path(search, number)
    lock.parent.mkdir(parents=True, exist_ok=True)
    needed: list[NodeId] = []

    def keep(node: NodeId) -> None:
        needed.append(node)
        write_json(path, needed)

    with exclusive(lock):
        write_json(path, needed)
        try:
            yield keep
        finally:
            lock.unlink()


def left_behind(search: Path) -> list[int]:
    """Return the trials that have a file, but no process any more."""
    return [number for number in _numbers(search) if not is_held(_lock(search, number))]


def release(search: Path, wanted: Collection[int]) -> None:
    """Let go of what only other trials than the wanted ones need."""
    for number in left_behind(search):
        if number not in wanted:
            _path(search, number).unlink(missing_ok=True)
            _lock(search, number).unlink(missing_ok=True)


def needed_by_searches(home: Path) -> set[NodeId]:
    """Return the artifacts that searches of a home need; ArtifactError where that cannot be read."""
    needed: set[NodeId] = set()
    for path in (home / SEARCHES).glob(f"*/{_TRIALS}/*.json"):
        try:
            needed |= set(as_type(list[tuple[PathPart, PathPart]], read_json(path)))
        except FileNotFoundError:  # the trial has just ended
            continue
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{path}, which names what a trial needs, cannot be read ({reason_of(error)}); delete it if the search "
                "is no longer wanted"
            ) from error
    return needed


def _numbers(search: Path) -> list[int]:
    return sorted(int(path.stem) for path in (search / _TRIALS).glob("*.json") if path.stem.isdecimal())


def _path(search: Path, number: int) -> Path:
    return search / _TRIALS / f"{number}.json"


def _lock(search: Path, number: int) -> Path:
    return search / _TRIALS / f"{number}.lock"
