"""How our files are written and read: whole or not at all, and what is damaged is named in one sentence."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import socket
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import from_json, to_json

from natmu.errors import RunError
from natmu.safe_text import csv_lines, for_json, from_csv, one_line

Arrays = dict[str, npt.NDArray[Any]]

UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises on damaged files."""

PARTIAL = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.partial")
"""Names of files that are being written: after the name of the file itself come the machine and the process."""


class Value(BaseModel):
    """A value that our files hold: frozen, complete, of exactly these types, without NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """The value as JSON has it."""
        return self.model_dump(mode="json")


class File(Value):
    """A value that has a JSON file to itself. Subclasses add ``format``, a number that changes with the fields.

    The file also holds a ``checksum`` of the value, so that whatever was changed after it was written is found out.
    """

    remedy: ClassVar[str] = "delete the folder that holds it and compute that again"
    """What to do where the file is damaged."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the value.

        Args:
            path: The file.

        Raises:
            RunError: It is missing, damaged, edited, or of another format; one sentence that names it.
        """
        try:
            content = from_json(path.read_bytes(), allow_inf_nan=False)
            if not isinstance(content, dict):
                raise damaged(path, "it holds no JSON object", cls.remedy)
            known, stated = cls.model_fields["format"].default, content.get("format")
            if stated != known:
                reason = f"its format is {str(stated)[:20]}, and this version of natmu reads format {known}"
                raise damaged(path, reason, cls.remedy)
            checksum = content.pop("checksum", None)
            value = cls.model_validate_json(to_json(content))
        except ValidationError as error:
            raise damaged(path, first_fault(error), cls.remedy) from None
        except (OSError, ValueError, RecursionError) as error:
            raise damaged(path, error, cls.remedy) from None
        if checksum != value.checksum():
            reason = "it was changed after it was written: its checksum is not that of its content"
            raise damaged(path, reason, cls.remedy)
        return value

    def write(self, path: Path) -> None:
        """Write the value, whole or not at all.

        Raises:
            RunError: It cannot be written.
        """
        content = {"format": None, **self.plain(), "checksum": self.checksum()}
        text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        write_atomically(path, for_json(text).encode())

    def checksum(self) -> str:
        """Hexadecimal digest of the content."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def damaged(path: Path, error: object, remedy: str = File.remedy) -> RunError:
    """What is said of a file of ours that cannot be read.

    Args:
        path: The file.
        error: What is wrong with it.
        remedy: What to do.
    """
    reason = one_line(str(getattr(error, "strerror", None) or error))[:200].rstrip(".")
    return RunError(f"{path} cannot be read ({reason}); {remedy}.")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it when it is complete; folders on its way are made.

    What killed writers left in the folder is removed.

    Raises:
        RunError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{_host()}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        sweep(path.parent)
    except OSError as error:
        raise RunError(f"Cannot write {path} ({error.strerror}); choose a folder that can be written to.") from error


def sweep(folder: Path) -> None:
    """Remove what writers of this machine left unfinished in a folder when they were killed.

    Every command that writes into the folder of a run, an audit, a study or a search calls this for it. What a writer
    on another machine left stays, because nobody here can know whether it still runs.
    """
    for path in folder.glob(".*.partial"):
        name = PARTIAL.fullmatch(path.name)
        if name is not None and name["host"] == _host() and not _runs(int(name["process"])):
            with suppress(OSError):  # what cannot be removed stands in nobody's way
                path.unlink(missing_ok=True)


def read_arrays(path: Path, remedy: str = File.remedy) -> Arrays:
    """The arrays of an ``.npz`` file.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        RunError: They cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except UNREADABLE as error:
        raise damaged(path, error, remedy) from None


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write an ``.npz`` file, whole or not at all.

    Raises:
        RunError: It cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file.

    Raises:
        RunError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            return array
    except UNREADABLE as error:
        raise damaged(path, error) from None


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of ours with a header, each with one text per column.

    Raises:
        RunError: They cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise damaged(path, error) from None
    if any(None in row or None in row.values() for row in rows):
        raise damaged(path, "a row has more or fewer cells than the header")
    return [{name: from_csv(cell) for name, cell in row.items()} for row in rows]


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as comma-separated values with a header.

    Args:
        rows: Values by column; a column that a row lacks is empty there.
        columns: All columns, in order.
    """
    return csv_lines([columns, *([row.get(column) for column in columns] for row in rows)])


def file_digest(path: Path) -> str:
    """Hexadecimal digest of a file's content; computed once as long as the file is not changed.

    Raises:
        RunError: It cannot be read.
    """
    try:
        facts = path.stat()
        return _digest(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)
    except OSError as error:
        raise damaged(path, error) from None


@lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def first_fault(error: ValidationError) -> str:
    """What is wrong, and where, of the first of all faults."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


def _host() -> str:
    """This machine's name, without dots."""
    return socket.gethostname().partition(".")[0] or "localhost"


def _runs(process: int) -> bool:
    """Whether a process of this machine is running."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
