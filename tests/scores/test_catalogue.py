"""The list of scores is that of the specification, and what is stored of it is what the code says.

``make catalogue`` renews what is stored.
"""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from natmu.cli.score_manual import COLUMNS, LEVELS, SIDES, WIDTH, in_full, listing, markdown
from natmu.scores import LEVELS as ASCENDING
from natmu.scores import QUICK_NAMES, SCORE_NAMES, names_of
from natmu.scores.catalogue import FAMILIES, NEEDS, SCORES, catalogue

LIVE = {
    Path(str(files("natmu"))) / "scores/catalogue/scores.json": lambda: _as_json(catalogue()),
    Path(__file__).parents[2] / "docs/scores.md": lambda: markdown(catalogue()),
}
SPECIFIED = re.findall(
    r"\S+",
    """
test_acc retain_acc holdout_acc forget_acc forget_test_acc before_acc corrected_acc avg_gap tow
kl_retain kl_forget kl_test kl_avg
js_retain js_forget js_test agreement_retain agreement_forget agreement_test activation_distance zrf zrf_code
relearn_time weight_distance idi residual_knowledge calibration_retain calibration_forget calibration_test mia_entropy
 mia_efficacy_correctness
 mia_efficacy_confidence
mia_efficacy_entropy mia_efficacy_mentropy mia_efficacy_prob auc_forget_test_loss auc_forget_test_confidence
auc_forget_test_entropy auc_forget_test_mentropy auc_forget_test_margin tpr_at_fpr_1 tpr_at_fpr_0.1 rmia_auc
rmia_tpr_at_fpr_1 rmia_tpr_at_fpr_0.1 lira_auc lira_offline_auc lira_tpr_at_fpr_1 lira_tpr_at_fpr_0.1 ulira_auc
ulira_acc swap_advantage klom_retain_mean klom_forget_mean klom_test_mean klom_retain_p95 klom_forget_p95 klom_test_p95
forgetting_quality epsilon final_score
""",
)
BY_NAME = {score.name: score for score in SCORES}


def _as_json(rows):
    return json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.name)
def test_what_is_stored_is_what_the_code_says(path):
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    assert stored == LIVE[path](), "the code says something else now: run make catalogue"


def test_there_is_one_row_for_each_specified_score_and_none_is_just_mia():
    assert [score.name for score in SCORES] == SPECIFIED
    assert set(SCORE_NAMES) <= BY_NAME.keys()
    assert not {"mia", "MIA"} & BY_NAME.keys()


@pytest.mark.parametrize("score", SCORES, ids=lambda score: score.name)
def test_every_row_is_complete_and_uses_words_that_are_explained(score):
    assert all((score.cost, score.unit, score.measures, score.formula, score.baseline, score.original, score.needs))
    assert score.level in LEVELS
    assert score.side in SIDES
    assert score.family in FAMILIES
    assert set(score.needs) <= NEEDS.keys()
    assert "*" not in score.name + score.measures
    assert score.measures.endswith(".")
    assert not any("|" in text for text in (score.baseline, score.original, score.cost, score.unit)), "cells of a table"
    mentioned = re.findall(
        r"`(.+?)`", " ".join((score.formula, score.baseline, score.original, score.published, FAMILIES[score.family]))
    )
    assert all(name in BY_NAME or name.endswith("_*") for name in mentioned)


def test_every_word_that_is_explained_is_used():
    assert {need for score in SCORES for need in score.needs} == NEEDS.keys()
    assert list(dict.fromkeys(score.family for score in SCORES)) == list(FAMILIES)


def test_levels_are_those_of_the_specification():
    levels = {level: {score.name for score in SCORES if score.level == level} for level in LEVELS}
    assert {"test_acc", "avg_gap", "kl_avg", "mia_entropy", "auc_forget_test_margin"} <= levels["quick"]
    assert {"rmia_auc", "klom_forget_mean"} <= levels["standard"]
    assert {"ulira_auc", "epsilon", "rmia_tpr_at_fpr_0.1", "lira_tpr_at_fpr_1"} <= levels["full"]
    assert all(not {"shadows", "many unlearned"} & set(BY_NAME[name].needs) for name in levels["quick"])


def test_the_scores_of_the_level_quick_are_those_that_are_computed_in_one_go():
    quick = [score.name for score in SCORES if score.level == "quick"]
    assert sorted(quick) == sorted(QUICK_NAMES)
    assert names_of("quick") == quick


def test_each_level_has_the_scores_of_those_below_it_and_the_last_has_all():
    assert set(names_of("quick")) < set(names_of("standard")) < set(names_of("full"))
    assert names_of("full") == [score.name for score in SCORES]
    assert set(ASCENDING) == set(LEVELS)


def test_attacks_count_on_both_sides_and_distances_on_one():
    attacks = [name for name in BY_NAME if re.match(r"mia_|auc_|tpr_|rmia_|u?lira_", name)]
    assert len(attacks) == 22
    assert {BY_NAME[name].side for name in attacks} == {"both"}
    for name in ("avg_gap", "kl_forget", "js_test", "klom_forget_p95", "epsilon"):
        assert BY_NAME[name].side == "above"
    for name in ("tow", "agreement_forget", "forgetting_quality", "final_score"):
        assert BY_NAME[name].side == "below"


def test_the_same_word_mia_in_two_papers_leads_to_two_scores():
    assert any("NatMU" in one for one in BY_NAME["mia_entropy"].called_mia_by)
    assert any("SalUn" in one for one in BY_NAME["mia_efficacy_confidence"].called_mia_by)
    callers = [one for score in SCORES for one in score.called_mia_by]
    assert len(callers) == len(set(callers)), "a paper means one number"


def test_sources_are_those_of_the_specification():
    found = {name: BY_NAME[name].source.url or "" for name in BY_NAME if BY_NAME[name].source}
    for name, number in {
        "rmia_auc": "2312.03262",
        "lira_offline_auc": "2112.03570",
        "ulira_acc": "2403.01218",
        "mia_entropy": "2405.15495",
        "zrf_code": "2205.08096",
        "mia_efficacy_prob": "2304.04934",
        "tow": "2406.01257",
        "epsilon": "2406.09073",
        "idi": "2405.17878",
        "residual_knowledge": "2601.22359",
        "swap_advantage": "2404.11577",
    }.items():
        assert found[name].endswith(number)


def test_the_list_and_each_score_are_readable_in_80_columns():
    rows = catalogue()
    said = listing(rows)
    for row in rows:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{row['name']} ")]
        assert all(row[column] in line for column in COLUMNS)
        assert row["measures"].replace("`", "") in " ".join(said.split())
        alone = in_full(row)
        told = " ".join(alone.split())
        for key in ("about", "formula", "baseline", "original", "cost", "published"):
            assert row[key].replace("`", "") in told
        assert row["source"] is None or row["source"]["title"] in told
        said += "\n" + alone
    assert [line for line in said.splitlines() if len(line) > WIDTH] == []


def test_the_page_tells_all_of_every_score():
    page = markdown(catalogue())
    for score in SCORES:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| [`{score.name}`]")]
        assert all(text in row for text in (score.level, score.unit, score.baseline, score.original, score.cost))
        assert page.count(f"- `{score.name}`: {score.measures}\n") == 1
        assert score.source is None or score.source.url in page
    for family in FAMILIES:
        assert page.count(f"## {family}\n") == 1
    assert all(line.count("|") - line.count(r"\|") == 3 for line in page.splitlines() if line.startswith("| formula"))


def main() -> None:
    """Store everything anew."""
    for path, text in LIVE.items():
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
