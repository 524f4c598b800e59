"""Which models an audit compares: a function of the model's lineage, of the level and of a number."""

from __future__ import annotations

import pytest

from natmu.audits import AuditModels
from natmu.records.derived import original_of
from natmu.records.lineage import AllBut, Everything, HalfOfPool, Imported, Initial, Trained, Unlearned
from records import lineages

ORIGINAL = lineages.trained(3)
FORGET = lineages.forget("class:3", None)
SECOND = lineages.later(FORGET)
MODEL = lineages.unlearned(ORIGINAL, FORGET, seed=5)
ELSEWHERE = lineages.unlearned(lineages.imported(), FORGET, seed=5)
RETRAINED = lineages.retrained_model(3, FORGET, ORIGINAL).but(start=ORIGINAL.start)


def parts(subject, level, number=3):
    source = getattr(subject, "source", ORIGINAL)
    return AuditModels(subject, source, level, number).parts


def counts(subject, level, number=3):
    return {part: len(models) for part, models in parts(subject, level, number).items() if models}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("quick", {"initial": 1, "retrained": 3}),
        ("standard", {"initial": 1, "retrained": 3, "original": 2, "unlearned": 2}),
        (
            "full",
            {"initial": 1, "retrained": 3, "original": 2, "unlearned": 2, "again": 2}
            | {"shadow": 4, "unlearned shadow": 4},
        ),
    ],
)
def test_each_level_adds_models_and_shadow_models_come_in_pairs(level, expected):
    assert counts(MODEL, level) == expected


def test_the_first_retrained_model_starts_where_the_original_did_and_the_others_elsewhere():
    first, *others = parts(MODEL, "standard")["retrained"]
    assert (first.start, first.seed) == (ORIGINAL.start, 3)
    assert [one.seed for one in others] == [4, 5]
    assert len({one.start for one in (first, *others)}) == 3
    assert all(one.on == AllBut(forget=FORGET) and one.recipe == ORIGINAL.recipe for one in (first, *others))


def test_the_method_is_repeated_on_other_originals_and_on_the_same_with_other_seeds():
    found = parts(MODEL, "full")
    originals = list(found["original"])
    assert [one.seed for one in originals] == [4, 5]
    assert all(one.on == Everything() for one in originals)
    assert len({one.start for one in (*originals, ORIGINAL)}) == 3
    assert [(one.source, one.seed) for one in found["unlearned"]] == [(originals[0], 6), (originals[1], 7)]
    assert [(one.source, one.seed) for one in found["again"]] == [(ORIGINAL, 6), (ORIGINAL, 7)]
    for one in (*found["unlearned"], *found["again"]):
        assert (one.method, one.settings, one.batch_size, one.forget) == (
            MODEL.method,
            MODEL.settings,
            MODEL.batch_size,
            MODEL.forget,
        )


def test_no_model_of_the_audit_starts_from_the_untrained_one():
    found = parts(MODEL, "full", 4)
    (initial,) = found["initial"]
    assert isinstance(initial, Initial)
    trained = [one for models in found.values() for one in models if isinstance(one, Trained)]
    assert initial not in [one.start for one in (*trained, ORIGINAL)]


def test_of_a_model_from_elsewhere_there_are_other_originals_where_somebody_says_how_it_was_trained():
    assert counts(ELSEWHERE, "standard") == {"initial": 1, "retrained": 3, "original": 2, "unlearned": 2}
    untold = ELSEWHERE.but(source=ELSEWHERE.source.but(recipe=None))
    bare = AuditModels(untold, untold.source, "standard", 3)
    assert {part for part, models in bare.parts.items() if models} == {"initial"}
    full = parts(ELSEWHERE, "full")
    assert [one.source for one in full["again"]] == [ELSEWHERE.source] * 2
    assert len({one.start for one in full["retrained"]}) == 3
    assert full["retrained"][0].seed == 0
    assert isinstance(original_of(ELSEWHERE), Imported)


def test_a_retrained_model_is_not_compared_with_itself_and_has_retrained_models_as_its_equals():
    for level in ("quick", "standard"):
        assert counts(RETRAINED, level) == {"initial": 1, "retrained": 3}
        assert RETRAINED not in parts(RETRAINED, level)["retrained"]
    assert {*parts(MODEL, "quick")["retrained"]} - {*parts(RETRAINED, "quick")["retrained"]} == {RETRAINED}
    of_the_method = AuditModels(MODEL, ORIGINAL, "quick", 3)
    assert AuditModels(RETRAINED, ORIGINAL, "quick", 3).shared == of_the_method.shared
    other = lineages.retrained_model(9, FORGET, ORIGINAL)
    assert parts(other, "quick")["retrained"] == parts(MODEL, "quick")["retrained"]


