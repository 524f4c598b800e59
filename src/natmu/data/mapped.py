"""Images that are mapped from a file, beside those that are in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.errors import DataError
from natmu.types import IntArray

PixelArray = npt.NDArray[Any]
"""uint8, which stands for numbers in [0, 1], or float16 or float32, which are what a model is given."""


class MappedImages:
    """Rows of an array that is mapped from a file, read only where they are indexed.

    Pickled, it is the file's name and a place in it; the other process maps the same file.

    Args:
        array: ``(M, C, H, W)``, a view of a ``np.memmap`` in any order of its axes.
        rows: int64 ``(N,)``, which of them; all where None.
    """

    def __init__(self, array: PixelArray, rows: IntArray | None = None) -> None:
        self._array = array
        self._rows = rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""
        return self._array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, C, H, W)``."""
        return (len(self), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self._array if self._rows is None else self._rows)

    def __getitem__(self, key: int | slice | IntArray) -> PixelArray:
        images: PixelArray = self._array[key if self._rows is None else self._rows[key]]
        return images

    def subset(self, rows: IntArray) -> MappedImages:
        """The images at these positions, mapped still."""
        return MappedImages(self._array, rows if self._rows is None else self._rows[rows])

    def followed_by(self, other: MappedImages) -> MappedImages | None:
        """These images and others of the same file, mapped still; None where the files are two."""
        if self._place != other._place:
            return None
        rows = [np.arange(len(part)) if part._rows is None else part._rows for part in (self, other)]
        return MappedImages(self._array, np.concatenate(rows))

    @property
    def file(self) -> Path:
        """The file that they are mapped from."""
        return Path(self._place[0])

    @property
    def place(self) -> str:
        """Hexadecimal digest of where in the file they are."""
        rows = b"" if self._rows is None else np.ascontiguousarray(self._rows).tobytes()
        return hashlib.blake2b(repr(self._place[1:]).encode() + rows, digest_size=16).hexdigest()

    @property
    def _place(self) -> tuple[str, int, tuple[int, ...], tuple[int, ...], str]:
        """File, offset, shape, strides and type of the array."""
        mapping = _mapping(self._array)
        assert mapping is not None
        first = mapping.offset + self._array.ctypes.data - mapping.ctypes.data
        form = self._array.shape, self._array.strides, self._array.dtype.str
        return (str(mapping.filename), first, *form)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remapped, (*self._place, self._rows)


def _mapping(array: PixelArray) -> np.memmap[Any, Any] | None:
    """The mapping of a file that an array is a view of, where it is one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if isinstance(array, np.memmap) and array.filename is not None else None


def _remapped(
    file: str, first: int, shape: tuple[int, ...], strides: tuple[int, ...], kind: str, rows: IntArray | None
) -> MappedImages:
    """Map images once more, in a process that was sent them.

    Raises:
        DataError: The file is gone, or ends before the images do.
    """
    try:
        whole = np.memmap(file, np.uint8, "r")
        return MappedImages(np.ndarray(shape, kind, whole, first, strides), rows)
    except (OSError, TypeError, ValueError) as error:
        raise DataError(
            f"The images in {file} cannot be read by another process ({error}); do not change the file during the work."
        ) from None


Images = Tensor | PixelArray | MappedImages


def mapped(images: Images) -> MappedImages | None:
    """The images where they are mapped from a file."""
    if isinstance(images, np.ndarray):
        return None if _mapping(images) is None else MappedImages(images)
    return None if isinstance(images, Tensor) else images


def joined(first: Images, second: Images) -> Images | None:
    """Images and others behind them: a copy in memory, or places in a file; None where they are mapped from several."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    own, others = mapped(first), mapped(second)
    if own is None and others is None:
        return np.concatenate([np.asarray(first), np.asarray(second)])
    return None if own is None or others is None else own.followed_by(others)
