"""The report of a study: what the page's template is filled with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from natmu.records.derived import forget_of
from natmu.records.run import PREDICTIONS, RunFolder
from natmu.records.settings import TrainSettings
from natmu.records.study import StudyAudit, StudyFolder, open_study
from natmu.records.table import Place, Row, Table
from natmu.report.commands import launched
from natmu.report.conclusion import Conclusion
from natmu.report.conclusion_picture import picture
from natmu.report.cost_figure import cost_figure, cost_table
from natmu.report.costs import Costs
from natmu.report.descriptions import asked, count, forget_set
from natmu.report.distributions import Margins, margins_of_run
from natmu.report.figures import Model, bars
from natmu.report.images import Hybrid, galleries, hybrids
from natmu.report.made_with import made_with
from natmu.report.next_steps import conclude
from natmu.report.outcome import Audits, Outcome, competes
from natmu.report.study_runs import audit_folders, audits_by_scenario, replicate_table, replicates, run_of
from natmu.report.tables import ScenarioTable, table_of
from natmu.report.units import FRACTION, name_of
from natmu.report.views import AuditView, Comparison, Plot, audit_view, comparison, failed_audit_view
from natmu.report.views import Table as Numbers
from natmu.types import REFERENCES, RETRAINED

Audited = Mapping[tuple[str, str], StudyAudit]

NO_SCORES = ("avg_gap", "seconds", FRACTION, "passes")
"""Columns that are no score of one model."""

FEW, FEW_ROWS = 4, 16
"""Verdicts of audits, and rows of a table, that are shown without being folded."""


@dataclass(frozen=True)
class ReplicateView:
    """One replicate of a forget set; there is no comparison where its run folders do not lie beside the study."""

    key: str
    seeds: str
    scores: Numbers
    comparison: Comparison | None


@dataclass(frozen=True)
class ScenarioView:
    """One forget set."""

    key: str
    name: str
    meaning: str
    conclusion: Conclusion
    picture: Markup | None
    table: ScenarioTable
    scatter: Plot | None
    costs: Numbers | None
    bars: tuple[Plot, ...]
    replicates: tuple[ReplicateView, ...]
    audits: tuple[AuditView, ...]
    ranks: tuple[tuple[str, tuple[tuple[str, Place], ...], float | None, int], ...]


def study_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a study shows.

    Args:
        folder: The study folder; the runs lie beside it.

    Raises:
        RunError: Something stored cannot be read.
    """
    study = open_study(folder)
    table = study.table
    stored = {(audit.scenario, audit.label): audit for audit in study.audits}
    names = list(dict.fromkeys(row.scenario for row in table.rows))
    audits = audits_by_scenario(study)
    scenarios = [_scenario(study, name, f"f{place}", stored, audits.get(name, {})) for place, name in enumerate(names)]
    blends: list[Hybrid] = [] if study.hybrids is None else hybrids(study.hybrids)
    return {
        "kind": "study",
        "title": table.name,
        "subtitle": _subtitle(table, names),
        "asked": asked(table),
        "scenarios": scenarios,
        "audited": any(scenario.audits for scenario in scenarios),
        "score_on": table.score_on,
        "few": FEW,
        "few_rows": FEW_ROWS,
        "hybrids": blends,
        "hybrids_of": names[0] if names else "",
        "recipe": _yaml(table),
        "file": f"{table.name}.yaml",
        "command": shlex.join(launched(table.hardware.processes, ["bench", f"{table.name}.yaml"])),
        "versions": table.versions,
        "hardware": table.hardware.model_dump(exclude_none=True),
        "replicates": [(row.scenario, row.method, replicate) for row in table.rows for replicate in row.replicates],
        "made_with": made_with,
        "example_run": next((run.run for row in table.rows if competes(row) for run in row.replicates), None),
    }


def _scenario(study: StudyFolder, name: str, key: str, stored: Audited, audits: Audits) -> ScenarioView:
    """One forget set."""
    table = study.table
    outcome = Outcome(table, name, audits)
    rows = outcome.rows
    models = [Model(f"{key}m{place}", row.method, max(0, place - len(REFERENCES))) for place, row in enumerate(rows)]
    by_key = {model.key: row for model, row in zip(models, rows, strict=True)}
    recipe = table.recipe.training
    costs = Costs(rows, recipe.epochs if isinstance(recipe, TrainSettings) else None)
    return ScenarioView(
        key=key,
        name=name,
        meaning=forget_set(table.request(name)),
        conclusion=conclude(table, name, audits),
        picture=picture(outcome),
        table=table_of(table, name),
        scatter=_scatter(key, models, costs, name),
        costs=cost_table(costs),
        bars=tuple(_bars(key, models, by_key, table.columns, table.score_on)),
        replicates=tuple(_replicates(study, key, models, by_key, [row.method for row in outcome.ranked])),
        audits=_audits(study, name, models, rows, stored) if table.score_on == "test" else (),
        ranks=tuple(_ranks(table, name)),
    )


