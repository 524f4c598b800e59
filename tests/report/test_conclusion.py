"""What is said of a study: made-up tables for every outcome."""

from __future__ import annotations

import io
import math

import pytest
from scipy.stats import t as student
from tests.records.folders import a_verdict, an_audit

from natmu.console import Console
from natmu.records.audit import Answer, AuditedScore, ComparedModels
from natmu.records.study import open_study
from natmu.report import print_conclusions, study_markdown
from natmu.report.audit_sentences import audit_sentences
from natmu.report.conclusion import listed, significant, written
from natmu.report.conclusion_picture import SHOWN, picture
from natmu.report.next_steps import NOTHING_LEFT, conclude, conclusions
from natmu.report.outcome import Outcome, place_of
from natmu.report.run_conclusion import conclude_run

from . import folders
from .folders import changed, column, row, table

FORGET = "random:10%"
RETRAINED = row(FORGET, "retrained", 3, avg_gap=[0.9, 1.0, 1.1], retrain_fraction=[1.0] * 3, passes=[9.0] * 3)
ORIGINAL = row(FORGET, "original", 3, avg_gap=[6.0, 6.3, 5.7])


def a_method(label, *gaps, fraction=0.04, passes=0.5, **more):
    costs = {"retrain_fraction": [fraction] * len(gaps), "passes": [passes] * len(gaps)}
    return row(FORGET, label, len(gaps), avg_gap=list(gaps), **costs, **more)


def judged(outcome="not distinguishable", level="full", kept="yes", verdicts=None, references=3, blind=()):
    """An audit with an outcome; verdicts are p-values of scores of the forget set."""
    scores = {
        name: AuditedScore(
            value=0.6,
            verdict=changed(
                a_verdict(name),
                p_value=p_value,
                distinguishable=p_value < 0.05,
                original=original,
                baseline_low=0.45,
                baseline_high=0.55,
                detectable=0.0314,
                sees_original=name not in blind,
            ),
        )
        for name, (p_value, original) in (verdicts or {}).items()
    }
    models = ComparedModels(retrained=tuple(f"a{number}" for number in range(references)))
    more = {"level": level, "models": models, "references": references}
    answers = {"forgotten": Answer(outcome=outcome, sentence="-"), "kept": Answer(outcome=kept, sentence="-")}
    return changed(an_audit("0" * 16), **more, **answers, scores=scores)


def concluded(*rows, audits=None, **more):
    return conclude(table(*rows, **more), FORGET, audits or {})


def test_one_method_inside_the_baseline():
    found = concluded(ORIGINAL, RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), audits={"natmu": judged()})
    half = student.ppf(0.975, 2) * 0.05 / math.sqrt(3)
    first = f"0.75 (95 % interval {0.75 - half:.2f} to {0.75 + half:.2f})"
    half = student.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    second = f"inside the retraining baseline of 1.00 ({1 - half:.2f} to {1 + half:.2f})"
    assert found.closest == f"natmu comes closest to retraining: its avg_gap is {first} percentage points, {second}."
    assert found.cost == "natmu takes 4 % of retraining's time and 0.5 passes over the training set."
    assert found.others == ("The avg_gap of the original is 6.0.",)
    assert found.audit[0].startswith("The audit of natmu (level full, 3 retrained models) does not distinguish it")
    assert found.steps == (NOTHING_LEFT,)


@pytest.mark.parametrize(
    ("gaps", "place", "step"),
    [
        (
            (3.0, 3.1, 3.2),
            "points, outside the retraining baseline of 1.00",
            "Try another method, or search the settings",
        ),
        (
            (0.9, 1.2, 1.5),
            "points. The retraining baseline is 1.00 (0.75 to 1.25); whether the gap lies inside it is open.",
            "Add seeds to the recipe: it is open whether natmu is inside the baseline.",
        ),
    ],
)
def test_one_method_that_is_not_inside_the_baseline(gaps, place, step):
    found = concluded(RETRAINED, a_method("natmu", *gaps), audits={"natmu": judged()})
    assert place in found.closest
    assert len(found.steps) == 1
    assert found.steps[0].startswith(step)


