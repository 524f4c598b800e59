"""What users give to the Python interface, as what it is meant to be or refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from natmu.data import ImageData
from natmu.data.pixels import as_integer
from natmu.errors import SettingError
from natmu.methods import Method, checked_method, method_named
from natmu.models import check_fit
from natmu.records.settings import TrainSettings


def chosen_method(method: object, settings: Mapping[str, Any]) -> Method:
    """The method in any of the forms that a user may give."""
    if isinstance(method, Method):
        if settings:
            raise SettingError(
                f"{method.name} has its settings already; give {', '.join(settings)} where it is made, as in "
                f"method={type(method).__name__}({next(iter(settings))}=…)."
            )
        return method
    return (method_named(method) if isinstance(method, str) else checked_method(method))(**settings)


def require_model(model: object, name: str, *data: ImageData) -> None:
    """Refuse what is no model, or one that does not fit the data."""
    if not isinstance(model, nn.Module):
        raise SettingError(f"{name} must be a torch.nn.Module, not {type(model).__name__}; give the model itself.")
    for part in data:
        check_fit(model, num_classes=data[0].num_classes, image_shape=part.image_shape)


def listed_models(models: object, name: str) -> list[nn.Module]:
    """Several models, or a single one, as a list; what they are is checked one by one."""
    if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList):
        return [models]
    if isinstance(models, str) or not isinstance(models, Iterable):
        raise SettingError(f"{name} must be a list of models, not {type(models).__name__}; leave it out for none.")
    return list(models)


def whole_seed(seed: object) -> int:
    """The seed as a plain whole number."""
    number = as_integer(seed)
    if number is None:
        raise SettingError(f"seed must be a whole number, not {seed!r}.")
    return number


def training_recipe(training: object) -> TrainSettings:
    """How the original was trained, in any of the forms that a user may give."""
    if isinstance(training, TrainSettings):
        return training
    if not isinstance(training, Mapping | None):
        raise SettingError(f"training must be a mapping of settings, not {type(training).__name__}.")
    return TrainSettings.parse(training or {}, "training")
