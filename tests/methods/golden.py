"""What training and every method give on a few digits: the loss of each step, and how long each weight vector is.

``golden.json`` holds the numbers that were last meant. ``make golden`` adds those that are missing, and
``make golden NAMES="natmu salun"`` renews those of an intended change.

All of it runs in fp64 on a CPU. In fp32 the last bit of a sum, which processors do not share, decides which weights lie
above a threshold: another maker's processor chose other weights for ``sfron``, and gave other losses from the fourth
step on. In fp64 that bit is nine digits further to the right, and no weight lies so close to its threshold;
``make golden`` refuses numbers for which that is not so.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn

from natmu.data import Splits, load, parse_forget, resolve_forget
from natmu.engine.training import train_classifier
from natmu.methods import METHODS, FineTuneSettings, Method, Problem, method_named
from natmu.models import build_model
from natmu.records.settings import FitSettings, TrainSettings
from natmu.testing.exact_problems import equipped

from .problems import CPU

FILE = Path(__file__).with_name("golden.json")
TRAINING = "train_classifier"
NAMES = (TRAINING, *(method.name for method in METHODS))

RECIPE = TrainSettings(epochs=3, batch_size=32, lr=0.05, weight_decay=0.01, warmup_epochs=0.5)
FINE_TUNING = {"epochs": 3, "lr": 2e-3, "weight_decay": 0.5, "warmup_epochs": 0.5}
"""Steps large enough for 1 % more weight decay to show in the numbers."""

THIRTY_STEPS = {
    "sfron": {"steps": 30},
    "negmerge": {"epoch_grid": [3, 5], "weight_decay_grid": [1e-4], "label_smoothing_grid": [0.0, 0.1]},
    "unsir": {"noise_images": 32, "noise_copies": 2},
    "rum": {"medium_settings": {"epochs": 2}, "high_settings": {"epochs": 1}},
    "regun": {"epochs": 15},
    "lotus": {"epochs": 3, "retain_fraction": 1, "lr": 2e-3, "tolerance": 1},
    "mu_mis": {"epochs": 15, "delta": 100},
}
"""Settings of methods whose number of steps is not that of epochs; small differences grow in longer runs."""


NUDGE = 1e-12
"""By how much of themselves initial weights are moved to see whether numbers hang on a rounding."""

TOLERANCE = 1e-9
"""How far numbers may be from those of the file, as a part of themselves: see ``test_golden.py``."""


def measure(name: str, nudge: float = 0.0) -> dict[str, Any]:
    """The numbers of one method, or of training, as the code is now.

    Args:
        name: Of the method, or ``TRAINING``.
        nudge: By how much of itself each initial weight is moved at random.

    Returns:
        ``losses``, of every backward pass in its order, and ``norms``, the L2 norm of each parameter and buffer of the
        model: all that is seen of a method that takes no steps.
    """
    with _in_double_precision():
        if name == TRAINING:
            return _trained(nudge)[1]
        method = method_named(name)
        problem = _problem("random:10%" if "random" in method.scenarios else "class:3", nudge)
        return _recorded(lambda: method(**_settings(method))(equipped(method, problem)).model)[1]


def close(numbers: dict[str, Any]) -> dict[str, Any]:
    """What equals these numbers and all that differ from them by no more than the tolerance."""
    return {part: pytest.approx(numbers[part], rel=TOLERANCE) for part in ("losses", "norms")}


def firm(name: str) -> dict[str, Any]:
    """The numbers of one method or of training, to be stored.

    Raises:
        SystemExit: They hang on a rounding: a thousandfold one, in the initial weights, moves them out of tolerance.
    """
    numbers = measure(name)
    if measure(name, NUDGE) != close(numbers):
        raise SystemExit(
            f"{name}: weights moved by {NUDGE:g} of themselves move these numbers by more than {TOLERANCE:g}, so that "
            "another processor may give others: some choice is within rounding of its threshold. Use other settings."
        )
    return numbers


def stored() -> dict[str, dict[str, Any]]:
    """The numbers in the file."""
    return json.loads(FILE.read_text(encoding="utf-8"))["entries"] if FILE.exists() else {}


def main() -> None:
    """Store the numbers of the named methods, or of those that have none yet."""
    torch.set_num_threads(1)
    kept = stored()
    made_with = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    new = {name: made_with | firm(name) for name in sys.argv[1:] or set(NAMES) - kept.keys()}
    entries = kept | new
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entries[name])}" for name in NAMES)
    FILE.write_text(f'{{\n "command": "make golden",\n "entries": {{\n{lines}\n }}\n}}\n', encoding="utf-8")


def _settings(method: type[Method]) -> dict[str, Any]:
    """Settings for some thirty steps: three epochs of the retain set, or 15 of the forget set."""
    if issubclass(method.Config, FineTuneSettings):
        return FINE_TUNING
    epochs = {"epochs": 3 if method.needs_retain else 15}
    return THIRTY_STEPS.get(method.name, epochs if issubclass(method.Config, FitSettings) else {})


@cache
def _splits() -> Splits:
    """So many digits that an epoch of the retain set has ten steps, and three epochs have thirty."""
    return load("digits", Path(), train_size=352, holdout=True)


@contextmanager
def _in_double_precision() -> Iterator[None]:
    """Inside, what the package computes in fp32, which it asks for by default and by ``Tensor.float``, is in fp64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.object(Tensor, "float", Tensor.double):
            yield
    finally:
        torch.set_default_dtype(before)


