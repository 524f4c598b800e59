"""Whether the user's own function trains the same model again: without that, nothing of its shards is exact."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from types import NoneType

import torch
from torch import Tensor, nn

from natmu.engine.checkpoint import Checkpoint
from natmu.errors import TrainingError
from natmu.lineage.own_training import Trainer, function_of
from natmu.lineage.shard_training import Piece, Shards
from natmu.progress import decide, say
from natmu.records.derived import stages_of, title
from natmu.records.lineage import Stage
from natmu.records.settings import OwnTraining

KEPT = (
    "{trainer} has changed {names} at the top of its file. What a call leaves there may carry samples into the models "
    "of other shards, which then forget nothing exactly. Make sure that no later call reads it."
)
"""What is said where a call leaves something behind."""


def train_stage(network: nn.Module, stage: Stage, shards: Shards, checkpoint: Checkpoint, log: Path) -> Piece:
    """Train a stage in place; of an original by the user's own function, check the first one.

    Args:
        network: The model of the stage before it, or with initial weights.
        stage: The stage.
        shards: What it is trained on.
        checkpoint: Where its unfinished state is kept.
        log: Where the traceback of an error is written.

    Raises:
        UsageError: The user's own function cannot be used.
        TrainingError: A loss is no longer finite, the function fails, or does not train the same model again.
    """
    recipe = shards.model.recipe
    label, first = title(stage), stages_of(shards.model, 0)[0]
    if not isinstance(recipe, OwnTraining) or stage != first:
        return shards.train(network, stage.shard, stage.slices, label, checkpoint, log)
    function = shards.workspace.trainer or function_of(recipe)
    before = _top_of_file(function)
    piece = shards.train(network, stage.shard, stage.slices, label, checkpoint, log)
    after = _top_of_file(function)
    if changed := [name for name, value in after.items() if name not in before or before[name] != value]:
        decide(KEPT.format(trainer=recipe.trainer, names=", ".join(changed)))
    _require_same_again(network, stage, shards, log)
    return piece


def _top_of_file(function: Trainer) -> dict[str, object]:
    """What tells whether the values at the top of a function's file have changed, by their names."""
    plain = function.func if isinstance(function, functools.partial) else inspect.unwrap(function)
    names = getattr(plain, "__globals__", {})
    return {name: _state(value) for name, value in names.items() if not name.startswith("__")}


def _state(value: object) -> object:
    """What tells whether a value has changed, without reading it: PyTorch counts what is written into a tensor."""
    if isinstance(value, nn.Module):
        return [_state(tensor) for tensor in (*value.parameters(), *value.buffers())]
    if isinstance(value, Tensor):
        return id(value), None if value.is_inference() else value._version
    if isinstance(value, dict | list | set):
        return len(value)
    return value if isinstance(value, bool | int | float | str | NoneType) else id(value)


def _require_same_again(network: nn.Module, stage: Stage, shards: Shards, log: Path) -> None:
    """Call the user's own function again for the first stage of an original, and refuse it where the weights differ.

    They differ where it goes on from what the call before left behind, or draws random numbers of its own. This takes
    the time of one stage: with S shards of one slice 1 / S of the original's training. Weights or files that know the
    samples cannot be seen so, nor what the first call of all decides for all others.

    Args:
        network: What the first call has trained.
        stage: The stage.
        shards: What it is trained on.
        log: Where the traceback of an error is written.

    Raises:
        TrainingError: The weights differ, or the second call fails.
    """
    recipe = shards.model.recipe
    assert isinstance(recipe, OwnTraining), "natmu's own training gives the same again"
    say(f"{recipe.trainer} is called a second time for the first shard, to see whether it gives the same weights.")
    again = shards.initial(0)
    shards.train(again, stage.shard, stage.slices, "again", None, log)
    first, second = network.state_dict(), again.state_dict()
    differing = [name for name, value in first.items() if not torch.equal(value, second[name])]
    if differing:
        raise TrainingError(
            f"{recipe.trainer} gave other weights when it was called again with the same samples and seed, such as "
            f"{differing[0]}, so shards cannot forget exactly. Build the network in the function, keep nothing between "
            "calls, draw only random numbers that natmu seeds, and let PyTorch compute deterministically: "
            "torch.use_deterministic_algorithms(True)."
        )
