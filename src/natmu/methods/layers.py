"""Methods that train the last layers only, on top of a body that stays as it is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from pydantic import Field
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from natmu.bounds import LARGEST_COUNT
from natmu.errors import ModelError, SettingError
from natmu.methods import published
from natmu.methods.base import Method, Paper, fine_tune
from natmu.methods.problem import Problem
from natmu.methods.settings import SGDRetainSettings
from natmu.types import seed_for

PAPER = Paper(
    "Towards Adversarial Evaluations for Inexact Machine Unlearning",
    "Goel et al.",
    2022,
    "https://arxiv.org/abs/2201.06640",
)
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm)


class LastLayersSettings(SGDRetainSettings):
    """Settings of the methods that train the last layers."""

    augment_retain: bool = Field(True, description="random crop and flip of retain images")
    k: int = Field(1, ge=1, le=LARGEST_COUNT, description="number of layers to train, counted from the last")


class CFk(Method):
    """Fine-tune the last ``k`` layers on the retain set, and leave all others as they are (catastrophic forgetting).

    The body, which is everything before the last ``k`` layers, keeps its weights and its running statistics to the bit,
    and normalises with these statistics. The loss is the cross-entropy on the retain set.

    When to use:
        Where unlearning must be cheap, or may touch only the end of a model. It forgets less than ``finetune`` with the
        same settings, since what the body has learnt from the forget set stays; ``k`` trades cost for forgetting.

    Cost:
        ``epochs`` forward passes over D_r, and backward passes through the last ``k`` layers alone; D_f is never read.
        No extra memory, and less for activations and the optimiser than ``finetune`` takes.

    Decisions:
        - A layer is a module with a weight of its own of two or more dimensions, such as a convolution or a linear
          layer. Normalisation, and every other module whose parameters are all vectors, goes with the layer after which
          it was registered, as in the paper's code. Layers are counted in the order of registration, where the head
          comes last in all common models.
        - The paper's code leaves the body in training mode: it normalises with the batch's statistics, and its running
          statistics drift. Here the body is in eval mode, dropout included, so that it is one fixed function.
        - Parameters that were frozen before stay so, also in the last ``k`` layers; so do weights that these share with
          the body. Layers that take no part in the prediction are not counted.
        - Retain images are cropped and flipped, as in the paper's code.
        - The paper's code trains half as long as the original was trained, with a rate that falls and starts anew. Ten
          epochs at rate 0.01 are the default of later comparisons.

    References:
        Towards Adversarial Evaluations for Inexact Machine Unlearning (Shashwat Goel, Ameya Prabhu, Amartya Sanyal,
        Ser-Nam Lim, Philip Torr, Ponnurangam Kumaraguru, 2022), https://arxiv.org/abs/2201.06640

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = CFk(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "cf_k"
    paper = PAPER
    presets = published.CF_K

    class Config(LastLayersSettings):
        """Settings of ``cf_k``."""

    def check(self, problem: Problem) -> None:
        """Refuse more layers than there are, and layers that are all frozen."""
        super().check(problem)
        _require(self.name, self.config.k, problem)

    def run(self, problem: Problem) -> nn.Module:
        """Freeze the body and fine-tune the rest."""
        return _train_last(self, problem, self.config)


class EUk(Method):
    """Draw the last ``k`` layers anew and train only them on the retain set (exact unlearning of these layers).

    The new layers have never seen the forget set. The body, which is everything before them, keeps its weights and its
    running statistics to the bit, and normalises with these statistics. The loss is the cross-entropy on the retain
    set.

    When to use:
        Where the last layers must provably hold nothing of the forget set but what the body's features let through. It
        is more thorough than ``cf_k``, and needs more epochs for a larger ``k``.

    Cost:
        ``epochs`` forward passes over D_r, and backward passes through the last ``k`` layers alone; D_f is never read.
        No extra memory, and less for activations and the optimiser than ``finetune`` takes.

    Decisions:
        - Layers are counted as for ``cf_k``, and the body is in eval mode as there.
        - Each module draws its weights in its own way, as when the model is retrained from fresh weights; the paper's
          code draws all from Kaiming's normal distribution.
        - Normalisation that goes with the last layers starts anew too, statistics included. The paper's code draws only
          convolutions and linear layers, so that the scales between them remember the forget set.
        - Parameters that were frozen before are not drawn anew.
        - Retain images are cropped and flipped, as in the paper's code, which trains for as long as the original was.

    References:
        Towards Adversarial Evaluations for Inexact Machine Unlearning (Shashwat Goel, Ameya Prabhu, Amartya Sanyal,
        Ser-Nam Lim, Philip Torr, Ponnurangam Kumaraguru, 2022), https://arxiv.org/abs/2201.06640

    Examples:
        >>> from natmu.testing import problem_for
        >>> unlearned = EUk(epochs=2)(problem_for("random"))
        >>> round(unlearned.passes.passes, 1)  # over the training set
        1.6
    """

    name = "eu_k"
    paper = PAPER
    presets = published.EU_K

    class Config(LastLayersSettings):
        """Settings of ``eu_k``."""

    def check(self, problem: Problem) -> None:
        """Refuse more layers than there are, layers that are all frozen, and layers that cannot be drawn anew."""
        super().check(problem)
        _require(self.name, self.config.k, problem)

    def run(self, problem: Problem) -> nn.Module:
        """Draw the last layers anew, then freeze the body and train them."""
        names = last_layers(problem.model, self.config.k, problem.reached)
        fresh = problem.fresh(seed_for(problem.seed, "last layers"), names)
        _freeze_body(problem.model, names)
        for name in names:
            _take_own(problem.model.get_submodule(name), fresh.get_submodule(name))
        return _train_last(self, problem, self.config)


def layers(model: nn.Module, among: Collection[int] | None = None) -> list[list[str]]:
    """The model's layers in the order of registration, each as the names of its modules.

    A layer begins at a module, no normalisation, that owns a parameter of two or more dimensions. Modules with other
    parameters or running statistics go with the layer before them, or with the first where there is none before.

    Args:
        model: The model.
        among: The ``id`` of the parameters that take part in the prediction; a module without one of them is no layer.
            By default, all do.
    """
    groups: list[list[str]] = []
    leading: list[str] = []
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and among is not None and not any(id(parameter) in among for parameter in own):
            continue
        if any(parameter.dim() > 1 for parameter in own) and not isinstance(module, NORMS):
            groups.append([name])
        elif own or isinstance(module, _NormBase):
            (groups[-1] if groups else leading).append(name)
    return [leading + groups[0], *groups[1:]] if groups else [leading]


def last_layers(model: nn.Module, k: int, among: Collection[int] | None = None) -> list[str]:
    """The names of the modules of the last ``k`` layers."""
    return [name for layer in layers(model, among)[-k:] for name in layer]


def body(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """The modules that come before the layers of these names.

    That are those with parameters or statistics that are not in these layers, and, up to the last one of them, all
    others that contain none of the layers: dropout between the body and the layers acts on the layers.
    """
    chosen = {id(model.get_submodule(name)) for name in names}
    modules = list(model.modules())
    frozen = {id(model.get_submodule(name)) for layer in layers(model) for name in layer} - chosen
    ends = [number for number, module in enumerate(modules) if id(module) in frozen]
    before = modules[: max(ends, default=-1) + 1]
    return [module for module in before if not any(id(part) in chosen for part in module.modules())]


def _require(method: str, k: int, problem: Problem) -> None:
    """Refuse a model that has not ``k`` layers, or nothing to train in the last of them."""
    model, count = problem.model, len(layers(problem.model, problem.reached))
    if k > count:
        raise SettingError(f"{method}: k={k} is more than the {count} layers that this model has; give a smaller k.")
    if not any(parameter.requires_grad for parameter in _own(model, last_layers(model, k, problem.reached))):
        raise ModelError(
            f"{method}: all parameters of the last {k} layers are frozen, or shared with layers before them; unfreeze "
            "some or raise k."
        )


def _own(model: nn.Module, names: list[str]) -> list[nn.Parameter]:
    """The parameters of some modules that no other module of the model holds too."""
    chosen = {id(model.get_submodule(name)) for name in names}
    others = {
        id(parameter)
        for module in model.modules()
        if id(module) not in chosen
        for parameter in module.parameters(recurse=False)
    }
    held = [parameter for name in names for parameter in model.get_submodule(name).parameters(recurse=False)]
    return [parameter for parameter in held if id(parameter) not in others]


def _freeze_body(model: nn.Module, names: list[str]) -> None:
    """Let nothing change but the own parameters of the last layers, as far as it may."""
    trained = {id(parameter) for parameter in _own(model, names)}
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.requires_grad and id(parameter) in trained)


def _train_last(method: Method, problem: Problem, settings: Any) -> nn.Module:  # noqa: ANN401 - of either method
    """Freeze everything but the last layers, and train these on the retain set."""
    names = last_layers(problem.model, settings.k, problem.reached)
    _freeze_body(problem.model, names)
    return fine_tune(method, problem, problem.retain_samples(settings), in_eval=body(problem.model, names))


@torch.no_grad()
def _take_own(module: nn.Module, fresh: nn.Module) -> None:
    """Give a module the own parameters and buffers of another, except for frozen parameters and their buffers."""
    own, new = (list(part.parameters(recurse=False)) for part in (module, fresh))
    for parameter, value in zip(own, new, strict=True):
        if parameter.requires_grad:
            parameter.copy_(value)
    if not own or any(parameter.requires_grad for parameter in own):
        for buffer, drawn in zip(module.buffers(recurse=False), fresh.buffers(recurse=False), strict=True):
            buffer.copy_(drawn)
