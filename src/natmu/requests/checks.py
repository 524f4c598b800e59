"""What is checked of a service whose ledger is sound: models, the link to the deployed one, evidence, and data."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from natmu.errors import RunError, UsageError
from natmu.machine import raise_passing
from natmu.progress import task
from natmu.records.census import Census, CensusPart
from natmu.records.files import file_digest
from natmu.records.heads import HEAD
from natmu.records.ledger import Entry, Opening, Purged, body_text, entry_hash
from natmu.records.run import WEIGHTS
from natmu.records.service import CENSUS, CURRENT, EVIDENCE, MODELS, PUBLIC_KEY, SERVICE, ServiceRecord
from natmu.requests.keys import ServiceKey, signature_holds
from natmu.requests.state import State
from natmu.types import IntArray
from natmu.user_files import read_file

if TYPE_CHECKING:
    from natmu.records.evidence import Evidence

EVIDENCE_FILE, SIGNATURE = "evidence.json", "evidence.sig"
"""Names in a folder of evidence."""


@dataclass
class ServiceChecks:
    """The checks of a service whose ledger is sound.

    Attributes:
        folder: Of the service.
        key: Its secret.
        entries: All entries of the ledger.
        state: What they say.
        problems: What is wrong, a sentence each.
        shown: What holds.
        unchecked: What was not looked at, and why.
        counts: How many models, files and signatures hold.
    """

    folder: Path
    key: ServiceKey
    entries: tuple[Entry, ...]
    state: State
    problems: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=lambda: {"models": 0, "files": 0, "evidence": 0})

    def __post_init__(self) -> None:
        count = counted(len(self.entries), "entry", "entries")
        self.shown.append(f"The ledger has {count}, each chained to the one before and sealed with the service's key.")

    def _record(self) -> ServiceRecord | None:
        """The record of the service, which must be that of the ledger's original."""
        try:
            record = ServiceRecord.read(self.folder / SERVICE)
        except RunError as error:
            raise_passing(error)
            self.problems.append(str(error))
            return None
        if record.original != self.state.opening.original.run:
            self.problems.append(f"{self.folder / SERVICE} is of another original than entry 1 of the ledger.")
        return record

    def _census(self) -> Census | None:
        """The list of samples, which must be the one that the ledger names."""
        path = self.folder / CENSUS
        try:
            census = Census.read(path, self.key.seal)
        except RunError as error:
            raise_passing(error)
            self.problems.append(str(error))
            return None
        if census.digest != self.state.census:
            named = max(entry.number for entry in self.entries if isinstance(entry.body, Opening | Purged))
            self.problems.append(f"{path} is not the list of samples that entry {named} of the ledger names.")
            return None
        count = sum(map(len, census.parts.values()))
        self.shown.append(f"{CENSUS} lists the {count} samples that the service began with.")
        return census

    def models(self) -> None:
        """Every release must have the weights that were deployed, unless they were deleted."""
        found, deleted = len(self.problems), 0
        with task("verify models", len(self.state.releases)) as advance:
            for release in self.state.releases.values():
                path = self.folder / MODELS / release.model.run / WEIGHTS
                if release.model.run in self.state.deleted_weights:
                    deleted += 1
                    if path.exists():
                        self.problems.append(f"{path} is there, though the ledger says that it was deleted.")
                elif self._file_is(path, release.model.weights, f"release {release.release}"):
                    self.counts["models"] += 1
                advance()
        if len(self.problems) == found:
            rest = f"; those of {deleted} were deleted for requests" if deleted else ""
            count = self.counts["models"]
            self.shown.append(f"{counted(count, 'release has', 'releases have')} the weights that were deployed{rest}.")
        self._heads()

    def _heads(self) -> None:
        """What logistic heads needed to forget must be gone where it was deleted."""
        deleted = sorted(self.state.deleted_heads)
        there = [path for path in (self.folder / MODELS / run / HEAD for run in deleted) if path.exists()]
        self.problems += [f"{path} is there, though the ledger says that it was deleted." for path in there]
        if deleted and not there:
            heads = counted(len(deleted), "logistic head", "logistic heads")
            self.shown.append(f"The state of {heads}, with weights of a fit on samples taken out since, was deleted.")

    def _file_is(self, path: Path, digest: str, what: str) -> bool:
        """Whether a file is what was deployed."""
        try:
            holds = file_digest(path) == digest
        except RunError as error:
            raise_passing(error)
            self.problems.append(f"The weights of {what} are missing; restore {path} from a backup of the service.")
            return False
        if not holds:
            self.problems.append(f"{path} does not hold the weights that {what} deployed.")
        return holds

    def current(self) -> None:
        """The link must name the model that the ledger says is deployed."""
        link, deployed = self.folder / CURRENT, self.state.deployed
        if link.is_symlink() and link.resolve() == (self.folder / MODELS / deployed.model.run).resolve():
            self.shown.append(f"{CURRENT} is release {deployed.release}, as the ledger says.")
        else:
            self.problems.append(
                f"{link} is not release {deployed.release}, which the ledger says is deployed; any other verb of natmu "
                "requests puts it right."
            )

    def evidence(self) -> None:
        """All evidence that was given must agree with the ledger, and be signed."""
        paths = sorted((self.folder / EVIDENCE).glob(f"*/{EVIDENCE_FILE}"))
        public, sound = self.folder / PUBLIC_KEY, 0
        for path in paths:
            wrong = self._evidence_problems(path)
            self.problems += wrong
            sound += not wrong
        if paths and not public.exists():
            self.unchecked.append(f"Who wrote the evidence: the service has no {PUBLIC_KEY}, so nothing is signed.")
        elif paths:
            try:
                signed = {path: is_signed(path, public) for path in paths}
            except UsageError as error:
                self.unchecked.append(f"Who wrote the evidence: {error}")
            else:
                self.counts["evidence"] = sum(signed.values())
                self.problems += [
                    f"{path} is not signed with {PUBLIC_KEY}, or was changed since."
                    for path in paths
                    if not signed[path]
                ]
        agreeing = counted(sound, "folder of evidence agrees", "folders of evidence agree")
        signatures = counted(self.counts["evidence"], "signature holds", "signatures hold")
        self.shown.append(f"{agreeing} with the ledger; {signatures}.")

    def _evidence_problems(self, path: Path) -> list[str]:
        """What is wrong with evidence, but for its signature."""
        from natmu.records.evidence import Evidence

        try:
            evidence = Evidence.read(path)
        except RunError as error:
            raise_passing(error)
            return [str(error)]
        by_number = {entry.number: entry for entry in self.entries}
        wrong = [
            f"Entry {entry.number} in {path} is not that of the ledger."
            for entry in evidence.entries
            if by_number.get(entry.number) != entry
        ]
        head = by_number.get(evidence.head_number)
        if head is None or head.hash != evidence.head_hash:
            wrong.append(
                f"{path} was written when the ledger had another entry {evidence.head_number}: the ledger is an older "
                "copy, or was rewritten."
            )
        return wrong

    def data(self, data: str | None) -> None:
        """Files of samples that nobody asked to forget must have the bytes that they had.

        Args:
            data: Where the data lies now; as the record says if None.
        """
        record, census = self._record(), self._census()
        if record is None or census is None:
            self.unchecked.append("The files of the data: where they lie, or what they were, is not known any more.")
            return
        if not any(map(_in_files, census.parts.values())):
            self.unchecked.append("The samples of the data: they are no files of their own.")
            return
        source = Path(data or record.source)
        if source.exists():
            self._files(census, source, record.test_beside(data))
        elif data or source.is_absolute():
            self.problems.append(f"There is no data at {source}. Give its new place with --data.")
        else:
            self.unchecked.append(f"The files of {source}: it is not a path; give their place with --data.")

    def _files(self, census: Census, source: Path, test: str | None) -> None:
        """Look at every file once."""
        wanted, homes = self._wanted(census), dict.fromkeys(census.parts, source if source.is_dir() else source.parent)
        if test is not None:
            homes["test"] = Path(test).parent
        total, found = sum(map(len, wanted.values())), len(self.problems)
        with task("verify files", total) as advance:
            for role, rows in wanted.items():
                part = census.parts[role]
                for name, digest in zip(part.names.at(rows), part.files[rows], strict=True):
                    problem = self._file_problem(homes[role] / name, digest.tobytes())
                    self.problems += problem
                    self.counts["files"] += not problem
                    advance()
        if len(self.problems) == found:
            self.shown.append(
                f"{counted(total, 'file of the data has', 'files of the data have')} the bytes that the service began "
                "with; files of samples that somebody asked to forget were not looked at."
            )

    def _wanted(self, census: Census) -> dict[str, IntArray]:
        """The samples by part that are files, have a name, and are no part of a request."""
        asked = [request.entry for request in self.state.requests.values()]
        digests = [digest for entry in asked for digest in (*entry.samples, *entry.unseen)]
        requested = census.with_pixels(digests)
        withdrawn = census.unseen_of_classes(name for entry in asked for name in entry.classes)
        wanted: dict[str, IntArray] = {}
        for role, part in census.parts.items():
            erased = np.isin(part.names.positions, list(part.names.listing.erased))
            erased[requested.get(role, [])] = True
            erased[withdrawn.get(role, [])] = True
            wanted[role] = np.flatnonzero(~erased) if _in_files(part) else np.zeros(0, np.int64)
        return wanted

    def _file_problem(self, path: Path, digest: bytes) -> list[str]:
        """What is wrong with a file."""
        try:
            content = read_file(path)
        except OSError as error:
            return [f"{path} cannot be read ({error.strerror}), and nobody asked to forget it."]
        same = hmac.digest(self.key.secret, content, "sha256")[:16] == digest
        return [] if same else [f"{path} is not the file that the service began with."]


