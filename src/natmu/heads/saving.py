"""Heads as files of their own: safetensors, written whole or not at all; reading one executes no code."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import save

from natmu.errors import UsageError
from natmu.records.files import damaged, write_atomically
from natmu.records.tensors import packed, read_tensors

State = Mapping[str, npt.NDArray[Any]]

FORMAT = "1"
"""Changes with what the files hold."""

REMEDY = "restore it from a backup, or fit the head again"


class SavedHead:
    """A head that can be written to a file.

    Attributes:
        kind: What the file calls it.
    """

    kind: ClassVar[str]

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """All that determines the head, as arrays."""
        raise NotImplementedError

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the head with all that removals need, whole or not at all; ``load_head`` reads it.

        The file holds sums over all samples that the head has: keep it as safe as these. It replaces a file that is
        there, so that what was removed is in no file any more once all copies are replaced.

        Of a certified head it also holds the noise: whoever reads it can subtract that from the weights.

        Args:
            path: The file, such as ``head.safetensors``; folders on its way are made.

        Returns:
            The path.

        Raises:
            RunError: It cannot be written.
        """
        state = {name: np.array(array, order="C") for name, array in self.state().items()}  # the format has no strides
        told = {"format": FORMAT, "head": self.kind, "checksum": _checksum(self.kind, state)}
        write_atomically(Path(path), packed(save, state, told))
        return Path(path)


def read_state(path: Path) -> tuple[str, dict[str, npt.NDArray[Any]]]:
    """The kind of a head and its state, from a file.

    Args:
        path: The file.

    Raises:
        UsageError: There is none, or it is something else.
        RunError: It is damaged, was changed, or has another format.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}; name one that the save of a head has written.")
    try:
        state, told = read_tensors(path, "numpy")
    except (OSError, SafetensorError) as error:
        raise damaged(path, error, REMEDY) from None
    if "head" not in told:
        raise UsageError(f"{path} holds no head; name what the save of a head wrote, or head.safetensors of a run.")
    if told.get("format") != FORMAT:
        reason = f"its format is {str(told.get('format'))[:20]}, and this version of natmu reads format {FORMAT}"
        raise damaged(path, reason, REMEDY)
    if told.get("checksum") != _checksum(told["head"], state):
        reason = "it was changed after it was written: its checksum is not that of its content"
        raise damaged(path, reason, REMEDY)
    return told["head"], state


def _checksum(kind: str, state: State) -> str:
    """Hexadecimal digest of a state."""
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for name, array in sorted(state.items()):
        digest.update(repr((name, array.shape, array.dtype.str)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
