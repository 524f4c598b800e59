"""What the parts of exact.py share: the set-up, where models are kept, and the data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.data import ImageData, load
from natmu.opening import Place
from natmu.records.files import write_atomically
from natmu.types import IntArray, seed_for

MODEL = "small_resnet"
ORIGINAL = "original"
"""Name of the run folder of an original in its store."""

ALL, OTHERS, OWN, SMALL = "all", "others", "own", "small"
"""Files of data: for shards, five classes for the backbone, the other five for heads, small images for attacks."""

CLASSES = 5
HALF_TEST, SMALL_TRAIN, SMALL_TEST = 5000, 2000, 2000

Step = dict[str, Any]
"""What a step measured."""


@dataclass(frozen=True)
class Setup:
    """What all steps have in common.

    Attributes:
        data: Folder that holds CIFAR-10.
        out: Folder that keeps everything.
        train_size: Training images of models in shards.
        half_size: Training images of each half of the classes, for heads, at most.
        epochs: Passes over the data of every training.
        models: Retrained models, and as many shadow models, that attacks compare with.
    """

    data: Path
    out: Path
    train_size: int
    half_size: int
    epochs: int
    models: int

    @property
    def training(self) -> dict[str, Any]:
        """The recipe of every network here: small batches, because a shard has few samples."""
        schedule = {"schedule": "cosine", "warmup_epochs": 1, "augment": False}
        return {"epochs": self.epochs, "batch_size": 64, "lr": 0.05, "weight_decay": 5e-4} | schedule

    def place(self, store: str, name: str | None = None) -> Place:
        """A store of runs; in fp32, as the promise of shards is about that."""
        return Place(self.data, self.out / "stores" / store, name, device="cpu", precision="fp32")

    def empty(self, store: str, name: str | None = None) -> Place:
        """A store without any run: a step that was stopped begins anew, so that its seconds are those of all of it."""
        place = self.place(store, name)
        shutil.rmtree(place.root, ignore_errors=True)
        return place

    def copied(self, store: str, copy: str) -> Place:
        """A store that begins with the runs of another, as links to the same files."""
        place = self.empty(copy)
        shutil.copytree(self.place(store).root, place.root, copy_function=_linked)
        return place

    def file(self, name: str) -> dict[str, Any]:
        """A file of data, as settings name it."""
        return {"source": str((self.out / f"{name}.npz").resolve())}

    def listed(self, name: str, rows: npt.NDArray[np.int64]) -> str:
        """A request to forget samples at these positions."""
        path = (self.out / "lists" / f"{name}.txt").resolve()
        write_atomically(path, "".join(f"{row}\n" for row in np.sort(rows)).encode())
        return f"indices:{path}"


def _linked(source: str, target: str) -> None:
    Path(target).hardlink_to(source)


def drawn(seed: int, purpose: str, population: int, count: int) -> IntArray:
    """Positions of random samples."""
    order = np.random.default_rng(seed_for(seed, purpose)).permutation(population)
    return np.asarray(order[:count], np.int64)


def megabytes(folder: Path) -> float:
    """Size of all files in a folder, in MiB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


def prepare(setup: Setup) -> Step:
    """Write the files of data: some of all classes, each half of them, and images halved to 16 x 16 pixels."""
    part = load("cifar10", setup.data, train_size=setup.train_size)
    half = part.test.subset(np.arange(HALF_TEST))
    _write(setup, ALL, {"train": part.train, "test": half}, range(2 * CLASSES), setup.train_size)
    splits = load("cifar10", setup.data)
    classes = {OTHERS: range(CLASSES), OWN: range(CLASSES, 2 * CLASSES)}
    for name, labels in classes.items():
        _write(setup, name, {"train": splits.train, "test": splits.test}, labels, setup.half_size)
    parts = {"train": splits.train.subset(np.arange(SMALL_TRAIN)), "test": splits.test.subset(np.arange(SMALL_TEST))}
    _write(setup, SMALL, parts, range(2 * CLASSES), SMALL_TRAIN, half=True)
    return {
        "classes": {name: [splits.train.class_names[label] for label in labels] for name, labels in classes.items()}
    }


def _write(
    setup: Setup, name: str, parts: Mapping[str, ImageData], classes: Iterable[int], most: int, *, half: bool = False
) -> None:
    """Images of some classes, numbered anew, as a file; of the training part at most so many."""
    first, arrays = min(classes), dict[str, Any]()
    for part, data in parts.items():
        labels = np.asarray(data.labels)
        rows = np.flatnonzero(np.isin(labels, list(classes)))[: most if part == "train" else None]
        pixels = np.asarray(data.images)[rows].transpose(0, 2, 3, 1)
        if half:
            side = pixels.shape[1] // 2
            pixels = pixels.reshape(len(rows), side, 2, side, 2, 3).mean(axis=(2, 4)).round().astype(np.uint8)
        arrays |= {f"x_{part}": pixels, f"y_{part}": labels[rows] - first}
    np.savez(setup.out / f".{name}.npz", **arrays)
    (setup.out / f".{name}.npz").replace(setup.out / f"{name}.npz")


def cpu_seconds() -> float:
    """Seconds of all cores that this process and the children it has waited for have used: other work adds nothing."""
    return sum(os.times()[:4])
