"""The search for what is left of samples: every file of a folder, what is in archives, and each picture in them."""

from __future__ import annotations

import bz2
import gzip
import hmac
import io
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from natmu.errors import DataError
from natmu.progress import showing, task
from natmu.requests.pictures import NPY, Wanted, rows_in, same_picture

if TYPE_CHECKING:
    from collections.abc import Collection

WHOLE_BYTES = 2**25
"""Bytes of a file that are held in memory; of larger ones, those in archives are looked at as they pass by."""

ARCHIVE_RATIO, ARCHIVE_BYTES = 100, 2**30
"""Bytes that are read of what is in an archive, at most: so many for each byte of its own, and some more."""

_DEPTH = 4
_BLOCK = 2**20
_THREADS = 16
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_FAULTS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)


@dataclass
class Looked:
    """What was looked at, and what was found.

    Attributes:
        files: Files that were looked through.
        found: Where something of the samples is left.
        notes: What could not be looked into, a sentence each.
    """

    files: int = 0
    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class _TooMuch(Exception):  # noqa: N818 - it never leaves this file
    """An archive gives more bytes than it may."""


@dataclass
class _Limit:
    """How many bytes may still be read of what is in an archive."""

    left: int

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise _TooMuch


class _Passing(io.RawIOBase):
    """A stream that is summed up and counted while others read it.

    Args:
        start: What was read of it already.
        stream: The rest.
        secret: Key of the digest.
        limit: Of the archive that it is in, if it is in one.
    """

    def __init__(self, start: bytes, stream: IO[bytes], secret: bytes, limit: _Limit | None) -> None:
        self._start, self._stream, self._limit = io.BytesIO(start), stream, limit
        self._state = hmac.new(secret, digestmod="sha256")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        content = self._start.read(len(view))
        if not content:
            content = self._stream.read(len(view))
            if self._limit is not None:
                self._limit.take(len(content))
        view[: len(content)] = content
        self._state.update(content)
        return len(content)

    def digest(self) -> bytes:
        """The digest of all of it, cut to 16 bytes; reads what nobody has read."""
        while self.read(_BLOCK):
            pass
        return self._state.digest()[:16]


def files_below(roots: Iterable[Path], skipped: Collection[Path]) -> list[list[Path]]:
    """All files in folders and below, hidden ones included; links are followed, each folder is entered once.

    Args:
        roots: Folders, or single files.
        skipped: Folders that are left out.

    Returns:
        For each file the paths that lead to it, of hard links and other links several.

    Raises:
        DataError: A folder cannot be read.
    """
    entered = {_identity(path) for path in skipped if path.exists()}
    files: dict[tuple[int, int], list[Path]] = {}
    waiting = [*reversed([*roots])]
    while waiting:
        path = waiting.pop()
        try:
            facts = path.stat()
            identity = facts.st_dev, facts.st_ino
            if stat.S_ISREG(facts.st_mode):
                files.setdefault(identity, []).append(path)
            elif stat.S_ISDIR(facts.st_mode) and identity not in entered:
                entered.add(identity)
                waiting += sorted(path.iterdir(), reverse=True)
        except FileNotFoundError:
            continue  # a link to nothing, or deleted just now
        except OSError as error:
            raise _unreadable(path, error) from None
    return [list(dict.fromkeys(paths)) for paths in files.values()]


def search(files: Sequence[Sequence[Path]], wanted: Wanted) -> Looked:
    """Look through files for samples, by the bytes and by the pixels.

    Args:
        files: For each file the paths that lead to it.
        wanted: What is looked for.

    Raises:
        DataError: A file cannot be read.
    """
    from natmu.data.decoding import large_ones_welcome  # loads PyTorch

    looked = Looked()
    threads = min(os.cpu_count() or 1, _THREADS)
    with (
        large_ones_welcome(),
        ThreadPoolExecutor(threads) as pool,
        showing(),
        task("look through files", len(files)) as advance,
    ):
        for paths, (found, notes) in zip(files, pool.map(lambda paths: _in_file(paths[0], wanted), files), strict=True):
            looked.files += 1
            looked.notes += notes
            looked.found += [f"{path}{inside}" for path in paths for inside in found]
            advance()
    return looked


def _in_file(path: Path, wanted: Wanted) -> tuple[list[str], list[str]]:
    """Where in a file something is left, ``""`` for the file itself; and what could not be looked into."""
    notes: list[str] = []
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            limit = _Limit(ARCHIVE_RATIO * size + ARCHIVE_BYTES)
            return list(_Search(wanted, str(path), limit, notes).within(file, "", 0)), notes
    except FileNotFoundError:
        return [], notes
    except OSError as error:
        raise _unreadable(path, error) from None


