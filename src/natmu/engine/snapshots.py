"""The states that a model went through while it was trained, for what looks back once training is over."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

PREFIX = "snapshot/"


@dataclass
class Snapshots:
    """A model's parameters and buffers at the ends of some epochs, on the CPU.

    Attributes:
        epochs: Which epochs, counted from 0.
        taken: Those that are over, in their order, each with the model's state by name.
    """

    epochs: Collection[int]
    taken: dict[int, dict[str, Tensor]] = field(default_factory=dict)

    def take(self, epoch: int, model: nn.Module) -> None:
        """Keep the state at the end of an epoch, if it is one of the wanted ones."""
        if epoch in self.epochs:
            state = model.state_dict()
            self.taken[epoch] = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        return {
            f"{PREFIX}{epoch}/{name}": tensor for epoch, state in self.taken.items() for name, tensor in state.items()
        }

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Continue from a saved state; names of others are passed over."""
        for key, tensor in saved.items():
            if key.startswith(PREFIX):
                epoch, name = key.removeprefix(PREFIX).split("/", 1)
                self.taken.setdefault(int(epoch), {})[name] = tensor
        self.taken = dict(sorted(self.taken.items()))
