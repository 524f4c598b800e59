"""Several processes that train one model together, started by torchrun.

Each takes its share of the rows of every step. Gradients are averaged once per step, after the backward pass and in one
message, so that a loss may call the model as often as it likes and leave parts of it out. All processes hold the same
model at all times; the first alone writes. With a single process every function here does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

Value = TypeVar("Value")


@contextmanager
def group() -> Iterator[None]:
    """Join the processes that torchrun started, over gloo for what is on the CPU and NCCL for what is on a GPU.

    Each process takes the GPU of its local rank, where there are GPUs.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
    yield
    distributed.destroy_process_group()  # not after an error: the others may be waiting, and torchrun ends them


def count() -> int:
    """Number of processes at work on the same model."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def own_seed() -> list[int]:
    """What sets this process's random numbers apart from those of the first."""
    return [rank()] if rank() else []


def share() -> tuple[int, int]:
    """This process's number and how many there are."""
    return rank(), count()


def writes() -> bool:
    """Whether this process writes files: the first does."""
    return rank() == 0


def agree(value: Value) -> Value:
    """What the first process says, once all have come here.

    Args:
        value: Plain values; what the others give is not looked at.
    """
    if count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box)
    return box[0]


def same_everywhere(model: nn.Module) -> None:
    """Give every process the weights of the first."""
    if count() > 1:
        for tensor in model.state_dict().values():
            distributed.broadcast(tensor, 0)


def total(tensor: Tensor) -> Tensor:
    """The sum over processes, in place."""
    if count() > 1:
        distributed.all_reduce(tensor)
    return tensor


def average(tensors: Iterable[Tensor | None]) -> None:
    """Replace floating-point tensors by their means over processes, in one message."""
    if count() == 1:
        return
    found = [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]
    if found:
        flat = total(torch.cat([tensor.flatten() for tensor in found])).div_(count())
        for tensor, mean in zip(found, torch.split(flat, [tensor.numel() for tensor in found]), strict=True):
            tensor.copy_(mean.view(tensor.shape))


def gathered(rows: Tensor, length: int) -> Tensor:
    """The rows of all processes, one after the other.

    Args:
        rows: This process's part of ``length`` rows that were divided by ``torch.tensor_split``.
        length: Rows in all.
    """
    if count() == 1:
        return rows
    largest = -(-length // count())
    padded = rows.new_zeros(largest, *rows.shape[1:])
    padded[: len(rows)] = rows
    pieces = [torch.empty_like(padded) for _ in range(count())]
    distributed.all_gather(pieces, padded)
    sizes = [length // count() + (number < length % count()) for number in range(count())]
    return torch.cat([piece[:size] for piece, size in zip(pieces, sizes, strict=True)])


class _SyncedNorm(_BatchNorm):
    """Batch normalisation over the rows of all processes."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """Normalise with the statistics of the whole step, and note them as running ones."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        others = [axis for axis in range(input.dim()) if axis != 1]
        shape = [1, -1] + [1] * (input.dim() - 2)
        values = input.float()
        rows = values.new_tensor([values.numel() / values.shape[1]])
        sums = _summed(torch.cat([values.sum(others), rows]))
        number = sums[-1].detach()
        mean = sums[:-1] / number
        centred = values - mean.view(shape)
        variance = _summed(centred.square().sum(others)) / number
        self._note(mean.detach(), variance.detach() * number / (number - 1))
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        result: Tensor = normal.to(input.dtype)
        return result

    @torch.no_grad()
    def _note(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            pace = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, pace)
            self.running_var.lerp_(variance, pace)


def _summed(tensor: Tensor) -> Tensor:
    """The sum over processes, through which gradients flow."""
    result: Tensor = all_reduce(tensor)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def synced_norms(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Inside, batch normalisation in training mode sees the rows of all processes.

    The statistics are those of one process with all the rows, up to rounding. Works on every device that processes can
    talk about, unlike ``torch.nn.SyncBatchNorm``, which is for GPUs alone.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and enabled and count() > 1]
    kinds = [type(norm) for norm in norms]
    for norm, kind in zip(norms, kinds, strict=True):
        norm.__class__ = type(f"Synced{kind.__name__}", (_SyncedNorm, kind), {})
    try:
        yield
    finally:
        for norm, kind in zip(norms, kinds, strict=True):
            norm.__class__ = kind