def _in_files(part: CensusPart) -> bool:
    """Whether the samples of a part are files that their names lead to."""
    return len(part.files) > 0 and part.names.listing.texts is not None


def chain_problems(path: Path, evidence: Evidence) -> list[str]:
    """What is wrong with the entries in evidence by themselves.

    Args:
        path: Of the evidence, for the sentences.
        evidence: The evidence.
    """
    entries, wrong = evidence.entries, []
    for entry in entries:
        if entry_hash(entry.number, entry.time, body_text(entry.body), entry.previous) != entry.hash:
            wrong.append(f"Entry {entry.number} in {path} was changed: its hash is not that of its content.")
        if entry.number > evidence.head_number:
            wrong.append(f"Entry {entry.number} in {path} comes after the last one, {evidence.head_number}.")
        if entry.number == evidence.head_number and entry.hash != evidence.head_hash:
            wrong.append(f"Entry {entry.number} in {path} is the last one and has another hash than the last one.")
    for before, entry in pairwise(entries):
        if entry.number <= before.number:
            wrong.append(f"Entry {entry.number} in {path} comes after entry {before.number}.")
        elif entry.number == before.number + 1 and entry.previous != before.hash:
            wrong.append(f"Entry {entry.number} in {path} does not follow entry {before.number}.")
    return wrong


def is_signed(path: Path, public_key: Path) -> bool:
    """Whether evidence has a signature beside it that holds.

    Args:
        path: Of the evidence.
        public_key: The file of the public key.

    Raises:
        UsageError: That is no public key, or cryptography is missing.
    """
    try:
        content = read_file(path)
        signature = read_file(path.with_name(SIGNATURE)).decode("utf-8", "replace").strip()
    except OSError as error:
        raise_passing(error)
        return False
    return signature_holds(public_key, content, signature)


def counted(count: int, one: str, several: str) -> str:
    """A number of things in words."""
    return f"{count} {one if count == 1 else several}"
