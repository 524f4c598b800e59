"""Archives that are read member by member, as their bytes pass by, up to a bound and never to disk."""

from __future__ import annotations

import bz2
import gzip
import hmac
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
FAULTS = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)
"""What damaged archives raise, and encrypted ones."""

_BLOCK = 2**20


class TooMuch(Exception):  # noqa: N818 - it never leaves the search
    """An archive gives more bytes than it may."""


@dataclass
class Limit:
    """How many bytes may still be read of what is in an archive."""

    left: int

    def take(self, count: int) -> None:
        """Count bytes that were read.

        Raises:
            TooMuch: There are more of them than there may be.
        """
        self.left -= count
        if self.left < 0:
            raise TooMuch


class Passing(io.RawIOBase):
    """A stream that is summed up and counted while others read it.

    Args:
        start: What was read of it already.
        stream: The rest.
        secret: Key of the digest.
        limit: Of the archive that it is in, if it is in one.
    """

    def __init__(self, start: bytes, stream: IO[bytes], secret: bytes, limit: Limit | None) -> None:
        self._start, self._stream, self._limit = io.BytesIO(start), stream, limit
        self._state = hmac.new(secret, digestmod="sha256")

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Read the next bytes into a buffer; returns how many."""
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


def members_of(stream: IO[bytes], start: bytes) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
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


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so is an archive, or packed by itself."""
    return start.startswith(_ZIP) or is_stream(start)


def is_stream(start: bytes) -> bool:
    """Whether it is one that can be read from its start to its end: a tar, or what is packed."""
    return _is_tar(start) or _unpacker(start) is not None