def test_ties_are_named_with_the_cheapest_of_them():
    first, second = a_method("natmu", 2.0, 2.4, 2.2), a_method("salun", 2.1, 2.2, 2.5, fraction=0.01)
    found = concluded(RETRAINED, first, second, a_method("ssd", 9.0, 9.2, 9.1), audits={"natmu": judged()})
    assert found.others == ("At n = 3, natmu is not distinguishable from salun; salun is the cheapest of these.",)
    assert "Add seeds to the recipe: it is open which method is best." in found.steps


@pytest.mark.parametrize("fractions", [[0.04] * 3, [0.02, 0.05, 0.05]])
def test_none_of_equal_cost_is_called_the_cheapest(fractions):
    twin = row(FORGET, "twin", 3, avg_gap=[2.1, 2.2, 2.5], retrain_fraction=fractions)
    (sentence,) = concluded(RETRAINED, a_method("natmu", 2.0, 2.4, 2.2), twin).others
    assert sentence == "At n = 3, natmu is not distinguishable from twin."


def test_a_method_that_is_better_beyond_noise_is_said_to_be():
    found = concluded(RETRAINED, a_method("natmu", 2.0, 2.1, 2.2), a_method("ssd", 9.0, 9.2, 9.1))
    assert found.others == ("At n = 3, every other method has a higher gap, beyond noise.",)
    assert not [step for step in found.steps if "order" in step]


def test_equal_methods_are_ties_too():
    found = concluded(RETRAINED, a_method("natmu", 2.0, 2.1, 2.2), a_method("twin", 2.0, 2.1, 2.2))
    assert found.others[0].startswith("At n = 3, natmu is not distinguishable from twin")


def test_of_many_ties_three_are_named():
    gaps = [(2.0 + place / 100, 2.4 - place / 100, 2.2) for place in range(6)]
    many = [a_method(f"m{place}", *each, fraction=0.01 * (place + 1)) for place, each in enumerate(gaps)]
    (sentence,) = concluded(RETRAINED, *many).others
    assert " and 2 other methods; " in sentence


def test_failed_rows_do_not_win_and_are_named():
    lost = row(FORGET, "lost", 1, avg_gap=[0.1], failed="It diverged.", log="logs/lost.log")
    found = concluded(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), lost, audits={"natmu": judged()})
    assert found.closest.startswith("natmu comes closest")
    assert found.others == ("At least one seed failed: lost.",)
    assert found.steps == (
        "Read why a method failed (below its table), change its settings, and run natmu bench again.",
    )


def test_where_all_failed_nothing_is_compared():
    lost = row(FORGET, "lost", 0, failed="It diverged.", log="logs/lost.log")
    found = concluded(RETRAINED, lost)
    assert found.sentences == (
        "No method was measured with every seed.",
        "At least one seed failed: lost.",
    )
    assert len(found.steps) == 1
    unserved = concluded(RETRAINED, row(FORGET, "unsir", 0, failed="It needs whole classes."))
    assert unserved.others == ("Not run here: unsir.",)
    assert unserved.steps == ("Add a method to the recipe that can serve this forget set.",)
    assert concluded(RETRAINED).sentences == ("There is no method to compare.",)


def test_without_a_baseline_it_says_so_and_how_to_get_one():
    found = concluded(a_method("natmu", 2.0, 2.1, 2.2), audits={"natmu": judged()})
    assert found.closest.endswith("; the retraining baseline is not known.")
    assert found.steps == (
        "Give the recipe two training seeds or more: the retraining baseline takes two retrained models.",
    )