def _initial_model(nudge: float) -> nn.Module:
    """The small network with smooth layers in place of its kinks, and each weight moved by so much of itself at random.

    At a kink the last bit of a number decides where a gradient goes: with rectifiers and maxima in fp32, another
    processor's losses were up to 5 % off.
    """
    data, mean, std = _splits().train, _splits().mean, _splits().std
    model = build_model("small_cnn", num_classes=10, image_shape=data.image_shape, mean=mean, std=std, seed=0)
    model.features = nn.Sequential(*map(_smooth, model.features))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.double().parameters():
            weight *= 1 + nudge * torch.randn(weight.shape, generator=generator)
    return model


def _smooth(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.ReLU):
        return nn.GELU()
    return nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer


@cache
def _trained(nudge: float) -> tuple[nn.Module, dict[str, Any]]:
    """The original model and the numbers of its training, which every method starts from."""
    data = _splits().train

    def train() -> nn.Module:
        model = _initial_model(nudge)
        train_classifier(model, data, torch.arange(len(data)), RECIPE, CPU, seed=0)
        return model

    return _recorded(train)


def _problem(forget: str, nudge: float) -> Problem:
    data = _splits().train
    return Problem(
        model=_trained(nudge)[0],
        data=data,
        forget=resolve_forget(parse_forget(forget), data, seed=0),
        training=RECIPE,
        compute=CPU,
        batch_size=RECIPE.batch_size,
        initial_model=partial(_initial_model, nudge),
        holdout=_splits().holdout,
    )


def _recorded(work: Callable[[], nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """The model that some work gives, and its numbers."""
    losses = []
    backward = Tensor.backward

    def noting(loss: Tensor, *args: object, **options: object) -> None:
        assert loss.dtype is torch.float64
        losses.append(_rounded(loss.detach()))
        backward(loss, *args, **options)

    with mock.patch.object(Tensor, "backward", noting):
        model = work()
    assert all(weight.dtype is torch.float64 for weight in model.parameters())
    norms = {name: _rounded(value.double().norm()) for name, value in model.state_dict().items()}
    return model, {"losses": losses, "norms": norms}


def _rounded(value: Tensor) -> float:
    """Twelve digits: three more than are compared."""
    return float(f"{value.item():.12g}")


if __name__ == "__main__":
    main()
