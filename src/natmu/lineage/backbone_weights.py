"""The weights of a backbone: their digest, and whose they are."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from torch import Tensor, nn

from natmu.models import network_of, unit_head_of

COUNTERS = "num_batches_tracked"
"""Ends the names of numbers that say how often batch normalisation was trained, which features do not depend on."""


def backbone_state(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of a network with a head on features, without those of the head."""
    name, _ = unit_head_of(network)
    own = {f"{name}.weight", f"{name}.bias"}
    return {key: value for key, value in network_of(network).state_dict().items() if key not in own}


def backbone_digest(network: nn.Module) -> str:
    """32 hexadecimal digits that name the weights of a backbone, as they are computed with."""
    return state_digest({key: value for key, value in backbone_state(network).items() if not key.endswith(COUNTERS)})


def state_digest(state: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits that name tensors by their names and values."""
    content = hashlib.blake2b(digest_size=16)
    for name, value in sorted(state.items()):
        array = value.detach().cpu().contiguous().numpy()
        content.update(f"{name} {array.dtype} {array.shape}\n".encode())
        content.update(array.tobytes())
    return content.hexdigest()
