"""What users give to the Python interface, as what it is meant to be or refused in a sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from natmu.audits.in_memory import ReferenceModels, ShadowModels
from natmu.bounds import LARGEST_SEED
from natmu.data import (
    ImageData,
    forget_after,
    forget_from_indices,
    forget_relabelled,
    from_dataset,
    parse_forget,
    resolve_forget,
    with_copies,
)
from natmu.engine.predict import sample_losses
from natmu.errors import FAULTS, ModelError, SettingError
from natmu.functions import is_function_name
from natmu.methods import Method, Retrain, checked_method, method_named
from natmu.methods.base import without_retain
from natmu.models import FEWEST_CLASSES, Outputs, WithoutOutputs, adapted
from natmu.records.settings import TrainSettings
from natmu.samples.indices import as_integer
from natmu.types import BoolArray, FloatArray, ForgetSet, IntArray, Part

Samples = Sequence[int] | Sequence[str] | IntArray | BoolArray | Tensor
"""Positions or names of samples, or a mask of them."""

RightLabels = Mapping[Any, Any]
"""Class name or number by name or position of a sample: the pair that the data has is forgotten, the right one kept."""


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


def training_data(dataset: object, model: object) -> ImageData:
    """What a model was trained on, or a part of it, with as many classes as the model tells apart.

    A part of the data may lack the last classes, which labels that are mere numbers do not show.
    """
    data = from_dataset(dataset)
    known = _answered(model, data.image_shape) if isinstance(model, nn.Module) else 0
    if known <= data.num_classes or data.class_names != _numbers(data.num_classes):
        return data
    return from_dataset(data, class_names=_numbers(known))


def _numbers(count: int) -> tuple[str, ...]:
    """The names of classes that have none."""
    return tuple(str(number) for number in range(count))


def _answered(model: nn.Module, image_shape: tuple[int, int, int]) -> int:
    """How many logits a model gives for an image; 0 where it fails, which is told where models are checked."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        with torch.random.fork_rng([]), torch.no_grad():
            answer = copy.deepcopy(model).eval()(torch.full((2, *image_shape), 0.5, device=device))
    except FAULTS:
        return 0
    logits = getattr(answer, "logits", answer)
    return logits.shape[1] if isinstance(logits, Tensor) and logits.dim() == 2 else 0


def require_forget_only(method: Method) -> None:
    """Refuse a method that reads samples that are kept, where only those to forget may be read."""
    if method.reads_retain:
        raise SettingError(f"{method.name} reads samples that are kept, not only those to forget; {without_retain()}")


def refuse_unprepared(method: Method) -> None:
    """Refuse a method that goes back to what was kept when the model was trained: a model alone does not hold it."""
    if method.needs_shards:
        raise SettingError(
            f"{method.name} trains shards again, and a model in memory does not hold them. Train with "
            "natmu.train_shards, whose result forgets with .forget(…), or take a method that serves any model."
        )
    if method.needs_head:
        raise SettingError(
            f"{method.name} takes samples out of a head, and a model in memory does not hold what that needs. Fit a "
            "head of natmu.heads on features and call its remove, or take a method that serves any model."
        )


@dataclass(frozen=True)
class Inputs:
    """What a user's models are given and return.

    Attributes:
        data: The data sets whose images they take.
        outputs: What they return.
        mean: With ``std``, normalisation in front of them, one number per channel.
        std: Likewise.
        dropped: Classes that models may have no output for.
    """

    data: Sequence[ImageData]
    outputs: Outputs = "logits"
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dropped: tuple[int, ...] = ()

    def model(self, model: object, name: str) -> nn.Module:
        """A user's model as one that returns logits; those of classes without an output are filled in.

        Raises:
            SettingError: It is no model.
            ModelError: It does not fit the data.
        """
        if not isinstance(model, nn.Module):
            weights = isinstance(model, Mapping | str | Path)
            remedy = "load the weights into the model and give that" if weights else "give the model itself"
            raise SettingError(f"{name} must be a torch.nn.Module, not {type(model).__name__}; {remedy}.")
        if self.outputs not in get_args(Outputs):
            raise SettingError(f"outputs must be one of {', '.join(get_args(Outputs))}, not {self.outputs!r}.")
        if (self.mean is None) != (self.std is None):
            raise SettingError("mean and std belong together; give both, one number of each per channel, or neither.")
        classes = self.data[0].num_classes
        try:
            return self._adapted(model, classes)
        except ModelError as error:
            fault = ModelError(f"{error}{_counted_from_one(self.data[0])}")
        if len(self.dropped) > classes - FEWEST_CLASSES or not self.dropped:
            raise fault
        try:
            shorter = self._adapted(model, classes - len(self.dropped))
        except ModelError:
            raise fault from None
        return WithoutOutputs(shorter, self.dropped, classes)

    def _adapted(self, model: nn.Module, num_classes: int) -> nn.Module:
        """A model that returns logits of so many classes, for images of each shape."""
        for part in self.data:
            usable = adapted(
                model,
                num_classes=num_classes,
                image_shape=part.image_shape,
                outputs=self.outputs,
                mean=self.mean,
                std=self.std,
            )
        return usable

    def models(self, models: object, name: str) -> list[nn.Module]:
        """Several models, or a single one, as a list."""
        return [self.model(model, name) for model in listed_models(models, name)]

    def shadows(self, shadows: ShadowModels) -> ShadowModels:
        """Shadow models, with what they are."""
        trained, unlearned = (self.models(models, "shadows") for models in (shadows.trained, shadows.unlearned))
        return replace(shadows, trained=trained, unlearned=unlearned)


