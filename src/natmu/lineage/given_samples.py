"""Samples of data in memory, known again by their names when others are gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from natmu.data import ImageData
from natmu.errors import DataError
from natmu.records.shard_samples import Digests, ShardSamples, digests_of_names
from natmu.types import IntArray

_BLOCK = 1024
"""Images that are read at a time for their digests."""


def positions_of(known: ShardSamples, data: ImageData, names: Digests, contents: Digests, store: Path) -> IntArray:
    """Where each sample stands in the data that the store first had.

    Raises:
        DataError: A sample was not in it, or is another one now.
    """
    if data.sample_names.listing.texts is None and len(data) < len(known):
        raise DataError(
            f"The data has {len(data)} samples, and the shards in {store} were trained on {len(known)}. Positions do "
            "not say which of them are gone. Give names=…, one text per sample, from the first call on."
        )
    positions = known.positions(names)
    if len(new := np.flatnonzero(positions < 0)):
        raise DataError(
            f"{len(new)} samples are not among those that the shards in {store} were trained on, such as "
            f"{data.names[int(new[0])]!r}; leave them out, or train with them in another folder."
        )
    if len(changed := np.flatnonzero((known.contents[positions] != contents).any(1))):
        raise DataError(
            f"{len(changed)} samples have other inputs or another label than when the shards in {store} were trained, "
            f"such as {data.names[int(changed[0])]!r}. Give them as they were, or train in another folder."
        )
    return positions


def names_of(data: ImageData) -> Digests:
    """Digests of the names of samples.

    Raises:
        DataError: Two samples have the same name.
    """
    digests = digests_of_names(data.names)
    _, first, counts = np.unique(digests, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        twice = data.names[int(first[counts > 1].min())]
        raise DataError(f"Two samples are called {twice!r}, and shards know samples by their names; give each its own.")
    return digests


def contents_of(data: ImageData) -> Iterator[bytes]:
    """What models and losses get of each sample; floats as float32, in whichever type they are kept."""
    for rows in torch.split(torch.arange(len(data)), _BLOCK):
        images: Tensor = data.take(rows).cpu()
        images = images if images.dtype == torch.uint8 else images.float()
        for image, label in zip(images.numpy(), data.labels[rows].tolist(), strict=True):
            yield str(label).encode() + image.tobytes()
