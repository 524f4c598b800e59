"""The report of a study: what the page's template is filled with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from natmu.errors import RunError
from natmu.report.descriptions import asked, count, forget_set
from natmu.report.digits import rounded
from natmu.report.distributions import Margins, margins_of
from natmu.report.figures import Model, bars, gap_against_cost
from natmu.report.grid import Grid, grid
from natmu.report.images import Hybrid, galleries, hybrids
from natmu.report.runs import RunFiles, read_arrays, read_json, run_beside
from natmu.report.shapes import AUDITS, FACTS, fits
from natmu.report.study import read_study
from natmu.report.tables import references_first
from natmu.report.units import name_of
from natmu.report.views import AuditView, Comparison, Plot, audit_view, comparison
from natmu.types import ORIGINAL, REFERENCES, RETRAINED

Row = Mapping[str, Any]

NO_SCORES = ("avg_gap", "seconds", "retrain_share")
"""Columns that are no score of one model."""


@dataclass(frozen=True)
class ScenarioView:
    """One forget set."""

    key: str
    name: str
    meaning: str
    summary: tuple[str, ...]
    grid: Grid
    scatter: Plot | None
    bars: tuple[Plot, ...]
    comparison: Comparison | None
    audits: tuple[AuditView, ...]
    ranks: tuple[tuple[str, tuple[tuple[str, Mapping[str, float]], ...], float | None, int], ...]


def study_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a study shows.

    Args:
        folder: The study folder; the runs lie beside it.

    Raises:
        RunError: Something stored cannot be read.
    """
    study = read_study(folder)
    if not {"recipe", "hardware", "versions"} <= study.keys():
        raise RunError(f"{folder / 'table.json'} is of an earlier version; run the study again to write it anew.")
    if not fits(study, FACTS):
        raise RunError(f"{folder / 'table.json'} is damaged; run the study again to write it anew.")
    recipe = study["recipe"]
    audits = {(one["scenario"], one["label"]): one for one in _stored_audits(folder / "audit.json")}
    names = list(dict.fromkeys(row["scenario"] for row in study["rows"]))
    scenarios = [_scenario(folder, study, name, f"f{place}", audits) for place, name in enumerate(names)]
    examples = folder / "hybrids.npz"
    blends: list[Hybrid] = hybrids(read_arrays(examples)) if examples.exists() else []
    return {
        "kind": "study",
        "title": study["name"],
        "subtitle": _subtitle(study, names),
        "asked": asked(recipe, study["score_on"]),
        "scenarios": scenarios,
        "audited": any(one.audits for one in scenarios),
        "score_on": study["score_on"],
        "hybrids": blends,
        "hybrids_of": names[0] if names else "",
        "recipe": _yaml(recipe),
        "file": f"{study['name']}.yaml",
        "versions": study["versions"],
        "hardware": study["hardware"],
        "replicates": _replicates(study),
        "example_run": next((one["run"] for row in study["rows"] if _competes(row) for one in row["replicates"]), None),
    }


def _stored_audits(path: Path) -> list[dict[str, Any]]:
    """The audits of the study; none where none were asked for."""
    found = read_json(path) if path.exists() else []
    if not fits(found, [tuple(AUDITS)]):
        raise RunError(f"{path} does not hold the audits of a study; run the study again to write it anew.")
    audits: list[dict[str, Any]] = found
    return audits


def _scenario(
    folder: Path, study: Row, name: str, key: str, stored: Mapping[tuple[str, str], Mapping[str, Any]]
) -> ScenarioView:
    """One forget set."""
    rows = sorted((row for row in study["rows"] if row["scenario"] == name), key=references_first)
    models = [Model(f"{key}m{place}", row["method"], max(0, place - len(REFERENCES))) for place, row in enumerate(rows)]
    by_key = {model.key: row for model, row in zip(models, rows, strict=True)}
    seeds = _seeds(rows)
    runs = {model.key: run for model in models if (run := _run(folder, by_key[model.key], seeds)) is not None}
    ranked = sorted((row for row in rows if _competes(row)), key=lambda row: float(row["avg_gap"]["mean"]))
    return ScenarioView(
        key=key,
        name=name,
        meaning=forget_set(name),
        summary=tuple(_summary(rows, ranked)),
        grid=grid(study, name),
        scatter=_scatter(key, models, by_key, name),
        bars=tuple(_bars(key, models, by_key, study["columns"], study["score_on"])),
        comparison=comparison(
            key, models, runs, _margins(models, runs, study["score_on"]), [row["method"] for row in ranked]
        ),
        audits=_audits(name, models, runs, stored) if study["score_on"] == "test" else (),  # they look at the test set
        ranks=tuple(_ranks(study, name)),
    )


def _competes(row: Row) -> bool:
    return row["method"] not in REFERENCES and not row["failed"] and bool(row["avg_gap"])


def _seeds(rows: Sequence[Row]) -> tuple[int, int] | None:
    """Split and training seed of the replicate that is shown, the first that a model was retrained with."""
    first = next((one for row in rows if row["method"] == RETRAINED for one in row["replicates"]), None)
    return None if first is None else (first["split"], first["training"])


def _run(folder: Path, row: Row, seeds: tuple[int, int] | None) -> RunFiles | None:
    """The run folder of a row's first replicate with these seeds, so that all models have the same forget set."""
    fitting = (one for one in row["replicates"] if seeds is None or (one["split"], one["training"]) == seeds)
    first = next(fitting, None)
    return None if first is None else run_beside(folder, first["run"])