def test_one_seed_gives_no_interval_and_no_order():
    found = concluded(RETRAINED, a_method("natmu", 2.0), a_method("salun", 2.1))
    assert "its avg_gap is 2.0 percentage points, more than the retraining baseline" in found.closest
    assert found.closest.endswith("; one seed gives no interval.")
    assert found.others == ("At n = 1, the order of the methods is not certain.",)
    assert any(step.startswith("Add seeds to the recipe: n = 1 is few; it is open which") for step in found.steps)
    assert "no more than the retraining baseline" in concluded(RETRAINED, a_method("natmu", 0.4)).closest


def test_a_baseline_that_is_hardly_known_asks_for_seeds():
    rough = row(FORGET, "retrained", 2, avg_gap=[0.3, 0.6])
    found = concluded(rough, a_method("natmu", 0.4, 0.5, 0.45), audits={"natmu": judged()})
    assert found.steps == ("Add seeds to the recipe: the baseline is known only roughly.",)


def test_an_original_that_is_closer_is_named():
    near = row(FORGET, "original", 3, avg_gap=[0.3, 0.6, 0.9])
    found = concluded(near, RETRAINED, a_method("natmu", 2.0, 2.1, 2.2))
    assert found.closest.startswith("No method comes closer to retraining than the original, whose avg_gap is 0.6. ")
    assert "The closest is natmu: its avg_gap is 2.10 (" in found.closest
    assert found.others == ()
    assert found.steps[0].startswith("Try another method")


def test_an_original_inside_the_baseline_leaves_little_to_forget():
    said = "The original lies inside the retraining baseline too, so by avg_gap there is little to forget."
    step = "Compare on another forget set, or by an audit: by avg_gap there is little to forget here."
    near, audits = row(FORGET, "original", 3, avg_gap=[0.75, 0.8, 0.7]), {"natmu": judged()}
    found = concluded(near, RETRAINED, a_method("natmu", 0.9, 0.95, 0.85), audits=audits)
    assert (said in found.others, found.steps) == (True, (step,))
    caught = concluded(near, RETRAINED, a_method("natmu", 0.9, 0.95, 0.85), audits={"natmu": judged("no")})
    assert caught.steps == ("Try another method, or search the settings (natmu search).",)
    assert said not in concluded(ORIGINAL, RETRAINED, a_method("natmu", 0.9, 0.95, 0.85)).others


@pytest.mark.parametrize(("retain_acc", "warned"), [([90.5, 89.5], False), ([90.0, 89.5], True)])
def test_retrained_models_that_learnt_little_are_told_before_anything_is_compared(retain_acc, warned):
    original = row(FORGET, "original", 2, avg_gap=[6.0, 6.3], retain_acc=[100.0, 100.0])
    retrained = row(FORGET, "retrained", 2, avg_gap=[0.9, 1.0], retain_acc=retain_acc)
    said = concluded(original, retrained, a_method("natmu", 2.0, 2.1)).others
    assert said[0].startswith("Retrained models are right on 89.8 % of the retain set") == warned
    assert len(said) == 1 + warned
    assert concluded(retrained, a_method("natmu", 2.0, 2.1)).others == (), "nothing to compare them with"


def test_no_cost_is_left_out_and_a_high_one_said_to_be_high():
    bare = row(FORGET, "natmu", 3, avg_gap=[2.0, 2.1, 2.2])
    assert concluded(RETRAINED, bare).cost == ""
    dear = concluded(RETRAINED, a_method("natmu", 2.0, 2.1, 2.2, fraction=1.25, passes=1.0))
    assert dear.cost == (
        "natmu takes 125 % of retraining's time and 1 pass over the training set, so it is no cheaper than retraining."
    )


def test_without_an_audit_it_says_so_and_asks_for_one():
    found = concluded(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75))
    assert found.audit == (
        "natmu was not audited, so nothing here says whether attacks still recognise single samples.",
    )
    assert found.steps == ("Add audit: standard to the recipe, and run natmu bench again.",)
    holdout = concluded(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), score_on="holdout")
    assert holdout.audit[0].startswith("A study on the holdout is not audited")
    assert holdout.steps[0].startswith("Run the chosen settings on the test set")
    failed = concluded(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), audits={"natmu": None})
    assert failed.audit == ("The audit of natmu failed.",)
    assert failed.steps == ("Read why the audit failed, and run natmu bench again.",)


