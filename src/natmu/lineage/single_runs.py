"""Making one run: an original, or a model unlearned from a run folder or from a weights file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store
from natmu.errors import DataError, ModelError, SettingError
from natmu.lineage.making import import_model, obtain, outcome_of
from natmu.lineage.refusal import refuse
from natmu.lineage.workspace import Workspace
from natmu.methods import Method, Retrain, method_named
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Imported, Trained
from natmu.records.run import open_run
from natmu.records.settings import DataSettings, TrainSettings


@dataclass(frozen=True)
class Place:
    """Where a run is made and kept.

    Attributes:
        data_dir: Where the data lies.
        root: Folder of all runs.
        name: Name of the run folder; its digest if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``fp32`` or ``bf16``.
        sync_batch_norm: With several processes, whether batch normalisation sees the rows of all of them.
        resume: Whether to continue an interrupted run.
    """

    data_dir: Path
    root: Path
    name: str | None = None
    device: str = "auto"
    precision: str = "auto"
    sync_batch_norm: bool = False
    resume: bool = True

    @property
    def store(self) -> Store:
        """The store of all runs."""
        return Store(self.root)

    def compute(self) -> Compute:
        """The device and the precision.

        Raises:
            SettingError: One of them is unknown or absent.
        """
        return Compute.choose(self.device, self.precision, sync_batch_norm=self.sync_batch_norm)

    def workspace(self, data: DataSettings, model: str) -> Workspace:
        """The data and an architecture.

        Raises:
            UsageError: The data or the device cannot be had.
        """
        return Workspace.open(data, self.data_dir, model, self.compute(), self.store, resume=self.resume)


def train_run(*, data: Mapping[str, Any], model: str, training: Mapping[str, Any], seed: int, place: Place) -> Run:
    """Train an original model, or find it in the store.

    Args:
        data: Values for ``DataSettings``.
        model: Name of the architecture.
        training: Values for ``TrainSettings``.
        seed: Of initial weights, order and augmentation.
        place: Where.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    recipe = TrainSettings.parse(training)
    workspace = place.workspace(DataSettings.parse(data, "data"), model)
    return obtain(workspace.original(recipe, seed), workspace, place.name)


@dataclass(frozen=True)
class Asked:
    """What is to be forgotten, and how.

    Attributes:
        forget: The request, as text.
        method: Name of the method.
        settings: Its settings.
        batch_size: Samples per step; the original's if None.
        seed: Of a random forget set and of the method.
    """

    forget: str
    method: str = "natmu"
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    seed: int = 0

    def chosen(self) -> Method:
        """The method with its settings.

        Raises:
            SettingError: A setting is unknown or out of its range.
        """
        method = method_named(self.method)(**self.settings)
        if self.batch_size is not None and isinstance(method, Retrain):
            raise SettingError("retrain uses the original's batch size; leave --batch-size out.")
        return method


def unlearn_run(asked: Asked, *, source: Path, data: Mapping[str, Any], model: str | None, place: Place) -> Run:
    """Unlearn from a run folder, or from a weights file that was trained elsewhere.

    Args:
        asked: What is to be forgotten, and how.
        source: A run folder of a trained model, or a ``.safetensors``, ``.pt`` or ``.pth`` file.
        data: Values for ``DataSettings``; needed with a weights file, otherwise read from the run, except that another
            ``source`` says where the same data lies now.
        model: Architecture; needed with a weights file, otherwise read from the run.
        place: Where; the precision ``auto`` is that of the original.

    Raises:
        UsageError: Something asked for cannot be done.
        TrainingError: The loss is no longer finite.
    """
    method, request = asked.chosen(), parse_forget(asked.forget)
    if source.is_dir():
        given = {name for name, value in data.items() if value and name != "source"}
        if model is not None or given:
            raise SettingError(
                f"{source} says its own --model, --image-size, --train-size and --holdout; leave them out."
            )
        original, workspace = open_original(source, place, data.get("source"))
        known, recipe = isinstance(original, Trained), original.recipe
    else:
        if data.get("source") is None or model is None:
            raise ModelError(f"{source} is not a run folder; with a weights file, --data and --model are needed too.")
        workspace = place.workspace(DataSettings.parse(data, "data"), model)
        original, known, recipe = None, False, TrainSettings()
    refuse(
        workspace,
        recipe,
        [request],
        [(asked.method, method)],
        seed=asked.seed,
        batch_size=asked.batch_size,
        trained_here=known,
    )
    original = original or import_model(workspace, source, recipe)
    forget = workspace.forget(request, asked.seed, original)
    at = workspace.arithmetic
    result = outcome_of(method, original, forget, seed=asked.seed, batch_size=asked.batch_size, at=at)
    return obtain(result, workspace, place.name)


def open_original(path: Path, place: Place, source: str | None = None) -> tuple[Trained | Imported, Workspace]:
    """The trained model in a run folder, with the data that its lineage names.

    Args:
        path: The run folder.
        place: Where models made from it are kept; the precision ``auto`` is that of the original.
        source: Where the same data is to be had now, if not where the lineage says.

    Raises:
        UsageError: The folder holds no trained model, or the data is not what it was trained on.
    """
    model = open_run(path).record.lineage
    if not isinstance(model, Imported) and not (isinstance(model, Trained) and model.on.rule == "everything"):
        raise ModelError(f"{path} holds an unlearned model; name the run of its original.")
    if place.precision == "auto":
        place = replace(place, precision=model.arithmetic.precision)
    told = model.data.model_dump(exclude={"digests"}) | ({} if source is None else {"source": source})
    workspace = place.workspace(DataSettings.parse(told, "data"), model.architecture.name)
    if workspace.data.digests != model.data.digests:
        where = place.data_dir if source is None else source
        raise DataError(f"The data in {where} is not what {path} was made with; give the folder that it came from.")
    if workspace.architecture != model.architecture:
        raise ModelError(f"The file that defines {workspace.model} has changed since {path} was trained; restore it.")
    return model, workspace
