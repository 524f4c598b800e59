"""Whether the user's own function trains the same model again: without that, nothing of its shards is exact."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from natmu.errors import TrainingError
from natmu.lineage.shard_training import Shards
from natmu.progress import say
from natmu.records.derived import stages_of
from natmu.records.lineage import Stage
from natmu.records.settings import OwnTraining


def require_same_again(network: nn.Module, stage: Stage, shards: Shards, log: Path) -> None:
    """Call the user's own function again for the first stage of an original, and refuse it where the weights differ.

    They differ where it goes on from what the call before left behind, or draws random numbers of its own. This takes
    the time of one stage: with S shards of one slice 1 / S of the original's training. Weights or files that know the
    samples cannot be seen so, nor what the first call of all decides for all others.

    Args:
        network: What the first call has trained.
        stage: Which stage it is; of all but the first one nothing is called.
        shards: What it is trained on.
        log: Where the traceback of an error is written.

    Raises:
        TrainingError: The weights differ, or the second call fails.
    """
    recipe = shards.model.recipe
    if not isinstance(recipe, OwnTraining) or stage != stages_of(shards.model, 0)[0]:
        return
    say(f"{recipe.trainer} is called a second time for the first shard, to see whether it gives the same weights.")
    again = shards.initial(0)
    shards.train(again, stage.shard, stage.slices, "again", None, log)
    first, second = network.state_dict(), again.state_dict()
    differing = [name for name, value in first.items() if not torch.equal(value, second[name])]
    if differing:
        raise TrainingError(
            f"{recipe.trainer} gave other weights when it was called again with the same samples and seed, such as "
            f"{differing[0]}, so that shards cannot forget exactly. Build the network in the function, keep nothing "
            "between calls, draw no random numbers but those that natmu seeds, and let PyTorch compute "
            "deterministically: torch.use_deterministic_algorithms(True)."
        )
