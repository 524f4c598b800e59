"""The shards of a problem: what the method sisa goes back to, and what it trains again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from torch import nn

from natmu.engine.checkpoint import Checkpoint
from natmu.engine.workplace import Workplace
from natmu.errors import ForgetSetError
from natmu.lineage.division import Division, first_affected, require_one_process, stage_epochs, work_of
from natmu.lineage.shard_training import Shards, divided, sharding_in, shards_of, shards_of_pool
from natmu.lineage.shards import Assembled, Chain, assembled, obtain_chains
from natmu.lineage.workspace import Workspace
from natmu.models import Ensemble
from natmu.progress import decide
from natmu.records.derived import division_of, root_of, stages_of
from natmu.records.guarantees import SISA
from natmu.records.lineage import Everything, HalfOfPool, Imported, Initial, Referenced, Trained, Unlearned
from natmu.records.run import History
from natmu.records.settings import Sharding, TrainSettings
from natmu.types import ForgetSet, IntArray, positions_digest, seed_for

NOTHING = (
    "sisa: fewer than two samples are left in every shard, so no shard can be trained; use another method or forget "
    "fewer samples."
)
"""Refuses to forget everything."""

BACK = (
    "sisa goes back to the shards as they were trained and leaves out all that was forgotten until now. What {methods} "
    "changed in the model is not kept."
)
"""What is said where other methods have changed the model since its shards were trained."""


@dataclass
class StoredShards:
    """The shards of a model whose stages are in the store.

    Attributes:
        workspace: Where.
        model: The original, or a model that was retrained since.
        whole: The division of the whole training data.
        forget: What is forgotten, in positions of the whole data, with what was forgotten before and corrected.
        before: What is left out of the stages that there are already, likewise; None where there are none.
        made: What sisa made of it, once it has run.
    """

    workspace: Workspace
    model: Trained
    whole: Division
    forget: ForgetSet
    before: IntArray | None
    made: Assembled | None = field(default=None, init=False)

    def retrained(self, left_out: IntArray) -> tuple[nn.Module, History]:
        """The model that never had some samples, as ``Sharded`` has it."""
        shards = self._shards(left_out)
        if not shards.alive:
            raise ForgetSetError(NOTHING)
        chains = self.chains(self._in_whole(left_out), shards.alive)
        known = [] if self.before is None else self.chains(self.before, shards.alive)
        former = {stage for chain in known for stage in chain}
        obtain_chains(chains, shards)
        again = [stage for chain in chains for stage in chain if stage not in former]
        self.made = assembled(chains, again, shards)
        return self.made.model, self.made.history

    def work(self, left_out: IntArray) -> float:
        """Samples times epochs that are trained again, as ``Sharded`` has it."""
        shards = self._shards(left_out)
        if self.before is None:
            return _work(shards, dict.fromkeys(shards.alive, 1))
        return _work(shards, first_affected(self.whole, np.setdiff1d(self._in_whole(left_out), self.before)))

    def _shards(self, left_out: IntArray) -> Shards:
        return shards_of(self.workspace, self.model, self.whole, self.workspace.compact(self.forget), left_out)

    def _in_whole(self, left_out: IntArray) -> IntArray:
        """Positions of the whole data, those that are gone among them."""
        remaining = self.workspace.remaining
        return left_out if remaining is None else np.union1d(remaining.train[left_out], remaining.gone)

    def chains(self, left_out: IntArray, shards: Sequence[int]) -> list[Chain]:
        """The stages of some shards, where samples at these positions of the whole data are left out."""
        slices = range(1, sharding_in(self.model).slices + 1)
        gone = {shard: left_out[self.whole.shards[left_out] == shard] for shard in shards}
        return [
            stages_of(self.model, shard, [self._digest(gone[shard], number) for number in slices]) for shard in shards
        ]

    def _digest(self, gone: IntArray, slices: int) -> str | None:
        """What is left out of the first slices of a shard, and what was corrected there; None where nothing is."""
        inside = gone[self.whole.slices[gone] < slices]
        if not len(inside):
            return None
        corrected = self.forget.corrections[np.isin(self.forget.corrections[:, 0], inside)]
        return positions_digest(np.concatenate([inside, corrected.ravel()]))


@dataclass
class PoolShards:
    """The shards of a shadow model, which keeps no stages: affected shards are trained from the start, in memory.

    Attributes:
        workspace: Where.
        lineage: The shadow model.
        model: Its network.
        forget: What it forgets, in positions of the data of its pool.
        checkpoint: Where the unfinished run is kept; None where nothing is to be trained.
        log: Where the traceback of an error in the user's own function is written.
        seconds: What training took, once it has.
    """

    workspace: Workspace
    lineage: Trained
    model: nn.Module
    forget: ForgetSet
    checkpoint: Checkpoint | None
    log: Path
    seconds: float = field(default=0.0, init=False)

    def retrained(self, left_out: IntArray) -> tuple[nn.Module, History]:
        """The model that never had some samples, as ``Sharded`` has it."""
        assert self.checkpoint is not None, "it is to be trained"
        assert isinstance(self.model, Ensemble), "it was trained in shards"
        shards = self._shards(left_out)
        if not shards.alive:
            raise ForgetSetError(NOTHING)
        affected = {*self._affected(shards)}
        models, history, self.seconds = shards.in_memory(self.checkpoint, self.log, "sisa", only=affected)
        members = {shard: one for shard, one in self.model.by_shard().items() if shard not in affected}
        return Ensemble(members | models, self.model.combine), history

    def work(self, left_out: IntArray) -> float:
        """Samples times epochs that are trained again, as ``Sharded`` has it."""
        shards = self._shards(left_out)
        return _work(shards, dict.fromkeys(self._affected(shards), 1))

    def _affected(self, shards: Shards) -> dict[int, int]:
        return first_affected(shards.division, self.forget.indices)

    def _shards(self, left_out: IntArray) -> Shards:
        assert isinstance(self.lineage.on, HalfOfPool), "it is a shadow model"
        return shards_of_pool(self.workspace, self.lineage, self.workspace.pool(self.lineage.on.forget), left_out)


@dataclass(frozen=True)
class Untrained:
    """The shards of an original that is not trained yet, for what must be known before: what a request would cost.

    Attributes:
        workspace: The data.
        model: The original.
    """

    workspace: Workspace
    model: Trained

    def retrained(self, left_out: IntArray) -> tuple[nn.Module, History]:  # noqa: ARG002 - there is no model yet
        """Cannot be had."""
        raise AssertionError("there is no model yet")

    def work(self, left_out: IntArray) -> float:
        """Samples times epochs that are trained again, as ``Sharded`` has it."""
        whole = divided(self.workspace, sharding_in(self.model), self.model.seed)
        return _work(shards_of(self.workspace, self.model, whole, None, left_out), first_affected(whole, left_out))


def untrained(workspace: Workspace, sharding: Sharding, seed: int, shards: Iterable[int] | None = None) -> Ensemble:
    """An ensemble of fresh models.

    Args:
        workspace: Their architecture.
        sharding: How they are combined, and how many there are.
        seed: All that their weights depend on.
        shards: Numbers of those that are wanted; all by default.
    """
    wanted = range(sharding.shards) if shards is None else shards
    return Ensemble({shard: workspace.fresh(seed_for(seed, "shard", shard)) for shard in wanted}, sharding.combine)


def sharded_of(
    model: Unlearned,
    workspace: Workspace,
    network: nn.Module,
    forget: ForgetSet,
    whole: ForgetSet | None,
    work: Workplace | None,
) -> StoredShards | PoolShards | None:
    """The shards of a problem; None where the model was not trained in shards.

    Args:
        model: What is to be made.
        workspace: Where.
        network: What it is made of.
        forget: What is forgotten, in positions of the problem's data.
        whole: The same in positions of the whole data; None of a shadow model.
        work: Where an unfinished run is kept.

    Raises:
        UsageError: Several processes are at work.
    """
    root = root_of(model.source)
    if division_of(model.source) is None:
        return None
    require_one_process()
    assert isinstance(root, Trained), "no model from elsewhere is divided"
    if whole is None:
        checkpoint, log = (None, Path()) if work is None else (work.checkpoint, work.folder.with_name("trainer.log"))
        return PoolShards(workspace, root, network, forget, checkpoint, log)
    others = methods_since(model.source, workspace)
    if model.method == SISA and work is not None and others:
        decide(BACK.format(methods=" and ".join(dict.fromkeys(others))))
    division = Division.of_array(workspace.require(model.source).division())
    return StoredShards(workspace, root, division, whole, stages_before(model.source, workspace))


def initial_of(root: Trained | Imported, workspace: Workspace, network: nn.Module) -> Callable[[], nn.Module] | None:
    """Makes the model that an original started from, with the shards that a network has; None where nobody knows it."""
    start = root.start if isinstance(root, Trained) else None
    if not isinstance(root, Trained) or not isinstance(start, Initial):
        return None
    if not isinstance(network, Ensemble):
        return partial(workspace.start, start)
    return partial(_initial, workspace, root, tuple(network.by_shard()))


def fresh_of(root: Trained | Imported, workspace: Workspace, network: nn.Module) -> Callable[[int], nn.Module]:
    """Makes the architecture with the weights of a seed, with the shards that a network has."""
    if not isinstance(network, Ensemble):
        return workspace.fresh
    assert isinstance(root, Trained), "no model from elsewhere is divided"
    return partial(untrained, workspace, sharding_in(root), shards=tuple(network.by_shard()))


def _initial(workspace: Workspace, model: Trained, shards: Iterable[int]) -> Ensemble:
    """The model that an original started from, with these of its shards."""
    starts = {shard: stages_of(model, shard)[0].start for shard in shards}
    members = {shard: workspace.start(start) for shard, start in starts.items() if isinstance(start, Initial)}
    return Ensemble(members, sharding_in(model).combine)


def methods_since(source: Trained | Unlearned | Referenced | Imported, workspace: Workspace) -> list[str]:
    """The methods that have changed a model since its shards were trained, from the first to the last."""
    known = workspace.require(source).record.lineage if isinstance(source, Referenced) else source
    if not isinstance(known, Unlearned) or known.method == SISA:
        return []
    return [*methods_since(known.source, workspace), known.method]


def stages_before(source: Trained | Unlearned | Referenced | Imported, workspace: Workspace) -> IntArray | None:
    """What is left out of the stages in the store that sisa goes back to from a model.

    Only originals and sisa leave stages: another method leaves those of the model before it.

    Returns:
        Positions of the whole data; None where there are no stages, as a retrained model has none.
    """
    run = workspace.require(source)
    known = run.record.lineage
    if isinstance(known, Unlearned) and known.method != SISA:
        return stages_before(known.source, workspace)
    if isinstance(known, Unlearned):
        return run.forget().left_out  # as it was: what is missing from the data may have changed since
    there = isinstance(known, Trained) and workspace.has(known.but(on=Everything()))
    return np.zeros(0, np.int64) if there else None


def _work(shards: Shards, first: dict[int, int]) -> float:
    """Samples times epochs of the stages of some shards, from a first one on; the user's own epochs count as one."""
    recipe, slices = shards.model.recipe, shards.sharding.slices
    epochs = stage_epochs(recipe.epochs, slices) if isinstance(recipe, TrainSettings) else (1,) * slices
    return work_of(shards.division, shards.kept, first, epochs)
