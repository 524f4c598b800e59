"""The models of several shards as one classifier."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from natmu.errors import ModelError
from natmu.records.tensors import read_tensors

Combine = Literal["probabilities", "logits", "votes"]


class Ensemble(nn.Module):
    """Classifiers that are asked together.

    Args:
        members: By number of the shard, a model that returns logits.
        combine: What of their logits is averaged; see ``combined``.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> members = {0: nn.Linear(4, 3), 2: nn.Linear(4, 3)}
        >>> Ensemble(members)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(self, members: Mapping[int, nn.Module], combine: Combine = "probabilities") -> None:
        super().__init__()
        self.members = nn.ModuleDict({str(shard): members[shard] for shard in sorted(members)})
        self.combine: Combine = combine

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(B, C)`` of what all members take."""
        return combined(torch.stack([member(images) for member in self.members.values()]), self.combine)

    def by_shard(self) -> dict[int, nn.Module]:
        """The members by number of their shard."""
        return {int(shard): member for shard, member in self.members.items()}

    def extra_repr(self) -> str:
        """How they are combined, for ``print(model)``."""
        return f"combine={self.combine}"


def shards_in(names: Iterable[str]) -> list[int]:
    """Numbers of the shards whose models an ensemble has, from the names of its weights.

    Examples:
        >>> shards_in(["members.0.weight", "members.2.weight", "members.2.bias"])
        [0, 2]
    """
    return sorted({int(name.split(".")[1]) for name in names if name.startswith("members.")})


def load_ensemble(path: Path | str, build: Callable[[], nn.Module], combine: Combine = "probabilities") -> Ensemble:
    """The ensemble in a file that ``natmu export`` wrote of a model of shards.

    Args:
        path: The file, in safetensors.
        build: Makes the model of a shard with any weights; called once for each.
        combine: How the model was trained to combine them.

    Raises:
        ModelError: The file holds no models of shards, or other models.

    Examples:
        >>> from safetensors.torch import save_file
        >>> from torch import nn
        >>> trained = Ensemble({0: nn.Linear(4, 2), 1: nn.Linear(4, 2)})
        >>> save_file(trained.state_dict(), "shards.safetensors")
        >>> sorted(load_ensemble("shards.safetensors", lambda: nn.Linear(4, 2)).by_shard())
        [0, 1]
    """
    try:
        state, _ = read_tensors(Path(path), "pt")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}); name a .safetensors file that natmu export wrote."
        ) from None
    if not (shards := shards_in(state)):
        raise ModelError(f"{path} holds one model, and none of shards; load it as it is.")
    ensemble = Ensemble({shard: build() for shard in shards}, combine)
    try:
        ensemble.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"The models in {path} are not those that build() returns: {error}.") from None
    return ensemble


def combined(logits_MBC: Tensor, combine: Combine) -> Tensor:
    """Logits of several models as those of one.

    - ``probabilities``: the logarithm of the mean of their probabilities.
    - ``logits``: their mean.
    - ``votes``: the logarithm of the share of the models that predict each class, with one further vote that is spread
      evenly over the classes: so it is finite, and the class with most votes is the one that is predicted. It has the
      gradient of ``probabilities``, as its own is zero wherever it is defined and nothing could be learnt by it.

    Args:
        logits_MBC: Of M models.
        combine: Which of these.

    Returns:
        float32 ``(B, C)``.
    """
    logits = logits_MBC.float()
    if combine == "logits":
        return logits.mean(0)
    models, _, classes = logits.shape
    mean = torch.logsumexp(logits.log_softmax(2), 0) - math.log(models)
    if combine == "probabilities":
        return mean
    votes = nn.functional.one_hot(logits.argmax(2), classes).sum(0)
    shares = torch.log((votes + 1 / classes) / (models + 1))
    return shares + (mean - mean.detach()) if mean.requires_grad else shares
