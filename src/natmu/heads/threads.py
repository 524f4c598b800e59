"""How many threads linear algebra has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from natmu.linear_algebra import load_linear_algebra, require_room

T = TypeVar("T")
R = TypeVar("R")


@cache
def _libraries() -> Any:  # noqa: ANN401 (the package has no types)
    """What sets the number of threads of the linear algebra libraries that are loaded and have their memory.

    Raises:
        MemoryError: They cannot have it.
    """
    from threadpoolctl import ThreadpoolController

    load_linear_algebra()
    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Within it linear algebra has one thread.

    With more, the last bits depend on how many, and threads wait for each other where other processes share the cores:
    sums over blocks then take several times as long.
    """
    limit: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limit


def side_by_side(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What comes of items, in their order; as many at once as linear algebra has threads, with one thread for each.

    So results have the same bits whatever the number of threads, and no thread waits for another one.

    Raises:
        MemoryError: There is too little for so many calls at once.
    """
    count = min(len(items), max((library["num_threads"] for library in _libraries().info()), default=1))
    with one_thread():
        if count <= 1:
            return [work(item) for item in items]
        require_room(count)
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(work, items))
