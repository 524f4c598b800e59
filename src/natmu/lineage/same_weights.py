"""Weights in files that are those of runs, whatever the file is like and its names are."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from natmu.engine.store import Run, Store
from natmu.errors import ModelError, RunError
from natmu.machine import raise_passing
from natmu.records.derived import forget_of
from natmu.records.lineage import AnyLineage, Referenced, Trained, Unlearned
from natmu.records.run import WEIGHTS
from natmu.records.tensors import open_tensors

CONSTANTS = frozenset({"normalize.mean", "normalize.std"})
"""Names of what normalises the images of our own models; files from elsewhere lack them."""


def refuse_forgetful(state: Mapping[str, Tensor], file: Path, store: Store) -> None:
    """Refuse to take a model for an original that has forgotten something, where its run is in the store.

    Args:
        state: The weights in the file, by the names of the architecture.
        file: Where they came from.
        store: Where the run may be.

    A run whose method changed nothing has the weights of its source, which may be meant.

    Raises:
        ModelError: A run that has a forget set has exactly these weights.
    """
    for run in store.all():
        lineage = run.record.lineage
        forget = forget_of(lineage) if isinstance(lineage, Trained | Unlearned) else None
        if forget is not None and has_weights(run, state) and not is_ancestor(state, run):
            raise ModelError(
                f"{file} holds the weights of {run.path}, which has forgotten {forget.request.text}; give --from "
                f"{run.path}, so that nothing trains on that again."
            )


def has_weights(run: Run, state: Mapping[str, Tensor], left_out: Collection[str] = CONSTANTS) -> bool:
    """Whether a run's model has exactly these weights, or what is left of them in the type of a file.

    No more tensors are read than it takes to find a difference. Counters of batches do not matter, as files lack them.

    Args:
        run: The run.
        state: Weights by the names of the architecture; float32, or the type of the file that they came from.
        left_out: Names that do not matter.
    """
    try:
        with open_tensors(run.path / WEIGHTS, "pt") as file:
            weighed = {name for name, value in state.items() if value.is_floating_point()} - set(left_out)
            stored = set(file.keys())
            if not weighed <= stored or not all(_alike(file.get_tensor(name), state[name]) for name in sorted(weighed)):
                return False
        return bool(run.verified(WEIGHTS))  # last, as it reads the whole file
    except (OSError, SafetensorError, RunError) as error:
        raise_passing(error)
        return False  # a damaged run, or one without a model, is nobody's


def is_ancestor(state: Mapping[str, Tensor], run: Run) -> bool:
    """Whether weights are those of a model that the run's model was made from, which lies beside the run."""
    beside = Store(run.path.resolve().parent)
    lineage: AnyLineage | Referenced = run.record.lineage
    while isinstance(lineage, Unlearned | Referenced):
        lineage = lineage.source if isinstance(lineage, Unlearned) else _before(lineage, beside)
        found = beside.find(lineage.digest)
        if found is not None and has_weights(found, state):
            return True
    return False


def _before(model: Referenced, store: Store) -> AnyLineage | Referenced:
    """What a model that is named by its run was made from, as that run says; the root of its sequence without it."""
    found = store.find(model.run)
    lineage = None if found is None else found.record.lineage
    return lineage.source if isinstance(lineage, Unlearned) else model.root


def _alike(stored: Tensor, given: Tensor) -> bool:
    """Whether a tensor is a stored one, which its file may have rounded to a shorter type and flattened."""
    if stored.shape != given.shape and stored.numel() != given.numel():
        return False
    given = given.detach().cpu().reshape(stored.shape)
    types = {given.dtype, torch.float16, torch.bfloat16}
    return any(torch.equal(stored.to(kind).to(given.dtype), given) for kind in types)
