"""What users give to the Python interface, as what it is meant to be or refused in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from natmu.data import ImageData, forget_after, forget_from_indices, parse_forget, resolve_forget
from natmu.data.pixels import as_integer
from natmu.engine.predict import sample_losses
from natmu.errors import SettingError
from natmu.methods import Method, checked_method, method_named
from natmu.models import check_fit
from natmu.records.settings import TrainSettings
from natmu.types import FloatArray, ForgetSet, IntArray, Part

Indices = Sequence[int] | IntArray | Tensor


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


def steps_of_size(method: Method, batch_size: int | None) -> int:
    """Samples per step: what is given, or what the method's settings say; not both."""
    if batch_size is None:
        return method.batch_size or TrainSettings().batch_size
    if method.batch_size is not None:
        raise SettingError(
            f"The settings of {method.name} give batches of {method.batch_size}, so leave batch_size={batch_size} out."
        )
    return batch_size


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


def forgotten_before(
    forgotten: str | Indices | ForgetSet | None, data: ImageData, predicted: Callable[[], Part]
) -> ForgetSet | None:
    """What was forgotten before, which nobody can draw again from a text."""
    if forgotten is None:
        return None
    if isinstance(forgotten, str) and parse_forget(forgotten).kind in ("random", "hardest"):
        raise SettingError(
            f"already_forgotten={forgotten!r} would draw other samples than were forgotten; give the forget of the "
            "result that the model came from, or the positions."
        )
    return forget_set(forgotten, data, predicted, seed=0)


def forget_set(
    forget: str | Indices | ForgetSet,
    data: ImageData,
    predicted: Callable[[], Part],
    seed: int,
    before: ForgetSet | None = None,
) -> ForgetSet:
    """The forget set in any of the forms that a user may give, after what was forgotten before.

    Args:
        forget: What the user gave.
        data: The training data.
        predicted: Gives the original's predictions on it, which are asked for where they decide.
        seed: Of a random draw.
        before: What was forgotten before.
    """
    if isinstance(forget, ForgetSet):
        return forget_after(forget, data, before)
    if not isinstance(forget, str):
        return forget_from_indices(forget, data, before)
    request = parse_forget(forget)
    difficulty: dict[str, FloatArray] = {}
    if request.kind == "hardest" and request.criterion == "loss":
        part = predicted()
        difficulty["loss"] = sample_losses(part.logits, part.labels)
    return resolve_forget(request, data, seed=seed, difficulty=difficulty, after=before)
