"""The original is checked before anything is forgotten, and refused where it does not seem to belong to the data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.compute import Compute
from natmu.engine.input_forms import SAMPLES, predicted_by_form
from natmu.engine.store import Run
from natmu.lineage.workspace import Workspace
from natmu.progress import decide, say
from natmu.records.derived import root_of
from natmu.records.lineage import Imported, Trained, Unlearned
from natmu.records.settings import AnyTraining, HeadTraining, LogisticTraining
from natmu.scores.original_check import WEAK, FormTrial, OriginalCheck, check_original
from natmu.types import ForgetSet, Outputs, seed_for


def checked(
    model: nn.Module, outputs: Outputs, forget: ForgetSet | None, data: ImageData, compute: Compute
) -> OriginalCheck:
    """Check a model by its predictions, and where these are poor, by those on other forms of the same images.

    Args:
        model: The original, on the device.
        outputs: Its predictions.
        forget: What is to be forgotten; None where that is not known yet.
        data: The training data, on the device.
        compute: Device and precision.
    """
    found = check_original(outputs, forget, data.class_names)
    if not found.doubtful:
        return found
    kept = np.setdiff1d(np.arange(len(data)), [] if forget is None else forget.before)
    rng = np.random.default_rng(seed_for(0, "check of the original"))
    rows = np.sort(rng.choice(kept, min(SAMPLES, len(kept)), replace=False))
    labels = np.asarray(data.labels)[rows]
    own, others = predicted_by_form(model, data, torch.from_numpy(rows), compute)
    forms = {name: FormTrial(own == labels, predicted == labels) for name, predicted in others.items()}
    return check_original(outputs, forget, data.class_names, forms)


def report_check(found: OriginalCheck, *, force: bool) -> None:
    """Say what was found, and refuse what does not belong together.

    Args:
        found: The check.
        force: Whether to go on in any case.

    Raises:
        ModelError: The weights do not seem to belong to the data.
    """
    say(found.line)
    for warning in found.warnings:
        say(f"warning: {warning}")
    if not force:
        found.require()
    for cause in found.causes:
        decide(f"The original was taken as it is, as asked, though it does not seem to fit: {cause}.")


def check_run(run: Run, workspace: Workspace, forget: ForgetSet | None, *, force: bool) -> OriginalCheck:
    """Check the model of a run by its stored predictions, say what was found, and refuse what does not fit.

    Models that were trained here belong to their data, however poor they are.

    Raises:
        ModelError: The weights do not seem to belong to the data.
    """
    lineage = run.record.lineage
    assert isinstance(lineage, Trained | Imported | Unlearned), "an original, or what a method made of one"
    if isinstance(root := root_of(lineage), Trained):
        found = check_original(run.outputs(), forget, workspace.splits.train.class_names)
        found = replace(found, causes=(), warnings=_weak(found, root.recipe))
    else:
        found = checked(workspace.load(run), run.outputs(), forget, workspace.on_device.train, workspace.compute)
    report_check(found, force=force)
    return found


def _weak(found: OriginalCheck, recipe: AnyTraining) -> tuple[str, ...]:
    """What is said of a poor model that was trained here."""
    right = found.accuracies["train_acc"]
    if right >= WEAK:
        return ()
    remedy = "more epochs"
    if isinstance(recipe, HeadTraining):
        noisy = isinstance(recipe, LogisticTraining)
        remedy = f"{'more samples, less noise or ' if noisy else ''}a backbone that suits the data better"
    return (f"The original is right on {right:.1f} % of its own training data; {remedy} may help.",)
