"""Networks whose last layer is a head on features that are scaled to one length, on a frozen backbone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from natmu.errors import ModelError
from natmu.models.adapters import Adapted, network_of
from natmu.models.heads import PROBED, TOLERANCE, head_of
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape


class UnitLinear(nn.Linear):
    """A linear layer on features that are first scaled to length 1; features that are all 0 stay so.

    The head of a ridge or logistic model is fitted on such features. Its weights have the names and shapes of those of
    a plain linear layer, which would give other logits with them.

    Examples:
        >>> import torch
        >>> head = UnitLinear(4, 2)
        >>> features = torch.rand(3, 4)
        >>> bool(torch.isclose(head(features), head(9 * features)).all())  # their lengths do not matter
        True
    """

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``(B, C)`` of features ``(B, D)``."""
        return super().forward(nn.functional.normalize(features, dim=-1))


def with_unit_head(model: nn.Module, *, num_classes: int, image_shape: ImageShape) -> nn.Module:
    """A network whose last linear layer is a head on features of length 1, and all else frozen; changed in place.

    The head has the weights of the layer, and a bias, which is 0 where the layer had none.

    Args:
        model: A model that returns the logits of a linear layer as they are.
        num_classes: Number of classes.
        image_shape: Channels, height, width.

    Returns:
        The same model.

    Raises:
        ModelError: It does not end in a linear layer, or gives that layer more than one row of features per image.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> model = with_unit_head(model, num_classes=10, image_shape=(1, 8, 8))
        >>> [name for name, weight in model.named_parameters() if weight.requires_grad]
        ['3.weight', '3.bias']
    """
    network = network_of(model)
    try:
        name = head_of(model, num_classes=num_classes, image_shape=image_shape)
    except ModelError:
        raise ModelError(_unsuited(network, "its logits are not the rows of one")) from None
    plain = network.get_submodule(name)
    if not isinstance(plain, nn.Linear):
        raise ModelError(_unsuited(network, "its logits come from a convolution"))
    if not name:
        raise ModelError(_unsuited(network, "it is one, so that no layer before it gives features"))
    _require_plain_logits(model, plain, image_shape)
    network.requires_grad_(False)
    weight = plain.weight
    head = skip_init(UnitLinear, plain.in_features, num_classes, device=weight.device, dtype=weight.dtype)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.zero_() if plain.bias is None else head.bias.copy_(plain.bias)
    parent, _, own = name.rpartition(".")
    setattr(network.get_submodule(parent), own, head)
    return model


def unit_head_of(model: nn.Module) -> tuple[str, UnitLinear]:
    """The head of a model of ``with_unit_head``, and its name within ``natmu.models.network_of`` the model.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> name, head = unit_head_of(with_unit_head(model, num_classes=10, image_shape=(1, 8, 8)))
        >>> name, type(head).__name__
        ('3', 'UnitLinear')
    """
    heads = [(name, part) for name, part in network_of(model).named_modules() if isinstance(part, UnitLinear)]
    assert len(heads) == 1, "it was built with one"
    return heads[0]


def set_unit_head(model: nn.Module, weight: npt.NDArray[np.float64], bias: npt.NDArray[np.float64]) -> None:
    """Give the head of a model other weights, in place.

    Args:
        model: A model of ``with_unit_head``.
        weight: ``(C, D)``.
        bias: ``(C,)``.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> import numpy as np
        >>> model = with_unit_head(model, num_classes=10, image_shape=(1, 8, 8))
        >>> set_unit_head(model, np.zeros((10, 16)), np.arange(10.0))
        >>> model(torch.rand(1, 1, 8, 8)).tolist()[0][:3]
        [0.0, 1.0, 2.0]
    """
    _, head = unit_head_of(model)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight))
        head.bias.copy_(torch.from_numpy(bias))


def features_before(layer: nn.Module, run: Callable[[], object]) -> Tensor:
    """What a layer is given while a model runs.

    Args:
        layer: The layer.
        run: Runs the model once, which calls the layer once.

    Returns:
        The features ``(B, D)``.

    Raises:
        ModelError: The layer is called several times, or with another shape.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> features_before(model[3], lambda: model(torch.zeros(2, 1, 8, 8))).shape
        torch.Size([2, 16])
    """
    seen: list[Tensor] = []
    hook = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        run()
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].dim() != 2:
        raise ModelError("The last layer of the network does not get one row of features per image; use another one.")
    return seen[0]


@torch.no_grad()
def _require_plain_logits(model: nn.Module, layer: nn.Linear, image_shape: ImageShape) -> None:
    """Refuse a model that does something with the logits of its last layer, or gives it more than a row per image."""
    network = network_of(model)
    if isinstance(model, Adapted) and (model.outputs != "logits" or model.binary):
        raise ModelError(_unsuited(network, "it returns something else than the logits of one"))
    was = {module: module.training for module in model.modules()}
    model.eval()
    logits: list[Tensor] = []
    with seeded(0):
        images = torch.rand(PROBED, *image_shape).to(layer.weight.device)
        try:
            features = features_before(layer, lambda: logits.append(model(images)))
        finally:
            for module, training in was.items():
                module.training = training
    given = layer(features)
    if given.shape != logits[0].shape or not torch.allclose(given, logits[0], rtol=TOLERANCE, atol=TOLERANCE):
        raise ModelError(_unsuited(network, "it changes the logits of one"))


def _unsuited(network: nn.Module, why: str) -> str:
    """Why a network cannot carry a head."""
    return (
        f"A head takes the place of a linear layer at the end of a network, and {type(network).__name__} has none that "
        f"fits: {why}. Choose a network that ends in nn.Linear."
    )
