"""Models that return something else than logits give, through the Python interface, what a plain model gives."""

import copy

import pytest
import torch
from torch import nn

import natmu
from natmu.data import load
from natmu.errors import ModelError, SettingError
from natmu.models import build_model

FORGET = list(range(0, 60, 6))


class Holding(nn.Module):
    """The same network, whose logits stand in a mapping in eval mode and in a tuple in training mode."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        logits = self.network(images)
        return (logits, logits + 1) if self.training else {"logits": logits, "features": 2 * logits}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load("digits", tmp_path_factory.mktemp("data"), train_size=150)


@pytest.fixture(scope="module")
def parts(data):
    return (data.train.images, data.train.labels), (data.test.images[:60], data.test.labels[:60])


@pytest.fixture(scope="module")
def plain(data):
    shape = {"num_classes": 10, "image_shape": (1, 8, 8), "mean": data.mean, "std": data.std}
    return build_model("small_cnn", **shape, seed=0)


def unlearn(model, parts, **options):
    fast = {"epochs": 1, "batch_size": 32, "device": "cpu", "precision": "fp32", "progress": False}
    return natmu.unlearn(model, parts[0], FORGET, "finetune", **fast, force=True, **options)


def same(model, other):
    return all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_where_the_logits_stand_changes_no_number(data, parts, plain):
    wanted = unlearn(plain, parts).model
    found = unlearn(Holding(copy.deepcopy(plain)), parts).model
    assert type(found) is Holding
    assert same(found.network, wanted)
    bare = copy.deepcopy(plain)
    bare.normalize = nn.Identity()
    found = unlearn(nn.DataParallel(bare), parts, mean=data.mean, std=data.std).model
    assert type(found) is nn.DataParallel
    assert found.state_dict().keys() == nn.DataParallel(bare).state_dict().keys()
    assert same(found.module, wanted)

    asked = {"device": "cpu", "precision": "fp32", "progress": False, "force": True}
    audits = [
        natmu.audit(model, *parts, FORGET, retrained=[retrained], **asked)
        for model, retrained in [(plain, wanted), (Holding(plain), Holding(wanted))]
    ]
    assert audits[0].scores == audits[1].scores
    assert audits[0].retrained == audits[1].retrained


def test_what_a_model_returns_is_said_once_and_rightly(parts, plain):
    ending = nn.Sequential(copy.deepcopy(plain), nn.Softmax(dim=1))
    with pytest.raises(ModelError, match="outputs='probabilities'"):
        unlearn(ending, parts)
    found = unlearn(ending, parts, outputs="probabilities").model
    assert found.state_dict().keys() == ending.state_dict().keys()
    wanted = unlearn(plain, parts).model
    torch.testing.assert_close(found[0].classifier.weight, wanted.classifier.weight, rtol=1e-3, atol=1e-4)
    for options, words in [({"outputs": "odds"}, "outputs must be one of"), ({"mean": [0.5]}, "belong together")]:
        with pytest.raises(SettingError, match=words):
            unlearn(plain, parts, **options)
