"""What the shards of a store were trained on (``samples.npz``), so that samples are known again when others are gone.

It holds digests alone: no name and no pixel can be read from it, but whoever has a sample can tell that it was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from natmu.records.files import Arrays, damaged, read_arrays, write_arrays
from natmu.records.lineage import Trained
from natmu.types import IntArray

Digests = npt.NDArray[np.uint8]

FILE = "samples.npz"

REMEDY = "restore it from a backup, or train the shards anew in another folder"

_FORMAT = 1
_BYTES = 16


@dataclass(frozen=True, eq=False)
class ShardSamples:
    """The samples that shards were trained on, in the order in which they were first given.

    Attributes:
        model: How all of them together were trained, on which data.
        names: Digests of what they are called, uint8 ``(N, 16)``.
        contents: Digests of their inputs and labels, likewise.
    """

    model: Trained
    names: Digests
    contents: Digests

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _positions(self) -> dict[bytes, int]:
        """Where the sample of each name stands."""
        return {name.tobytes(): position for position, name in enumerate(self.names)}

    def positions(self, names: Digests) -> IntArray:
        """Where the samples of some names stand, int64 ``(K,)``; -1 where there is none of that name."""
        return np.array([self._positions.get(name.tobytes(), -1) for name in names], np.int64)

    @staticmethod
    def read(path: Path) -> ShardSamples:
        """Read the file.

        Raises:
            RunError: It is damaged, was changed, or has another format.
        """
        arrays = read_arrays(path, REMEDY)
        try:
            stated = int(arrays["format"])
            if stated != _FORMAT:
                raise ValueError(f"its format is {stated}, and this version of natmu reads format {_FORMAT}")
            if arrays.pop("checksum").tobytes() != _checksum(arrays):
                raise ValueError("it was changed after it was written: its checksum is not that of its content")
            model = Trained.model_validate_json(arrays["model"].tobytes())
            return ShardSamples(model, arrays["names"], arrays["contents"])
        except ValidationError:
            raise damaged(path, "its model is of another version of natmu", REMEDY) from None
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(path, error, REMEDY) from None

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            RunError: It cannot be written.
        """
        model = np.frombuffer(self.model.model_dump_json().encode(), np.uint8)
        arrays: Arrays = {"format": np.array(_FORMAT, np.int64), "model": model}
        arrays |= {"names": self.names, "contents": self.contents}
        write_arrays(path, arrays | {"checksum": np.frombuffer(_checksum(arrays), np.uint8)})


def digests_of_names(names: Iterable[str]) -> Digests:
    """Digests of names, uint8 ``(N, 16)``; an accent is the same as one character and as two."""
    return digests_of_contents(normalize("NFC", name).encode("utf-8", "surrogateescape") for name in names)


def digests_of_contents(contents: Iterable[bytes]) -> Digests:
    """Digests of contents, uint8 ``(N, 16)``."""
    joined = b"".join(hashlib.blake2b(content, digest_size=_BYTES).digest() for content in contents)
    return np.frombuffer(joined, np.uint8).reshape(-1, _BYTES)


def _checksum(arrays: Arrays) -> bytes:
    """A digest of everything that the file holds."""
    state = hashlib.blake2b(digest_size=_BYTES)
    for name, array in sorted(arrays.items()):
        state.update(repr((name, array.shape, array.dtype.str)).encode())
        state.update(np.ascontiguousarray(array).data)
    return state.digest()
