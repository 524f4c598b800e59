"""Lineages: everything that determines a model, its digest, and what the model is called."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from natmu.records.derived import forget_of, retrained, title
from natmu.records.digests import digest_of
from natmu.records.files import Value
from natmu.records.forgetting import ForgetRequest, parse_forget
from natmu.records.lineage import (
    AllBut,
    AnyLineage,
    DroppedOutputs,
    Everything,
    HalfOfPool,
    Imported,
    Unlearned,
)
from natmu.records.settings import Sharding, TrainSettings

from . import lineages

SPEC = {"kind": "train", "lr": 0.1, "data": {"source": "digits", "sizes": [1, 2]}, "seed": 0, "holdout": None}

KINDS = {
    "initial": lineages.initial(),
    "imported": lineages.imported(),
    "original": lineages.trained(),
    "retrained": lineages.retrained_model(),
    "retrained without the hardest": lineages.retrained_model(of=lineages.hardest(lineages.trained())),
    "shadow": lineages.shadow(),
    "unlearned": lineages.unlearned(),
    "unlearned from elsewhere": lineages.unlearned(lineages.imported(), lineages.hardest(lineages.imported())),
    "unlearned shadow": lineages.unlearned(lineages.shadow()),
    "unlearned with its output": lineages.unlearned().but(dropped=DroppedOutputs(layer="head", classes=(3,))),
    "unlearned twice": lineages.unlearned(lineages.unlearned(), lineages.later()),
    "retrained without both": lineages.retrained_model(of=lineages.later()),
    "relearned": lineages.relearned(),
    "relearned by a retrained model": lineages.relearned(lineages.retrained_model()),
    "probed": lineages.probed(),
    "probed from elsewhere": lineages.probed(lineages.imported()),
}

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return [reversed_keys(item) for item in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), values, max_size=5))
def test_digest_does_not_depend_on_the_order_of_keys(spec):
    assert digest_of(spec) == digest_of(reversed_keys(spec))
    assert len(digest_of(spec)) == 16
    assert int(digest_of(spec), 16) >= 0


@given(
    st.dictionaries(st.text(max_size=3), values, max_size=3), st.dictionaries(st.text(max_size=3), values, max_size=3)
)
def test_digests_are_equal_only_for_equal_values(first, second):
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (digest_of(first) == digest_of(second)) == same


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "unlearn"},
        {"lr": 0.1 + 1e-17 * 8},
        {"data": {"source": "digits", "sizes": [2, 1]}},
        {"data": {"source": "digits", "sizes": [1, 2], "more": None}},
        {"seed": 1},
        {"seed": "0"},
        {"holdout": False},
    ],
    ids=str,
)
def test_each_value_counts(change):
    assert digest_of(SPEC | change) != digest_of(SPEC)


def test_the_numerics_tag_counts(monkeypatch):
    before = lineages.trained().digest
    assert before == lineages.trained().digest
    monkeypatch.setattr("natmu.records.digests.NUMERICS", "other")
    assert lineages.trained().digest != before


OTHERS = {
    "recipe": lineages.RECIPE.model_copy(update={"lr": 0.06}),
    "precision": "bf16",
    "sync_batch_norm": True,
    "positions": "dd",
    "source": {str: "cifar10", type(None): "dd"},
    "by": lineages.imported("ff"),
    "after": lineages.forget("class:5", None),
    "holdout": {bool: False, str: "dd"},
    "image_size": 8,
    "mean": (0.5,),
    "std": (0.25,),
    "outputs": "probabilities",
    "test": {type(None): "elsewhere", str: "dd"},
    "test_fraction": 0.2,
    "classes": {type(None): ("b", "a"), tuple: (4,)},
    "class_order": "natural",
    "dropped": DroppedOutputs(layer="head", classes=(3,)),
}
"""Other values of fields whose type does not say how to find one."""


def other(name, value):
    """Another value of a field."""
    if name in OTHERS:
        chosen = OTHERS[name]
        return chosen[type(value)] if isinstance(chosen, dict) else chosen
    match value:
        case ForgetRequest():
            return parse_forget("class:4")
        case dict():
            return value | {"epochs": 7}
        case str():
            return value + "0"
        case bool():
            return not value
        case int() | None:
            return (value or 0) + 1
    raise AssertionError(f"no other value for {name}")


def varied(value):
    """The same value with each of its fields, and theirs, changed in turn; the name of the field with it."""
    for name in type(value).model_fields:
        held = getattr(value, name)
        if name in ("kind", "rule"):
            continue
        if isinstance(held, Value):
            changes = [(f"{name}.{inner}", changed) for inner, changed in varied(held)]
        else:
            changes = [(name, other(name, held))]
        for where, changed in changes:
            fields = {one: getattr(value, one) for one in type(value).model_fields}
            yield where, type(value)(**(fields | {name: changed}))


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_every_field_of_a_lineage_and_of_what_it_starts_from_changes_its_digest(model):
    changed = dict(varied(model))
    digests = {name: one.digest for name, one in changed.items()}
    assert len(digests) >= 4
    assert len({model.digest, *digests.values()}) == 1 + len(digests), digests


@pytest.mark.parametrize("name", TrainSettings.model_fields)
def test_every_setting_of_the_training_changes_the_digest(name):
    others = {"optimizer": "adam", "schedule": "constant", "augment": False, "momentum": 0.5, "weight_decay": 0.5}
    others |= {"sharding": Sharding(shards=2)}
    value = others[name] if name in others else getattr(lineages.RECIPE, name) + 1
    changed = lineages.RECIPE.model_copy(update={name: value})
    assert lineages.trained(recipe=changed).digest != lineages.trained().digest


def test_kinds_and_rules_tell_lineages_apart_that_have_all_else_in_common():
    assert len({model.digest for model in KINDS.values()}) == len(KINDS)
    forget, model = lineages.forget(), lineages.trained()
    subsets = (Everything(), AllBut(forget=forget), HalfOfPool(forget=forget, number=0))
    assert len({model.but(on=subset).digest for subset in subsets}) == 3


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_a_lineage_comes_back_from_json_as_it_was(model):
    text = json.dumps(model.plain())
    again = TypeAdapter(AnyLineage).validate_json(text)
    assert type(again) is type(model)
    assert again == model
    assert again.digest == model.digest
    assert hash(again) == hash(model)
    assert digest_of(json.loads(text)) == model.digest


@pytest.mark.parametrize("model", KINDS.values(), ids=KINDS)
def test_but_gives_other_values_and_the_digest_of_those(model):
    _ = model.digest  # a copy would keep it
    for name, changed in varied(model):
        if "." not in name:
            found = model.but(**{name: getattr(changed, name)})
            assert found == changed
            assert found.digest == changed.digest != model.digest
    assert model.but() == model
    assert model.but().digest == model.digest


def test_but_checks_what_it_is_given():
    with pytest.raises(ValidationError):
        lineages.trained().but(seed="0")
    with pytest.raises(ValidationError):
        lineages.trained().but(sede=1)


def test_an_original_starts_from_weights_of_its_seed_and_a_retrained_model_from_those_or_from_others():
    first, second = lineages.trained(0), lineages.trained(1)
    assert first.start != second.start
    forget, at = lineages.forget(), lineages.ARITHMETIC
    assert retrained(first, forget, at, 5, fresh=False).start == first.start
    fresh = {seed: retrained(first, forget, at, seed, fresh=True).start for seed in (0, 1)}
    assert {start.reset for start in fresh.values()} == {True}
    assert not first.start.reset
    assert len({first.start, second.start, *fresh.values()}) == 4
    other = retrained(first, forget, at.model_copy(update={"precision": "bf16"}), 0, fresh=False)
    assert (other.arithmetic.precision, other.start.seed) == ("bf16", first.start.seed)
    with pytest.raises(ValueError, match="nobody knows"):
        retrained(lineages.imported(), forget, at, 0, fresh=False)


def test_what_a_model_is_to_have_forgotten():
    forget = lineages.forget()
    for name, expected in (
        ("initial", None),
        ("imported", None),
        ("original", None),
        ("shadow", None),
        ("retrained", forget),
        ("unlearned", forget),
        ("relearned", forget),
        ("probed", forget),
    ):
        assert forget_of(KINDS[name]) == expected, name


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lineages.initial(3), "untrained model, seed 3"),
        (lineages.imported(), "imported model 01234567"),
        (lineages.trained(2), "original, seed 2"),
        (lineages.retrained_model(1), "retrained, random:10%, seed 1"),
        (lineages.retrained_model(1, lineages.forget(seed=4)), "retrained, random:10% (split 4), seed 1"),
        (lineages.shadow(5, lineages.forget("class:3", None)), "shadow model 5, class:3"),
        (lineages.unlearned(seed=6), "amnesiac, random:10%, seed 6 from original, seed 0"),
        (lineages.unlearned(lineages.imported()), "amnesiac, random:10%, seed 0"),
        (
            lineages.unlearned(lineages.shadow(1), seed=1),
            "amnesiac, random:10%, seed 1 from shadow model 1, random:10%",
        ),
        (lineages.relearned(lineages.retrained_model()), "relearning of retrained, random:10%, seed 0"),
        (lineages.probed(lineages.imported()), "probes of imported model 01234567"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_model_is_called_by_what_it_is(model, expected):
    assert title(model) == expected


def test_a_model_cannot_be_unlearned_from_one_that_has_learnt_nothing():
    with pytest.raises(ValidationError):
        Unlearned(**{**dict(lineages.unlearned()), "source": lineages.initial()})
    assert isinstance(lineages.unlearned(lineages.imported()).source, Imported)
