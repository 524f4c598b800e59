"""How results are printed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.table import Table
from rich.tree import Tree

from natmu.console import Console, Text
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.planning import MethodPlan
    from natmu.records.audit import Audit
    from natmu.records.guarantees import Promise
    from natmu.records.run import RunRecord
    from natmu.records.table import Results, Story
    from natmu.studies.forecasting import Expected, Forecast


def print_json(value: object) -> None:
    """Print a value as JSON."""
    echo(*json.dumps(value, indent=1, allow_nan=False).split("\n"))


def print_run(path: Path, record: RunRecord, *, as_json: bool, original: Mapping[str, float] | None = None) -> None:
    """Print a run: its folder, its scores beside those of its original, its cost.

    Args:
        path: The folder.
        record: What is printed.
        as_json: Whether to print the record instead, without secret seeds, and the original's scores under
            ``original``.
        original: The original's scores, of a model that forgot something.
    """
    if as_json:
        from natmu.report.descriptions import shared_plain

        told = {"run": str(path)} | record.plain() | {"lineage": shared_plain(record.lineage)}
        print_json(told | ({} if original is None else {"original": dict(original)}))
        return
    before = {name: f" (original {value:.2f})" for name, value in (original or {}).items()}
    found = "  ".join(f"{name} {value:.2f}{before.get(name, '')}" for name, value in record.scores.items())
    echo(path, found, f"{record.seconds:.1f} s on {record.hardware.device}, {record.hardware.precision}")


def print_study(study: Results, *, as_json: bool) -> None:
    """Print the tables of a study."""
    if as_json:
        print_json(study.plain())
    else:
        from natmu.report import print_tables

        print_tables(study, Console())


def print_stories(stories: Sequence[Story]) -> None:
    """Print what the demo shows: for each forget set a table and its conclusion."""
    for story in stories:
        labelled = any(row.corrected_acc is not None for row in story.rows)
        headers = ["model", story.unwanted, *["true label"] * labelled, "avg_gap", "retrain fraction", "forgotten?"]
        rows = [
            {
                "model": row.method,
                story.unwanted: _percent(row.unwanted),
                "true label": _percent(row.corrected_acc),
                "avg_gap": None if row.avg_gap is None else f"{row.avg_gap:.1f}",
                "retrain fraction": _percent(row.retrain_fraction),
                "forgotten?": row.audit,
            }
            for row in story.rows
        ]
        echo(story.title)
        print_rows(rows, headers)
        echo(*story.conclusion, "")


def _percent(value: float | None) -> str | None:
    """A percentage in whole numbers."""
    return None if value is None else f"{value:.0f} %"


def print_forecast(expected: Forecast, *, as_json: bool) -> None:
    """Print the models of a study as trees, each below the last of those that it starts from."""
    if as_json:
        print_json(expected.plain())
        return
    console = Console()
    trees: dict[str, Tree] = {}
    roots = []
    for model in expected.models:
        known = [digest for digest in model.after if digest in trees]
        line = Text(f"{model.name}: {_state(model)}", "dim" if model.in_store else "")
        trees[model.digest] = trees[known[-1]].add(line) if known else Tree(line)
        if not known:
            roots.append(trees[model.digest])
    for root in roots:
        console.print(root)
    for scenario, label in expected.audits:
        console.print(Text(f"audit of {label}, {scenario}: computed from stored predictions"))
    for (scenario, label), reason in expected.unserved.items():
        console.print(Text(f"{label}, {scenario}: not run. {reason}"))
    left = len(expected.models) - expected.in_store
    console.print(
        f"{expected.name}: {len(expected.models)} models, {expected.in_store} of them in the store, {left} to make; "
        f"about {_duration(expected.seconds)}, one after another."
    )


def _state(model: Expected) -> str:
    """What is known of a model."""
    if model.in_store:
        return "in the store"
    return "not known yet how long" if model.seconds is None else f"about {_duration(model.seconds)}"


def _duration(seconds: float) -> str:
    """A rough duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_audit(results: Results, audit: Audit, folder: Path, promise: Promise, *, as_json: bool) -> None:
    """Print an audit.

    Args:
        results: Table of the audited model, its original and retrained models.
        audit: Every score with its verdict.
        folder: Where the audit was written.
        promise: What the method promises of the model.
        as_json: Whether to print the records instead, the audit under ``audit``.
    """
    if as_json:
        print_json(results.plain() | {"audit": audit.plain()})
        return
    from natmu.report import print_scores, print_tables

    console = Console()
    print_tables(results, console)
    print_scores(audit, console)
    if promise.guarantee != "approximate":
        console.print(f"Promised, whatever tests see ({promise.guarantee}): {promise.promise}")
    echo(f"{folder / 'audit.json'}, {folder / 'samples.csv'}")


def print_plan(plan: MethodPlan) -> None:
    """Print what retraining and every method would take, and whether to retrain."""
    rows = [
        {
            "method": row.method,
            "seconds": _figure(row.seconds) if row.seconds else "" if row.reason else "not known",
            "of retraining": "" if row.fraction is None else f"{_figure(100 * row.fraction)} %",
            "cannot serve": row.reason,
        }
        for row in plan.methods
    ]
    print_rows(rows, ("method", "seconds", "of retraining", "cannot serve"))
    by = f"by the recipe of the original ({plan.recipe})"
    by = by if plan.recipe else "by the default recipe, as nobody says how the original was trained"
    known = f"retraining takes about {_duration(plan.retraining or 0)} here, {by}"
    known = "how long retraining takes is not known before it has run once" if plan.retraining is None else known
    samples = "sample" if plan.forget == 1 else "samples"
    echo(f"{plan.forget} {samples} to forget, {plan.retain} to retain; {known}.")
    if plan.advice is not None:
        echo(plan.advice)


def _figure(number: float) -> str:
    """Three digits of a small number, all of those before the point of a large one."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print rows as a table of the named columns."""
    table, console = Table(show_lines=True), Console()
    cells = [[column, *(_shown(row[column]) for row in rows)] for column in columns]
    widths = _widths(cells, console.width - 3 * len(columns) - 1)
    for (header, *_), width in zip(cells, widths, strict=True):
        table.add_column(header, overflow="fold", width=width)
    for texts in list(zip(*cells, strict=True))[1:]:
        table.add_row(*map(Text, texts))
    console.print(table)


def _widths(cells: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """How wide columns are, so that no word is cut; None where that cannot be, or need not be said.

    Args:
        cells: Texts by column.
        room: Characters for all columns.
    """
    full = [max(map(cell_len, texts)) for texts in cells]
    widths = [max(map(cell_len, " ".join(texts).split()), default=0) for texts in cells]
    if sum(full) <= room or sum(widths) > room:
        return [None] * len(cells)
    for _ in range(room - sum(widths)):
        widths[max(range(len(cells)), key=lambda place: full[place] - widths[place])] += 1
    return [*widths]


def _shown(value: object) -> str:
    """A cell's text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return " x ".join(map(str, value)) if all(isinstance(one, int) for one in value) else ", ".join(map(str, value))
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return f"{value['authors']} {value['year']}, {value['url']}"
    return "" if value is None else str(value)
