"""How far two models' weights lie apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from natmu.errors import TrainingError, UsageError

Values = npt.NDArray[np.float64]

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Last components of tensors that follow from the data and were not trained; left out."""


@dataclass(frozen=True)
class WeightDistance:
    """Relative distances of weights, each 0 and above; 0 is equal.

    Attributes:
        layers: Layer name to its distance, in the order of the reference.
        total: Of all layers' weights as one vector.

    Examples:
        >>> distance = weight_distance({"head": [3.0, 5.0]}, {"head": [3.0, 4.0]})
        >>> distance.layers, distance.total  # the norm of (0, 1) over that of (3, 4)
        ({'head': 0.2}, 0.2)
    """

    layers: dict[str, float]
    total: float


def weight_distance(state: Mapping[str, npt.ArrayLike], reference: Mapping[str, npt.ArrayLike]) -> WeightDistance:
    """Euclidean distance of weights over the reference's norm, per layer and in total.

    A layer is what shares a tensor name without its last component (``conv1.weight`` and ``conv1.bias`` are
    ``conv1``); its tensors are one vector. Statistics of batch normalisation and tensors of whole numbers are left
    out: they follow from the data and were not trained. Other constants, such as the mean and spread in a layer that
    normalises images, have distance 0; give parameters only to leave them out. Networks with the same predictions may
    have distant weights.

    Args:
        state: Tensor name to array, of the model to be judged.
        reference: Tensor name to array, of a retrained model of the same architecture.

    Returns:
        The distances. Where a layer of the reference is 0 everywhere: 0 if the model's is too, else infinity.

    Raises:
        UsageError: If the models differ in names or shapes, or nothing is left to compare.
        TrainingError: If a weight is not a finite number.

    Examples:
        >>> weight_distance({"head": [3.0, 5.0]}, {"head": [3.0, 4.0]}).total  # the norm of (0, 1) over that of (3, 4)
        0.2
    """
    if set(state) != set(reference):
        only = sorted(set(state) ^ set(reference))
        raise UsageError(f"Only one of the models has the tensor {only[0]!r}; compare models of the same architecture.")
    squares: dict[str, tuple[float, float]] = {}
    for name, value in reference.items():
        ours, theirs = np.asarray(state[name]), np.asarray(value)
        if ours.shape != theirs.shape:
            raise UsageError(
                f"The tensor {name!r} is {ours.shape} in one model and {theirs.shape} in the other; "
                "compare models of the same architecture."
            )
        module, _, last = name.rpartition(".")
        if last in STATISTICS or not np.issubdtype(theirs.dtype, np.floating):
            continue
        layer = module or name
        apart, norm = squares.get(layer, (0.0, 0.0))
        squares[layer] = (apart + _square(ours.astype(np.float64) - theirs), norm + _square(theirs.astype(np.float64)))
    if not squares:
        raise UsageError("The models have no trained weights to compare; give their parameters by name.")
    if not np.isfinite(list(squares.values())).all():
        raise TrainingError("A weight is not a finite number, so training diverged; lower the learning rate.")
    total = (sum(apart for apart, _ in squares.values()), sum(norm for _, norm in squares.values()))
    return WeightDistance({layer: _ratio(*pair) for layer, pair in squares.items()}, _ratio(*total))


def _square(values: Values) -> float:
    return float(np.vdot(values, values))


def _ratio(apart: float, norm: float) -> float:
    """Square root of the ratio of two squares."""
    if norm == 0:
        return 0.0 if apart == 0 else math.inf
    return math.sqrt(apart / norm)
