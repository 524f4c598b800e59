"""Peak memory of unlearning 10 % of CIFAR-10-sized data with NatMU, beyond the data itself.

    python benchmarks/memory.py --models small_resnet vgg16

Each model in a process of its own: load 60,000 images, unlearn 5,000 of 50,000, predict on all, score. The peak is the
process's largest resident memory: interpreter, libraries, weights, activations. What the imports alone take stands
beside it. The retain set is cut short, because memory does not depend on the number of steps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

IMAGES = 60_000
DATA_MIB = IMAGES * 3 * 32 * 32 / 2**20

PROGRAM = """
import sys
import numpy as np, torch
from natmu.scores import scores
from natmu.data import ImageData, Splits, forget_from_indices
from natmu.engine.compute import Compute, peak_memory_mb
from natmu.engine.memory import keep_freed_memory
from natmu.engine.predict import outputs_of
from natmu.records.settings import TrainSettings
from natmu.methods import NatMU, Problem
from natmu.models import build_model

keep_freed_memory()
imports = peak_memory_mb()
name, method_settings = sys.argv[1], {"epochs": 1, "retain_fraction": 0.02, "reuse_partners": True}
compute = Compute.choose("cpu")


def images(count):
    labels = torch.arange(count) % 10
    return ImageData(torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8), labels, tuple("abcdefghij"))


splits = Splits("random", images(50_000), images(10_000), (0.5,) * 3, (0.25,) * 3)
model = build_model(name, num_classes=10, image_shape=(3, 32, 32), mean=splits.mean, std=splits.std, seed=0)
forget = forget_from_indices(np.arange(0, 50_000, 10), splits.train)
problem = Problem(compute.place(model), splits.train, forget, TrainSettings(), compute)
unlearned = NatMU(**method_settings)(problem)
scores(outputs_of(unlearned.model, splits, compute).split(forget))
print(imports, peak_memory_mb())
"""


def main() -> None:
    """Print one line per model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["small_resnet", "vgg16"])
    asked = parser.parse_args()
    print(
        f"{'model':16}{'peak MiB':>10}{'data MiB':>10}{'peak - data':>13}{'imports alone':>15}   (target: 700 beyond)"
    )
    for name in asked.models:
        done = subprocess.run([sys.executable, "-c", PROGRAM, name], capture_output=True, text=True, check=True)
        imports, peak = map(float, done.stdout.split())
        print(f"{name:16}{peak:10.0f}{DATA_MIB:10.0f}{peak - DATA_MIB:13.0f}{imports:15.0f}", flush=True)


if __name__ == "__main__":
    main()
