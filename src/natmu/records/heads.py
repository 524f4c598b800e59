"""Files of heads on frozen features: the rows that they are fitted on, and what a head needs to forget."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from natmu.records.files import Arrays
from natmu.records.tensors import read_tensors, write_tensors
from natmu.types import FloatArray, Rows

FEATURES, HEAD = "features.safetensors", "head.safetensors"
"""Names of the files in a run folder: of a backbone, and of a model with a head."""


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """The rows of a backbone's features, of all data in the data's order.

    Attributes:
        train: float32 ``(N, P)``, of the training samples.
        test: Likewise of the test samples.
        holdout: Likewise of the holdout, where there is one.
    """

    train: FloatArray
    test: FloatArray
    holdout: FloatArray | None = None

    def at(self, rows: Rows) -> FeatureRows:
        """Those of some of the samples, given by their positions in the whole data."""
        kept = self.holdout if self.holdout is None or rows.holdout is None else self.holdout[rows.holdout]
        return FeatureRows(self.train[rows.train], self.test[rows.test], kept)


def write_features(features: FeatureRows, path: Path) -> None:
    """Write rows of features: ``train`` ``(N, P)``, ``test`` and, where there is one, ``holdout``."""
    arrays = {"train": features.train, "test": features.test}
    arrays |= {} if features.holdout is None else {"holdout": features.holdout}
    write_tensors({**arrays}, path)


def read_features(path: Path) -> FeatureRows:
    """Read what ``write_features`` wrote.

    Raises:
        KeyError, OSError, SafetensorError, ValueError: The file is missing, damaged, or not of these shapes and types.
    """
    arrays = _read(path)
    features = FeatureRows(arrays["train"], arrays["test"], arrays.get("holdout"))
    parts = [part for part in (features.train, features.test, features.holdout) if part is not None]
    if any(part.dtype != np.float32 or part.ndim != 2 or part.shape[1] != parts[0].shape[1] for part in parts):
        raise ValueError("its parts are not float32 (N, P) with the same P")
    if not all(np.isfinite(part).all() for part in parts):
        raise ValueError("a feature is not finite")
    return features


def read_head(path: Path) -> Arrays:
    """Read the state of a head, which its ``save`` wrote; whoever takes the arrays checks them.

    Raises:
        OSError, SafetensorError: The file is missing or damaged.
    """
    return _read(path)


def _read(path: Path) -> Arrays:
    return read_tensors(path, "numpy")[0]
