"""Any map-style data set of (image, label) as labelled uint8 images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import Tensor

from natmu.data.dataset_names import class_names_of, file_names
from natmu.data.decoding import to_array
from natmu.data.images import ByteArray, ImageData
from natmu.data.names import SampleNames
from natmu.data.pixels import as_integer, image_data, plain_names, to_bytes, to_labels, to_nchw
from natmu.errors import DataError
from natmu.types import IntArray

_PROBES = 8


def from_dataset(dataset: object, class_names: Sequence[str] | None = None) -> ImageData:
    """Read a data set into memory as uint8 ``(N, C, H, W)``.

    Args:
        dataset: One of

            - ``ImageData``, returned as it is (with the names, if given);
            - a pair of arrays or tensors: images ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``, labels ``(N,)``;
            - anything with a length and numbered items (image, label): the image a PIL image, a tensor ``(H, W)`` or
              ``(C, H, W)`` or an array ``(H, W)``, ``(C, H, W)`` or ``(H, W, C)``, uint8 or floats in ``[0, 1]``;
              the label an integer. One that keeps all its images in ``data`` and ``targets`` and transforms none, as
              torchvision's do, is taken whole.
        class_names: One name per class. By default those that the data set or one that it is made of tells, as
            ``class_names_of`` finds them, else the numbers.

    Raises:
        DataError: The data set is something else, is empty, or its images or labels do not fit together.
    """
    if isinstance(dataset, ImageData):
        names = dataset.class_names if class_names is None else tuple(class_names)
        return replace(dataset, class_names=names)
    if isinstance(dataset, tuple | list) and len(dataset) == 2 and isinstance(dataset[0], Tensor | np.ndarray):
        images, labels = _whole(*dataset)
    else:
        images, labels = _read(dataset)
    data = image_data(images, labels, _names(dataset, labels, class_names))
    return replace(data, names=SampleNames.of_source(len(labels), file_names(dataset)))


def _names(dataset: object, labels: IntArray, given: Sequence[str] | None) -> tuple[str, ...]:
    if given is not None:
        return tuple(str(name) for name in given)
    return class_names_of(dataset, labels) or plain_names(labels)


def _array(values: object) -> npt.NDArray[Any]:
    if isinstance(values, np.ndarray):
        return values
    try:
        return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    except (TypeError, ValueError) as error:
        raise DataError(f"A {type(values).__name__} of the data set cannot be read as an array ({error}).") from None


def _whole(images: object, labels: object) -> tuple[ByteArray, IntArray]:
    """Images and labels given as two arrays."""
    pixels = to_nchw(_array(images), "The images")
    return pixels, to_labels(_array(labels), len(pixels), "The labels")


def _read(dataset: Any) -> tuple[ByteArray, IntArray]:  # noqa: ANN401  # checked here
    """Read a data set item by item, or whole where that gives the same."""
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")) or isinstance(dataset, dict | str | bytes):
        raise DataError(
            f"A {type(dataset).__name__} is not a data set of images; give a map-style Dataset of (image, label), a "
            "pair of arrays (images, labels), or ImageData."
        )
    count = len(dataset)
    if count == 0:
        raise DataError("The data set is empty; give one with at least one image.")
    _refuse_random(dataset, count)
    if _taken_whole(dataset, count):
        return _whole(dataset.data, dataset.targets)
    return _read_items(dataset, count)


def _refuse_random(dataset: Any, count: int) -> None:  # noqa: ANN401
    """Refuse images that change from one reading to the next: they would be frozen as read."""
    for index in range(min(count, _PROBES)):
        if not np.array_equal(_item(dataset, index)[0], _item(dataset, index)[0]):
            raise DataError(
                f"Image {index} of the data set changes from one reading to the next; remove its random transforms "
                "(training augments by itself)."
            )


def _taken_whole(dataset: Any, count: int) -> bool:  # noqa: ANN401
    """Whether ``data`` and ``targets`` are just what the items would give, judged by a few of them."""
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


def _read_items(dataset: Any, count: int) -> tuple[ByteArray, IntArray]:  # noqa: ANN401
    """Read every item; grey images become RGB where others are in colour."""
    first, _ = _item(dataset, 0)
    images = np.empty((count, *first.shape), np.uint8)
    labels = np.empty(count, np.int64)
    for index in range(count):
        image, labels[index] = _item(dataset, index)
        if image.shape[1:] != images.shape[2:]:
            raise DataError(
                f"Image 0 of the data set has shape {first.shape} and image {index} has {image.shape}; resize them."
            )
        if {len(image), images.shape[1]} == {1, 3}:
            images = images if images.shape[1] == 3 else np.repeat(images, 3, axis=1)
            image = image if len(image) == 3 else np.repeat(image, 3, axis=0)
        if image.shape != images.shape[1:]:
            raise DataError(f"Image {index} of the data set has {len(image)} channels, others {images.shape[1]}.")
        images[index] = image
    return images, to_labels(labels, count, "The data set's labels")


def _item(dataset: Any, index: int) -> tuple[ByteArray, int]:  # noqa: ANN401
    """One item as a uint8 image ``(C, H, W)`` and a label."""
    item = dataset[index]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise DataError(f"Item {index} of the data set is a {type(item).__name__}, not a pair (image, label).")
    image, label = item[0], as_integer(item[1])
    if label is None:
        raise DataError(f"Label {index} of the data set is {str(item[1])[:40]!r}; labels must be integers.")
    return _pixels(image, index), label


def _pixels(image: object, index: int) -> ByteArray:
    """One image as uint8 ``(C, H, W)``."""
    what = f"Image {index} of the data set"
    if isinstance(image, Image.Image):
        try:
            return to_array(image)
        except ValueError as error:
            raise DataError(f"{what} cannot be used ({error}); convert it to eight bits per channel.") from None
    if not isinstance(image, Tensor | np.ndarray):
        raise DataError(f"{what} is a {type(image).__name__}; images must be PIL images, tensors or arrays.")
    array = _array(image)
    if array.ndim not in (2, 3) or not array.size:
        raise DataError(f"{what} has shape {array.shape}; images must be (H, W), (C, H, W) or, as arrays, (H, W, C).")
    known_order = isinstance(image, Tensor) and array.ndim == 3
    batch = to_bytes(array[None], what) if known_order else to_nchw(array[None], what)
    return np.asarray(batch[0])
