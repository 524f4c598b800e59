"""Reading CIFAR's pickles without letting a pickle run code."""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError
from natmu.user_files import open_file

_FAULTS = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_BUFFER_MODULES = ("numpy.core.numeric", "numpy._core.numeric")


class _Kind:
    """Stands in for a numpy dtype while a pickle is read: plain numbers only."""

    def __init__(self, code: str) -> None:
        if not re.fullmatch(r"[<>|=]?[biuf][1248]", code):
            raise pickle.UnpicklingError(f"arrays of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for a numpy array while a pickle is read."""

    def __init__(self) -> None:
        self.values: npt.NDArray[Any] = np.empty(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, buffer = state
        raw = buffer.encode("latin1") if isinstance(buffer, str) else buffer
        self.values = np.frombuffer(raw, kind.dtype).reshape(shape, order="F" if fortran else "C")


class _CifarUnpickler(pickle.Unpickler):
    """Admits the globals that an array of numbers needs, each replaced by a stand-in that can do nothing else."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401  # whatever the pickle may go on to use
        admitted: dict[tuple[str, str], Callable[..., Any]] = {
            ("numpy", "ndarray"): self._array,
            ("numpy", "dtype"): self._kind,
            ("_codecs", "encode"): self._encode,
        }
        admitted |= {(where, "_reconstruct"): self._array for where in _ARRAY_MODULES}
        admitted |= {(where, "_frombuffer"): self._from_buffer for where in _BUFFER_MODULES}
        if (module, name) not in admitted:
            raise _RefusedError(f"{module}.{name}")
        return admitted[module, name]

    @staticmethod
    def _array(*_: object) -> _Array:
        return _Array()

    @staticmethod
    def _kind(code: str, *_: object) -> _Kind:
        return _Kind(code)

    @staticmethod
    def _encode(text: str, encoding: str) -> bytes:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
        return text.encode("latin1")

    @staticmethod
    def _from_buffer(buffer: bytes, kind: _Kind, shape: tuple[int, ...], order: str, *_: object) -> _Array:
        array = _Array()
        array.__setstate__((1, shape, kind, order == "F", buffer))
        return array


class _RefusedError(Exception):
    """A pickle asks for something that no CIFAR file contains."""


def read_cifar_pickle(path: Path) -> dict[str, Any]:
    """Read one file of CIFAR, whether Python 2 or 3 wrote it.

    Args:
        path: A pickled dictionary of lists, text, numbers and arrays of numbers.

    Returns:
        The dictionary with its keys, and the texts in its lists, as ``str``.

    Raises:
        DataError: The file cannot be read, is not such a dictionary, or asks for anything that CIFAR does not hold.
    """
    try:
        with open_file(path) as file:
            content = _CifarUnpickler(file, encoding="latin1").load()
    except _RefusedError as refused:
        raise DataError(
            f"{path} was refused, because it asks for {refused}, which no CIFAR file contains; get the official file."
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except _FAULTS as error:
        raise DataError(f"{path} is not a CIFAR file, or is damaged ({type(error).__name__}: {error}).") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a CIFAR file: it holds a {type(content).__name__}, not a dictionary.")
    return {_text(key): _plain(value) for key, value in content.items()}


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:  # noqa: ANN401  # the values of a pickle
    """Arrays for their stand-ins, and text for bytes."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, list):
        return [_text(item) if isinstance(item, bytes) else item for item in value]
    return value