@pytest.mark.parametrize("outcome", ["no", "too much", "unlike retraining"])
def test_an_audit_that_catches_the_best_method_prefers_an_equal_that_it_does_not_catch(outcome):
    rows = [RETRAINED, a_method("natmu", 0.7, 0.9, 0.75), a_method("salun", 0.8, 0.75, 0.9)]
    caught = judged(outcome, verdicts={"rmia_auc": (0.001, 0.9)})
    alone = concluded(*rows, audits={"natmu": caught, "salun": caught})
    assert "distinguishes it from retrained models" in alone.audit[0]
    assert alone.steps[0] == "Try another method, or search the settings (natmu search)."
    instead = concluded(*rows, audits={"natmu": caught, "salun": judged()})
    assert instead.steps[0].startswith("Prefer salun: ")
    neither = concluded(*rows, audits={"natmu": judged(), "salun": judged()})
    assert not [step for step in neither.steps if step.startswith(("Prefer", "Try"))]


@pytest.mark.parametrize(
    ("audit", "step"),
    [
        (judged(level="quick"), "Audit at a higher level: audit: standard in the recipe."),
        (judged(level="standard"), "Audit at a higher level: audit: full in the recipe."),
        (judged("cannot be said", references=1), "Audit with more retrained models: references: 3 in the recipe."),
    ],
)
def test_an_audit_that_could_see_more_is_followed_by_a_stronger_one(audit, step):
    assert concluded(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), audits={"natmu": audit}).steps == (step,)


def test_an_audit_names_the_scores_that_see_the_model_after_correction():
    p_values = {"rmia_auc": 0.001, "forget_acc": 0.004, "kl_forget": 0.04, "zrf": 0.9, "test_acc": 0.0001}
    audit = judged("no", kept="no", verdicts={name: (value, 0.9) for name, value in p_values.items()})
    sentences = audit_sentences("natmu", audit)
    # Holm: 0.001 < 0.05/4 and 0.004 < 0.05/3, but 0.04 > 0.05/2; test_acc says nothing of the forget set
    assert sentences[0].endswith("(2 of 4 scores: rmia_auc, forget_acc).")
    assert sentences[1] == "The audit also sees lost accuracy on the other data."


def test_an_audit_that_sees_nothing_says_what_it_would_have_seen():
    audit = judged(verdicts={"forget_acc": (0.4, 0.56), "rmia_auc": (0.3, 0.95)})
    (sentence,) = audit_sentences("natmu", audit)
    assert sentence.endswith("by 2 scores; a difference of 0.032 in rmia_auc would be seen with 80 % probability.")
    audit = judged(verdicts={"forget_acc": (0.4, 0.56), "rmia_auc": (0.3, 0.95)}, blind=("forget_acc",))
    assert "by 2 scores, of which 1 does not distinguish the original either; a" in audit_sentences("natmu", audit)[0]
    assert audit_sentences("natmu", judged("cannot be said", verdicts={"zrf": (0.4, 0.5)}))[0].endswith(
        "cannot say whether the samples are forgotten: not even the original is distinguishable."
    )


def test_place_beside_a_baseline_of_known_and_unknown_interval():
    wide, one = column(0.9, 1.0, 1.1), column(1.0)
    end = 1 + student.ppf(0.975, 2) * 0.1 / math.sqrt(3)
    assert place_of(column(end - 0.01), wide) == "inside"
    assert place_of(column(end + 0.01), wide) == "outside"
    assert place_of(column(end - 0.1, end + 0.1, end), wide) == "open"
    assert place_of(column(0.9), one) == "inside"
    assert place_of(one, None) == "not known"


