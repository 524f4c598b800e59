"""Image files to uint8 arrays, with Pillow and several threads; once, where there are many."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageSequence
from rich.filesize import decimal

from natmu.data.decoded import FOLDER, Shelf
from natmu.data.forms import GREY, Form, Size, channels_of
from natmu.data.images import ByteArray
from natmu.data.reachable import require_reachable, walk
from natmu.errors import DataError
from natmu.progress import say, showing, task
from natmu.user_files import pointer_fault, read_file

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"})
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    ArithmeticError,
    LookupError,
    EOFError,
    MemoryError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_CHUNK = 16
_THREADS = 16
_PAGES = 1000
"""Pages and frames of a file that are looked at, at most."""

FEW_FILES = 500
"""Files that are decoded anew each time, because that takes a second or two."""

IN_MEMORY_BYTES = 2**26
"""Bytes of images that are held in memory; more are mapped from disk, where they can be kept there."""

_WITHOUT_CACHE_BYTES = 2**31
"""Bytes of images that are held in memory all the same where they cannot be kept on disk."""

AS_IT_IS = Form()
Shape = tuple[int, int, int]
"""Channels, height and width."""


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder and below, known by their endings, in sorted order; links to nothing among them."""
    files = (root / name for root, names in walk(folder) for name in names)
    return sorted(path for path in files if path.suffix.lower() in SUFFIXES)


