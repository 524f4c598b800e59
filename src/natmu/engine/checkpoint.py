"""Weights and training states on disk: safetensors, written whole or not at all; loading executes no code."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from natmu.engine import processes
from natmu.machine import raise_passing
from natmu.models import network_of
from natmu.records.files import damaged, write_atomically
from natmu.records.run import History
from natmu.records.tensors import packed, read_tensors


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's parameters and buffers, by the user's names; of several processes the first does."""
    if processes.writes():
        state = network_of(model).state_dict()
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
        write_atomically(path, packed(save, tensors))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read what ``save_weights`` wrote.

    Raises:
        RunError: The file is missing or damaged.
    """
    try:
        return read_tensors(path, "pt")[0]
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from None


@dataclass
class Checkpoint:
    """The state of an unfinished run of the loop, in one file.

    Attributes:
        path: The file.
        every_seconds: Shortest time between two writes; each is made at the end of an epoch.
    """

    path: Path
    every_seconds: float = 20.0
    _written: float = field(default_factory=time.monotonic)

    def stage(self, name: str) -> Checkpoint:
        """The state of one of several runs of the loop that follow each other."""
        return Checkpoint(self.path.with_name(f"{self.path.name}.{name}"), self.every_seconds)

    def keep(self, name: str, model: nn.Module, history: History, seconds: float) -> None:
        """Keep one of several models that make up a run, once it is done."""
        state = network_of(model).state_dict()
        tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
        metadata = {"history": json.dumps(history), "seconds": str(seconds)}
        write_atomically(self.stage(name).path, packed(save, tensors, metadata))

    def kept(self, name: str, model: nn.Module) -> tuple[History, float] | None:
        """Fill a model with one that was kept; None where there is none, or a damaged one.

        Returns:
            What was noted epoch by epoch, and the seconds that it took.

        Raises:
            NatmuError: The machine cannot read it now, as when too many files are open.
        """
        if (found := _read(self.stage(name).path)) is None:
            return None
        tensors, metadata = found
        network_of(model).load_state_dict(tensors)
        history: History = json.loads(metadata["history"])
        return history, float(metadata["seconds"])

    def save(
        self,
        epochs: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        extra: dict[str, Tensor],
        history: History,
    ) -> None:
        """Write the state after ``epochs`` epochs if the last write is long enough ago."""
        if time.monotonic() - self._written < self.every_seconds:
            return
        tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
        tensors |= {f"extra/{name}": tensor for name, tensor in extra.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in optimizer_state(optimizer).items()}
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        metadata = {"epochs": str(epochs), "history": json.dumps(history)}
        if processes.writes():
            write_atomically(self.path, packed(save, plain, metadata))
        self._written = time.monotonic()

    def load(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, dict[str, Tensor], History] | None:
        """Put the saved state into model and optimiser; None where there is none, or a damaged one.

        Returns:
            Finished epochs, extra tensors, history.

        Raises:
            NatmuError: The machine cannot read it now, as when too many files are open.
        """
        if (found := _read(self.path)) is None:
            return None
        tensors, metadata = found
        model.load_state_dict(below(tensors, "model/"))
        load_optimizer(optimizer, below(tensors, "optimizer/"))
        history: History = json.loads(metadata["history"])
        return int(metadata["epochs"]), below(tensors, "extra/"), history


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]] | None:
    """Tensors and notes of a file; None where there is none, or a damaged one.

    A fault of the machine says nothing about the file: to begin anew because of it would throw finished work away.
    """
    try:
        return read_tensors(path, "pt")
    except (OSError, SafetensorError) as error:
        raise_passing(error)
        return None


def below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, named without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors of an optimiser's state, by the number of the parameter and their own name."""
    return {
        f"{index}/{name}": value
        for index, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if value is not None
    }


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Fill the optimiser's state, each tensor in the memory layout of its parameter, as fused kernels expect."""
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        index, field_name = name.split("/", 1)
        state.setdefault(int(index), {})[field_name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, values in optimizer.state.items():
        for field_name, value in values.items():
            if value.shape == parameter.shape:
                values[field_name] = torch.empty_like(parameter).copy_(value)
