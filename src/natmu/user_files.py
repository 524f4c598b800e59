"""Opening files that come from users: whatever is no regular file is refused at once, and nothing is waited for."""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "it is a named pipe (FIFO), not a file; save what comes out of it as a file",
    stat.S_IFSOCK: "it is a socket, not a file",
    stat.S_IFCHR: "it is a device, not a file; save what comes out of it as a file",
    stat.S_IFBLK: "it is a device, not a file; save what comes out of it as a file",
    stat.S_IFDIR: "it is a folder, not a file",
}

_POINTERS = {
    b"version https://git-lfs.github.com/": "Git LFS; get that with `git lfs pull`",
    b"/annex/objects/": "git-annex; get that with `git annex get`",
}
"""How files begin that stand in a clone of a repository for large ones that were not fetched."""


def require_file(path: Path) -> None:
    """Refuse what is no regular file, without opening it.

    A named pipe would be waited for, and a device such as ``/dev/zero`` never ends.

    Raises:
        OSError: There is no file, or it is of another kind; ``strerror`` says so in plain words.
    """
    try:
        _require_regular(path.stat().st_mode, path)
    except FileNotFoundError:
        if path.is_symlink():
            raise OSError(errno.ENOENT, f"it is a link to {_target(path)}, which is not there", str(path)) from None
        raise
    except ValueError as error:  # a null character in the path
        raise OSError(errno.EINVAL, str(error), str(path)) from None


def open_file(path: Path) -> io.BufferedReader:
    """Open a regular file for reading.

    Raises:
        OSError: See ``require_file``; or the file cannot be opened.
    """
    require_file(path)
    # Should a pipe stand there by now, nothing is waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_file(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: See ``open_file``.
    """
    with open_file(path) as file:
        return file.read()


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text in a regular file, with one line feed at each line's end however it was saved.

    Raises:
        OSError: See ``open_file``.
        UnicodeDecodeError: It is no such text.
    """
    return read_file(path).decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def pointer_fault(path: Path) -> str | None:
    """What is said of a small text file that stands for a large file, and how to get that; None of all other files."""
    try:
        with open_file(path) as file:
            head = file.read(64)
    except OSError:
        return None
    held = next((told for start, told in _POINTERS.items() if start in head), None)
    return None if held is None else f"{path} only points to a file in {held}."


def _require_regular(mode: int, path: Path) -> None:
    """Refuse a kind of thing that is no regular file."""
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, _KINDS.get(stat.S_IFMT(mode), "it is not a file"), str(path))


def _target(path: Path) -> str:
    """What a link leads to."""
    try:
        return str(path.readlink())
    except OSError:
        return "something else"