@contextmanager
def large_ones_welcome() -> Iterator[None]:
    """Without Pillow's warning of images above 89 megapixels; those of twice that size it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path, content: IO[bytes] | None = None) -> Iterator[Image.Image]:
    """An open image file, or its content; whatever a damaged one makes Pillow raise becomes one sentence."""
    try:
        with Image.open(content or path, formats=_FORMATS) as image:
            yield image
    except _FAULTS as error:
        if (fault := pointer_fault(path)) is not None:
            raise DataError(fault) from None
        raise DataError(f"{path} cannot be read as an image ({error}); repair or remove it.") from None


def to_array(image: Image.Image, channels: int | None = None, form: Form = AS_IT_IS) -> ByteArray:
    """One Pillow image as uint8 ``(C, H, W)``; transparency is dropped.

    Args:
        image: An image of eight bits (or fewer) per channel.
        channels: 1 or 3; by default 1 for a grey image and 3 for any other.
        form: The size to bring it to.

    Raises:
        ValueError: The image has more than eight bits per channel.
    """
    if image.mode not in GREY | _COLOUR:
        raise ValueError(f"mode {image.mode} is not eight bits per channel")
    channels = channels or channels_of(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    pixels = np.asarray(form.of(image.convert("L" if channels == 1 else "RGB")))
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def pictures_in(content: IO[bytes], channels: int, form: Form, size: Size) -> list[ByteArray]:
    """The pictures of a file, whatever it is called: one, or all pages and frames of those that have several.

    Call it within ``large_ones_welcome``.

    Args:
        content: The file.
        channels: 1 or 3.
        form: What they are brought to.
        size: Width and height that they must have then; others are passed over.

    Returns:
        uint8 ``(C, H, W)`` each; none where the file is no image of eight bits per channel, or damaged.
    """
    found: list[ByteArray] = []
    with suppress(*_FAULTS), Image.open(content, formats=_FORMATS) as image:
        pages = islice(ImageSequence.Iterator(image), _PAGES)
        found += (to_array(page, channels, form) for page in pages if form.size_of(page.size) == size)
    return found


def common_shape(files: Sequence[Path], form: Form) -> Shape:
    """Channels, height and width that all files have in a form, from their heads alone.

    Args:
        files: At least one image file.
        form: What they are brought to.

    Returns:
        One channel when all images are grey, else three, unless the form says how many.

    Raises:
        DataError: A file is damaged or has more than eight bits per channel, or sizes differ in this form.
    """
    first: Size | None = None
    channels = 1
    with large_ones_welcome():
        for path in files:
            with _opened(path) as image:
                original, channels = image.size, max(channels, channels_of(image))
                _refuse_deep(path, image)
            size = form.size_of(original)
            first = first or size
            if size != first:
                raise DataError(
                    f"Images differ in size: {files[0]} is {first[0]}x{first[1]}{_in(form)}, {path} is "
                    f"{size[0]}x{size[1]}; {_remedy(form)}."
                )
    width, height = first or (0, 0)
    return form.channels or channels, height, width


def _refuse_deep(path: Path, image: Image.Image) -> None:
    """Name an image that has more than eight bits per channel."""
    if image.mode not in GREY | _COLOUR:
        raise DataError(
            f"{path} has more than eight bits per channel (mode {image.mode}). Save it with eight bits, or give the "
            "images as an array of floats in a .npy or .npz file."
        )


def _in(form: Form) -> str:
    return f" with its shorter side at {form.resize}" if form.resize else ""


def _remedy(form: Form) -> str:
    if form.resize:
        return f"pass --crop {form.resize} too, to keep the square in the middle"
    return "pass --resize 256 --crop 224 to cut all of them to a square, or --image-size to press them into one"


def decode(files: Sequence[Path], form: Form = AS_IT_IS, cache_dir: Path | None = None) -> ByteArray:
    """Decode image files.

    Images are read as torchvision's ``ImageFolder`` reads them: turned to RGB (or grey), and not turned by what their
    EXIF data say of the camera.

    Args:
        files: Image files.
        form: What to bring them to.
        cache_dir: Folder of data. More than ``FEW_FILES`` files, or those that take more than ``IN_MEMORY_BYTES``, are
            decoded once and kept in ``cache_dir/decoded``, where later calls find them by the content of the files.

    Returns:
        uint8 ``(N, C, H, W)``, in memory, or mapped where they are kept and take more than ``IN_MEMORY_BYTES``.

    Raises:
        DataError: A file cannot be reached or is damaged, sizes differ in this form, or the images can neither be kept
            nor held in memory.
    """
    require_reachable(files)
    shape = common_shape(files, form) if cache_dir is None or len(files) <= FEW_FILES else None
    if cache_dir is None or (shape is not None and len(files) * math.prod(shape) <= IN_MEMORY_BYTES):
        return _in_memory(files, form, shape)
    shelf = Shelf(cache_dir / FOLDER, files, form)
    try:
        images = shelf.images(lambda path: _written(path, files, form), lambda: _digests(files))
    except OSError as error:
        shape = common_shape(files, form)
        if len(files) * math.prod(shape) > _WITHOUT_CACHE_BYTES:
            raise DataError(
                f"Decoded images cannot be kept in {shelf.folder} ({error.strerror or error}); make room there, or "
                "choose another folder with --data-dir."
            ) from None
        say(f"decoded images cannot be kept in {shelf.folder} ({error.strerror or error}), so they stay in memory")
        return _in_memory(files, form, shape)
    return images if images.nbytes > IN_MEMORY_BYTES else np.array(images)


def _in_memory(files: Sequence[Path], form: Form, shape: Shape | None) -> ByteArray:
    """Decode into memory."""
    images = np.empty((len(files), *(shape or common_shape(files, form))), np.uint8)
    _fill(images, files, form)
    return images


def _written(path: Path, files: Sequence[Path], form: Form) -> Sequence[bytes]:
    """Decode into a ``.npy`` file, whose room is taken first, and return the digest of the bytes of each image file."""
    shape = (len(files), *common_shape(files, form))
    start = time.monotonic()
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a page without room on the disk would end the process
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, images.offset + images.nbytes)
    digests = _fill(images, files, form)
    images.flush()
    seconds = time.monotonic() - start
    say(
        f"decode images: {len(files)} in {seconds:.0f} s ({len(files) / seconds:.0f} a second), "
        f"{decimal(images.nbytes)} kept in {path.parent}"
    )
    return digests


def _fill(images: ByteArray, files: Sequence[Path], form: Form) -> list[bytes]:
    """Decode every file into its row, and return the digest of its bytes."""

    def decoded(row: int) -> bytes:
        content = _bytes(files[row])
        with _opened(files[row], io.BytesIO(content)) as image:
            _refuse_deep(files[row], image)
            images[row] = to_array(image, images.shape[1], form)
        return _digest(content)

    with large_ones_welcome():
        return _by_threads(decoded, len(files), "decode images")


def _digests(files: Sequence[Path]) -> list[bytes]:
    """The digest of the bytes of each file."""
    return _by_threads(lambda row: _digest(_bytes(files[row])), len(files), "compare images")


def _by_threads(work: Callable[[int], bytes], count: int, label: str) -> list[bytes]:
    """Do some work on every file, with progress; Pillow and hashlib release the interpreter's lock, so threads help."""

    def chunk(start: int) -> list[bytes]:
        return [work(row) for row in range(start, min(start + _CHUNK, count))]

    results: list[bytes] = []
    with (
        ThreadPoolExecutor(min(os.cpu_count() or 1, _THREADS)) as pool,
        showing(),
        task(label, count, unit="images") as advance,
    ):
        for part in pool.map(chunk, range(0, count, _CHUNK)):
            results += part
            advance(len(part))
    return results


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image ({error}); repair or remove it.") from None


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()
