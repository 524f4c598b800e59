"""What a method's default learning rate costs a fine-tuned model, and what the rate costs that a trial chooses.

    python benchmarks/defaults.py --data-dir data         # some minutes; a line per seed, then means

A small ResNet learns five classes of CIFAR-10 from scratch, and is then fine-tuned on 400 images of the other five at a
low rate, as one does who starts from pretrained weights. A tenth of these images is forgotten, once at the default rate
and once as ``natmu.unlearn`` does it where nobody says how the original was trained.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import natmu
from natmu.data import ImageData, load
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.predict import part_of
from natmu.engine.training import train_classifier
from natmu.methods import method_named
from natmu.models import build_model
from natmu.records.settings import TrainSettings
from natmu.scores.utility import accuracy

CLASSES = 5
PRETRAINING = TrainSettings(epochs=8, lr=0.05, batch_size=64, warmup_epochs=1, augment=False)
FINE_TUNING = TrainSettings(
    epochs=15,
    optimizer="adamw",
    lr=2e-4,
    weight_decay=0.0,
    batch_size=32,
    warmup_epochs=0,
    schedule="cosine",
    augment=False,
)


def main() -> None:
    """Measure what is asked for, and print it."""
    asked = _arguments()
    compute = Compute.choose(asked.device, "fp32")
    print(json.dumps(hardware(compute).plain() | versions() | {"seeds": asked.seeds, "images": asked.images}))
    splits = load("cifar10", asked.data_dir)
    first, train = _classes(splits.train, 0, asked.pretraining), _classes(splits.train, CLASSES, asked.images)
    test = _classes(splits.test, CLASSES, 1000)
    shape = {"num_classes": CLASSES, "image_shape": train.image_shape, "mean": splits.mean, "std": splits.std}
    pretrained = build_model(asked.model, **shape, seed=0)
    train_classifier(pretrained, first, torch.arange(len(first)), PRETRAINING, compute, seed=0)
    rows = []
    for seed in range(asked.seeds):
        model = copy.deepcopy(pretrained)
        train_classifier(model, train, torch.arange(len(train)), FINE_TUNING, compute, seed=seed)
        for method in asked.methods:
            rows += measured(method, model, train, test, seed, compute)
            print(json.dumps(rows[-3:]), flush=True)
    for method in asked.methods:
        for rate in ("original", "default", "trial"):
            own = [row for row in rows if (row["method"], row["rate"]) == (method, rate)]
            parts = ("lr", "retain", "forget", "test", "seconds")
            print(method, rate, {part: f"{_mean(own, part):.4g} ± {_spread(own, part):.2g}" for part in parts})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--methods", nargs="+", default=["natmu"])
    parser.add_argument("--model", default="small_resnet")
    parser.add_argument("--pretraining", type=int, default=3000, help="images of the first five classes")
    parser.add_argument("--images", type=int, default=400, help="images of the other five, for fine-tuning")
    parser.add_argument("--seeds", type=int, default=3, help="of fine-tuning, the forget set and unlearning")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def measured(
    method: str, model: nn.Module, train: ImageData, test: ImageData, seed: int, compute: Compute
) -> list[dict[str, str | float]]:
    """Accuracies of the original, and of what the method makes of it at either rate."""
    given = {"seed": seed, "device": str(compute.device), "precision": "fp32", "progress": False, "batch_size": 32}
    usual = method_named(method)().config.lr
    default = natmu.unlearn(model, train, "random:10%", method, lr=usual, **given)
    start = time.perf_counter()
    trial = natmu.unlearn(model, train, default.forget, method, **given)
    seconds = time.perf_counter() - start
    kept = np.setdiff1d(np.arange(len(train)), default.forget.indices)
    parts = {"retain": train.subset(kept), "forget": train.subset(default.forget.indices), "test": test}

    def row(rate: str, network: nn.Module, lr: float, seconds: float) -> dict[str, str | float]:
        found = {part: round(accuracy(part_of(network, data, compute)), 2) for part, data in parts.items()}
        return {"method": method, "rate": rate, "seed": seed, "lr": lr, **found, "seconds": round(seconds, 1)}

    chosen = trial.settings["settings"]["lr"]
    return [
        row("original", model, FINE_TUNING.lr, 0.0),
        row("default", default.model, usual, default.seconds),
        row("trial", trial.model, chosen, seconds),
    ]


def _classes(data: ImageData, start: int, count: int) -> ImageData:
    """The first samples of five classes."""
    rows = ((data.labels >= start) & (data.labels < start + CLASSES)).nonzero().squeeze(1)[:count]
    labels: Tensor = data.labels[rows] - start
    return ImageData(data.take(rows), labels, data.class_names[start : start + CLASSES])


def _mean(rows: list[dict[str, str | float]], part: str) -> float:
    return float(np.mean([float(row[part]) for row in rows]))


def _spread(rows: list[dict[str, str | float]], part: str) -> float:
    return float(np.std([float(row[part]) for row in rows], ddof=1))


if __name__ == "__main__":
    main()
