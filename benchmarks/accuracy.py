"""Does natmu's convolution move accuracy? Trains and unlearns with it and with PyTorch's, on the same seeds.

    python benchmarks/accuracy.py --data-dir data --seeds 5

The work is that of recipes/cpu/cifar10.yaml: an original model, then NatMU on a random 10 % of its training set. The
two ways differ only in the kernels of the convolutions on small feature maps, in bf16 on a CPU. Prints mean and
standard deviation over seeds of each accuracy, and the mean paired difference with its 95 % interval (Student's t).
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

import torch
from scipy.stats import t as student
from torch import nn

from natmu.data import Splits, load, parse_forget, resolve_forget
from natmu.engine.compute import Compute
from natmu.engine.memory import keep_freed_memory
from natmu.engine.predict import outputs_of
from natmu.engine.training import train_classifier
from natmu.methods import Problem, method_named
from natmu.models import build_model
from natmu.models.convolution import Conv2d
from natmu.scores import accuracy
from natmu.studies import Recipe, read_recipe

RECIPE = Path(__file__).parent.parent / "recipes" / "cpu" / "cifar10.yaml"


def main() -> None:
    """Run both ways on every seed and print what differs."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    recipe = read_recipe(RECIPE)
    data = recipe.data
    splits = load(
        data.source, asked.data_dir, image_size=data.image_size, train_size=data.train_size, holdout=data.holdout
    )
    compute = Compute.choose("cpu", "bf16")
    found: dict[str, list[dict[str, float]]] = {"stock": [], "natmu": []}
    for seed in range(asked.seeds):
        for way, runs in found.items():
            runs.append(_accuracies(recipe, splits, compute, seed, stock=way == "stock"))
            shown = ", ".join(f"{name} {value:.2f}" for name, value in runs[-1].items())
            print(f"seed {seed}, {way} convolution: {shown}", flush=True)
    _report(found)


def _accuracies(recipe: Recipe, splits: Splits, compute: Compute, seed: int, *, stock: bool) -> dict[str, float]:
    """Train an original, unlearn with the recipe's NatMU; accuracies of both in percent."""
    train = splits.train
    model = build_model(
        recipe.model,
        num_classes=train.num_classes,
        image_shape=train.image_shape,
        mean=splits.mean,
        std=splits.std,
        seed=seed,
    )
    if stock:
        for module in model.modules():
            if isinstance(module, Conv2d):
                module.__class__ = nn.Conv2d
    train_classifier(compute.place(model), train, torch.arange(len(train)), recipe.training, compute, seed=seed)
    forget = resolve_forget(parse_forget("random:10%"), train, seed=0)
    problem = Problem(model, train, forget, recipe.training, compute, seed=seed)
    entry = next(entry for entry in recipe.methods if entry.method == "natmu")
    _, _, settings = next(iter(entry.expanded()))
    unlearned = method_named("natmu")(**settings)(problem).model
    original, after = (outputs_of(one, splits, compute).split(forget) for one in (model, unlearned))
    return {
        "original test": accuracy(original.test),
        "unlearned test": accuracy(after.test),
        "unlearned retain": accuracy(after.retain),
        "unlearned forget": accuracy(after.forget),
    }


def _report(found: dict[str, list[dict[str, float]]]) -> None:
    """One line per accuracy: both ways, and their paired difference."""
    count = len(found["stock"])
    print(f"\n{'accuracy %':18}{'stock':>16}{'natmu':>16}{'difference, 95 % interval':>30}   n = {count} seeds")
    for name in found["stock"][0]:
        stock, ours = ([run[name] for run in found[way]] for way in ("stock", "natmu"))
        gaps = [b - a for a, b in zip(stock, ours, strict=True)]
        half = student.ppf(0.975, count - 1) * statistics.stdev(gaps) / math.sqrt(count)
        columns = "".join(f"{statistics.mean(one):9.2f} ± {statistics.stdev(one):4.2f}" for one in (stock, ours))
        print(f"{name:18}{columns}{statistics.mean(gaps):+17.2f} ± {half:.2f}")


if __name__ == "__main__":
    main()
