"""Study and run folders as studies write them, small enough to be made for every test."""

from __future__ import annotations

from tests.records import folders
from tests.records.folders import (
    HARDWARE,
    VERSIONS,
    a_forget,
    a_recipe,
    a_table,
    an_original,
    an_unlearned,
    column,
    make_run,
)
from tests.records.folders import (
    POSITIONS as FORGET,
)

from natmu.records.run import RunFolder
from natmu.records.study import StudyAudit, StudyAudits, StudyFolder, write_study
from natmu.records.table import Comparison, Place, Ranks, Results, Row, Table
from natmu.scores.statistics import statistics_of
from natmu.studies.table import columns

COLUMNS = columns([])

__all__ = ["FORGET", "a_forget", "an_original", "an_unlearned", "column", "make_run"]


def a_retrained(scenario="random:10%"):
    return folders.a_retrained(forget=a_forget(scenario))


def with_scores(row, **scores):
    """A row with other scores, each a column or None."""
    return changed(row, scores=row.scores | scores)


def changed(value, **fields):
    """A value with other fields."""
    return type(value)(**(dict(value) | fields))


def changed_row(table, place, **fields):
    """A table of which one row has other fields."""
    rows = list(table.rows)
    rows[place] = changed(rows[place], **fields)
    return changed(table, rows=tuple(rows))


def add_audit(path, name="three"):
    """An audit with images in a run folder."""
    return folders.add_audit(path, RunFolder(path).record, name)


def make_study(root, labels=("natmu", "amnesiac", "salun"), scenario="random:10%", name="three"):
    """A study of original, retrained and labelled methods with their runs; the last failed, another has one seed."""
    forget = a_forget(scenario)
    made = [("original", an_original(), 3.0), ("retrained", a_retrained(scenario), 0.5)]
    made += [
        (label, an_unlearned(f"method{place}", forget=forget), 1.0 + place) for place, label in enumerate(labels[:-1])
    ]
    rows = []
    for place, (label, lineage, sure) in enumerate(made):
        seeds = (0,) if label == labels[-2] else (0, 1)
        digests = [lineage.digest, lineage.model_copy(update={"seed": 1}).digest]
        replicates = [((0, seed, seed if place > 1 else None), f"run{place}{seed}", digests[seed]) for seed in seeds]
        make_run(root / f"run{place}0", lineage, 3.0, sure, place)
        values = {
            "test_acc": (90.0 + place, 91.5 - place),
            "retain_acc": (99.0 - place / 10, 99.5),
            "forget_acc": (70.0 + 3 * place, 72.0),
            "mia_entropy": (40.0 + place, 44.0),
            "avg_gap": (1.0 + 10.0 / (place + 1), 1.5),
            "seconds": (3.0 + place, 4.0),
            "retrain_fraction": (0.5 + place / 10, 0.6),
            "passes": (1.0 + place, 2.0 + place),
        }
        numbers = {score: pair[: len(replicates)] for score, pair in values.items()}
        if label == "original":
            del numbers["seconds"], numbers["retrain_fraction"], numbers["passes"]
        rows.append(folders.row(scenario, label, replicates, columns=COLUMNS, **numbers))
    failed = f"It diverged {name}; use a smaller lr."
    rows.append(folders.row(scenario, labels[-1], failed=failed, log=f"logs/{name[:8]}.log", columns=COLUMNS))
    methods = [{"label": label, "settings": {"note": name}} for label in labels]
    table = a_table(*rows, columns=COLUMNS, recipe=a_recipe((scenario,), methods))
    return root / "example", rewrite(root / "example", table)


def rewrite(folder, table=None, audits=None, hybrids=None):
    """Write a study; what is not given stays as it is."""
    before = StudyFolder(folder)
    if (folder / "table.json").exists():
        table, audits, hybrids = table or before.table, audits or before.audits, hybrids or before.hybrids
    held = StudyAudits(name=table.name, audits=tuple(audits)) if audits else None
    return write_study(folder, table, held, hybrids)


def as_table(results):
    """The table of a study with these results."""
    recipe = a_recipe(tuple(dict.fromkeys(row.scenario for row in results.rows)))
    return Table(recipe=recipe, hardware=HARDWARE, versions=VERSIONS, **dict(results))


def study_audit(label="natmu", **fields):
    return StudyAudit(scenario="random:10%", label=label, **fields)


def add_statistics(folder, table):
    """The two methods that were measured, not distinguishable by their gaps."""
    shown = {"scenario": table.rows[0].scenario, "score": "avg_gap", "n": 2}
    compared = Comparison(
        **shown, best="natmu", method="amnesiac", difference=-0.6, interval=(-2.0, 0.8), within_noise=True
    )
    place = Place(mean=1.5, best=1.0, worst=2.0, first=0.5)
    ranks = Ranks(**shown, agreement=0.25, methods={"natmu": place, "amnesiac": place})
    return rewrite(folder, changed(table, comparisons=(compared,), ranks=(ranks,)))


def add_hybrids(folder, name="three"):
    hybrids = folders.hybrids(name)
    rewrite(folder, hybrids=hybrids)
    return hybrids


def row(scenario, method, n, failed=None, log=None, columns=COLUMNS, **values):
    """A row with seeds 0, 1, …; values are lists by column."""
    unlearned = method not in ("original", "retrained")
    replicates = [((0, seed, seed if unlearned else None), f"{method}-{seed}", "0" * 16) for seed in range(n)]
    return folders.row(
        scenario, method, replicates, failed, log, columns, **{name: tuple(held) for name, held in values.items()}
    )


def table(*rows, columns=COLUMNS, **more):
    """The results of a study whose statistics are those of its rows."""
    comparisons, ranks = statistics_of(rows, columns)
    filled = [Row(**(dict(held) | {"scores": {name: held.scores.get(name) for name in columns}})) for held in rows]
    named = {"name": "example", "score_on": "test"} | more
    return Results(columns=tuple(columns), rows=tuple(filled), comparisons=comparisons, ranks=ranks, **named)
