"""Writing files and folders so that they survive a power cut, and checks that what users name can be written.

A file's content reaches the disk before its name does, and its name before anything is said of it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from natmu.errors import UsageError
from natmu.records.held import hold

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES)
"""What file systems answer that cannot sync a folder, or do not let one be opened."""

OTHER_OUT = "choose another --out, or let it be written"
"""What to do where a place cannot be written."""

_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
"""What is answered where somebody may not write."""

WINDOWS = os.name == "nt"
"""Whether files are those of Windows."""

RENAMES_OPEN_FILES = not WINDOWS
"""Whether a file can be renamed while it is open."""

_OLD_SECONDS = 3600.0
"""Age from which on an unfinished file that no process holds is deleted, whoever wrote it."""

PARTIAL = re.compile(r"\..+\.(?P<host>[^.]+)\.(?P<process>\d+)\.partial")
"""Names of files that are being written: after the name of the file itself come the machine and the process."""


def host() -> str:
    """This machine's name, without dots."""
    return socket.gethostname().partition(".")[0] or "localhost"


def partial_of(path: Path) -> Path:
    """Where a file or a folder is written before it is complete; the name tells the machine and the process."""
    return path.with_name(f".{path.name}.{host()}.{os.getpid()}.partial")


def sync(path: Path) -> None:
    """Let what a file holds, or what names a folder holds, reach the disk.

    Raises:
        OSError: It cannot be written.
    """
    descriptor = None
    try:
        writes = WINDOWS and not path.is_dir()  # where a file that is only read cannot be synced
        descriptor = os.open(path, os.O_RDWR if writes else os.O_RDONLY)
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC or not path.is_dir():
            raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Let a folder with all that is in it reach the disk, each folder after what it holds."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in sorted(names):
            if not Path(place, name).is_symlink():
                sync(Path(place, name))
        sync(Path(place))


def make_folder(folder: Path) -> None:
    """Make a folder and those on its way, and let their names reach the disk.

    Raises:
        OSError: One cannot be made.
    """
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in reversed(missing):
        sync(place.parent)


def publish(folder: Path, target: Path) -> None:
    """Give a complete folder its name: first all that is in it reaches the disk, then the name.

    Raises:
        OSError: The name is taken, or something cannot be written; the folder is where it was then.
    """
    sync_tree(folder)
    folder.rename(target)
    sync(target.parent)


def replace_folder(folder: Path, target: Path) -> None:
    """Give a complete folder the name of another one, which goes once it is on the disk.

    Raises:
        OSError: Something cannot be written; the other folder is where it was then.
    """
    if not target.exists():
        publish(folder, target)
        return
    sync_tree(folder)
    before = partial_of(target.with_name(f"{target.name}.before"))
    shutil.rmtree(before, ignore_errors=True)
    target.rename(before)
    try:
        folder.rename(target)
    except OSError:
        before.rename(target)
        raise
    sync(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what writers left unfinished in a folder when they were killed.

    Every command that writes into the folder of a run, an audit, a study or a search calls this for it. What a process
    of this machine left that has ended goes at once. Of a process that runs, or of another machine, a file goes that
    is an hour old and that nobody holds: the number of a process is used again, and a container's name is not.
    """
    for path in folder.glob(".*.partial"):
        name = PARTIAL.fullmatch(path.name)
        if name is None:
            continue
        with suppress(OSError):  # what cannot be removed stands in nobody's way
            if (name["host"] == host() and not _runs(int(name["process"]))) or _is_nobodys(path):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def _is_nobodys(path: Path) -> bool:
    """Whether an unfinished file is old, and no writer holds it."""
    facts = path.lstat()
    if not stat.S_ISREG(facts.st_mode) or time.time() - facts.st_mtime < _OLD_SECONDS:
        return False
    with path.open("rb") as file:
        hold(file)  # fails where a writer holds it
    return True


def _runs(process: int) -> bool:
    """Whether a process of this machine is running; on Windows, where to ask would end it, that is not known."""
    if WINDOWS:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def destination(path: Path) -> Path:
    """Where a file is written that a user names: what a symbolic link leads to, else the path itself.

    Raises:
        OSError: It is a folder, or a link into a folder that is not there.
    """
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        if not path.is_symlink():
            return path
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"it is a link to {target}, whose folder is not there") from None
        return target
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return Path(os.path.realpath(path)) if stat.S_ISREG(kind) else path


def is_stream(path: Path) -> bool:
    """Whether a path is a pipe, a device or a socket: written into, and never replaced."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return False


def write_stream(path: Path, content: bytes) -> None:
    """Write into a pipe or a device.

    Raises:
        OSError: It cannot be written, or nobody reads from the pipe.
    """
    try:
        # A pipe that nobody reads would be waited for; Windows keeps pipes elsewhere than among the files.
        descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "nobody reads from it") from None
        raise
    if hasattr(os, "O_NONBLOCK"):
        os.set_blocking(descriptor, True)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def require_writable_file(path: Path, named: str = "--out", remedy: str = OTHER_OUT) -> None:
    """Refuse, before any work is done, a file that cannot be written.

    Args:
        path: The file, which is left as it is.
        named: What the user calls it.
        remedy: What to do.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        place = destination(path)
        if not is_stream(place):
            _try_folder(place.parent, place.name)
        elif not os.access(place, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, ValueError) as error:
        raise _refused(path, error, named, remedy) from None


def require_writable_folder(path: Path, named: str = "--out", remedy: str = OTHER_OUT) -> None:
    """Refuse, before any work is done, a folder in which nothing can be written; one that is missing may be made.

    Args:
        path: The folder.
        named: What the user calls it.
        remedy: What to do.

    Raises:
        UsageError: Nothing can be written there.
    """
    try:
        _try_folder(path, "record.json")
    except (OSError, ValueError) as error:
        raise _refused(path, error, named, remedy) from None


def is_read_only(folder: Path) -> bool:
    """Whether a folder is there that this process may read and not write."""
    try:
        _try_folder(folder, "record.json")
    except OSError as error:
        return error.errno in _READ_ONLY and folder.is_dir()
    return False


def _try_folder(folder: Path, name: str) -> None:
    """Try to write a file of this name into a folder, or into what is there of the way to it."""
    place = folder
    while not place.exists():
        if place.is_symlink():
            raise FileNotFoundError(errno.ENOENT, f"{place} is a link to what is not there")
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is no folder")
    with tempfile.TemporaryFile(dir=place):  # has no name where the system allows it, so that a kill leaves nothing
        pass
    with suppress(FileNotFoundError):
        partial_of(place / name).lstat()  # fails where the name is too long


def _refused(path: Path, error: Exception, named: str, remedy: str) -> UsageError:
    reason = getattr(error, "strerror", None) or str(error)
    return UsageError(f"{named} {path} cannot be written ({reason}); {remedy}.")
