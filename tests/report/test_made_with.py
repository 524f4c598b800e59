"""Rows that were made with other versions than the rest of a study are marked wherever a table is shown."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console
from tests.records import folders

from natmu.records.study import open_study
from natmu.report import csv_table, latex, markdown, print_tables, write_report
from natmu.report.made_with import usual

NOW, BEFORE = {"natmu": "0.4.0", "torch": "2.9.0", "numpy": "2.0"}, {"natmu": "0.4.0", "torch": "2.8.0", "numpy": "2.0"}


def study(*, before=("salun",), first=False):
    rows = [
        folders.row("random:10%", label, [((0, 0, 0), label, "ab"), ((1, 1, 1), label, "ab")], test_acc=(1.0, 2.0))
        for label in ("original", "retrained", "natmu", "salun")
    ]
    made = [
        row.model_copy(
            update={
                "replicates": tuple(
                    one.model_copy(update={"versions": BEFORE if row.method in before and place == first else NOW})
                    for place, one in enumerate(row.replicates)
                )
            }
        )
        for row in rows
    ]
    return folders.a_table(*made)


def shown(table):
    console = Console(file=io.StringIO(), width=200)
    print_tables(table, console)
    return console.file.getvalue()


@pytest.mark.parametrize(("write", "mark"), [(markdown, r"salun\*"), (latex, "salun{*}"), (shown, "salun*")])
def test_a_mixed_row_is_marked_and_explained(write, mark):
    said = " ".join(write(study()).split())
    assert mark in said
    assert "natmu*" not in said.replace("\\", "").replace("{", "")
    words = "salun (1 with natmu 0.4.0 torch 2.8.0, of 2)"
    assert words in said
    assert "which has natmu 0.4.0 torch 2.9.0" in said
    assert "Made with other versions" not in write(study(before=()))


def test_what_most_replicates_have_is_usual_and_numpy_does_not_count():
    assert usual(study(before=("original", "retrained", "salun"))) == "natmu 0.4.0 torch 2.9.0"
    assert usual(folders.a_table(folders.row("random:10%", "original"))) == ""


def test_every_replicate_says_its_versions_in_csv():
    rows = {row["method"]: row["versions"] for row in csv.DictReader(io.StringIO(csv_table(study())))}
    assert rows["salun"] == "natmu 0.4.0 torch 2.8.0;natmu 0.4.0 torch 2.9.0"
    assert rows["natmu"] == "natmu 0.4.0 torch 2.9.0;natmu 0.4.0 torch 2.9.0"


def test_a_mixed_row_is_marked_and_explained_on_the_page(tmp_path):
    folder = folders.make_study(tmp_path, "study")
    held = open_study(folder)
    assert "Made with other versions" not in write_report(folder).read_text()
    rows = [
        row.model_copy(
            update={
                "replicates": tuple(
                    one.model_copy(update={"versions": BEFORE if row.method == "natmu" else NOW})
                    for one in row.replicates
                )
            }
        )
        for row in held.table.rows
    ]
    held.table.model_copy(update={"rows": tuple(rows)}).write(folder / "table.json")
    page = write_report(folder).read_text()
    assert "natmu*" in page
    assert "retrained*" not in page
    assert "natmu (1 with natmu 0.4.0 torch 2.8.0, of 1)" in page
    assert page.count("<td>natmu 0.4.0 torch 2.9.0</td>") == 2
