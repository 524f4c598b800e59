"""Which models the local executor trains at the same time, each in a process with its part of the threads.

A model trained beside others takes longer than one that has the machine to itself, so its seconds say nothing about
the cost of retraining. The first retrained model of each forget request is therefore trained alone, as the methods run
that it is compared with, and tables take the cost of retraining from it.

Fewer threads give weights that differ in their last bits. Whether a model is trained beside others therefore follows
from the list of models that is asked for, and never from what of it is in the store already.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import torch

from natmu.engine.together import WORTH_STARTING, processes_for, run_together
from natmu.errors import SharedMemoryError, TrainingError, UsageError
from natmu.lineage.making import obtain
from natmu.lineage.shards import obtain_shards
from natmu.lineage.workspace import Workspace
from natmu.machine import OutOfMemoryError
from natmu.progress import say
from natmu.records.derived import division_of
from natmu.records.lineage import AllBut, AnyLineage, Everything, Trained
from natmu.records.settings import TrainSettings


def groups_of(models: Sequence[AnyLineage], workspace: Workspace) -> list[tuple[int, list[Trained]]]:
    """The models that are trained together, as groups with the number of processes of each.

    Args:
        models: All that are asked for, in order.
        workspace: Where they are made.
    """
    trained = [model for model in models if isinstance(model, Trained)]
    originals = [model for model in trained if isinstance(model.on, Everything) and division_of(model) is None]
    references = [model for model in trained if isinstance(model.on, AllBut)]
    alone = {_request(model): model.digest for model in reversed(references)}
    references = [model for model in references if model.digest != alone[_request(model)]]
    groups = []
    for group in (originals, references):
        processes = _processes(group, workspace)
        if processes > 1:
            # A last one that no other would be trained beside may as well have all threads.
            groups.append((processes, group[: len(group) - (len(group) % processes == 1)]))
    return groups


def train_together(models: Sequence[Trained], processes: int, workspace: Workspace) -> None:
    """Train the missing ones of a group, or leave them to be trained one after another where memory cannot be shared.

    One that cannot be trained is left out without a word: whoever asks for it next finds the same, and says it.
    """
    missing = [(model,) for model in models if not workspace.has(model)]
    if not missing:
        return
    try:
        run_together(partial(_obtain_quietly, workspace), missing, processes, "models side by side")
    except (SharedMemoryError, OutOfMemoryError) as error:
        say(f"{error} The models are trained one after another.")


def train_shards(models: Sequence[AnyLineage], workspace: Workspace) -> None:
    """Train the shards of each original that is made of them side by side, where that pays.

    An error is left to whoever asks for the stages next, as in ``train_together``.
    """
    for model in models:
        if isinstance(model, Trained) and isinstance(model.on, Everything) and division_of(model) is not None:
            with suppress(TrainingError, UsageError):
                obtain_shards(model, workspace)


def _obtain_quietly(workspace: Workspace, model: Trained) -> None:
    """Train one model, in a worker."""
    with suppress(TrainingError, UsageError):
        obtain(model, workspace)


def _request(model: Trained) -> str:
    """What a retrained model was to forget, as text."""
    assert isinstance(model.on, AllBut)
    return model.on.forget.request.text


def _processes(group: Sequence[Trained], workspace: Workspace) -> int:
    """How many models of a group are trained at the same time; what the user's own function takes, nobody knows.

    Shards are trained with the threads that their recipe says, whatever else there is, so that others use the rest.
    """
    if not group or not isinstance(group[0].recipe, TrainSettings):
        return 1
    train, recipe = workspace.splits.train, group[0].recipe
    steps = recipe.epochs * len(train) // recipe.batch_size
    if recipe.sharding is not None:
        worth = workspace.compute.device.type == "cpu" and len(group) * steps >= WORTH_STARTING
        return min(len(group), torch.get_num_threads() // (recipe.sharding.threads or 1)) if worth else 1
    network = workspace.build(0)
    return processes_for(network, train.image_shape, recipe.batch_size, steps, workspace.compute, count=len(group))
