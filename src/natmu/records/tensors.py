"""Reading and writing safetensors, so that a fault of the machine ends in an ordinary error that tells it from others.

The library calls whatever it cannot open missing, gives no number of the system where PyTorch opens the file once more,
and ends in a panic, which is no ``Exception``, where memory for an array cannot be had.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from natmu.records.files import Arrays
from natmu.user_files import open_file

_AGAIN = re.compile(r"^unable to [^\n]*\((\d+)\)$", re.MULTILINE)
"""What PyTorch says of a file that it cannot open or map, with the system's number."""

_BESIDE = 16 << 20
"""Bytes for what lies beside tensors while they are read or packed."""


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let safetensors end in an ordinary error where it cannot have the memory that it needs.

    It ends the whole process, or in a panic. So the memory is asked for beforehand, and none of it touched.

    Args:
        size: Bytes that it needs.

    Raises:
        MemoryError: It cannot have them.
    """
    np.empty(size + _BESIDE, np.uint8)
    try:
        yield
    except BaseException as error:
        if type(error).__name__ == "PanicException" and "pointer is null" in str(error):
            raise MemoryError("safetensors cannot have the memory that it needs") from error
        raise


@contextmanager
def open_tensors(path: Path, framework: Literal["pt", "numpy"]) -> Iterator[Any]:
    """A file of tensors, of which single ones can be read.

    Args:
        path: The file.
        framework: Whose tensors.

    Raises:
        OSError: It is missing, no regular file, or cannot be opened now; with the system's number.
        SafetensorError: It is damaged.
    """
    open_file(path).close()
    try:
        with safe_open(path, framework) as file:
            yield file
    except RuntimeError as error:
        if (found := _AGAIN.search(str(error))) is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error


def read_tensors(path: Path, framework: Literal["pt", "numpy"]) -> tuple[dict[str, Any], dict[str, str]]:
    """All tensors of a file by name, and its notes.

    Args:
        path: The file.
        framework: Whose tensors.

    Raises:
        OSError, SafetensorError: See ``open_tensors``.
        MemoryError: Memory cannot hold them.
    """
    with open_tensors(path, framework) as file, room_for(path.stat().st_size):
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def packed(save: Callable[..., bytes], tensors: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> bytes:
    """Tensors as a file holds them.

    Args:
        save: The ``save`` of safetensors for the framework of the tensors.
        tensors: By name, contiguous.
        notes: What else the file says.

    Raises:
        MemoryError: Memory cannot hold them.
    """
    with room_for(2 * sum(tensor.nbytes for tensor in tensors.values())):  # as parts, and as a whole
        return save(dict(tensors), None if notes is None else dict(notes))


def write_tensors(arrays: Arrays, path: Path) -> None:
    """Write arrays of NumPy as tensors, with the permissions that new files have.

    Raises:
        MemoryError, OSError, SafetensorError: They cannot be written.
    """
    path.touch()
    mode = path.stat().st_mode  # which everyone gets whom the umask lets; safetensors gives the owner alone a file
    with room_for(sum(array.nbytes for array in arrays.values())):
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    path.chmod(mode)
