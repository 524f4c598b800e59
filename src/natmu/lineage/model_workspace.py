"""Where models are made that have the architecture of a model in memory, which has no name to be built by."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from natmu.lineage.workspace import Workspace
from natmu.models import reinitialised
from natmu.records.lineage import Architecture, Initial


@dataclass(frozen=True)
class ModelWorkspace(Workspace):
    """A workspace whose architecture is that of a model in memory.

    Attributes:
        network: The model, on the device.
    """

    network: nn.Module = field(default_factory=nn.Identity, repr=False, compare=False)

    @cached_property
    def architecture(self) -> Architecture:
        """The class of the model, and the shapes of its weights."""
        kind = type(self.network)
        shapes = repr([(name, tuple(value.shape)) for name, value in self.network.state_dict().items()])
        source = hashlib.blake2b(shapes.encode(), digest_size=16).hexdigest()
        return Architecture(name=f"{kind.__module__}:{kind.__qualname__}", source=source)

    def build(self, seed: int) -> nn.Module:  # noqa: ARG002 - only the architecture is wanted
        """A copy of the model; whoever wants fresh weights asks for them."""
        return copy.deepcopy(self.network)

    def start(self, model: Initial) -> nn.Module:
        """The architecture with fresh weights."""
        return reinitialised(self.network, model.seed)

    def fresh(self, seed: int) -> nn.Module:
        """The architecture with fresh weights, for methods that ask for any."""
        return reinitialised(self.network, seed)
