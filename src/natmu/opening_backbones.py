"""Opening the network whose features a head is fitted on, with the data that it is to be fitted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from natmu.errors import ModelError, SettingError
from natmu.lineage import Workspace
from natmu.lineage.fitting import import_backbone
from natmu.models import Outputs, is_pretrained_folder
from natmu.opening import Place
from natmu.progress import decide
from natmu.records.files import is_there
from natmu.records.lineage import Backbone, Imported, Trained, Unlearned
from natmu.records.run import RECORD, open_run
from natmu.records.settings import DataSettings


def open_backbone(
    place: Place, data: Mapping[str, Any], features_from: str, model: str | None = None, outputs: Outputs = "logits"
) -> tuple[Workspace, Backbone]:
    """A frozen backbone with the features of data, extracted now or found in the store.

    Args:
        place: Where; features are extracted in fp32.
        data: Values for ``DataSettings``. Where they give no mean and deviation, those of a run are taken.
        features_from: A run folder, a HuggingFace folder, a file of weights, or the user's own factory as
            ``package.module:factory``, which builds a network with trained weights.
        model: Architecture; needed with a file.
        outputs: What a model that is not ours returns.

    Raises:
        UsageError: Something is missing or said twice, the network cannot carry a head, or was trained on this data.
        TrainingError: A feature is not finite.
    """
    if place.precision == "bf16":
        raise SettingError("Features are extracted in fp32; leave --precision bf16 out.")
    if outputs != "logits":
        raise SettingError("A head gives logits; leave --outputs out.")
    place, path, settings = replace(place, precision="fp32"), Path(features_from), DataSettings.parse(data, "data")
    source: Path | None = path
    if not path.exists() and ":" in features_from:
        name, source = _only(model, features_from, features_from), None
    elif not path.exists():
        raise ModelError(
            f"There is no {path}; name a run folder, a HuggingFace folder, a file of weights or package.module:factory."
        )
    elif is_pretrained_folder(path):
        name = _only(model, f"hf:{path}", features_from)
    elif path.is_dir():
        name, settings = _of_run(path, model, settings)
    elif is_there(path.resolve().parent / RECORD):
        raise ModelError(f"{path} is a file of a run; name its folder, which knows what it was trained on.")
    elif model is None:
        raise ModelError(f"{path} is a file of weights; name its architecture with --model.")
    else:
        name = model
    workspace = place.workspace(settings, name, outputs, unit_head=True)
    return workspace, import_backbone(workspace, source)


def _of_run(path: Path, model: str | None, settings: DataSettings) -> tuple[str, DataSettings]:
    """The architecture of a run, and the settings of the data with its normalisation where they give none."""
    lineage = open_run(path).record.lineage
    if not isinstance(lineage, Trained | Imported | Unlearned | Backbone):
        raise ModelError(f"{path} holds no trained model; name the run of an original or of an unlearned model.")
    name = _only(model, lineage.architecture.name, str(path))
    mean, std = lineage.data.mean, lineage.data.std
    if settings.mean is not None or mean is None or std is None:
        return name, settings
    numbers = [",".join(f"{value:g}" for value in values) for values in (mean, std)]
    decide(f"Images are normalised as for {path}: --mean {numbers[0]} --std {numbers[1]}.")
    return name, DataSettings.parse(settings.model_dump() | {"mean": mean, "std": std}, "data")


def _only(model: str | None, name: str, features_from: str) -> str:
    """The architecture that something says itself."""
    if model not in (None, name):
        raise SettingError(f"{features_from} says its own architecture, {name}; leave --model out.")
    return name
