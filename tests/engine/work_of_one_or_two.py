"""Work for one process or several, started by torchrun: everything that must not depend on how many there are.

    python -m torch.distributed.run --nproc-per-node=2 tests/engine/work_of_one_or_two.py FOLDER

Each process writes what it ended with to FOLDER/COUNT-RANK.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from natmu.data import ImageData, forget_from_indices
from natmu.data.batches import Batches, plain
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.predict import logits_of
from natmu.engine.settings import FitSettings, TrainSettings
from natmu.errors import SettingError
from natmu.methods import Problem, method_named

ROWS, CLASSES, BATCH = 91, 4, 32
SETTINGS = FitSettings(epochs=3, optimizer="sgd", lr=0.05, weight_decay=0.01, schedule="cosine")


def images(count=ROWS):
    labels = np.arange(count) % CLASSES
    pixels = np.random.default_rng(0).integers(0, 128, (count, 1, 8, 8)) + 30 * labels[:, None, None, None]
    return ImageData(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels), tuple("abcd"))


def network(norm, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, bias=False), norm(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, CLASSES)]
    return nn.Sequential(*layers)


class Noting(Batches):
    """Batches that note the rows of this process."""

    def epoch(self, epoch):
        self.seen = getattr(self, "seen", [])
        for batch in super().epoch(epoch):
            self.seen.append((epoch, batch.rows.tolist()))
            yield batch


def trained(model, compute, *, loss=None, checkpoint=None, stop_after=None):
    data, history = images(), []
    meter = Meter(len(data), compute.device)
    rows = plain(torch.arange(len(data)), data.labels, augment=True)
    batches = Noting(data, rows, batch_size=BATCH, seed=1, device=compute.device, share=processes.share())
    watch = Watch("train", None if loss else meter, checkpoint, history)
    steps = []

    def stop():
        steps.append(1)
        if stop_after is not None and len(steps) == stop_after:
            raise InterruptedError

    fit(model, batches, loss or meter.cross_entropy, SETTINGS, compute, watch, stop)
    columns = [[row["loss"], row["lr"], row.get("accuracy", 0.0)] for row in history]
    return {
        "state": dict(model.state_dict()),
        "history": torch.tensor(columns),
        "confidence": meter.confidence(),
        "visits": meter.visits,
        "rows": batches.seen,
        "answers": logits_of(model, images(37), torch.arange(37), compute),
        "kinds": [type(module).__name__ for module in model],
    }


def twice(model, batch):
    """A loss that calls the model twice and leaves a parameter of it out the second time."""
    half = cross_entropy(model[0](batch.images).mean((2, 3))[:, :CLASSES], batch.labels)
    return cross_entropy(model(batch.images), batch.labels) + 0.5 * half


def resumed(folder, compute):
    """Interrupted in the third epoch, and continued."""
    path = folder / f"{processes.count()}.safetensors"
    try:
        trained(network(nn.BatchNorm2d), compute, checkpoint=Checkpoint(path, every_seconds=0), stop_after=7)
    except InterruptedError:
        processes.agree(None)
    return trained(network(nn.BatchNorm2d), compute, checkpoint=Checkpoint(path))


def unlearned(name, compute):
    data = images()
    forget = forget_from_indices(np.arange(0, ROWS, 9), data)
    model = compute.place(network(nn.BatchNorm2d))
    problem = Problem(model, data, forget, TrainSettings(epochs=2, lr=0.05), compute, batch_size=BATCH)
    settings = {"init": "fresh"} if name == "retrain" else {"epochs": 2, "optimizer": "sgd", "lr": 0.02}
    settings |= {"n": 2} if name == "natmu" else {}
    model = method_named(name)(**settings)(problem).model
    return {"state": dict(model.state_dict()), "answers": logits_of(model, data, torch.arange(ROWS), compute)}


def refused(compute):
    try:
        Batches(
            images(),
            plain(torch.arange(ROWS), images().labels, augment=False),
            batch_size=3,
            seed=0,
            device=compute.device,
            share=processes.share(),
        )
    except SettingError as error:
        return str(error)
    return ""


def everything(folder):
    apart, synced = (Compute(torch.device("cpu"), "fp32", sync) for sync in (False, True))
    found = {
        "without batch norm": trained(network(nn.Identity), apart),
        "synced": trained(network(nn.BatchNorm2d), synced),
        "apart": trained(network(nn.BatchNorm2d), apart),
        "twice": trained(network(nn.BatchNorm2d), synced, loss=twice),
        "resumed": resumed(folder, synced),
        "different weights": trained(network(nn.Identity, seed=processes.rank()), apart),
        "refused": refused(apart),
    }
    return found | {name: unlearned(name, synced) for name in ("natmu", "bad_teacher", "salun", "retrain")}


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    with processes.group():
        torch.save(everything(target), target / f"{processes.count()}-{processes.rank()}.pt")
