"""What keeping freed memory saves in a training step on a CPU: seconds and page faults.

    python benchmarks/freed_memory.py --pairs 4 --steps 8

Each measurement is a process of its own that trains on one batch of random images; processes that keep freed memory and
such that do not take turns. The ratio is that of the median steps of each pair.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.nn.functional import cross_entropy

from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.memory import keep_freed_memory
from natmu.models import build_model


def main() -> None:
    """Measure in turns, and print a line for each process and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="vgg16")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--steps", type=int, default=8, help="steps of each process that count, after two that do not")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--keeps", choices=["yes", "no"], help="measure here and print one line of JSON")
    asked = parser.parse_args()
    if asked.keeps:
        print(json.dumps(measured(asked)))
        return
    print(json.dumps(hardware(Compute.choose("cpu", asked.precision)) | versions()))
    ratios = []
    for _ in range(asked.pairs):
        returned, kept = (_in_a_process(keeps) for keeps in ("no", "yes"))
        ratios.append(returned["seconds"] / kept["seconds"])
        print(f"returned {returned}, kept {kept}, ratio {ratios[-1]:.2f}", flush=True)
    print(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f}, n = {len(ratios)})")


def _in_a_process(keeps: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, *sys.argv, "--keeps", keeps], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measured(asked: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step, and the median number of page faults in one."""
    if asked.keeps == "yes":
        keep_freed_memory()
    compute = Compute.choose("cpu", asked.precision)
    shape = {"num_classes": 10, "image_shape": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    model = compute.place(build_model(asked.model, **shape, seed=0)).train()
    images = torch.rand(asked.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(asked.batch) % 10
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, momentum=0.9)
    seconds, faults = [], []
    for _ in range(2 + asked.steps):
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        optimizer.zero_grad()
        with compute.autocast():
            loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {"seconds": round(statistics.median(seconds[2:]), 3), "faults": statistics.median(faults[2:])}


if __name__ == "__main__":
    main()
