"""Unlearned weights in the container that the original came in: a plain loader reads them as it read the original."""

import argparse
from collections import OrderedDict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from natmu.errors import ModelError
from natmu.models.exporting import exported, write_container


def network():
    with torch.random.fork_rng(devices=[]):
        return nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4), fc=nn.Linear(4, 2)))


@pytest.fixture
def original():
    return network()


@pytest.fixture
def unlearned():
    return network().state_dict()


def same(found, expected):
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_training_checkpoint_keeps_all_but_its_weights(original, unlearned, tmp_path):
    optimizer = {"state": {0: {"momentum_buffer": torch.ones(4, 3, 3, 3)}}, "param_groups": [{"lr": 0.1}]}
    state = OrderedDict((f"module.{name}", value) for name, value in original.state_dict().items())
    state._metadata = original.state_dict()._metadata
    content = {"epoch": 7, "args": argparse.Namespace(lr=0.1), "state_dict": state, "optimizer": optimizer}
    torch.save(content, tmp_path / "original.pth.tar")
    container, sentences = exported(unlearned, tmp_path / "original.pth.tar", None)
    write_container(container.content, tmp_path / "unlearned.pth.tar")
    with torch.serialization.safe_globals([argparse.Namespace]):
        loaded = torch.load(tmp_path / "unlearned.pth.tar", weights_only=True)
    assert list(loaded) == list(content)
    assert (loaded["epoch"], loaded["args"].lr) == (7, 0.1)
    assert loaded["optimizer"]["param_groups"] == optimizer["param_groups"]
    assert same(loaded["optimizer"]["state"][0], optimizer["state"][0])
    assert type(loaded["state_dict"]) is OrderedDict
    assert loaded["state_dict"]._metadata == state._metadata
    assert list(loaded["state_dict"]) == list(state)
    assert same(loaded["state_dict"], {f"module.{name}": value for name, value in unlearned.items()})
    assert sentences == ["optimizer is kept; it comes from training with the forgotten samples."]


def test_names_types_and_ties_are_those_of_the_file(original, unlearned, tmp_path):
    state = {
        f"_orig_mod.{name}": value.half() if value.dim() else value for name, value in original.state_dict().items()
    }
    state["_orig_mod.fc.weight"] = nn.Parameter(state["_orig_mod.fc.weight"], requires_grad=False)
    torch.save({"model": state}, tmp_path / "original.pt")
    container, _ = exported(unlearned, tmp_path / "original.pt", None)
    found = container.content["model"]
    assert {name: value.dtype for name, value in found.items()} == {name: value.dtype for name, value in state.items()}
    assert isinstance(found["_orig_mod.fc.weight"], nn.Parameter)
    assert torch.equal(found["_orig_mod.conv.weight"], unlearned["conv.weight"].half())
    with pytest.raises(ModelError, match=r"conv.bias does not fit into torch.float16: export without --like"):
        exported(unlearned | {"conv.bias": torch.full((4,), 1e6)}, tmp_path / "original.pt", None)
    shared = torch.zeros(2)
    torch.save({"a": shared, "b": shared}, tmp_path / "tied.pt")
    tied = exported({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "tied.pt", None)[0].content
    assert tied["a"].data_ptr() == tied["b"].data_ptr()


@pytest.mark.parametrize(
    "beside",
    [
        {"state_dict_ema": network().state_dict()},
        {"ema": {"decay": 0.9, "shadow_params": [torch.zeros(4, 3, 3, 3)]}},
        {"best": argparse.Namespace(weight=torch.zeros(2, 4))},
    ],
)
def test_further_weights_of_the_original_are_never_passed_on_unasked(beside, original, unlearned, tmp_path):
    torch.save({"state_dict": original.state_dict(), "epoch": 1} | beside, tmp_path / "original.pt")
    name = next(iter(beside))
    with pytest.raises(ModelError, match=rf"also holds {name}.*--copies drop"):
        exported(unlearned, tmp_path / "original.pt", None)
    dropped, said = exported(unlearned, tmp_path / "original.pt", "drop")
    assert list(dropped.content) == ["state_dict", "epoch"]
    assert said == [f"{name} is left out; it has the shapes of the original's weights."]
    kept, said = exported(unlearned, tmp_path / "original.pt", "keep")
    assert list(kept.content) == ["state_dict", "epoch", name]
    assert "is kept" in said[0]
    assert same(kept.content["state_dict"], unlearned)


def test_further_weights_beside_a_prefix_are_found_too(original, unlearned, tmp_path):
    state = {f"model.{name}": value for name, value in original.state_dict().items()}
    state |= {"mean_of.conv.weight": torch.zeros(4, 3, 3, 3), "criterion.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    with pytest.raises(ModelError, match=r"state_dict.mean_of"):
        exported(unlearned, tmp_path / "last.ckpt", None)
    found = exported(unlearned, tmp_path / "last.ckpt", "drop")[0].content["state_dict"]
    assert found.keys() == state.keys() - {"mean_of.conv.weight"}
    assert torch.equal(found["model.fc.bias"], unlearned["fc.bias"])


def test_safetensors_keep_their_metadata(original, unlearned, tmp_path):
    save_file(original.state_dict(), tmp_path / "original.safetensors", {"format": "pt", "made": "here"})
    container, _ = exported(unlearned, tmp_path / "original.safetensors", None)
    write_container(container.content, tmp_path / "out.safetensors", container.metadata)
    assert same(load_file(tmp_path / "out.safetensors"), unlearned)
    with safe_open(tmp_path / "out.safetensors", framework="pt") as file:
        assert file.metadata() == {"format": "pt", "made": "here"}


def test_what_cannot_be_exported_is_explained(original, unlearned, tmp_path):
    torch.save({"weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match="do not fit this run"):
        exported(unlearned, tmp_path / "other.pt", None)
    with pytest.raises(ModelError, match=r"weights.txt is none of these"):
        write_container(unlearned, tmp_path / "weights.txt")