def _counted_from_one(data: ImageData) -> str:
    """What may be wrong where no sample has the label 0."""
    low, high = int(data.labels.min()), int(data.labels.max())
    told = f" No label is 0, they run from {low} to {high}: where they count from 1, subtract 1 from each."
    return told if low > 0 else ""


def listed_models(models: object, name: str) -> list[nn.Module]:
    """Several models, or a single one, as a list; what they are is checked one by one."""
    if isinstance(models, nn.Module) and not isinstance(models, nn.ModuleList):
        return [models]
    if isinstance(models, str | Path | Mapping) or not isinstance(models, Iterable):
        remedy = "leave it out for none" if models is None else "load weights into a model and give that"
        raise SettingError(f"{name} must be a list of models, not {type(models).__name__}; {remedy}.")
    return list(models)


def whole_seed(seed: object) -> int:
    """The seed as a plain whole number."""
    number = as_integer(seed)
    if number is None:
        raise SettingError(f"seed must be a whole number, not {seed!r}.")
    if not 0 <= number <= LARGEST_SEED:
        raise SettingError(f"seed must be from 0 to {LARGEST_SEED}, not {str(number)[:40]}.")
    return number


def training_recipe(training: object) -> TrainSettings | None:
    """How the original was trained, in any of the forms that a user may give; None where nobody says."""
    if isinstance(training, TrainSettings | None):
        return training
    if not isinstance(training, Mapping):
        raise SettingError(f"training must be a mapping of settings, not {type(training).__name__}.")
    return TrainSettings.parse(training, "training")


def refuse_beside_trainer(method: Method, training: object) -> None:
    """Refuse what does not go with the user's own training in ``unlearn``."""
    if not isinstance(method, Retrain):
        raise SettingError(f"trainer retrains, and {method.name} does not; leave it out, or write method='retrain'.")
    if training is not None:
        raise SettingError("training and trainer both say how the original was trained; give one of them.")


def refuse_with_trainer(given: ReferenceModels, trainer: object, options: Mapping[str, object]) -> None:
    """Refuse models that the user's own training would make in ``audit``, and its options where there is none."""
    named = [name for name, models in given.by_name().items() if models and name != "initial_model"]
    if trainer is not None and named:
        raise SettingError(f"trainer makes the models that {named[0]} gives; leave one of the two out.")
    idle = [name for name, value in options.items() if value is not None]
    if trainer is None and idle:
        raise SettingError(f"{idle[0]} is of models that a trainer makes; give trainer=…, or leave it out.")


def same_forgotten(settings: Mapping[str, Any], forget: ForgetSet) -> Mapping[str, Any]:
    """The settings of a result, once it is known to have forgotten these samples."""
    if settings["forget"]["digest"] != forget.digest:
        raise SettingError("The result forgot other samples than forget says; give the forget of that result.")
    return settings


def with_augmentation(recipe: TrainSettings | None, augment: object, method: Method) -> TrainSettings | None:
    """The recipe with the user's own augmentation, where one is given that the method will use.

    Raises:
        SettingError: It is no function, or the method augments nothing.
    """
    if augment is None:
        return recipe
    if not callable(augment) and not (isinstance(augment, str) and is_function_name(augment)):
        raise SettingError(
            f"augment must be a function from a batch to a batch, not {augment!r}; leave it out for none."
        )
    switches = [name for name in ("augment_retain", "augment_forget") if name in type(method.config).model_fields]
    if not isinstance(method, Retrain) and not any(getattr(method.config, name) for name in switches):
        remedy = f"set {switches[0]}=True, or leave augment out" if switches else "leave augment out"
        raise SettingError(f"{method.name} augments no images with these settings; {remedy}.")
    if recipe is None and isinstance(method, Retrain):
        return None  # nobody says how else the original was trained
    return TrainSettings.parse(({} if recipe is None else recipe.model_dump()) | {"augment": augment}, "training")


def forgotten_before(
    forgotten: str | Samples | RightLabels | ForgetSet | None, data: ImageData, predicted: Callable[[], Part]
) -> ForgetSet | None:
    """What was forgotten before, which nobody can draw again from a text."""
    if forgotten is None:
        return None
    if isinstance(forgotten, str) and parse_forget(forgotten).kind in ("random", "hardest"):
        raise SettingError(
            f"already_forgotten={forgotten!r} would draw other samples than those that were forgotten; give the forget "
            "of the result that the model came from, or the positions."
        )
    return forget_set(forgotten, data, predicted, seed=0)


def forget_set(
    forget: str | Samples | RightLabels | ForgetSet,
    data: ImageData,
    predicted: Callable[[], Part],
    seed: int,
    before: ForgetSet | None = None,
    *,
    copies: bool = False,
) -> ForgetSet:
    """The forget set in any of the forms that a user may give, after what was forgotten before.

    Args:
        forget: What the user gave.
        data: The training data.
        predicted: Gives the original's predictions on it, which are asked for where they decide.
        seed: Of a random draw.
        before: What was forgotten before.
        copies: Whether byte-identical copies are forgotten too.
    """
    if not isinstance(forget, str):
        if isinstance(forget, ForgetSet):
            listed = forget_after(forget, data, before)
        elif isinstance(forget, Mapping):
            listed = forget_relabelled(forget, data, before)
        else:
            listed = forget_from_indices(forget, data, before)
        return with_copies(listed, data) if copies else listed
    request = parse_forget(forget)
    difficulty: dict[str, FloatArray] = {}
    if request.kind == "hardest" and request.criterion == "loss":
        part = predicted()
        difficulty["loss"] = sample_losses(part.logits, part.labels)
    return resolve_forget(request, data, seed=seed, difficulty=difficulty, after=before, copies=copies)