def test_shadow_models_are_the_same_for_every_method_and_unlearn_with_it():
    other = MODEL.but(method="finetune")
    found, others = parts(MODEL, "full"), parts(other, "full")
    assert list(found["shadow"]) == list(others["shadow"])
    assert {*found["unlearned shadow"]}.isdisjoint(others["unlearned shadow"])
    for number, (shadow, unlearned) in enumerate(zip(found["shadow"], found["unlearned shadow"], strict=True)):
        assert shadow.on == HalfOfPool(forget=FORGET, number=number)
        assert shadow.recipe == ORIGINAL.recipe
        assert isinstance(unlearned, Unlearned)
        assert (unlearned.source, unlearned.seed, unlearned.forget) == (shadow, MODEL.seed + number, FORGET)
    assert len({shadow.start for shadow in found["shadow"]}) == 4


def test_of_a_retrained_model_shadow_models_are_retrained_without_all_of_the_pool():
    found = parts(RETRAINED, "full")
    assert len(found["unlearned shadow"]) == len(found["shadow"]) == 4
    for shadow, retrained in zip(found["shadow"], found["unlearned shadow"], strict=True):
        assert retrained.on == AllBut(forget=FORGET)
        assert retrained.start == shadow.start


def test_the_models_relearn_the_forget_set_but_at_the_level_quick():
    assert AuditModels(MODEL, ORIGINAL, "quick", 3).curves == []
    curves = AuditModels(MODEL, ORIGINAL, "standard", 12).curves
    assert [curve.source for curve in curves] == [MODEL, *parts(MODEL, "standard", 12)["retrained"][: len(curves) - 1]]
    assert len(curves) == 1 + 8
    assert {curve.forget.request.text for curve in curves} == {"class:3"}


def test_the_models_are_probed_but_at_the_level_quick():
    assert AuditModels(MODEL, ORIGINAL, "quick", 3).probes == []
    probes = AuditModels(MODEL, ORIGINAL, "standard", 12).probes
    retrained = parts(MODEL, "standard", 12)["retrained"]
    assert [probe.source for probe in probes] == [MODEL, ORIGINAL, *retrained[:8]]
    assert {probe.forget.request.text for probe in probes} == {"class:3"}


def test_every_model_is_wanted_once():
    models = AuditModels(MODEL, ORIGINAL, "full", 5).all
    assert len({model.digest for model in models}) == len(models) == 1 + 5 + 4 + 4 + 4 + 6 + 6 + 6 + 7


def test_the_original_of_a_model():
    assert original_of(MODEL) == ORIGINAL
    assert original_of(RETRAINED) == ORIGINAL
    hardest = lineages.hardest(ORIGINAL)
    assert original_of(lineages.retrained_model(7, hardest, ORIGINAL)) == ORIGINAL
    for model in (ORIGINAL, lineages.imported()):
        assert original_of(model) == model


def test_the_original_of_a_sequence_is_where_it_began():
    second = lineages.unlearned(MODEL, SECOND, seed=6)
    assert original_of(second) == ORIGINAL
    without_both = lineages.retrained_model(3, SECOND, ORIGINAL).but(start=ORIGINAL.start)
    assert original_of(without_both) == ORIGINAL
    assert original_of(lineages.unlearned(RETRAINED, SECOND)) == ORIGINAL
    hardest = lineages.hardest(ORIGINAL).model_copy(update={"after": FORGET})
    assert original_of(lineages.retrained_model(7, hardest, ORIGINAL)) == ORIGINAL
    assert original_of(lineages.retrained_model(7, lineages.later(lineages.hardest(ORIGINAL)), ORIGINAL)) == ORIGINAL


def test_a_second_request_is_compared_with_models_that_saw_neither():
    second = lineages.unlearned(MODEL, SECOND, seed=6)
    found = AuditModels(second, ORIGINAL, "full", 2).parts
    assert {model.on for model in found["retrained"]} == {AllBut(forget=SECOND)}
    assert SECOND.after == FORGET
    (other,) = found["unlearned"]
    assert isinstance(other.source, Unlearned)
    assert (other.source.source, other.source.forget, other.forget) == (lineages.trained(4), FORGET, SECOND)
    assert (other.seed, other.source.seed) == (6 + 1, 5 + 1)
    assert [model.source for model in found["again"]] == [MODEL]
    assert {model.on.forget for model in found["shadow"]} == {SECOND}


def test_another_original_of_a_sequence_that_began_with_retraining_is_retrained_too():
    first = lineages.retrained_model(1, FORGET, ORIGINAL)
    second = lineages.unlearned(first, SECOND, seed=6)
    found = AuditModels(second, ORIGINAL, "standard", 2).parts
    (other,) = found["unlearned"]
    assert other.source == lineages.retrained_model(2, FORGET, lineages.trained(4))


def test_an_audit_makes_models_in_as_many_processes_as_made_the_subject():
    """A store must not call by the name of one process what two have made: their digests differ."""
    two = MODEL.arithmetic.model_copy(update={"processes": 2, "sync_batch_norm": True})
    second = lineages.unlearned(MODEL, SECOND, seed=6).but(arithmetic=two)
    found = AuditModels(second, ORIGINAL, "full", 2).parts
    made = [model for part, models in found.items() for model in models]
    (other,) = found["unlearned"]
    assert {model.arithmetic for model in [*made, other.source, other.source.source]} == {two}
    assert all(model.start.arithmetic == two for model in found["shadow"])
