"""The models by name, and the one function that builds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from natmu.errors import ModelError, hint
from natmu.models.adapters import Outputs, adapted
from natmu.models.factory import from_factory
from natmu.models.fast import FastCNN
from natmu.models.hub import from_hub, is_hub
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape, Normalize
from natmu.models.resnet import BasicBlock, Bottleneck, ResNet
from natmu.models.small import SmallCNN
from natmu.models.vgg import VGG
from natmu.models.vit import ViT

VGG_PAPER = "https://arxiv.org/abs/1409.1556"
RESNET_PAPER = "https://arxiv.org/abs/1512.03385"
FAST_PAPER = "https://arxiv.org/abs/2404.00498"
VIT_PAPER = "https://arxiv.org/abs/2010.11929"


@dataclass(frozen=True)
class ModelInfo:
    """What there is to know of a model before choosing it.

    Attributes:
        name: What ``build_model`` calls it.
        description: One line.
        parameters: Number of parameters for RGB images of 32 pixels and 10 classes.
        paper: Address of the paper, empty where there is none.
        min_size: Smallest height and width of an image, in pixels.

    Examples:
        >>> info = models()[0]
        >>> info.name, info.parameters > 0
        ('small_cnn', True)
    """

    name: str
    description: str
    parameters: int
    paper: str
    min_size: int


@dataclass(frozen=True)
class _Entry:
    """A line of the list of models: a family, and which member of it."""

    family: type[SmallCNN] | type[FastCNN] | type[ResNet] | type[ViT] | type[VGG]
    options: Mapping[str, Any]
    description: str
    paper: str

    def build(self, normalize: nn.Module, image_shape: ImageShape, num_classes: int) -> nn.Module:
        return self.family(normalize, image_shape, num_classes, **self.options)


_MODELS = {
    "small_cnn": _Entry(SmallCNN, {}, "three convolutions, for seconds on a CPU", ""),
    "fast_cnn": _Entry(
        FastCNN, {}, "whitened patches and three blocks: all of CIFAR-10 in minutes on a CPU", FAST_PAPER
    ),
    "small_resnet": _Entry(
        ResNet,
        {"block": BasicBlock, "blocks": (1, 1, 1, 1), "width": 32, "stem_stride": 2},
        "ResNet of half the width and resolution with one block per stage, for minutes on a CPU",
        RESNET_PAPER,
    ),
    "small_vit": _Entry(ViT, {}, "vision transformer of DeiT-Ti's width and half its depth", VIT_PAPER),
    "vgg11": _Entry(VGG, {"convolutions": (1, 1, 2, 2, 2)}, "VGG11 with batch normalisation", VGG_PAPER),
    "vgg13": _Entry(VGG, {"convolutions": (2, 2, 2, 2, 2)}, "VGG13 with batch normalisation", VGG_PAPER),
    "vgg16": _Entry(VGG, {"convolutions": (2, 2, 3, 3, 3)}, "VGG16 with batch normalisation", VGG_PAPER),
    "vgg19": _Entry(VGG, {"convolutions": (2, 2, 4, 4, 4)}, "VGG19 with batch normalisation", VGG_PAPER),
    "resnet18": _Entry(
        ResNet, {"block": BasicBlock, "blocks": (2, 2, 2, 2)}, "ResNet18 for small images", RESNET_PAPER
    ),
    "resnet34": _Entry(
        ResNet, {"block": BasicBlock, "blocks": (3, 4, 6, 3)}, "ResNet34 for small images", RESNET_PAPER
    ),
    "resnet50": _Entry(
        ResNet, {"block": Bottleneck, "blocks": (3, 4, 6, 3)}, "ResNet50 for small images", RESNET_PAPER
    ),
}


def build_model(
    name: str,
    *,
    num_classes: int,
    image_shape: ImageShape,
    mean: Sequence[float],
    std: Sequence[float],
    seed: int,
    outputs: Outputs = "logits",
    always_normalize: bool = False,
) -> nn.Module:
    """Build a classifier that takes images and returns logits ``(B, num_classes)``.

    Args:
        name: One of ours, see ``models``; ``timm:NAME``, ``torchvision:NAME`` or ``hf:FOLDER``; or
            ``package.module:factory`` for a model of the user's own.
        num_classes: Number of classes, at least 2.
        image_shape: Channels, height, width of the images.
        mean: Mean of each channel of the training images; ours begin with a ``Normalize`` layer.
        std: Standard deviation of each channel.
        outputs: What a model that is not ours returns.
        always_normalize: Whether a model that is not ours gets such a layer in front too.
        seed: All that the initial weights depend on. The global generator of random numbers is not touched.

    Returns:
        The model, on the CPU.

    Raises:
        ModelError: The name is unknown, the factory cannot be used, or the model does not fit the images.

    Examples:
        >>> import torch
        >>> model = build_model(
        ...     "small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.5], std=[0.25], seed=0
        ... )
        >>> model(torch.zeros(4, 1, 8, 8)).shape
        torch.Size([4, 10])
    """
    if num_classes < 2 or min(image_shape) < 1:
        raise ModelError(
            f"A model needs at least 2 classes and images of at least one pixel, not {num_classes} and {image_shape}."
        )
    if ":" in name:
        model = (
            from_hub(name, num_classes=num_classes, image_shape=image_shape, seed=seed)
            if is_hub(name)
            else from_factory(name, num_classes=num_classes, seed=seed)
        )
        return adapted(
            model,
            num_classes=num_classes,
            image_shape=image_shape,
            outputs=outputs,
            mean=mean if always_normalize else None,
            std=std if always_normalize else None,
        )
    if name not in _MODELS:
        raise ModelError(
            f"There is no model {name!r}{hint(name, _MODELS)}; choose one of {', '.join(_MODELS)}, one of a library as "
            "timm:NAME, torchvision:NAME or hf:FOLDER, or your own as package.module:factory."
        )
    if len(mean) != image_shape[0]:
        raise ModelError(
            f"Images with {image_shape[0]} channels need as many means and deviations, not {len(mean)} of each."
        )
    if outputs != "logits":
        raise ModelError(f"{name} returns logits; leave --outputs out.")
    with seeded(seed):
        return _MODELS[name].build(Normalize(mean, std), image_shape, num_classes)


def models() -> tuple[ModelInfo, ...]:
    """All models of ours, small ones first.

    Examples:
        >>> "small_cnn" in [info.name for info in models()]
        True
    """
    return tuple(
        ModelInfo(name, entry.description, _count_parameters(entry), entry.paper, entry.family.min_size)
        for name, entry in _MODELS.items()
    )


def _count_parameters(entry: _Entry) -> int:
    """Number of parameters for RGB images of 32 pixels and 10 classes, without drawing any."""
    with torch.device("meta"):
        model = entry.build(nn.Identity(), (3, 32, 32), 10)
    return sum(parameter.numel() for parameter in model.parameters())
