"""Decoded images on disk, found again by the content of the files that they came from.

A folder ``decoded`` holds ``NAME.npy`` with the pixels and ``NAME.json`` with what is known of them; the name tells
their number, their form and a digest of the bytes of all image files. Whoever deletes it loses nothing but time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from PIL import __version__ as pillow_version

from natmu.data.forms import Form
from natmu.errors import DataError, ResourceError, RunError
from natmu.progress import say
from natmu.records.decoded import DecodedImages, identity_of
from natmu.records.disk import sweep
from natmu.records.files import file_digest

FOLDER = "decoded"
"""Of the folder that holds the data sets, the one of decoded images."""

Pixels = npt.NDArray[np.uint8]
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
Fact = TypeVar("Fact")

Writer = Callable[[Path], Sequence[bytes]]
"""Decodes all files into a ``.npy`` file, and returns the digest of the bytes of each."""

Reader = Callable[[], Sequence[bytes]]
"""Returns these digests without decoding."""


@dataclass(frozen=True)
class Shelf:
    """Where the decoded images of some files are kept.

    Attributes:
        folder: The folder of decoded images.
        files: The image files, in order.
        form: What they are brought to.
    """

    folder: Path
    files: Sequence[Path]
    form: Form

    def images(self, write: Writer, read: Reader) -> Pixels:
        """The images, mapped; decoded where they are not kept yet, by one process while others wait.

        Files whose names, sizes and times are those of the last time are taken for unchanged. Where one differs, the
        bytes of all decide.

        Args:
            write: Decodes the files.
            read: Reads them only.

        Returns:
            uint8 ``(N, C, H, W)``.

        Raises:
            OSError: The folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        clear_unfinished(self.folder)
        sources = _sources(self.files)
        images = self._known(sources)
        if images is not None:
            return images
        lock = FileLock(self.folder / f".{self._prefix}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"wait for another process that decodes into {self.folder}")
            lock.acquire()
        try:
            images = self._known(sources)
            return self._searched(sources, write, read) if images is None else images
        finally:
            lock.release()

    @property
    def _prefix(self) -> str:
        """What the names of images of this number and form begin with."""
        form = self.form
        words = {"size": form.image_size, "resize": form.resize, "crop": form.crop, "channels": form.channels}
        return "-".join([str(len(self.files)), *(f"{word}{value}" for word, value in words.items() if value)])

    def _records(self) -> list[tuple[Path, DecodedImages]]:
        """The pixels that may be the ones looked for, with what is known of them."""
        places = [path for path in self.folder.glob(f"{self._prefix}-*.json") if self._path(path.stem[-32:]) == path]
        records = ((path.with_suffix(".npy"), _record(path)) for path in sorted(places))
        return [(path, record) for path, record in records if record is not None]

    def _path(self, content: str) -> Path:
        return self.folder / f"{self._prefix}-{content}.json"

    def _known(self, sources: str) -> Pixels | None:
        """The images of files that have not been touched, if they are kept."""
        found = (_opened(path, record, self.files) for path, record in self._records() if record.sources == sources)
        return next((images for images in found if images is not None), None)

    def _searched(self, sources: str, write: Writer, read: Reader) -> Pixels:
        """The images of files that hold the same bytes as before, if such are kept; else they are decoded."""
        if any(path.exists() for path, _ in self._records()):
            path = self._path(_content(read()))
            record = _record(path) if path.exists() else None
            images = None if record is None else _opened(path.with_suffix(".npy"), record, self.files)
            if record is not None and images is not None:
                _kept(path, record.model_copy(update={"sources": sources, "identity": _identity(path)}))
                return images
        return self._decoded(sources, write)

    def _decoded(self, sources: str, write: Writer) -> Pixels:
        """Decode to a temporary file, and rename it when it is complete and on disk."""
        unfinished = self.folder / f".{self._prefix}.partial"
        try:
            path = self._path(_content(write(unfinished)))
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
                pixels = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            unfinished.replace(path.with_suffix(".npy"))
        finally:
            unfinished.unlink(missing_ok=True)
        record = DecodedImages(sources=sources, identity=_identity(path), pixels=pixels, folder=_folder_of(self.files))
        _kept(path, record)
        return np.lib.format.open_memmap(path.with_suffix(".npy"), mode="r")


def clear_unfinished(folder: Path) -> None:
    """Delete what killed decoders left: files that are not complete, and pixels without a record.

    Args:
        folder: The folder of decoded images.
    """
    sweep(folder)
    unfinished = [path for path in folder.glob(".*.partial") if ".json." not in path.name]
    unknown = [path for path in folder.glob("*.npy") if not path.with_suffix(".json").exists()]
    for path in (*unfinished, *unknown):
        prefix = path.stem[1:] if path.suffix == ".partial" else path.stem.rpartition("-")[0]
        with suppress(OSError, Timeout), FileLock(folder / f".{prefix}.lock", blocking=False):  # nobody decodes it now
            if path.suffix == ".partial" or not path.with_suffix(".json").exists():
                path.unlink(missing_ok=True)


def delete_kept(folder: Path, holds: Callable[[Path, str | None], bool]) -> list[Path]:
    """Delete decoded images that hold certain pictures, and what killed decoders left, which may hold any.

    Another process that has mapped such a file goes on with it; nobody finds it again.

    Args:
        folder: The folder of decoded images.
        holds: Whether a ``.npy`` file is to go, given also the folder of the image files, where that is known.

    Returns:
        The files of pixels that were deleted.

    Raises:
        RunError: One cannot be deleted.
    """
    deleted = []
    for path in sorted([*folder.glob("*.npy"), *folder.glob(".*.partial")]):
        if ".json." in path.name:  # a record that is being written, which holds no picture
            continue
        unfinished, place = path.suffix == ".partial", path.with_suffix(".json")
        prefix = path.stem[1:] if unfinished else path.stem.rpartition("-")[0]
        with FileLock(folder / f".{prefix}.lock"):
            record = _record(place) if place.exists() else None
            if path.exists() and (unfinished or holds(path, None if record is None else record.folder)):
                _delete(path, place)
                deleted.append(path)
    return deleted


def _delete(*paths: Path) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(f"{path} cannot be deleted ({error.strerror}); delete it yourself.") from None


def remembered_digest(file: Path | None, key: str, compute: Callable[[], str]) -> str:
    """The digest of a data set, computed once where its images are decoded images that are kept.

    Args:
        file: The file that the images are mapped from, if they are.
        key: Digest of all that it depends on beside the pixels.
        compute: Computes it.
    """
    return _remembered(file, key, compute, "digests")


def remembered_statistics(file: Path | None, key: str, compute: Callable[[], Statistics]) -> Statistics:
    """Channel means and standard deviations, likewise."""
    return _remembered(file, key, compute, "statistics")


def _remembered(file: Path | None, key: str, compute: Callable[[], Fact], field: str) -> Fact:
    """A fact of one field of what is known, computed and noted if it is not there."""
    record = _current(file)
    if file is None or record is None:
        return compute()
    facts: dict[str, Fact] = getattr(record, field)
    if key in facts:
        return facts[key]
    fact = compute()
    _kept(file.with_suffix(".json"), record.model_copy(update={field: {**facts, key: fact}}))
    return fact


def _current(file: Path | None) -> DecodedImages | None:
    """What is known of a file of pixels, if it is one of ours and has not changed."""
    if file is None or file.parent.name != FOLDER:
        return None
    place = file.with_suffix(".json")
    record = _record(place) if place.exists() else None
    return record if record is not None and record.identity == _identity(file) else None


def _record(path: Path) -> DecodedImages | None:
    """What a file of ours says; nothing where it is damaged, which costs time alone."""
    try:
        return DecodedImages.read(path)
    except RunError as error:
        say(str(error))
        return None


def _opened(path: Path, record: DecodedImages, files: Sequence[Path]) -> Pixels | None:
    """The pixels, unless they are gone or not what was written; a copy with other times is read once to see."""
    try:
        identity = identity_of(path)
        if identity != record.identity:
            if file_digest(path) != record.pixels:
                say(f"{path} was changed after it was written; its images are decoded again.")
                return None
            _kept(path.with_suffix(".json"), record.model_copy(update={"identity": identity}))
        images: Pixels = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError):
        return None
    return images if images.dtype == np.uint8 and images.ndim == 4 and len(images) == len(files) else None


def _kept(path: Path, record: DecodedImages) -> None:
    """Note what is known, where that can be written."""
    with suppress(RunError, ResourceError):
        record.write(path)


def _identity(path: Path) -> tuple[int, int, int, int]:
    return identity_of(path.with_suffix(".npy"))


def _content(digests: Sequence[bytes]) -> str:
    """What names decoded images: the bytes of all files, in order, and the version of what decodes them."""
    state = hashlib.blake2b(pillow_version.encode(), digest_size=16)
    for digest in digests:
        state.update(digest)
    return state.hexdigest()


def _folder_of(files: Sequence[Path]) -> str:
    """The folder that holds all image files, in it or below."""
    folder = os.path.commonpath([path.absolute().parent for path in files])
    return os.fsencode(folder).decode(errors="replace")


def _sources(files: Sequence[Path]) -> str:
    """Names, sizes, times and inodes of image files; a change of content that leaves them all alike is not noticed.

    Raises:
        DataError: One is gone.
    """
    state = hashlib.blake2b(digest_size=16)
    try:
        for path in files:
            state.update(f"{path.name}\0{identity_of(path)}\n".encode(errors="surrogateescape"))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}); repair or remove it.") from None
    return state.hexdigest()
