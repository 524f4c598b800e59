"""A convolutional network that learns CIFAR-10 in minutes on two cores."""

from __future__ import annotations

import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, gelu, max_pool2d

from natmu.models.convolution import Conv2d
from natmu.models.layers import ImageShape, check_image_shape

NEIGHBOURS, CHANNELS = 0.95, 0.93
"""Correlation of pixels one apart, and of the channels of one pixel, in natural images, in round numbers."""

WIDTHS = (32, 128, 256)
"""Channels of the blocks."""

MOMENTUM = 0.4
"""Part that each batch has in running statistics: a training of some hundred steps leaves little time to forget."""


class Whitening(nn.Module):
    """Whitens patches of 2 x 2 pixels: a convolution that is never trained, and holds nothing of the training data.

    Its filters are the eigenvectors of a covariance that is a model of natural images, ``c r^d`` for two values of a
    patch that are ``d`` pixels apart, with ``c = 1`` within a channel and less between channels; each is divided by the
    root of its eigenvalue, and there with both signs.

    Args:
        channels: Channels of normalised images.
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", whitening(channels))

    def forward(self, images: Tensor) -> Tensor:
        """Features ``(B, 8 * channels, H - 1, W - 1)`` of images ``(B, channels, H, W)``."""
        return conv2d(images, self.weight)


def whitening(channels: int) -> Tensor:
    """The filters of ``Whitening``, those with the largest eigenvalues first.

    Returns:
        float32 ``(8 * channels, channels, 2, 2)``.
    """
    values = list(itertools.product(range(channels), range(2), range(2)))
    covariance = torch.tensor(
        [
            [
                (1 if channel == other else CHANNELS) * NEIGHBOURS ** math.hypot(row - down, column - right)
                for other, down, right in values
            ]
            for channel, row, column in values
        ],
        dtype=torch.float64,
    )
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    filters = (vectors / eigenvalues.sqrt()).T.flip(0).reshape(-1, channels, 2, 2)
    return torch.cat([filters, -filters]).float()


class DiracConv2d(Conv2d):
    """A 3 x 3 convolution whose first filters begin as the identity; the others begin as PyTorch's do."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, kernel_size=3, padding=1, bias=False)

    def reset_parameters(self) -> None:
        """Draw the weights anew."""
        super().reset_parameters()
        nn.init.dirac_(self.weight[: self.in_channels].data)


class FastBlock(nn.Module):
    """Two convolutions, with pooling after the first, each with batch normalisation and GELU.

    Args:
        channels: Channels of the input.
        width: Channels of the output.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = DiracConv2d(channels, width)
        self.bn1 = nn.BatchNorm2d(width, momentum=MOMENTUM)
        self.conv2 = DiracConv2d(width, width)
        self.bn2 = nn.BatchNorm2d(width, momentum=MOMENTUM)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, width, H // 2, W // 2)`` of features ``(B, channels, H, W)``."""
        pooled = max_pool2d(self.conv1(features), 2)
        hidden = gelu(self.bn1(pooled), approximate="tanh")
        return gelu(self.bn2(self.conv2(hidden)), approximate="tanh")


class FastCNN(nn.Module):
    """Whitened patches, three blocks that halve the image, global max-pooling and one linear layer.

    Args:
        normalize: First layer, applied to images in [0, 1].
        image_shape: Channels, height, width; at least 9 pixels high and wide.
        num_classes: Number of classes.

    Raises:
        ModelError: The images are smaller than 9 pixels.

    References:
        94% on CIFAR-10 in 3.29 Seconds on a Single GPU (Keller Jordan, 2024), https://arxiv.org/abs/2404.00498

    Examples:
        >>> import torch
        >>> model = build_model("fast_cnn", num_classes=10, image_shape=(1, 32, 32), mean=[0.5], std=[0.25], seed=0)
        >>> isinstance(model, FastCNN), model.eval()(torch.zeros(2, 1, 32, 32)).shape
        (True, torch.Size([2, 10]))
    """

    min_size: ClassVar[int] = 9

    def __init__(self, normalize: nn.Module, image_shape: ImageShape, num_classes: int) -> None:
        super().__init__()
        check_image_shape("FastCNN", image_shape, self.min_size)
        self.normalize = normalize
        self.whitening = Whitening(image_shape[0])
        channels = (len(self.whitening.weight), *WIDTHS)
        self.blocks = nn.Sequential(*(FastBlock(*pair) for pair in itertools.pairwise(channels)))
        self.head = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        features = gelu(self.whitening(self.normalize(images)), approximate="tanh")
        logits: Tensor = self.head(self.blocks(features).amax(dim=(2, 3)))
        return logits
