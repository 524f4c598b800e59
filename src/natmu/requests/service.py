"""A service of deletion requests: its folder, and what can be done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from natmu.records.ledger import NotMade, Purged, Rejected, Released, Requested, Retrained, RolledBack

if TYPE_CHECKING:
    from natmu.opening import Source
    from natmu.requests.state import State
    from natmu.requests.status import Status
    from natmu.requests.verifying import Verification


@dataclass(frozen=True)
class Service:
    """A service in its folder.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @classmethod
    def create(
        cls,
        folder: Path,
        source: Source,
        policy: Path | Mapping[str, Any] | None = None,
        *,
        data_dir: Path = Path("data"),
        device: str = "auto",
        precision: str = "auto",
        force: bool = False,
    ) -> Service:
        """Begin a service for a deployed model (``natmu requests init``); the folder appears whole or not at all."""
        raise NotImplementedError

    @classmethod
    def open(cls, folder: Path) -> Service:
        """The service in a folder; its current model is put right if a process was killed."""
        raise NotImplementedError

    def add(self, forget: str, ticket: str, *, manifest: Path | None = None, received: str | None = None) -> Requested:
        """Record a pending request; the same ticket with the same samples is the same request. Loads no PyTorch."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """What the ledger says: requests, releases and what is current. Loads no PyTorch."""
        raise NotImplementedError

    def status(self, now: str | None = None) -> Status:
        """What a person wants to know on a Monday morning. Loads no PyTorch."""
        raise NotImplementedError

    def process(
        self,
        requests: Sequence[int] | None = None,
        *,
        data: str | None = None,
        device: str = "auto",
        seed: int = 0,
        force: bool = False,
    ) -> Released | Rejected | NotMade:
        """Unlearn all pending requests, or these, and release the first candidate that keeps the guardrails."""
        raise NotImplementedError

    def retrain(
        self, *, data: str | None = None, device: str = "auto", seed: int = 0, force: bool = False
    ) -> Retrained:
        """Retrain without all that anybody asked to forget, and deploy that model."""
        raise NotImplementedError

    def rollback(self, release: int) -> RolledBack:
        """Deploy an earlier model again; requests that it does not honour are pending again."""
        raise NotImplementedError

    def confirm_purge(self, request: int, *, data: str | None = None, weights: bool = False) -> Purged:
        """Check that the samples of a request are gone from the data, and note it."""
        raise NotImplementedError

    def evidence(self, request: int, *, with_samples: bool = False) -> Path:
        """Write and sign the evidence of a request; returns its folder."""
        raise NotImplementedError

    def verify(self, *, data: str | None = None, record: bool = True) -> Verification:
        """Check the whole service. Loads no PyTorch."""
        raise NotImplementedError

    def export(self, out: Path, *, like: Path | None = None, force: bool = False) -> None:
        """Write the deployed weights in the format that came in."""
        raise NotImplementedError
