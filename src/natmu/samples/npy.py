"""Arrays of numbers in ``.npy`` files that are not ours."""

from __future__ import annotations

import re
import sys
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError
from natmu.user_files import open_file

NPY_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy raises on files that are damaged, or are something else."""

MAGIC = np.lib.format.MAGIC_PREFIX
_ENDS_EARLY = re.compile(r"mmap length|EOF|reading array|cannot reshape|buffer is smaller|expected .* bytes")


def open_npy(path: Path) -> npt.NDArray[Any]:
    """Map a ``.npy`` file read-only; pickled objects are refused.

    Raises:
        DataError: The file is missing, damaged or something else, or holds more than one array.
    """
    head = _head(path)
    try:
        array = np.lib.format.open_memmap(path, mode="r")
        beyond = path.stat().st_size - array.offset - array.nbytes
        _require_characters(array)
    except NPY_FAULTS as error:
        raise DataError(f"{path} cannot be read as a .npy array of numbers: {_fault(head, error)}.") from None
    if beyond > 0:
        raise DataError(
            f"{path} holds {beyond:,} more bytes than its array of shape {array.shape}; save one array in each file."
        )
    return array


@contextmanager
def opened_npz(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    """An open ``.npz`` file, read with ``read_member``; pickled objects are refused.

    Raises:
        DataError: The file is missing, damaged or something else.
    """
    head = _head(path)
    with path.open("rb") as file:
        try:
            archive = np.load(file, allow_pickle=False)
        except NPY_FAULTS as error:
            raise DataError(f"{path} cannot be read as an .npz file of arrays: {_fault(head, error)}.") from None
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(
                f"{path} holds one array; images and labels are needed: save both with numpy.savez(path, images=…, "
                "labels=…)."
            )
        with archive:
            yield archive


def read_member(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> npt.NDArray[Any]:
    """An array of an ``.npz`` file.

    Raises:
        DataError: It is damaged, something else, or followed by further bytes.
    """
    try:
        array = archive[key]
        _require_characters(array)
        beyond = _bytes_beyond(archive, key, array)
    except NPY_FAULTS as error:
        raise DataError(f"{path}: {key} cannot be read as an array of numbers: {_fault(MAGIC, error)}.") from None
    if not isinstance(array, np.ndarray):  # NumPy hands out the bytes of files that are no arrays
        raise DataError(f"{path}: {key} is no array; save the arrays again with numpy.savez.")
    if beyond > 0:
        raise DataError(
            f"{path}: {key} holds {beyond:,} more bytes than its array of shape {array.shape}; save it again with "
            "numpy.savez."
        )
    return array


def _bytes_beyond(archive: np.lib.npyio.NpzFile, key: str, array: object) -> int:
    """How many bytes follow an array in its file within an archive; NumPy reads none of them."""
    if not isinstance(array, np.ndarray):
        return 0
    assert archive.zip is not None, "it is open"
    member = archive.zip.getinfo(key if key in archive.zip.namelist() else f"{key}.npy")
    with archive.zip.open(member) as file:
        begin = file.read(12)
    end = 10 if begin[len(MAGIC)] == 1 else 12  # of the length of the header, which counts from there
    return member.file_size - end - int.from_bytes(begin[8:end], "little") - array.nbytes


def _require_characters(array: object) -> None:
    """Refuse texts with numbers that are no characters, which NumPy reads and Python cannot make a string of.

    Raises:
        ValueError: There are such.
    """
    if isinstance(array, np.ndarray) and array.dtype.kind == "U" and array.size:
        numbers = np.ascontiguousarray(array).reshape(-1).view(np.dtype("u4").newbyteorder(array.dtype.byteorder))
        if int(numbers.max(initial=0)) > sys.maxunicode:
            raise ValueError("a text in it holds what is no character")


def _head(path: Path) -> bytes:
    """How a file begins.

    Raises:
        DataError: There is no such file, or it cannot be opened.
    """
    try:
        with open_file(path) as file:
            return file.read(len(MAGIC))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _fault(head: bytes, error: BaseException) -> str:
    """What is wrong with a file that NumPy cannot read, and what to do.

    Args:
        head: How it begins.
        error: What NumPy raised.
    """
    told = " ".join(str(error).split())
    if not head:
        return "it is empty; save the arrays again"
    if head.startswith(b"PK") and not isinstance(error, zipfile.BadZipFile):
        return "it is an archive of arrays; call it .npz"
    if head.startswith(b"PK") or isinstance(error, zlib.error | zipfile.BadZipFile):
        return f"the archive is damaged or incomplete ({told[:120]}); copy or download it again"
    if "encrypted" in told or "password" in told:
        return "it is encrypted; save it without a password"
    if "object" in told.lower() and head == MAGIC:
        return (
            "it holds Python objects, which may run code when they are read; save arrays of numbers, with rows of one "
            "length, such as numpy.save(path, numpy.stack(arrays))"
        )
    if head != MAGIC:
        kind = "a pickle, which may run code when it is read" if head.startswith(b"\x80") else "not in NumPy's format"
        return f"it is {kind}; save the arrays with numpy.save or numpy.savez"
    if isinstance(error, MemoryError):
        return f"it does not fit into memory ({told[:120]}); give a smaller part, or uint8 in place of floats"
    if isinstance(error, EOFError) or _ENDS_EARLY.search(told):
        return "it ends too early; copy or download it again"
    return f"it is damaged ({told[:120]}); save the arrays again with numpy.save or numpy.savez"
