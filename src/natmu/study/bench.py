"""Running a recipe: its plan, an executor that does the jobs, one table."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from natmu.engine import processes
from natmu.engine.checkpoint import write_atomically
from natmu.engine.compute import Compute, hardware, versions
from natmu.engine.store import Store
from natmu.errors import NatmuError
from natmu.methods import NatMU, Retrain
from natmu.progress import say, showing, task
from natmu.study.ahead import Reference, retrain_ahead, train_ahead
from natmu.study.examples import store_hybrids
from natmu.study.executors import Outcome, run_here, threads
from natmu.study.findings import LOGS, Findings
from natmu.study.graph import Job, UnlearnJob
from natmu.study.jobs import Bench, Original, load_data
from natmu.study.on_ray import driver_compute, run_on_ray
from natmu.study.plan import Plan, plan_of
from natmu.study.recipe import Recipe
from natmu.study.refusal import Unserved, refuse
from natmu.study.statistics import statistics_of
from natmu.study.table import columns, table_rows
from natmu.types import ORIGINAL, RETRAINED


def run_recipe(recipe: Recipe, *, data_dir: Path, out: Path, device: str = "auto", progress: bool = True) -> Path:
    """Run what is missing of a study and write its table.

    A job that fails is a failed row of the table and does not stop the others.

    Args:
        recipe: What to do.
        data_dir: Where the data lies.
        out: Folder of all runs; the study's own folder is made in it.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        progress: Whether to show progress on standard error.

    Returns:
        The study's folder, which holds ``table.json``, ``audit.json`` where the recipe asks for an audit, where NatMU
        takes part ``hybrids.npz``, and ``logs/`` where a job failed.

    Raises:
        UsageError: The data or the model cannot be had, or the recipe asks for what cannot be done.
    """
    with showing(progress):
        bench = bench_of(recipe, data_dir, out, device)
        unserved = unserved_by(recipe, bench)
        plan = plan_of(recipe, unserved)
        for (text, label), reason in unserved.items():
            say(f"{text}, {label}: not run. {reason}")
        folder = out / recipe.name
        findings = Findings(recipe, bench)
        jobs = plan.jobs_in_turn if recipe.executor.kind == "local" else plan.jobs
        with (
            task(recipe.name, len(jobs)) as advance,
            threads(recipe.executor.cpus),
            closing(_execute(recipe, plan, jobs, bench, folder / LOGS)) as done,
        ):
            for job, outcome in done:
                findings.note(job, outcome)
                advance()
        if processes.writes():
            _write(findings, plan, unserved, folder)
    return processes.agree(lambda: folder)


def bench_of(recipe: Recipe, data_dir: Path, out: Path, device: str) -> Bench:
    """What the jobs of a recipe share."""
    synced = recipe.sync_batch_norm
    if recipe.executor.kind == "ray":
        compute = driver_compute(recipe.executor, device, recipe.precision, sync_batch_norm=synced)
    else:
        compute = Compute.choose(device, recipe.precision, sync_batch_norm=synced)
    return Bench(recipe.data, load_data(recipe.data, data_dir), recipe.model, recipe.training, compute, Store(out))


def unserved_by(recipe: Recipe, bench: Bench) -> Unserved:
    """Refuse what cannot be done before anything runs.

    Returns:
        By forget spec and label, why a method that serves another forget set of the recipe does not serve this one.

    Raises:
        UsageError: A forget set does not fit the data, or a method none of the forget sets.
    """
    seed = recipe.seeds.replicates()[0][0]
    methods = {job.label: job.made() for job in plan_of(recipe).unlearned}
    return refuse(bench, recipe.forget, methods.items(), seed=seed, batch_size=recipe.batch_size)


def _execute(
    recipe: Recipe, plan: Plan, jobs: Sequence[Job], bench: Bench, logs: Path
) -> Generator[tuple[Job, Outcome]]:
    """Do the jobs where the recipe says."""
    if recipe.executor.kind == "ray":
        yield from run_on_ray(jobs, bench, logs, recipe.executor)
        return
    if recipe.executor.cpus is None:
        _train_side_by_side(plan, bench)
    yield from run_here(jobs, bench, logs)


def _train_side_by_side(plan: Plan, bench: Bench) -> None:
    """Train originals and references together, ahead of their jobs, where that is faster."""
    train_ahead(bench, [job.seed for job in plan.trained])
    references = [job for job in plan.unlearned if job.label == RETRAINED]
    firsts = {job.scenario: job for job in reversed(references)}
    alone = list(reversed(firsts.values()))
    ordered = alone + [job for job in references if job not in alone]
    retrain_ahead(bench, (_reference(job, bench) for job in ordered), len(ordered), alone=len(alone))


def _reference(job: UnlearnJob, bench: Bench) -> Reference:
    """What determines the model of a job that retrains."""
    original = job.original.original(bench)
    return original, job.forget(original), Retrain(**job.settings), job.seed


def _write(findings: Findings, plan: Plan, unserved: Unserved, folder: Path) -> None:
    """Write the table of a study and what goes with it."""
    recipe = findings.recipe
    folder.mkdir(parents=True, exist_ok=True)
    labels = [label for entry in recipe.methods for label, _, _ in entry.expanded()]
    cells = findings.cells(plan, unserved)
    rows = table_rows(recipe.forget, [ORIGINAL, RETRAINED, *labels], recipe.scores, cells)
    table = {
        "name": recipe.name,
        "score_on": recipe.score_on,
        "recipe": recipe.model_dump(mode="json"),
        "hardware": _hardware(findings),
        "versions": versions(),
        "columns": columns(recipe.scores),
        "rows": rows,
        **statistics_of(rows, columns(recipe.scores)),
    }
    _store_examples(plan, findings, folder)
    if plan.audits:
        _write_json(folder / "audit.json", findings.audits(plan))
    _write_json(folder / "table.json", table)
    said = {outcome.log for outcome in findings.outcomes.values()}
    for log in (folder / LOGS).glob("*-??????.log"):  # those of jobs: a search has its own there
        if log.name not in said:  # of an earlier run of this study, and no longer true
            log.unlink(missing_ok=True)


def _hardware(findings: Findings) -> dict[str, str]:
    """What the jobs ran on; of a cluster, what the first of them ran on."""
    runs = [outcome.run for outcome in findings.outcomes.values() if outcome.run is not None]
    if findings.recipe.executor.kind == "local" or not runs:
        with threads(findings.recipe.executor.cpus):
            return hardware(findings.bench.compute)
    return runs[0].record.hardware


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def _store_examples(plan: Plan, findings: Findings, folder: Path) -> None:
    """Keep a few hybrids of NatMU's first run for a picture, if NatMU takes part."""
    job = next((job for job in plan.unlearned if job.method == NatMU.name), None)
    source = None if job is None else findings.outcomes[job.original.name].run
    if job is not None and source is not None:
        original, method = Original(findings.bench, source, job.original.seed), job.made()
        assert isinstance(method, NatMU)
        with suppress(NatmuError):  # where NatMU cannot serve this forget set, its row of the table says why
            store_hybrids(original, job.forget(original), method, job.seed, folder)
