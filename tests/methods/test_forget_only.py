"""Where nothing but the forget set is left: which methods do without the rest, and what the others say."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

import natmu
from natmu.data import parse_forget, resolve_forget
from natmu.errors import ForgetSetError, SettingError
from natmu.methods import AMUN, METHODS, RUM, FineTune, method_named

from .problems import QUICK, noise_data, small_net, state_of

unlearn, audit = (partial(verb, force=True, progress=False) for verb in (natmu.unlearn, natmu.audit))

WITHOUT = [method.name for method in METHODS if not method.needs_retain and not method.needs_head]


@pytest.fixture(scope="module")
def data():
    return noise_data(24)


@pytest.fixture(scope="module")
def model(data):
    model = small_net(data.image_shape, 5).train()
    with torch.no_grad():
        model(data.images.float() / 255)
    return model


@pytest.fixture(scope="module")
def left(data):
    """The forget samples alone: two of the model's five classes, as arrays whose labels are mere numbers."""
    rows = np.flatnonzero(data.labels.numpy() < 2)
    return data.images.numpy()[rows], data.labels.numpy()[rows]


@pytest.mark.parametrize("name", WITHOUT)
def test_methods_that_need_no_retain_set_give_the_same_with_and_without_one(name, data, model, left):
    rows, method = np.flatnonzero(data.labels.numpy() < 2), method_named(name)(**QUICK[name])
    alone = unlearn(model, left, "all", method, forget_only=True)
    whole = unlearn(model, (data.images.numpy(), data.labels.numpy()), rows, method)
    assert len(alone.forget) == len(rows)
    for key, value in state_of(whole.model).items():
        torch.testing.assert_close(alone.model.state_dict()[key], value, rtol=1e-4, atol=1e-5)


def test_others_are_refused_with_the_list_of_those_that_can(data, model, left):
    for settings in ({}, {"forget_only": True}):
        with pytest.raises((ForgetSetError, SettingError), match=r"finetune reads .*delete, jit, .* need none\."):
            unlearn(model, left, "all", "finetune", **settings)
    with pytest.raises(SettingError, match=r"finetune reads samples that are kept"):
        unlearn(model, data, "class:1", "finetune", forget_only=True)
    with pytest.raises(ForgetSetError, match=r"means all 10 training samples.* write all"):
        unlearn(model, left, range(10), "jit")


def test_what_a_method_reads_may_depend_on_its_settings(model, left):
    assert AMUN().reads_retain
    assert RUM().reads_retain
    assert not RUM(medium="delete", high="jit").reads_retain
    settings = {"use_retain": False, "epochs": 1, "attack_steps": 10}
    assert unlearn(model, left, "all", "amun", forget_only=True, **settings)
    with pytest.raises(ForgetSetError, match="rum reads"):
        unlearn(model, left, "all", "rum")


def test_an_audit_has_the_scores_that_need_no_retain_set(data, model, left):
    result = unlearn(model, left, "all", "delete", epochs=1)
    unseen = noise_data(20, seed=3)
    retrained = [small_net(data.image_shape, 5, seed) for seed in range(2)]
    models = {"original": model, "retrained": retrained}
    found = audit(result.model, left, unseen, result.forget, **models, level="quick")
    assert {"forget_acc", "test_acc", "kl_forget"} <= found.scores.keys()
    assert {"retain_acc", "kl_retain", "avg_gap"} <= found.missing.keys()


def test_all_is_all_that_was_not_forgotten_before(data):
    first = resolve_forget(parse_forget("class:1"), data, seed=0)
    rest = resolve_forget(parse_forget("All"), data, seed=0, after=first)
    assert rest.scenario == "indices"
    assert sorted([*first.indices, *rest.indices]) == list(range(24))


def test_few_retained_samples_are_told_of_and_serve(capsys, data, model):
    for count, told in ((4, True), (14, False)):
        natmu.unlearn(model, data, np.arange(24 - count), FineTune(epochs=1), force=True)
        assert (f"{count} samples were kept and {24 - count} forgotten" in capsys.readouterr().err) == told


def test_a_class_that_the_data_no_longer_has_is_still_the_models(model, left):
    rows = slice(0, 4)
    result = unlearn(model, (left[0], left[1]), [0], method_named("natmu")(epochs=1))
    assert result.model[5].out_features == 5
    with pytest.raises(natmu.errors.ModelError, match=r"must return a tensor of logits of shape \(2, 6\)"):
        unlearn(model, (left[0][rows], np.array([0, 1, 2, 5])), [0])
