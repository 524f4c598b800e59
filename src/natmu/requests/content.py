"""Keyed digests of the content of samples: of their pixels as models get them, and of the bytes of their files."""

from __future__ import annotations

import hmac
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.utils.data import Dataset, Subset

from natmu.data import ImageData
from natmu.data.image_files import ImageFiles
from natmu.errors import DataError
from natmu.progress import task
from natmu.requests.keys import ServiceKey
from natmu.user_files import read_file

ByteArray = npt.NDArray[np.uint8]

DIGEST_BYTES = 16
"""What is kept of a SHA-256."""

_BLOCK_BYTES = 2**23
"""Bytes of images that are read at a time."""


def pixel_digests(data: ImageData, key: ServiceKey) -> ByteArray:
    """Digests of the pixels of samples as models get them, before normalisation, uint8 ``(N, 16)``.

    Of each sample it is HMAC-SHA256, cut to 16 bytes, over ``f"{dtype}{shape}"`` and its pixels in C order.

    Args:
        data: The samples.
        key: The secret of the service.
    """
    head = f"{dtype_of(data)}{data.image_shape}".encode()
    step = max(_BLOCK_BYTES // max(math.prod(data.image_shape), 1), 1)

    def contents() -> Iterator[bytes]:
        with task("digests of images", len(data)) as advance:
            for start in range(0, len(data), step):
                block = data.images[start : start + step]
                array = np.ascontiguousarray(block.cpu().numpy() if isinstance(block, Tensor) else block)
                yield from (head + image.tobytes() for image in array)
                advance(len(array))

    return _digests(contents(), key)


def file_digests(files: Sequence[Path], key: ServiceKey) -> ByteArray:
    """Digests of the bytes of files, uint8 ``(N, 16)``: HMAC-SHA256, cut to 16 bytes.

    Args:
        files: The files.
        key: The secret of the service.

    Raises:
        DataError: A file cannot be read.
    """

    def contents() -> Iterator[bytes]:
        with task("digests of files", len(files)) as advance:
            for file in files:
                try:
                    yield read_file(file)
                except OSError as error:
                    raise DataError(
                        f"{file} cannot be read ({error.strerror}); put it back, or list the rest."
                    ) from None
                advance()

    return _digests(contents(), key)


def files_of(samples: Dataset[Any] | None) -> tuple[Path, ...]:
    """The files that samples come from, in their order; none where they are no image files of ours.

    Args:
        samples: The samples as the user's own training gets them.
    """
    if isinstance(samples, Subset):
        inside = files_of(samples.dataset)
        return tuple(inside[row] for row in samples.indices) if inside else ()
    return tuple(samples.files) if isinstance(samples, ImageFiles) else ()


def dtype_of(data: ImageData) -> str:
    """Type of the pixels of images, as text."""
    return str(data.images.dtype).removeprefix("torch.")


def _digests(contents: Iterable[bytes], key: ServiceKey) -> ByteArray:
    found = b"".join(hmac.digest(key.secret, content, "sha256")[:DIGEST_BYTES] for content in contents)
    return np.frombuffer(found, np.uint8).reshape(-1, DIGEST_BYTES)
