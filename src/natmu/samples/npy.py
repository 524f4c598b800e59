"""Arrays of numbers in ``.npy`` files that are not ours."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError

NPY_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    TypeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises on files that are damaged, or are something else."""


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Map a ``.npy`` file read-only; pickled objects are refused.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except NPY_FAULTS as error:
        raise DataError(f"{path} cannot be read as a .npy array of numbers ({error}).") from None
