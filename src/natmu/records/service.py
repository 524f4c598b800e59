"""What a service of deletion requests is about (``service.json``): its original, its data, and where they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Literal

from natmu.records.data_lineage import DataLineage
from natmu.records.digests import Digest
from natmu.records.files import File
from natmu.records.lineage import Architecture, Arithmetic
from natmu.records.settings import Training

SERVICE, POLICY, LEDGER, CENSUS, CURRENT, MODELS, EVIDENCE = (
    "service.json",
    "policy.yaml",
    "ledger.sqlite",
    "census.npz",
    "current",
    "models",
    "evidence",
)
"""Names in the folder of a service."""

KEY, SIGNING_KEY, PUBLIC_KEY, HEAD, LOCK = "service.key", "signing.key", "signing.pub", "ledger.head", ".lock"
"""Names of its secrets, of the key that others verify with, of the sealed end of the ledger, and of the lock."""


class ServiceRecord(File):
    """The service (``service.json``); nothing in it changes.

    Attributes:
        original: Digest of the run of the original, in ``models``.
        data: The original's data as it was when the service began, as lineages tell of it.
        source: Where it lay: an absolute path, or the name of a data set.
        test: Likewise its test data, where that had a place of its own.
        manifest: An absolute path: the table of samples for requests that name a column and no table.
        data_dir: Where data sets are kept that have a name, and decoded images; an absolute path.
        architecture: The network.
        arithmetic: Of the original.
        recipe: How models are retrained; None where nobody says, and nothing can be.
        mean: Channel means of the training images that the service began with, for models that normalise by them.
        std: Their standard deviations.
    """

    remedy: ClassVar[str] = "restore it from a backup of the service"

    format: Literal[1] = 1
    original: Digest
    data: DataLineage
    source: str
    test: str | None = None
    manifest: str | None = None
    data_dir: str
    architecture: Architecture
    arithmetic: Arithmetic
    recipe: Training | None
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def test_beside(self, source: str | None) -> str | None:
        """Where the test data lies now: as far from the source as it lay, unless it is not there.

        Args:
            source: Where the source lies now; where it lay if None.
        """
        if self.test is None or source is None or not Path(self.test).is_absolute():
            return self.test
        way = os.path.relpath(self.test, Path(self.source).parent)
        moved = Path(os.path.normpath(Path(source).resolve().parent / way))
        return str(moved) if moved.exists() else self.test
