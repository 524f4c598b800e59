"""What a library's model says of its inputs, in place of what the user did not say."""

from __future__ import annotations

from typing import Any

from natmu.models import Preprocessing
from natmu.progress import say
from natmu.records.settings import DataSettings

FORM = ("image_size", "resize", "crop")


def with_form(settings: DataSettings, told: Preprocessing, model: str) -> DataSettings:
    """Settings with the size of images that a model expects, where the user gives none; what is taken is said.

    Args:
        settings: What was asked for, of photographs in folders.
        told: What the model's configuration says.
        model: Its name.
    """
    form = {name: getattr(told, name) for name in FORM if getattr(told, name) is not None}
    form = {name: value for name, value in form.items() if name in DataSettings.model_fields}
    if not form or any(getattr(settings, name, None) is not None for name in FORM):
        return settings
    sizes = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in form.items())
    other = "" if told.interpolation == "bilinear" else f" (by {told.interpolation}; here it is bilinear)"
    say(f"The configuration of {model} gives {sizes}{other}.")
    return _changed(settings, form)


def with_normalisation(settings: DataSettings, told: Preprocessing, model: str) -> DataSettings:
    """Settings with the normalisation that a model expects, where the user gives none; what is taken is said.

    Args:
        settings: What was asked for, of images in [0, 1]: others have been normalised already.
        told: What the model's configuration says.
        model: Its name.
    """
    if told.mean is None or told.std is None or settings.mean is not None:
        return settings
    mean, std = (",".join(f"{value:g}" for value in values) for values in (told.mean, told.std))
    say(f"The configuration of {model} gives --mean {mean} --std {std}.")
    return _changed(settings, {"mean": told.mean, "std": told.std})


def _changed(settings: DataSettings, values: dict[str, Any]) -> DataSettings:
    """The settings with other values, checked like those that a user gives."""
    return DataSettings.parse(settings.model_dump() | values, "data")
