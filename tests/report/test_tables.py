from __future__ import annotations

import io

import pytest
from rich.cells import cell_len

from natmu.console import Console
from natmu.records.settings import Sharding
from natmu.records.table import Column, Comparison, OwnOriginal
from natmu.report import latex, markdown, print_tables, tables
from natmu.report.tables import table_of
from natmu.report.units import WORDS, units_in_words
from natmu.scores.catalogue import SCORES

from . import folders
from .folders import COLUMNS, changed, changed_row, row, table, with_scores


def printed(study, width=80, *, terminal=False, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    colours = "standard" if terminal else None
    print_tables(study, Console(file=stream, width=width, force_terminal=terminal, color_system=colours))
    stream.seek(0)
    return stream.read()


def best(study):
    """Method and header of each marked cell, by scenario."""
    return [
        {
            (line.method, header)
            for line in one.lines
            for header, cell in zip(one.headers, line.cells, strict=True)
            if cell.mark
        }
        for one in tables(study)
    ]


def test_there_is_one_table_per_scenario_with_the_references_first(study):
    random, rocket = tables(study)
    assert random.title == "random:10%, 1 to 3 seeds"
    assert [line.method for line in random.lines] == [
        "original",
        "retrained",
        "natmu [retain_fraction=0.1]",
        "amnesiac",
        "salun|wide",
        "unsir",
    ]
    assert [line.method for line in rocket.lines] == ["retrained", "natmu"]


def test_accuracy_on_the_forgotten_class_is_shown_only_where_there_is_one(study):
    random, rocket = tables(study)
    assert "forget_test_acc" not in random.headers
    assert rocket.headers[:2] == ("test_acc", "forget_test_acc")
    assert all(len(line.cells) == len(one.headers) for one in (random, rocket) for line in one.lines)


def test_scores_on_the_holdout_are_named_so(study):
    held_out = changed(study, score_on="holdout")
    assert tables(held_out)[0].headers[0] == "holdout_acc"
    assert "In percent: holdout_acc, forget_test_acc, retain_acc" in printed(held_out, 400)


@pytest.mark.parametrize(("counts", "words"), [((1, 1), "1 seed"), ((3, 3), "3 seeds"), ((0, 0), "0 seeds")])
def test_the_title_counts_the_seeds(counts, words):
    rows = [row("random:10%", method, n, avg_gap=[1.0] * n) for method, n in zip("xy", counts, strict=True)]
    assert tables(table(*rows))[0].title == f"random:10%, {words}"


def test_without_two_common_seeds_only_the_lowest_gap_is_marked(study):
    assert best(study) == [{("natmu [retain_fraction=0.1]", "avg_gap")}, {("natmu", "avg_gap")}]
    assert "Bold: the lowest avg_gap." in markdown(study)


def test_one_seed_marks_the_lowest_gap_and_says_that_it_shows_no_noise():
    one = table(row("a", "x", 1, avg_gap=[1.0], seconds=[2.0]), row("a", "y", 1, avg_gap=[2.0], seconds=[1.0]))
    assert best(one) == [{("x", "avg_gap")}]
    assert "Bold: the lowest avg_gap; one seed shows no noise." in markdown(one)
    assert tables(one)[0].finding is None


def test_with_seeds_the_best_of_each_column_and_those_within_noise_are_marked(repeated):
    (marks,) = best(repeated)
    gaps = {method for method, header in marks if header == "avg_gap"}
    assert gaps == {"natmu", "salun"}
    assert ("ssd", "seconds") in marks
    assert ("natmu", "seconds") not in marks
    assert ("natmu", "test_acc") in marks
    assert not {("salun", "test_acc"), ("ssd", "test_acc"), ("ssd", "forget_acc")} & marks
    assert not {method for method, _ in marks} & {"original", "retrained"}
    assert "paired t-tests, 5 % after Holm's correction" in markdown(repeated)


def test_those_within_noise_of_another_than_the_best_are_not_marked():
    gaps = {"x": [1.0, 1.1, 1.2], "y": [31.0, 30.0, 32.0], "z": [31.2, 31.0, 31.5]}
    far = table(*(row("a", label, 3, avg_gap=values) for label, values in gaps.items()))
    assert any(one.best == "y" and one.within_noise for one in far.comparisons)
    assert best(far) == [{("x", "avg_gap")}]


def test_a_method_that_failed_for_some_seeds_is_not_marked(study, repeated):
    assert best(changed_row(study, 0, failed="One seed diverged."))[0] == {("amnesiac", "avg_gap")}
    again = table(*changed_row(repeated, 2, failed="One seed diverged.", log="logs/n.log").rows)
    assert "natmu" not in {method for method, _ in best(again)[0]}
    assert tables(again)[0].failures == ["natmu failed: One seed diverged. (logs/n.log)"]
    assert tables(again)[0].lines[2].cells[0].mean == "93.1"


def test_a_study_without_scores_has_no_best(study):
    (one,) = tables(changed(study, rows=study.rows[2:4]))
    assert not any(cell.mark for line in one.lines for cell in line.cells)
    assert [line.cells[0].word for line in one.lines] == ["failed", "not run"]
    assert one.failures == [
        "salun|wide failed: A class ran out of partners; use a smaller n. (logs/s.log)",
        "unsir was not run: It needs whole classes.",
    ]


def test_the_baseline_is_that_of_retrained_and_its_absence_is_said(study):
    assert [(one.baseline.mean, one.baseline.spread) for one in tables(study)] == [("0.4", "0.1")] * 2
    assert "baseline is not known" not in printed(study, 400)
    assert "is the retraining baseline" in printed(study, 400)
    rows = [*study.rows[:6], with_scores(study.rows[6], avg_gap=None), study.rows[7]]
    unknown = changed(study, rows=tuple(rows))
    assert [one.baseline is None for one in tables(unknown)] == [False, True]
    assert markdown(unknown).count("The retraining baseline is not known here: retrained has no avg_gap") == 1
    assert printed(unknown, 400).count("The retraining baseline is not known here: retrained has no avg_gap") == 1


def test_the_finding_compares_the_two_lowest_gaps(repeated):
    line = (
        "avg_gap: natmu minus salun -0.13 (95 %: -0.65 to 0.38), n = 3, within noise; ranks agree: Kendall's W = 0.78"
    )
    assert tables(repeated)[0].finding == line
    assert line in printed(repeated, 120).splitlines()
    assert line in markdown(repeated).splitlines()


def test_the_finding_names_a_difference_that_is_no_noise_and_one_without_spread():
    far = table(row("a", "x", 3, avg_gap=[1.0, 1.1, 1.2]), row("a", "y", 3, avg_gap=[31.0, 30.0, 35.0]))
    assert (
        tables(far)[0].finding
        == "avg_gap: x minus y -30.9 (95 %: -37.3 to -24.5), n = 3; ranks agree: Kendall's W = 1.00"
    )
    same = table(row("a", "x", 2, avg_gap=[1.0, 2.0]), row("a", "y", 2, avg_gap=[1.5, 2.5]))
    assert tables(same)[0].finding == "avg_gap: x minus y -0.50 in every seed, n = 2; ranks agree: Kendall's W = 1.00"
    wide = table(row("a", "x", 2, avg_gap=[0.0, 200.0]), row("a", "y", 2, avg_gap=[900.0, 100.0]))
    assert tables(wide)[0].finding.startswith("avg_gap: x minus y -400 (95 %: -6800 to 6000), n = 2, within noise")


def test_further_scores_are_columns_with_their_units():
    columns = (*COLUMNS[:5], "kl_forget", "auc_forget_test_margin", "calibration_test", *COLUMNS[5:])
    more = {"kl_forget": [0.0342], "auc_forget_test_margin": [0.5341], "calibration_test": [2.345]}
    study = table(row("a", "x", 1, avg_gap=[1.0], **more), columns=columns)
    (one,) = tables(study)
    cells = dict(zip(one.headers, one.lines[0].cells, strict=True))
    assert [cells[name].mean for name in more] == ["0.034", "0.53", "2.3"]
    text = markdown(study)
    units = "In nats: kl_forget; from 0 to 1: auc_forget_test_margin; in percentage points: calibration_test, avg_gap"
    assert f" {units}. The avg_gap of retrained" in text


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
    for shown in ("93.1", "±0.4", "99.93", "±0.01", "±20", "[retain_fraction=0.1"):
        assert shown in text


def test_no_digit_is_cut_off_even_where_the_table_cannot_fit(study):
    text = printed(study, 30)
    assert "…" not in text
    assert "±0.01" in text
    assert "±20" in text


def test_a_failed_row_gives_its_reason(study):
    text = printed(study, 120)
    assert "salun|wide failed: A class ran out of partners; use a smaller n. (logs/s.log)" in text
    assert "unsir was not run: It needs whole classes." in text


def test_names_in_brackets_are_not_taken_for_markup(study):
    named = changed_row(study, 1, method="[red]amnesiac[/red] :cat:")
    assert "[red]amnesiac[/red] :cat:" in printed(named, 120)


def test_without_a_terminal_there_are_no_escape_codes(study):
    text = printed(study)
    assert "\x1b" not in text
    assert "Bold" not in text


def test_on_a_terminal_the_lowest_gap_is_bold(study):
    text = printed(study, 400, terminal=True)
    (line,) = (line for line in text.splitlines() if "amnesiac" in line)
    (lowest,) = (line for line in text.splitlines() if "retain_fraction" in line)
    assert lowest.count("\x1b[1m") == 1
    assert "\x1b[1m" not in line
    assert "Bold: the lowest avg_gap" in text


def test_an_ascii_console_is_served(study, repeated):
    assert "93.1 +- 0.4" in printed(study, 160, encoding="ascii")
    assert "minus salun" in printed(repeated, 160, encoding="ascii")


def test_an_empty_study_prints_its_legend(study):
    assert printed(changed(study, rows=())).startswith("example: ")


def test_markdown_is_a_table_per_scenario(study):
    text = markdown(study)
    lines = text.splitlines()
    assert lines[0] == "### random:10%, 1 to 3 seeds"
    assert lines[2:6] == [
        "| method | test_acc | retain_acc | forget_acc | mia_entropy | avg_gap | seconds | retrain_fraction % |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| original | 93.5 | 100.0 | 100.0 | 99.1 | 5.9 | - | - |",
        "| retrained | 93.2 ± 0.1 | 99.93 ± 0.01 | 93.7 ± 0.6 | 84.4 ± 0.7 | 0.4 ± 0.1 | 235 ± 7 | 100.00 ± 0.00 |",
    ]
    assert lines[6] == (
        "| natmu [retain_fraction=0.1] | 93.1 ± 0.4 | 99.3 ± 0.2 | 94 ± 3 | 60 ± 20 | **1.0 ± 0.3** | 2.4 ± 0.4 "
        "| 1.1 ± 0.1 |"
    )
    assert r"| salun\|wide | failed | - | - | - | - | - | - |" in lines
    assert "| unsir | not run | - | - | - | - | - | - |" in lines
    assert r"- salun\|wide failed: A class ran out of partners; use a smaller n. (logs/s.log)" in lines
    assert text.endswith("Bold: the lowest avg_gap.\n")


def test_every_unit_of_the_catalogue_has_words_and_fractions_are_shown_in_percent():
    assert {score.unit for score in SCORES} | {"s", "passes"} == WORDS.keys()
    names = ["seconds", "passes", "retrain_fraction", *(score.name for score in SCORES)]
    text = units_in_words(names, "test")
    assert text.startswith(
        "in passes over the training set: passes; in percent: retrain_fraction, test_acc, retain_acc,"
    )
    assert all(text.count(f" {score.name}") for score in SCORES)
    assert "seconds" not in text


LABELS = ("natmu", "amnesiac", "salun", "scrub")
SCENARIO = "random:10%"


@pytest.fixture
def made(tmp_path):
    return folders.make_study(tmp_path, LABELS)[1]


def comparison(score, best, method, within_noise):
    shown = {"difference": -1.0, "interval": None, "n": 2, "within_noise": within_noise}
    return Comparison(scenario=SCENARIO, score=score, best=best, method=method, **shown)


def marks(found, column):
    place = found.headers.index(column)
    return {line.method: line.cells[place].mark for line in found.lines}


def test_cells_have_the_digits_of_their_spread_and_the_number_in_full(made):
    found = table_of(made, SCENARIO)
    row = made.rows[2]
    line = found.methods[0]
    assert line.method == row.method
    cells = dict(zip(found.headers, line.cells, strict=True))
    assert cells["test_acc"].value == row.scores["test_acc"].mean
    assert cells["test_acc"].text(" ± ") == "91 ± 2"
    assert cells["retrain_fraction %"].value == pytest.approx(100 * row.scores["retrain_fraction"].mean)


def test_the_references_come_first_and_are_never_marked(made):
    found = table_of(changed(made, rows=made.rows[::-1]), SCENARIO)
    assert [line.method for line in found.references] == ["original", "retrained"]
    assert {marks(found, name)[label] for name in found.headers for label in ("original", "retrained")} == {""}


def test_without_comparisons_only_the_lowest_gap_is_marked(made):
    found = table_of(made, SCENARIO)
    assert not found.compared
    shown = {(label, name) for name in found.headers for label, mark in marks(found, name).items() if mark}
    gaps = {row.method: row.scores["avg_gap"].mean for row in made.rows if row.scores["avg_gap"] and not row.failed}
    lowest = min(gaps.keys() - {"original", "retrained"}, key=gaps.__getitem__)
    assert shown == {(lowest, "avg_gap")}


def test_comparisons_say_which_methods_seeds_do_not_distinguish_from_the_best(made):
    comparisons = (
        comparison("avg_gap", "amnesiac", "salun", True),
        comparison("avg_gap", "amnesiac", "natmu", False),
        comparison("avg_gap", "salun", "natmu", True),
    )
    found = table_of(changed(made, comparisons=comparisons), SCENARIO)
    assert found.compared
    assert not found.undecided
    wanted = {"amnesiac": "best", "salun": "near", "natmu": "", "scrub": "", "original": "", "retrained": ""}
    assert marks(found, "avg_gap") == wanted


def test_where_noise_is_not_known_only_the_best_is_marked(made):
    found = table_of(changed(made, comparisons=(comparison("avg_gap", "amnesiac", "salun", None),)), SCENARIO)
    assert (found.compared, found.undecided) == (False, True)
    assert [label for label, mark in marks(found, "avg_gap").items() if mark] == ["amnesiac"]


def test_rows_without_all_numbers_say_what_became_of_them(made):
    refused = changed(made.rows[-1], method="unsir", failed="It serves classes.", log=None)
    partly = changed(changed_row(made, 3, failed="One seed\ndiverged.", log="logs/a.log"))
    incomplete = {
        line.method: line for line in table_of(changed(partly, rows=(*partly.rows, refused)), SCENARIO).incomplete
    }
    assert {label: line.state for label, line in incomplete.items()} == {
        "amnesiac": "some seeds failed",
        "scrub": "failed",
        "unsir": "not run",
    }
    assert incomplete["amnesiac"].reason == "One seed diverged."
    assert incomplete["scrub"].log == "logs/three.log"


def test_a_row_with_an_original_of_its_own_says_so_below_the_table():
    shown = {"test_acc": [80.0, 81.0], "avg_gap": [2.0, 2.5]}
    divided = OwnOriginal(
        sharding=Sharding(shards=3),
        replicates=(),
        scores={"test_acc": Column(mean=77.5, std=0.5, values=(77.0, 78.0)), "retain_acc": None},
    )
    sisa = changed(row("random:10%", "sisa", 2, **shown), original=divided)
    study = table(sisa, row("random:10%", "natmu", 2, **shown))
    (said,) = tables(study)[0].originals
    assert "sisa has an original of its own (test accuracy 77.5 ± 0.5 %), trained in 3 shards of 1 slice;" in said
    assert "same retrained models" in said
    assert said in markdown(study)
    assert said in " ".join(printed(study, 400).split())
    assert r"trained in 3 shards of 1 slice" in latex(study)
    assert not tables(table(row("random:10%", "natmu", 2, **shown)))[0].originals
