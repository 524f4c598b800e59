"""VGG with batch normalisation, for small images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from torch import Tensor, nn

from natmu.models.convolution import Conv2d
from natmu.models.layers import ImageShape, check_image_shape

WIDTHS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3 x 3 convolutions, each halving the image, then one linear layer.

    The common form for 32-pixel images: batch normalisation after every convolution (which keeps its bias), and one
    linear layer in place of the paper's three. Larger images are averaged to 1 x 1 before it. Layers are named as in
    https://github.com/kuangliu/pytorch-cifar, so weights trained there load here. All weights start from PyTorch's
    default initialisation.

    Args:
        normalize: First layer, applied to images in [0, 1].
        image_shape: Channels, height, width; at least 32 pixels high and wide.
        num_classes: Number of classes.
        convolutions: Number of convolutions in each of the five stages.

    Raises:
        ModelError: The images are smaller than 32 pixels.

    References:
        Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2014),
        https://arxiv.org/abs/1409.1556

    Examples:
        >>> import torch
        >>> model = build_model("vgg11", num_classes=10, image_shape=(1, 32, 32), mean=[0.5], std=[0.25], seed=0)
        >>> isinstance(model, VGG), model.eval()(torch.zeros(2, 1, 32, 32)).shape
        (True, torch.Size([2, 10]))
    """

    min_size: ClassVar[int] = 32

    def __init__(
        self, normalize: nn.Module, image_shape: ImageShape, num_classes: int, convolutions: Sequence[int]
    ) -> None:
        super().__init__()
        check_image_shape("VGG", image_shape, self.min_size)
        self.normalize = normalize
        self.features = nn.Sequential(*_feature_layers(image_shape[0], convolutions))
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        features: Tensor = self.features(self.normalize(images))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits


def _feature_layers(channels: int, convolutions: Sequence[int]) -> Iterator[nn.Module]:
    """The layers from image to features, a max-pool closing each stage."""
    for width, count in zip(WIDTHS, convolutions, strict=True):
        for _ in range(count):
            yield Conv2d(channels, width, kernel_size=3, padding=1)
            yield nn.BatchNorm2d(width)
            yield nn.ReLU(inplace=True)
            channels = width
        yield nn.MaxPool2d(kernel_size=2)
