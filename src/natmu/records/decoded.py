"""Decoded images that are kept: ``decoded/NAME.json`` in the folder of the data, beside the pixels in ``NAME.npy``."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from natmu.records.digests import Digest
from natmu.records.files import File

Identity = tuple[int, int, int, int]


class DecodedImages(File):
    """What is known of decoded images (``decoded/NAME.json``), so that it need not be computed again.

    Attributes:
        sources: Digest of the names, sizes and times of the image files.
        identity: Of the file of pixels: its size, its times of modification and change in nanoseconds, its inode.
        pixels: Digest of the content of that file.
        folder: The folder that holds all the image files, in it or below.
        digests: Of data sets whose images these are, by a digest of all that is not pixels.
        statistics: Channel means and standard deviations of some of the images, by a digest of their places.
    """

    remedy: ClassVar[str] = "its images are decoded again"

    format: Literal[2] = 2
    sources: Digest
    identity: Identity
    pixels: Digest
    folder: str
    digests: dict[str, Digest] = Field(default_factory=dict)
    statistics: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = Field(default_factory=dict)


def identity_of(path: Path) -> Identity:
    """What changes whenever the content of a file does: size, times of modification and change, inode."""
    facts = path.stat()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino
