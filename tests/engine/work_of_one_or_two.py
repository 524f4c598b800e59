"""Work for one process or several, started by torchrun: everything that must not depend on how many there are.

    python -m torch.distributed.run --nproc-per-node=2 tests/engine/work_of_one_or_two.py FOLDER

Each process writes what it ended with to FOLDER/COUNT-RANK.pt, and to FOLDER/COUNT-RANK.left what is left of the group
of processes then.
"""

from __future__ import annotations

import sys
import weakref
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.functional import cross_entropy

from natmu.data import ImageData, forget_from_indices
from natmu.data.batches import Batches, plain
from natmu.engine import processes
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.predict import logits_of
from natmu.engine.sync_batch_norm import synced_norms
from natmu.errors import SettingError, TrainingError
from natmu.methods import Problem, saliency, set_gradients
from natmu.records.settings import FitSettings, TrainSettings

ROWS, CLASSES, BATCH = 91, 4, 32
SETTINGS = FitSettings(epochs=3, optimizer="sgd", lr=0.05, weight_decay=0.01, schedule="cosine")


def images(count=ROWS):
    labels = np.arange(count) % CLASSES
    pixels = np.random.default_rng(0).integers(0, 128, (count, 1, 8, 8)) + 30 * labels[:, None, None, None]
    return ImageData(torch.from_numpy(pixels.astype(np.uint8)), torch.from_numpy(labels), tuple("abcd"))


def network(norm, seed=0):
    """Smooth: at the kink of a rectifier the last bit of a sum, which processors do not share, decides a gradient."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, 6, 3, bias=False), norm(6), nn.SiLU(), nn.Flatten(), nn.Linear(216, CLASSES)]
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
        processes.agree(lambda: None)
    return trained(network(nn.BatchNorm2d), compute, checkpoint=Checkpoint(path))


class Branching(nn.Module):
    """A head that only some rows train, one that none trains, and a buffer that is no running statistic."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body, self.sometimes, self.never = (nn.Linear(64, CLASSES) for _ in range(3))
        self.register_buffer("kept", torch.tensor(float(processes.rank())))

    def forward(self, images):
        return self.body(images.flatten(1))


def branching(compute):
    """A loss that reaches a weight in one process and not in the other."""

    def loss(model, batch):
        value = cross_entropy(model(batch.images), batch.labels)
        chosen = batch.positions < 6
        if not chosen.any():
            return value
        answers = model.sometimes(batch.images[chosen].flatten(1))
        return value + cross_entropy(answers, batch.labels[chosen], reduction="sum") / len(batch.labels)

    model, data = Branching(), images()
    rows = plain(torch.arange(len(data)), data.labels, augment=False)
    batches = Batches(data, rows, batch_size=7, seed=1, device=compute.device, share=processes.share())
    model.kept.fill_(processes.rank())
    settings = SETTINGS.model_copy(update={"optimizer": "adamw", "weight_decay": 0.1})

    def after_step():
        model.kept.fill_(processes.rank())  # as a buffer that follows what each process has seen

    fit(model, batches, loss, settings, compute, Watch("train"), after_step)
    return {"state": dict(model.state_dict()), "answers": logits_of(model, data, torch.arange(ROWS), compute)}


class Viewing(nn.Module):
    """Reads its images as many models do, which cannot be done with none."""

    def forward(self, images):
        return images.view(images.size(0), -1)[:, :CLASSES]


class Diverged(nn.Module):
    """Answers to one of the images with infinity."""

    def forward(self, images):
        answers = images.flatten(1)[:, :CLASSES]
        return torch.where(images.flatten(1)[:, :1] == 1, torch.inf, answers)


def diverged(compute):
    data = images()
    data.images[:, 0, 0, 0] = 0
    data.images[-1, 0, 0, 0] = 255
    try:
        logits_of(Diverged(), data, torch.arange(ROWS), compute)
    except TrainingError as error:
        said = str(error)
        return processes.agree(lambda: said)  # all processes have come here
    return ""


def normalised(compute):
    """Three rows through synchronised batch normalisation, unequally shared: answers, gradients, statistics."""
    generator = torch.Generator().manual_seed(0)
    rows, slopes = (torch.randn(3, 2, 1, 2, generator=generator) * 3 + 5 for _ in range(2))
    rank, count = processes.share()
    mine = rows[rank::count].clone().requires_grad_()
    norm = nn.BatchNorm2d(2, momentum=None)
    with synced_norms(norm, True):
        answers = norm(mine)
        (answers * slopes[rank::count]).sum().backward()
    weights = processes.total(norm.weight.grad)
    return {"answers": answers.detach(), "gradient": mine.grad, "weights": weights, **norm.state_dict()}


def dropped(compute):
    """Which of 64 ones dropout leaves, in each step."""
    left = []

    def loss(model, batch):
        left.append(model[0](torch.ones(64)) > 0)
        return cross_entropy(model(batch.images), batch.labels)

    trained(nn.Sequential(nn.Dropout(0.5), *network(nn.Identity)), compute, loss=loss)
    return torch.stack(left)


def wobbling(compute):
    """Gradients that differ a little between processes, as kernels that are chosen by the clock may make them."""
    backward = set_gradients.functional.cross_entropy

    def rough(*arguments, **named):
        return backward(*arguments, **named) * (1 + 0.5 * processes.rank() * torch.rand(()))

    with patch.object(set_gradients.functional, "cross_entropy", rough):
        model = compute.place(network(nn.Identity))
        forget = forget_from_indices(np.arange(0, ROWS, 9), images())
        problem = Problem(model, images(), forget, TrainSettings(epochs=2, lr=0.05), compute, batch_size=BATCH)
        with torch.random.fork_rng():
            torch.manual_seed(processes.rank())
            return {str(n): one for n, one in enumerate(saliency.saliency(problem))}


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
    return {
        "without batch norm": trained(network(nn.Identity), apart),
        "synced": trained(network(nn.BatchNorm2d), synced),
        "apart": trained(network(nn.BatchNorm2d), apart),
        "twice": trained(network(nn.BatchNorm2d), synced, loss=twice),
        "resumed": resumed(folder, synced),
        "different weights": trained(network(nn.Identity, seed=processes.rank()), apart),
        "refused": refused(apart),
        "branching": branching(apart),
        "one image": logits_of(Viewing(), images(), torch.arange(1), apart),
        "diverged": diverged(apart),
        "normalised": normalised(apart),
        "dropout": dropped(apart),
        "saliency": wobbling(apart),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    target = Path(sys.argv[1])
    with processes.group():
        place, held = f"{processes.count()}-{processes.rank()}", weakref.ref(distributed.group.WORLD)
        torch.save(everything(target), target / f"{place}.pt")
    (target / f"{place}.left").write_text(repr(held()))
