"""The graph of models: which others each of them starts from, and an order in which all can be made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set

from natmu.records.derived import backbone_of, decider_of, division_of, root_of, stages_of
from natmu.records.lineage import (
    AllBut,
    AnyLineage,
    Backbone,
    Everything,
    Forget,
    HalfOfPool,
    Imported,
    Probed,
    Referenced,
    Relearned,
    Stage,
    Trained,
    Unlearned,
)


def sources(model: AnyLineage) -> tuple[AnyLineage, ...]:
    """The models that must be made before a model can be; one that is named by its run alone can only be found."""
    match model:
        case Unlearned() | Relearned() | Probed():
            own = () if isinstance(model.source, Referenced) else (model.source,)
            features = _backbone(root_of(model.source)) if isinstance(model, Unlearned) else ()
            return (*features, *own, *_deciding(model.forget))
        case Stage(start=Stage() as before):
            return (before,)
        case Trained(on=Everything()) if (sharding := division_of(model)) is not None:
            return tuple(stages_of(model, shard)[-1] for shard in range(sharding.shards))
        case Trained(on=AllBut() | HalfOfPool() as on):
            return (*_backbone(model), *_deciding(on.forget))
        case Trained():
            return _backbone(model)
        case _:
            return ()


def in_order(models: Iterable[AnyLineage], made: Callable[[AnyLineage], bool]) -> list[AnyLineage]:
    """Models and those that have to be made before them, each once and after its sources.

    Args:
        models: What is wanted.
        made: Whether a model has been made, so that nobody needs its sources.
    """
    found: dict[str, AnyLineage] = {}

    def add(model: AnyLineage) -> None:
        if model.digest not in found:
            for source in () if made(model) else sources(model):
                add(source)
            found[model.digest] = model

    for model in models:
        add(model)
    return list(found.values())


def is_ready(model: AnyLineage, undone: Set[str]) -> bool:
    """Whether none of a model's sources is among the models of these digests."""
    return undone.isdisjoint(source.digest for source in sources(model))


def _backbone(model: Trained | Imported) -> tuple[Backbone, ...]:
    """The backbone of a head, whose run holds the features."""
    backbone = backbone_of(model)
    return () if backbone is None else (backbone,)


def _deciding(forget: Forget) -> tuple[Trained | Imported, ...]:
    """The model that decides what a forget set is, or one before it, if one does."""
    decider = decider_of(forget)
    return () if decider is None else (decider,)
