"""Shards and heads for methods that need them: small ones in memory, which really train and fit."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.compute import Compute
from natmu.engine.training import train_classifier
from natmu.errors import ForgetSetError
from natmu.heads.errors import RefitNeeded
from natmu.heads.ridge import RidgeHead
from natmu.heads.rows import linear_of, rows_of
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.models import Ensemble, features_before, set_unit_head, unit_head_of, with_unit_head
from natmu.records.run import History
from natmu.records.settings import TrainSettings
from natmu.types import FloatArray, IntArray

SHARDS = 2
"""Shards of a divided problem; a sample's position decides which it is in."""


@dataclass(frozen=True)
class ShardsInMemory:
    """Shards without stages: an affected one is trained again from the start.

    Attributes:
        model: What they make up.
        data: The training data.
        start: Makes a model with the initial weights of all of them.
        recipe: How each is trained.
        compute: Device and precision.
    """

    model: Ensemble
    data: ImageData
    start: Callable[[], nn.Module]
    recipe: TrainSettings
    compute: Compute

    def retrained(self, left_out: IntArray) -> tuple[nn.Module, History]:
        """The model that never had some samples, as ``natmu.methods.problem.Sharded`` has it."""
        history: History = []
        members = {shard: copy.deepcopy(member) for shard, member in self.model.by_shard().items()}
        for shard in np.unique(_shard_of(left_out)).tolist():
            del members[shard]
            rows = self._rows(shard, left_out)
            if len(rows) > 1:  # batch normalisation has no statistics of one
                members[shard] = self._trained(shard, rows, history)
        if not members:
            raise ForgetSetError("sisa: no shard has two samples left; forget fewer.")
        return Ensemble(members, self.model.combine), history

    def work(self, left_out: IntArray) -> float:
        """Samples times epochs of the affected shards."""
        shards = np.unique(_shard_of(left_out)).tolist()
        return self.recipe.epochs * float(sum(len(self._rows(shard, left_out)) for shard in shards))

    def _rows(self, shard: int, left_out: IntArray) -> IntArray:
        """What a shard is trained on."""
        every = np.arange(len(self.data))
        return np.setdiff1d(every[_shard_of(every) == shard], left_out)

    def _trained(self, shard: int, rows: IntArray, history: History) -> nn.Module:
        """The model of one shard."""
        model = self.compute.place(copy.deepcopy(self.start()))
        positions, compute = torch.from_numpy(rows), self.compute
        train_classifier(model, self.data, positions, self.recipe, compute, seed=shard, label="sisa", history=history)
        return model


def _shard_of(positions: IntArray) -> IntArray:
    """The shards of samples; neighbours share one, as classes often follow each other."""
    return positions // 2 % SHARDS


@dataclass(frozen=True)
class HeadInMemory:
    """A ridge head with the rows that it was fitted on, as a store keeps them.

    Attributes:
        model: The backbone with the head.
        head: The head.
        rows: Rows of the data that it was fitted on.
        labels: Their labels.
        asked: Rows and labels of the samples that are asked about.
    """

    model: nn.Module
    head: RidgeHead
    rows: FloatArray
    labels: IntArray
    asked: tuple[FloatArray, IntArray]

    def downdated(self, forget: IntArray, left_out: IntArray, *, refit: bool = False) -> nn.Module:
        """The model without some samples, as ``natmu.methods.problem.Fitted`` has it."""
        rows, labels = self.asked
        try:
            head = self._refitted(left_out) if refit else self.head.remove(rows[forget], labels[forget])
        except RefitNeeded:
            head = self._refitted(left_out)
        model = copy.deepcopy(self.model)
        set_unit_head(model, *linear_of(head.weights))
        return model

    def _refitted(self, left_out: IntArray) -> RidgeHead:
        kept = np.setdiff1d(np.arange(len(self.rows)), left_out)
        classes = len(self.head.weights)
        return RidgeHead.fit(self.rows[kept], self.labels[kept], num_classes=classes, l2=self.head.l2)


def equipped(method: type[Method] | Method, problem: Problem) -> Problem:
    """The problem with what a method needs of how the model was trained: shards, or a head that was fitted on features.

    A problem that has them already, and other data since, has the same model: its shards are trained on the data as it
    is now, and of its head the samples that are asked about are those of the data as it is now.
    """
    if method.needs_shards:
        return _divided(problem)
    return _with_head(problem) if method.needs_head else problem


def _divided(problem: Problem) -> Problem:
    if isinstance(problem.sharded, ShardsInMemory):
        return replace(problem, sharded=replace(problem.sharded, data=problem.data))
    model, start = problem.model, problem.initial_model
    assert problem.training is not None, "the suite's problems say how they were trained"
    assert start is not None, "and from where"
    if not isinstance(model, Ensemble):
        training, model = model.training, Ensemble({shard: copy.deepcopy(model) for shard in range(SHARDS)})
        model.training = model.members.training = training
    sharded = ShardsInMemory(model, problem.data, start, problem.training, problem.compute)
    return replace(problem, model=model, sharded=sharded)


def _with_head(problem: Problem) -> Problem:
    if isinstance(problem.fitted, HeadInMemory):
        asked = _features(problem.fitted.model, problem.data, problem.compute), _labels(problem.data)
        return replace(problem, fitted=replace(problem.fitted, asked=asked))
    data, model = problem.data, copy.deepcopy(problem.model)
    if not _has_head(model):
        with_unit_head(model, num_classes=data.num_classes, image_shape=data.image_shape)
    rows, labels = _features(model, data, problem.compute), _labels(data)
    kept = np.setdiff1d(np.arange(len(data)), np.union1d(problem.forget.before, problem.aside))
    head = RidgeHead.fit(rows[kept], labels[kept], num_classes=data.num_classes)
    set_unit_head(model, *linear_of(head.weights))
    fitted = HeadInMemory(model, head, rows, labels, (rows, labels))
    return replace(problem, model=model, fitted=fitted, initial_model=None)


def _has_head(model: nn.Module) -> bool:
    try:
        unit_head_of(model)
    except AssertionError:
        return False
    return True


@torch.no_grad()
def _features(model: nn.Module, data: ImageData, compute: Compute) -> FloatArray:
    """Features of all images as rows; those of a damaged backbone are none."""
    network = compute.place(copy.deepcopy(model)).eval()
    _, head = unit_head_of(network)
    images = data.take(torch.arange(len(data))).float() / 255
    features = features_before(head, lambda: network(images)).cpu().numpy()
    return rows_of(np.nan_to_num(features))


def _labels(data: ImageData) -> npt.NDArray[np.int64]:
    return np.asarray(data.labels.cpu())
