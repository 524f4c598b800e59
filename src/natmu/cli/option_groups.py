"""Options that several verbs take together: each group is a dataclass, whose fields become options of the verb."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from natmu.cli import completing
from natmu.cli.options import (
    L2,
    Channels,
    Classes,
    ClassOrder,
    Crop,
    DataDir,
    Delta,
    Epsilon,
    FeaturesFrom,
    Head,
    Holdout,
    ImageSize,
    Mean,
    Noise,
    Outputs,
    Resize,
    Std,
    TestData,
    TestFraction,
    TrainSize,
    data_settings,
)
from natmu.cli.training import Trainer, TrainerSet, Training, asked_training
from natmu.errors import SettingError

if TYPE_CHECKING:
    from natmu.opening import Source


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How models are trained."""

    training: Training = None
    trainer: Trainer = None
    trainer_set: TrainerSet = None

    def asked(self) -> dict[str, Any] | None:
        """As plain values; None where nothing says it."""
        return asked_training(self.training, self.trainer, self.trainer_set)


@dataclass(frozen=True, kw_only=True)
class HeadOptions:
    """A head on the features of a frozen network."""

    head: Head = None
    features_from: FeaturesFrom = None
    l2: L2 = None
    epsilon: Epsilon = None
    delta: Delta = None
    noise: Noise = None

    def asked(self, training: dict[str, Any] | None) -> dict[str, Any] | None:
        """How the model is trained, as plain values; None where nothing says it.

        Args:
            training: What other options say.

        Raises:
            SettingError: The options do not go together.
        """
        names = ("l2", "epsilon", "delta", "noise")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.head is not None and training is not None:
            raise SettingError(
                "--head and --training or --trainer both say how the model is trained; give one of them."
            )
        if self.head is not None:
            return {"head": self.head, **given}
        if given:
            raise SettingError(f"--{next(iter(given))} is a setting of a head; name its kind with --head.")
        if self.features_from is not None and (training is None or "head" not in training):
            raise SettingError("--features-from gives features to a head; name its kind with --head ridge or logistic.")
        return training


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """How data are read, and what a model makes of them."""

    data_dir: DataDir = Path("data")
    image_size: ImageSize = None
    resize: Resize = None
    crop: Crop = None
    channels: Channels = None
    train_size: TrainSize = None
    holdout: Holdout = False
    test_data: TestData = None
    test_fraction: TestFraction = None
    classes: Classes = None
    class_order: ClassOrder = None
    mean: Mean = None
    std: Std = None
    outputs: Outputs = "logits"

    def settings(self, source: str | None) -> dict[str, Any]:
        """Settings of the data by name.

        Args:
            source: A data set, a path or a function; None where a run knows it.
        """
        values = dict(vars(self))
        del values["data_dir"], values["outputs"]
        return data_settings(source=source, test=values.pop("test_data"), **values)


@dataclass(frozen=True, kw_only=True)
class OriginalOptions:
    """All that a model needs which was trained elsewhere."""

    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="With a weights file: its data. With a run: the new place of its data, if it moved.",
            autocompletion=completing.data_sets,
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option("--model", help="With a weights file: its architecture.", autocompletion=completing.architectures),
    ] = None
    training: TrainingOptions
    reading: DataOptions

    def source(self, path: Path) -> Source:
        """The model at a path, with its data and its training.

        Args:
            path: A run folder or a weights file.
        """
        from natmu.opening import Source

        asked = self.training.asked()
        return Source(path, self.reading.settings(self.data), self.model, self.reading.outputs, asked)


def takes_groups(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameters that are groups are replaced, in its signature, by the options in them.

    Typer reads the options of a verb from its signature, so that a group is written once and its help stands wherever
    a verb names it.

    Args:
        verb: Takes groups by keyword.
    """
    signature = inspect.signature(verb, eval_str=True)
    groups = {name: one.annotation for name, one in signature.parameters.items() if _is_group(one.annotation)}

    @functools.wraps(verb)
    def run(**given: Any) -> None:  # noqa: ANN401 - what typer has parsed
        for name, group in groups.items():
            given[name] = _taken(group, given)
        verb(**given)

    options: list[inspect.Parameter] = []
    for name, one in signature.parameters.items():
        options += _options(groups[name]) if name in groups else [one.replace(kind=one.KEYWORD_ONLY)]
    run.__signature__ = signature.replace(parameters=options)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in options}
    return run


def _options(group: type[Any]) -> Iterator[inspect.Parameter]:
    """The options of a group, in order, those of groups within it in their places."""
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        hint = hints[field.name]
        if _is_group(hint):
            yield from _options(hint)
        else:
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _taken(group: type[Any], given: dict[str, Any]) -> object:
    """A group, whose options are taken out of what was given."""
    hints = get_type_hints(group)
    values = {
        field.name: _taken(hints[field.name], given) if _is_group(hints[field.name]) else given.pop(field.name)
        for field in fields(group)
    }
    return group(**values)


def _is_group(annotation: Any) -> bool:  # noqa: ANN401 - whatever a parameter is annotated with
    """Whether a parameter is a group of options."""
    return isinstance(annotation, type) and is_dataclass(annotation)
