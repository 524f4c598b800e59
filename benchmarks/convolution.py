"""Two ways to each pass of a 3 x 3 convolution on a CPU: torch's kernels, and matrix products over patches.

    python benchmarks/convolution.py --repeats 11                   # some minutes
    python benchmarks/convolution.py --precision bf16 --threads 2

For every 3 x 3 convolution of VGG16 and ResNet18 on 128 images of 32 x 32 pixels, and for each of its three passes, the
two ways take turns. The table gives the median milliseconds of both, the median of torch's time over that of products
turn by turn (above 1 products are faster) with the least and the largest, and the way that natmu takes here, which a
short measurement has decided (``natmu.engine.precision``). There are no products for input gradients of strided
convolutions.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.engine.compute import Compute, hardware, versions
from natmu.models import build_model, convolution
from natmu.records.precision import ProductLimits

BATCH = 128
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
Work = Callable[[], object]


class Shape(NamedTuple):
    """A convolution, the side of its output map and that of its input."""

    side: int
    size: int
    channels: int
    outputs: int

    def __str__(self) -> str:
        return f"{self.channels} to {self.outputs}, {self.size}² to {self.side}²"


def shapes() -> list[Shape]:
    """The distinct 3 x 3 convolutions of both models, smallest maps first."""
    found = set()

    def note(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
            found.add(Shape(output.shape[2], inputs[0].shape[2], layer.in_channels, layer.out_channels))

    with torch.device("meta"), nn.modules.module.register_module_forward_hook(note):
        for name in ("vgg16", "resnet18"):
            model = build_model(name, num_classes=10, image_shape=(3, 32, 32), mean=[0.5] * 3, std=[0.25] * 3, seed=0)
            model(torch.empty(1, 3, 32, 32))
    return sorted(found)


def passes(shape: Shape, dtype: torch.dtype, limits: ProductLimits) -> Iterator[tuple[str, Work, Work, int]]:
    """Name, torch's kernel, products, and the largest map for which natmu takes products, of each pass."""
    stride = shape.size // shape.side
    images = _random(BATCH, shape.channels, shape.size, shape.size).to(dtype)
    weight = _random(shape.outputs, shape.channels, 3, 3).to(dtype)
    grad = _random(BATCH, shape.outputs, shape.side, shape.side).to(dtype)

    def output() -> Tensor:
        return functional.conv2d(images, weight, stride=stride, padding=1)

    def gradient(*wanted: bool) -> object:
        sizes = [stride] * 2, [1, 1], [1, 1]  # stride, padding, dilation
        return torch.ops.aten.convolution_backward(grad, images, weight, None, *sizes, False, [0, 0], 1, wanted)

    yield "output", output, lambda: convolution.outputs_by_products(images, weight, stride), limits.outputs
    if stride == 1:
        products = lambda: convolution.input_gradient_by_products(grad, weight)  # noqa: E731
        yield "input gradient", lambda: gradient(True, False, False), products, limits.input_gradients
    products = lambda: convolution.weight_gradient_by_products(grad, images, stride)  # noqa: E731
    yield "weight gradient", lambda: gradient(False, True, False), products, limits.weight_gradients


def _random(*shape: int) -> Tensor:
    return torch.randn(shape).to(memory_format=torch.channels_last)


def milliseconds(work: Work) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - start)


def row(kernel: Work, products: Work, repeats: int) -> str:
    """Medians of both, and median, least and largest of their ratios, after one turn that is not counted."""
    turns = [(milliseconds(kernel), milliseconds(products)) for _ in range(1 + repeats)][1:]
    medians = [statistics.median(times) for times in zip(*turns, strict=True)]
    ratios = [one / other for one, other in turns]
    return "".join(f"{value:9.2f}" for value in (*medians, statistics.median(ratios), min(ratios), max(ratios)))


def main() -> None:
    """Print the machine, and the table line by line as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=11, help="turns of each pass")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    limits = Compute.choose("cpu", "bf16").products
    facts = hardware(Compute(torch.device("cpu"), "fp32")).plain() | versions()
    print(
        *(f"{name} {facts[name]}," for name in ("processor", "threads", "torch")),
        f"n = {asked.repeats}, milliseconds\n",
    )
    titles = "".join(f"{title:>9}" for title in ("torch", "products", "ratio", "least", "most"))
    print(f"{'':6}{'channels, map':26}{'pass':16}{titles}  natmu takes")
    for precision in asked.precision:
        for shape in shapes():
            for name, kernel, products, limit in passes(shape, PRECISIONS[precision], limits):
                taken = "products" if precision == "bf16" and shape.side**2 <= limit else "torch"
                print(f"{precision:6}{shape!s:26}{name:16}{row(kernel, products, asked.repeats)}  {taken}", flush=True)


if __name__ == "__main__":
    main()
