"""Batch normalisation whose statistics are those of the rows of all processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from natmu.engine import processes


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


class _Sum(torch.autograd.Function):
    """The sum over processes; the gradient of each part is the sum of the gradients of all."""

    @staticmethod
    def forward(context: object, part: Tensor) -> Tensor:  # noqa: ARG004
        return processes.total(part.clone())

    @staticmethod
    def backward(context: object, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return processes.total(gradient.clone())


def _summed(tensor: Tensor) -> Tensor:
    """The sum over processes, through which gradients flow."""
    result: Tensor = _Sum.apply(tensor)  # type: ignore[no-untyped-call]
    return result


@contextmanager
def synced_norms(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Inside, batch normalisation in training mode sees the rows of all processes.

    The statistics are those of one process with all the rows, up to rounding. Works on every device that processes can
    talk about, unlike ``torch.nn.SyncBatchNorm``, which is for GPUs alone.
    """
    norms = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and enabled and processes.count() > 1
    ]
    kinds = [type(norm) for norm in norms]
    for norm, kind in zip(norms, kinds, strict=True):
        norm.__class__ = type(f"Synced{kind.__name__}", (_SyncedNorm, kind), {})
    try:
        yield
    finally:
        for norm, kind in zip(norms, kinds, strict=True):
            norm.__class__ = kind
