"""How fast training is here, by a few steps of it."""

from __future__ import annotations

import torch

from natmu.data import ImageData
from natmu.diagnosis.finding import Finding
from natmu.engine.compute import Compute
from natmu.engine.training import train_classifier
from natmu.models import build_model
from natmu.records.run import History
from natmu.records.settings import TrainSettings

MODEL, SHAPE, CLASSES = "small_resnet", (3, 32, 32), 10
"""What is trained."""

STEPS = {"cpu": (4, 32), "cuda": (64, 128)}
"""Steps of an epoch and images of a step, by the kind of device; the second of two epochs counts."""

EPOCH = 50_000
"""Training images of CIFAR-10."""


def images_per_second(compute: Compute) -> float:
    """Images that a small model learns from in a second, augmented, through the engine's loop.

    Args:
        compute: Device and precision.
    """
    steps, batch = STEPS[compute.device.type]
    count = steps * batch
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8, generator=generator)
    names = tuple(map(str, range(CLASSES)))
    data = ImageData(images, torch.arange(count) % CLASSES, names)
    model = build_model(MODEL, num_classes=CLASSES, image_shape=SHAPE, mean=(0.5,) * 3, std=(0.25,) * 3, seed=0)
    settings = TrainSettings(epochs=2, warmup_epochs=0, lr=1e-3, batch_size=batch)
    history: History = []
    with compute.private_randomness():
        train_classifier(compute.place(model), data, torch.arange(count), settings, compute, seed=0, history=history)
    return count / max(history[-1]["seconds"], 1e-9)


def speed_finding(rate: float) -> Finding:
    """How fast training is.

    Args:
        rate: Images per second.
    """
    shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
    text = f"{MODEL} learns from {shown} images of 32 x 32 pixels a second, an epoch of CIFAR-10 in {_time(rate)}."
    return Finding("speed", "good", text)


def _time(rate: float) -> str:
    seconds = EPOCH / rate
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.0f} min"
