"""The folder of a study: its table, its audits, and a few hybrids for a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import model_validator

from natmu.errors import RunError, UsageError
from natmu.machine import cannot_write
from natmu.records.audit import Audit
from natmu.records.disk import sweep
from natmu.records.files import File, Value, damaged, file_digest, is_there, read_arrays, write_arrays
from natmu.records.table import Table

TABLE, AUDITS, HYBRIDS = "table.json", "audit.json", "hybrids.npz"
"""Names of the files in a study folder."""

AGAIN = "run the study again"
"""What to do where a file of a study is missing or damaged; its runs are kept beside it."""


class StudyAudit(Value):
    """The audit of one method of a study, or why there is none.

    Attributes:
        scenario: Text of the forget request.
        label: Of the method.
        audit: As it stands beside the run; None if it failed.
        failed: Why there is none.
        log: File with the details of the failure, in the study's folder.
    """

    scenario: str
    label: str
    audit: Audit | None = None
    failed: str | None = None
    log: str | None = None

    @model_validator(mode="after")
    def _is_there_or_failed(self) -> Self:
        if (self.audit is None) == (self.failed is None):
            raise ValueError("it has either an audit or a reason why there is none")
        return self


class StudyAudits(File):
    """All audits of a study (``audit.json``).

    Attributes:
        name: Of the study.
        audits: In the order of the table.
    """

    remedy: ClassVar[str] = "run the study again"

    format: Literal[3] = 3
    name: str
    audits: tuple[StudyAudit, ...]


@dataclass(frozen=True)
class Hybrids:
    """A few of NatMU's blends, for a picture (``hybrids.npz``).

    Attributes:
        forget: Images of forget samples, uint8 ``(K, H, W)`` or ``(K, H, W, 3)``.
        partner: The images that they are blended with, likewise.
        mask: Weight of the forget sample for each pixel, a float or bool of 0 to 1, ``(K, H, W)``.
        hybrid: The blends, uint8, like ``forget``.
        forget_names: Class names, ``(K,)``.
        partner_names: Likewise.
    """

    forget: npt.NDArray[np.uint8]
    partner: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.floating | np.bool_]
    hybrid: npt.NDArray[np.uint8]
    forget_names: npt.NDArray[np.str_]
    partner_names: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            ValueError: They do not.
        """
        shape = self.forget.shape
        if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
            raise ValueError(f"images of shape {shape} are no pictures")
        for images in (self.forget, self.partner, self.hybrid):
            if images.dtype != np.uint8 or images.shape != shape:
                raise ValueError("its images are not all uint8 of one shape")
        if self.mask.dtype.kind not in "fb" or self.mask.shape[:3] != shape[:3] or self.mask.ndim != 3:
            raise ValueError("its masks do not fit the images")
        if not bool(((self.mask >= 0) & (self.mask <= 1)).all()):
            raise ValueError("its masks are not between 0 and 1")
        for names in (self.forget_names, self.partner_names):
            if names.dtype.kind != "U" or names.shape != shape[:1]:
                raise ValueError("its names do not fit the images")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the hybrids.

        Raises:
            RunError: They cannot be read.
        """
        arrays = read_arrays(path)
        try:
            return cls(**arrays)
        except (TypeError, ValueError) as error:
            raise damaged(path, error, Table.remedy) from None

    def write(self, path: Path) -> None:
        """Write the hybrids, whole or not at all."""
        write_arrays(path, vars(self))


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study. What is read is what the study wrote.

    Attributes:
        path: The folder.
    """

    path: Path

    @cached_property
    def table(self) -> Table:
        """The table.

        Raises:
            RunError: It cannot be read.
        """
        return Table.read(self.path / TABLE)

    @cached_property
    def audits(self) -> tuple[StudyAudit, ...]:
        """The audits; none where the recipe asked for none.

        Raises:
            RunError: They cannot be read, or are of another study.
        """
        path = self._verified(AUDITS)
        return () if path is None else StudyAudits.read(path).audits

    @cached_property
    def hybrids(self) -> Hybrids | None:
        """The hybrids; None where NatMU took no part.

        Raises:
            RunError: They cannot be read, or are of another study.
        """
        path = self._verified(HYBRIDS)
        return None if path is None else Hybrids.read(path)

    def _verified(self, name: str) -> Path | None:
        """The path of one of its files; None if the study wrote none."""
        expected, path = self.table.files.get(name), self.path / name
        if expected is None:
            return None
        if file_digest(path, AGAIN) != expected:
            raise RunError(f"{path} is not what this study wrote (damaged, edited or of another study); {AGAIN}.")
        return path


def open_study(path: Path) -> StudyFolder:
    """The study in a folder that the user named.

    Raises:
        UsageError: There is none.
    """
    if not is_there(path / TABLE):
        raise UsageError(f"{path} holds no {TABLE}; run the study first, or name its folder.")
    return StudyFolder(path)


def write_study(folder: Path, table: Table, audits: StudyAudits | None = None, hybrids: Hybrids | None = None) -> Table:
    """Write the files of a study, the table last; what an earlier study of that name left there goes.

    Args:
        folder: The study folder, which is made if it is missing.
        table: The table; its ``files`` are filled in here.
        audits: Its audits, if it has any.
        hybrids: Its hybrids, if it has any.

    Returns:
        The table as it was written.

    Raises:
        RunError: A file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        contents: Mapping[str, StudyAudits | Hybrids | None] = {AUDITS: audits, HYBRIDS: hybrids}
        for name, content in contents.items():
            if content is None:
                (folder / name).unlink(missing_ok=True)
            else:
                content.write(folder / name)
    except OSError as error:
        raise cannot_write(folder, error) from error
    files = {name: file_digest(folder / name) for name, content in contents.items() if content is not None}
    written = table.model_copy(update={"files": files})
    written.write(folder / TABLE)
    return written
