"""What trackers are told of a run and of a study, read from their folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from natmu.errors import RunError
from natmu.records.audit import audit_of
from natmu.records.derived import title
from natmu.records.run import HISTORY, RECORD, RunFolder
from natmu.records.table import Row
from natmu.report.descriptions import shared_plain
from natmu.report.markdown import markdown
from natmu.report.relatives import run_beside
from natmu.report.study import read_study
from natmu.report.units import name_of

Plain = bool | int | float | str
TRACKED_FILES = ("history.csv", "record.json", "audit/audit.json", "audit/samples.csv")
STUDY_FILES = ("table.json", "table.md", "report.html", "audit.json", "hybrids.png")


@dataclass(frozen=True)
class TrackedRun:
    """One run as trackers show it.

    Attributes:
        key: 16 hexadecimal digits by which a tracker knows the run again: its digest, or, in a study, one of its place
            there as well, because one run may serve several forget sets, on which it has other scores.
        name: For people.
        group: The study; None for a run of its own.
        digest: Of the run's lineage.
        config: The lineage and what the run was made on, with dotted names.
        curves: Each epoch, with what was noted of it as ``curves/NAME``.
        scores: Score name to value; those of an audit as ``audit/NAME``.
        links: What lies where, as ``file:`` URIs.
        finished: When the run was complete, in seconds since 1970.
    """

    key: str
    name: str
    group: str | None
    digest: str
    config: dict[str, Plain]
    curves: list[tuple[int, dict[str, float]]]
    scores: dict[str, float]
    links: dict[str, str]
    finished: float


@dataclass(frozen=True)
class TrackedStudy:
    """The table of a study as trackers show it.

    Attributes:
        key: 16 hexadecimal digits by which a tracker knows the study again.
        name: Of the study.
        markdown: The table for people.
        columns: Names of what ``rows`` hold.
        rows: One per forget set and method: scenario, method, number of seeds, then mean and standard deviation of
            every score, None where there is none.
        links: What lies where, as ``file:`` URIs.
        runs: Every replicate of every row.
    """

    key: str
    name: str
    markdown: str
    columns: list[str]
    rows: list[list[str | float | None]]
    links: dict[str, str]
    runs: list[TrackedRun]


def read_tracked_run(folder: Path) -> TrackedRun:
    """What trackers are told of a complete run.

    Raises:
        RunError: The folder is not a complete run, or a file of it cannot be read.
    """
    run = RunFolder(folder.resolve())
    record = run.record
    lineage, shared = record.lineage, shared_plain(record.lineage)
    audit = audit_of(run)
    audited = {} if audit is None else {f"audit/{name}": score.value for name, score in audit.audit.scores.items()}
    costs = {"seconds": record.seconds, "peak_memory_mb": record.peak_memory_mb}
    return TrackedRun(
        key=record.digest,
        name=title(record.lineage) if run.path.name == record.digest else run.path.name,
        group=None,
        digest=record.digest,
        config=flat(shared) | flat({"hardware": record.hardware.plain(), "versions": record.versions}),
        curves=[_noted(row) for row in run.history()] if run.has(HISTORY) else [],
        scores={**record.scores, **costs, **audited},
        links=_links(run.path, tuple(name for name in TRACKED_FILES if name != RECORD or shared == lineage.plain())),
        finished=datetime.fromisoformat(record.finished).timestamp(),
    )


def read_tracked_study(folder: Path) -> TrackedStudy:
    """What trackers are told of a complete study.

    Raises:
        UsageError: The folder holds no study.
        RunError: The study cannot be read, or a run of it is gone.
    """
    folder = folder.resolve()
    study = read_study(folder)
    names = {name: name_of(name, study.score_on) for name in study.columns}
    audited = study.score_on == "test"  # audits look at the test set
    return TrackedStudy(
        key=_key(study.name),
        name=study.name,
        markdown=markdown(study),
        columns=["scenario", "method", "n", *(f"{name}{part}" for name in names.values() for part in ("", " std"))],
        rows=[_cells(row, list(names)) for row in study.rows],
        links=_links(folder, STUDY_FILES),
        runs=[run for row in study.rows for run in _replicates(study.name, row, names, folder, audited)],
    )


def flat(value: object, name: str = "") -> dict[str, Plain]:
    """Nested mappings as one level of dotted names; what is no plain value as JSON.

    >>> flat({"a": {"b": 1, "c": [2]}, "d": None})
    {'a.b': 1, 'a.c': '[2]', 'd': 'null'}
    """
    if isinstance(value, Mapping):
        found: dict[str, Plain] = {}
        for key, inner in value.items():
            found |= flat(inner, f"{name}.{key}" if name else str(key))
        return found
    return {name: value if isinstance(value, bool | int | float | str) else json.dumps(value)}


def _replicates(study: str, row: Row, names: Mapping[str, str], folder: Path, audited: bool) -> Iterator[TrackedRun]:
    """The runs of one row, each with the scores that it has there, and those of its audit if these may be shown."""
    for place, replicate in enumerate(row.replicates):
        if run_beside(folder, replicate.run, replicate.digest) is None:
            raise RunError(f"{folder.parent / replicate.run} is gone; run the study again.")
        run = read_tracked_run(folder.parent / replicate.run)
        seeds = replicate.model_dump(include={"split", "training", "unlearning"}, exclude_none=True)
        values = {shown: column.values[place] for name, shown in names.items() if (column := row.scores[name])}
        kept = {name: run.scores[name] for name in run.scores if audited and name.startswith("audit/")}
        costs = {name: run.scores[name] for name in ("seconds", "peak_memory_mb")}
        yield replace(
            run,
            key=_key(study, row.scenario, row.method, seeds, run.digest),
            name=f"{row.method}, {row.scenario}, {_seeds(seeds)}",
            group=study,
            config=run.config | {"scenario": row.scenario, "label": row.method} | flat({"seeds": seeds}),
            scores=costs | {name: value for name, value in values.items() if value is not None} | kept,
        )


def _key(*parts: object) -> str:
    """16 hexadecimal digits that name a place in a study."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _seeds(seeds: Mapping[str, int]) -> str:
    """Seeds in a word or two."""
    if len({*seeds.values()}) == 1:
        return f"seed {next(iter(seeds.values()))}"
    return ", ".join(f"{name} {seed}" for name, seed in seeds.items())


def _noted(row: Mapping[str, float]) -> tuple[int, dict[str, float]]:
    """One row of a history."""
    return round(row["epoch"]), {f"curves/{name}": value for name, value in row.items() if name != "epoch"}


def _cells(row: Row, names: list[str]) -> list[str | float | None]:
    """A row of the study's table."""
    columns = [row.scores[name] for name in names]
    numbers = [(None, None) if column is None else (column.mean, column.std) for column in columns]
    return [row.scenario, row.method, row.n, *(number for pair in numbers for number in pair)]


def _links(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """A folder and those files of it that are there."""
    there = {name: (folder / name).as_uri() for name in names if (folder / name).exists()}
    return {"folder": folder.as_uri()} | there
