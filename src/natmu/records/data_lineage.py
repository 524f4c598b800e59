"""The data of a model, as lineages tell of it."""

from __future__ import annotations

from typing import Literal

from natmu.records.digests import Digest
from natmu.records.files import Value
from natmu.records.settings import ClassOrder


class DataDigests(Value):
    """What the data holds, whatever it is called.

    Attributes:
        train: Of the training data.
        test: Of the test data, without what was set apart as holdout.
        holdout: Of the holdout, where there is one.
    """

    train: Digest
    test: Digest
    holdout: Digest | None = None


class DataLineage(Value):
    """The data of a model: what was asked for, and what that was.

    Attributes:
        source: Name of a data set, or a path.
        image_size: Height and width in pixels that all images were resized to; None if they are as they were.
        resize: What their shorter side was resized to, in pixels; None if it was not.
        crop: Side of the square that was then cut out of the middle; None if none was.
        channels: 1 if they were made grey, 3 if RGB; None if they are as they were.
        train_size: Samples of the class-balanced random part that was kept of the training set; None for all.
        holdout: Whether a fifth of the test set was set apart.
        mean: What was subtracted from each channel before the model; None for the data's own, or nothing.
        std: What each channel was divided by after that.
        test: Path of the test data, where the source had none.
        test_fraction: Part of the source that was set apart as its test set; None where it had one.
        classes: Class names in the order of the model's outputs, where they were given.
        class_order: How the names of classes were sorted, where that was given.
        digests: Of the content.
    """

    source: str
    image_size: int | None
    train_size: int | None
    holdout: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    test: str | None = None
    test_fraction: float | None = None
    classes: tuple[str, ...] | None = None
    class_order: ClassOrder | None = None
    digests: DataDigests
    resize: int | None = None
    crop: int | None = None
    channels: Literal[1, 3] | None = None
