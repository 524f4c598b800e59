"""Any classifier as a model that takes images and returns logits, and the way back to what the user gave."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.ensemble import Ensemble
from natmu.models.layers import ImageShape, Normalize
from natmu.models.probing import Reading, check_kind, logits_in, reading_of
from natmu.types import NO_OUTPUT

Outputs = Literal["logits", "probabilities"]
"""What a model returns.

Examples:
    >>> from typing import get_args
    >>> get_args(Outputs)
    ('logits', 'probabilities')
"""

LEAST = 1e-12
"""Probabilities below this one are raised to it before the logarithm, so that logits and gradients stay finite."""


class Adapted(nn.Module):
    """A classifier whose logits are taken from what it returns; see ``adapted``.

    Args:
        network: The classifier, with float32 weights.
        reading: Where in its outputs the logits stand.
        binary: Whether it returns one number for two classes.
        outputs: What its numbers are.
        normalize: What images go through first, if anything.
        dtypes: Type of each parameter and buffer that was not float32.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        reading: Reading,
        binary: bool,
        outputs: Outputs,
        normalize: Normalize | None,
        dtypes: Mapping[str, torch.dtype],
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.network = network
        self.reading = reading
        self.binary = binary
        self.outputs = outputs
        self.dtypes = dict(dtypes)
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)``."""
        shown = images if self.normalize is None else self.normalize(images)
        numbers = logits_in(self.network(shown), self.reading)
        if self.outputs == "logits":
            return two_logits(numbers) if self.binary else numbers
        return (two_probabilities(numbers) if self.binary else numbers.float()).clamp(min=LEAST).log()


class WithoutOutputs(nn.Module):
    """A classifier that has no output for some classes, with logits for all: those of the others, and a filler.

    Args:
        network: Returns the logits of the other classes, in their order.
        classes: Labels without an output.
        num_classes: Number of classes, these included.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> model = without_outputs(model, "3", [7])
        >>> model(torch.zeros(1, 1, 8, 8)).shape, model.network[3].out_features
        (torch.Size([1, 10]), 9)
    """

    def __init__(self, network: nn.Module, classes: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = tuple(classes)
        self.num_classes = num_classes
        self.training = network.training

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, num_classes)`` of images ``(B, C, H, W)``."""
        logits: Tensor = self.network(images)
        kept = [row for row in range(self.num_classes) if row not in self.classes]
        filled = torch.full((len(logits), self.num_classes), NO_OUTPUT, device=logits.device)
        filled[:, kept] = logits.float()
        return filled


def two_logits(numbers: Tensor) -> Tensor:
    """Logits ``(B, 2)`` of one logit ``z`` per image: ``-z / 2`` and ``z / 2``, whose softmax is the sigmoid of ``z``.

    Args:
        numbers: ``(B,)`` or ``(B, 1)``, the logit of the second class.
    """
    half = numbers.reshape(-1, 1) / 2
    return torch.cat([-half, half], dim=1)


def two_probabilities(numbers: Tensor) -> Tensor:
    """Probabilities ``(B, 2)`` of the second class's ``(B,)`` or ``(B, 1)``."""
    second = numbers.float().reshape(-1, 1)
    return torch.cat([1 - second, second], dim=1)


def adapted(
    model: nn.Module,
    *,
    num_classes: int,
    image_shape: ImageShape,
    outputs: Outputs = "logits",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> nn.Module:
    """A model that takes images and returns logits: the given one where it does so, else one around it.

    Copies of the model are run on two images, in eval mode and in training mode. Taken are a tensor, an object with
    ``logits``, a mapping or a tuple whose logits can be told, and one number for two classes. Weights in another
    precision are copied to float32. ``DistributedDataParallel`` is taken off, because natmu shares its work out itself.

    Args:
        model: The classifier; neither it nor the global generator of random numbers is changed.
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        outputs: ``probabilities`` for a model that ends in a softmax or, with one number, in a sigmoid.
        mean: With ``std``, normalisation that images go through before the model, one number per channel.
        std: Likewise.

    Raises:
        ModelError: The model cannot be copied, fails on images of this shape, or does not return logits.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Softmax(1))
        >>> model = adapted(network, num_classes=10, image_shape=(1, 8, 8), outputs="probabilities")
        >>> logits = model(torch.rand(2, 1, 8, 8))
        >>> bool(logits.softmax(1).sum(1).allclose(torch.ones(2)))
        True
    """
    if isinstance(model, Adapted | WithoutOutputs | Ensemble):
        return model
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    normalize = None if mean is None or std is None else _normalisation(mean, std, image_shape)
    check_kind(model)
    dtypes = _other_dtypes(model)
    reading, binary = reading_of(
        model, num_classes=num_classes, image_shape=image_shape, probabilities=outputs == "probabilities"
    )
    if reading.plain and not binary and outputs == "logits" and normalize is None and not dtypes:
        return model
    network = copy.deepcopy(model).float() if dtypes else model
    return Adapted(network, reading=reading, binary=binary, outputs=outputs, normalize=normalize, dtypes=dtypes)


def network_of(model: nn.Module) -> nn.Module:
    """The classifier within an adapted model, whose parameters have the user's names; a plain model itself.

    Of an ensemble it is one of the classifiers within its members, which share their parameters.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> network_of(model) is model
        True
    """
    if isinstance(model, Ensemble):
        return Ensemble({shard: network_of(member) for shard, member in model.by_shard().items()}, model.combine)
    return network_of(model.network) if isinstance(model, Adapted | WithoutOutputs) else model


def unadapted(model: nn.Module) -> nn.Module:
    """The model in the class, with the names and in the precision in which it was given; it is changed to that.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> unadapted(adapted(model, num_classes=10, image_shape=(1, 8, 8))) is model
        True
    """
    if isinstance(model, WithoutOutputs):
        return unadapted(model.network)
    if isinstance(model, Ensemble):
        return Ensemble({shard: unadapted(member) for shard, member in model.by_shard().items()}, model.combine)
    if not isinstance(model, Adapted):
        return model
    held = {**dict(model.network.named_parameters()), **dict(model.network.named_buffers())}
    for name, dtype in model.dtypes.items():
        held[name].data = held[name].data.to(dtype)
    return model.network


def _normalisation(mean: Sequence[float], std: Sequence[float], image_shape: ImageShape) -> Normalize:
    """The layer in front, with a mean and a deviation for each channel."""
    layer = Normalize(mean, std)
    if len(mean) != image_shape[0]:
        raise ModelError(
            f"Images with {image_shape[0]} channels need as many means and deviations, not {len(mean)} of each."
        )
    return layer


def _other_dtypes(model: nn.Module) -> dict[str, torch.dtype]:
    """The types of floating-point parameters and buffers that are not float32."""
    held = (*model.named_parameters(), *model.named_buffers())
    return {
        name: tensor.dtype for name, tensor in held if tensor.is_floating_point() and tensor.dtype is not torch.float32
    }
