"""Shards of data and a model in memory, with a store that knows the samples again when others are gone."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from natmu.data import ImageData, OwnParts, Splits
from natmu.data.own import ArraySamples
from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.errors import ForgetSetError, RunError, UsageError
from natmu.lineage.division import Division
from natmu.lineage.given_samples import contents_of, names_of, positions_of
from natmu.lineage.given_trainer import as_given
from natmu.lineage.making import obtain
from natmu.lineage.model_workspace import ModelWorkspace
from natmu.lineage.remaining import Remaining
from natmu.lineage.shard_training import sharding_in
from natmu.lineage.sisa import StoredShards
from natmu.methods.exact import SISA
from natmu.progress import decide
from natmu.records.derived import root_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Referenced, Stage, Trained, Unlearned
from natmu.records.settings import (
    DataSettings,
    OwnTraining,
    Sharding,
    TrainSettings,
    batch_size_of,
    in_words,
    sharding_of,
)
from natmu.records.shard_samples import FILE, ShardSamples, digests_of_contents
from natmu.types import ForgetSet, IntArray

POSITIONS = (
    "The samples are called by their positions. If you will delete rows from the data later, give names=… from this "
    "call on, because all rows behind them will then have other positions."
)
"""Is said where nothing else names them."""


@dataclass(frozen=True, eq=False)
class GivenShards:
    """A training in shards, of data in memory.

    Attributes:
        workspace: Where it is made; its data is in the order in which the store first had it.
        original: How all samples together are trained.
        given: The data as the user gave it.
        positions: Where each sample of it stands in the data that the store first had, int64 ``(N,)``.
        known: What the store knows of that.
    """

    workspace: ModelWorkspace
    original: Trained
    given: ImageData
    positions: IntArray
    known: ShardSamples

    @classmethod
    def open(
        cls,
        store: Path,
        network: nn.Module,
        given: object,
        data: ImageData,
        recipe: TrainSettings | OwnTraining,
        trainer: Callable[..., Any] | None,
        seed: int,
        compute: Compute,
    ) -> GivenShards:
        """Begin a training, or go on with the one that the store holds.

        Args:
            store: The folder.
            network: A model of the architecture.
            given: The data as the user gave it.
            data: The same, as natmu reads it, by its names.
            recipe: How it is trained.
            trainer: The user's own function, where it was handed over.
            seed: Of the training.
            compute: Device and precision.

        Raises:
            UsageError: The store holds another training, or samples cannot be known again.
            DataError: The data holds other samples than the store first had.
        """
        file = store / FILE
        names, contents = names_of(data), digests_of_contents(contents_of(data))
        workspace = ModelWorkspace(
            settings=DataSettings(source="given"),
            splits=_splits(given, data, np.arange(len(data))),
            model=type(network).__name__,
            compute=compute,
            store=Store(store),
            trainer=trainer,
            network=compute.place(copy.deepcopy(network)),
        )
        original = workspace.original(recipe, seed)
        if not file.exists():
            if data.sample_names.listing.texts is None:
                decide(POSITIONS)
            return cls(workspace, original, data, np.arange(len(data)), ShardSamples(original, names, contents))
        known = ShardSamples.read(file)
        original = _same_training(known.model, original, store)
        positions = positions_of(known, data, names, contents, store)
        order = np.argsort(positions)
        train = positions[order]
        left = len(train) < len(known)
        remaining = Remaining(original.data, train, train[:0], None, len(known)) if left else None
        workspace = replace(workspace, splits=_splits(given, data, order), remaining=remaining)
        return cls(workspace, original, data, positions, known)

    def without(self, left_out: IntArray) -> tuple[nn.Module, dict[int, tuple[int, ...]]]:
        """The model that never had some samples, nor those that are gone.

        Args:
            left_out: Positions in the data as the user gave it.

        Returns:
            The model, in evaluation mode, and by number of each shard that was trained for it which slices were.
        """
        store, rows = self.workspace.store, self._left_out(left_out)
        before = {run.path for run in store.all()}
        run = obtain(self._wanted(rows), self.workspace)
        if not (store.root / FILE).exists():  # nothing stands in the way of another try where this one was refused
            self.known.write(store.root / FILE)
        made: dict[int, list[int]] = {}
        for one in store.all():
            lineage = one.record.lineage
            if one.path not in before and isinstance(lineage, Stage):
                made.setdefault(lineage.shard, []).append(lineage.slices)
        model = self.workspace.load(run).eval()
        return model, {shard: tuple(sorted(made[shard])) for shard in sorted(made)}

    def purge(self, left_out: IntArray) -> int:
        """Delete all models of the store but that without some samples, which was made, and the stages that it is of.

        Args:
            left_out: Positions in the data as the user gave it.

        Returns:
            How many were deleted.

        Raises:
            RunError: One cannot be deleted.
        """
        rows = self._left_out(left_out)
        model, store = self._wanted(rows), self.workspace.store
        division = Division.of_array(self.workspace.require(model).division())
        shards = StoredShards(self.workspace, self.original, division, ForgetSet(rows, "", "indices"), None)
        chains = shards.chains(rows, range(sharding_in(self.original).shards))
        kept = {model.digest, *(stage.digest for chain in chains for stage in chain)}
        gone = [run.path for run in store.all() if run.record.digest not in kept]
        for path in [*gone, *(store.root / ".work").glob("*/")]:
            _delete(path)
        return len(gone)

    def _left_out(self, left_out: IntArray) -> IntArray:
        """Positions in the data that the store first had of what is left out, with what is gone."""
        gone = np.setdiff1d(np.arange(len(self.known)), self.positions)
        return np.union1d(gone, self.positions[left_out]).astype(np.int64)

    def _wanted(self, rows: IntArray) -> Trained | Unlearned:
        """The model that never had some samples, by their positions in the data that the store first had.

        It starts from the model of all samples, or, where that was purged, from the one that was kept then.

        Raises:
            ForgetSetError: It would know what was purged.
        """
        source, before = self._source()
        if lost := len(np.setdiff1d(before, rows)):
            raise ForgetSetError(
                f"{lost} sample{' was' if lost == 1 else 's were'} purged from {self.workspace.store.root}, and this "
                "model would know them; forget them too, or train with them in another folder."
            )
        further = np.setdiff1d(rows, before)
        if not len(further):
            return source
        listed = ForgetSet(further, "", "indices", before=before)
        after = source.forget if isinstance(source, Unlearned) else None
        forget = Forget(request=parse_forget(f"indices:{listed.digest}"), positions=listed.digest, after=after)
        self.workspace.remember(forget, replace(listed, request=forget.request.text))
        return Unlearned(
            source=source,
            forget=forget,
            method=SISA.name,
            settings=SISA().config.model_dump(mode="json"),
            batch_size=batch_size_of(self.original.recipe),
            seed=self.original.seed,
            arithmetic=self.original.arithmetic,
        )

    def _source(self) -> tuple[Trained | Unlearned, IntArray]:
        """The model that others start from, and what it has forgotten, in the data that the store first had."""
        store, nothing = self.workspace.store, np.zeros(0, np.int64)
        if store.find(self.original.digest) is not None:
            return self.original, nothing
        for run in store.all():
            model = run.record.lineage
            if not isinstance(model, Unlearned) or isinstance(model.source, Referenced):
                continue
            if root_of(model) == self.original and store.find(model.source.digest) is None:
                self.workspace.remember_all(model, store)
                return model, run.forget().left_out
        return self.original, nothing


def _delete(folder: Path) -> None:
    """Delete a folder with all that is in it.

    Raises:
        RunError: It cannot be deleted.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be deleted ({error.strerror}); delete it yourself.") from None


