"""Batches that have to be read, prepared while the step before them is at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Made = TypeVar("Made")


def prefetched(make: Callable[..., Made], steps: Sequence[Sequence[Any]]) -> Iterator[Made]:
    """Prepare what each step needs in one thread while the step before it is at work.

    Args:
        make: Makes it. An error that it raises reaches the step.
        steps: The arguments of ``make`` for each step, one step at least.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        waiting: Future[Made] = thread.submit(make, *steps[0])
        for step in steps[1:]:
            batch, waiting = waiting.result(), thread.submit(make, *step)
            yield batch
        yield waiting.result()