def _margins(models: Sequence[Model], runs: Mapping[str, RunFiles], unseen: str) -> dict[str, Margins]:
    """Margins of each model on the forget set that its scenario's first run forgot."""
    forget = next((run.forget for run in runs.values() if run.forget is not None), None)
    if forget is None:
        return {}
    alike = {key: run for key, run in runs.items() if run.forget is None or run.forget.digest == forget.digest}
    answers = {model.key: alike[model.key].outputs for model in models if model.key in alike}
    return {key: margins_of(outputs, forget, unseen) for key, outputs in answers.items() if outputs is not None}


def _summary(rows: Sequence[Row], ranked: Sequence[Row]) -> list[str]:
    """What the table says, in a sentence or two."""
    if not ranked:
        return ["No method has a gap to compare."]
    best = ranked[0]
    sentences = [
        f"{best['method']} comes nearest to retraining by avg_gap: {_number(best['avg_gap'])} percentage points"
    ]
    floor = next((row["avg_gap"] for row in rows if row["method"] == RETRAINED), None)
    ceiling = next((row["avg_gap"] for row in rows if row["method"] == ORIGINAL), None)
    sentences[0] += f", where the original is {_number(ceiling)} away" if ceiling else ""
    sentences[0] += f" and retrained models are {_number(floor)} from each other" if floor else ""
    if ceiling and ceiling["mean"] < best["avg_gap"]["mean"]:
        sentences.append("By this score no method did better than leaving the original as it is")
    failed = [row["method"] for row in rows if row["failed"]]
    sentences += [f"Not measured, or not with every seed: {', '.join(failed)}"] if failed else []
    return [f"{sentence}." for sentence in sentences]


def _number(column: Mapping[str, Any]) -> str:
    """Mean and spread of a stored column."""
    mean, spread = rounded(column["mean"], column["std"])
    return f"{mean} ± {spread}" if spread else mean


def _scatter(key: str, models: Sequence[Model], rows: Mapping[str, Row], name: str) -> Plot | None:
    """Gap against cost."""
    figure = gap_against_cost(models, rows)
    label = (
        f"Scatter of avg_gap against seconds on {name}, {count(len(figure['data']), 'model')}; numbers in the table."
    )
    return Plot(f"{key}-cost", figure, "Gap against cost", label) if figure["data"] else None


def _bars(
    key: str, models: Sequence[Model], rows: Mapping[str, Row], columns: Sequence[str], score_on: str
) -> list[Plot]:
    """One bar chart for each score that retrained models have too."""
    shown = []
    reference = next((row for row in rows.values() if row["method"] == RETRAINED), None)
    for name in columns:
        if name not in NO_SCORES and reference is not None and reference.get(name):
            title = name_of(name, score_on)
            label = (
                f"Bars of {title} for each model, the retrained mean as a dotted line; numbers are in the table above."
            )
            shown.append(Plot(f"{key}-bar-{name}", bars(models, rows, name, title), title, label))
    return shown


def _audits(
    name: str,
    models: Sequence[Model],
    runs: Mapping[str, RunFiles],
    stored: Mapping[tuple[str, str], Mapping[str, Any]],
) -> tuple[AuditView, ...]:
    """The audits of a scenario: those of the study, else those that the run folders hold."""
    found = []
    for model in models:
        run = runs.get(model.key)
        audit = stored.get((name, model.label)) or (run.audit if run is not None else None)
        if audit is not None:
            found.append((model, audit, run))
    exposed = [run for model, _, run in found if run is not None and model.label not in REFERENCES]
    pictures = dict(zip((run.path for run in exposed), galleries(exposed), strict=True))
    return tuple(
        audit_view(model.label, audit, pictures.get(run.path, ()) if run is not None else ())
        for model, audit, run in found
    )


def _ranks(study: Row, name: str) -> list[tuple[str, tuple[tuple[str, Mapping[str, float]], ...], float | None, int]]:
    """Score, methods with their ranks over seeds, agreement and number of seeds."""
    return [
        (
            one["score"],
            tuple(sorted(one["methods"].items(), key=lambda item: item[1]["mean"])),
            one["agreement"],
            one["n"],
        )
        for one in study["ranks"]
        if one["scenario"] == name
    ]


def _yaml(recipe: Mapping[str, Any]) -> str:
    """The recipe as a file, without what is empty anyway."""
    kept = {name: value for name, value in recipe.items() if value is not None}
    kept["methods"] = [{name: value for name, value in entry.items() if value} for entry in recipe["methods"]]
    kept["data"] = {name: value for name, value in recipe["data"].items() if value is not None}
    return str(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None))


def _replicates(study: Row) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Scenario, method and seeds of every run."""
    return [(row["scenario"], row["method"], one) for row in study["rows"] for one in row["replicates"]]


def _subtitle(study: Row, names: Sequence[str]) -> str:
    """The study in a line."""
    methods = {row["method"] for row in study["rows"]} - {*REFERENCES}
    where = f"{study['recipe']['model']} on {study['recipe']['data']['source']}: "
    seeds = max((row["n"] for row in study["rows"]), default=0)
    return f"{where}{count(len(methods), 'method')}, {count(len(names), 'forget set')}, {count(seeds, 'seed')}"
