"""The memory of linear algebra libraries, which some of their builds wait for without an end."""

from __future__ import annotations

from functools import cache

import numpy as np

BUFFER = 48 << 20
"""Bytes that OpenBLAS takes for each call that runs at once, and some more: it asks for 32 MiB."""


@cache
def load_linear_algebra() -> None:
    """Load the libraries of NumPy and SciPy, and let each take the memory that it keeps for its calls.

    Raises:
        MemoryError: It cannot be had.
    """
    from scipy.linalg import lapack

    require_room(2)
    unit = np.eye(2)
    lapack.dpotrf(unit @ unit)


def require_room(calls: int) -> None:
    """Ask for the memory of calls that run at once, and give it back.

    Raises:
        MemoryError: It cannot be had.
    """
    np.empty(calls * BUFFER, np.uint8)
