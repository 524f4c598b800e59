from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from natmu.report import markdown, print_tables, tables


def printed(study, width=80, *, terminal=False, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    colours = "standard" if terminal else None
    print_tables(study, Console(file=stream, width=width, force_terminal=terminal, color_system=colours))
    stream.seek(0)
    return stream.read()


def test_there_is_one_table_per_scenario_with_the_references_first(study):
    random, rocket = tables(study)
    assert random.title == "random:10%, 1 to 3 seeds"
    assert [line.method for line in random.lines] == [
        "original",
        "retrained",
        "natmu [retain_fraction=0.1]",
        "amnesiac",
        "salun|wide",
    ]
    assert [line.method for line in rocket.lines] == ["retrained", "natmu"]


def test_accuracy_on_the_forgotten_class_is_shown_only_where_there_is_one(study):
    random, rocket = tables(study)
    assert "forget_test_acc" not in random.headers
    assert rocket.headers[:2] == ("test_acc", "forget_test_acc")
    assert all(len(line.cells) == len(table.headers) for table in (random, rocket) for line in table.lines)


def test_scores_on_the_holdout_are_named_so(study):
    assert tables({**study, "score_on": "holdout"})[0].headers[0] == "holdout_acc"


@pytest.mark.parametrize(("counts", "words"), [((1, 1), "1 seed"), ((3, 3), "3 seeds"), ((0, 0), "0 seeds")])
def test_the_title_counts_the_seeds(study, counts, words):
    rows = [row | {"n": n} for row, n in zip(study["rows"][:2], counts, strict=True)]
    assert tables({**study, "rows": rows})[0].title == f"random:10%, {words}"


def test_only_the_lowest_gap_of_a_method_is_the_best(study):
    best = [[line.method for line in table.lines if line.best] for table in tables(study)]
    assert best == [["natmu [retain_fraction=0.1]"], ["natmu"]]


def test_a_method_that_failed_for_some_seeds_is_not_the_best(study):
    study["rows"][0]["failed"] = "One seed diverged."
    assert [line.method for line in tables(study)[0].lines if line.best] == ["amnesiac"]


def test_a_study_without_scores_has_no_best(study):
    study["rows"] = [study["rows"][2]]
    (table,) = tables(study)
    assert not table.lines[0].best
    assert table.lines[0].cells[0].mean == "failed"
    assert table.failures == ["salun|wide failed: A class ran out of partners; use a smaller n."]


def test_a_wide_console_shows_spreads_beside_means(study):
    text = printed(study, 160)
    assert "93.1 ± 0.4" in text
    assert "60 ± 20" in text
    assert "1.1 ± 0.1" in text
    assert "1234" in text or "1235" in text


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_console_stacks_spreads_and_cuts_nothing(study, width):
    text = printed(study, width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for shown in ("93.1", "±0.4", "99.93", "±0.01", "±20", "[retain_fraction=0.1]"):
        assert shown in text


def test_no_digit_is_cut_off_even_where_the_table_cannot_fit(study):
    text = printed(study, 30)
    assert "…" not in text
    assert "±0.01" in text
    assert "±20" in text


def test_a_failed_row_gives_its_reason(study):
    assert "salun|wide failed: A class ran out of partners; use a smaller n." in printed(study, 120)


def test_names_in_brackets_are_not_taken_for_markup(study):
    study["rows"][1]["method"] = "[red]amnesiac[/red] :cat:"
    assert "[red]amnesiac[/red] :cat:" in printed(study, 120)


def test_without_a_terminal_there_are_no_escape_codes(study):
    text = printed(study)
    assert "\x1b" not in text
    assert "bold" not in text


def test_on_a_terminal_the_lowest_gap_is_bold(study):
    text = printed(study, 400, terminal=True)
    (line,) = (line for line in text.splitlines() if "amnesiac" in line)
    (best,) = (line for line in text.splitlines() if "retain_fraction" in line)
    assert "\x1b[1m" in best
    assert "\x1b[1m" not in line
    assert "bold: the lowest avg_gap" in text


def test_an_ascii_console_is_served(study):
    assert "93.1 +- 0.4" in printed(study, 160, encoding="ascii")


def test_an_empty_study_prints_its_legend(study):
    assert printed({**study, "rows": []}).startswith("example: ")


def test_markdown_is_a_table_per_scenario(study):
    text = markdown(study)
    lines = text.splitlines()
    assert lines[0] == "### random:10%, 1 to 3 seeds"
    assert lines[2:6] == [
        "| method | test_acc | retain_acc | forget_acc | mia_entropy | avg_gap | seconds | retrain_share % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| original | 93.5 | 100.0 | 100.0 | 99.1 | 5.9 | - | - |",
        "| retrained | 93.2 ± 0.1 | 99.93 ± 0.01 | 93.7 ± 0.6 | 84.4 ± 0.7 | 0.4 ± 0.1 | 235 ± 7 | 100.00 ± 0.00 |",
    ]
    assert lines[6].startswith("| **natmu [retain_fraction=0.1]** | **93.1 ± 0.4** | **99.3 ± 0.2** |")
    assert r"| salun\|wide | failed | - | - | - | - | - | - |" in lines
    assert "- salun|wide failed: A class ran out of partners; use a smaller n." in lines
    assert text.endswith("bold: the lowest avg_gap.\n")
