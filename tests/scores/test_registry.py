"""Scores of installed packages: known by name, loaded when asked for, and refused in one sentence when broken."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints

import numpy as np
import pytest
from tests.scores.made_up import predictions

from natmu.cli import scores as verb
from natmu.errors import SettingError, UsageError
from natmu.report.units import UNKNOWN, decimals_of, unit_of, units_in_words
from natmu.scores import (
    Panel,
    confidence,
    evaluate,
    examine,
    names_of,
    quick_scores,
    registry,
    score,
    score_named,
    score_of_table,
)
from natmu.scores.builtin import OURS
from natmu.studies.recipe import Recipe
from natmu.testing.panels import panel_of

SOURCE = '''
from natmu.scores import score, confidence
{before}

@score(
    name={name!r}, level={level!r}, needs={needs!r}, unit={unit!r}, low=0, high={high},
    formula="E[p_y]", baseline="that of retraining", original="near 1",
)
def mine(panel):
    """How sure the model is of the forget set."""
    {body}

text = "no score"
'''
TINY = {"name": "tiny", "data": {"source": "digits"}, "model": "small_cnn", "forget": ["class:3"]}


class Distribution:
    """Stands for an installed package."""

    def __init__(self, name):
        self.name = name


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Installs a package with one entry, as far as the import system and the list of entry points can tell."""
    points = []
    monkeypatch.syspath_prepend(tmp_path)

    def found(group):
        return EntryPoints(points if group == registry.GROUP else [])

    monkeypatch.setattr("importlib.metadata.entry_points", found)
    registry.plug_ins.cache_clear()

    def write(name, *, target="mine", package=None, called=None, **facts):
        module = f"their_{package or name}".replace("-", "_")
        facts = {"before": "", "level": "quick", "needs": ("predictions",), "unit": "carats", "high": 1} | facts
        facts.setdefault("body", "return float(confidence(panel.model.forget).mean())")
        (tmp_path / f"{module}.py").write_text(SOURCE.format(name=name if called is None else called, **facts))
        point = EntryPoint(name, f"{module}:{target}", registry.GROUP)
        vars(point).update(dist=Distribution(package or f"package-of-{name}"))
        points.append(point)
        registry.plug_ins.cache_clear()
        return module

    yield write
    registry.plug_ins.cache_clear()
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


def test_a_score_of_a_package_is_known_everywhere_and_imported_when_asked_for(install):
    module = install("mine")
    with pytest.raises(SettingError, match="did you mean mine"):
        score_named("minee")
    assert score_named("kl_forget") is OURS["kl_forget"]
    assert Recipe.parse(TINY | {"scores": ["kl_forget"]}).scores == ("kl_forget",)
    assert unit_of("kl_forget") == "nats"
    assert module not in sys.modules
    assert score_named("mine").name == "mine"
    assert score_named("mine") is score_named("mine")
    assert Recipe.parse(TINY | {"scores": ["mine"]}).scores == ("mine",)
    assert (unit_of("mine"), decimals_of("mine")) == ("carats", 4)
    assert units_in_words(["mine", "kl_forget", "test_acc"], "test") == (
        "in carats: mine; in nats: kl_forget; in percent: test_acc"
    )


def test_a_column_of_a_package_that_is_gone_says_so():
    assert unit_of("gone") == ""
    assert units_in_words(["gone"], "test") == f"{UNKNOWN}: gone"


def test_an_audit_and_a_table_compute_it_like_ours(install):
    install("mine")
    install("slow", level="standard")
    panel = panel_of(0)
    found = examine(panel, "quick")
    assert list(found.scores) == [name for name in (*names_of("quick"), "mine") if name in found.scores]
    assert found.scores["mine"] == confidence(panel.model.forget).mean()
    assert found.retrained["mine"] == [confidence(one.forget).mean() for one in panel.retrained]
    assert found.original["mine"] == confidence(panel.original.forget).mean()
    assert found.verdicts["mine"].p_value is not None
    assert "slow" in examine(panel, "standard").scores
    table = quick_scores(panel.model, panel.retrained, names=["mine", "kl_forget"])
    assert table.scores == {name: found.scores[name] for name in ("mine", "kl_forget")}


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"before": "import nowhere_at_all"}, "cannot be imported (ModuleNotFoundError"),
        ({"before": "1 / 0"}, "cannot be imported (ZeroDivisionError"),
        ({"before": "def"}, "cannot be imported (SyntaxError"),
        ({"before": "from natmu.scores import score_named; score_named('nonesuch')"}, "cannot be imported"),
        ({"target": "yours"}, "cannot be imported (AttributeError"),
        ({"level": "slow"}, "cannot be imported (SettingError: Score 'broken' is not complete: its level"),
        ({"target": "text"}, "is not a score"),
        ({"called": "other"}, "calls itself 'other'"),
    ],
)
def test_a_broken_package_is_one_sentence_when_asked_for_and_harms_nothing_else(install, capsys, faults, said):
    install("broken", **faults)
    install("mine")
    with pytest.raises(SettingError) as error:
        score_named("broken")
    sentence = str(error.value)
    assert said in sentence
    assert sentence.startswith("Score 'broken' of the package package-of-broken ")
    assert "\n" not in sentence
    rows, sentences = registry.plug_in_catalogue()
    assert [(row["name"], row["package"]) for row in rows] == [("mine", "package-of-mine")]
    assert sentences == [sentence]
    verb.run(None)
    told = capsys.readouterr()
    assert "\nrmia_auc " in told.out
    assert "\nmine " in told.out
    assert told.err == f"natmu: {sentence}\n"
    with pytest.raises(SettingError, match="package-of-broken"):
        verb.run("broken")
    found = examine(panel_of(0), "quick")
    assert found.missing["broken"] == sentence
    assert "mine" in found.scores


