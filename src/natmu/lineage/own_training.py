"""Training by the user's own function, a recipe like any other: of its models only whole ones are kept.

The function is called as ``train(samples, seed, **arguments)``. It gets the user's own data set restricted to the
samples that may be seen, and returns the trained model.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
import random
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, Dataset, Subset

from natmu.data import Splits, corrected_samples, own_parts
from natmu.engine import processes
from natmu.engine.loop import load_optimizers
from natmu.errors import FAULTS, ModelError, SettingError, TrainingError, UsageError, importable, quoted
from natmu.functions import current_directory_first
from natmu.lineage.division import settled
from natmu.lineage.pools import Pool
from natmu.lineage.workspace import Workspace
from natmu.models import network_of, source_digest
from natmu.records.settings import AnyTraining, OwnTraining
from natmu.safe_text import for_log
from natmu.types import ForgetSet, IntArray

Trainer = Callable[..., nn.Module]

SEEDS = 2**31
"""Seeds are below it, so that ``numpy.random.seed`` and all others take them."""


def resolved(recipe: AnyTraining) -> AnyTraining:
    """A recipe with all that natmu fills in.

    Of the user's own function, which is imported and looked at, it is the digest of its file; of shards their threads.

    Raises:
        UsageError: It cannot be imported, cannot be called so, or is not what it was, or several processes are to train
            shards.
    """
    recipe = settled(recipe)
    if not isinstance(recipe, OwnTraining):
        return recipe
    function_of(recipe)
    return recipe.model_copy(update={"source": source_digest(recipe.trainer)})


def require_trainer(recipe: AnyTraining, workspace: Workspace) -> None:
    """Refuse to train by a function that has changed since other models were trained by it, before anything is made.

    Raises:
        UsageError: It has, or it cannot be imported or called.
    """
    if isinstance(recipe, OwnTraining):
        _called(recipe, workspace)


def _called(recipe: OwnTraining, workspace: Workspace) -> Trainer:
    """The function that trains here."""
    if processes.count() > 1:
        raise UsageError(f"{recipe.trainer} is called in one process; leave torchrun out, and start more in it.")
    if workspace.trainer is not None:
        require_signature(workspace.trainer, recipe)
    return workspace.trainer or function_of(recipe)


def train_own(
    network: nn.Module,
    samples: Dataset[Any],
    recipe: OwnTraining,
    seed: int,
    workspace: Workspace,
    log: Path,
    **further: object,
) -> float:
    """Let the user's own function train a model, and put its weights into a network.

    The global generators of random numbers begin with the seed, and are as before afterwards. What the function prints
    goes to standard error.

    Args:
        network: Of the architecture that the model must have; it is filled.
        samples: All that the function gets to see.
        recipe: The function and its arguments.
        seed: Of everything random.
        workspace: Where models are made.
        log: Where the traceback of an error is written.
        **further: What else the function gets.

    Returns:
        Seconds that it took.

    Raises:
        UsageError: The function has changed, or returns what is no such model.
        TrainingError: It fails, or its model is not finite.
    """
    train = _called(recipe, workspace)
    load_optimizers()
    start = time.perf_counter()
    trained = call(train, samples, seed, recipe, log, **further)
    seconds = time.perf_counter() - start
    fill(network, trained, recipe.trainer)
    return seconds


def call(train: Trainer, samples: Dataset[Any], seed: int, recipe: OwnTraining, log: Path, **further: object) -> object:
    """What the user's own function returns, called with the generators seeded.

    Raises:
        TrainingError: It fails; the traceback is in the log.
    """
    try:
        with unchanged(), seeded(seed % SEEDS), redirect_stdout(sys.stderr), torch.enable_grad():
            return train(samples, seed % SEEDS, **recipe.arguments, **further)
    except (Exception, SystemExit) as error:  # the code is the user's, and may raise anything, or end the program
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(for_log(traceback.format_exc()), encoding="utf-8")
        raise TrainingError(f"{recipe.trainer} failed ({quoted(error)}); the traceback is in {log}.") from error


def fill(network: nn.Module, trained: object, name: str) -> None:
    """Put the weights of what the user's own function returned into a network of the same architecture.

    Args:
        network: The network.
        trained: What was returned.
        name: Of the function.

    Raises:
        ModelError: It is no model, or one of another architecture.
        TrainingError: Its weights are not finite.
    """
    if not isinstance(trained, nn.Module):
        raise ModelError(f"{name} returned {type(trained).__name__}; it must return the trained torch.nn.Module.")
    own = network_of(network).state_dict()
    given = _unwrapped(trained, own.keys()).state_dict()
    misfits = sorted(given.keys() ^ own.keys())
    misfits += sorted(key for key in given.keys() & own.keys() if given[key].shape != own[key].shape)
    if misfits:
        raise ModelError(
            f"{name} returned a {type(trained).__name__} that is not of the architecture of the original: "
            f"{len(misfits)} of its weights, such as {misfits[0]}, are missing, new or of another shape. Return the "
            "same architecture."
        )
    empty = next((key for key, value in given.items() if value.is_meta), None)
    if empty is not None:
        raise ModelError(f"{name} returned a model on the meta device, which has no weights; return a trained one.")
    broken = next((key for key, value in given.items() if not _finite(value)), None)
    if broken is not None:
        raise TrainingError(f"{name} returned weights that are not finite, such as {broken}; lower its learning rate.")
    network_of(network).load_state_dict(given)


def samples_of(
    splits: Splits, positions: IntArray, pool: Pool | None = None, forget: ForgetSet | None = None
) -> Subset[Any]:
    """The user's own samples at some positions.

    Args:
        splits: The data.
        positions: In the training data with what was corrected behind it, int64 ``(M,)``, or in the data of the pool.
        pool: That of a shadow model, whose non-members come after the training data.
        forget: What is forgotten, and what was corrected.
    """
    parts = own_parts(splits)
    if pool is None:
        train = parts.train if forget is None else corrected_samples(parts.train, splits.train, forget)
        return Subset(train, positions.tolist())
    count = len(splits.train)
    rows = np.concatenate([np.arange(count), count + pool.rows])
    return Subset(ConcatDataset([parts.train, parts.test]), rows[positions].tolist())


@contextmanager
def unchanged() -> Iterator[None]:
    """Let modules in the current directory be imported; leave what a script sets for the whole process as it was."""
    here, kind, threads = Path.cwd(), torch.get_default_dtype(), torch.get_num_threads()
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    tuned, repeated = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        with current_directory_first():
            yield
    finally:
        os.chdir(here)
        torch.set_default_dtype(kind)
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=warns)
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = tuned, repeated


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let all global generators of random numbers begin with a seed, and leave them as they were."""
    used = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if used else []
    plain, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002 - the user's code may draw from it
    try:
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            np.random.seed(seed)  # noqa: NPY002
            random.seed(seed)
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)  # noqa: NPY002


