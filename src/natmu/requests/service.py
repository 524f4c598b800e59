"""A service of deletion requests: its folder, and what can be done with it.

What a verb needs is imported where it is used: recording requests, looking at them and verifying load no PyTorch and
start at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from natmu.errors import UsageError
from natmu.machine import cannot_write
from natmu.records.disk import make_folder, partial_of, publish, require_writable_folder, sweep
from natmu.records.forgetting import with_manifest
from natmu.records.ledger import NotMade, Purged, Rejected, Released, Requested, Retrained, RolledBack
from natmu.records.run import WEIGHTS
from natmu.requests.folder import ServiceFolder
from natmu.requests.state import State, fold

if TYPE_CHECKING:
    from natmu.opening import Source
    from natmu.requests.status import Status
    from natmu.requests.verifying import Verification


@dataclass(frozen=True)
class Service:
    """A service of deletion requests.

    Attributes:
        files: Its folder.

    Examples:
        >>> from pathlib import Path
        >>> from natmu.errors import UsageError
        >>> try:
        ...     Service.open(Path("service"))
        ... except UsageError as error:
        ...     print(error)
        service is not a service: it holds no service.json; natmu requests init begins one.
    """

    files: ServiceFolder

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
        require_writable_folder(folder)
        partial = partial_of(folder.resolve())
        shutil.rmtree(partial, ignore_errors=True)
        try:
            make_folder(partial.parent)
            sweep(partial.parent)
            partial.mkdir(mode=0o700)  # it names samples
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
            publish(partial, folder.resolve())
        except OSError as error:
            raise cannot_write(folder, error) from error
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
        return cls(ServiceFolder.open(folder))

    @property
    def state(self) -> State:
        """What the ledger says: requests, releases and what is current."""
        return self.files.state

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

        given = self.files.record.manifest
        table = manifest or (None if given is None else Path(given))
        text = with_manifest(forget, table)
        return record(self.files.ledger, self.files.census, self.files.policy, text, ticket, received)

    def status(self, now: str | None = None) -> Status:
        """What is due, deployed and spent, and whether to retrain.

        Args:
            now: The time, ISO 8601; that of the clock if None.
        """
        from natmu.requests.status import status_of

        moment = datetime.now(UTC) if now is None else datetime.fromisoformat(now)
        entries = self.files.ledger.entries()
        return status_of(entries, fold(entries), moment)

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
        from natmu.requests import releases

        return releases.process(self.files, requests, data=data, device=device, seed=seed, force=force)

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
        from natmu.requests import releases

        return releases.retrain(self.files, data=data, device=device, seed=seed, force=force)

    def rollback(self, release: int) -> RolledBack:
        """Deploy an earlier model again; requests that it does not honour are pending again.

        Args:
            release: Its number; 0 is the original.

        Raises:
            UsageError: There is no such release, it is the current one, or its weights were deleted.
            RunError: Its weights are damaged.
        """
        with self.files.alone():
            state = self.state
            if release not in state.releases:
                raise UsageError(f"There is no release {release}; there are 0 to {max(state.releases)}.")
            if release == state.current:
                raise UsageError(f"Release {release} is the current one already.")
            wanted = state.releases[release]
            if wanted.model.run in state.deleted_weights:
                raise UsageError(f"The weights of release {release} were deleted with the photographs that they knew.")
            self.files.verified_run(release, WEIGHTS)

            def decide(now: State) -> RolledBack:
                honoured = now.releases[now.current].honours
                lost = tuple(number for number in honoured if number not in wanted.honours)
                return RolledBack(release=release, result=wanted.model, reopened=lost)

            entry = self.files.ledger.append(decide)
            self.files.complete()
        assert entry is not None, "something was decided"
        assert isinstance(entry.body, RolledBack), "it is what was decided"
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

        files = self.files
        with files.alone():
            purged = confirm_purge(
                files.path, files.record, files.census, files.key, files.state, request, data=data, weights=weights
            )
            files.ledger.append(lambda _: purged)
            files.complete()
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

        entries = self.files.ledger.entries()
        state = fold(entries)
        if request not in state.requests:
            raise UsageError(f"There is no request {request}; natmu requests list shows those that there are.")
        samples = samples_of_request(self.files.path, self.files.census, state, request) if with_samples else None
        return write_evidence(self.files.path, evidence_of(entries, state, request, samples=samples))

    def verify(self, *, data: str | None = None, record: bool = True) -> Verification:
        """Check the chain, the models, the files of the data and the evidence.

        Args:
            data: Where the data lies now, if not where it lay.
            record: Whether to note it in the ledger where everything holds.
        """
        from natmu.requests.verifying import verify_service

        found = verify_service(self.files.path, data=data)
        if record and found.ok:
            self.files.ledger.append(lambda _: found.noted)
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

        deployed = self.files.verified_run(self.files.state.current, WEIGHTS)
        export_run(Run(deployed.path), out, like=like, force=force)
