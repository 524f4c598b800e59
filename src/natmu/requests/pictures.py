"""Whether pictures and rows of arrays are samples that are looked for, by the digest of their pixels."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError
from natmu.records.files import UNREADABLE

if TYPE_CHECKING:
    from natmu.data.forms import Form

NPY = b"\x93NUMPY"
"""What ``.npy`` files begin with."""

_BLOCK_BYTES = 2**23
_ROW_BYTES = 2**28


@dataclass(frozen=True)
class Wanted:
    """The samples that are looked for.

    Attributes:
        secret: Key of all digests.
        files: Digests of the bytes of their files.
        pixels: Digests of their pixels.
        others: Digests of the bytes of files that are known to hold other pictures, and need not be decoded.
        form: What the images of the data are brought to.
        shape: Channels, height and width of a sample.
        dtype: Type of its pixels.
    """

    secret: bytes
    files: frozenset[bytes]
    pixels: frozenset[bytes]
    others: frozenset[bytes]
    form: Form
    shape: tuple[int, int, int]
    dtype: str

    @cached_property
    def head(self) -> bytes:
        """What is summed up before the pixels of a sample."""
        return f"{self.dtype}{self.shape}".encode()

    def has(self, image: npt.NDArray[Any]) -> bool:
        """Whether an image ``(C, H, W)`` in the shape and type of the data is one of the samples."""
        content = self.head + np.ascontiguousarray(image).tobytes()
        return hmac.digest(self.secret, content, "sha256")[:16] in self.pixels


def same_picture(stream: IO[bytes], wanted: Wanted) -> bool:
    """Whether an image file, whatever it is called, shows a sample."""
    from natmu.data.decoding import pictures_in  # loads PyTorch

    channels, height, width = wanted.shape
    if channels not in (1, 3):
        return False
    pictures = pictures_in(stream, channels, wanted.form, (width, height))
    return any(_is_sample(picture, wanted) for picture in pictures)


def rows_in(stream: IO[bytes], wanted: Wanted) -> Iterator[int]:
    """Rows of a ``.npy`` file that are samples; a single image is row 0.

    The file is read from its start to its end, in blocks; what is damaged or holds objects has no rows.
    """
    try:
        for first, block in _blocks(stream):
            for row, image in enumerate(block):
                if any(_is_sample(candidate, wanted) for candidate in _as_images(image)):
                    yield first + row
    except UNREADABLE:
        return


def _blocks(stream: IO[bytes]) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """The rows of an array by blocks, with the number of the first row of each; all at once in Fortran's order.

    Three dimensions with three channels, first or last, are one image in colour; others are grey images.
    """
    version = np.lib.format.read_magic(stream)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject or dtype.kind not in "uf" or not 2 <= len(shape) <= 4 or 0 in shape:
        return
    if len(shape) == 2 or (len(shape) == 3 and 3 in (shape[0], shape[2])):
        yield 0, _array(stream, (1, *shape), dtype, fortran)
        return
    row_bytes = math.prod(shape[1:]) * dtype.itemsize
    if row_bytes > _ROW_BYTES:
        return
    step = shape[0] if fortran else max(_BLOCK_BYTES // row_bytes, 1)
    for first in range(0, shape[0], step):
        yield first, _array(stream, (min(step, shape[0] - first), *shape[1:]), dtype, fortran)


def _array(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], fortran: bool) -> npt.NDArray[Any]:
    """The next numbers of a stream."""
    content = stream.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _as_images(row: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """A row as images ``(C, H, W)``: with its channels first, and last."""
    return [row[None]] if row.ndim == 2 else [row, row.transpose(2, 0, 1)]


def _is_sample(image: npt.NDArray[Any], wanted: Wanted) -> bool:
    """Whether an image ``(C, H, W)``, brought to the form and type of the data, is a sample."""
    from natmu.data.kinds import KINDS, fitting  # loads PyTorch
    from natmu.data.pixels import formed

    if image.shape != wanted.shape:
        channels, height, width = image.shape
        to_size = wanted.form.size_of((width, height)) == (wanted.shape[2], wanted.shape[1])
        if channels not in (1, 3) or not to_size or image.dtype not in KINDS:
            return False
        try:
            image = np.asarray(formed(image[None], wanted.form))[0]
        except (DataError, ValueError):
            return False
        if image.shape != wanted.shape:
            return False
    kind = next(kind for kind in KINDS if np.dtype(kind) == np.dtype(wanted.dtype))
    held = fitting(image, kind)
    return held is not None and wanted.has(held)
