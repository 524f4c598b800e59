"""Faults that pass: of the machine, and not of what was asked for. And the end of the program, asked for by other code.

What fails by such a fault may succeed later, so it is never written down as a result.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from natmu.errors import NatmuError, ResourceError, RunError, UsageError, quoted

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FILES = {errno.EMFILE, errno.ENFILE}
_OTHER = {errno.EINTR, errno.EIO, errno.ESTALE}
_NETWORK = {errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH}

PASSING = frozenset({errno.ENOMEM, errno.EFBIG, errno.EAGAIN} | _FULL | _FILES | _OTHER | _NETWORK)
"""Numbers of errors that pass."""

_MEMORY = re.compile(
    "DefaultCPUAllocator|CUDA(?: error:)? out of memory|HIP out of memory|MPS backend out of memory|_ALLOC_FAILED|"
    "[Cc]annot allocate memory|not enough memory|could not create a (?:primitive|memory object)|"
    "failed to map segment from shared object"
)
"""What messages of PyTorch and of its libraries say where memory ran out."""

_FULL_TEXT = re.compile(r"No space left on device|disk is full|disk I/O error|Disk quota exceeded")

_SHORT = re.compile(r"\d+ requested and \d+ written")
"""What NumPy says of an array that it could write in part only, without a number of the system."""

_SQLITE_OPENS = 4
"""Files at most: the database, its log, what processes share of that, and the folder to flush it."""

_NUMBERED = re.compile(r"\[Errno (\d+)\]")

_SYSTEM = re.compile(r"(?:os error|code:) (\d+)")
"""How safetensors quotes an error of the system."""


def passing(error: BaseException) -> NatmuError | None:
    """What is said of a fault of the machine, which passes; None of any other error.

    The errors that led to this one count too: code in between often raises one of another kind.

    >>> str(passing(OSError(28, "No space left on device", "runs/a")))
    'No room is left for runs/a (No space left on device); make room on that disk and run the same command again.'
    >>> passing(ValueError("no number")) is None
    True
    """
    told: NatmuError | None = None
    for link in _chain(error):
        if isinstance(link, NatmuError):
            if link.passes:
                return link
            told = told or link
            continue
        file = getattr(link, "filename", None)
        if (fault := _fault(link, file)) is not None:
            named = file is not None or isinstance(fault, OutOfMemoryError) or told is None
            return fault if named else ResourceError(str(told))  # which names the file
    return None


def raise_passing(error: BaseException) -> None:
    """Let a fault of the machine go on, as it says nothing about a file; of any other error the caller decides.

    Raises:
        NatmuError: It is one.
    """
    if (fault := passing(error)) is not None:
        raise fault from None if fault is error else error


def ends_all(error: BaseException) -> NatmuError | None:
    """What is said of a fault of the machine that whatever is tried next will meet too: any but a lack of memory."""
    found = passing(error)
    return found if isinstance(found, ResourceError) and not isinstance(found, OutOfMemoryError) else None


class OutOfMemoryError(ResourceError):
    """Memory ran out, of the machine or of its GPU; something smaller may still fit."""


def cannot_write(path: Path, error: BaseException) -> NatmuError:
    """What is said where a file cannot be written.

    Args:
        path: The file.
        error: What the system says.
    """
    if (fault := name_too_long(error, path) or _fault(error, path)) is not None:
        return fault
    reason = getattr(error, "strerror", None) or quoted(error)
    return RunError(f"Cannot write {path} ({reason}); choose a folder that can be written to.")


def name_too_long(error: BaseException, path: Path | None = None) -> UsageError | None:
    """What is said of a name that the file system does not take; None of any other error.

    Args:
        error: Any.
        path: The file, where the error does not name one.
    """
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    return UsageError(f"{error.filename or path} is too long a name for this file system; give a shorter one.")


@contextmanager
def room_in(folder: Path) -> Iterator[None]:
    """Name the folder in what is said where no more can be written to it.

    Raises:
        ResourceError: No more can.
    """
    try:
        yield
    except Exception as error:
        fault = None if isinstance(error, NatmuError) else _fault(error, getattr(error, "filename", None) or folder)
        if fault is None or isinstance(fault, OutOfMemoryError):
            raise
        raise fault from error


def no_more_files(path: Path) -> NatmuError | None:
    """What is said where SQLite, which does not say why, cannot open a file, if too many files are open for it."""
    with ExitStack() as held:
        try:
            for _ in range(_SQLITE_OPENS):
                held.enter_context(Path(os.devnull).open("rb"))
        except OSError as error:
            return _fault(error, path)
    return None


def exit_of(error: SystemExit) -> NatmuError:
    """What is said of code that ended the program, and where it did."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "site-packages" not in frame.filename]  # libraries wrap sys.exit
    where = "code that natmu called"
    if frames:
        last = (own or frames)[-1]
        where = f"{last.filename}, line {last.lineno},"
    code = "" if error.code is None else " ".join(str(error.code).split())[:100]
    return RunError(f"{where} ended the program with sys.exit({code}); raise an error there instead.")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and those that led to it."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _fault(error: BaseException, path: object) -> ResourceError | None:
    """What is said of one error.

    Args:
        error: Any.
        path: The file that it is about, where that is known.
    """
    kind, text = type(error).__name__, str(error)
    number = _number(error)
    name = "a file" if path is None else str(path)
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or number == errno.ENOMEM or _is_memory(error):
        return OutOfMemoryError(
            "Out of memory; use a smaller --batch-size or another --device, or end other programs, and run the same "
            "command again."
        )
    reason = os.strerror(number) if number is not None else text.strip().splitlines()[0][:100] if text.strip() else ""
    if number in _FULL or _is_full(error):
        return ResourceError(
            f"No room is left for {name} ({reason}); make room on that disk and run the same command again."
        )
    if number == errno.EFBIG:
        return ResourceError(
            f"{name[:1].upper()}{name[1:]} would be larger than the limit for files ({reason}); raise the limit "
            "(ulimit -f unlimited), or choose another file system, and run the same command again."
        )
    if number in _FILES:
        return ResourceError(
            f"Too many files are open to open {name} ({reason}); raise the limit (ulimit -n 4096) and run the same "
            "command again."
        )
    if number == errno.EAGAIN or (isinstance(error, RuntimeError) and "can't start new thread" in text):
        return ResourceError(
            f"No further process or thread can be started ({reason}); end other programs or raise the limit (ulimit "
            "-u), and run the same command again."
        )
    if number in _OTHER | _NETWORK:
        return ResourceError(
            f"The system could not read or write {name} ({reason}); see to the disk or the network, and run the same "
            "command again."
        )
    return None


def _number(error: BaseException) -> int | None:
    """The system's number of an error."""
    if isinstance(error, shutil.Error):  # of several files, each with its reason as text
        found = _NUMBERED.search(str(error))
        return None if found is None else int(found[1])
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, ImportError) and "Too many open files" in str(error):  # of a library that is loaded
        return errno.EMFILE
    if type(error).__name__ == "SafetensorError" and (found := _SYSTEM.search(str(error))):
        return int(found[1])
    return None


def _is_memory(error: BaseException) -> bool:
    """Whether an error without a number of the system says that memory ran out, as where a library is loaded."""
    plain = isinstance(error, RuntimeError | ImportError) or (isinstance(error, OSError) and error.errno is None)
    return plain and _MEMORY.search(str(error)) is not None


def _is_full(error: BaseException) -> bool:
    """Whether an error without a number of the system says that a disk is full."""
    if isinstance(error, OSError):
        return error.errno is None and _SHORT.search(str(error)) is not None
    kinds = ("SafetensorError", "OperationalError", "RuntimeError")
    return type(error).__name__ in kinds and _FULL_TEXT.search(str(error)) is not None
