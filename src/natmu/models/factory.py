"""Models of the user's own, from a ``package.module:factory`` on the command line."""

from __future__ import annotations

import copy
import hashlib
import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted
from natmu.models.initial import seeded
from natmu.models.layers import ImageShape


def from_factory(name: str, *, num_classes: int, image_shape: ImageShape, seed: int) -> nn.Module:
    """Build a user's model and check that it fits the data.

    The module is looked for in the current directory and then where Python looks. The factory is called as
    ``factory(num_classes=…)`` if its signature accepts that, else without arguments. The model takes images in [0, 1]
    and does its own normalisation, if it wants any: none is put in front of it.

    Args:
        name: ``package.module:factory``.
        num_classes: Number of classes.
        image_shape: Channels, height, width.
        seed: What PyTorch's CPU generator holds while the factory runs; it is put back afterwards.

    Raises:
        ModelError: The factory cannot be found, fails, or its model does not fit the data.
    """
    with seeded(seed), current_directory_first():
        try:
            factory = pkgutil.resolve_name(name)
        except FAULTS as error:
            raise ModelError(
                f"Model {name!r} cannot be imported ({quoted(error)}): write package.module:factory, with the module "
                "in the current directory or installed."
            ) from error
        try:
            model = _call(factory, num_classes)
        except FAULTS as error:
            raise ModelError(
                f"{name} failed ({quoted(error)}): it is called with num_classes={num_classes} if it accepts that, "
                "else without arguments."
            ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{name} returned {type(model).__name__}: it must return a torch.nn.Module.")
    check_fit(model, num_classes=num_classes, image_shape=image_shape)
    return model


def source_digest(name: str) -> str:
    """Hexadecimal digest of the file that defines a user's factory: another file, another architecture.

    Args:
        name: ``package.module:factory``, which ``from_factory`` has accepted.
    """
    with current_directory_first():
        factory = inspect.unwrap(pkgutil.resolve_name(name))
    module = sys.modules[getattr(factory, "__module__", None) or name.partition(":")[0]]
    file = getattr(module, "__file__", None)
    return hashlib.blake2b(Path(file).read_bytes() if file else b"", digest_size=16).hexdigest()


def check_fit(model: nn.Module, *, num_classes: int, image_shape: ImageShape) -> None:
    """Run a copy of a model, in eval mode, on two uniformly grey images, and check the shape of its answer.

    Args:
        model: The model; neither it nor the global generator of random numbers is changed.
        num_classes: Number of classes.
        image_shape: Channels, height, width.

    Raises:
        ModelError: The model cannot be copied, has parameters without a shape, fails on images of this shape, or does
            not return logits ``(2, num_classes)``.
    """
    what = type(model).__name__
    if any(is_lazy(parameter) for parameter in model.parameters()):
        raise ModelError(f"{what} has lazy layers without a shape: run it once on a batch before handing it over.")
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    images = torch.full((2, *image_shape), 0.5, device=device)
    try:
        with seeded(0), torch.no_grad():
            logits = copy.deepcopy(model).eval()(images)
    except FAULTS as error:
        raise ModelError(
            f"{what} failed on a batch of shape {tuple(images.shape)} ({quoted(error)}): it must accept the images of "
            "this data set."
        ) from error
    answer = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
    if answer != f"shape {(2, num_classes)}":
        raise ModelError(
            f"{what} returns {answer} for two images: it must return a tensor of logits of shape {(2, num_classes)}, "
            "one per class."
        )


def _call(factory: Callable[..., Any], num_classes: int) -> object:
    """Call a factory with the number of classes if it accepts that."""
    try:
        inspect.signature(factory).bind(num_classes=num_classes)
    except (TypeError, ValueError):
        return factory()
    return factory(num_classes=num_classes)


@contextmanager
def current_directory_first() -> Iterator[None]:
    """Let modules in the current directory be imported, as ``python -m`` does."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