@dataclass(frozen=True)
class _Search:
    """The search in one file.

    Attributes:
        wanted: What is looked for.
        path: The file, for sentences.
        limit: Bytes that may still be read of what is in it.
        notes: Takes what could not be looked into.
    """

    wanted: Wanted
    path: str
    limit: _Limit
    notes: list[str]

    def within(self, stream: IO[bytes], place: str, depth: int) -> Iterator[str]:
        """Look through a file, or a member of an archive.

        Args:
            stream: Its content; a file itself can be read again from its start.
            place: Where in the file it is.
            depth: How many archives it is in.

        Yields:
            Places.
        """
        start = stream.read(WHOLE_BYTES)
        if depth:
            self.limit.take(len(start))
        if len(start) < WHOLE_BYTES:
            yield from self._held(start, place, depth)
        elif depth:
            yield from self._passing(_Passing(start, stream, self.wanted.secret, self.limit), start, place, depth)
        else:
            passing = _Passing(start, stream, self.wanted.secret, None)
            if passing.digest() in self.wanted.files:
                yield place
                return
            stream.seek(0)
            yield from self._parts(stream, start, place, depth)

    def _held(self, content: bytes, place: str, depth: int) -> Iterator[str]:
        """Look through what is in memory."""
        digest = hmac.digest(self.wanted.secret, content, "sha256")[:16]
        if digest in self.wanted.files:
            yield place
        elif digest not in self.wanted.others:
            yield from self._parts(io.BytesIO(content), content, place, depth)

    def _passing(self, stream: _Passing, start: bytes, place: str, depth: int) -> Iterator[str]:
        """Look through a large member of an archive as it passes by."""
        reader = io.BufferedReader(stream, _BLOCK)
        if start.startswith(NPY) or _is_tar(start) or _unpacker(start):
            yield from self._parts(reader, start, place, depth)
        else:
            self.notes.append(f"{self.path}{place} is too large to be looked into within its archive.")
        if stream.digest() in self.wanted.files:
            yield place

    def _parts(self, stream: IO[bytes], start: bytes, place: str, depth: int) -> Iterator[str]:
        """The rows of an array, the members of an archive, or the pictures of an image file."""
        if start.startswith(NPY):
            rows = rows_in(stream, self.wanted)
            first = [str(row) for row in islice(rows, 4)]
            if first:
                yield f"{place} (row {', '.join(first[:3])}{', …' if len(first) > 3 else ''})"
        elif start.startswith(_ZIP) or _is_tar(start) or _unpacker(start):
            yield from self._members(stream, start, place, depth)
        elif same_picture(stream, self.wanted):
            yield place

    def _members(self, stream: IO[bytes], start: bytes, place: str, depth: int) -> Iterator[str]:
        """Look through what is in an archive; what cannot be read of it is noted."""
        if depth >= _DEPTH:
            self.notes.append(f"{self.path}{place} is an archive in archives in archives, and was not looked into.")
            return
        try:
            for name, opened in _members_of(stream, start):
                inside = f"{place}: {name}" if name else place
                try:
                    with opened() as member:
                        yield from self.within(member, inside, depth + 1)
                except _FAULTS as error:
                    self._note(inside, error)
        except _TooMuch:
            if depth:
                raise
            self.notes.append(
                f"{self.path} holds more than {ARCHIVE_RATIO} times its own size, and was not looked into to its end."
            )
        except _FAULTS as error:
            self._note(place, error)

    def _note(self, place: str, error: Exception) -> None:
        """Note what cannot be read of an archive."""
        reason = " ".join(str(error).split())[:120].rstrip(".")
        self.notes.append(f"{self.path}{place} cannot be read to its end ({reason}).")


def _members_of(stream: IO[bytes], start: bytes) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """The files in an archive, one after the other: their names, and what opens them; what is only packed has none."""
    unpack = _unpacker(start)
    if start.startswith(_ZIP):
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                if not info.is_dir():
                    yield info.filename, partial(archive.open, info)
    elif unpack is not None:
        yield "", partial(unpack, stream)
    else:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                if member.isreg():
                    yield member.name, partial(_extracted, tar, member)


def _extracted(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member)
    assert content is not None, "it is a regular file"
    return content


def _unpacker(start: bytes) -> Callable[[IO[bytes]], IO[bytes]] | None:
    """What unpacks a file that is packed by itself."""
    return next((unpack for magic, unpack in _PACKED.items() if start.startswith(magic)), None)


def _is_tar(start: bytes) -> bool:
    return start[257:262] == b"ustar"


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read ({error.strerror or error}); a purge is confirmed once every file was looked at, so "
        "let it be read, or move it elsewhere."
    )
