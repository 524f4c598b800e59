"""Models that are made of shards in the store: stages, what an original is made of them, and what sisa trains again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from natmu.engine.checkpoint import Checkpoint
from natmu.engine.predict import outputs_of
from natmu.engine.store import Run
from natmu.engine.threads import threads
from natmu.engine.together import WORTH_STARTING, run_together
from natmu.engine.workplace import Workplace
from natmu.errors import RunError, SharedMemoryError
from natmu.lineage.division import Division, require_one_process, stage_epochs
from natmu.lineage.repeating import train_stage
from natmu.lineage.shard_training import Shards, divided, marked, numbered, require_samples, sharding_in, shards_of
from natmu.lineage.workspace import Workspace
from natmu.models import Ensemble
from natmu.models.ensemble import Combine, combined
from natmu.progress import decide, say
from natmu.records.derived import stages_of
from natmu.records.lineage import Initial, Stage, Trained
from natmu.records.run import DIVISION, History
from natmu.records.settings import TrainSettings
from natmu.types import Outputs, Part, positions_digest

Chain = tuple[Stage, ...]
"""The stages of a shard."""

POSITIONS = (
    "The samples of this data have no names, so positions decide the shards. Forget samples by requests, and leave the "
    "data as it is. If you delete samples and train anew, you get other shards."
)
"""What is said of data whose samples have no names."""


@dataclass(frozen=True)
class Assembled:
    """A model that is made of stages in the store.

    Attributes:
        model: The model.
        outputs: Its predictions, combined from those that its last stages left.
        history: One row per epoch of what was trained.
        seconds: What that took, whenever and side by side with whatever it was done.
    """

    model: Ensemble
    outputs: Outputs
    history: History
    seconds: float


def shards_of_original(workspace: Workspace, model: Trained | Stage) -> Shards:
    """What the shards of an original are trained on: all samples.

    Args:
        workspace: The data.
        model: The original, or a stage of it.

    Raises:
        RunError: Samples are gone.
        UsageError: A shard has too few samples, or several processes are to train it.
    """
    require_one_process()
    if workspace.remaining is not None:
        workspace.remaining.require(None)
    if isinstance(model, Stage):
        start = model
        while isinstance(start, Stage):
            start = start.start  # type: ignore[assignment]
        model = Trained(start=start, recipe=model.recipe, seed=model.seed)
    shards = shards_of(workspace, model, divided(workspace, sharding_in(model), model.seed))
    require_samples(shards)
    return shards


def make_stage(stage: Stage, shards: Shards, work: Workplace) -> None:
    """Train a stage from the one before it, which is in the store; the last one predicts all data."""
    workspace, start = shards.workspace, stage.start
    compute, log = workspace.compute.at(stage.arithmetic), work.folder.with_name("trainer.log")
    with threads(shards.sharding.threads):
        network = workspace.start(start) if isinstance(start, Initial) else _loaded(start, shards)
        piece = train_stage(network, stage, shards, unfinished(workspace, work), log)
        last = stage.slices == shards.sharding.slices
        outputs = workspace.predicted(outputs_of(network, workspace.on_device, compute)) if last else None
    np.save(work.folder / DIVISION, shards.whole.array)
    confidence = piece.confidence if stage.left_out is None and workspace.remaining is None else None
    facts = {"seconds": piece.seconds, "history": marked(piece.history, stage.shard, stage.slices)}
    work.finish(network, outputs, compute, scores={}, confidence=confidence, **facts)  # type: ignore[arg-type]


def unfinished(workspace: Workspace, work: Workplace) -> Checkpoint:
    """Where an unfinished run is kept: its state holds a number for each sample in memory."""
    if workspace.remaining is None:
        return work.checkpoint
    return work.checkpoint.stage(positions_digest(workspace.remaining.train))


def _loaded(stage: Stage, shards: Shards) -> nn.Module:
    """The model of a stage in the store, which divides the data as these shards do."""
    run = shards.workspace.require(stage)
    _require_same(run, shards.whole)
    return shards.workspace.load(run)


def _require_same(run: Run, whole: Division) -> None:
    """Refuse a stage that was trained when samples had other names.

    Raises:
        RunError: It was.
    """
    if not np.array_equal(run.division(), whole.array):
        raise RunError(
            f"{run.path} divides the data into shards in another way, because samples had other names when it was "
            "trained; delete that folder, or give the samples their old names."
        )


def obtain_chains(chains: Sequence[Chain], shards: Shards) -> None:
    """Make the last stages that are missing, and what they start from; several shards side by side where that pays.

    Whether they are trained side by side changes no weight: the recipe says with how many threads each is.

    Raises:
        UsageError: The user's own function cannot be used.
        TrainingError: A loss is no longer finite, or the user's own function fails.
    """
    workspace = shards.workspace
    missing = [(chain,) for chain in chains if not workspace.has(chain[-1])]
    processes = _processes(chains, shards)
    if processes > 1 and len(missing) > 1:
        try:
            run_together(partial(obtain_chain, shards), missing, processes, "shards side by side")
        except SharedMemoryError as error:
            say(f"{error} The shards are trained one after another.")
    for (chain,) in missing:
        obtain_chain(shards, chain)


def obtain_chain(shards: Shards, chain: Chain) -> None:
    """Make the last stage of a shard after those before it, of which only those are made that it needs."""
    workspace = shards.workspace
    there = [place for place, stage in enumerate(chain, start=1) if workspace.has(stage)]
    for stage in chain[there[-1] if there else 0 :]:
        workspace.store.obtain(stage, partial(make_stage, stage, shards), resume=workspace.resume)


def _processes(chains: Sequence[Chain], shards: Shards) -> int:
    """How many shards are trained at the same time; what the user's own function takes, nobody knows."""
    recipe, workspace = shards.model.recipe, shards.workspace
    if not isinstance(recipe, TrainSettings) or workspace.compute.device.type != "cpu":
        return 1
    count = sum(len(shards.rows(chain[0].shard)) for chain in chains)
    if recipe.epochs * count // recipe.batch_size < WORTH_STARTING:
        return 1
    return min(len(chains), torch.get_num_threads() // (shards.sharding.threads or torch.get_num_threads()))


def assembled(chains: Sequence[Chain], trained: Collection[Stage], shards: Shards) -> Assembled:
    """The model that last stages in the store make up.

    Args:
        chains: The stages of each shard.
        trained: Those whose seconds and rows are told.
        shards: What they were trained on.
    """
    workspace, combine = shards.workspace, shards.sharding.combine
    last = {chain[-1].shard: workspace.require(chain[-1]) for chain in chains}
    for run in last.values():
        _require_same(run, shards.whole)
    told = [workspace.require(stage) for chain in chains for stage in chain if stage in trained]
    rows = [row for run in told for row in run.history()]
    models = {shard: workspace.load(run) for shard, run in last.items()}
    outputs = [_predictions(run, models[shard], shards) for shard, run in last.items()]
    seconds = sum(run.record.seconds for run in told)
    return Assembled(Ensemble(models, combine), _outputs(outputs, combine, workspace), numbered(rows, 0), seconds)


def _predictions(run: Run, network: nn.Module, shards: Shards) -> Outputs:
    """The predictions of a shard on what is in memory: stored ones, unless some of it was gone when they were made."""
    workspace, outputs = shards.workspace, run.outputs()
    left = workspace.remaining
    if left is None and outputs.rows is None:
        return outputs
    if left is not None:
        wanted = {"train": left.train, "test": left.test} | ({} if left.holdout is None else {"holdout": left.holdout})
        if all(np.isin(rows, outputs.rows_of(part)).all() for part, rows in wanted.items()):  # type: ignore[arg-type]
            return outputs.at(left.train, left.test, left.holdout)
    with threads(shards.sharding.threads):
        return outputs_of(network, workspace.on_device, workspace.compute.at(shards.model.arithmetic))


def _outputs(members: Sequence[Outputs], combine: Combine, workspace: Workspace) -> Outputs:
    """Predictions of an ensemble from those of its members."""

    def together(parts: Sequence[Part]) -> Part:
        logits = combined(torch.stack([torch.from_numpy(part.logits) for part in parts]), combine)
        return replace(parts[0], logits=logits.numpy())

    holdout = [part for part in (member.holdout for member in members) if part is not None]
    return workspace.predicted(
        Outputs(
            together([member.train for member in members]),
            together([member.test for member in members]),
            together(holdout) if holdout else None,
        )
    )


def original_chains(model: Trained) -> list[Chain]:
    """All stages of an original, by shard."""
    return [stages_of(model, shard) for shard in range(sharding_in(model).shards)]


def obtain_shards(model: Trained, workspace: Workspace) -> None:
    """Make all shards of an original that are missing, side by side where that pays; raises as ``obtain_chains``."""
    chains = original_chains(model)
    if not all(workspace.has(chain[-1]) for chain in chains):
        obtain_chains(chains, shards_of_original(workspace, model))


def assembled_original(model: Trained, workspace: Workspace) -> tuple[Assembled, Tensor | None, Division]:
    """An original, from its shards in the store.

    Returns:
        The model, the mean confidence of each sample during training where all stages noted it, and the division.
    """
    shards, chains = shards_of_original(workspace, model), original_chains(model)
    if shards.data.sample_names.listing.texts is None:
        decide(POSITIONS)
    made = assembled(chains, [stage for chain in chains for stage in chain], shards)
    return made, _confidence(chains, shards), shards.whole


def _confidence(chains: Sequence[Chain], shards: Shards) -> Tensor | None:
    """The mean over all epochs that showed a sample, whatever the stage."""
    recipe = shards.model.recipe
    if not isinstance(recipe, TrainSettings):
        return None
    shown, total = np.zeros((2, len(shards.data)))
    epochs = stage_epochs(recipe.epochs, shards.sharding.slices)
    for chain in chains:
        for stage, count in zip(chain, epochs, strict=True):
            noted, rows = shards.workspace.require(stage).confidence(), shards.rows(stage.shard, stage.slices)
            if noted is not None:
                total[rows] += count * noted[rows]
                shown[rows] += count
    return torch.from_numpy((total / shown).astype(np.float32)) if shown.all() else None
