"""How our files are written and read: whole or not at all, and what is damaged is named in one sentence."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import os
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
from natmu.machine import PASSING, cannot_write, name_too_long
from natmu.records.disk import (
    RENAMES_OPEN_FILES,
    destination,
    is_stream,
    make_folder,
    partial_of,
    sweep,
    sync,
    write_stream,
)
from natmu.records.held import hold
from natmu.safe_text import csv_lines, for_json, from_csv, one_line
from natmu.user_files import open_file, read_file

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

CLOSED = PASSING | {errno.EACCES, errno.EPERM, errno.EBUSY, errno.ENODEV, errno.ENXIO, errno.ENOLCK, errno.ELOOP}
"""Numbers of errors that say nothing of a file's content: it may be whole, and cannot be read now."""


class Value(BaseModel):
    """A value that our files hold: frozen, complete, of exactly these types, without NaN or infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def plain(self) -> dict[str, Any]:
        """The value as JSON has it."""
        return self.model_dump(mode="json")


class File(Value):
    """A value that has a JSON file to itself.

    Subclasses add ``format``, a number that changes with the fields and with what they mean.

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
            RunError: It is missing, cannot be read now, is damaged, edited, or of another format; one sentence that
                names it and says which.
        """
        try:
            content = from_json(read_file(path), allow_inf_nan=False)
            if not isinstance(content, dict):
                raise damaged(path, "it holds no JSON object", cls.remedy)
            known, stated = cls.model_fields["format"].default, content.get("format")
            if stated != known:
                raise other_format(path, stated, known, cls.remedy)
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
    """What is said of a file of ours that is missing, cannot be read now, or is damaged.

    Nobody is told to delete what could not be read, as it may be whole.

    Args:
        path: The file.
        error: What is wrong with it.
        remedy: What to do where it is missing or damaged.
    """
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if path.is_symlink():
            return _leads_nowhere(path)
        return RunError(f"{path} cannot be read, because it is missing; {remedy}.")
    reason = one_line(str(getattr(error, "strerror", None) or error))[:200].rstrip(".")
    if isinstance(error, OSError) and error.errno in CLOSED:
        return RunError(
            f"{path} cannot be opened now ({reason}), but it may be intact; make it readable, and try again."
        )
    return RunError(f"{path} cannot be read ({reason}); {remedy}.")


def _leads_nowhere(path: Path) -> RunError:
    """What is said of a link to a file that may lie on a disk that is not there now."""
    return RunError(
        f"{path} is a link to {os.path.realpath(path)}, which is not there; bring that back, and try again."
    )


def other_format(path: Path, stated: object, known: object, remedy: str) -> RunError:
    """What is said of a file of ours that another version of natmu wrote.

    Args:
        path: The file.
        stated: Its format.
        known: The one that this version reads.
        remedy: What else to do.
    """
    if not isinstance(stated, int):
        return damaged(path, "it does not say its format", remedy)
    return RunError(
        f"{path} has format {str(stated)[:20]}, and this version of natmu reads format {known}; use the version that "
        f"wrote it, or {remedy}."
    )


def is_there(path: Path) -> bool:
    """Whether there is a file or a folder; one that cannot be looked at is not taken for a missing one.

    Raises:
        RunError: That cannot be known, as of a link that leads nowhere or a folder that may not be read.
        UsageError: Its name is too long for the file system.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise _leads_nowhere(path) from None
        return False
    except OSError as error:
        if error.errno in CLOSED:
            raise damaged(path, error) from None
        if (fault := name_too_long(error)) is not None:
            raise fault from None
        return False
    except ValueError:
        return False
    return True


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it when it is complete and on the disk.

    Folders on its way are made. A symbolic link stays, and what it leads to is written; a pipe or a device is written
    into. What killed writers left in the folder is removed.

    Raises:
        NatmuError: It cannot be written; a ``ResourceError`` where no room is left.
    """
    try:
        place = destination(path)
        if is_stream(place):
            write_stream(place, content)
            return
        partial = partial_of(place)
        make_folder(place.parent)
        try:
            with partial.open("wb") as file:
                with suppress(OSError):  # where there are no locks, names and ages alone tell who writes
                    hold(file)
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                if RENAMES_OPEN_FILES:
                    partial.replace(place)
            if not RENAMES_OPEN_FILES:
                partial.replace(place)
            sync(place.parent)
        finally:
            partial.unlink(missing_ok=True)
        sweep(place.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def read_arrays(path: Path, remedy: str = File.remedy) -> Arrays:
    """The arrays of an ``.npz`` file.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        RunError: They cannot be read.
    """
    try:
        with open_file(path) as file, np.load(file, allow_pickle=False) as arrays:
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
        with open_file(path) as file:
            array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):
                raise ValueError("something stands after its array")
            return array
    except UNREADABLE as error:
        raise damaged(path, error) from None


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file of ours with a header, each with one text per column.

    Raises:
        RunError: They cannot be read.
    """
    try:
        text = io.StringIO(read_file(path).decode("utf-8"), newline="")
        rows = list(csv.DictReader(text, strict=True))
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


def file_digest(path: Path, remedy: str = File.remedy) -> str:
    """Hexadecimal digest of a file's content; computed once as long as the file is not changed.

    Args:
        path: The file.
        remedy: What to do where it is missing.

    Raises:
        RunError: It cannot be read.
    """
    try:
        facts = path.stat()
        return _digest(path, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino)
    except OSError as error:
        raise damaged(path, error, remedy) from None


@lru_cache(maxsize=4096)
def _digest(path: Path, *_: int) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def first_fault(error: ValidationError) -> str:
    """What is wrong, and where, of the first of all faults."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(step) for step in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
