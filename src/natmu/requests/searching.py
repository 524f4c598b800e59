"""The search for what is left of samples: every file of a folder, what is in archives, and each picture in them."""

from __future__ import annotations

import errno
import hmac
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from natmu.errors import DataError
from natmu.progress import showing, task
from natmu.requests.archives import FAULTS, Limit, Passing, TooMuch, is_archive, is_stream, members_of
from natmu.requests.pictures import NPY, Wanted, rows_in, same_picture
from natmu.safe_text import one_line

if TYPE_CHECKING:
    from collections.abc import Collection

WHOLE_BYTES = 2**25
"""Bytes of a file that are held in memory; of larger ones, those in archives are looked at as they pass by."""

ARCHIVE_RATIO, ARCHIVE_BYTES = 100, 2**30
"""Bytes that are read of what is in an archive, at most: so many for each byte of its own, and some more."""

_DEPTH = 4
_BLOCK = 2**20
_THREADS = 16


@dataclass
class Looked:
    """What was looked at, and what was found.

    Attributes:
        files: Files that were looked through.
        found: Where something of the samples is left.
        notes: What could not be looked into, a sentence each.
        known: Digests of the bytes of files that are known to hold other pictures, and are there.
    """

    files: int = 0
    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    known: set[bytes] = field(default_factory=set)


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
        results = pool.map(lambda paths: _in_file(paths[0], wanted, looked.known), files)
        for paths, (found, notes) in zip(files, results, strict=True):
            looked.files += 1
            looked.notes += notes
            looked.found += [f"{path}{inside}" for path in paths for inside in found]
            advance()
    return looked


def _in_file(path: Path, wanted: Wanted, known: set[bytes]) -> tuple[list[str], list[str]]:
    """Where in a file something is left, ``""`` for the file itself; and what could not be looked into.

    Args:
        path: The file.
        wanted: What is looked for.
        known: Takes the digest of a file that is known to hold another picture.
    """
    notes: list[str] = []
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size and len(file.read(WHOLE_BYTES)) == WHOLE_BYTES:  # as of /proc/self/pagemap
                raise OSError(errno.EFBIG, "it should be empty, and gives bytes without an end")
            file.seek(0)
            limit = Limit(ARCHIVE_RATIO * size + ARCHIVE_BYTES)
            return list(_Search(wanted, str(path), limit, notes, known).within(file, "", 0)), notes
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
        known: Takes digests of files that are known to hold other pictures.
    """

    wanted: Wanted
    path: str
    limit: Limit
    notes: list[str]
    known: set[bytes]

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
            yield from self._passing(Passing(start, stream, self.wanted.secret, self.limit), start, place, depth)
        else:
            passing = Passing(start, stream, self.wanted.secret, None)
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
        elif digest in self.wanted.others:
            self.known.add(digest)
        else:
            yield from self._parts(io.BytesIO(content), content, place, depth)

    def _passing(self, stream: Passing, start: bytes, place: str, depth: int) -> Iterator[str]:
        """Look through a large member of an archive as it passes by."""
        reader = io.BufferedReader(stream, _BLOCK)
        if start.startswith(NPY) or is_stream(start):
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
        elif is_archive(start):
            yield from self._members(stream, start, place, depth)
        elif same_picture(stream, self.wanted):
            yield place

    def _members(self, stream: IO[bytes], start: bytes, place: str, depth: int) -> Iterator[str]:
        """Look through what is in an archive; what cannot be read of it is noted."""
        if depth >= _DEPTH:
            self.notes.append(f"{self.path}{place} is an archive in archives in archives, and was not looked into.")
            return
        try:
            for name, opened in members_of(stream, start):
                inside = f"{place}: {name}" if name else place
                try:
                    with opened() as member:
                        yield from self.within(member, inside, depth + 1)
                except FAULTS as error:
                    self._note(inside, error)
        except TooMuch:
            if depth:
                raise
            self.notes.append(
                f"{self.path} holds more than {ARCHIVE_RATIO} times its own size, and was not looked into to its end."
            )
        except FAULTS as error:
            self._note(place, error)

    def _note(self, place: str, error: Exception) -> None:
        """Note what cannot be read of an archive."""
        reason = one_line(str(error))[:120].rstrip(".")
        self.notes.append(f"{self.path}{place} cannot be read to its end ({reason}).")


def _identity(path: Path) -> tuple[int, int]:
    facts = path.stat()
    return facts.st_dev, facts.st_ino


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path} cannot be read ({error.strerror or error}); a purge is confirmed only after every file was searched. "
        "Make it readable, or move it elsewhere."
    )
