"""The folder of a service: what lies in it, who works on it, and which model is deployed; without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock, Timeout

from natmu.errors import RunError, SettingError, UsageError
from natmu.machine import raise_passing
from natmu.progress import say
from natmu.records.census import Census
from natmu.records.disk import sweep, sync
from natmu.records.files import is_there
from natmu.records.policy import Policy
from natmu.records.run import WEIGHTS, RunFolder
from natmu.records.service import CENSUS, CURRENT, KEY, LEDGER, LOCK, MODELS, POLICY, SERVICE, ServiceRecord
from natmu.requests.heads import finish_erasing
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger
from natmu.requests.state import State, fold


@dataclass(frozen=True)
class ServiceFolder:
    """The folder of a service.

    Attributes:
        path: The folder.
    """

    path: Path

    @classmethod
    def open(cls, path: Path) -> ServiceFolder:
        """A folder that holds a service; ``current`` is put right where a process was killed before it did so.

        Raises:
            UsageError: It holds none, or the key is missing.
            RunError: A file of the service is damaged.
        """
        if not is_there(path / SERVICE):
            raise UsageError(f"{path} is not a service: it holds no {SERVICE}; natmu requests init begins one.")
        folder = cls(path)
        lock = FileLock(path / LOCK)
        with suppress(OSError), lock.acquire(blocking=False):  # whoever works on it, or may write, puts the link right
            folder.complete()
        return folder

    @cached_property
    def record(self) -> ServiceRecord:
        """What the service is about."""
        return ServiceRecord.read(self.path / SERVICE)

    @cached_property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger(self.path / LEDGER, self.key)

    @cached_property
    def key(self) -> ServiceKey:
        """Its secret for keyed digests."""
        return ServiceKey.read(self.path / KEY)

    @property
    def state(self) -> State:
        """What the ledger says now."""
        return fold(self.ledger.entries())

    @property
    def census(self) -> Census:
        """The list of all samples, as it is now."""
        return Census.read(self.path / CENSUS, self.key.seal)

    @property
    def policy(self) -> Policy:
        """The policy, as it is now.

        Raises:
            SettingError: It is wrong, or gone.
        """
        if not (self.path / POLICY).exists():
            raise SettingError(
                f"{self.path / POLICY} is gone; put it back, or an empty file there, which is the default policy."
            )
        return Policy.read(self.path / POLICY)

    @property
    def models(self) -> Path:
        """The store of models."""
        return self.path / MODELS

    @property
    def current(self) -> RunFolder:
        """The run of the deployed model."""
        return self.run_of(self.state.current)

    def run_of(self, release: int) -> RunFolder:
        """The run of a release."""
        return RunFolder(self.models / self.state.releases[release].model.run)

    def verified_run(self, release: int, *files: str) -> RunFolder:
        """The run of a release, once it is known to be what was deployed.

        Args:
            release: Its number.
            files: Names of files that are needed.

        Raises:
            RunError: It is missing or another one, or one of the files is.
        """
        deployed = self.state.releases[release].model
        run = RunFolder(self.models / deployed.run)
        try:
            sound = run.record.files.get(WEIGHTS) == deployed.weights
            for name in files:
                run.verified(name)
        except RunError as error:
            raise_passing(error)
            sound = False
        if not sound:
            raise RunError(
                f"{run.path} is not what release {release} deployed. It is missing, damaged or was edited; restore "
                "that folder from a backup of the service."
            )
        return run

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process works on this service meanwhile; requests may be recorded all the same.

        Raises:
            RunError: The folder cannot be written to.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"wait for another process that works on {self.path}")
            lock.acquire()
        except OSError as error:
            raise RunError(f"Cannot write {self.path} ({error.strerror}); run this as somebody who may.") from error
        try:
            yield
        finally:
            lock.release()

    def complete(self) -> None:
        """Do what the ledger says and a killed process may have left: for the holder of the lock alone.

        ``current`` becomes the deployed model by one atomic step, and weights go that a purge has deleted.

        Raises:
            RunError: Something cannot be written or deleted.
        """
        state = self.state
        self._link(Path(MODELS) / state.deployed.model.run)
        finish_erasing(self.models)
        sweep(self.path)
        if state.deleted_weights or state.deleted_heads:
            from natmu.requests.purging import complete_purge

            complete_purge(self.path, state)

    def _link(self, target: Path) -> None:
        """Let ``current`` be a model, by one atomic step."""
        link = self.path / CURRENT
        if link.is_symlink() and link.readlink() == target:
            return
        partial = self.path / f".{CURRENT}.{os.getpid()}"
        try:
            partial.unlink(missing_ok=True)
            partial.symlink_to(target)
            partial.replace(link)
            sync(self.path)
        except OSError as error:
            raise RunError(
                f"Cannot write {link} ({error.strerror}); make room or repair it, and run this again."
            ) from error
