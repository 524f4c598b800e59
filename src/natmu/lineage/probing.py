"""What can be read within a model and beside the forget samples: a run of the store for each model that is probed."""

from __future__ import annotations

import time

import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.compute import Compute
from natmu.engine.features import features_of
from natmu.engine.neighbours import right_nearby
from natmu.engine.workplace import Workplace
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import Forget, Imported, Probed, Referenced, Trained, Unlearned
from natmu.records.run import History
from natmu.scores.probe import DRAWS, RADIUS, SETTINGS, Probe, Questions
from natmu.types import ForgetSet


def probed(model: Trained | Imported | Unlearned | Referenced, forget: Forget) -> Probed:
    """What is read in a model and beside a forget set, as a lineage."""
    return Probed(source=model, forget=forget, settings=SETTINGS)


def make_probe(model: Probed, workspace: Workspace, work: Workplace) -> None:
    """Probe a model; the run's history has the right answers nearby as epoch 0, and block after block from epoch 1."""
    compute, start = workspace.compute.at(model.arithmetic), time.perf_counter()
    network = workspace.load(workspace.require(model.source))
    found = probe(network, workspace.on_device.train, workspace.forget_set(model.forget), compute)
    history: History = [{"epoch": 0.0, "right": float(found.right)}]
    history += [{"epoch": float(block), "nats": nats} for block, nats in enumerate(found.blocks, start=1)]
    work.finish_curve(history, compute, seconds=time.perf_counter() - start)


def noted_probe(history: History) -> Probe:
    """What was found, from a run's history."""
    return Probe(tuple(row["nats"] for row in history if "nats" in row), int(history[0]["right"]))


def probe(network: nn.Module, data: ImageData, forget: ForgetSet, compute: Compute) -> Probe:
    """What a model on the device knows of a forget set of the data."""
    asked = Questions.about(forget, data.labels)
    nearby, positions = torch.from_numpy(asked.nearby), torch.from_numpy(asked.positions)
    right = right_nearby(network, data, nearby, compute, radius=RADIUS, draws=DRAWS)
    features = features_of(network, data, positions, compute) if len(positions) else []
    return Probe(tuple(map(asked.information, features)), int(right.sum()))
