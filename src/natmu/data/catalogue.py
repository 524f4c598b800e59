"""Every source of data by name or path, and how it is cut to what a run asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts, Unseen, load_arrays
from natmu.data.cifar import load_cifar10, load_cifar100
from natmu.data.class_order import ClassNames, listed
from natmu.data.decoding import AS_IT_IS
from natmu.data.digits import load_digits
from natmu.data.factories import load_factory
from natmu.data.folders import load_folder
from natmu.data.forms import Form
from natmu.data.images import ImageData, Splits
from natmu.data.kinds import of_one_kind
from natmu.data.manifests import load_manifest
from natmu.data.own import OwnParts
from natmu.data.pixels import channel_statistics, formed, say_if_flat
from natmu.data.sampling import FIXED_SEED, balanced_draw, fixed_part
from natmu.data.tiny_imagenet import load_tiny_imagenet
from natmu.errors import DataError, hint
from natmu.functions import is_function_name
from natmu.progress import decide, say
from natmu.records.settings import ClassOrder
from natmu.user_files import require_file

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

    Examples:
        >>> digits = sources()[0]
        >>> digits.name, digits.shape, digits.classes, digits.downloadable
        ('digits', (1, 8, 8), 10, False)
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
    read: Callable[[Path, Form], tuple[Parts, Form]]
    statistics: _Statistics = ((), ())


def _catalogue() -> dict[str, _Source]:
    """The named sources; means and standard deviations are the customary ones where there are such."""
    cifar10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    cifar100 = ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    tiny = ((0.4802, 0.4481, 0.3975), (0.2764, 0.2689, 0.2816))
    rgb32, rgb64 = (3, 32, 32), (3, 64, 64)
    sources = (
        _Source(
            SourceInfo("digits", "handwritten digits, part of scikit-learn", (1, 8, 8), 10, 1438, 359, False),
            lambda _, form: (Parts(*load_digits()), form),
        ),
        _Source(
            SourceInfo("cifar10", "photographs of ten kinds of things", rgb32, 10, 50_000, 10_000, True),
            lambda data_dir, form: (Parts(*load_cifar10(data_dir)), form),
            cifar10,
        ),
        _Source(
            SourceInfo("cifar100", "photographs of a hundred kinds of things", rgb32, 100, 50_000, 10_000, True),
            lambda data_dir, form: (Parts(*load_cifar100(data_dir, "fine")), form),
            cifar100,
        ),
        _Source(
            SourceInfo("cifar20", "CIFAR-100 labelled by its 20 superclasses", rgb32, 20, 50_000, 10_000, True),
            lambda data_dir, form: (Parts(*load_cifar100(data_dir, "coarse")), form),
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

    Examples:
        >>> [info.name for info in sources()]
        ['digits', 'cifar10', 'cifar100', 'cifar20', 'tiny-imagenet']
    """
    return tuple(source.info for source in _catalogue().values())


def load(
    source: str,
    data_dir: Path,
    *,
    image_size: int | None = None,
    resize: int | None = None,
    crop: int | None = None,
    channels: int | None = None,
    train_size: int | None = None,
    holdout: bool = False,
    test: str | None = None,
    test_fraction: float | None = None,
    classes: tuple[str, ...] | None = None,
    class_order: ClassOrder | None = None,
) -> Splits:
    """Load a data set.

    Args:
        source: A name of ``sources()``, or the path of a folder of images per class, a ``.csv`` table of images, an
            ``.npz`` file, or a folder of ``.npy`` files, or ``package.module:function``; see ``load_folder``,
            ``load_manifest``, ``load_arrays`` and ``load_factory``.
        data_dir: Where named data sets are kept, and, in its folder ``decoded``, the images of large folders.
        image_size: Side of the square that images are resized to, bilinearly.
        resize: What the shorter side of images is resized to, in place of ``image_size``.
        crop: Side of the square that is then cut out of the middle; black is put around smaller images.
        channels: 1 for grey images, 3 for colour; by default as they are.
        train_size: Keep this many training images: a fixed class-balanced random subset.
        holdout: Move a fixed class-balanced random fifth of the test set to ``Splits.holdout``, unless the data set
            brings a holdout of its own.
        test: Path of the test data where the source has none, of the same kind as the source.
        test_fraction: Where the source has no test data, set this fixed class-balanced random part of it apart.
        classes: Class names in the order of their numbers, for the user's own data.
        class_order: How class folders are sorted; as text if None.

    Returns:
        Images, in memory or mapped from disk. Channel means and standard deviations are the customary ones for
        the CIFARs and Tiny-ImageNet, and computed from the training images otherwise.

    Raises:
        DataError: The data cannot be found or read, has no test part, or a size is out of range.

    Examples:
        >>> from pathlib import Path
        >>> splits = load("digits", Path("data"), train_size=100)
        >>> len(splits.train), splits.train.image_shape
        (100, (1, 8, 8))
    """
    form = Form(image_size, resize, crop, channels)
    known = _catalogue().get(source)
    by_function = is_function_name(source) and not Path(source).exists()
    if (known or by_function) and any(value is not None for value in (test, test_fraction, classes, class_order)):
        raise DataError(
            f"{source} has test data and an order of classes of its own; leave --test-data, --test-fraction, --classes "
            "and --class-order out."
        )
    if known is not None:
        whole, rest = known.read(data_dir, form)
    elif by_function:
        whole, rest = load_factory(source), form
    else:
        names = ClassNames(classes, class_order)
        unseen = Unseen(None if test is None else Path(test), test_fraction)
        whole, rest = _load_path(Path(source), data_dir, form, names, unseen)
    train, test_part = _divided_once(whole, test_fraction)
    held = whole.holdout
    if holdout and held is None:
        test_part, held = _divided(test_part)
        decide(
            f"A fixed random fifth of the test set, {len(held)} samples, is the holdout, and left out of test scores."
        )
    train, test_part, held = _arranged(_reduced(train, train_size), test_part, held, source, rest)
    customary = known.statistics if known and len(known.statistics[0]) == train.image_shape[0] else None
    mean, std = customary or channel_statistics(train.images)
    name = source if known or by_function else Path(source).resolve().stem
    if known is None:
        _say_what_was_chosen(name, train, test_part)
    return Splits(name, train, test_part, mean, std, held, _own(whole.own, train, test_part))


