"""The settings with which the research code of NatMU runs it and the methods that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from natmu.methods.presets import Preset

PROBLEMS = {
    "natmu-cifar10": ("sample-wise/scripts/cifar10", "random samples of CIFAR-10, VGG16"),
    "natmu-cifar100": ("sample-wise/scripts/cifar100", "random samples of CIFAR-100, ResNet18"),
    "natmu-tiny-imagenet": ("sample-wise/scripts/tiny-transfer", "random samples of Tiny-ImageNet, ResNet34"),
    "natmu-class": ("class-wise/scripts/full-class", "a class of CIFAR-100, ResNet18"),
    "natmu-subclass": ("class-wise/scripts/sub-class", "a sub-class of CIFAR-20, ResNet18"),
}
RECIPE = {"epochs": 5, "optimizer": "adamw", "schedule": "cosine"}


def _presets(script: str, *columns: dict[str, Any], class_wise: str | None = None) -> Mapping[str, Preset]:
    """The presets of a method.

    Args:
        script: File name of its scripts.
        columns: What they set for each of ``PROBLEMS``.
        class_wise: File name of those for classes, where it is another.
    """
    presets = {}
    for (name, (folder, what)), settings in zip(PROBLEMS.items(), columns, strict=True):
        file = class_wise if class_wise and folder.startswith("class-wise") else script
        batch = {"batch_size": 256 if name == "natmu-tiny-imagenet" else 128}
        presets[name] = Preset(RECIPE | batch | settings, f"ZhengbaoHe/NatMU, {folder}/{file}; {what}")
    return presets


NATMU = _presets(
    "natmu.sh",
    {"lr": 1e-3, "weight_decay": 2e-3, "delta": -0.19},
    {"lr": 1.1e-3, "weight_decay": 5e-4, "delta": -0.03},
    {"lr": 8.3e-4, "weight_decay": 7e-5, "delta": 0.045},
    {"lr": 2.8e-4, "weight_decay": 0, "delta": -0.053, "reset_head": True},
    {"lr": 9e-4, "weight_decay": 3.7e-4, "delta": -0.053},
)

AMNESIAC = _presets(
    "amn.sh",
    {"lr": 1.8e-5, "weight_decay": 4e-4},
    {"lr": 1.9e-5, "weight_decay": 8e-4},
    {"lr": 1.5e-5, "weight_decay": 5.6e-4},
    {"lr": 1.45e-4, "weight_decay": 8e-5},
    {"lr": 1.8e-5, "weight_decay": 3.7e-4, "reset_head": True},
    class_wise="amnesiac.sh",
)

BAD_TEACHER = _presets(
    "badteacher.sh",
    {"lr": 5e-5, "weight_decay": 9e-4, "temperature": 7.2},
    {"lr": 2.8e-4, "weight_decay": 9e-4, "temperature": 2.4},
    {"lr": 2.7e-4, "weight_decay": 7.5e-4, "temperature": 1.8},
    {"lr": 3.4e-5, "weight_decay": 0, "temperature": 0.77, "reset_head": True},
    {"lr": 7.4e-5, "weight_decay": 0, "temperature": 0.72},
)

SALUN = _presets(
    "salun.sh",
    {"lr": 5e-5, "weight_decay": 3e-4, "threshold": 0.05},
    {"lr": 5.7e-5, "weight_decay": 1e-3, "threshold": 0.21},
    {"lr": 5.5e-5, "weight_decay": 5.3e-4, "threshold": 0.20},
    {"lr": 1.3e-4, "weight_decay": 0, "threshold": 0.70},
    {"lr": 1.7e-4, "weight_decay": 0, "threshold": 0.01},
)
