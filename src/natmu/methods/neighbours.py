"""Images near given ones, in the range of the data."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.data.inputs import InputRange
from natmu.engine.modes import evaluating
from natmu.errors import ModelError


def noisy(images_BCHW: Tensor, deviation: float, span: InputRange) -> Tensor:
    """Images with normal noise in each pixel, clipped to the range of the data.

    Args:
        images_BCHW: float32 in that range.
        deviation: Of the noise, in units of the range.
        span: The range.
    """
    return span.clip(images_BCHW + deviation * torch.randn_like(images_BCHW) * span.width)


def recognised(model: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
    """Whether a model, in eval mode, predicts the label of each image; bool ``(B,)``."""
    with evaluating(model), torch.no_grad():
        predicted: Tensor = model(images_BCHW).argmax(1)
    return predicted == labels_B


def easiest(
    model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, span: InputRange, *, bound: float, step: float, steps: int
) -> Tensor:
    """Neighbours with a low cross-entropy, by projected gradient descent from a random start.

    Each step moves every pixel by ``step`` against the sign of the gradient, and then back into the cube of ``bound``
    around its image and to the range of the data.

    Args:
        model: Looked at in eval mode, so that samples do not depend on each other; its ``grad`` is not touched.
        images_BCHW: float32 in the range of the data.
        labels_B: int64.
        span: The range, in whose units ``bound`` and ``step`` are.
        bound: How far a pixel may be from that of the image.
        step: Length of a step.
        steps: How many.

    Returns:
        float32 ``(B, C, H, W)``, detached.

    References:
        Towards Deep Learning Models Resistant to Adversarial Attacks (Madry et al., 2018),
        https://arxiv.org/abs/1706.06083
    """
    images = images_BCHW.detach()
    bounds = bound * span.width
    moved = span.clip(images + bounds * (2 * torch.rand_like(images) - 1))
    with evaluating(model), torch.enable_grad():
        for _ in range(steps):
            moved.requires_grad_()
            loss = functional.cross_entropy(model(moved).float(), labels_B, reduction="sum")
            gradient = by_images(loss, moved)
            moved = moved.detach() - step * span.width * gradient.sign()
            moved = span.clip(images + (moved - images).clamp(-bounds, bounds))
    return moved


def by_images(loss: Tensor, images_BCHW: Tensor) -> Tensor:
    """The gradient of a loss by images.

    Raises:
        ModelError: The model's outputs do not depend on them.
    """
    gradient = torch.autograd.grad(loss, images_BCHW, allow_unused=True)[0] if loss.requires_grad else None
    if gradient is None:
        raise ModelError("The model's outputs do not depend on the images it is shown; choose another method or model.")
    return gradient
