"""Shards of a tiny network on a few made-up images that have names, in memory: what tests of shards stand on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData, Splits
from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.lineage import Workspace, obtain, outcome_of
from natmu.methods import method_named
from natmu.models import Normalize
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Trained, Unlearned
from natmu.records.settings import DataSettings, Sharding, TrainSettings
from natmu.types import ForgetSet, positions_digest

RECIPE = TrainSettings(
    epochs=2, lr=0.1, schedule="constant", batch_size=8, warmup_epochs=0, sharding=Sharding(shards=3, slices=2)
)
MEAN, STD = (0.4,), (0.3,)


def factory(num_classes: int = 3, image_shape: tuple[int, int, int] = (1, 4, 4)) -> nn.Module:
    """A network with batch normalisation, in whose statistics a sample leaves its trace too."""
    return nn.Sequential(Normalize(MEAN, STD), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 3))


def images(count: int, seed: int = 0, names: bool = True) -> ImageData:
    """Random images of three classes."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 4, 4), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 3, (count,), generator=generator)
    return ImageData(
        pixels, labels, ("a", "b", "c"), names=[f"{seed}/{row:03}.png" for row in range(count)] if names else ()
    )


class Place(Workspace):
    """A workspace whose networks are built at once, as they are known to be good."""

    def build(self, seed: int) -> nn.Module:
        """The network with the initial weights of a seed."""
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return self.compute.place(factory())


def workspace(out: Path, train: ImageData) -> Workspace:
    """A workspace with its store in a folder."""
    splits = Splits("made up", train, images(6, seed=1), MEAN, STD)
    settings = DataSettings(source="made up", mean=MEAN, std=STD)
    name = f"{factory.__module__}:{factory.__qualname__}"
    return Place(settings, splits, name, Compute.choose("cpu", "fp32"), Store(out))


def without(place: Workspace, rows: np.ndarray, out: Path) -> Workspace:
    """A workspace whose data never had some samples."""
    train = place.splits.train
    left = train.subset(np.setdiff1d(np.arange(len(train)), rows))
    return workspace(out, replace(left, names=list(left.names)))


def forgotten(place: Workspace, rows: np.ndarray, source: Trained | Unlearned) -> Forget:
    """A request for listed samples, which the workspace knows."""
    earlier = place.forgotten_by(source)
    found = ForgetSet(np.sort(rows), f"indices:{positions_digest(rows)}", "indices").after(earlier)
    after = getattr(source, "forget", None)
    forget = Forget(request=parse_forget(found.request), positions=found.digest, after=after)
    place.remember(forget, found)
    return forget


def by_sisa(place: Workspace, rows: np.ndarray, source: Trained | Unlearned) -> Unlearned:
    """What sisa makes of a model."""
    forget = forgotten(place, rows, source)
    made = outcome_of(method_named("sisa")(), source, forget, seed=0, batch_size=None, at=place.arithmetic)
    obtain(made, place)
    return made
