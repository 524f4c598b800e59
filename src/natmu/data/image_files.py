"""Labelled image files, as folders and manifests list them, and the images in them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from natmu.data.arrays import Parts
from natmu.data.decoding import common_form, decode
from natmu.data.names import SampleNames
from natmu.data.own import OwnParts, Samples
from natmu.data.pixels import image_data
from natmu.types import IntArray

_IN_MEMORY_BYTES = 2**31


@dataclass(frozen=True)
class ImageFiles(Samples):
    """The files of one part of a source: a map-style data set of (Pillow image, label), as ImageFolder is one.

    Attributes:
        files: The image files.
        labels: int64 ``(N,)``.
        names: What each sample is called.
    """

    files: Sequence[Path]
    labels: IntArray
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        with Image.open(self.files[row]) as image:
            return image.convert("RGB"), int(self.labels[row])


def read_parts(
    parts: Mapping[str, ImageFiles], class_names: tuple[str, ...], data_dir: Path, image_size: int | None
) -> Parts:
    """Decode the files of all parts to one form.

    Args:
        parts: Files by part: ``train``, and ``test`` and ``holdout`` where there are such.
        class_names: One name per class.
        data_dir: Where more than 2 GiB of decoded images are kept.
        image_size: Side of the square that all images are resized to; None where all have one size.

    Raises:
        DataError: Sizes differ, or a file is damaged.
    """
    form = common_form([path for part in parts.values() for path in part.files], image_size)
    data = {}
    for role, part in parts.items():
        size = len(part) * math.prod((form.channels, form.height, form.width))
        images = decode(part.files, form, data_dir if size > _IN_MEMORY_BYTES else None)
        names = SampleNames.of_source(len(part), part.names)
        data[role] = replace(image_data(images, part.labels, class_names), names=names)
    # A source that is not divided yet is all one part.
    own = OwnParts(parts["train"], parts.get("test", parts["train"]))
    return Parts(data["train"], data.get("test"), data.get("holdout"), own)
