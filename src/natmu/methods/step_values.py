"""Numbers that change from step to step, for steps that are recorded once and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def step_values(values: Sequence[float], epoch_length: int, device: torch.device) -> Callable[[int], Tensor]:
    """A function that gives the next of some values at each call.

    It counts on the device, so that a recorded step counts too, and from the epoch's first value on in each epoch, so
    that a run that continues at an epoch gets the values of one that was never interrupted.

    Args:
        values: One for each call, in order.
        epoch_length: Calls in each epoch but the last.
        device: Where the values are wanted.

    Returns:
        From the epoch, counted from 0, to a scalar.
    """
    table = torch.tensor(values, device=device)
    following = torch.arange(0, len(values), epoch_length, device=device)

    def take(epoch: int) -> Tensor:
        place = following[epoch : epoch + 1]
        value = table.index_select(0, place).squeeze(0)
        place += 1
        return value

    return take
