"""A convolution that is fast on small feature maps too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from natmu.records.precision import NEVER, ProductLimits

_limits: ContextVar[ProductLimits] = ContextVar("natmu_product_limits", default=NEVER)


@contextmanager
def products_up_to(limits: ProductLimits) -> Iterator[None]:
    """Inside, convolutions of ours that run in bf16 on a CPU are matrix products on maps up to these sizes."""
    token = _limits.set(limits)
    try:
        yield
    finally:
        _limits.reset(token)


class Conv2d(nn.Conv2d):
    """A ``torch.nn.Conv2d``; on a CPU in bf16, 3 x 3 kernels on small feature maps may be matrix products over patches.

    The CPU kernels behind ``torch.nn.functional.conv2d`` lose much of their speed on maps of a few pixels with many
    channels, which is where VGG and ResNet have most of their weights: on some processors most of it, on others in
    gradients of weights alone. ``products_up_to`` says for which sizes of output maps products are taken; without it
    they never are. What is computed is the same up to rounding, and in every other case the same to the bit.
    ``benchmarks/convolution.py`` shows where the products are faster.

    The products take second derivatives and the transforms ``grad`` and ``vmap`` of ``torch.func``, but like most
    ``torch.autograd.Function`` no forward-mode derivatives.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name in the base class
        """Feature maps ``(B, out_channels, H', W')`` of feature maps ``(B, in_channels, H, W)``."""
        limits = _limits.get()
        if not self._gains_on(input, limits):
            return super().forward(input)
        maps: Tensor = _SmallMaps.apply(  # type: ignore[no-untyped-call]
            input.bfloat16(), self.weight.bfloat16(), self.stride[0], limits
        )
        return maps if self.bias is None else maps + self.bias.bfloat16()[:, None, None]

    def _gains_on(self, images: Tensor, limits: ProductLimits) -> bool:
        """Whether any pass over these images is faster by products; no on whatever the base class refuses."""
        plain = (3, 3), (1, 1), (1, 1), 1, "zeros"
        if (self.kernel_size, self.padding, self.dilation, self.groups, self.padding_mode) != plain:
            return False
        if self.stride[0] != self.stride[1] or images.dim() != 4 or images.shape[1] != self.in_channels:
            return False
        tensors = (images, self.weight) if self.bias is None else (images, self.weight, self.bias)
        height, width = output_size(images, self.stride[0])
        largest = max(limits.outputs, limits.input_gradients, limits.weight_gradients)
        return 0 < height * width <= largest and _run_in_bf16_on_cpu(*tensors)


def _run_in_bf16_on_cpu(*tensors: Tensor) -> bool:
    """Whether a convolution of these runs in bf16 on a CPU, as they are or through autocast."""
    taken = {torch.bfloat16}
    if torch.is_autocast_enabled("cpu"):
        if torch.get_autocast_dtype("cpu") is not torch.bfloat16:
            return False
        taken = {torch.bfloat16, torch.float16, torch.float32}
    return all(tensor.device.type == "cpu" and tensor.dtype in taken for tensor in tensors)


