"""Each sample's gradient from one pass over many: what a layer got, times what came back to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Rule = Callable[[Tensor, slice], Tensor]
"""From the gradient for a layer's output, ``(B, ...)``, and some of its rows to one gradient for each of them,
``(rows, *shape)``.
"""

Keep = Callable[[nn.Parameter, Rule, Tensor], Tensor]
"""From a weight, its rule and the gradient for its layer's output to what is wanted of the weight's gradients."""


class Unserved(Exception):  # noqa: N818 - the answer to a question, no error of anybody's
    """A weight is used in a way that no rule here knows."""


def everything(weight: nn.Parameter, rule: Rule, gradient: Tensor) -> Tensor:  # noqa: ARG001
    """The gradients of all rows."""
    return rule(gradient, slice(None))


class PerSample(TorchFunctionMode):
    """Inside, the layers of a model keep what gives each sample's gradient of their weights.

    A model must not read values of its tensors, because its logits for one sample would then depend on others.
    Convolutions, linear layers, batch normalisation by running statistics and layer normalisation are known, each with
    weights of its own that are used once.

    Args:
        weights: Those wanted, all of which require a gradient.
        batch: Samples that go through, along the first axis of everything.
        keep: What is wanted of each weight's gradients.
    """

    def __init__(self, weights: Sequence[nn.Parameter], batch: int, keep: Keep = everything) -> None:
        super().__init__()
        self._weights = weights
        self._batch = batch
        self._keep = keep
        self._wanted = {id(weight): weight for weight in weights}
        self._served: set[int] = set()
        self._found: dict[int, Tensor] = {}
        self._leaves: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Call an operation; where a wanted weight takes part in a known one, with a hook for the output's gradient."""
        kwargs = kwargs or {}
        if func in READS:
            raise Unserved  # what follows may depend on the values of all samples together
        known = RULES[func](*args, **kwargs) if func in RULES else []
        rules = [(id(weight), rule) for weight, rule in known if id(weight) in self._wanted]
        if not rules or len(args[0]) != self._batch:
            return func(*args, **kwargs)
        if any(key in self._served for key, _ in rules):
            raise Unserved
        self._served.update(key for key, _ in rules)
        output = func(*map(self._detached, args), **{name: self._detached(value) for name, value in kwargs.items()})
        if not output.requires_grad:
            self._leaves.append(output.requires_grad_())
            output = output.clone()  # what follows may change it in place, which autograd forbids with a leaf

        def note(gradient: Tensor) -> None:
            self._found.update((key, self._keep(self._wanted[key], rule, gradient)) for key, rule in rules)

        output.register_hook(note)
        return output

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """What is wanted of every weight's gradients.

        Args:
            loss: The sum over samples, from a pass inside.

        Raises:
            Unserved: Some weight takes part in an operation that no rule knows.
        """
        others = torch.autograd.grad(loss, [*self._leaves, *self._weights], allow_unused=True)[len(self._leaves) :]
        if any(gradient is not None for gradient in others):
            raise Unserved
        unreached = loss.new_zeros(self._batch)
        return [
            self._found[id(weight)] if id(weight) in self._found else self._keep(weight, _zeros(weight), unreached)
            for weight in self._weights
        ]

    def _detached(self, value: Any) -> Any:  # noqa: ANN401
        return value.detach() if id(value) in self._wanted else value


def _convolution(
    input: Tensor,  # noqa: A002
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,  # noqa: ANN401
    padding: Any = 0,  # noqa: ANN401
    dilation: Any = 1,  # noqa: ANN401
    groups: int = 1,
) -> list[tuple[Tensor | None, Rule]]:
    """Rules of ``torch.conv2d``: a product over output pixels of output gradients and the patches that they saw."""
    if groups != 1 or isinstance(padding, str) or _pair(dilation) != (1, 1) or input.dim() != 4:
        return []
    images, (height, width) = input.detach(), weight.shape[2:]
    (down, across), (rows, columns) = _pair(stride), _pair(padding)

    def of_weight(gradient: Tensor, chosen: slice) -> Tensor:
        padded = functional.pad(images[chosen].permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows)).contiguous()
        patches = padded.unfold(1, height, down).unfold(2, width, across).permute(0, 1, 2, 4, 5, 3)
        products = gradient[chosen].flatten(2) @ patches.flatten(3).flatten(1, 2)
        return products.view(*products.shape[:2], height, width, images.shape[1]).permute(0, 1, 4, 2, 3)

    return [(weight, of_weight), (bias, _sum_but((0, 1)))]


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> list[tuple[Tensor | None, Rule]]:  # noqa: A002
    """Rules of ``torch.nn.functional.linear``."""
    rows = input.detach().flatten(1, -2) if input.dim() > 2 else input.detach().unsqueeze(1)

    def of_weight(gradient: Tensor, chosen: slice) -> Tensor:
        inputs = rows[chosen]
        return gradient[chosen].reshape(*inputs.shape[:2], -1).transpose(1, 2) @ inputs

    return [(weight, of_weight), (bias, _sum_but((0, -1)))]


def _batch_norm(
    input: Tensor,  # noqa: A002
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,  # noqa: ARG001
    eps: float = 1e-5,
) -> list[tuple[Tensor | None, Rule]]:
    """Rules of ``torch.nn.functional.batch_norm`` with running statistics."""
    if training or running_mean is None or running_var is None:
        return []
    shape = [1, -1] + [1] * (input.dim() - 2)
    values, mean, scale = input.detach(), running_mean.view(shape), (running_var + eps).rsqrt()
    kept = _sum_but((0, 1))

    def of_weight(gradient: Tensor, chosen: slice) -> Tensor:
        return kept(gradient[chosen] * (values[chosen] - mean), slice(None)) * scale

    return [(weight, of_weight), (bias, kept)]


def _layer_norm(
    input: Tensor,  # noqa: A002
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> list[tuple[Tensor | None, Rule]]:
    """Rules of ``torch.nn.functional.layer_norm``."""
    values = input.detach()
    kept = _sum_but((0, *range(-len(normalized_shape), 0)))

    def of_weight(gradient: Tensor, chosen: slice) -> Tensor:
        normal = functional.layer_norm(values[chosen], normalized_shape, eps=eps)
        return kept(gradient[chosen] * normal, slice(None))

    return [(weight, of_weight), (bias, kept)]


RULES: dict[Callable[..., Any], Callable[..., list[tuple[Tensor | None, Rule]]]] = {
    torch.conv2d: _convolution,
    functional.linear: _linear,
    functional.batch_norm: _batch_norm,
    functional.layer_norm: _layer_norm,
}

READS = frozenset(
    getattr(Tensor, name) for name in ("__bool__", "__float__", "__index__", "__int__", "item", "numpy", "tolist")
)
"""Operations that make Python values of a tensor."""


def _sum_but(axes: tuple[int, ...]) -> Rule:
    """The sum over all axes but these."""

    def total(values: Tensor, chosen: slice) -> Tensor:
        values = values[chosen]
        others = set(range(values.dim())) - {axis % values.dim() for axis in axes}
        return values.sum(sorted(others)) if others else values

    return total


def _zeros(weight: nn.Parameter) -> Rule:
    """The rule of a weight that the loss does not reach."""
    return lambda gradient, chosen: weight.detach().new_zeros(len(gradient[chosen]), *weight.shape)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Of both axes what may be given once for both."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
