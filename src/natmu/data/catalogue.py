"""Every source of data by name or path, and how it is cut to what a run asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts, load_arrays
from natmu.data.cifar import load_cifar10, load_cifar100
from natmu.data.digits import load_digits
from natmu.data.folders import load_folder
from natmu.data.images import ImageData, Splits
from natmu.data.pixels import channel_statistics, resized
from natmu.data.sampling import FIXED_SEED, balanced_draw, fixed_fifth
from natmu.data.tiny_imagenet import load_tiny_imagenet
from natmu.errors import DataError, hint
from natmu.types import IntArray

_Statistics = tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class SourceInfo:
    """A source that is known by name.

    Attributes:
        name: What to ask ``load`` for.
        description: One line.
        shape: Channels, height and width of an image.
        classes: Number of classes of the model.
        train: Number of training images.
        test: Number of test images.
        downloadable: Whether ``download`` can get it; False means that it comes with a dependency.
    """

    name: str
    description: str
    shape: tuple[int, int, int]
    classes: int
    train: int
    test: int
    downloadable: bool


@dataclass(frozen=True)
class _Source:
    info: SourceInfo
    read: Callable[[Path, int | None], tuple[ImageData, ImageData]]
    statistics: _Statistics | None = None


def _catalogue() -> dict[str, _Source]:
    """The named sources; means and standard deviations are the customary ones where there are such."""
    cifar10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    cifar100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    tiny = ((0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816))
    rgb32, rgb64 = (3, 32, 32), (3, 64, 64)
    sources = (
        _Source(
            SourceInfo("digits", "handwritten digits, part of scikit-learn", (1, 8, 8), 10, 1438, 359, False),
            lambda _, __: load_digits(),
        ),
        _Source(
            SourceInfo("cifar10", "photographs of ten kinds of things", rgb32, 10, 50_000, 10_000, True),
            lambda data_dir, _: load_cifar10(data_dir),
            cifar10,
        ),
        _Source(
            SourceInfo("cifar100", "photographs of a hundred kinds of things", rgb32, 100, 50_000, 10_000, True),
            lambda data_dir, _: load_cifar100(data_dir, "fine"),
            cifar100,
        ),
        _Source(
            SourceInfo("cifar20", "CIFAR-100 labelled by its 20 superclasses", rgb32, 20, 50_000, 10_000, True),
            lambda data_dir, _: load_cifar100(data_dir, "coarse"),
            cifar100,
        ),
        _Source(
            SourceInfo("tiny-imagenet", "photographs of 200 ImageNet classes", rgb64, 200, 100_000, 10_000, True),
            load_tiny_imagenet,
            tiny,
        ),
    )
    return {source.info.name: source for source in sources}


def sources() -> tuple[SourceInfo, ...]:
    """The sources known by name, the one that needs no download first.

    >>> [info.name for info in sources()]
    ['digits', 'cifar10', 'cifar100', 'cifar20', 'tiny-imagenet']
    """
    return tuple(source.info for source in _catalogue().values())


def load(
    source: str,
    data_dir: Path,
    *,
    image_size: int | None = None,
    train_size: int | None = None,
    holdout: bool = False,
) -> Splits:
    """Load a data set.

    Args:
        source: A name of ``sources()``, or the path of a folder of images per class, an ``.npz`` file, or a folder of
            ``.npy`` files; see ``load_folder`` and ``load_arrays`` for their layouts.
        data_dir: Where named data sets are kept.
        image_size: Side of the square that images are resized to, bilinearly; needed where their sizes differ.
        train_size: Keep this many training images: a fixed class-balanced random subset.
        holdout: Move a fixed class-balanced random fifth of the test set to ``Splits.holdout``, unless the data set
            brings a holdout of its own.

    Returns:
        uint8 images, in memory or mapped from disk. Channel means and standard deviations are the customary ones for
        the CIFARs and Tiny-ImageNet, and computed from the training images otherwise.

    Raises:
        DataError: The data cannot be found or read, or a size is out of range.
    """
    if image_size is not None and not 1 <= image_size <= 4096:
        raise DataError(f"The image size must be from 1 to 4096 pixels, not {image_size}.")
    known = _catalogue().get(source)
    parts = Parts(*known.read(data_dir, image_size)) if known else _load_path(Path(source), data_dir, image_size)
    parts = _arranged(parts, source, image_size, train_size, holdout)
    mean, std = (known and known.statistics) or channel_statistics(parts.train.images)
    name = known.info.name if known else Path(source).resolve().stem
    return Splits(name, parts.train, parts.test, mean, std, parts.holdout, parts.own)


def _arranged(parts: Parts, source: str, image_size: int | None, train_size: int | None, holdout: bool) -> Parts:
    """The parts cut and resized as asked, all of one shape."""
    kept = _reduced(parts.train, train_size)
    train, test, held = parts.train if kept is None else parts.train.subset(kept), parts.test, parts.holdout
    rest = None
    if holdout and held is None:
        rest, fifth = _divided(test)
        test, held = test.subset(rest), test.subset(fifth)
    own = None if parts.own is None else parts.own.at(kept, rest)
    if image_size is not None:
        train, test = _at_size(train, image_size), _at_size(test, image_size)
        held = None if held is None else _at_size(held, image_size)
    shapes = [part.image_shape for part in (train, test, held) if part is not None]
    if len(set(shapes)) > 1:
        other = next(shape for shape in shapes if shape != shapes[0])
        raise DataError(
            f"Training images of {source} are {shapes[0]} (channels, height, width), others {other}; pass "
            "--image-size where sizes differ, and give all the same channels."
        )
    return Parts(train, test, held, own)


def _load_path(path: Path, data_dir: Path, image_size: int | None) -> Parts:
    """Read the user's own data."""
    try:
        if path.is_dir():
            return load_arrays(path) if any(path.glob("*.npy")) else load_folder(path, data_dir, image_size)
        if path.is_file() and path.suffix.lower() == ".npz":
            return load_arrays(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    names = [info.name for info in sources()]
    if path.is_file():
        raise DataError(
            f"{path} is not data that is understood; give an .npz file or a folder of .npy files or images."
        )
    raise DataError(
        f"There is no data set or path {str(path)!r}{hint(str(path), names)}; the names are {', '.join(names)}, and a "
        "folder of images per class, an .npz file or a folder of .npy files is taken too."
    )


def _reduced(train: ImageData, size: int | None) -> IntArray | None:
    """Positions of a fixed class-balanced subset of the training data; None for all."""
    if size is None or size == len(train):
        return None
    if not 1 <= size <= len(train):
        raise DataError(f"The training size must be from 1 to {len(train)}, not {size}.")
    return balanced_draw(train.labels.numpy(), size, np.random.default_rng(FIXED_SEED))


def _divided(test: ImageData) -> tuple[IntArray, IntArray]:
    """Positions of four fifths of the test set, and of a fifth for tuning."""
    if len(test) < 2:
        raise DataError("The test set has a single image, of which no holdout can be taken; add test images.")
    return fixed_fifth(test.labels.numpy())


def _at_size(data: ImageData, size: int) -> ImageData:
    return replace(data, images=resized(data.images, size))
