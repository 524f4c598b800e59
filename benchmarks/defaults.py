"""What a method's default learning rate costs a fine-tuned model, and what the one costs that a trial chooses.

    python benchmarks/defaults.py                         # some minutes; a row per seed, then means

A small ResNet learns the digits 0 to 4 from scratch, and is then fine-tuned on the digits 5 to 9 at a low rate, as who
starts from pretrained weights does. A tenth of its training data is forgotten, once at the default rate and once as
``natmu.unlearn`` does it where nobody says how the original was trained.
"""

from __future__ import annotations

import argparse
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

PRETRAINING = TrainSettings(epochs=20, lr=0.05, batch_size=64, warmup_epochs=1, augment=False)
FINE_TUNING = TrainSettings(
    epochs=10, optimizer="adamw", lr=2e-4, weight_decay=0.0, batch_size=64, warmup_epochs=0, schedule="cosine",
    augment=False,
)  # fmt: skip


def main() -> None:
    """Measure what is asked for, and print it."""
    asked = _arguments()
    compute = Compute.choose(asked.device, "fp32")
    print(json.dumps(hardware(compute).plain() | versions() | vars(asked)))
    rows = [measured(method, seed, asked.model, compute) for method in asked.methods for seed in range(asked.seeds)]
    for method in asked.methods:
        for way in ("original", "default", "trial"):
            own = [row[way] for row in rows if row["method"] == method]
            means = {name: f"{np.mean([one[name] for one in own]):.1f} ± {np.std([one[name] for one in own]):.1f}"
                     for name in own[0]}  # fmt: skip
            print(json.dumps({"method": method, "lr": way} | means))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["natmu"])
    parser.add_argument("--model", default="small_resnet")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


def measured(method: str, seed: int, name: str, compute: Compute) -> dict[str, dict[str, float]]:
    """Accuracies of the original, and of what the method makes of it at either rate."""
    splits = load("digits", Path())
    first, (train, test) = _classes(splits.train, 0), (_classes(part, 5) for part in (splits.train, splits.test))
    model = build_model(
        name, num_classes=5, image_shape=train.image_shape, mean=splits.mean, std=splits.std, seed=seed
    )  # fmt: skip
    for data, recipe in ((first, PRETRAINING), (train, FINE_TUNING)):
        train_classifier(model, data, torch.arange(len(data)), recipe, compute, seed=seed)
    given = {"seed": seed, "device": str(compute.device), "precision": "fp32", "progress": False, "batch_size": 64}
    default = natmu.unlearn(model, train, "random:10%", method, lr=_default(method), **given)
    start = time.perf_counter()
    trial = natmu.unlearn(model, train, default.forget, method, **given)
    seconds = time.perf_counter() - start

    def scored(network: nn.Module, lr: float, seconds: float) -> dict[str, float]:
        kept = torch.ones(len(train), dtype=torch.bool)
        kept[torch.from_numpy(default.forget.indices)] = False
        rows = {"retain": train.subset(kept.nonzero().squeeze(1).numpy()), "test": test}
        rows |= {"forget": train.subset(default.forget.indices)}
        found = {part: accuracy(part_of(network, data, compute)) for part, data in rows.items()}
        return found | {"lr x 1e6": 1e6 * lr, "seconds": seconds}

    row = {
        "original": scored(model, FINE_TUNING.lr, 0.0),
        "default": scored(default.model, default.settings["settings"]["lr"], default.seconds),
        "trial": scored(trial.model, trial.settings["settings"]["lr"], seconds),
    }
    print(json.dumps({"method": method, "seed": seed} | row), flush=True)
    return {"method": method, **row}  # type: ignore[dict-item]


def _default(method: str) -> float:
    """The default rate of a method."""
    return float(method_named(method)().config.lr)


def _classes(data: ImageData, start: int) -> ImageData:
    """The samples of five digits."""
    rows = ((data.labels >= start) & (data.labels < start + 5)).nonzero().squeeze(1)
    labels: Tensor = data.labels[rows] - start
    return ImageData(data.take(rows), labels, data.class_names[start : start + 5])


if __name__ == "__main__":
    main()
