"""The smallest place in which models are made: scikit-learn's digits and a small network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from natmu.engine.compute import Compute
from natmu.engine.store import Run, Store
from natmu.lineage import Workspace, outcome_of
from natmu.methods import method_named
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Imported, Trained, Unlearned
from natmu.records.settings import DataSettings, TrainSettings

DATA = DataSettings(source="digits", train_size=150)
RECIPE = TrainSettings(epochs=2, lr=0.05, schedule="cosine", batch_size=32, warmup_epochs=0)


def workspace(out: Path, data: DataSettings = DATA, model: str = "small_cnn", precision: str = "fp32") -> Workspace:
    """A workspace with its store in a folder."""
    return Workspace.open(data, out, model, Compute.choose("cpu", precision), Store(out))


def elsewhere(place: Workspace, out: Path) -> Workspace:
    """The same workspace with another store, which knows nothing yet."""
    return replace(place, store=Store(out), known={}, pools={})


def forget(place: Workspace, text: str = "random:10%", source: Trained | Imported | None = None) -> Forget:
    """What a request means there, of the original of seed 0 unless another is named."""
    return place.forget(parse_forget(text), 0, source or place.original(RECIPE, 0))


def unlearned(
    place: Workspace,
    method: str = "amnesiac",
    text: str = "random:10%",
    *,
    source: Trained | Imported | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    **settings: object,
) -> Trained | Unlearned:
    """What a method makes of an original, that of seed 0 unless another is named."""
    source = source or place.original(RECIPE, 0)
    chosen = method_named(method)(**({"epochs": 1, "lr": 1e-3} | settings if method == "amnesiac" else settings))
    wanted = forget(place, text, source)
    return outcome_of(chosen, source, wanted, seed=seed, batch_size=batch_size, at=place.arithmetic)


def runs(out: Path) -> list[Run]:
    """All runs of a store."""
    return [Run(path.parent) for path in sorted(out.glob("*/record.json"))]
