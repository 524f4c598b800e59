"""What a search of settings found: ``search.json`` and ``trials.csv`` in the folder of a study."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError
from pydantic_core import from_json

from natmu.errors import RunError
from natmu.records.digests import Digest
from natmu.records.disk import sweep
from natmu.records.files import (
    File,
    Value,
    csv_text,
    damaged,
    file_digest,
    first_fault,
    read_rows,
    write_atomically,
)
from natmu.records.recipe import Objective, Range
from natmu.records.run import Hardware

SEARCH, TRIALS, BEST = "search.json", "trials.csv", "best.yaml"
"""Of a study folder, the files of a search; the last is a recipe, and the user's to edit."""


class JudgedModel(Value):
    """What the objective of a search says of one model.

    Attributes:
        value: Of the objective, in percentage points.
        terms: What it is made of, likewise.
        lost: Percentage points of retain accuracy that are lost beyond the noise.
    """

    value: float
    terms: dict[str, float]
    lost: float = Field(0.0, ge=0)


class BestTrial(Value):
    """The trial of the lowest value.

    Attributes:
        trial: Its number, from 0 on.
        value: Mean of the objective over the forget requests, in percentage points; where retain accuracy is lost
            beyond the noise on any of them, 100 plus the largest loss.
        terms: Means of what it is made of.
        lost: Percentage points of retain accuracy that are lost beyond the noise, at most; above 0 only where every
            trial lost some.
        searched: The settings that were searched.
        settings: All settings that were given.
    """

    trial: int
    value: float
    terms: dict[str, float]
    lost: float = Field(0.0, ge=0)
    searched: dict[str, Any]
    settings: dict[str, Any]


class SearchedMethod(Value):
    """What the trials of one method came to.

    Attributes:
        label: Its name in the table.
        method: Name of the method.
        forget: Texts of the forget requests that it serves.
        ranges: Where each setting was looked for.
        trials: How many trials ended; fewer than the search has while it is not finished.
        failed: How many of them failed.
        seconds: Of unlearning, all trials together.
        passes: Of unlearning, all trials together, in forward and backward passes over the training set; None where it
            is not known of a trial.
        best: None if no trial has a value.
    """

    label: str
    method: str
    forget: tuple[str, ...]
    ranges: dict[str, Range]
    trials: int = Field(ge=0)
    failed: int = Field(ge=0)
    seconds: float = Field(ge=0)
    passes: float | None = Field(None, ge=0)
    best: BestTrial | None = None


class Search(File):
    """What a search found (``search.json``).

    Attributes:
        name: Of the study.
        objective: ``retrained`` or ``no-retrain``.
        trials: Of each method, when all have ended.
        seed: Of the settings that are tried.
        score_on: Always the holdout.
        storage: Kind of the storage of the trials.
        hardware: What the worker ran on that wrote this.
        versions: Package name to version.
        original: What the objective says of the original, by forget request.
        noise: What it says of models that only noise tells from retrained ones, by forget request: of one retrained
            model beside another, or of bootstrap draws what one in twenty exceeds.
        methods: In the order of the recipe.
        files: Digest of ``trials.csv``; ``write_search`` fills it in.
    """

    remedy: ClassVar[str] = "search again"

    format: Literal[5] = 5
    name: str
    objective: Objective
    trials: int = Field(ge=1)
    seed: int
    score_on: Literal["holdout"] = "holdout"
    storage: str
    hardware: Hardware
    versions: dict[str, str]
    original: dict[str, JudgedModel]
    noise: dict[str, JudgedModel]
    methods: tuple[SearchedMethod, ...]
    files: dict[str, Digest] = Field(default_factory=dict)

    @property
    def to_come(self) -> int:
        """How many trials had not ended when this was written; 0 of a search that is finished."""
        return sum(self.trials - method.trials for method in self.methods)


class Trial(Value):
    """One trial on one forget request: a row of ``trials.csv``. Each term of the objective has a column of its own.

    Attributes:
        method: Label of the method.
        forget: Text of the forget request.
        trial: Number of the trial, from 0 on.
        state: ``complete`` or ``failed``.
        value: Of the objective, in percentage points; empty if it failed.
        lost: Percentage points of retain accuracy that are lost beyond the noise, likewise.
        terms: What it is made of, likewise.
        seconds: Of unlearning; empty if it failed.
        passes: Of unlearning, over the training set; empty if it failed, or if they are not known.
        run: Digest of the run; empty if it failed.
        settings: All settings that were given, as JSON.
        reason: Why it failed; empty if it did not.
    """

    method: str
    forget: str
    trial: int = Field(ge=0)
    state: Literal["complete", "failed"]
    value: float | None = None
    lost: float | None = None
    terms: dict[str, float] = Field(default_factory=dict)
    seconds: float | None = None
    passes: float | None = None
    run: Digest | None = None
    settings: dict[str, Any]
    reason: str | None = None


@dataclass(frozen=True)
class SearchFolder:
    """The folder of a study whose settings were searched.

    Attributes:
        path: The folder.
    """

    path: Path

    @cached_property
    def search(self) -> Search:
        """What was found.

        Raises:
            RunError: It cannot be read.
        """
        return Search.read(self.path / SEARCH)

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials.

        Raises:
            RunError: They cannot be read, or are of another search.
        """
        path = self.path / TRIALS
        if file_digest(path, "search again") != self.search.files.get(TRIALS):
            raise RunError(
                f"{path} is not what this search wrote (damaged, edited or of another search); search again."
            )
        return read_trials(path)


def write_search(folder: Path, search: Search, trials: Sequence[Trial], best: str, terms: Sequence[str]) -> Search:
    """Write the files of a search, ``search.json`` last.

    Args:
        folder: The study folder, which is there.
        search: What was found; its ``files`` are filled in here.
        trials: All trials.
        best: The recipe with the best settings, as YAML.
        terms: Names of the objective's terms, in the order of the columns.

    Returns:
        The search as it was written.

    Raises:
        RunError: A file cannot be written.
    """
    sweep(folder)
    write_atomically(folder / TRIALS, trials_text(trials, terms).encode())
    write_atomically(folder / BEST, best.encode())
    written = search.model_copy(update={"files": {TRIALS: file_digest(folder / TRIALS)}})
    written.write(folder / SEARCH)
    return written


def trials_text(trials: Sequence[Trial], terms: Sequence[str]) -> str:
    """Trials as comma-separated values."""
    columns = [
        "method",
        "forget",
        "trial",
        "state",
        "value",
        "lost",
        *terms,
        "seconds",
        "passes",
        "run",
        "settings",
        "reason",
    ]
    rows = [
        trial.model_dump(exclude={"terms"}) | trial.terms | {"settings": json.dumps(trial.settings, sort_keys=True)}
        for trial in trials
    ]
    return csv_text(rows, columns)


def read_trials(path: Path) -> tuple[Trial, ...]:
    """All trials.

    Raises:
        RunError: They cannot be read.
    """
    rows = read_rows(path)
    try:
        return tuple(_trial(row) for row in rows)
    except ValidationError as error:
        raise damaged(path, first_fault(error), Search.remedy) from None
    except ValueError as error:
        raise damaged(path, error, Search.remedy) from None


def _trial(row: dict[str, str]) -> Trial:
    known: dict[str, Any] = {name: cell for name, cell in row.items() if cell}
    known["settings"] = from_json(known.get("settings", ""), allow_inf_nan=False)
    terms = {name: known.pop(name) for name in [*known] if name not in Trial.model_fields}
    return Trial.model_validate(known | {"terms": terms}, strict=False)
