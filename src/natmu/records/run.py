"""Run folders: what was made, how, what came out, and what it took; read without PyTorch."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Literal, Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator
from safetensors import SafetensorError

from natmu.errors import RunError, UsageError
from natmu.records.derived import forget_of
from natmu.records.digests import Digest
from natmu.records.files import UNREADABLE, File, Value, csv_text, damaged, file_digest, is_there, read_array, read_rows
from natmu.records.forgotten import BEFORE, CORRECTIONS, FORGET, Forgotten, read_corrections, read_positions
from natmu.records.lineage import AnyLineage
from natmu.records.passes import Passes
from natmu.records.predictions import has_gaps, read_outputs, training_samples
from natmu.types import FloatArray, ForgetSet, Outputs

RECORD, WEIGHTS, PREDICTIONS, HISTORY = "record.json", "model.safetensors", "predictions.safetensors", "history.csv"
CONFIDENCE, DIVISION = "confidence.npy", "division.npy"
"""Names of the files in a run folder, beside those of its forget set."""

DIGEST = re.compile("[0-9a-f]{16}")
"""What names a run folder that was given no other name."""

History = list[dict[str, float]]
"""One row per epoch: ``epoch``, counted from 1, and what was noted of it, such as ``loss`` and ``seconds``."""

Content = TypeVar("Content")


class Hardware(Value):
    """What the work ran on.

    Attributes:
        device: As PyTorch names it.
        precision: ``fp32`` or ``bf16``.
        processor: Name of the CPU.
        threads: Threads of PyTorch.
        gpu: Name of the GPU; None without one.
        processes: How many processes shared the work.
    """

    device: str
    precision: str
    processor: str
    threads: int
    gpu: str | None = None
    processes: int = Field(1, ge=1)


class RunRecord(File):
    """What a run was, what came out, and what it took.

    Attributes:
        lineage: Everything that determines the result.
        digest: 16 hexadecimal digits of the lineage.
        forgotten: The forget set, of runs that have one.
        scores: Score name to value (percent for accuracies).
        decisions: What was decided for the user, a sentence each.
        seconds: Wall time of the work itself, without loading data and without prediction.
        passes: What it sent through models, likewise; None where nothing was trained, and where nobody can tell, as of
            a user's own training function.
        peak_memory_mb: Largest resident memory of the process so far, in MiB; 0 where the system does not tell.
        versions: Package name to version.
        hardware: What it ran on.
        finished: UTC time, ISO 8601.
        files: Digest of each other file of the folder, by its name.
    """

    format: Literal[4] = 4
    lineage: AnyLineage
    digest: Digest
    forgotten: Forgotten | None = None
    scores: dict[str, float]
    decisions: tuple[str, ...] = ()
    seconds: float = Field(ge=0)
    passes: Passes | None = None
    peak_memory_mb: float = Field(ge=0)
    versions: dict[str, str]
    hardware: Hardware
    finished: str
    files: dict[str, Digest]

    @model_validator(mode="after")
    def _digest_is_that_of_the_lineage(self) -> Self:
        if self.digest != self.lineage.digest:
            raise ValueError("the digest is not that of the lineage, so one of them was edited")
        return self

    @field_validator("finished")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        datetime.fromisoformat(text)
        return text


@dataclass(frozen=True)
class RunFolder:
    """A complete run. What is read is what the run wrote: a file that was changed since then is refused.

    Attributes:
        path: The folder.
    """

    path: Path

    @cached_property
    def record(self) -> RunRecord:
        """What the run was and what came out.

        Raises:
            RunError: The folder is not a complete run, or holds another one than its name says.
        """
        record = RunRecord.read(self.path / RECORD)
        if DIGEST.fullmatch(self.path.name) and self.path.name != record.digest:
            raise RunError(
                f"{self.path / RECORD} is of run {record.digest}, but its folder has the name of another run; delete "
                "that folder and compute the run again."
            )
        return record

    def verified(self, name: str) -> Path:
        """The path of one of its files, once its content is known to be what the run wrote.

        Raises:
            RunError: It is missing, or was changed.
        """
        path, expected = self.path / name, self.record.files.get(name)
        if expected is None:
            raise RunError(f"{path} was not written by the run in that folder; name a run that has a {name}.")
        if file_digest(path) != expected:
            raise RunError(
                f"{path} is not what this run wrote (damaged, edited or of another run); delete that folder and "
                "compute the run again."
            )
        return path

    def has(self, name: str) -> bool:
        """Whether the run wrote a file."""
        return name in self.record.files

    def outputs(self) -> Outputs:
        """The stored logits of the run's model.

        Raises:
            RunError: They cannot be read, or belong to another run.
        """
        return self._read(PREDICTIONS, read_outputs)

    def has_gaps(self) -> bool:
        """Whether some of the data was gone when the model was made, so that its predictions are of the rest alone.

        Raises:
            RunError: The predictions cannot be read, or belong to another run.
        """
        return self._read(PREDICTIONS, has_gaps)

    def confidence(self) -> FloatArray | None:
        """Each training sample's mean confidence during training, where that was noted."""
        return self._read(CONFIDENCE, _confidence) if self.has(CONFIDENCE) else None

    def division(self) -> npt.NDArray[np.int16]:
        """Shard and slice of each training sample, int16 ``(N, 2)``, of a model that was trained in shards.

        Samples that were gone when it was trained have -1.

        Raises:
            RunError: It has none, or it cannot be read.
        """
        return self._read(DIVISION, _division)

    def history(self) -> History:
        """What was noted epoch by epoch; empty where nothing was trained.

        Raises:
            RunError: It cannot be read.
        """
        return self._read(HISTORY, read_history)

    def forget(self) -> ForgetSet:
        """The forget set, as it was when it was forgotten.

        Raises:
            UsageError: The run has none.
            RunError: It cannot be read.
        """
        lineage, forgotten = self.record.lineage, self.record.forgotten
        forget = forget_of(lineage)
        if forget is None or forgotten is None:
            raise UsageError(f"{self.path} holds no forget set; name the run of an unlearned model.")
        found = ForgetSet(
            self._read(FORGET, read_positions),
            forget.request.text,
            forget.request.kind,
            forgotten.classes,
            self._read(BEFORE, read_positions) if self.has(BEFORE) else np.zeros(0, np.int64),
            forgotten.classes_before,
            forgotten.subclasses_before,
            self._read(CORRECTIONS, read_corrections) if self.has(CORRECTIONS) else np.zeros((0, 2), np.int64),
        )
        if Forgotten.of(found) != forgotten or np.isin(found.indices, found.before).any():
            raise damaged(self.path / FORGET, "it is not the forget set that the record names")
        count = self._read(PREDICTIONS, training_samples) if self.has(PREDICTIONS) else None
        if count is not None and found.left_out[-1] >= count:
            raise damaged(self.path / FORGET, "it names samples beyond the training data")
        return found

    def _read(self, name: str, read: Callable[[Path], Content]) -> Content:
        """What one of its files holds."""
        return content_of(self.verified(name), read)