def _replicates(
    study: StudyFolder, key: str, models: Sequence[Model], rows: Mapping[str, Row], keen: Sequence[str]
) -> Iterator[ReplicateView]:
    """The replicates of a forget set, in each of which all models have the same forget set."""
    table = study.table
    for number, seeds in enumerate(replicates(list(rows.values()))):
        runs = {model.key: run for model in models if (run := run_of(study, rows[model.key], seeds)) is not None}
        own = f"{key}r{number}" if number else key
        shown = comparison(own, models, runs, _margins(models, runs, table.score_on), keen)
        scores = replicate_table(list(rows.values()), seeds, table.columns, table.score_on)
        yield ReplicateView(own, str(seeds), scores, shown)


def _margins(models: Sequence[Model], runs: Mapping[str, RunFolder], unseen: str) -> dict[str, Margins]:
    """Margins of each model on the forget set that its scenario's first run forgot."""
    forgets = {key: run.forget() for key, run in runs.items() if forget_of(run.record.lineage) is not None}
    forget = next(iter(forgets.values()), None)
    if forget is None:
        return {}
    alike = {key for key in runs if key not in forgets or forgets[key].digest == forget.digest}
    return {
        model.key: margins_of_run(runs[model.key], forget, unseen)
        for model in models
        if model.key in alike and runs[model.key].has(PREDICTIONS)
    }


def _scatter(key: str, models: Sequence[Model], costs: Costs, name: str) -> Plot | None:
    """Gap against cost."""
    figure = cost_figure(models, costs)
    if figure is None:
        return None
    front = ", ".join(one.label for one in costs.methods if one.standing == "front")
    label = (
        f"Scatter of avg_gap against passes over the training set on {name}, {count(len(costs.methods), 'method')}; on "
        f"the Pareto front: {front}. Numbers are in the table below."
    )
    return Plot(f"{key}-cost", figure, "Gap against cost", label)


def _bars(
    key: str, models: Sequence[Model], rows: Mapping[str, Row], columns: Sequence[str], score_on: str
) -> list[Plot]:
    """One bar chart for each score that retrained models have too."""
    shown = []
    reference = next((row for row in rows.values() if row.method == RETRAINED), None)
    for name in columns:
        if name not in NO_SCORES and reference is not None and reference.scores[name]:
            title = name_of(name, score_on)
            label = (
                f"Bars of {title} for each model, the retrained mean as a dotted line; numbers are in the table above."
            )
            shown.append(Plot(f"{key}-bar-{name}", bars(models, rows, name, title), title, label))
    return shown


def _audits(
    study: StudyFolder, name: str, models: Sequence[Model], rows: Sequence[Row], stored: Audited
) -> tuple[AuditView, ...]:
    """The audits of a scenario: those of the study, else those that the run folders hold."""
    folders = audit_folders(study, rows)
    exposed = [model.label for model in models if model.label in folders and model.label not in REFERENCES]
    pictures = dict(zip(exposed, galleries([folders[label] for label in exposed]), strict=True))
    views = []
    for label in (model.label for model in models):
        of_study = stored.get((name, label))
        if of_study is not None and of_study.audit is None:
            views.append(failed_audit_view(of_study))
        elif of_study is not None and of_study.audit is not None:
            views.append(audit_view(label, of_study.audit, pictures.get(label, ())))
        elif label in folders:
            views.append(audit_view(label, folders[label].audit, pictures.get(label, ())))
    return tuple(views)


def _ranks(table: Table, name: str) -> list[tuple[str, tuple[tuple[str, Place], ...], float | None, int]]:
    """Score, methods with their ranks over seeds, agreement and number of seeds."""
    return [
        (ranks.score, tuple(sorted(ranks.methods.items(), key=lambda item: item[1].mean)), ranks.agreement, ranks.n)
        for ranks in table.ranks
        if ranks.scenario == name
    ]


def _yaml(table: Table) -> str:
    """The recipe as a file, without what is empty anyway, in the precision that it was run in."""
    recipe = table.recipe
    plain = recipe.model_dump(mode="json")
    kept = {name: value for name, value in plain.items() if value is not None} | {"precision": table.hardware.precision}
    kept["methods"] = [{name: value for name, value in entry.items() if value} for entry in plain["methods"]]
    for name in ("data", "executor"):
        kept[name] = {key: value for key, value in plain[name].items() if value is not None}
    if recipe.executor.kind == "local":
        kept["executor"] = {name: value for name, value in kept["executor"].items() if name in ("kind", "cpus")}
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None))


def _subtitle(table: Table, names: Sequence[str]) -> str:
    """The study in a line."""
    rows = [row for row in table.rows if row.method not in REFERENCES] or table.rows
    methods = {row.method for row in table.rows} - {*REFERENCES}
    where = f"{table.recipe.model} on {table.recipe.data.source}: "
    seeds = max((row.n for row in rows), default=0)
    return f"{where}{count(len(methods), 'method')}, {count(len(names), 'forget set')}, {count(seeds, 'seed')}"
