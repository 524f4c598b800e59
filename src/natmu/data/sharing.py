"""How the rows of an epoch are divided into steps, and those of a step among processes."""

from __future__ import annotations

import torch
from torch import Tensor


def steps_of(rows: int, batch_size: int, processes: int) -> int:
    """Steps of an epoch of so many rows; see ``Batches`` for what the last one takes."""
    whole, rest = divmod(rows, batch_size)
    return max(1, whole + (rest >= 2 * processes))


def blended_places(
    hybrid: Tensor, steps: int, batch_size: int, share: tuple[int, int], device: torch.device
) -> tuple[Tensor, ...]:
    """Places of the blended rows in a process's part of each step, found on the CPU: a GPU would be waited for.

    Args:
        hybrid: bool ``(M,)``, whether a row is blended, in the epoch's order, on the CPU.
        steps: Steps of the epoch.
        batch_size: Rows per step, over all processes.
        share: Number of the process, and how many divide the rows of each step among them.
        device: Where the places are wanted.
    """
    rank, processes = share
    found = hybrid.nonzero().squeeze(1)
    step = (found // batch_size).clamp(max=steps - 1)
    place = found - step * batch_size
    own = place % processes == rank
    counts = torch.bincount(step[own], minlength=steps).tolist()
    return torch.split((place[own] // processes).to(device), counts)
