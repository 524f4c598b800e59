"""Small lineages of every kind, whose models nobody has to make."""

from __future__ import annotations

from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.derived import original, retrained
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import (
    Architecture,
    Arithmetic,
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

DATA = DataLineage(
    source="digits",
    image_size=None,
    train_size=150,
    holdout=True,
    digests=DataDigests(train="aa", test="bb", holdout="cc"),
)
NETWORK = Architecture(name="small_cnn")
ARITHMETIC = Arithmetic(precision="fp32")
RECIPE = TrainSettings(epochs=2, lr=0.05, batch_size=32)


def trained(seed: int = 0, recipe: TrainSettings = RECIPE) -> Trained:
    """An original."""
    return original(DATA, NETWORK, ARITHMETIC, recipe, seed)


def initial(seed: int = 0) -> Initial:
    """An untrained model."""
    return Initial(data=DATA, architecture=NETWORK, arithmetic=ARITHMETIC, seed=seed)


def imported(weights: str = "0123456789abcdef") -> Imported:
    """A model that was trained elsewhere."""
    return Imported(data=DATA, architecture=NETWORK, arithmetic=ARITHMETIC, weights=weights, recipe=RECIPE)


def forget(text: str = "random:10%", seed: int | None = 0, by: Trained | Imported | None = None) -> Forget:
    """A forget set."""
    return Forget(request=parse_forget(text), seed=seed, by=by)


def later(earlier: Forget | None = None) -> Forget:
    """The forget set of a second request."""
    return Forget(request=parse_forget("class:6"), after=earlier or forget())


def hardest(by: Trained | Imported) -> Forget:
    """The forget set of what a model found the hardest."""
    return forget("hardest:5%", None, by)


def retrained_model(number: int = 0, of: Forget | None = None, source: Trained | Imported | None = None) -> Trained:
    """A retrained model; the first starts where the original did."""
    source = source or trained()
    fresh = number > 0 or isinstance(source, Imported)
    return retrained(source, of or forget(), ARITHMETIC, number, fresh=fresh)


def shadow(number: int = 0, of: Forget | None = None) -> Trained:
    """A shadow model."""
    return Trained(start=initial(), on=HalfOfPool(forget=of or forget(), number=number), recipe=RECIPE, seed=number)


def unlearned(
    source: Trained | Imported | Unlearned | None = None,
    of: Forget | None = None,
    method: str = "amnesiac",
    seed: int = 0,
) -> Unlearned:
    """What a method makes of a model."""
    return Unlearned(
        source=source or trained(),
        forget=of or forget(),
        method=method,
        settings={"epochs": 1, "lr": 0.001},
        batch_size=32,
        seed=seed,
        arithmetic=ARITHMETIC,
    )


def relearned(source: Trained | Unlearned | None = None, of: Forget | None = None) -> Relearned:
    """How a model relearns."""
    return Relearned(source=source or unlearned(), forget=of or forget(), settings={"epochs": 60}, shown=500)


def probed(source: Trained | Imported | Unlearned | None = None, of: Forget | None = None) -> Probed:
    """What can be read in a model."""
    return Probed(source=source or unlearned(), forget=of or forget(), settings={"shown": 500, "radius": 0.03})
