"""One thread for linear algebra."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


@cache
def _libraries() -> Any:  # noqa: ANN401 (the package has no types)
    """What sets the number of threads of the linear algebra libraries that are loaded."""
    import scipy.linalg  # noqa: F401 (its library must be loaded to be found)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def one_thread() -> AbstractContextManager[object]:
    """Within it linear algebra has one thread.

    With more, the last bits depend on how many, and threads wait for each other where other processes share the cores:
    sums over blocks then take several times as long.
    """
    limit: AbstractContextManager[object] = _libraries().limit(limits=1, user_api="blas")
    return limit
