"""A small convolutional network that trains in seconds on a CPU."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from natmu.models.convolution import Conv2d
from natmu.models.layers import ImageShape, check_image_shape


class SmallCNN(nn.Module):
    """Three 3 x 3 convolutions with batch normalisation, global average pooling and one linear layer.

    All weights start from PyTorch's default initialisation.

    Args:
        normalize: First layer, applied to images in [0, 1].
        image_shape: Channels, height, width; at least 8 pixels high and wide.
        num_classes: Number of classes.

    Raises:
        ModelError: The images are smaller than 8 pixels.

    Examples:
        >>> import torch
        >>> model = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.5], std=[0.25], seed=0)
        >>> isinstance(model, SmallCNN), model.eval()(torch.zeros(2, 1, 8, 8)).shape
        (True, torch.Size([2, 10]))
    """

    min_size: ClassVar[int] = 8

    def __init__(self, normalize: nn.Module, image_shape: ImageShape, num_classes: int) -> None:
        super().__init__()
        check_image_shape("SmallCNN", image_shape, self.min_size)
        self.normalize = normalize
        self.features = nn.Sequential(
            *_block(image_shape[0], 32),
            nn.MaxPool2d(kernel_size=2),
            *_block(32, 64),
            nn.MaxPool2d(kernel_size=2),
            *_block(64, 128),
        )
        self.classifier = nn.Linear(128, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        features: Tensor = self.features(self.normalize(images))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _block(channels: int, width: int) -> tuple[nn.Module, ...]:
    """Convolution, batch normalisation, rectifier."""
    return (
        Conv2d(channels, width, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
