"""Work that is done before it is asked for: on several threads, in order, and never more than so much of it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@contextmanager
def parallel_map(
    work: Callable[[_Item], _Result], items: Iterable[_Item], *, threads: int, ahead: int
) -> Iterator[Iterator[_Result]]:
    """What `work` makes of each of `items`, at most `ahead` of them not taken yet; at the end nothing more is begun."""
    pool = ThreadPoolExecutor(threads)
    try:
        yield _in_order(pool, work, items, ahead)
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Iterator[_Result]:
    waiting = deque[Future[_Result]]()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
