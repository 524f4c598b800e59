"""Training shards: which samples a stage of a shard sees, how it is trained, and a whole model of shards in memory."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from natmu.data import ImageData, with_corrections
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.loop import load_optimizers
from natmu.engine.threads import threads
from natmu.engine.training import train_classifier
from natmu.errors import SettingError
from natmu.lineage.division import (
    FEWEST,
    UNKNOWN,
    Division,
    divide,
    require_one_process,
    stage_seed,
    stage_settings,
)
from natmu.lineage.own_training import samples_of, train_own
from natmu.lineage.pools import Pool
from natmu.lineage.workspace import Workspace
from natmu.models import network_of
from natmu.records.derived import stages_of
from natmu.records.lineage import Initial, Trained
from natmu.records.run import History
from natmu.records.settings import OwnTraining, Sharding, TrainSettings
from natmu.types import BoolArray, ForgetSet, IntArray


@dataclass(frozen=True)
class Piece:
    """What one stage took.

    Attributes:
        seconds: Wall time, at least.
        history: One row per epoch.
        confidence: Mean confidence of each sample, 0 of those that it did not see; None where it was not noted.
    """

    seconds: float = 0.0
    history: History = field(default_factory=list)
    confidence: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Shards:
    """What the shards of a model are trained on.

    Attributes:
        workspace: Where they are trained.
        model: A model that they make up, for its recipe, its seed and its start.
        data: All samples, with those that were corrected or drawn for a pool behind the training data.
        division: Of these samples.
        kept: Which of them are trained on, bool ``(N,)``.
        samples: The user's own samples at positions in ``data``.
        whole: The division of the whole training data, which run folders keep.
    """

    workspace: Workspace
    model: Trained
    data: ImageData
    division: Division
    kept: BoolArray
    samples: Callable[[IntArray], Dataset[Any]]
    whole: Division

    @property
    def sharding(self) -> Sharding:
        """How the data is divided."""
        return sharding_in(self.model)

    @cached_property
    def alive(self) -> list[int]:
        """Numbers of the shards that have enough samples to be trained at all."""
        return [shard for shard in range(self.sharding.shards) if len(self.rows(shard)) >= FEWEST]

    def rows(self, shard: int, slices: int | None = None) -> IntArray:
        """Positions of what the first slices of a shard are trained on, of all its slices by default."""
        until = self.division.until(shard, self.sharding.slices if slices is None else slices)
        return np.flatnonzero(until & self.kept)

    def train(
        self, network: nn.Module, shard: int, slices: int, label: str, checkpoint: Checkpoint | None, log: Path
    ) -> Piece:
        """Train a stage in place; the weights stay as they are where it has no epoch, or fewer than two samples.

        Args:
            network: The model of the stage before it, or with initial weights.
            shard: Number of the shard.
            slices: How many slices it sees.
            label: Names the work.
            checkpoint: Where its unfinished state is kept.
            log: Where the traceback of an error in the user's own function is written.
        """
        recipe, rows = self.model.recipe, self.rows(shard, slices)
        seed = stage_seed(self.model.seed, shard, slices)
        history: History = []
        if len(rows) < FEWEST:
            return Piece()
        load_optimizers()
        start = time.perf_counter()
        if isinstance(recipe, OwnTraining):
            begun = slices > 1 and len(self.rows(shard, slices - 1)) >= FEWEST
            before = copy.deepcopy(network_of(network)) if begun else None
            further = {"start": before} if self.sharding.slices > 1 else {}
            return Piece(train_own(network, self.samples(rows), recipe, seed, self.workspace, log, **further))
        assert isinstance(recipe, TrainSettings), "no head is trained in shards"
        settings = stage_settings(recipe, slices)
        if settings is None:
            return Piece()
        compute = self.workspace.compute.at(self.model.arithmetic)
        own = self.data.subset(rows)  # which never had another sample: of floats even their range changes training
        noted = {"seed": seed, "label": label, "checkpoint": checkpoint, "history": history}
        meter = train_classifier(network, own, torch.arange(len(own)), settings, compute, **noted)  # type: ignore[arg-type]
        seconds = max(time.perf_counter() - start, sum(row["seconds"] for row in history))
        confidence = torch.zeros(len(self.data))
        confidence[torch.from_numpy(rows)] = meter.confidence()
        return Piece(seconds, history, confidence)

    def initial(self, shard: int) -> nn.Module:
        """The model of a shard with its initial weights."""
        start = stages_of(self.model, shard)[0].start
        assert isinstance(start, Initial), "the first stage begins there"
        return self.workspace.start(start)

    def in_memory(
        self, checkpoint: Checkpoint, log: Path, label: str, only: Collection[int] | None = None
    ) -> tuple[dict[int, nn.Module], History, float]:
        """Train shards one after another, with all their slices, and keep no stage.

        Args:
            checkpoint: Where the unfinished run is kept, and shards that are done.
            log: Where the traceback of an error in the user's own function is written.
            label: Names the work.
            only: Numbers of the shards; all by default. One without enough samples is left out.

        Returns:
            The models by number of their shard, one row per epoch, and the seconds of all.
        """
        require_one_process()
        models: dict[int, nn.Module] = {}
        history: History = []
        seconds = 0.0
        for shard in self.alive if only is None else sorted({*self.alive} & {*only}):
            models[shard] = self.initial(shard)
            done = checkpoint.kept(f"shard-{shard}", models[shard])
            if done is None:
                done = self._slices(models[shard], shard, checkpoint, log, label)
                checkpoint.keep(f"shard-{shard}", models[shard], *done)
            history += numbered(done[0], len(history))
            seconds += done[1]
        return models, history, seconds

    def _slices(
        self, network: nn.Module, shard: int, checkpoint: Checkpoint, log: Path, label: str
    ) -> tuple[History, float]:
        """Train all slices of a shard in place."""
        history: History = []
        seconds = 0.0
        with threads(self.sharding.threads):
            for slices in range(1, self.sharding.slices + 1):
                unfinished = checkpoint.stage(f"{shard}-{slices}")
                piece = self.train(network, shard, slices, f"{label}, shard {shard}", unfinished, log)
                history += marked(piece.history, shard, slices)
                seconds += piece.seconds
        return history, seconds


def sharding_in(model: Trained) -> Sharding:
    """How the data of a model is divided that is trained in shards."""
    recipe = model.recipe
    assert isinstance(recipe, TrainSettings | OwnTraining), "no head is trained in shards"
    assert recipe.sharding is not None, "it is divided"
    return recipe.sharding


def marked(history: History, shard: int, slices: int) -> History:
    """Rows of a stage that say which it is."""
    return [row | {"shard": float(shard), "slices": float(slices)} for row in history]


def numbered(history: History, done: int) -> History:
    """Rows of several stages with epochs that follow each other, after others that are there already."""
    return [row | {"epoch": float(done + number)} for number, row in enumerate(history, start=1)]


def divided(workspace: Workspace, sharding: Sharding, seed: int) -> Division:
    """The division of the training data in memory.

    Where samples have no names but their positions, these are their positions in the whole data: they stay the same in
    a service, which remembers what the data was, but whoever deletes samples from such data and trains anew moves all
    samples behind them to other shards.

    Args:
        workspace: The data.
        sharding: Numbers of shards and slices.
        seed: Of the training.
    """
    names, remaining = workspace.splits.train.sample_names, workspace.remaining
    if names.listing.texts is not None:
        return divide(names, sharding, seed)
    return divide(map(str, range(len(names)) if remaining is None else remaining.train.tolist()), sharding, seed)


def whole_of(workspace: Workspace, division: Division) -> Division:
    """The division of the whole training data, from that of the samples in memory."""
    if workspace.remaining is None:
        return division
    shards, slices = (np.full(workspace.remaining.count, UNKNOWN) for _ in range(2))
    shards[workspace.remaining.train], slices[workspace.remaining.train] = division.shards, division.slices
    return Division(shards, slices)


def shards_of(
    workspace: Workspace,
    model: Trained,
    whole: Division,
    forget: ForgetSet | None = None,
    left_out: IntArray | None = None,
) -> Shards:
    """What the shards of a model are trained on.

    Args:
        workspace: The data.
        model: The model.
        whole: The division of the whole training data.
        forget: What is forgotten, in positions of what is in memory, with what was corrected; None where nothing is.
        left_out: All that is left out, likewise; what is forgotten by default.
    """
    data, remaining = workspace.on_device.train, workspace.remaining
    division = whole if remaining is None else whole.at(remaining.train)
    if forget is not None and len(forget.corrections):
        data, division = with_corrections(data, forget), division.followed_by(division.at(forget.corrections[:, 0]))
    gone = left_out if left_out is not None else np.zeros(0, np.int64) if forget is None else forget.left_out
    samples = partial(samples_of, workspace.splits, forget=forget)
    return Shards(workspace, model, data, division, _all_but(len(data), gone), samples, whole)


def shards_of_pool(workspace: Workspace, model: Trained, pool: Pool, left_out: IntArray) -> Shards:
    """What the shards of a shadow model are trained on; non-members are divided by their names as members are.

    Args:
        workspace: The data.
        model: The shadow model.
        pool: Its pool.
        left_out: Positions in the data of the pool that are left out.
    """
    sharding, whole = sharding_in(model), divided(workspace, sharding_in(model), model.seed)
    extra = divide((f"test/{name}" for name in workspace.splits.test.sample_names.at(pool.rows)), sharding, model.seed)
    samples = partial(samples_of, workspace.splits, pool=pool)
    kept = _all_but(len(pool.data), left_out)
    return Shards(workspace, model, pool.data, whole.followed_by(extra), kept, samples, whole)


def require_samples(shards: Shards) -> None:
    """Refuse to train an original of which a shard has too few samples.

    Raises:
        SettingError: One has.
    """
    empty = sorted({*range(shards.sharding.shards)} - {*shards.alive})
    if empty:
        count = len(shards.rows(empty[0]))
        raise SettingError(
            f"Shard {empty[0]} of {shards.sharding.shards} has {count} sample{'' if count == 1 else 's'} of "
            f"{int(shards.kept.sum())}, and needs {FEWEST}; lower --shards."
        )


def _all_but(count: int, left_out: IntArray) -> BoolArray:
    """Which of so many samples are not left out."""
    kept = np.ones(count, np.bool_)
    kept[left_out] = False
    return kept
