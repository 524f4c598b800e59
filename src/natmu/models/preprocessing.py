"""The preprocessing that a library's model expects, from the model's own configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.hub import is_hub, package_of, read_json

PROCESSOR = "preprocessor_config.json"
"""The file of a HuggingFace folder that describes the preprocessing."""

FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
"""Pillow's numbers of resampling filters."""


@dataclass(frozen=True)
class Preprocessing:
    """How images become a model's inputs.

    Attributes:
        image_size: Height and width that images are resized to, whatever their shape; None where they keep it.
        resize: Length that the shorter side is resized to; None where it is not.
        crop: Height and width of the centre crop after that; None where there is none.
        mean: Mean of each channel, in [0, 1]; None where nothing is subtracted.
        std: Standard deviation of each channel.
        interpolation: Filter of the resizing; None where nothing is resized.

    Examples:
        >>> Preprocessing(image_size=224, mean=(0.5,), std=(0.25,)).image_size
        224
    """

    image_size: int | None = None
    resize: int | None = None
    crop: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: str | None = None


def preprocessing_of(name: str) -> Preprocessing:
    """What a library says of a model's inputs; nothing of a model that is not of a library.

    Args:
        name: Of an architecture; see ``build_model``.

    Raises:
        ModelError: The library is missing, or the configuration is of an unknown form.

    Examples:
        >>> preprocessing_of("small_cnn") == Preprocessing()  # none of a library's
        True
    """
    kind, _, rest = name.partition(":")
    if not is_hub(name):
        return Preprocessing()
    if kind == "hf":
        file = Path(rest) / PROCESSOR
        return from_processor(read_json(file)) if file.is_file() else Preprocessing()
    library = package_of(name)
    try:
        if kind == "timm":
            config = library.get_pretrained_cfg(rest)
            return Preprocessing() if config is None else from_timm(config.to_dict())
        weights = library.models.get_model_weights(rest).DEFAULT
        return from_torchvision(weights.transforms())
    except FAULTS as error:
        raise ModelError(f"There is no model {name} ({quoted(error)}): give a name that {kind} knows.") from error


def from_timm(config: Mapping[str, Any]) -> Preprocessing:
    """The evaluation transform of a ``pretrained_cfg`` of timm.

    Args:
        config: Its entries.
    """
    size = int(config["input_size"][-1])
    resize = math.floor(size / (config.get("crop_pct") or 0.875))
    square = config.get("crop_mode", "center") != "center" and resize == size
    return Preprocessing(
        image_size=size if square else None,
        resize=None if square else resize,
        crop=None if square else size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config.get("interpolation") or "bicubic",
    )


def from_torchvision(transforms: Any) -> Preprocessing:  # noqa: ANN401 - a class of torchvision
    """The evaluation transform that belongs to weights of torchvision."""
    return Preprocessing(
        resize=int(transforms.resize_size[0]),
        crop=int(transforms.crop_size[0]),
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        interpolation=transforms.interpolation.value,
    )


def from_processor(config: Mapping[str, Any]) -> Preprocessing:
    """The transform of an image processor of transformers.

    Mean and deviation are in units of images in [0, 1], whatever the processor scales bytes by.

    Args:
        config: The content of ``preprocessor_config.json``.
    """
    form = _form(config) if config.get("do_resize") else {}
    cropped = config.get("do_center_crop") and "image_size" not in form
    crop = form.pop("crop", None) or (_side(config.get("crop_size"), "height") if cropped else None)
    normalised = config.get("do_normalize")
    mean, std = (config["image_mean"], config["image_std"]) if normalised else ((0.0,) * 3, (1.0,) * 3)
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    mean, std = (tuple(value / (255 * factor) for value in values) for values in (mean, std))
    filter_name = FILTERS.get(config.get("resample", 2)) if form else None
    return Preprocessing(**form, crop=crop, mean=mean, std=std, interpolation=filter_name)


def _form(config: Mapping[str, Any]) -> dict[str, int]:
    """What an image processor resizes images to."""
    size = config.get("size")
    shortest = _side(size, "shortest_edge")
    if shortest is None:
        return {"image_size": side} if (side := _side(size, "height")) is not None else {}
    percentage = config.get("crop_pct")
    if percentage is None:
        return {"resize": shortest}
    # ConvNeXt's processor crops small images after enlarging them, and squeezes large ones.
    return {"image_size": shortest} if shortest >= 384 else {"resize": int(shortest / percentage), "crop": shortest}


def _side(size: object, name: str) -> int | None:
    """A length in a size, which older configurations give as one number."""
    if isinstance(size, Mapping):
        value = size.get(name)
        return None if value is None else int(value)
    return int(size) if isinstance(size, int) else None
