"""Any map-style data set of (image, label) as labelled images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from natmu.data.dataset_names import class_names_of, file_names
from natmu.data.decoding import to_array
from natmu.data.images import ImageData
from natmu.data.kinds import Growing, to_pixels
from natmu.data.mapped import PixelArray
from natmu.data.pixels import image_data, plain_names, say_if_flat, to_labels, to_nchw
from natmu.data.randomness import refuse_random
from natmu.errors import DataError, some
from natmu.progress import task
from natmu.records.names import SampleNames
from natmu.samples.indices import as_integer
from natmu.types import IntArray

IMAGE_KEYS = ("image", "img", "images", "pixel_values")
LABEL_KEYS = ("label", "labels", "fine_label", "coarse_label", "target", "targets")
"""What items that are mappings call image and label; each has one of the names."""

_PROBES = 8
_TAKEN_WHOLE = "torchvision.datasets."
"""Where the data sets are defined that are what they keep in ``data`` and ``targets``."""


def from_dataset(dataset: object, class_names: Sequence[str] | None = None) -> ImageData:
    """Read a data set into memory as ``(N, C, H, W)``.

    Images of eight bits stay uint8 and are divided by 255 where a model is given them. Floats are handed to the model
    as they are, whatever their range; they are kept in the smallest type that loses nothing.

    Args:
        dataset: One of

            - ``ImageData``, returned as it is (with the names, if given);
            - a pair of arrays or tensors: images ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``, labels ``(N,)``;
            - anything with a length and numbered items (image, label): the image a PIL image, a tensor ``(H, W)`` or
              ``(C, H, W)`` or an array ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, uint8 or floats; the label an
              integer. Items may have more after the label that is not an integer, or may be mappings with one of
              ``IMAGE_KEYS`` and one of ``LABEL_KEYS``, as those of HuggingFace are. torchvision's own classes that
              keep all images in ``data`` and ``targets`` and transform none are taken whole.
        class_names: One name per class. By default those that the data set or one that it is made of tells, as
            ``class_names_of`` finds them, else the numbers.

    Raises:
        DataError: The data set is something else, is empty, or its images or labels do not fit together.

    Examples:
        >>> import numpy as np
        >>> data = from_dataset((np.zeros((4, 1, 8, 8), np.uint8), np.array([0, 1, 0, 1])))
        >>> len(data), data.image_shape
        (4, (1, 8, 8))
    """
    if isinstance(dataset, ImageData):
        names = dataset.class_names if class_names is None else tuple(class_names)
        return replace(dataset, class_names=names)
    if isinstance(dataset, tuple | list) and len(dataset) == 2 and isinstance(dataset[0], Tensor | np.ndarray):
        images, labels = _whole(*dataset)
    else:
        images, labels = _read(dataset)
    data = image_data(images, labels, _names(dataset, labels, class_names))
    say_if_flat(data)
    return replace(data, names=SampleNames.of_source(len(labels), file_names(dataset)))


def _names(dataset: object, labels: IntArray, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        return tuple(str(name) for name in given)
    return class_names_of(dataset, labels) or plain_names(labels)


def _array(values: object) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"A {type(values).__name__} of the data set cannot be read as an array ({error}).") from None


def _whole(images: object, labels: object) -> tuple[PixelArray, IntArray]:
    """Images and labels given as two arrays."""
    pixels = to_nchw(_array(images), "The images")
    return pixels, to_labels(_array(labels), len(pixels), "The labels")


def _read(dataset: Any) -> tuple[PixelArray, IntArray]:  # noqa: ANN401  # checked here
    """Read a data set item by item, or whole where that gives the same."""
    if isinstance(dataset, DataLoader):
        raise DataError("A DataLoader shuffles and cuts batches; give the data set that it loads, its .dataset.")
    numbered = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not numbered or isinstance(dataset, dict | str | bytes | IterableDataset):
        raise DataError(
            f"A {type(dataset).__name__} is not a data set of images with numbered items; give a map-style Dataset of "
            "(image, label), a pair of arrays (images, labels), or ImageData."
        )
    count = len(dataset)
    if count == 0:
        raise DataError("The data set is empty; give one with at least one image.")
    if _taken_whole(dataset, count):
        return _whole(dataset.data, dataset.targets)
    refuse_random(dataset, count, lambda index: _item(dataset, index))
    return _read_items(dataset, count)


def _taken_whole(dataset: Any, count: int) -> bool:  # noqa: ANN401
    """Whether ``data`` and ``targets`` are just what the items would give, in a class that is known to be so."""
    if not getattr(type(dataset).__getitem__, "__module__", "").startswith(_TAKEN_WHOLE):
        return False
    untouched = [getattr(dataset, name, None) is None for name in ("transform", "target_transform", "transforms")]
    data, targets = getattr(dataset, "data", None), getattr(dataset, "targets", None)
    if not all(untouched) or not isinstance(data, np.ndarray | Tensor):
        return False
    if not isinstance(targets, list | np.ndarray | Tensor):
        return False
    if _array(data).dtype != np.uint8 or data.ndim not in (3, 4) or not len(data) == len(targets) == count:
        return False
    pixels = to_nchw(_array(data), "The images")
    probes = {*range(min(count, _PROBES)), count - 1}
    items = [(index, *_item(dataset, index)) for index in probes]
    return all(np.array_equal(image, pixels[at]) and label == as_integer(targets[at]) for at, image, label in items)


def _read_items(dataset: Any, count: int) -> tuple[PixelArray, IntArray]:  # noqa: ANN401
    """Read every item; grey images become RGB where others are in colour."""
    first, _ = _item(dataset, 0)
    images = Growing(count, first.shape)
    labels = np.empty(count, np.int64)
    with task("read the data set", count) as advance:
        for index in range(count):
            image, labels[index] = _item(dataset, index)
            channels, *size = images.array.shape[1:]
            if [*image.shape[1:]] != size:
                raise DataError(
                    f"Image 0 of the data set has shape {first.shape} and image {index} has {image.shape}; resize them."
                )
            if (len(image), channels) == (3, 1):
                images.to_colour()
            elif (len(image), channels) == (1, 3):
                image = np.repeat(image, 3, axis=0)
            elif len(image) != channels:
                raise DataError(f"Image {index} of the data set has {len(image)} channels, others {channels}.")
            images.put(index, image)
            advance()
    return images.array, to_labels(labels, count, "The data set's labels")


def _item(dataset: Any, index: int) -> tuple[PixelArray, int]:  # noqa: ANN401
    """One item as an image ``(C, H, W)`` and a label."""
    image, value = _pair(dataset[index], index)
    label = as_integer(value)
    if label is None:
        batch = getattr(image, "ndim", 0) == 4 and getattr(value, "ndim", 0) == 1
        remedy = "give the data set before it is cut into batches" if batch else "labels must be integers"
        raise DataError(f"Label {index} of the data set is {str(value)[:40]!r}; {remedy}.")
    return _pixels(image, index), label


def _pair(item: object, index: int) -> tuple[object, object]:
    """Image and label of an item, where it is clear which they are."""
    what = f"Item {index} of the data set"
    if isinstance(item, Mapping):
        images, labels = ([key for key in keys if key in item] for keys in (IMAGE_KEYS, LABEL_KEYS))
        if len(images) != 1 or len(labels) != 1:
            raise DataError(
                f"{what} has {some([*item], 10)}, of which not exactly one is an image "
                f"({', '.join(IMAGE_KEYS)}) and one a label ({', '.join(LABEL_KEYS)}); rename or remove columns."
            )
        return item[images[0]], item[labels[0]]
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise DataError(f"{what} is a {type(item).__name__}, not a pair (image, label).")
    if any(number is not None and number != index for number in map(as_integer, item[2:])):
        raise DataError(f"{what} has more than one integer that may be the label; give pairs (image, label).")
    return item[0], item[1]


def _pixels(image: object, index: int) -> PixelArray:
    """One image as ``(C, H, W)``."""
    what = f"Image {index} of the data set"
    if isinstance(image, Image.Image) and image.mode == "F":
        image = np.asarray(image)
    if isinstance(image, Image.Image):
        try:
            return to_array(image)
        except ValueError as error:
            raise DataError(
                f"{what} cannot be used ({error}); give it as floats, scaled as the model takes them, or convert it to "
                "eight bits per channel."
            ) from None
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(f"{what} is a {type(image).__name__}; images must be PIL images, tensors or arrays.")
    array = _array(image)
    if array.ndim not in (2, 3) or not array.size:
        raise DataError(f"{what} has shape {array.shape}; images must be (H, W), (C, H, W) or, as arrays, (H, W, C).")
    known_order = isinstance(image, Tensor) and array.ndim == 3
    batch = to_pixels(array[None], what) if known_order else to_nchw(array[None], what)
    return np.asarray(batch[0])
