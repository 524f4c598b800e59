"""Python: a class is forgotten with its output, and a model with one column less is audited like any other."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import natmu
from natmu.errors import ModelError, SettingError
from natmu.testing.problems import digits

QUIET = {"progress": False, "device": "cpu", "precision": "fp32"}


def network(outputs=10):
    torch.manual_seed(outputs)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, outputs))


def fitted(model, data, rows, labels=None, steps=150):
    images, labels = data.images[rows].float() / 255, data.labels if labels is None else labels
    wanted, optimizer = torch.as_tensor(labels)[rows], torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), wanted).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="module")
def world():
    """Data, an original, and two models that never had an output for the class 3."""
    data, test = digits(0, 300), digits(300, 500)
    labels = np.asarray(data.labels)
    retain = torch.from_numpy(np.flatnonzero(labels != 3))
    moved = torch.from_numpy(np.where(labels > 3, labels - 1, labels))
    references = [fitted(network(9), data, retain, moved), fitted(network(9), data, retain, moved, steps=140)]
    return data, test, fitted(network(), data, torch.arange(300)), references


def test_the_result_has_one_output_less_and_is_compared_about_what_is_left(world):
    data, test, original, references = world
    result = natmu.unlearn(original, data, "class:3", "finetune", epochs=1, lr=1e-3, drop_class=True, **QUIET)
    assert type(result.model) is nn.Sequential
    assert (result.model[3].out_features, original[3].out_features) == (9, 10)
    assert result.summary["result"]["forget_acc"] == 0
    with pytest.raises(ModelError, match="drop the class with the last request"):
        natmu.unlearn(result.model, data, "class:4", "finetune", already_forgotten=result.forget, **QUIET)
    assert result.settings["dropped"] == {"layer": "3", "classes": [3]}
    assert any("in this order: 0, 1, 2, 4" in sentence for sentence in result.decisions)

    whole = [copy.deepcopy(one) for one in references]
    for one in whole:  # the same models with a row that nothing is known of
        head, one[3] = one[3], nn.Linear(24, 10)
        with torch.no_grad():
            one[3].weight[[0, 1, 2, 4, 5, 6, 7, 8, 9]], one[3].bias[[0, 1, 2, 4, 5, 6, 7, 8, 9]] = (
                head.weight,
                head.bias,
            )
    audits = [
        natmu.audit(subject, data, test, "class:3", retrained=retrained, original=original, level="standard", **QUIET)
        for subject, retrained in ((result, references), (result.model, whole))
    ]
    assert audits[0].scores == pytest.approx(audits[1].scores, rel=1e-6)
    scores, retrained = audits[0].scores, audits[0].retrained
    for name in ("forget_acc", "forget_test_acc"):
        assert scores[name] == retrained[name] == audits[0].original[name] == 0
    assert any("as if they had none either" in sentence for sentence in audits[0].decisions)
    assert "needs an output" in audits[0].missing["relearn_time"]


def test_an_audit_finds_itself_equal_where_all_models_are_the_same(world):
    """Scores of the dropped label say the same of every model, whatever its other logits are."""
    data, test, original, references = world
    audit = natmu.audit(
        references[0], data, test, "class:3", retrained=references, original=original, level="standard", **QUIET
    )
    for name in ("auc_forget_test_loss", "auc_forget_test_confidence", "auc_forget_test_margin"):
        assert audit.scores[name] == audit.retrained[name] == audit.original[name] == 0.5
    assert audit.scores["residual_knowledge"] == audit.original["residual_knowledge"] == 1
    assert audit.original["auc_forget_test_entropy"] != audit.scores["auc_forget_test_entropy"]


def test_fewer_outputs_for_another_reason_are_refused_as_before(world):
    data, test, original, references = world
    for forget in ("class:3,4", "random:5%"):
        with pytest.raises(ModelError):
            natmu.audit(references[0], data, test, forget, retrained=references, **QUIET)
    with pytest.raises(ModelError):
        natmu.audit(original, data, test, "class:3", retrained=references, **QUIET)
    with pytest.raises(SettingError, match="forgets no whole class"):
        natmu.unlearn(original, data, "random:5%", "finetune", drop_class=True, **QUIET)