def test_numbers_have_the_digits_that_they_deserve():
    assert [significant(value) for value in (0.0344, 4.0, 5.67, 123.4)] == ["0.034", "4", "5.7", "123"]
    assert written(column(1.0, 3.0, 2.0)) == "2.0 (0.0 to 4.5)"  # no gap is below 0
    assert written(column(2.0, 2.0)) == "2.00 (2.00 to 2.00)"
    assert [listed(["a", "b", "c", "d", "e"][:count], "more") for count in (1, 2, 4, 5)] == [
        "a",
        "a and b",
        "a, b, c and d",
        "a, b, c and 2 more",
    ]


def test_every_forget_set_has_a_conclusion_in_order():
    other = changed(a_method("natmu", 2.0, 2.1), scenario="class:3")
    found = conclusions(table(RETRAINED, a_method("natmu", 0.7, 0.8, 0.75), other), {"class:3": {"natmu": judged()}})
    assert [one.title for one in found] == [FORGET, "class:3"]
    assert ["was not audited" in one.audit[0] for one in found] == [True, False]


def test_the_picture_has_the_closest_methods_the_others_and_the_original():
    many = [a_method(f"a_method_with_a_long_name_{place}", 2.0 + place, 2.1 + place) for place in range(9)]
    drawn = picture(Outcome(table(ORIGINAL, RETRAINED, *many), FORGET, {}))
    assert drawn.count("<title>") == SHOWN
    assert ">3 others<" in drawn
    assert drawn.count('class="beyond"') == 3  # farther away than the last that is named
    assert ">4 %<" in drawn
    assert 'class="band"' in drawn
    assert picture(Outcome(table(ORIGINAL, RETRAINED), FORGET, {})) is None
    nothing = picture(Outcome(table(a_method("natmu", 0.0)), FORGET, {}))
    assert "nan" not in nothing


def test_the_picture_is_drawn_to_scale():
    drawn = picture(Outcome(table(ORIGINAL, a_method("near", 3.0)), FORGET, {}))
    places = [float(part.split('"')[0]) for part in drawn.split('cx="')[1:]]
    near, far = (place - 116 for place in places)
    assert far / near == pytest.approx(2.0, rel=0.01)


def test_a_run_has_a_conclusion_of_its_own():
    scored = {"original": {"forget_acc": 100.0}, "natmu": {"forget_acc": 91.25}}
    bare = conclude_run("natmu", scored, 3.0, 60.0, None, "mine")
    assert bare.sentences[0] == "natmu predicts the label of 91.2 % of the forget set (the original 100.0 %)."
    assert bare.cost == "It took 3.0 seconds, 5 % of the retrained model's time."
    assert bare.steps == ("Audit it: natmu audit runs/mine --level standard",)
    higher = conclude_run("natmu", scored, 3.0, None, judged(level="quick"), "mine")
    assert higher.steps == ("Audit at a higher level: natmu audit runs/mine --level standard.",)
    more = conclude_run("natmu", scored, 3.0, None, judged("cannot be said", level="quick", references=2), "mine")
    assert more.steps[0].endswith("natmu audit runs/mine --level quick --references 4.")
    assert conclude_run("natmu", {"natmu": {}}, 3.0, None, judged(), "mine").steps == (NOTHING_LEFT,)
    assert conclude_run("natmu", scored, 3.0, None, judged("no"), "mine").steps[0].startswith("Try another method")


def test_terminal_and_markdown_say_the_same(tmp_path):
    folder, _ = folders.make_study(tmp_path)
    folders.add_audit(tmp_path / "run20")
    study, stream = open_study(folder), io.StringIO()
    print_conclusions(study, Console(file=stream, width=10_000))
    text = study_markdown(study)
    shown = [line.removeprefix("Next: ") for line in stream.getvalue().splitlines()[2:]]
    assert "The audit of natmu (level standard, 2 retrained models)" in stream.getvalue()
    assert text.startswith("## Conclusion\n\n**random:10%.** natmu comes closest")
    assert all(line.replace("_", r"\_") in text or line in text for line in shown)
