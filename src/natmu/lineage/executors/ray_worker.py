"""What a worker of a Ray cluster does: it makes a workspace of what its machine has in memory, and models in it."""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from natmu.data import ImageData
from natmu.engine.memory import keep_freed_memory
from natmu.engine.store import Store
from natmu.engine.threads import threads
from natmu.errors import UsageError
from natmu.lineage.executors.outcomes import Outcome, make
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import AnyLineage
from natmu.records.run import RECORD


@dataclass(frozen=True)
class Shared:
    """What all models have in common, as each machine has it in memory.

    Attributes:
        workspace: As ``packed`` makes it.
        logs: Folder of logs.
        cpus: Threads for each model.
        on_gpu: Whether models are made on GPUs.
        token: A file in the store that this machine must see.
        patience: Seconds until it must see what another machine has written.
    """

    workspace: Workspace
    logs: Path
    cpus: int
    on_gpu: bool
    token: Path
    patience: float


def packed(workspace: Workspace) -> Workspace:
    """A workspace that Ray hands to other processes without a copy of its images, and that knows their digests."""
    _ = workspace.data  # computes the digests, once for all
    store = Store(workspace.store.root.absolute(), workspace.store.checkpoint_seconds)
    return _with_images(replace(workspace, store=store, pools={}, features={}), _as_array)


def unpacked(shared: Shared) -> Workspace:
    """The workspace of a worker.

    Raises:
        UsageError: This machine cannot see the store, or has no GPU where it should.
    """
    here, store = socket.gethostname(), shared.workspace.store.root
    if not _appears(shared.token, shared.patience):
        raise UsageError(
            f"The machine {here} does not see {store}; let --out name a folder on a file system that all machines of "
            "the cluster share."
        )
    if shared.on_gpu and not torch.cuda.is_available():
        raise UsageError(
            f"PyTorch finds no GPU on the machine {here}; install a build of it for CUDA there, or set executor.gpus "
            "to 0."
        )
    compute = replace(shared.workspace.compute, device=torch.device("cuda" if shared.on_gpu else "cpu"))
    return _with_images(replace(shared.workspace, compute=compute), _as_tensor)


def work(model: AnyLineage, runs: Sequence[Path], reference: Sequence[Any]) -> Outcome:
    """Make a model in a worker.

    Args:
        model: The model.
        runs: Folders of the runs of its sources, which perhaps were made on other machines.
        reference: Ray's reference to a ``Shared``, in a list: Ray would look it up anew for each model otherwise.
    """
    shared, workspace = _prepared(reference[0])
    for run in runs:
        _appears(run / RECORD, shared.patience)  # else it would be made once more
    with threads(shared.cpus):
        return make(model, workspace, shared.logs)


@lru_cache(maxsize=1)
def _prepared(reference: Any) -> tuple[Shared, Workspace]:  # noqa: ANN401 - references have no type without Ray
    """What all models have in common and the workspace made of it, once in each worker."""
    import ray

    keep_freed_memory()
    shared: Shared = ray.get(reference)
    return shared, unpacked(shared)


def _with_images(workspace: Workspace, change: Callable[[ImageData], ImageData]) -> Workspace:
    """A workspace with its images in another form."""
    splits = workspace.splits
    holdout = None if splits.holdout is None else change(splits.holdout)
    changed = replace(splits, train=change(splits.train), test=change(splits.test), holdout=holdout)
    return replace(workspace, splits=changed)


def _as_array(data: ImageData) -> ImageData:
    """Images in memory as an array, which Ray puts into shared memory; those that are mapped stay so."""
    return data.kept_as(data.images.numpy()) if isinstance(data.images, torch.Tensor) else data


def _as_tensor(data: ImageData) -> ImageData:
    """An array in shared memory as a tensor; it must not be written to, and nothing of ours does."""
    if not isinstance(data.images, np.ndarray):
        return data
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return data.kept_as(torch.from_numpy(data.images))


def _appears(file: Path, patience: float) -> bool:
    """Whether a file is there, or will be before long."""
    deadline = time.monotonic() + patience
    while not file.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
