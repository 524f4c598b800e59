"""Which shard and slice each sample belongs to, how long each slice is trained on, and what forgetting costs.

Nothing here depends on how many samples there are or where they stand: a sample that goes changes nothing for others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from unicodedata import normalize

import numpy as np
import numpy.typing as npt
import torch

from natmu.engine import processes
from natmu.errors import UsageError
from natmu.records.settings import AnyTraining, OwnTraining, Sharding, TrainSettings
from natmu.types import BoolArray, IntArray, seed_for

FEWEST = 2
"""Samples that a shard needs: batch normalisation cannot learn from one."""

UNKNOWN = -1
"""Stands for the shard of a sample that was gone when the data was divided."""


@dataclass(frozen=True, eq=False)
class Division:
    """Where each sample belongs.

    Attributes:
        shards: Number of its shard, from 0; ``UNKNOWN`` of a sample that was gone. int64 ``(N,)``.
        slices: Number of its slice within the shard, from 0, likewise.
    """

    shards: IntArray
    slices: IntArray

    @classmethod
    def of_array(cls, array: npt.NDArray[np.int16]) -> Division:
        """The division that ``array`` made."""
        return cls(*array.T.astype(np.int64))

    @property
    def array(self) -> npt.NDArray[np.int16]:
        """Both numbers as a run folder keeps them, int16 ``(N, 2)``."""
        return np.stack([self.shards, self.slices], axis=1).astype(np.int16)

    def __len__(self) -> int:
        return len(self.shards)

    def at(self, rows: IntArray) -> Division:
        """The division of some of the samples."""
        return Division(self.shards[rows], self.slices[rows])

    def followed_by(self, other: Division) -> Division:
        """The division of these samples and others behind them."""
        return Division(np.append(self.shards, other.shards), np.append(self.slices, other.slices))

    def until(self, shard: int, slices: int) -> BoolArray:
        """Which samples are in the first slices of a shard, bool ``(N,)``."""
        inside: BoolArray = (self.shards == shard) & (self.slices < slices)
        return inside


def divide(names: Iterable[str], sharding: Sharding, seed: int) -> Division:
    """Divide samples by a keyed hash of their names.

    With ``h`` the hash of a name, its shard is ``h mod S`` and its slice ``(h div S) mod R``. So the sizes are random,
    as those of throwing dice, and where a sample belongs depends on no other sample. The key is drawn from the seed:
    nobody can choose names so that all of them fall into one shard who does not know it.

    Args:
        names: One name per sample. An accent is the same as one character and as two, as file systems write it.
        sharding: Numbers of shards and slices.
        seed: Of the training.
    """
    key = seed_for(seed, "division").to_bytes(8, "little")
    encoded = (normalize("NFC", name).encode("utf-8", "surrogateescape") for name in names)
    drawn = b"".join(hashlib.blake2b(name, digest_size=8, key=key).digest() for name in encoded)
    numbers = np.frombuffer(drawn, "<u8")
    shards, slices = numbers % sharding.shards, numbers // sharding.shards % sharding.slices
    return Division(shards.astype(np.int64), slices.astype(np.int64))


def stage_epochs(epochs: int, slices: int) -> tuple[int, ...]:
    """For how many epochs each stage trains, of a training of so many epochs.

    Stage i trains on slices 1 to i of R for 2e / (R + 1) epochs on average, so that all stages together show as many
    samples as e epochs on everything, to within half an epoch. They are rounded down cumulatively, except that the last
    stage has at least one: its slice would not be learnt otherwise.

    Source:
        cleverhans-lab/machine-unlearning, sisa.py, ``avg_epochs_per_slice`` and ``slice_epochs``, which may leave the
        last stage without any.

    Args:
        epochs: e.
        slices: R.

    Returns:
        R numbers.
    """
    ends = [2 * epochs * number // (slices + 1) for number in range(slices + 1)]
    ends[:-1] = [min(end, ends[-1] - 1) for end in ends[:-1]]
    return tuple(end - begin for begin, end in pairwise(ends))


def work_of(division: Division, kept: BoolArray, first: dict[int, int], epochs: tuple[int, ...]) -> float:
    """Samples times epochs of some stages; one of too few samples is not trained.

    Args:
        division: Of all samples.
        kept: Which of them are trained on, bool ``(N,)``.
        first: By number of a shard, its first stage that is counted, from 1; those after it are too.
        epochs: Of each stage.
    """
    stages = [(shard, slices) for shard, begin in first.items() for slices in range(begin, len(epochs) + 1)]
    shown = [int((division.until(shard, slices) & kept).sum()) for shard, slices in stages]
    taken = zip(stages, shown, strict=True)
    return float(sum(epochs[slices - 1] * count for (_, slices), count in taken if count >= FEWEST))


def first_affected(division: Division, left_out: IntArray) -> dict[int, int]:
    """By number of each shard that holds samples which are left out, its first stage that saw one of them, from 1."""
    shards, slices = division.shards[left_out], division.slices[left_out]
    known = shards != UNKNOWN
    return {int(shard): int(slices[shards == shard].min()) + 1 for shard in np.unique(shards[known])}


def stage_seed(seed: int, shard: int, slices: int) -> int:
    """The seed of a stage: another for each, and the same whatever becomes of other shards."""
    return seed_for(seed, "shard", shard, "slices", slices)


def stage_settings(recipe: TrainSettings, slices: int) -> TrainSettings | None:
    """How a stage is trained: with an optimiser and a schedule of its own, and its part of the epochs.

    Warm-up takes the same part of each stage as of the whole training.

    Args:
        recipe: Of the whole model.
        slices: Number of the stage, from 1.

    Returns:
        None where the stage has no epoch.
    """
    assert recipe.sharding is not None, "it is divided"
    epochs = stage_epochs(recipe.epochs, recipe.sharding.slices)[slices - 1]
    if not epochs:
        return None
    warmup = recipe.warmup_epochs * epochs / recipe.epochs
    return recipe.model_copy(update={"epochs": epochs, "warmup_epochs": warmup, "sharding": None})


def require_one_process() -> None:
    """Refuse to train shards in several processes on one model: each shard has few samples, and shards share nothing.

    Raises:
        UsageError: There are several.
    """
    if processes.count() > 1:
        raise UsageError(
            "Each shard is a model, and one process trains them side by side; leave torchrun out, or use a study with "
            "executor: ray."
        )


def settled(recipe: AnyTraining) -> AnyTraining:
    """A recipe that says how many threads train each shard: their part of those that there are here.

    Threads change the last digits, so whoever trains a shard again must use as many.

    Raises:
        UsageError: Several processes are to train it.
    """
    if not isinstance(recipe, TrainSettings | OwnTraining) or recipe.sharding is None:
        return recipe
    require_one_process()
    if recipe.sharding.threads:
        return recipe
    threads = max(1, torch.get_num_threads() // recipe.sharding.shards)
    return recipe.model_copy(update={"sharding": recipe.sharding.model_copy(update={"threads": threads})})
