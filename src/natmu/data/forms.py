"""The form that images are brought to: which size, which part of them, how many channels."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from natmu.errors import DataError

Size = tuple[int, int]
"""Width and height, as Pillow has them."""

LARGEST = 4096
"""Pixels of a side at most."""

_LONGEST = 2**16
"""Pixels of the longer side at most, where it is enlarged with the shorter one."""

GREY = frozenset({"1", "L", "LA", "La"})


@dataclass(frozen=True)
class Form:
    """What the images of a data set are brought to; what is None stays as it is.

    ``resize`` and ``crop`` are torchvision's ``Resize`` and ``CenterCrop`` of PIL images, to the bit.

    Attributes:
        image_size: Side of a square that they are resized to.
        resize: What their shorter side is resized to; the longer one keeps its proportion, rounded down.
        crop: Side of the square that is then cut out of the middle; black is put around an image that is smaller.
        channels: 1 or 3. If None, grey images have one and others three.

    Raises:
        DataError: A value is out of range, or two of them exclude each other.
    """

    image_size: int | None = None
    resize: int | None = None
    crop: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        sides = (("image size", self.image_size), ("shorter side", self.resize), ("crop", self.crop))
        for what, side in sides:
            if side is not None and not 1 <= side <= LARGEST:
                raise DataError(f"The {what} must be from 1 to {LARGEST} pixels, not {side}.")
        if self.image_size is not None and (self.resize is not None or self.crop is not None):
            raise DataError(
                "--image-size makes squares by itself; leave it out, or leave out --resize and --crop, which keep "
                "proportions."
            )
        if self.resize is not None and self.crop is not None and self.crop > self.resize:
            raise DataError(
                f"A crop of {self.crop} pixels is larger than images whose shorter side is resized to {self.resize}; "
                f"give --crop {self.resize} or less, or a larger --resize."
            )
        if self.channels not in (None, 1, 3):
            raise DataError(f"--channels must be 1 for grey images or 3 for colour, not {self.channels}.")

    def size_of(self, size: Size) -> Size:
        """Width and height of what an image of this size becomes."""
        return self._resized(size) if self.crop is None else (self.crop, self.crop)

    def keeps(self, size: Size) -> bool:
        """Whether an image of this size stays as it is."""
        return self._resized(size) == size == self.size_of(size)

    def of(self, image: Image.Image) -> Image.Image:
        """An image at its size, by Pillow's bilinear filter; its channels stay as they are.

        Raises:
            ValueError: The image is so narrow that its longer side would be enormous.
        """
        size = self._resized(image.size)
        if image.size != size:
            if max(size) > max(_LONGEST, *image.size):
                raise ValueError(f"its longer side would have {max(size)} pixels")
            image = image.resize(size, Image.Resampling.BILINEAR)
        return image if self.crop is None or image.size == (self.crop, self.crop) else image.crop(self._box(image.size))

    def _resized(self, size: Size) -> Size:
        """Width and height before the crop."""
        square = self.image_size
        return resized_size(size, self.resize) if square is None else (square, square)

    def _box(self, size: Size) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the crop; what lies outside the image is black."""
        assert self.crop is not None
        left, top = (crop_start(side, self.crop) for side in size)
        return left, top, left + self.crop, top + self.crop


def channels_of(image: Image.Image) -> int:
    """1 for a grey image, 3 for any other."""
    return 1 if image.mode in GREY else 3


def resized_size(size: Size, shorter: int | None) -> Size:
    """Width and height once the shorter side has this length; the longer one is rounded down.

    >>> resized_size((500, 375), 256)
    (341, 256)
    """
    if shorter is None:
        return size
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def crop_start(side: int, crop: int) -> int:
    """Where a crop from the middle begins; negative where it is larger than the side.

    Halves are rounded to even where the crop is smaller, as Python's ``round`` does, and down where it is larger.

    >>> crop_start(341, 224), crop_start(5, 2), crop_start(7, 2), crop_start(3, 8)
    (58, 2, 2, -2)
    """
    return -((crop - side) // 2) if crop > side else round((side - crop) / 2)