def test_a_name_that_we_have_stays_ours(install):
    install("rmia_auc", package="theirs")
    assert score_named("rmia_auc") is OURS["rmia_auc"]
    rows, (sentence,) = registry.plug_in_catalogue()
    assert rows == []
    assert "package theirs has the name of one of natmu's own" in sentence
    assert "rmia_auc" in examine(panel_of(0), "standard").scores


def test_a_name_that_two_packages_have_is_nobodys(install):
    install("mine", package="first")
    install("mine", package="second")
    with pytest.raises(SettingError, match="package first has the same name as one of second"):
        score_named("mine")
    assert len(registry.plug_in_catalogue()[1]) == 2
    assert "uninstall one of them" in examine(panel_of(0), "quick").missing["mine"]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        *((name, {}) for name in ("test_acc", "avg_gap", "zrf", "rmia_auc", "klom_forget_mean", "nonesuch")),
        ("slow", {"level": "standard"}),
        ("greedy", {"needs": ("predictions", "original")}),
    ],
)
def test_a_table_has_no_column_of_what_a_study_does_not_have_of_each_run(install, name, facts):
    if facts:
        install(name, **facts)
    with pytest.raises(SettingError, match=f"'{name}' is not a score that a table can have"):
        score_of_table(name)
    with pytest.raises(SettingError, match=f"scores: '{name}' is not a score that a table can have"):
        Recipe.parse(TINY | {"scores": [name]})


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return [][0]", "mine failed (IndexError: list index out of range); correct the function"),
        ("return float('nan')", "gives nan, which is not a finite number"),
        ("return 1.5", "gives 1.5, and its range is 0 to 1"),
        ("return 'sure'", "gives str and not a number"),
        ("return True", "gives bool and not a number"),
        ("return panel.model.forget.logits.mean(axis=0)", "gives ndarray and not a number"),
    ],
)
def test_what_is_no_value_is_a_reason_and_stops_no_audit(install, body, said):
    install("mine", body=body)
    found = examine(panel_of(0), "quick")
    assert said in found.missing["mine"]
    assert found.missing["mine"].endswith(".")
    assert "kl_forget" in found.scores


def sureness(panel):
    """How sure the model is of the forget set."""
    return confidence(panel.model.forget).mean()


FACTS = {
    "unit": "0-1",
    "low": 0,
    "high": 1,
    "formula": "E[p_y]",
    "baseline": "that of retraining",
    "original": "near 1",
}


def test_a_score_can_be_given_as_an_object_of_any_level():
    panel = panel_of(0)
    mine = score(**FACTS, level="full")(sureness)
    found = examine(panel, "quick", extra=[mine])
    assert found.scores["sureness"] == mine(panel) == sureness(panel)
    assert type(mine(panel)) is float
    assert found.verdicts["sureness"].score == "sureness"
    with pytest.raises(SettingError, match="another score 'rmia_auc'"):
        examine(panel, "quick", extra=[score(**FACTS, name="rmia_auc")(sureness)])
    with pytest.raises(SettingError, match="another score 'sureness'"):
        examine(panel, "quick", extra=[mine, score(**FACTS)(sureness)])
    with pytest.raises(SettingError, match="is not a score; make it one"):
        examine(panel, "quick", extra=[sureness])


def test_a_score_that_is_called_lets_the_errors_of_its_function_through():
    def faulty(panel):
        """How it fails."""
        return 1 / 0

    with pytest.raises(ZeroDivisionError):
        score(**FACTS)(faulty)(panel_of(0))
    with pytest.raises(UsageError, match="needs a retrained reference"):
        OURS["kl_forget"](Panel(panel_of(0).model))


def test_a_distance_is_the_mean_over_retrained_models_and_is_judged_as_one():
    def gap(model, retrained):
        """How far the mean confidences lie apart."""
        return abs(float(confidence(model.forget).mean() - confidence(retrained.forget).mean()))

    mine = score(**FACTS, kind="distance")(gap)
    assert (mine.row.side, mine.row.identical, mine.row.needs) == ("above", 0, ("predictions", "retrained"))
    panel = panel_of(0)
    assert mine(panel) == pytest.approx(np.mean([gap(panel.model, one) for one in panel.retrained]), rel=1e-12)
    two = examine(replace(panel, retrained=panel.retrained[:2]), "quick", extra=[mine])
    assert two.verdicts["gap"].p_value is None, "two models have only one distance, which shows no spread"


def test_random_numbers_of_a_score_come_from_the_seed_of_the_audit():
    def drawn(panel):
        """How sure the model is of a forget sample."""
        return float(confidence(panel.model.forget)[panel.rng("which").integers(len(panel.model.forget))])

    mine, panel = score(**FACTS)(drawn), panel_of(0)
    values = [examine(panel, "quick", seed, extra=[mine]).scores["drawn"] for seed in (0, 0, 1, 2, 3)]
    assert values[0] == values[1]
    assert len(set(values)) > 2


def test_what_several_scores_of_a_panel_ask_for_is_computed_once(rng):
    calls = []

    def asking(panel):
        """How often it was asked."""
        return panel.once("asked", lambda: calls.append(1) or 0.5)

    panel = Panel(predictions(rng, 6, 5, 3, counts=(50, 20, 30)))
    both = [score(**FACTS, name=name)(asking) for name in ("first", "second")]
    assert evaluate(both, panel).scores == {"first": 0.5, "second": 0.5}
    assert len(calls) == 1
    evaluate(both, replace(panel, seed=1))
    assert len(calls) == 2, "another panel shares nothing"
