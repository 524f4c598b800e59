"""The models of several shards as one: how their logits are combined, and how they are kept in a file."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from natmu.errors import ModelError
from natmu.models import Ensemble, adapted, load_ensemble, network_of, shards_in, unadapted
from natmu.models.ensemble import combined

LOGITS = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)) * 5


def softmax(row):
    powers = [np.exp(value) for value in row]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("combine", ["probabilities", "logits", "votes"])
def test_logits_are_combined_as_a_loop_combines_them(combine):
    found = combined(LOGITS, combine)
    for row in range(6):
        members = LOGITS[:, row].double().tolist()
        if combine == "logits":
            expected = [sum(one[label] for one in members) / 4 for label in range(3)]
        elif combine == "probabilities":
            expected = [np.log(sum(softmax(one)[label] for one in members) / 4) for label in range(3)]
        else:
            votes = [sum(int(np.argmax(one)) == label for one in members) for label in range(3)]
            expected = [np.log((count + 1 / 3) / 5) for count in votes]
            assert int(found[row].argmax()) == int(np.argmax(votes))
        assert found[row].tolist() == pytest.approx(expected, abs=1e-5)
    assert found.dtype == torch.float32


def test_far_logits_stay_finite():
    far = torch.tensor([[[2000.0, -2000.0]], [[2000.0, -1e9]]])
    assert all(torch.isfinite(combined(far, combine)).all() for combine in ("probabilities", "logits", "votes"))


def test_votes_are_learnt_by_the_gradient_of_the_mean_of_probabilities():
    """Their own is zero wherever it is defined; no number of them is changed by that."""
    voting, mean = (LOGITS.clone().requires_grad_() for _ in range(2))
    weights = torch.arange(18.0).reshape(6, 3)
    votes = combined(voting, "votes")
    assert torch.equal(votes, combined(LOGITS, "votes"))
    (votes * weights).sum().backward()
    powers = mean.exp() / mean.exp().sum(2, keepdim=True)
    (powers.mean(0).log() * weights).sum().backward()
    assert torch.allclose(voting.grad, mean.grad, atol=1e-5)
    assert voting.grad.abs().max() > 1


def linear(seed):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def test_members_keep_the_number_of_their_shard_and_the_names_of_the_user_s_model(tmp_path):
    wrapped = {
        shard: adapted(linear(shard), num_classes=3, image_shape=(1, 2, 2), mean=[0.5], std=[0.5]) for shard in (10, 2)
    }
    ensemble = Ensemble(wrapped, "votes")
    inner = network_of(ensemble)
    names = {f"members.{shard}.1.{part}" for shard in (2, 10) for part in ("weight", "bias")}
    assert {*inner.state_dict()} == names
    assert shards_in(names) == [2, 10]
    assert isinstance(unadapted(ensemble).by_shard()[10], nn.Sequential)
    inner.load_state_dict({name: value + 1 for name, value in inner.state_dict().items()})
    assert torch.equal(wrapped[2].network[1].weight, linear(2)[1].weight + 1)
    assert adapted(ensemble, num_classes=3, image_shape=(1, 2, 2)) is ensemble

    save_file({name: value.contiguous() for name, value in inner.state_dict().items()}, tmp_path / "them.safetensors")
    loaded = load_ensemble(tmp_path / "them.safetensors", lambda: linear(0), "votes")
    images = torch.linspace(0, 1, 20).view(5, 1, 2, 2)
    assert torch.equal(loaded(images), inner(images))


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("no")
    save_file(linear(0).state_dict(), tmp_path / "one.safetensors")
    save_file({"members.0.other": torch.zeros(1)}, tmp_path / "other.safetensors")
    for name, said in (("text", "cannot be read"), ("one", "none of shards"), ("other", "not those that build")):
        with pytest.raises(ModelError, match=said):
            load_ensemble(tmp_path / f"{name}.safetensors", lambda: linear(0))
