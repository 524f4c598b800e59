"""What ``natmu.unlearn`` returned, as a folder: the model of a program, which no run folder can name the source of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from natmu.errors import RunError
from natmu.records.audit import AUDIT, AUDIT_FOLDER, SAMPLES, Audit, AuditedForget
from natmu.records.digests import Digest
from natmu.records.files import File, file_digest, is_there
from natmu.records.forgotten import FORGET, Forgotten, read_positions
from natmu.records.passes import Passes
from natmu.records.run import HISTORY, Hardware, History, content_of, read_history
from natmu.records.samples import Sample, read_samples
from natmu.types import IntArray

RESULT = "result.json"
"""Of a saved result, the name of the file that says what it is."""


class ResultRecord(File):
    """A result of ``natmu.unlearn`` (``result.json``).

    A run folder has a lineage, from which everything can be made again. Of a model that a program holds in memory
    neither the data nor the architecture can be named, so its folder has what was asked for and what came out.

    Attributes:
        settings: Method, its complete settings, forget set, seed and precision, as plain values.
        forget: What was forgotten.
        forgotten: The forget set as it was found in the data.
        names: One name per forget sample, where samples have names.
        scores: Accuracies of the ``original`` and of the ``result``, in percent, by name.
        decisions: What was decided for the user, a sentence each.
        seconds: Wall time of unlearning.
        passes: What it sent through models; None where the user's own function trained.
        versions: Package name to version.
        hardware: What it ran on.
        finished: UTC time, ISO 8601.
        files: Digest of each other file of the folder, by its name.
    """

    remedy: ClassVar[str] = "save the result again"

    format: Literal[2] = 2
    settings: dict[str, Any]
    forget: AuditedForget
    forgotten: Forgotten
    names: tuple[str, ...] = ()
    scores: dict[str, dict[str, float]]
    decisions: tuple[str, ...] = ()
    seconds: float
    passes: Passes | None = None
    versions: dict[str, str]
    hardware: Hardware
    finished: str
    files: dict[str, Digest]


@dataclass(frozen=True)
class ResultFolder:
    """A saved result, with its audit where there is one. What is read is what was saved.

    Attributes:
        path: The folder; it holds a result, the audit of a model in memory, or both.
    """

    path: Path

    @cached_property
    def record(self) -> ResultRecord | None:
        """What came of unlearning; None where only an audit was saved."""
        return ResultRecord.read(self.path / RESULT) if is_there(self.path / RESULT) else None

    @cached_property
    def audit(self) -> Audit | None:
        """The audit; None where none was saved."""
        path = self.path / AUDIT_FOLDER / AUDIT
        return Audit.read(path) if is_there(path) else None

    def samples(self) -> tuple[Sample, ...]:
        """The table of samples of the audit."""
        return () if self.audit is None else read_samples(_checked(self.path / AUDIT_FOLDER / SAMPLES, self.audit))

    def history(self) -> History:
        """What was noted epoch by epoch."""
        return [] if self.record is None else content_of(_checked(self.path / HISTORY, self.record), read_history)

    def positions(self) -> IntArray | None:
        """The forget set; None where only an audit was saved."""
        return None if self.record is None else content_of(_checked(self.path / FORGET, self.record), read_positions)


def _checked(path: Path, record: ResultRecord | Audit) -> Path:
    """The path of a file, once it is known to be what was saved.

    Raises:
        RunError: It is missing, or was changed.
    """
    if file_digest(path, record.remedy) != record.files.get(path.name):
        raise RunError(f"{path} is not what was saved (damaged, edited or of another result); {record.remedy}.")
    return path
