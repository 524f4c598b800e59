"""Lineages that follow from others, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from natmu.records.data_lineage import DataLineage
from natmu.records.digests import Digest
from natmu.records.guarantees import RETRAIN, Promise, promise_of
from natmu.records.lineage import (
    AllBut,
    AnyLineage,
    Architecture,
    Arithmetic,
    Backbone,
    Everything,
    Forget,
    HalfOfPool,
    Imported,
    Initial,
    Probed,
    Referenced,
    Relearned,
    Stage,
    Trained,
    Unlearned,
)
from natmu.records.settings import (
    AnyTraining,
    LogisticTraining,
    OwnTraining,
    Sharding,
    TrainSettings,
    sharding_of,
)
from natmu.types import seed_for

SECRET_BITS = 62
"""Of a seed that natmu draws so that nobody can guess it; the highest bit is set, as in no number that people give."""


def original(
    data: DataLineage,
    architecture: Architecture,
    arithmetic: Arithmetic,
    recipe: AnyTraining,
    seed: int,
    backbone: Backbone | None = None,
) -> Trained:
    """The original model of a training seed, which decides its initial weights as well; a head starts at a backbone."""
    drawn = 0 if isinstance(recipe, OwnTraining) else seed_for(seed, "initial weights")
    start = Initial(data=data, architecture=architecture, arithmetic=arithmetic, seed=drawn)
    return Trained(start=backbone or start, recipe=recipe, seed=seed)


def stages_of(model: Trained, shard: int, left_out: Sequence[Digest | None] = ()) -> tuple[Stage, ...]:
    """The stages of a shard of a model that is trained in shards, from the first slice to the last.

    They are the same however the shards are combined.

    Args:
        model: The model, whatever it is trained on.
        shard: Number of the shard.
        left_out: For each stage the digest of what is left out, None where nothing is; nothing anywhere by default.
    """
    recipe, start = model.recipe, model.start
    assert isinstance(recipe, TrainSettings | OwnTraining), "no head is trained in shards"
    assert isinstance(start, Initial), "no head is trained in shards"
    assert recipe.sharding is not None, "it is divided"
    plain = recipe.sharding.model_copy(update={"combine": Sharding.model_fields["combine"].default})
    recipe = recipe.model_copy(update={"sharding": plain})
    own = isinstance(recipe, OwnTraining)  # whose function starts where it does
    before: Initial | Stage = start if own else start.but(seed=seed_for(start.seed, "shard", shard))
    stages: list[Stage] = []
    for slices, digest in enumerate(left_out or [None] * plain.slices, start=1):
        before = Stage(start=before, recipe=recipe, seed=model.seed, shard=shard, slices=slices, left_out=digest)
        stages.append(before)
    return tuple(stages)


def division_of(model: AnyLineage | Referenced) -> Sharding | None:
    """How the data of a model is divided that is made of shards; None of any other, and of a stage of one shard."""
    if not isinstance(model, Trained | Unlearned | Referenced) or isinstance(root_of(model), Imported):
        return None
    return sharding_of(model.recipe)


def backbone_of(model: Trained | Imported) -> Backbone | None:
    """The frozen network that a head stands on; None of any other model."""
    start = model.start if isinstance(model, Trained) else None
    return start if isinstance(start, Backbone) else None


def retrained(
    source: Trained | Imported,
    forget: Forget,
    arithmetic: Arithmetic,
    seed: int,
    *,
    fresh: bool,
    recipe: AnyTraining | None = None,
) -> Trained:
    """A model trained as a source was, without a forget set.

    The user's own function decides itself where it starts, so that there is one such model of each seed. A head is
    fitted again on the same backbone.

    Args:
        source: The original.
        forget: What is left out.
        arithmetic: Of the training.
        seed: Of the training, and of fresh initial weights.
        fresh: Whether it starts from fresh initial weights; those of the source if not.
        recipe: How it is trained; as the source if None.

    Raises:
        ValueError: The recipe or the initial weights of the source are not known.
    """
    recipe = recipe or source.recipe
    if recipe is None:
        raise ValueError("nobody says how the model was trained")
    if (backbone := backbone_of(source)) is not None:
        return Trained(start=backbone, on=AllBut(forget=forget), recipe=recipe, seed=seed)
    if isinstance(recipe, OwnTraining):
        drawn, fresh = 0, False
    elif fresh:
        drawn = seed_for(seed, "fresh weights")
    elif isinstance(source, Trained) and isinstance(source.start, Initial):
        drawn = source.start.seed
    else:
        raise ValueError("nobody knows the initial weights of a model that was trained elsewhere")
    start = Initial(data=source.data, architecture=source.architecture, arithmetic=arithmetic, seed=drawn, reset=fresh)
    return Trained(start=start, on=AllBut(forget=forget), recipe=recipe, seed=seed)


def root_of(model: Trained | Imported | Unlearned | Referenced) -> Trained | Imported:
    """The model that no method made, where a sequence of requests began: an original, or a retrained model."""
    if isinstance(model, Referenced):
        return model.root
    return root_of(model.source) if isinstance(model, Unlearned) else model


def rests_on_reference(model: AnyLineage | Referenced) -> bool:
    """Whether a sequence of requests names a model by its run alone, as those of a service do."""
    if isinstance(model, Unlearned | Relearned | Probed):
        return rests_on_reference(model.source)
    return isinstance(model, Referenced)


def original_of(model: Trained | Imported | Unlearned | Referenced) -> Trained | Imported:
    """The original of a model: the root of its sequence or, where that was retrained, one of the same seed.

    A retrained model does not say which original it belongs to, because any that is trained alike may stand beside it.
    A model that decided what is forgotten and was trained otherwise, in one piece and not in shards, is none of them.
    """
    root = root_of(model)
    if isinstance(root, Imported) or not isinstance(root.on, AllBut):
        return root
    decider = decider_of(root.on.forget)
    if decider is not None and sharding_of(decider.recipe) == sharding_of(root.recipe):
        return original_of(decider)
    start = root.start
    if isinstance(start, Initial) and start.reset:
        start = start.but(seed=seed_for(root.seed, "initial weights"), reset=False)
    return root.but(start=start, on=Everything())


def knows_initial_weights(root: Trained | Imported) -> bool:
    """Whether the initial weights of the original are known, at the root of a sequence of requests."""
    return isinstance(root, Trained) and not root.reset and not isinstance(root.recipe, OwnTraining)


def is_original(model: AnyLineage) -> bool:
    """Whether a model was trained on all samples, as far as is known."""
    return isinstance(model, Imported) or (isinstance(model, Trained) and isinstance(model.on, Everything))


def decider_of(forget: Forget) -> Trained | Imported | None:
    """The model that decides what a forget set is, or one before it; None where the data alone does."""
    return forget.by or (None if forget.after is None else decider_of(forget.after))


def from_other(model: Unlearned, source: Trained | Imported, shift: int) -> Unlearned:
    """The same requests, by the same methods with other seeds, from another original.

    Args:
        model: The last model of a sequence.
        source: The other original.
        shift: Is added to the seed of every method.

    Raises:
        ValueError: The sequence names a model by its run alone, so that nobody can repeat it.
    """
    known = model.source
    if isinstance(known, Referenced):
        raise ValueError("a sequence that names a model by its run alone cannot be repeated from another original")
    at = in_processes_of(known.arithmetic, model.arithmetic)
    if isinstance(known, Unlearned):
        start: Trained | Imported | Unlearned = from_other(known.but(arithmetic=at), source, shift)
    elif isinstance(known, Trained) and isinstance(known.on, AllBut):
        start = retrained(source, known.on.forget, at, known.seed + shift, fresh=known.reset)
    else:
        start = source
    return model.but(source=start, seed=model.seed + shift)


def in_processes_of(arithmetic: Arithmetic, other: Arithmetic) -> Arithmetic:
    """The same precision, in as many processes as something else was made by."""
    return Arithmetic(precision=arithmetic.precision, processes=other.processes, sync_batch_norm=other.sync_batch_norm)


def forget_of(model: AnyLineage | Referenced) -> Forget | None:
    """What a model is to have forgotten; None of an original, and of a model that has not learnt anything."""
    if isinstance(model, Unlearned | Relearned | Probed):
        return model.forget
    if isinstance(model, Referenced):
        return model.forgotten
    on = model.on if isinstance(model, Trained) else None
    return on.forget if isinstance(on, AllBut) else None


def classes_without_output(model: AnyLineage) -> tuple[int, ...]:
    """The classes that a model has no output for any more."""
    dropped = model.dropped if isinstance(model, Unlearned) else None
    return () if dropped is None else dropped.classes


def title(model: AnyLineage | Referenced) -> str:
    """What a model is called in messages."""
    if isinstance(model, Initial):
        return f"untrained model, seed {model.seed}"
    if isinstance(model, Imported):
        return f"imported model {model.weights[:8]}"
    if isinstance(model, Referenced):
        return f"model {model.run}"
    if isinstance(model, Relearned):
        return f"relearning of {title(model.source)}"
    if isinstance(model, Probed):
        return f"probes of {title(model.source)}"
    if isinstance(model, Unlearned):
        origin = "" if isinstance(model.source, Imported) else f" from {title(model.source)}"
        without = "" if model.dropped is None else ", without its output"
        return f"{model.method}, {_forgotten(model.forget)}{without}, seed {model.seed}{origin}"
    if isinstance(model, Backbone):
        return f"backbone from {model.origin}"
    if isinstance(model, Stage):
        without = "" if model.left_out is None else f" without {model.left_out[:8]}"
        return f"shard {model.shard}, slice {model.slices}{without}, seed {model.seed}"
    match model.on:
        case AllBut(forget=forget):
            return f"retrained, {_forgotten(forget)}{_seed(model)}"
        case HalfOfPool(forget=forget, number=number):
            return f"shadow model {number}, {_forgotten(forget)}"
        case _:
            return f"original{_seed(model)}"


def _seed(model: Trained) -> str:
    """The seed of a model; nothing of a head whose noise follows from it, which must stay secret."""
    return "" if isinstance(model.recipe, LogisticTraining) else f", seed {model.seed}"


def promise_of_run(model: AnyLineage) -> Promise:
    """What the method that made a model promises of it."""
    if isinstance(model, Unlearned):
        return promise_of(model.method, root_of(model).recipe)
    retrained = isinstance(model, Trained) and isinstance(model.on, AllBut)
    return promise_of(RETRAIN if retrained else "", None)


def noise_is_secret(model: AnyLineage) -> bool:
    """Whether natmu drew the seed of a logistic head's noise, so that nobody can guess it; true of any other model."""
    if not isinstance(model, Trained) or not isinstance(model.recipe, LogisticTraining):
        return True
    return model.seed.bit_length() >= SECRET_BITS


def _forgotten(forget: Forget) -> str:
    """A forget set in a few words."""
    drawn = "" if not forget.seed else f" (split {forget.seed})"
    earlier = "" if forget.after is None else f" after {_forgotten(forget.after)}"
    return f"{forget.request.text}{drawn}{earlier}"