def _splits(given: object, data: ImageData, rows: IntArray) -> Splits:
    """The samples at some rows as training data; nothing is tested here."""
    own = OwnParts(as_given(given, data), ArraySamples(data.subset(rows[:0]))).at(train=rows)
    same = np.array_equal(rows, np.arange(len(data)))
    return Splits("given", data if same else data.subset(rows), data.subset(rows[:0]), (), (), own=own)


def _same_training(known: Trained, asked: Trained, store: Path) -> Trained:
    """What is asked for, if it is the training that the store holds, in the threads and with the data of that.

    The shards may be combined otherwise.

    Raises:
        UsageError: It is another training.
    """
    held, wanted = sharding_of(known.recipe), sharding_of(asked.recipe)
    assert held is not None, "the store holds shards"
    assert wanted is not None, "shards are asked for"
    start = asked.start.but(data=known.data)
    asked = _divided(asked.but(start=start), wanted.model_copy(update={"threads": held.threads}))
    if _divided(asked, wanted.model_copy(update={"threads": held.threads, "combine": held.combine})) == known:
        return asked
    told = f"{in_words(known.recipe)}, seed {known.seed}"
    raise UsageError(
        f"{store} holds shards of another training ({told}), with another model, trainer, seed, precision or settings; "
        "name another folder as store, or train as you did there."
    )


def _divided(model: Trained, sharding: Sharding) -> Trained:
    """A training with another division."""
    assert isinstance(model.recipe, TrainSettings | OwnTraining), "it is divided"
    return model.but(recipe=model.recipe.model_copy(update={"sharding": sharding}))
