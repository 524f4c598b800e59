"""Labelled image files, as folders and manifests list them, and the images in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from natmu.data.arrays import Parts
from natmu.data.decoding import decode
from natmu.data.forms import Form
from natmu.data.own import OwnParts, Samples
from natmu.data.pixels import image_data
from natmu.records.names import SampleNames
from natmu.types import IntArray


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


def read_parts(parts: Mapping[str, ImageFiles], class_names: tuple[str, ...], data_dir: Path, form: Form) -> Parts:
    """Decode the files of all parts to one form.

    Args:
        parts: Files by part: ``train``, and ``test`` and ``holdout`` where there are such.
        class_names: One name per class.
        data_dir: Where many decoded images are kept; see ``decode``.
        form: What all images are brought to.

    Raises:
        DataError: Sizes differ, or a file is damaged.
    """
    images = decode([path for part in parts.values() for path in part.files], form, data_dir)
    whole = image_data(images, np.concatenate([part.labels for part in parts.values()]), class_names)
    data, end = {}, 0
    for role, part in parts.items():
        start, end = end, end + len(part)
        names = SampleNames.of_source(len(part), part.names)
        data[role] = replace(whole.subset(range(start, end)), names=names)
    # A source that is not divided yet is all one part.
    own = OwnParts(parts["train"], parts.get("test", parts["train"]))
    return Parts(data["train"], data.get("test"), data.get("holdout"), own)
