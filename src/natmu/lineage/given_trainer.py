"""The user's own training as Python hands it over: a function, which may have no name to be found by."""

from __future__ import annotations

import copy
import functools
import hashlib
import inspect
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn
from torch.utils.data import Subset

from natmu.data import ImageData, corrected_samples
from natmu.data.own import ArraySamples, Samples
from natmu.errors import ModelError, SettingError
from natmu.lineage.own_training import Trainer, call, fill, function_of, require_signature, resolved
from natmu.models import Ensemble, network_of
from natmu.records.settings import OwnTraining
from natmu.types import ForgetSet


def recipe_of(trainer: object, *, kept: bool) -> tuple[OwnTraining, Trainer | None]:
    """The user's own function as a recipe, with the function itself where it was handed over.

    Args:
        trainer: A function ``train(samples, seed)``, a ``functools.partial`` of one with its further arguments, or
            ``package.module:function``.
        kept: Whether models that it trains are kept in a folder, and so must be known again.

    Raises:
        SettingError: It is none of these, or cannot be known again.
    """
    if isinstance(trainer, str):
        recipe = resolved(OwnTraining.parse({"trainer": trainer}, "trainer"))
        assert isinstance(recipe, OwnTraining), "it has a trainer"
        return recipe, None
    if not callable(trainer):
        raise SettingError(f"trainer must be a function train(samples, seed), not {type(trainer).__name__}.")
    partial = trainer if isinstance(trainer, functools.partial) and not trainer.args else None
    function = trainer if partial is None else partial.func
    known = inspect.isfunction(function) and "<" not in function.__qualname__
    if not known and kept:
        raise SettingError(
            "With folder, trainer must be a function of a module, so that natmu finds its models again. Define it at "
            "the top of a file, and give further arguments with functools.partial(train, lr=…)."
        )
    if not known:
        name = getattr(function, "__qualname__", type(function).__name__)
        require_signature(trainer, recipe := OwnTraining(trainer=f"{function.__module__}:{name}"))
        return recipe, trainer
    values = {
        "trainer": f"{function.__module__}:{function.__qualname__}",
        "arguments": {} if partial is None else partial.keywords,
        "source": _source_of(function),
    }
    recipe = OwnTraining.parse(values, "trainer")
    require_signature(function, recipe)
    return recipe, function


def require_one_network(model: nn.Module) -> None:
    """Refuse to train a model of shards by one call of the user's own function, which gives one network.

    Raises:
        ModelError: It is one.
    """
    if isinstance(network_of(model), Ensemble):
        raise ModelError(
            "The model is made of shards, and a call of trainer gives one network. Train shards with "
            "natmu.train_shards on the data without the samples, with seed=1, 2, … and another store for each. Then "
            "give natmu.audit retrained=[…] instead of trainer."
        )


def retrain_by(
    trainer: object, model: nn.Module, train_data: object, train: ImageData, forget: ForgetSet, seed: int
) -> tuple[nn.Module, float, OwnTraining]:
    """The model that the user's own function trains without what is forgotten.

    Args:
        trainer: As ``recipe_of``.
        model: The original, whose architecture it must have.
        train_data: What it was trained on, as the user gave it.
        train: The same, as natmu reads it.
        forget: What is left out.
        seed: Of everything random.

    Returns:
        The model, in evaluation mode, the seconds that it took, and the recipe.

    Raises:
        UsageError: The function is none, returns no such model, or the original is made of shards.
        TrainingError: The function fails.
    """
    require_one_network(model)
    recipe, function = recipe_of(trainer, kept=False)
    kept = np.setdiff1d(np.arange(len(train) + len(forget.corrections)), forget.left_out)
    log = Path(tempfile.gettempdir(), f"natmu-trainer-{os.getpid()}.log")
    start = time.perf_counter()
    samples = Subset(corrected_samples(as_given(train_data, train), train, forget), kept.tolist())
    trained = call(function or function_of(recipe), samples, seed, recipe, log)
    seconds = time.perf_counter() - start
    result = copy.deepcopy(model)
    fill(result, trained, recipe.trainer)
    return result.eval(), seconds, recipe


def as_given(given: object, read: ImageData) -> Samples:
    """The user's own samples one by one; those of arrays as models take them."""
    items = hasattr(given, "__getitem__") and not isinstance(given, ImageData | tuple | list)
    return cast(Samples, given) if items else ArraySamples(read)


def _source_of(function: Callable[..., Any]) -> str:
    """Digest of the file of a function, or of its own text where it has no file."""
    file = inspect.getsourcefile(inspect.unwrap(function))
    known = file is not None and Path(file).is_file()
    content = Path(file or "").read_bytes() if known else inspect.getsource(function).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()