def _divided_once(parts: Parts, fraction: float | None) -> tuple[ImageData, ImageData]:
    """Training and test samples, of which the latter may be asked for as a part of all."""
    if parts.test is not None:
        return parts.train, parts.test
    assert fraction is not None, "data without a test part was refused"
    rest, part = fixed_part(parts.train.labels.numpy(), fraction)
    if not len(rest):
        raise DataError(
            "The data has a single sample, so it cannot be divided into training and test set; add samples."
        )
    decide(f"A fixed class-balanced part of the data, {len(part)} samples, is the test set, as --test-fraction asks.")
    return parts.train.subset(rest), parts.train.subset(part)


def _say_what_was_chosen(name: str, train: ImageData, test: ImageData) -> None:
    """Leave a line with the classes in their order and the sizes of the parts."""
    counts = train.labels.bincount(minlength=train.num_classes).tolist()
    say(f"{name}: {len(train)} training and {len(test)} test samples; classes in order, with training samples:")
    say(f"  {listed(train.class_names, counts)}")


def _own(own: OwnParts | None, train: ImageData, test: ImageData) -> OwnParts | None:
    """The user's own samples of the parts, whatever was left out of them."""
    if own is None:
        return None
    rows = (part.sample_names.positions for part in (train, test))
    return own.at(*rows)


def _arranged(
    train: ImageData, test: ImageData, held: ImageData | None, source: str, form: Form
) -> tuple[ImageData, ImageData, ImageData | None]:
    """The parts brought to a form, all of one shape; the names of the training samples know those of the others."""
    train, test = _in_form(train, form), _in_form(test, form)
    held = None if held is None else _in_form(held, form)
    train, test, *others = of_one_kind([part for part in (train, test, held) if part is not None], source)
    held = others[0] if others else None
    say_if_flat(train)
    shapes = [part.image_shape for part in (train, test, held) if part is not None]
    if len(set(shapes)) > 1:
        other = next(shape for shape in shapes if shape != shapes[0])
        raise DataError(
            f"Training images of {source} are {shapes[0]} (channels, height, width), others {other}; pass --image-size "
            "or --crop if sizes differ, and --channels 1 or 3 if channels differ."
        )
    beside = {"test": test.sample_names, "holdout": None if held is None else held.sample_names}
    return replace(train, names=train.sample_names.beside(**beside)), test, held


def _load_path(path: Path, data_dir: Path, form: Form, classes: ClassNames, unseen: Unseen) -> tuple[Parts, Form]:
    """Read the user's own data; also says what of the form is still to be done."""
    try:
        if not path.is_dir() and (path.exists() or path.is_symlink()):
            require_file(path)
        kind = _kind(path)
        if unseen.path is not None and kind and _kind(unseen.path) != kind:
            raise DataError(f"{unseen.path} is no {kind}; give test data of the same kind as {path}.")
        if kind == "folder of images":
            return load_folder(path, data_dir, form, classes, unseen), AS_IT_IS
        if kind == "table of images":
            return load_manifest(path, data_dir, form, classes, unseen), AS_IT_IS
        if kind == "file or folder of arrays":
            return load_arrays(path, classes, unseen), form
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    names = [info.name for info in sources()]
    if path.is_file():
        raise DataError(
            f"{path} is not data that natmu can read; give an .npz file, a .csv table of images, or a folder of .npy "
            "files or images."
        )
    raise DataError(
        f"There is no data set or path {str(path)!r}{hint(str(path), names)}; the names are {', '.join(names)}, or "
        "give a folder of images per class, a .csv table of images, an .npz file, a folder of .npy files or "
        "package.module:function."
    )


def _kind(path: Path) -> str:
    """What kind of data lies at a path; nothing where none is there."""
    if path.is_dir():
        return "file or folder of arrays" if any(path.glob("*.npy")) else "folder of images"
    kinds = {".npz": "file or folder of arrays", ".csv": "table of images"}
    return kinds.get(path.suffix.lower(), "") if path.is_file() else ""


def _reduced(train: ImageData, size: int | None) -> ImageData:
    """A fixed class-balanced subset of the training data."""
    if size is None or size == len(train):
        return train
    if not 1 <= size <= len(train):
        raise DataError(f"The training size must be from 1 to {len(train)}, not {size}.")
    return train.subset(balanced_draw(train.labels.numpy(), size, np.random.default_rng(FIXED_SEED)))


def _divided(test: ImageData) -> tuple[ImageData, ImageData]:
    """Four fifths of the test set, and a fifth for tuning."""
    if len(test) < 2:
        raise DataError("The test set has a single image, so no holdout can be taken from it; add test images.")
    rest, fifth = fixed_part(test.labels.numpy())
    return test.subset(rest), test.subset(fifth)


def _in_form(data: ImageData, form: Form) -> ImageData:
    images = formed(data.images, form)
    return data if images is data.images else replace(data, images=images)
