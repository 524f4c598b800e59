"""Models in shards: accuracy, what training and requests take, and what of the training each request takes again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exact_common import ALL, MODEL, ORIGINAL, Setup, Step, cpu_seconds, drawn, megabytes
from natmu.lineage.division import Division, stage_epochs
from natmu.opening import Source
from natmu.types import IntArray
from natmu.verbs import Asked, train_run, unlearn_run

DIVISIONS = ((1, 1), (2, 1), (5, 1), (5, 5), (10, 1))
"""Shards and slices; the first is one model on all data."""

REQUESTS = (1, 10, 100)
"""Samples of a request."""

BATCHES = ((5, 1, 10), (5, 5, 10), (5, 5, 100), (10, 1, 10))
"""Shards, slices and samples of larger requests that are run; where nearly all is trained again, none is."""

DRAWS = 2000
"""Random requests of each size of which it is known without training what they take again."""


def store_of(shards: int, slices: int, seed: int) -> str:
    """Where the models of a division are kept."""
    return f"shards-{shards}x{slices}-{seed}"


def train(setup: Setup, shards: int, slices: int, seed: int) -> Step:
    """Train one original, and find out what requests would take again."""
    place = setup.empty(store_of(shards, slices, seed), ORIGINAL)
    divided = {} if shards * slices == 1 else {"sharding": {"shards": shards, "slices": slices}}
    start = cpu_seconds()
    run = train_run(data=setup.file(ALL), model=MODEL, training=setup.training | divided, seed=seed, place=place)
    seconds = cpu_seconds() - start
    epochs = stage_epochs(setup.epochs, slices)
    samples = setup.train_size
    division = Division.of_array(run.division()) if divided else Division(*np.zeros((2, samples), np.int64))
    stages = Stages(division, shards, epochs)
    return {
        "seconds": seconds,
        "training_seconds": run.record.seconds,
        "test_acc": run.record.scores["test_acc"],
        "train_acc": run.record.scores["train_acc"],
        "disk_mb": megabytes(place.root),
        "parameters": sum(value.numel() for value in run.weights().values()),
        "share": {str(count): stages.mean_share(count, seed) for count in REQUESTS},
        "expected": {str(count): expected_share(count, shards, epochs) for count in REQUESTS},
        "smallest_shard": int(np.bincount(division.shards, minlength=shards).min()),
    }


def request(setup: Setup, shards: int, slices: int, seed: int, count: int) -> Step:
    """Forget random samples for real, in a copy of the store."""
    store = store_of(shards, slices, seed)
    place = setup.copied(store, f"{store}-request")
    before, rows = megabytes(place.root), drawn(seed, f"request of {count}", setup.train_size, count)
    asked = Asked(setup.listed(f"{store}-{count}", rows), method="sisa", seed=seed)
    start = cpu_seconds()
    run = unlearn_run(asked, Source(place.root / ORIGINAL), place)
    seconds = cpu_seconds() - start
    original = setup.place(store).root / ORIGINAL
    division = Division.of_array(type(run)(original).division())
    share = Stages(division, shards, stage_epochs(setup.epochs, slices)).share(rows)
    found = {"test_acc": run.record.scores["test_acc"], "disk_mb": megabytes(place.root) - before}
    setup.empty(f"{store}-request")
    return {"seconds": seconds, "training_seconds": run.record.seconds, "share": share} | found


class Stages:
    """What the stages of a division cost, as samples times epochs.

    Args:
        division: Of all samples.
        shards: Number of shards.
        epochs: Of each stage.
    """

    def __init__(self, division: Division, shards: int, epochs: tuple[int, ...]) -> None:
        slices = len(epochs)
        cells = np.bincount(division.shards * slices + division.slices, minlength=shards * slices)
        cost = cells.reshape(shards, slices).cumsum(axis=1) * np.array(epochs)
        self.division = division
        self.again = np.zeros((shards, slices + 1))  # from each stage on; 0 where a shard stays as it is
        self.again[:, :-1] = cost[:, ::-1].cumsum(axis=1)[:, ::-1]

    def share(self, rows: IntArray) -> float:
        """The part of the whole training that forgetting these samples takes again."""
        first = np.full(len(self.again), self.again.shape[1] - 1)
        np.minimum.at(first, self.division.shards[rows], self.division.slices[rows])
        taken: npt.NDArray[np.float64] = self.again[np.arange(len(first)), first]
        return float(taken.sum() / self.again[:, 0].sum())

    def mean_share(self, count: int, seed: int) -> tuple[float, float]:
        """Mean and standard deviation of it over random requests of so many samples."""
        rng, samples = np.random.default_rng(seed), len(self.division)
        shares = [self.share(rng.choice(samples, count, replace=False)) for _ in range(DRAWS)]
        return float(np.mean(shares)), float(np.std(shares))


def expected_share(count: int, shards: int, epochs: tuple[int, ...]) -> float:
    """The part of the whole training that a random request takes again, on average over divisions.

    Stage i of a shard sees i of its R slices. It is trained again if one of k samples is among them, which has the
    probability ``1 - (1 - i / (R S)) ** k``, as a hash places each sample independently. It costs ``i * epochs_i``.
    For one sample and equal epochs the sum is ``(2 R + 1) / (3 R S)``.

    Args:
        count: k.
        shards: S.
        epochs: Of each stage, R numbers.
    """
    cost = [stage * number for stage, number in enumerate(epochs, 1)]
    touched = [1 - (1 - stage / (len(epochs) * shards)) ** count for stage in range(1, len(epochs) + 1)]
    return float(np.dot(cost, touched)) / sum(cost)
