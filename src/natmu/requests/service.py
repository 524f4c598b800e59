"""A service of deletion requests: its folder, and what can be done with it.

What loads PyTorch is imported where it is used: recording requests, looking at them and verifying do without.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from natmu.errors import RunError, UsageError
from natmu.progress import say
from natmu.records.census import Census
from natmu.records.forgetting import with_manifest
from natmu.records.ledger import (
    DeployedModel,
    NotMade,
    PolicyChanged,
    ProcessStarted,
    Purged,
    Rejected,
    Released,
    Requested,
    Retrained,
    RolledBack,
)
from natmu.records.policy import Policy
from natmu.records.run import WEIGHTS, RunFolder
from natmu.records.service import CENSUS, CURRENT, KEY, LEDGER, LOCK, MODELS, POLICY, SERVICE, ServiceRecord
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger
from natmu.requests.state import State, fold

if TYPE_CHECKING:
    from natmu.opening import Source
    from natmu.requests.processing import Processing
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
        policy: Path | None = None,
        *,
        manifest: Path | None = None,
        data_dir: Path = Path("data"),
        device: str = "auto",
        precision: str = "auto",
        force: bool = False,
    ) -> Service:
        """Begin a service for a deployed model; its folder appears whole or not at all.

        Args:
            folder: New, or empty.
            source: The original with its data and, where it was trained elsewhere, how it was trained.
            policy: A YAML file; the defaults if None.
            manifest: The table of samples for requests that name a column and no table.
            data_dir: Where data sets are kept that have a name, and decoded images.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``auto``, ``fp32`` or ``bf16``.
            force: Whether to go on with an original that does not seem to belong to the data.

        Raises:
            UsageError: The folder is taken, the policy is wrong, or the model is no original or does not fit the data.
        """
        from natmu.requests.founding import found

        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} already holds something; name a folder that does not exist yet.")
        partial = folder.resolve().parent / f".{folder.name}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            found(
                partial,
                source,
                policy,
                manifest=manifest,
                data_dir=data_dir,
                device=device,
                precision=precision,
                force=force,
            )
            partial.replace(folder)
        except OSError as error:
            raise RunError(
                f"Cannot write {folder} ({error.strerror}); choose a folder that can be written to."
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Service:
        """The service in a folder; ``current`` is put right where a process was killed before it did so.

        Raises:
            UsageError: The folder is that of no service, or its key is missing.
            RunError: A file of the service is damaged.
        """
        if not (folder / SERVICE).exists():
            raise UsageError(f"{folder} is no service: it holds no {SERVICE}; natmu requests init begins one.")
        service = cls(folder)
        lock = FileLock(folder / LOCK)
        with suppress(Timeout), lock.acquire(blocking=False):  # whoever works on it puts the link right itself
            service._deploy()
        return service

    @cached_property
    def record(self) -> ServiceRecord:
        """What the service is about."""
        return ServiceRecord.read(self.folder / SERVICE)

    @cached_property
    def ledger(self) -> Ledger:
        """Its ledger."""
        return Ledger(self.folder / LEDGER, self._key)

    @cached_property
    def _key(self) -> ServiceKey:
        return ServiceKey.read(self.folder / KEY)

    @property
    def state(self) -> State:
        """What the ledger says: requests, releases and what is current."""
        return fold(self.ledger.entries())

    @property
    def current(self) -> RunFolder:
        """The run of the deployed model."""
        return RunFolder(self.folder / MODELS / _deployed(self.state).run)

    @property
    def _census(self) -> Census:
        return Census.read(self.folder / CENSUS)

    def add(self, forget: str, ticket: str, *, manifest: Path | None = None, received: str | None = None) -> Requested:
        """Record a pending request.

        Args:
            forget: The request as text: ``files:LIST``, ``where:COLUMN=VALUE in TABLE.csv``, ``indices:FILE`` or
                ``class:NAME``.
            ticket: The caller's own name for it. The same ticket with the same samples is the same request.
            manifest: The table of a request that names a column and no table; that of the service if None.
            received: When it came in, ISO 8601; now if None.

        Returns:
            The request, as the ledger has it.

        Raises:
            UsageError: It names no training sample, another request has its ticket or all of its samples, or the time
                is none or lies in the future.
        """
        from natmu.requests.recording import record

        given = self.record.manifest
        table = manifest or (None if given is None else Path(given))
        return record(self.ledger, self._census, self._policy(), with_manifest(forget, table), ticket, received)

    def status(self, now: str | None = None) -> Status:
        """What is due, deployed and spent, and whether to retrain.

        Args:
            now: The time, ISO 8601; that of the clock if None.
        """
        from natmu.requests.status import status_of

        return status_of(self.state, datetime.now(UTC) if now is None else datetime.fromisoformat(now))

    def process(
        self,
        requests: Sequence[int] | None = None,
        *,
        data: str | None = None,
        device: str = "auto",
        seed: int = 0,
        force: bool = False,
    ) -> Released | Rejected | NotMade:
        """Unlearn pending requests at once, and deploy the first candidate that keeps the guardrails.

        A process that was interrupted goes on where it was; requests that came in since wait for the next one.

        Args:
            requests: Numbers of the requests; all that are pending if None.
            data: Where the data lies now, if not where it lay.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            seed: Of everything random.
            force: Whether to go on where more of the data is gone than anybody asked to forget.

        Returns:
            The release; or the last candidate, where all were refused and the requests are pending still.

        Raises:
            UsageError: Nothing is pending, or the data is not that of the service.
        """
        from natmu.requests.batch import chosen

        with self._alone():
            state = self._with_policy()
            unfinished = state.unfinished
            if unfinished is not None and requests is not None and {*requests} != {*unfinished.requests}:
                raise UsageError(
                    f"Process {unfinished.process} of {_some(unfinished.requests)} is not finished; run natmu requests "
                    "process without numbers to go on with it."
                )
            numbers = chosen(requests, state, self._census) if unfinished is None else unfinished.requests
            drawn = seed if unfinished is None else unfinished.seed
            work = self._work(state, numbers, data=data, device=device, seed=drawn, force=force)
            started = unfinished or self._started(work, state)
            outcome = work.process(started, _refused(self.ledger, started))
            self._deploy()
            return outcome

    def retrain(
        self, *, data: str | None = None, device: str = "auto", seed: int = 0, force: bool = False
    ) -> Retrained:
        """Retrain without all that anybody asked to forget, and deploy that model; it answers all pending requests.

        Args:
            data: Where the data lies now, if not where it lay.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            seed: Of everything random.
            force: Whether to go on where more of the data is gone than anybody asked to forget.

        Raises:
            UsageError: Nobody asked to forget anything, nobody says how the original was trained, or the data is not
                that of the service.
        """
        with self._alone():
            state = self._with_policy()
            if not state.requests:
                raise UsageError("There is no request yet, so retraining would give the original once more.")
            work = self._work(state, state.pending, data=data, device=device, seed=seed, force=force)
            outcome = work.retrain()
            self._deploy()
            return outcome

    def rollback(self, release: int) -> RolledBack:
        """Deploy an earlier model again; requests that it does not honour are pending again.

        Args:
            release: Its number; 0 is the original.

        Raises:
            UsageError: There is no such release, it is the current one, or its weights were deleted.
            RunError: Its weights are damaged.
        """
        with self._alone():
            state = self.state
            if release not in state.releases:
                raise UsageError(f"There is no release {release}; there are 0 to {max(state.releases)}.")
            if release == state.current:
                raise UsageError(f"Release {release} is the current one already.")
            wanted = state.releases[release]
            if wanted.model.run in state.deleted_weights:
                raise UsageError(f"The weights of release {release} were deleted with the photographs that they knew.")
            RunFolder(self.folder / MODELS / wanted.model.run).verified(WEIGHTS)

            def decide(now: State) -> RolledBack:
                honoured = now.releases[now.current].honours
                lost = tuple(number for number in honoured if number not in wanted.honours)
                return RolledBack(release=release, result=wanted.model, reopened=lost)

            entry = self.ledger.append(decide)
            self._deploy()
        assert entry is not None and isinstance(entry.body, RolledBack)
        return entry.body

    def confirm_purge(self, request: int, *, data: str | None = None, weights: bool = False) -> Purged:
        """Check that the samples of a request are gone from the data, and note it.

        Args:
            request: Its number.
            data: Where the data lies now, if not where it lay.
            weights: Whether to delete the weights of earlier models that knew the samples.

        Raises:
            UsageError: A sample is still there, or the current model does not honour the request yet.
        """
        from natmu.requests.purging import confirm_purge

        with self._alone():
            purged = confirm_purge(
                self.folder, self.record, self._census, self._key, self.state, request, data=data, weights=weights
            )
            self.ledger.append(lambda _: purged)
        return purged

    def evidence(self, request: int, *, with_samples: bool = False) -> Path:
        """Write and sign the evidence of a request.

        Args:
            request: Its number.
            with_samples: Whether names of samples and what the models say of each stand in it.

        Returns:
            The folder with ``evidence.json``, ``evidence.html`` and the signature.

        Raises:
            UsageError: There is no such request.
        """
        from natmu.requests.evidence import evidence_of, write_evidence
        from natmu.requests.exposure import samples_of_request

        entries = self.ledger.entries()
        state = fold(entries)
        if request not in state.requests:
            raise UsageError(f"There is no request {request}; natmu requests list shows those that there are.")
        samples = samples_of_request(self.folder, self._census, state, request) if with_samples else None
        return write_evidence(self.folder, evidence_of(entries, state, request, samples=samples))

    def verify(self, *, data: str | None = None, record: bool = True) -> Verification:
        """Check the chain, the models, the files of the data and the evidence.

        Args:
            data: Where the data lies now, if not where it lay.
            record: Whether to note it in the ledger where everything holds.
        """
        from natmu.requests.verifying import verify_service

        found = verify_service(self.folder, data=data)
        if record and found.ok:
            self.ledger.append(lambda _: found.noted)
        return found

    def export(self, out: Path, *, like: Path | None = None, force: bool = False) -> None:
        """Write the deployed weights.

        Args:
            out: The file to write; a folder where ``like`` is a HuggingFace folder.
            like: What the original's weights came from; what is written has the same form.
            force: Whether to replace what is there.

        Raises:
            UsageError: ``out`` is taken, or ``like`` does not hold this model's weights.
        """
        from natmu.engine.store import Run
        from natmu.lineage.exporting import export_run

        export_run(Run(self.current.path), out, like=like, force=force)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process works on this service meanwhile; requests may be recorded all the same."""
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"wait for another process that works on {self.folder}")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _policy(self) -> Policy:
        return Policy.read(self.folder / POLICY)

    def _with_policy(self) -> State:
        """The state, once an edited policy is noted.

        Raises:
            SettingError: The policy is wrong.
        """
        from natmu.requests.policies import check_methods

        policy = self._policy()
        check_methods(policy)

        def decide(state: State) -> PolicyChanged | None:
            before = state.policy.digest
            return None if policy.digest == before else PolicyChanged(policy=policy, before=before)

        self.ledger.append(decide)
        return self.state

    def _work(
        self, state: State, requests: Sequence[int], *, data: str | None, device: str, seed: int, force: bool
    ) -> Processing:
        """The data that is left, with what is to be forgotten of it."""
        from natmu.engine.store import Run, Store
        from natmu.requests.batch import NOTHING, batch_of, requested
        from natmu.requests.processing import Processing
        from natmu.requests.remaining import open_remaining

        census, store = self._census, Store(self.folder / MODELS)
        whole = batch_of(requests, state, census, NOTHING)
        workspace, changes, lost = open_remaining(
            self.record, census, self._key, store, requested(state, census), data=data, device=device, force=force
        )
        for line in changes.in_words():
            say(line)
        current = state.releases[state.current]
        return Processing(
            self.record,
            self.ledger,
            workspace,
            replace(whole, lost=lost),
            Run(self.folder / MODELS / current.model.run),
            current.honours,
            state.policy,
            seed,
        )

    def _started(self, work: Processing, state: State) -> ProcessStarted:
        """Note that a process begins, and by which rules."""
        audit = state.policy.audit
        references = audit.references if state.processes % audit.every == 0 else 0

        def decide(now: State) -> ProcessStarted:
            return ProcessStarted(
                process=now.processes + 1,
                requests=work.batch.requests,
                source=_deployed(now),
                forgotten_before=len(work.batch.of(work.honoured)),
                seed=work.seed,
                references=references,
                policy=state.policy.digest,
            )

        entry = self.ledger.append(decide)
        assert entry is not None and isinstance(entry.body, ProcessStarted)
        return entry.body

    def _deploy(self) -> None:
        """Let ``current`` be the model that the ledger says, by one atomic step; for the holder of the lock alone."""
        link, target = self.folder / CURRENT, Path(MODELS) / _deployed(self.state).run
        if link.is_symlink() and link.readlink() == target:
            return
        partial = self.folder / f".{CURRENT}.{os.getpid()}"
        partial.unlink(missing_ok=True)
        try:
            partial.symlink_to(target)
            partial.replace(link)
        except OSError as error:
            raise RunError(
                f"Cannot write {link} ({error.strerror}); repair that and open the service again."
            ) from error


def _deployed(state: State) -> DeployedModel:
    """The model that is current."""
    return state.releases[state.current].model


def _refused(ledger: Ledger, started: ProcessStarted) -> int:
    """How many candidates of a process were refused so far."""
    bodies = (entry.body for entry in ledger.entries())
    return sum(isinstance(body, Rejected | NotMade) and body.process == started.process for body in bodies)


def _some(numbers: Sequence[int]) -> str:
    """Numbers of requests, as a text."""
    shown = ", ".join(map(str, numbers[:6]))
    return f"request{'' if len(numbers) == 1 else 's'} {shown}{', …' if len(numbers) > 6 else ''}"
