"""Work that threads do ahead of its consumer, in order and within a bound."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    waiting: int,
    on_take: Callable[[int], None] | None = None,
) -> Generator[Result]:
    """Yield `work(item)` in the order of `items`, computed ahead on `workers` threads.

    While the consumer has one result, at most `waiting` others are under way or ready; `on_take` is called with how
    many are ready when one is taken. An error of `work` or of `items` is raised in its turn; what has not begun by then
    is left.
    """
    remaining = iter(items)
    queue: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers)

    def fill(most: int) -> None:
        nonlocal remaining
        try:
            queue.extend(pool.submit(work, item) for item in islice(remaining, most - len(queue)))
        except Exception as error:  # of the items: raised in its turn, after the results before it
            failed: Future[Result] = Future()
            failed.set_exception(error)
            queue.append(failed)
            remaining = iter(())

    try:
        fill(waiting + 1)
        while queue:
            if on_take is not None:
                on_take(sum(future.done() for future in queue))
            result = queue.popleft().result()
            fill(waiting)
            yield result
            del result  # or it would be kept while the next is waited for
            fill(waiting + 1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
