"""Run folders as a report reads them: files only, without PyTorch."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from natmu.errors import RunError
from natmu.report.shapes import AUDIT, fits, is_record
from natmu.types import ORIGINAL, RETRAINED, ForgetSet, Outputs, Part

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; every part raises ``RunError`` where it is damaged.

    Attributes:
        path: The run folder.
    """

    path: Path

    @cached_property
    def record(self) -> dict[str, Any]:
        """``record.json``."""
        record = read_json(self.path / "record.json")
        if not is_record(record):
            raise RunError(f"{self.path} is not a complete run; delete it and compute it again.")
        found: dict[str, Any] = record
        return found

    @property
    def spec(self) -> dict[str, Any]:
        """Everything that determines the run."""
        found: dict[str, Any] = self.record["spec"]
        return found

    @cached_property
    def outputs(self) -> Outputs | None:
        """The model's stored answers; None of a run without a model."""
        path = self.path / "predictions.safetensors"
        if not path.exists():
            return None
        try:
            with safe_open(path, "numpy") as file:
                whose = (file.metadata() or {}).get("run")
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
            if whose != self.record["digest"]:
                raise RunError(f"The predictions in {self.path} are of another run; delete that run.")
            holdout = _part(arrays, "holdout") if "holdout_logits" in arrays else None
            return Outputs(_part(arrays, "train"), _part(arrays, "test"), holdout)
        except (OSError, SafetensorError, KeyError) as error:
            raise _unreadable(path, error) from None

    @cached_property
    def forget(self) -> ForgetSet | None:
        """The forget set; None of an original."""
        path = self.path / "forget.npy"
        if not path.exists():
            return None
        try:
            said = self.spec["forget"]
            indices = np.load(path, allow_pickle=False)
            return ForgetSet(indices, said["spec"], said["scenario"], tuple(said["classes"]))
        except (OSError, ValueError, EOFError, KeyError) as error:
            raise _unreadable(path, error) from None

    @cached_property
    def history(self) -> dict[str, list[float | None]]:
        """What was noted epoch by epoch, by column; empty where nothing was trained."""
        rows = _rows(self.path / "history.csv")
        try:
            return {name: [float(row[name]) if row[name] else None for row in rows] for name in (rows or [{}])[0]}
        except (ValueError, TypeError) as error:
            raise _unreadable(self.path / "history.csv", error) from None

    @cached_property
    def audit(self) -> dict[str, Any] | None:
        """``audit.json``; None where the run was not audited."""
        path = self.path / "audit" / "audit.json"
        if not path.exists():
            return None
        found = read_json(path)
        if not fits(found, AUDIT):
            raise RunError(f"{path} is not an audit; audit the run again.")
        audit: dict[str, Any] = found
        return audit

    @cached_property
    def samples(self) -> list[dict[str, str]]:
        """``samples.csv`` of the audit: forget samples, the most exposed first, then retain samples."""
        return _rows(self.path / "audit" / "samples.csv")

    @cached_property
    def exposed(self) -> Arrays | None:
        """``exposed.npz`` of the audit: ``images``, ``samples``, ``names``; None where no data was at hand."""
        path = self.path / "audit" / "exposed.npz"
        return read_arrays(path) if path.exists() else None


def run_beside(folder: Path, name: str) -> RunFiles | None:
    """The complete run of this name in the folder that also holds ``folder``; None if it is not there."""
    path = folder.resolve().parent / Path(name).name
    return RunFiles(path) if (path / "record.json").exists() else None


def relatives(run: RunFiles) -> dict[str, RunFiles]:
    """The original of an unlearned model and one model retrained without its forget set, where they lie beside it."""
    found: dict[str, RunFiles] = {}
    spec = run.spec
    if spec["kind"] != "unlearn":
        return found
    for path in sorted(run.path.resolve().parent.glob("*/spec.json")):
        other = RunFiles(path.parent)
        with suppress(RunError):  # a damaged stranger is none of this run's business
            said = read_json(path)
            if said == spec["original"]:
                found.setdefault(ORIGINAL, other)
            elif _is_reference(said, spec) and said != spec:
                found.setdefault(RETRAINED, other)
    return found


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """What a JSON file holds.

    Raises:
        RunError: It cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None


def read_arrays(path: Path) -> Arrays:
    """The arrays of an ``.npz`` file.

    Raises:
        RunError: They cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(path, error) from None


def _is_reference(said: Any, spec: Mapping[str, Any]) -> bool:  # noqa: ANN401 - whatever the file holds
    """Whether a spec is that of a model retrained without the same forget set."""
    if not fits(said, {"method": str, "original": dict, "forget": {"digest": str}}) or said["method"] != "retrain":
        return False
    same = said["original"] == spec["original"] and said["forget"]["digest"] == spec["forget"]["digest"]
    return bool(same)


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise _unreadable(path, error) from None


def _part(arrays: Arrays, name: str) -> Part:
    return Part(arrays[f"{name}_logits"], arrays[f"{name}_labels"], arrays.get(f"{name}_fine_labels"))


def _unreadable(path: Path, error: Exception) -> RunError:
    return RunError(f"{path} cannot be read ({error}); delete what holds it and compute that again.")
