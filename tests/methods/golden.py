"""What training and every method give on a few digits: the loss of each step, and how long each weight vector is.

``golden.json`` holds the numbers that were last meant. ``make golden`` adds those that are missing, and
``make golden NAMES="natmu salun"`` renews those of an intended change. All of it runs in fp32 on one thread of a CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from natmu.data import Splits, load, parse_forget, resolve_forget
from natmu.engine.training import train_classifier
from natmu.methods import METHODS, FineTuneSettings, Method, Problem, method_named
from natmu.models import build_model
from natmu.records.settings import FitSettings, TrainSettings

from .problems import CPU

FILE = Path(__file__).with_name("golden.json")
TRAINING = "train_classifier"
NAMES = (TRAINING, *(method.name for method in METHODS))

RECIPE = TrainSettings(epochs=3, batch_size=32, lr=0.05, weight_decay=0.01, warmup_epochs=0.5)
FINE_TUNING = {"epochs": 3, "lr": 2e-3, "weight_decay": 0.5, "warmup_epochs": 0.5}
"""Steps large enough for 1 % more weight decay to show in the numbers."""

THIRTY_STEPS = {
    "sfron": {"steps": 30},
    "unsir": {"noise_images": 32, "noise_copies": 2},
    "rum": {"medium_settings": {"epochs": 2}, "high_settings": {"epochs": 1}},
}
"""Settings of methods whose number of steps is not that of epochs; small differences grow in longer runs."""


def measure(name: str) -> dict[str, Any]:
    """The numbers of one method, or of training, as the code is now.

    Returns:
        ``losses``, of every backward pass in its order, and ``norms``, the L2 norm of each parameter and buffer of the
        model: all that is seen of a method that takes no steps.
    """
    if name == TRAINING:
        return _trained()[1]
    method = method_named(name)
    problem = _problem("random:10%" if "random" in method.scenarios else "class:3")
    return _recorded(lambda: method(**_settings(method))(problem).model)[1]


def stored() -> dict[str, dict[str, Any]]:
    """The numbers in the file."""
    return json.loads(FILE.read_text(encoding="utf-8"))["entries"] if FILE.exists() else {}


def main() -> None:
    """Store the numbers of the named methods, or of those that have none yet."""
    torch.set_num_threads(1)
    kept = stored()
    made_with = {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}
    new = {name: made_with | measure(name) for name in sys.argv[1:] or set(NAMES) - kept.keys()}
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
    return load("digits", Path(), train_size=352)


def _initial_model() -> nn.Module:
    """The small network with smooth layers in place of its kinks.

    At a kink the last bit of a number, which processors do not share, decides where a gradient goes: with rectifiers
    and maxima, another processor's losses were up to 5 % off.
    """
    data, mean, std = _splits().train, _splits().mean, _splits().std
    model = build_model("small_cnn", num_classes=10, image_shape=data.image_shape, mean=mean, std=std, seed=0)
    model.features = nn.Sequential(*map(_smooth, model.features))
    return model


def _smooth(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.ReLU):
        return nn.GELU()
    return nn.AvgPool2d(2) if isinstance(layer, nn.MaxPool2d) else layer


@cache
def _trained() -> tuple[nn.Module, dict[str, Any]]:
    """The original model and the numbers of its training, which every method starts from."""
    data = _splits().train

    def train() -> nn.Module:
        model = _initial_model()
        train_classifier(model, data, torch.arange(len(data)), RECIPE, CPU, seed=0)
        return model

    return _recorded(train)


def _problem(forget: str) -> Problem:
    data = _splits().train
    return Problem(
        model=_trained()[0],
        data=data,
        forget=resolve_forget(parse_forget(forget), data, seed=0),
        training=RECIPE,
        compute=CPU,
        batch_size=RECIPE.batch_size,
        initial_model=_initial_model,
    )


def _recorded(work: Callable[[], nn.Module]) -> tuple[nn.Module, dict[str, Any]]:
    """The model that some work gives, and its numbers."""
    losses = []
    backward = Tensor.backward

    def noting(loss: Tensor, *args: object, **options: object) -> None:
        losses.append(_rounded(loss.detach()))
        backward(loss, *args, **options)

    with mock.patch.object(Tensor, "backward", noting):
        model = work()
    norms = {name: _rounded(value.double().norm()) for name, value in model.state_dict().items()}
    return model, {"losses": losses, "norms": norms}


def _rounded(value: Tensor) -> float:
    """Eight digits, which is all that fp32 knows."""
    return float(f"{value.item():.8g}")


if __name__ == "__main__":
    main()
