"""Byte-identical copies of forget samples: while one is left, what was to be forgotten is still taught."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

from natmu.data.images import ImageData
from natmu.errors import ForgetSetError
from natmu.types import ForgetSet, IntArray

_BLOCK_BYTES = 2**24
_SHOWN = 3


def copies_of(forget: ForgetSet, train: ImageData, **others: ImageData | None) -> dict[str, IntArray]:
    """Where samples lie that are byte for byte the same as forget samples, whatever their labels.

    Every image is read once and summed up in 64 bits; only where these agree are the images themselves compared.

    Args:
        forget: The forget set.
        train: The training data.
        others: Other parts of the data by name, such as ``test``.

    Returns:
        Sorted rows, int64, by part, of parts that hold copies; those of ``retain`` are rows of the training data.
    """
    originals = _codes(train, forget.indices)
    found = {"retain": np.setdiff1d(_alike(train, forget.indices, originals, train), forget.left_out)}
    for name, part in others.items():
        if part is not None:
            found[name] = _alike(train, forget.indices, originals, part)
    return {name: rows for name, rows in found.items() if len(rows)}


def with_copies(forget: ForgetSet, train: ImageData) -> ForgetSet:
    """The forget set and all copies of its samples in the training data.

    Raises:
        ForgetSetError: Whole classes are forgotten and a copy is in another class, or nothing would be retained.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits().subset([3, 14, 3])  # the last is a copy of the first
        >>> with_copies(forget_from_indices([0], data), data).indices.tolist()
        [0, 2]
    """
    if forget.corrected is not None:
        raise ForgetSetError(
            f"{forget.request!r} says the right label of each sample, so copies are forgotten only where it lists "
            "them; list them, and leave --with-copies (with_copies) out."
        )
    rows = copies_of(forget, train).get("retain", np.zeros(0, np.int64))
    if len(rows) and forget.class_wise:
        raise ForgetSetError(
            f"{len(rows)} copies of samples of {forget.request!r} are in other classes, such as "
            f"{train.names[int(rows[0])]!r}; forget samples by name to forget them too."
        )
    if len(forget.left_out) + len(rows) >= len(train):
        raise ForgetSetError(f"{forget.request!r} and all copies are all training samples; one must be retained.")
    return replace(forget, indices=np.union1d(forget.indices, rows))


def copies_told(copies: Mapping[str, IntArray], train: ImageData, **others: ImageData | None) -> str | None:
    """A sentence on the copies of forget samples; None where there are none.

    Args:
        copies: As ``copies_of`` finds them.
        train: The training data.
        others: The same parts as there.
    """
    told = []
    for name, rows in copies.items():
        part = train if name == "retain" else others[name]
        assert part is not None, "copies were found in it"
        more = ", …" if len(rows) > _SHOWN else ""
        told.append(f"{len(rows)} in the {name} part ({', '.join(part.sample_names.at(rows[:_SHOWN]))}{more})")
    if not told:
        return None
    advice = "; --with-copies or with_copies=True forgets those in the retain part too" if "retain" in copies else ""
    return f"Byte-identical copies of forget samples: {', '.join(told)}{advice}."


def _alike(train: ImageData, forget: IntArray, originals: npt.NDArray[np.uint64], part: ImageData) -> IntArray:
    """Rows of a part that are the same images as some forget samples."""
    kinds = {str(one.images.dtype).removeprefix("torch.") for one in (part, train)}
    if len(kinds) > 1 or part.image_shape != train.image_shape:
        return np.zeros(0, np.int64)
    candidates = np.flatnonzero(np.isin(_codes(part), originals)).astype(np.int64)
    wanted = {*_digests(train, forget)} if len(candidates) else set()
    same = np.array([digest in wanted for digest in _digests(part, candidates)], bool)
    return np.asarray(candidates[same], np.int64)


def _blocks(data: ImageData, rows: IntArray | None = None) -> Iterator[npt.NDArray[np.uint8]]:
    """The bytes of images, ``(B, bytes)``, in blocks of some 16 MiB."""
    itemsize = data.images.dtype.itemsize
    step = max(_BLOCK_BYTES // (math.prod(data.image_shape) * itemsize), 1)
    for start in range(0, len(data) if rows is None else len(rows), step):
        block = data.images[slice(start, start + step) if rows is None else rows[start : start + step]]
        array = block.cpu().numpy() if isinstance(block, Tensor) else block
        yield np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)


def _codes(data: ImageData, rows: IntArray | None = None) -> npt.NDArray[np.uint64]:
    """64 bits for each image: the sum of its words with fixed random weights; of all images where no rows are given."""
    width = math.prod(data.image_shape) * data.images.dtype.itemsize
    words = -(-width // 8)
    weights = np.random.default_rng(0).integers(0, 2**64, words, np.uint64) | np.uint64(1)
    codes = [np.zeros(0, np.uint64)]
    for block in _blocks(data, rows):
        whole = block if width % 8 == 0 else np.pad(block, ((0, 0), (0, 8 * words - width)))
        codes.append(whole.view(np.uint64) @ weights)
    return np.concatenate(codes)


def _digests(data: ImageData, rows: IntArray) -> Iterator[bytes]:
    """A digest of each of these images."""
    for block in _blocks(data, rows):
        for image in block:
            yield hashlib.blake2b(image.data, digest_size=16).digest()