class _SmallMaps(torch.autograd.Function):
    """3 x 3 convolution with padding 1, each pass by the faster of two ways."""

    generate_vmap_rule = True

    @staticmethod
    def forward(images: Tensor, weight: Tensor, stride: int, limits: ProductLimits) -> Tensor:
        height, width = output_size(images, stride)
        if height * width > limits.outputs:
            return functional.conv2d(images, weight, stride=stride, padding=1)
        # Detached: autograd refuses to change a view made inside a Function in place, and the next layer may want to.
        return outputs_by_products(images, weight, stride).detach()

    @staticmethod
    def setup_context(
        ctx: Any,  # noqa: ANN401
        inputs: tuple[Tensor, Tensor, int, ProductLimits],
        output: Tensor,  # noqa: ARG004
    ) -> None:
        images, weight, ctx.stride, ctx.limits = inputs
        ctx.save_for_backward(images, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # noqa: ANN401
        images, weight = ctx.saved_tensors
        pixels, limits, to_images, to_weight = grad.shape[2] * grad.shape[3], ctx.limits, None, None
        if ctx.needs_input_grad[0]:
            if ctx.stride == 1 and pixels <= limits.input_gradients:
                to_images = input_gradient_by_products(grad, weight)
            else:
                to_images = conv2d_input(  # type: ignore[no-untyped-call]
                    images.shape, weight, grad, ctx.stride, padding=1
                )
        if ctx.needs_input_grad[1]:
            if pixels <= limits.weight_gradients:
                to_weight = weight_gradient_by_products(grad, images, ctx.stride)
            else:
                to_weight = conv2d_weight(  # type: ignore[no-untyped-call]
                    images, weight.shape, grad, ctx.stride, padding=1
                )
        return to_images, to_weight, None, None


def output_size(images: Tensor, stride: int) -> tuple[int, int]:
    """Height and width of the output of a 3 x 3 convolution with padding 1."""
    height, width = images.shape[2:]
    return -(-height // stride), -(-width // stride)


def outputs_by_products(images: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A 3 x 3 convolution with padding 1, as one matrix product.

    Args:
        images: ``(B, C, H, W)``.
        weight: ``(O, C, 3, 3)``.
        stride: Of the convolution.

    Returns:
        ``(B, O, H', W')``, channels last.
    """
    return _product(patches(images, stride), weight.permute(2, 3, 1, 0).flatten(0, 2))


def input_gradient_by_products(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient for the input of a 3 x 3 convolution with padding 1 and stride 1, as one matrix product.

    It is a convolution of the same kind, with the kernel turned half round and its channels exchanged.

    Args:
        grad: Gradient for the output, ``(B, O, H, W)``.
        weight: ``(O, C, 3, 3)``.

    Returns:
        ``(B, C, H, W)``, channels last.
    """
    taps = [weight[:, :, 2 - row, 2 - column] for row in range(3) for column in range(3)]
    return _product(patches(grad, stride=1), torch.cat(taps))


def weight_gradient_by_products(grad: Tensor, images: Tensor, stride: int) -> Tensor:
    """The gradient for the weight of a 3 x 3 convolution with padding 1, as one matrix product per kernel row.

    Row by row, the gathered array is a third as large, which saves more on the largest maps than it costs on others.

    Args:
        grad: Gradient for the output, ``(B, O, H', W')``.
        images: ``(B, C, H, W)``.
        stride: Of the convolution.

    Returns:
        ``(O, C, 3, 3)``, channels last.
    """
    channels = images.shape[1]
    by_pixel = grad.permute(1, 0, 2, 3).flatten(1).contiguous()
    rows = [by_pixel @ row.reshape(-1, 3 * channels) for row in patches(images, stride).unbind(3)]
    return torch.stack(rows, dim=1).reshape(-1, 3, 3, channels).permute(0, 3, 1, 2)


def patches(images: Tensor, stride: int) -> Tensor:
    """The 3 x 3 neighbourhood of every output pixel of a convolution with padding 1.

    Args:
        images: ``(B, C, H, W)``.
        stride: Of the convolution.

    Returns:
        ``(B, H', W', 3, 3, C)``: image, output row and column, kernel row and column, channel. A view in which
        neighbours share memory.
    """
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1)).contiguous()
    return padded.unfold(1, 3, stride).unfold(2, 3, stride).permute(0, 1, 2, 4, 5, 3)


def _product(patches: Tensor, kernel: Tensor) -> Tensor:
    """Feature maps, channels last, of patches ``(B, H, W, 3, 3, C)`` and a kernel ``(9 * C, O)``."""
    rows = patches.reshape(-1, len(kernel)) @ kernel
    return rows.reshape(*patches.shape[:3], kernel.shape[1]).permute(0, 3, 1, 2)
