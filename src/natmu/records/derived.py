"""Lineages that follow from others, and what they are called."""

from __future__ import annotations

from natmu.records.lineage import (
    AllBut,
    AnyLineage,
    Architecture,
    Arithmetic,
    DataLineage,
    Everything,
    Forget,
    HalfOfPool,
    Imported,
    Initial,
    Probed,
    Relearned,
    Trained,
    Unlearned,
)
from natmu.records.settings import TrainSettings
from natmu.types import seed_for


def original(
    data: DataLineage, architecture: Architecture, arithmetic: Arithmetic, recipe: TrainSettings, seed: int
) -> Trained:
    """The original model of a training seed, which decides its initial weights as well."""
    start = Initial(data=data, architecture=architecture, arithmetic=arithmetic, seed=seed_for(seed, "initial weights"))
    return Trained(start=start, recipe=recipe, seed=seed)


def retrained(source: Trained | Imported, forget: Forget, arithmetic: Arithmetic, seed: int, *, fresh: bool) -> Trained:
    """A model trained as a source was, without a forget set.

    Args:
        source: The original.
        forget: What is left out.
        arithmetic: Of the training.
        seed: Of the training, and of fresh initial weights.
        fresh: Whether it starts from fresh initial weights; those of the source if not.

    Raises:
        ValueError: The initial weights of the source are not known.
    """
    if fresh:
        drawn = seed_for(seed, "fresh weights")
    elif isinstance(source, Trained):
        drawn = source.start.seed
    else:
        raise ValueError("nobody knows the initial weights of a model that was trained elsewhere")
    start = Initial(data=source.data, architecture=source.architecture, arithmetic=arithmetic, seed=drawn, reset=fresh)
    return Trained(start=start, on=AllBut(forget=forget), recipe=source.recipe, seed=seed)


def original_of(model: Trained | Imported | Unlearned) -> Trained | Imported:
    """The original of a model: where its sequence of requests began, or what was trained like it on all samples."""
    if isinstance(model, Unlearned):
        return original_of(model.source)
    if isinstance(model, Imported) or not isinstance(model.on, AllBut):
        return model
    fresh = {"seed": seed_for(model.seed, "initial weights"), "reset": False}
    start = model.start.but(**fresh) if model.start.reset else model.start
    return decider_of(model.on.forget) or model.but(start=start, on=Everything())


def is_original(model: AnyLineage) -> bool:
    """Whether a model was trained on all samples, as far as is known."""
    return isinstance(model, Imported) or (isinstance(model, Trained) and isinstance(model.on, Everything))


def decider_of(forget: Forget) -> Trained | Imported | None:
    """The original that decides what a forget set is, or one before it; None where the data alone does."""
    return forget.by or (None if forget.after is None else decider_of(forget.after))


def from_other(model: Unlearned, source: Trained | Imported, shift: int) -> Unlearned:
    """The same requests, by the same methods with other seeds, from another original.

    Args:
        model: The last model of a sequence.
        source: The other original.
        shift: Is added to the seed of every method.
    """
    known = model.source
    if isinstance(known, Unlearned):
        start: Trained | Imported | Unlearned = from_other(known, source, shift)
    elif isinstance(known, Trained) and isinstance(known.on, AllBut):
        fresh = known.start.reset
        start = retrained(source, known.on.forget, known.arithmetic, known.seed + shift, fresh=fresh)
    else:
        start = source
    return model.but(source=start, seed=model.seed + shift)


def forget_of(model: AnyLineage) -> Forget | None:
    """What a model is to have forgotten; None of an original, and of a model that has not learnt anything."""
    if isinstance(model, Unlearned | Relearned | Probed):
        return model.forget
    on = model.on if isinstance(model, Trained) else None
    return on.forget if isinstance(on, AllBut) else None


def title(model: AnyLineage) -> str:
    """What a model is called in messages."""
    if isinstance(model, Initial):
        return f"untrained model, seed {model.seed}"
    if isinstance(model, Imported):
        return f"imported model {model.weights[:8]}"
    if isinstance(model, Relearned):
        return f"relearning of {title(model.source)}"
    if isinstance(model, Probed):
        return f"probes of {title(model.source)}"
    if isinstance(model, Unlearned):
        origin = "" if isinstance(model.source, Imported) else f" from {title(model.source)}"
        return f"{model.method}, {_forgotten(model.forget)}, seed {model.seed}{origin}"
    match model.on:
        case AllBut(forget=forget):
            return f"retrained, {_forgotten(forget)}, seed {model.seed}"
        case HalfOfPool(forget=forget, number=number):
            return f"shadow model {number}, {_forgotten(forget)}"
        case _:
            return f"original, seed {model.seed}"


def _forgotten(forget: Forget) -> str:
    """A forget set in a few words."""
    drawn = "" if not forget.seed else f" (split {forget.seed})"
    earlier = "" if forget.after is None else f" after {_forgotten(forget.after)}"
    return f"{forget.request.text}{drawn}{earlier}"
