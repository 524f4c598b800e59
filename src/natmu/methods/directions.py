"""Lengths of gradients, shared by the methods that bound them. Nothing here waits for the device."""

from __future__ import annotations

import torch
from torch import Tensor

from natmu.engine.step import Direction, Gradients


def norm_of(gradients: Gradients) -> Tensor:
    """The Euclidean norm of all gradients taken as one vector, a scalar."""
    lengths = [torch.linalg.vector_norm(gradient) for gradient in gradients]
    length: Tensor = torch.linalg.vector_norm(torch.stack(lengths))
    return length


def clipped(gradients: Gradients, max_norm: float) -> Gradients:
    """The gradients, shortened together to the given norm where they are longer than that."""
    factor = max_norm / norm_of(gradients).clamp(min=max_norm)
    return [gradient * factor for gradient in gradients]


def clipping(max_norm: float) -> Direction:
    """A direction that follows the sum of all terms, its norm clipped."""
    return lambda terms: clipped([sum(parts[1:], start=parts[0]) for parts in zip(*terms, strict=True)], max_norm)