def function_of(recipe: OwnTraining) -> Trainer:
    """The function by its name, as it was when models were trained by it."""
    name = recipe.trainer
    with current_directory_first():
        try:
            found = pkgutil.resolve_name(name)
        except FAULTS as error:
            raise SettingError(
                f"Trainer {name!r} cannot be imported ({quoted(error)}): write {importable(name)}, with the "
                "module in the current directory or installed."
            ) from error
    if not callable(found):
        raise SettingError(f"Trainer {name!r} is a {type(found).__name__}; name a function train(samples, seed).")
    require_signature(found, recipe)
    if recipe.source is not None and source_digest(name) != recipe.source:
        raise SettingError(
            f"The file that defines {name} has changed since the original was trained by it; restore that file, or "
            "train the original again."
        )
    train: Trainer = found
    return train


def require_signature(train: Trainer, recipe: OwnTraining) -> None:
    """Refuse a function that does not take samples, seed and the arguments.

    A function that trains shards of several slices also takes ``start``, the model of the slices before.

    Raises:
        SettingError: It does not.
    """
    sliced = recipe.sharding is not None and recipe.sharding.slices > 1
    names = [*recipe.arguments, *(["start"] if sliced else [])]
    try:
        inspect.signature(train).bind(None, 0, **dict.fromkeys(names))
    except (TypeError, ValueError) as error:
        wanted = ", ".join(["samples", "seed", *(f"{name}=…" for name in names)])
        why = "; with slices, start is the model of the slices before, and None at first" if sliced else ""
        raise SettingError(f"{recipe.trainer} cannot be called as train({wanted}): {error}{why}.") from None
    if sliced and "start" in recipe.arguments:
        raise SettingError(f"{recipe.trainer} gets start from natmu where it trains slices; leave that argument out.")


def _unwrapped(model: nn.Module, wanted: Collection[str]) -> nn.Module:
    """The model inside of wrappers that average, compile or spread it, unless the original has those wrappers too."""
    while wanted != model.state_dict().keys():
        inside = getattr(model, "module", getattr(model, "_orig_mod", None))
        if not isinstance(inside, nn.Module):
            break
        model = inside
    return model


def _finite(value: Tensor) -> bool:
    """Whether a tensor has no NaN and no infinity."""
    return bool(value.isfinite().all()) if value.is_floating_point() else True