def content_of(path: Path, read: Callable[[Path], Content]) -> Content:
    """What a file holds.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return read(path)
    except (SafetensorError, *UNREADABLE) as error:
        raise damaged(path, error) from None


def write_run(folder: Path, record: Callable[[dict[str, str]], RunRecord]) -> None:
    """Write the record of a run, last of all its files.

    Args:
        folder: Holds all other files.
        record: Makes the record, given the digest of each of them.
    """
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
    record(files).write(folder / RECORD)


def write_history(history: Sequence[dict[str, float]], folder: Path) -> None:
    """Write what was noted epoch by epoch."""
    columns = list(dict.fromkeys(name for row in history for name in row)) or ["epoch"]
    (folder / HISTORY).write_text(csv_text(history, columns), encoding="utf-8")


def open_run(path: Path) -> RunFolder:
    """The run in a folder that the user named.

    Raises:
        UsageError: There is none.
    """
    if not is_there(path / RECORD):
        if (fault := half_copied(path)) is not None:
            raise UsageError(f"{fault}.")
        reason = f"it holds no {RECORD}" if path.is_dir() else "there is no such folder"
        raise UsageError(f"{path} is not a run folder: {reason}; name one that natmu has completed.")
    return RunFolder(path)


def half_copied(folder: Path) -> str | None:
    """What is said of a folder that holds files of a run and no record; None of any other folder."""
    files = [name for name in (WEIGHTS, PREDICTIONS) if is_there(folder / name)]
    if not files or is_there(folder / RECORD):
        return None
    return f"{folder} holds {files[0]} and no {RECORD}: the copy of that run is not complete; copy it again"


def read_history(path: Path) -> History:
    """One row per epoch, each with its number and finite values."""
    rows = [{name: float(value) for name, value in row.items() if value} for row in read_rows(path)]
    for row in rows:
        if "epoch" not in row or not all(map(math.isfinite, row.values())):
            raise ValueError("a row has no epoch, or a value that is not finite")
    return rows


def _division(path: Path) -> npt.NDArray[np.int16]:
    """Two numbers for each training sample."""
    division = read_array(path)
    if division.dtype != np.int16 or division.ndim != 2 or division.shape[1] != 2 or (division < -1).any():
        raise ValueError("it is not int16 (N, 2), numbers from 0 on or -1")
    return division


def _confidence(path: Path) -> FloatArray:
    """A number of 0 to 1 for each training sample."""
    confidence = read_array(path)
    if confidence.dtype != np.float32 or confidence.ndim != 1 or not ((confidence >= 0) & (confidence <= 1.001)).all():
        raise ValueError("it is not float32 (N,), numbers of 0 to 1")
    return confidence
