"""Timing of bf16 against fp32, and of matrix products against convolutions, in one thread.

The caller sees to it that PyTorch uses one thread, so that the processor time of this thread is that of all the work.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.models import convolution
from natmu.models.convolution import Conv2d, products_up_to
from natmu.records.precision import ProductLimits

BATCH = 16
"""Images of a timed step. With 128 the ratios are the same to a tenth, and the work is eight times as long."""

TURNS = 3
"""How often each way is timed, after once that is not counted."""

MAPS = ((2, 512), (4, 512), (8, 256), (16, 128))
"""Sides of maps with the channels that VGG and ResNet have on them."""

Work = Callable[[], object]


def turns_ratio(one: Work, other: Work) -> float:
    """Median time of one way over that of another, turn by turn."""
    pairs = [(_seconds(one), _seconds(other)) for _ in range(1 + TURNS)][1:]
    return statistics.median(first / max(second, 1e-9) for first, second in pairs)


def _seconds(work: Work) -> float:
    """Processor time of one call."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def product_ratios(passed: str) -> Iterator[tuple[int, float]]:
    """Time of PyTorch's kernel over that of products for one pass of a 3 x 3 convolution in bf16.

    Args:
        passed: Field of ``ProductLimits`` that names the pass.

    Yields:
        Pixels of a map, ascending, and the ratio, which is measured when it is asked for.
    """
    for side, channels in MAPS:
        images, grad = (_maps(BATCH, channels, side, side) for _ in range(2))
        yield side * side, turns_ratio(*_ways(passed, images, grad, _maps(channels, channels, 3, 3)))


def _ways(passed: str, images: Tensor, grad: Tensor, weight: Tensor) -> tuple[Work, Work]:
    """A pass by PyTorch's kernel, and by products."""

    def gradient(*wanted: bool) -> object:
        ones = [1, 1]  # stride, padding, dilation
        return torch.ops.aten.convolution_backward(
            grad, images, weight, None, ones, ones, ones, False, [0, 0], 1, wanted
        )

    ways: dict[str, tuple[Work, Work]] = {
        "outputs": (
            lambda: functional.conv2d(images, weight, padding=1),
            lambda: convolution.outputs_by_products(images, weight, 1),
        ),
        "input_gradients": (
            lambda: gradient(True, False, False),
            lambda: convolution.input_gradient_by_products(grad, weight),
        ),
        "weight_gradients": (
            lambda: gradient(False, True, False),
            lambda: convolution.weight_gradient_by_products(grad, images, 1),
        ),
    }
    return ways[passed]


def _maps(*shape: int) -> Tensor:
    return torch.full(shape, 0.5, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)


def bf16_speedup(products: ProductLimits) -> float:
    """Time of a training step of three convolutional layers in fp32 over that in bf16.

    Args:
        products: Which convolutions in bf16 are matrix products.
    """
    block = nn.Sequential(*_layer(64, 128), *_layer(128, 256), *_layer(256, 512))
    block = block.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 64, 16, 16).contiguous(memory_format=torch.channels_last)

    def step(bf16: bool) -> None:
        block.zero_grad()
        with products_up_to(products), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            maps = block(images)
        maps.float().square().mean().backward()
        with torch.no_grad():
            for weight in block.parameters():
                weight.sub_(weight.grad, alpha=1e-3)

    return turns_ratio(lambda: step(False), lambda: step(True))


def _layer(channels: int, outputs: int) -> list[nn.Module]:
    """A convolution as in VGG, which halves the side of its maps."""
    convolve = Conv2d(channels, outputs, 3, padding=1, bias=False)
    return [convolve, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
