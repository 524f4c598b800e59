"""Samples again and again, for methods that count steps and not epochs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from natmu.types import IntArray


def rounds_of(count: int, wanted: int, size: int, rng: Callable[[int], np.random.Generator]) -> Tensor:
    """Places of samples for batches of one size, all samples in each round and none twice in a batch.

    Args:
        count: Number of samples; where it is below ``size``, batches cannot but repeat them.
        wanted: How many places are needed.
        size: Of a batch.
        rng: Random numbers of a round, counted from 0.

    Returns:
        int64 ``(wanted,)``.
    """
    rounds: list[IntArray] = []
    for number in range(math.ceil(wanted / count)):
        order = rng(number).permutation(count)
        begun = number * count % size  # of a batch that the round before has left unfinished
        if begun and size <= count:
            shown = np.isin(order, rounds[-1][-begun:])
            first = np.flatnonzero(~shown)[: size - begun]
            order = np.concatenate([order[first], np.delete(order, first)])
        rounds.append(order)
    return torch.from_numpy(np.concatenate(rounds)[:wanted])
