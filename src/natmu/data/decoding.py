"""Image files to uint8 arrays, with Pillow and a few threads; once, where there are many."""

from __future__ import annotations

import hashlib
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from natmu.data.images import ByteArray
from natmu.errors import DataError
from natmu.progress import showing, task

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY = frozenset({"1", "L", "LA", "La"})
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
_CHUNK = 64


@dataclass(frozen=True)
class Form:
    """What all images of a data set are brought to.

    Attributes:
        channels: 1 or 3.
        height: Pixels.
        width: Pixels.
    """

    channels: int
    height: int
    width: int


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder and below, known by their endings, in sorted order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


@contextmanager
def _large_ones_welcome() -> Iterator[None]:
    """Without Pillow's warning of images above 89 megapixels; those of twice that size it refuses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An open image file; whatever a damaged one makes Pillow raise becomes one sentence."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except _FAULTS as error:
        raise DataError(f"{path} cannot be read as an image ({error}); repair or remove it.") from None


def to_array(image: Image.Image, channels: int | None = None, size: tuple[int, int] | None = None) -> ByteArray:
    """One Pillow image as uint8 ``(C, H, W)``; transparency is dropped.

    Args:
        image: An image of eight bits (or fewer) per channel.
        channels: 1 or 3; by default 1 for a grey image and 3 for any other.
        size: Width and height to bring it to by Pillow's bilinear filter; by default its own.

    Raises:
        ValueError: The image has more than eight bits per channel.
    """
    if image.mode not in _GREY | _COLOUR:
        raise ValueError(f"mode {image.mode} is not eight bits per channel")
    channels = channels or channels_of(image)
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None and image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def channels_of(image: Image.Image) -> int:
    """1 for a grey image, 3 for any other."""
    return 1 if image.mode in _GREY else 3


def common_form(files: Sequence[Path], image_size: int | None) -> Form:
    """Find the form that all files can be brought to, from their heads alone.

    Args:
        files: At least one image file.
        image_size: Side of the square that all are resized to; None where all have the same size already.

    Returns:
        One channel when all images are grey, else three.

    Raises:
        DataError: A file is damaged, or sizes differ and no ``image_size`` is given.
    """
    first_size: tuple[int, int] | None = None
    channels = 1
    for path in files:
        with _large_ones_welcome(), _opened(path) as image:
            size, channels = image.size, max(channels, channels_of(image))
        first_size = first_size or size
        if image_size is None and size != first_size:
            raise DataError(
                f"Images differ in size: {files[0]} is {first_size[0]}x{first_size[1]}, {path} is {size[0]}x{size[1]}; "
                "pass --image-size to resize all of them to a square."
            )
    width, height = (image_size, image_size) if image_size else (first_size or (0, 0))
    return Form(channels, height, width)


def decode(files: Sequence[Path], form: Form, cache_dir: Path | None = None) -> ByteArray:
    """Decode image files.

    Args:
        files: Image files; those of another size are resized by Pillow's bilinear filter.
        form: What to bring them to.
        cache_dir: Where to keep the decoded images. They are then decoded once and mapped from disk, in this call and
            in later ones for the same files; the file is complete or absent, never half-written.

    Returns:
        uint8 ``(N, C, H, W)``, in memory, or mapped where there is a ``cache_dir``.

    Raises:
        DataError: A file is damaged, or the cache cannot be written.
    """
    shape = (len(files), form.channels, form.height, form.width)
    if cache_dir is None:
        images = np.empty(shape, np.uint8)
        _fill(images, files, form)
        return images
    cached = cache_dir / f"natmu-decoded-{_digest(files, form)}.npy"
    try:
        if not cached.exists():
            _write_cache(cached, shape, files, form)
        return np.lib.format.open_memmap(cached, mode="r")
    except OSError as error:
        raise DataError(
            f"Decoded images cannot be kept in {cache_dir} ({error}); make room or choose another."
        ) from None


def _write_cache(cached: Path, shape: tuple[int, int, int, int], files: Sequence[Path], form: Form) -> None:
    """Decode to a temporary file, and rename it when complete."""
    handle, name = tempfile.mkstemp(prefix=".natmu-", suffix=".tmp", dir=cached.parent)
    os.close(handle)
    try:
        images = np.lib.format.open_memmap(name, mode="w+", dtype=np.uint8, shape=shape)
        _fill(images, files, form)
        images.flush()
        Path(name).replace(cached)
    finally:
        Path(name).unlink(missing_ok=True)


def _fill(images: ByteArray, files: Sequence[Path], form: Form) -> None:
    """Decode every file into its row; Pillow releases the interpreter lock, so threads help."""

    def decode_from(start: int) -> int:
        rows = range(start, min(start + _CHUNK, len(files)))
        for row in rows:
            with _opened(files[row]) as image:
                images[row] = to_array(image, form.channels, (form.width, form.height))
        return len(rows)

    with (
        _large_ones_welcome(),
        ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool,
        showing(),
        task("decode images", len(files)) as advance,
    ):
        for done in pool.map(decode_from, range(0, len(files), _CHUNK)):
            advance(done)


def _digest(files: Sequence[Path], form: Form) -> str:
    """Names, sizes and times of the files and the form asked for: a change of any is another cache.

    Of each path only the last parts count, so that the cache is found again however the folder is called.
    """
    state = hashlib.blake2b(repr(form).encode(), digest_size=8)
    for path in files:
        status = path.stat()
        name = "/".join(path.parts[-4:])
        state.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return state.hexdigest()
