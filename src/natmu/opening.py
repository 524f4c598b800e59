"""Opening the models and the data that the verbs of the command line work on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.errors import DataError, ModelError, SettingError, UsageError
from natmu.lineage import Workspace
from natmu.lineage.importing import require_undivided
from natmu.lineage.own_training import resolved
from natmu.methods import Retrain
from natmu.models import Outputs, is_pretrained_folder
from natmu.progress import decide
from natmu.records.derived import (
    classes_without_output,
    forget_of,
    is_original,
    knows_initial_weights,
    original_of,
    rests_on_reference,
    root_of,
)
from natmu.records.files import is_there
from natmu.records.forgetting import ForgetRequest, parse_forget, with_manifest
from natmu.records.lineage import AnyLineage, Imported, Trained, Unlearned
from natmu.records.run import PREDICTIONS, RECORD, RunFolder, open_run
from natmu.records.settings import AnyTraining, DataSettings, training_of


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

    def refuse_taken(self, fits: Callable[[AnyLineage], bool]) -> None:
        """Refuse the place, before any data is read, where something else has its name or nothing can be written.

        Args:
            fits: Whether the run of a lineage may be the one that is asked for.

        Raises:
            UsageError: The folder holds no run, or another one, or nothing can be written there.
        """
        store = Store(self.root)
        if self.name is not None:
            store.refuse_other(self.name, fits)
        store.require_usable(self.name)

    def workspace(
        self, data: DataSettings, model: str, outputs: Outputs = "logits", *, unit_head: bool = False
    ) -> Workspace:
        """The data and an architecture, with what it returns, and whether it ends in a head on frozen features.

        Raises:
            UsageError: The data or the device cannot be had.
        """
        compute = Compute.choose(self.device, self.precision, sync_batch_norm=self.sync_batch_norm)
        return Workspace.open(
            data,
            self.data_dir,
            model,
            compute,
            Store(self.root),
            resume=self.resume,
            outputs=outputs,
            unit_head=unit_head,
        )


@dataclass(frozen=True)
class Source:
    """The model to unlearn from, as the user names it.

    Attributes:
        path: A run folder of a trained or unlearned model, a file of weights, or a HuggingFace folder.
        data: Values for ``DataSettings``; needed with weights, otherwise read from the run, except that another
            ``source`` says where the same data lies now.
        model: Architecture; needed with a weights file, otherwise read from the run or the HuggingFace folder.
        outputs: With weights, what the model returns.
        training: With weights, how the model was trained: values for ``TrainSettings`` or ``OwnTraining``.
    """

    path: Path
    data: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    outputs: Outputs = "logits"
    training: Mapping[str, Any] | None = None

    @property
    def is_run(self) -> bool:
        """Whether it is a run folder."""
        return self.path.is_dir() and not is_pretrained_folder(self.path)

    def may_lead_to(self, made: AnyLineage, request: str | None, *, method: str, seed: int) -> bool:
        """Whether a method makes a certain model of this one, as far as that can be told without the data.

        Args:
            made: The certain model.
            request: What is to be forgotten; None where that needs a table.
            method: Name of the method.
            seed: Its seed.
        """
        forget = forget_of(made)
        if not isinstance(made, Trained | Unlearned) or forget is None or made.seed != seed:
            return False
        asked = None if request is None or request.startswith("where:") else parse_forget(request).text
        if asked is not None and asked != forget.request.text:
            return False
        if not isinstance(made, Unlearned):
            return method == Retrain.name
        return method == made.method and (not self.is_run or made.source == open_run(self.path).record.lineage)

    def open(self, place: Place) -> Opened:
        """The model and its data.

        Raises:
            UsageError: Something is missing, or said twice.
        """
        if not self.path.exists():
            raise ModelError(f"There is no {self.path}; name a run folder, a file of weights or a HuggingFace folder.")
        if self.is_run and not is_there(self.path / RECORD) and (self.model or self.data.get("source")):
            raise ModelError(
                f"{self.path} is not a run folder, which holds {RECORD}, and no HuggingFace folder, which holds "
                "config.json and weights; name one of these, or a file of weights."
            )
        if self.is_run:
            moved = ("source", "test")
            flags = {name: value for name, value in self.data.items() if name not in moved}
            flags |= {"model": self.model, "training": self.training}
            flags |= {"outputs": self.outputs if self.outputs != "logits" else None}
            given = [f"--{name.replace('_', '-')}" for name, value in flags.items() if value]
            if given:
                raise SettingError(
                    f"{self.path} says its own model and how its data is read; leave {', '.join(given)} out."
                )
            model, workspace = open_model(self.path, place, self.data.get("source"), self.data.get("test"))
            return Opened(model, workspace, model.recipe)
        if is_there(self.path.resolve().parent / RECORD):
            raise ModelError(f"{self.path} is a file of a run; name its folder, which knows what was forgotten.")
        name = f"hf:{self.path}" if self.model is None and self.path.is_dir() else self.model
        if self.data.get("source") is None or name is None:
            raise ModelError(
                f"{self.path} is not a run folder; with a weights file, --data and --model are needed too."
            )
        workspace = place.workspace(DataSettings.parse(self.data, "data"), name, self.outputs)
        if workspace.settings.test_fraction is not None:
            decide(
                f"{self.path} may have been trained on the samples that --test-fraction makes the test set. Then its "
                "test accuracy and every attack that compares with unseen samples mean nothing. Give --test-data."
            )
        recipe = None if self.training is None else resolved(training_of(self.training))
        require_undivided(recipe)
        return Opened(None, workspace, recipe)


@dataclass(frozen=True)
class Opened:
    """The model to unlearn from, and its data.

    Attributes:
        model: The model; None where it has yet to be imported.
        workspace: Its data and its architecture.
        recipe: How it was trained; None where nobody says.
    """

    model: Trained | Imported | Unlearned | None
    workspace: Workspace
    recipe: AnyTraining | None

    @property
    def knows_initial_weights(self) -> bool:
        """Whether the initial weights of the original are known."""
        return self.model is not None and knows_initial_weights(root_of(self.model))

    def request(self, text: str, manifest: Path | None) -> ForgetRequest:
        """A request to forget; one for the samples of a table, where the data is one, needs no other table."""
        source = self.workspace.settings.source
        own_table = Path(source) if source.lower().endswith(".csv") else None
        return parse_forget(with_manifest(text, manifest or own_table))


def refuse_part_of_service(run: RunFolder) -> None:
    """Refuse a model that a service made of data with gaps, or of a model that it names by its run.

    Raises:
        UsageError: It is one.
    """
    if rests_on_reference(run.record.lineage) or (run.has(PREDICTIONS) and run.has_gaps()):
        raise UsageError(
            f"{run.path} is a model of a service of deletion requests, and only the service knows what was forgotten "
            "before; use natmu requests for it."
        )


def open_model(
    path: Path, place: Place, source: str | None = None, test: str | None = None
) -> tuple[Trained | Imported | Unlearned, Workspace]:
    """The model in a run folder, with the data that its lineage names.

    Args:
        path: The run folder.
        place: Where models made from it are kept; the precision ``auto`` is that of the original.
        source: Where the same data is to be had now, if not where the lineage says.
        test: Likewise its test data, if it has a place of its own.

    Raises:
        UsageError: The folder holds no model that can forget, or the data is not what it was trained on.
    """
    run = open_run(path)
    refuse_part_of_service(run)
    model = run.record.lineage
    if not isinstance(model, Trained | Imported | Unlearned) or not is_original(original_of(model)):
        raise ModelError(f"{path} holds a part of an audit; name the run of an original or of an unlearned model.")
    if classes_without_output(model):
        raise ModelError(
            f"{path} no longer has an output for a class that it forgot, so no method can start from it. Start from "
            "the run that it was made from, and drop the class with the last request."
        )
    if place.precision == "auto":
        place = replace(place, precision=model.arithmetic.precision)
    moved = {name: value for name, value in (("source", source), ("test", test)) if value is not None}
    told = model.data.model_dump(exclude={"digests"}) | moved
    architecture = model.architecture
    settings, head = DataSettings.parse(told, "data"), architecture.unit_head
    workspace = place.workspace(settings, architecture.name, architecture.outputs, unit_head=head)
    if workspace.data.digests != model.data.digests:
        where = settings.source if source is not None or Path(settings.source).exists() else place.data_dir
        raise DataError(
            f"The data in {where} is not what {path} was made with; give the folder that it came from, as it was. "
            "Where samples are deleted between one request and the next, natmu requests keeps account of them, and "
            "natmu train trains anew on what is left."
        )
    if workspace.architecture != architecture:
        raise ModelError(
            f"The file or the library that defines {workspace.model} has changed since {path} was made; restore it."
        )
    forget = forget_of(model)
    if forget is not None:
        workspace.remember(forget, run.forget())
    workspace.remember_all(model, Store(path.resolve().parent))
    return model, workspace
