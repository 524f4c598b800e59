"""Forms in which trainers keep weights: prefixes, containers, precisions, folders."""

import argparse
import json
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from natmu.errors import ModelError
from natmu.models import load_weights
from natmu.progress import showing


def network():
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2)))


@pytest.fixture(autouse=True)
def said():
    """What is told to the user is printed."""
    with showing():
        yield


def printed(capsys):
    """What was told to the user, on one line."""
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def trained():
    return network()


def loads(content, trained, tmp_path, name="weights.pt"):
    """Whether a fresh network has the trained one's weights once the file is loaded."""
    torch.save(content, tmp_path / name)
    fresh = network()
    load_weights(fresh, tmp_path / name)
    return all(torch.equal(value, fresh.state_dict()[key]) for key, value in trained.state_dict().items())


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "backbone.", "model._orig_mod.", "wrapped.inner.module.", "n.m.k."]
)
def test_any_prefix_is_taken_off_where_all_other_names_match(prefix, trained, tmp_path):
    assert loads(under(prefix, trained.state_dict()), trained, tmp_path)


@pytest.mark.parametrize("name", ["last.ckpt", "model.bin", "best.pth.tar", "a.pt", "b.pth"])
def test_lightning_checkpoints_are_read_under_every_usual_name(name, trained, tmp_path, capsys):
    state = under("model.", trained.state_dict()) | {"criterion.weight": torch.ones(2)}
    content = {
        "state_dict": state,
        "optimizer_states": [{"state": {}, "param_groups": []}],
        "hyper_parameters": {"lr": 0.1},
        "callbacks": {},
        "epoch": 3,
    }
    assert loads(content, trained, tmp_path, name)
    assert "1 tensors: criterion.weight; they are not taken" in printed(capsys)


def test_averaged_and_old_weights_are_taken(trained, tmp_path):
    assert loads(AveragedModel(trained).state_dict(), trained, tmp_path)
    old = {name: value for name, value in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert loads(old, trained, tmp_path)
    cumulative = network()
    cumulative.norm.momentum = None
    torch.save(old, tmp_path / "old.pt")
    with pytest.raises(ModelError, match=r"norm.num_batches_tracked, which this layer needs"):
        load_weights(cumulative, tmp_path / "old.pt")


def test_arguments_in_a_namespace_are_read_and_other_classes_named(trained, tmp_path):
    state = trained.state_dict()
    assert loads({"args": argparse.Namespace(lr=0.1), "weights": {"best": state}}, trained, tmp_path)
    torch.save({"state_dict": state, "sequence": range(3)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=r"run code stored in it, as it holds .*range\. If you trust it"):
        load_weights(network(), tmp_path / "other.pt")


def test_of_two_fitting_state_dicts_the_usual_one_is_taken_and_the_other_named(trained, tmp_path, capsys):
    averaged = network().state_dict()
    assert loads({"ema_state_dict": averaged, "state_dict": trained.state_dict()}, trained, tmp_path)
    assert "under state_dict are taken, and not those under ema_state_dict" in printed(capsys)
    both = under("student.", trained.state_dict()) | under("teacher.", averaged)
    torch.save(both, tmp_path / "both.pt")
    with pytest.raises(ModelError, match=r"several times \(student.fc.bias, teacher.fc.bias\)"):
        load_weights(network(), tmp_path / "both.pt")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_another_precision_is_cast_and_said(dtype, trained, tmp_path, capsys):
    half = {
        name: value.to(dtype) if value.is_floating_point() else value for name, value in trained.state_dict().items()
    }
    torch.save(half, tmp_path / "weights.pt")
    fresh = network()
    load_weights(fresh, tmp_path / "weights.pt")
    assert torch.equal(fresh.fc.weight, trained.fc.weight.to(dtype).float())
    assert f"are {str(dtype).removeprefix('torch.')}; they are computed with in float32" in printed(capsys)
    with pytest.raises(ModelError, match=r"1 of another type: fc.weight \(torch.int8\)"):
        loads(trained.state_dict() | {"fc.weight": torch.zeros(2, 4, dtype=torch.int8)}, trained, tmp_path)


def test_normalisation_beside_a_prefix_is_not_dropped(trained, tmp_path):
    state = under("model.", trained.state_dict()) | {"normalize.mean": torch.zeros(3), "normalize.std": torch.ones(3)}
    with pytest.raises(ModelError, match="unexpected"):
        loads(state, trained, tmp_path)


@pytest.mark.parametrize("kind", ["safetensors", "bin", "shards"])
def test_huggingface_folders_are_read(kind, trained, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    state = dict(trained.state_dict())
    if kind == "safetensors":
        save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    elif kind == "bin":
        torch.save(state, tmp_path / "pytorch_model.bin")
    else:
        files = {name: f"model-{1 + (name > 'f')}.safetensors" for name in state}
        for file in set(files.values()):
            save_file({name: state[name] for name in state if files[name] == file}, tmp_path / file)
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    fresh = network()
    load_weights(fresh, tmp_path)
    assert all(torch.equal(value, fresh.state_dict()[name]) for name, value in state.items())


def test_an_index_that_leads_out_of_its_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    index = tmp_path / "model.safetensors.index.json"
    for content, words in [
        ('{"weight_map": {"fc.weight": "../x.safetensors"}}', "does not name"),
        ("[", "cannot be read"),
    ]:
        index.write_text(content)
        with pytest.raises(ModelError, match=words):
            load_weights(network(), tmp_path)
