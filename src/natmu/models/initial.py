"""Initial weights: drawn from a seed alone, drawn again, or drawn again for the last layer only."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.frozen import frozen_modules


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers on the CPU from a seed, and leave the global generators as they were.

    CUDA's generators are neither used nor touched: weights are drawn on the CPU, so they are the same on every device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def reinitialised(
    model: nn.Module, seed: int, needed: Collection[str] | None = None, start: nn.Module | None = None
) -> nn.Module:
    """A copy of a model with every weight that may be trained drawn anew, as if it had just been built.

    Frozen parts stay as they are, running statistics included: whoever trains the copy could not learn them. Each other
    module draws its own weights and clears its running statistics with its ``reset_parameters`` method, as all
    of PyTorch's and ours do. A buffer that no such method sets, such as the mean of ``natmu.models.Normalize``,
    is a constant and stays. Train or eval mode, device and memory format stay too.

    Args:
        model: The model; it is not changed.
        seed: All that the new weights depend on, apart from the architecture.
        needed: Names of the modules whose own weights have to be new ones; all by default. Others that cannot be drawn
            anew stay as they are.
        start: The model before it was trained, where it is known: gives the values of parameters that no module draws.

    Raises:
        ModelError: Some parameter is not set by the method of its module, or the method is missing or fails, and there
            is no ``start`` that gives it.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> fresh = reinitialised(model, seed=1)
        >>> bool((fresh[1].weight == model[1].weight).all())
        False
    """
    result = copy.deepcopy(model)
    fresh = copy.deepcopy(model).cpu()
    fresh.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # some PyTorch draws in memory order
    with torch.no_grad():
        for parameter in filter(torch.is_floating_point, fresh.parameters()):
            parameter.fill_(math.nan)  # what is still so afterwards was not drawn anew
        with seeded(seed):
            fresh.apply(_reset)
    known = {} if start is None else dict(start.named_parameters(remove_duplicate=False))
    for name, module in fresh.named_modules():
        missing = [key for key, parameter in module.named_parameters(recurse=False) if parameter.isnan().any()]
        for key in missing:
            parameter, path = module.get_parameter(key), f"{name}.{key}".lstrip(".")
            initial = known.get(path)
            if initial is not None and initial.shape == parameter.shape:
                parameter.data.copy_(initial.data)
            elif (needed is None or name in needed) and result.get_parameter(path).requires_grad:
                raise ModelError(_undrawn(name, module, missing))
            else:
                parameter.data.copy_(result.get_parameter(path).data)
    result.load_state_dict(fresh.state_dict() | _frozen_state(result))
    return result


def _undrawn(name: str, module: nn.Module, missing: list[str]) -> str:
    """A sentence on parameters that no module draws."""
    owner = f"{name or 'the model'} ({type(module).__name__})"
    return (
        f"The weights of {owner} cannot be drawn anew, because it has no method reset_parameters that sets "
        f"{', '.join(missing)}. Add one, or give an initial model: the model as it was before training."
    )


def _frozen_state(model: nn.Module) -> dict[str, Tensor]:
    """Frozen parameters, and the buffers of frozen parts, by their names in the state of a model."""
    still = {id(buffer) for module in frozen_modules(model) for buffer in module.buffers(recurse=False)}
    still |= {id(parameter) for parameter in model.parameters() if not parameter.requires_grad}
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    state = model.state_dict()
    return {name: tensor.detach().clone() for name, tensor in named if id(tensor) in still and name in state}


def _reset(module: nn.Module) -> None:
    """Draw a module's own weights anew, if it knows how; nn.MultiheadAttention spells the method its own way."""
    for method in ("reset_parameters", "_reset_parameters"):
        if callable(reset := getattr(module, method, None)):
            try:
                reset()
            except FAULTS as error:
                raise ModelError(
                    f"The weights of a {type(module).__name__} cannot be drawn anew, because its {method} failed "
                    f"({quoted(error)}): correct it, or give an initial model."
                ) from error
            return


def last_linear(model: nn.Module, num_classes: int | None = None, among: Collection[int] | None = None) -> nn.Linear:
    """The last linear layer of a classifier, in the order in which its modules were registered.

    Args:
        model: The classifier.
        num_classes: Consider only layers with this many outputs; by default, all with at least two.
        among: Consider only layers with one of these parameters, given as their ``id``; by default, all.

    Raises:
        ModelError: There is no such layer.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> last_linear(model) is model[3]
        True
    """
    linears = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and (among is None or any(id(part) in among for part in module.parameters()))
    ]
    for linear in reversed(linears):
        if linear.out_features == num_classes or (num_classes is None and linear.out_features > 1):
            return linear
    wanted = "linear layer" if num_classes is None else f"linear layer with {num_classes} outputs"
    raise ModelError(f"{type(model).__name__} has no {wanted} to reset: leave reset_head off for this model.")


def reset_head(
    model: nn.Module, seed: int, num_classes: int | None = None, among: Collection[int] | None = None
) -> None:
    """Draw the weight of the last linear layer anew, in place: Xavier normal with gain √2; the bias stays.

    Args:
        model: The classifier to change.
        seed: All that the new weight depends on, apart from its shape.
        num_classes: As for ``last_linear``.
        among: As for ``last_linear``.

    Raises:
        ModelError: There is no linear layer, or its weight is computed from other parameters.

    References:
        Understanding the difficulty of training deep feedforward neural networks (Glorot and Bengio, 2010),
        https://proceedings.mlr.press/v9/glorot10a.html

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
        >>> before = model[3].weight.detach().clone()
        >>> reset_head(model, seed=0)
        >>> bool((model[3].weight == before).all())
        False
    """
    weight = last_linear(model, num_classes, among).weight
    if not isinstance(weight, nn.Parameter):
        raise ModelError(
            "The weight of the last linear layer is computed from other parameters and cannot be reset: remove its "
            "parametrisation, or leave reset_head off."
        )
    drawn = torch.empty(weight.shape)
    nn.init.xavier_normal_(drawn, gain=math.sqrt(2), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        weight.copy_(drawn)
