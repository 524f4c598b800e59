"""Classifiers without the outputs of some classes: the last layer loses their rows, and keeps its place and class."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.adapters import Adapted, WithoutOutputs, network_of
from natmu.models.faults import FAULTS
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape

FEWEST_CLASSES = 2
"""Classes that must stay: a classifier of fewer has nothing to choose from.

Examples:
    >>> FEWEST_CLASSES
    2
"""

PROBED = 4
"""Images on which a layer is tried."""

TOLERANCE = 1e-3
"""By how much logits of one network may differ when fewer rows are multiplied at a time."""


def head_of(model: nn.Module, *, num_classes: int, image_shape: ImageShape) -> str:
    """The name of the linear layer, or of the 1x1 convolution, whose rows are the logits.

    Each layer with as many rows as there are classes is tried, the last one first: a copy of the model without one of
    its rows must return all other logits as they were.

    Args:
        model: A model that returns logits ``(B, num_classes)``; it is not changed.
        num_classes: Number of classes.
        image_shape: Channels, height, width.

    Returns:
        The name within ``natmu.models.network_of`` the model.

    Raises:
        ModelError: There is no such layer, or its weight is used elsewhere too or computed from others.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> head_of(model, num_classes=10, image_shape=(1, 8, 8))
        '3'
    """
    network = network_of(model)
    names: list[str] = [name for name, module in network.named_modules() if _has_rows(network, module, num_classes)]
    for name in reversed(names):
        if _gives_logits(model, name, image_shape):
            return name
    raise ModelError(
        f"The logits of {type(network).__name__} do not come from a linear layer or a 1x1 convolution at its end, so "
        "the output of a class cannot be removed. Forget the class and keep its output."
    )


def without_outputs(model: nn.Module, layer: str, classes: Collection[int]) -> WithoutOutputs:
    """The model without the outputs of some classes, changed in place; around it, their logits are filled in.

    Args:
        model: A model that returns logits.
        layer: The name of the layer that gives them, as of ``head_of``.
        classes: Which outputs are dropped.

    Raises:
        ModelError: Fewer than two classes would be left.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> model = without_outputs(model, "3", [7])
        >>> logits = model(torch.rand(1, 1, 8, 8))
        >>> int(logits.argmin())  # its filler never wins
        7
    """
    head = network_of(model).get_submodule(layer)
    assert isinstance(head, nn.Linear | nn.Conv2d), "it was found so"
    require_enough(len(head.weight), classes)
    return _without_rows(model, head, classes)


def _without_rows(model: nn.Module, head: nn.Linear | nn.Conv2d, classes: Collection[int]) -> WithoutOutputs:
    """The model without some rows of its head, changed in place; one row may be left."""
    rows = len(head.weight)
    kept = [row for row in range(rows) if row not in classes]
    for name in ("weight", "bias"):
        old = getattr(head, name)
        if old is not None:
            setattr(head, name, nn.Parameter(old.detach()[kept].clone(), old.requires_grad))
    if isinstance(head, nn.Linear):
        head.out_features = len(kept)
    else:
        head.out_channels = len(kept)
    return WithoutOutputs(model, sorted(classes), rows)


def require_enough(num_classes: int, classes: Collection[int]) -> None:
    """Refuse to drop so many outputs that fewer than two classes are left.

    Examples:
        >>> require_enough(10, [7])  # raises where fewer than two classes would stay
    """
    if num_classes - len(classes) < FEWEST_CLASSES:
        raise ModelError(
            f"Without {len(classes)} of {num_classes} outputs, the model would have fewer than two classes. Forget the "
            "class and keep its output."
        )


def moved_outputs(class_names: Sequence[str], classes: Collection[int]) -> str:
    """A sentence that says which output belongs to which class once those of some classes are gone.

    Examples:
        >>> moved_outputs(["ant", "bee", "cat"], [1])
        'The model has no output for bee any more; its outputs are now, in this order: ant, cat.'
    """
    gone = ", ".join(class_names[row] for row in sorted(classes))
    kept = ", ".join(name for row, name in enumerate(class_names) if row not in classes)
    return f"The model has no output for {gone} any more; its outputs are now, in this order: {kept}."


def _has_rows(network: nn.Module, module: nn.Module, count: int) -> bool:
    """Whether a layer has this many rows of weights of its own."""
    if isinstance(module, nn.Conv2d):
        plain = module.out_channels == count and module.kernel_size == (1, 1) and module.groups == 1
    else:
        plain = isinstance(module, nn.Linear) and module.out_features == count
    weight = module._parameters.get("weight") if plain else None
    return weight is not None and sum(one is weight for one in _all_parameters(network)) == 1


def _all_parameters(network: nn.Module) -> list[nn.Parameter]:
    """All parameters, those in several places several times."""
    return [parameter for _, parameter in network.named_parameters(remove_duplicate=False)]


@torch.no_grad()
def _gives_logits(model: nn.Module, layer: str, image_shape: ImageShape) -> bool:
    """Whether all logits but the first stay as they are in a copy without the first row of a layer."""
    whole = copy.deepcopy(model).eval()
    device = next(whole.parameters()).device
    with seeded(0):
        images = torch.rand(PROBED, *image_shape).to(device)
        try:
            before = _compared(whole, whole(images)[:, 1:])
            head = network_of(whole).get_submodule(layer)
            assert isinstance(head, nn.Linear | nn.Conv2d), "it has rows"
            after = _compared(whole, _without_rows(whole, head, [0])(images)[:, 1:])
        except FAULTS:
            return False
    return before.shape == after.shape and torch.allclose(before.float(), after, rtol=TOLERANCE, atol=TOLERANCE)


def _compared(model: nn.Module, logits: Tensor) -> Tensor:
    """What is compared: probabilities where the model returns those, as they are scaled by their sum."""
    scaled = isinstance(model, Adapted) and model.outputs == "probabilities"
    return logits.softmax(dim=1) if scaled else logits
