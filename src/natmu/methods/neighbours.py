"""Images near given ones, in the range of images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from natmu.engine.modes import evaluating


def noisy(images_BCHW: Tensor, deviation: float) -> Tensor:
    """Images with normal noise in each pixel, clipped to ``[0, 1]``.

    Args:
        images_BCHW: float32 in ``[0, 1]``.
        deviation: Of the noise.
    """
    return (images_BCHW + deviation * torch.randn_like(images_BCHW)).clamp(0, 1)


def recognised(model: nn.Module, images_BCHW: Tensor, labels_B: Tensor) -> Tensor:
    """Whether a model, in eval mode, predicts the label of each image; bool ``(B,)``."""
    with evaluating(model), torch.no_grad():
        predicted: Tensor = model(images_BCHW).argmax(1)
    return predicted == labels_B


def easiest(
    model: nn.Module, images_BCHW: Tensor, labels_B: Tensor, *, bound: float, step: float, steps: int
) -> Tensor:
    """Neighbours with a low cross-entropy, by projected gradient descent from a random start.

    Each step moves every pixel by ``step`` against the sign of the gradient, and then back into the cube of ``bound``
    around its image and to ``[0, 1]``.

    Args:
        model: Looked at in eval mode, so that samples do not depend on each other; its ``grad`` is not touched.
        images_BCHW: float32 in ``[0, 1]``.
        labels_B: int64.
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
    moved = (images + bound * (2 * torch.rand_like(images) - 1)).clamp(0, 1)
    with evaluating(model), torch.enable_grad():
        for _ in range(steps):
            moved.requires_grad_()
            loss = functional.cross_entropy(model(moved).float(), labels_B, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = moved.detach() - step * gradient.sign()
            moved = (images + (moved - images).clamp(-bound, bound)).clamp(0, 1)
    return moved
