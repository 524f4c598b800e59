"""Residual networks for small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn.functional import relu_

from natmu.models.convolution import Conv2d
from natmu.models.layers import ImageShape, check_image_shape


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions around a shortcut.

    Args:
        channels: Channels of the input.
        width: Width of the block, and channels of its output.
        stride: Stride of the first convolution and of the shortcut.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = _shortcut(channels, width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, width, H / stride, W / stride)`` of features ``(B, channels, H, W)``."""
        hidden = relu_(self.bn1(self.conv1(features)))
        return relu_(self.bn2(self.conv2(hidden)) + self.shortcut(features))


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two 1 x 1 convolutions, around a shortcut.

    Args:
        channels: Channels of the input.
        width: Width of the block; its output has four times as many channels.
        stride: Stride of the 3 x 3 convolution and of the shortcut.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2d(channels, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Conv2d(width, 4 * width, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.shortcut = _shortcut(channels, 4 * width, stride)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(B, 4 * width, H / stride, W / stride)`` of features ``(B, channels, H, W)``."""
        hidden = relu_(self.bn1(self.conv1(features)))
        hidden = relu_(self.bn2(self.conv2(hidden)))
        return relu_(self.bn3(self.conv3(hidden)) + self.shortcut(features))


class ResNet(nn.Module):
    """A 3 x 3 stem, four stages of residual blocks, global average pooling and one linear layer.

    The form for small images: no 7 x 7 stem and no max-pool, so 32- and 64-pixel images keep their resolution through
    the first stage. Layers are named as in https://github.com/kuangliu/pytorch-cifar, so weights trained there load
    here. All weights start from PyTorch's default initialisation.

    Args:
        normalize: First layer, applied to images in [0, 1].
        image_shape: Channels, height, width; at least 8 pixels high and wide.
        num_classes: Number of classes.
        block: Kind of residual block.
        blocks: Number of blocks in each of the four stages.
        width: Width of the stem and of the first stage; each later stage doubles it.
        stem_stride: Stride of the stem; 2 quarters the work of everything after it.

    Raises:
        ModelError: The images are smaller than 8 pixels.

    References:
        Deep Residual Learning for Image Recognition (He, Zhang, Ren and Sun, 2015), https://arxiv.org/abs/1512.03385

    Examples:
        >>> import torch
        >>> model = build_model("small_resnet", num_classes=10, image_shape=(1, 8, 8), mean=[0.5], std=[0.25], seed=0)
        >>> isinstance(model, ResNet), model.eval()(torch.zeros(2, 1, 8, 8)).shape
        (True, torch.Size([2, 10]))
    """

    min_size: ClassVar[int] = 8

    def __init__(
        self,
        normalize: nn.Module,
        image_shape: ImageShape,
        num_classes: int,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: Sequence[int],
        width: int = 64,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        check_image_shape("ResNet", image_shape, self.min_size)
        self.normalize = normalize
        self.conv1 = Conv2d(image_shape[0], width, kernel_size=3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        count1, count2, count3, count4 = blocks
        outputs = block.expansion * width
        self.layer1 = _stage(block, width, width, count1, stride=1)
        self.layer2 = _stage(block, outputs, 2 * width, count2, stride=2)
        self.layer3 = _stage(block, 2 * outputs, 4 * width, count3, stride=2)
        self.layer4 = _stage(block, 4 * outputs, 8 * width, count4, stride=2)
        self.linear = nn.Linear(8 * outputs, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)`` in [0, 1]."""
        features = relu_(self.bn1(self.conv1(self.normalize(images))))
        features = self.layer4(self.layer3(self.layer2(self.layer1(features))))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


def _stage(
    block: type[BasicBlock] | type[Bottleneck], channels: int, width: int, count: int, stride: int
) -> nn.Sequential:
    """Blocks of one width, the first of which changes resolution and channels."""
    outputs = block.expansion * width
    return nn.Sequential(block(channels, width, stride), *(block(outputs, width, 1) for _ in range(count - 1)))


def _shortcut(channels: int, outputs: int, stride: int) -> nn.Sequential:
    """The identity, or a 1 x 1 projection where resolution or channels change."""
    if stride == 1 and channels == outputs:
        return nn.Sequential()
    return nn.Sequential(Conv2d(channels, outputs, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(outputs))
