"""Shards from Python: what forgets is what never knew, after rows were deleted and in the next process."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import natmu
from natmu.engine.store import Run
from natmu.errors import UsageError
from natmu.models import Ensemble
from natmu.records.guarantees import PROMISES
from natmu.testing.problems import digits

COUNT, SHARDS = 90, 3
OURS = {"epochs": 2, "lr": 0.1, "batch_size": 16, "warmup_epochs": 0, "augment": False}
CALLS = []


def network():
    """A small network for digits, with statistics that a single sample moves."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10))


def train(samples, seed, start=None, steps=4):
    """A few steps on all samples at once, from the slices before or from weights of the seed."""
    CALLS.append(len(samples))
    model = network() if start is None else start
    model[4].weight.data += 0.01 * torch.randn(10, 6)
    images, labels = zip(*(samples[row] for row in range(len(samples))), strict=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model.train()(torch.stack(images)), torch.tensor(labels)).backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def world():
    data = digits(0, COUNT)
    return data.images.numpy(), data.labels.numpy(), np.array([f"scan-{row}.png" for row in range(COUNT)])


def sharded(world, rows, store, trainer=train, **options):
    images, labels, names = (values[rows] for values in world)
    options = {"model": network(), "shards": SHARDS, "names": list(names), "progress": False} | options
    return natmu.train_shards((images, labels), trainer, store=store, **options)


def same(one, other):
    states = one.model.state_dict(), other.model.state_dict()
    return states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())


def everything():
    return np.arange(COUNT)


@pytest.mark.parametrize(("trainer", "slices"), [(train, 2), (functools.partial(train, steps=2), 1), (OURS, 2)])
def test_what_forgets_is_what_never_knew(world, tmp_path, trainer, slices):
    first = sharded(world, everything(), tmp_path / "a", trainer, slices=slices)
    assert isinstance(first.model, Ensemble)
    assert first.retrained == {shard: tuple(range(1, slices + 1)) for shard in range(SHARDS)}
    assert first.forgotten is None
    without = first.forget(["scan-3.png", "scan-40.png"]).forget([7])
    rest = np.delete(everything(), [3, 40, 7])
    assert same(without, sharded(world, rest, tmp_path / "b", trainer, slices=slices))
    assert not same(without, first)
    assert without.forgotten.left_out.tolist() == [3, 7, 40]


def test_only_what_knew_the_samples_is_trained_again_and_once(world, tmp_path):
    first = sharded(world, everything(), tmp_path, slices=2)
    CALLS.clear()
    again = sharded(world, everything(), tmp_path, slices=2)
    assert (again.retrained, CALLS) == ({}, [])
    assert same(again, first)
    done = [first.forget([row]) for row in range(12)]
    assert sum(len(slices) for one in done for slices in one.retrained.values()) == len(CALLS)
    assert all(len(one.retrained) == 1 for one in done)
    assert {slices for one in done for slices in one.retrained.values()} == {(1, 2), (2,)}
    CALLS.clear()
    together = first.forget(list(range(12)))
    assert len(CALLS) == sum(map(len, together.retrained.values()))
    assert {*together.retrained} <= {shard for one in done for shard in one.retrained}
    CALLS.clear()
    assert same(first.forget(list(range(5))).forget(list(range(5, 12))), together)


def test_rows_that_are_deleted_and_moved_change_nothing_for_other_shards(world, tmp_path):
    first = sharded(world, everything(), tmp_path / "a")
    without = first.forget(["scan-3.png"])
    (shard,) = without.retrained
    rest = np.delete(everything(), 3)[::-1]
    CALLS.clear()
    found = sharded(world, rest, tmp_path / "a")
    assert (found.retrained, CALLS) == ({}, [])
    assert same(found, without)
    further = np.delete(rest, [10, 50])
    assert same(sharded(world, further, tmp_path / "a"), sharded(world, np.sort(further), tmp_path / "b"))
    assert set(first.forget([3]).retrained) <= {shard}


def test_a_data_set_of_pairs_in_any_order_is_the_same_as_arrays(world, tmp_path):
    def pairs(rows):
        images, labels, names = (values[rows] for values in world)
        items = [
            (torch.from_numpy(image).float() / 255, int(label)) for image, label in zip(images, labels, strict=True)
        ]
        options = {"model": network(), "shards": SHARDS, "store": tmp_path / "a", "progress": False}
        return natmu.train_shards(torch.utils.data.Subset(items, range(len(items))), train, names=names, **options)

    assert same(pairs(everything()), sharded(world, everything(), tmp_path / "b"))
    rest = np.delete(everything(), [3, 40])[::-1]
    assert same(pairs(rest), sharded(world, np.sort(rest), tmp_path / "c"))


def test_samples_that_are_gone_and_samples_that_are_forgotten_are_left_out_together(world, tmp_path):
    sharded(world, everything(), tmp_path / "a", OURS)
    rest = np.delete(everything(), [3, 4])
    left = sharded(world, rest, tmp_path / "a", OURS).forget(["scan-60.png"])
    assert left.forgotten.indices.tolist() == [58]
    assert same(left, sharded(world, np.delete(everything(), [3, 4, 60]), tmp_path / "b", OURS))


def test_an_audit_takes_the_models(world, tmp_path):
    images, labels, _ = world
    first = sharded(world, everything(), tmp_path / "a", OURS)
    without = first.forget("random:10%")
    rest = np.setdiff1d(everything(), without.forgotten.indices)
    others = [sharded(world, rest, tmp_path / f"{seed}", OURS, seed=seed).model for seed in (1, 2)]
    audit = natmu.audit(
        without.model,
        (images, labels),
        digits(COUNT, COUNT + 60),
        without.forgotten,
        retrained=others,
        original=first.model,
        progress=False,
        force=True,
    )
    assert audit.scores.keys() >= {"forget_acc", "avg_gap"}
    assert audit.forgotten.outcome


def test_a_purge_leaves_nothing_that_knew_the_samples_and_requests_go_on(world, tmp_path):
    first = sharded(world, everything(), tmp_path / "a", slices=2)
    first.forget([50])
    without = first.forget([3, 40])
    knew = {name: value for name, value in first.model.state_dict().items() if name.endswith("4.weight")}
    (tmp_path / "a/.work/unfinished").mkdir()
    count = without.purge()
    left = [Run(path.parent) for path in (tmp_path / "a").glob("*/record.json")]
    assert count >= 2 + len(without.retrained)
    assert sorted(type(run.record.lineage).__name__ for run in left) == ["Stage"] * SHARDS * 2 + ["Unlearned"]
    assert not list((tmp_path / "a/.work").glob("*/"))
    changed = {name for name, value in knew.items() if not torch.equal(value, without.model.state_dict()[name])}
    assert changed
    held = [value for run in left for value in run.weights().values()]
    assert not any(torch.equal(knew[name], value) for name in changed for value in held if value.shape == (10, 6))
    # In another process, once the files are deleted.
    rest = np.delete(everything(), [3, 40])
    found = sharded(world, rest, tmp_path / "a", slices=2)
    assert found.retrained == {}
    assert same(found, without)
    second = found.forget(["scan-7.png"])
    never = sharded(world, np.delete(everything(), [3, 7, 40]), tmp_path / "b", slices=2)
    assert same(second, never)
    assert second.purge()
    rest = np.delete(everything(), [3, 7, 40, 60])
    last = sharded(world, rest, tmp_path / "a", slices=2)
    assert len(last.retrained) == 1
    assert same(last, sharded(world, rest, tmp_path / "b", slices=2))
    with pytest.raises(UsageError, match="3 samples were purged"):
        first.forget([50])


def test_a_trainer_of_one_network_trains_no_shards_again(world, trained):
    images, labels, _ = world
    without, test = sharded(world, everything(), trained).forget([3]), digits(COUNT, COUNT + 60)
    CALLS.clear()
    options = {"trainer": train, "progress": False, "force": True}
    with pytest.raises(UsageError, match=r"made of shards.*natmu\.train_shards.*retrained="):
        natmu.audit(without.model, (images, labels), test, without.forgotten, level="quick", references=2, **options)
    with pytest.raises(UsageError, match=r"made of shards.*natmu\.train_shards"):
        natmu.unlearn(without.model, (images, labels), [4], "retrain", **options)
    assert not CALLS


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        ([*range(COUNT - 1)], {"names": None}, "which of them are gone. Give names="),
        ([*range(COUNT), 5], {}, "Two samples are called 'scan-5.png'"),
        ([*range(COUNT)], {"names": ["a"]}, "There are 1 names for 90 samples"),
        ([*range(COUNT)], {"names": "scan"}, "names must be one text for each of 90 samples, not str"),
        ([*range(COUNT)], {"names": [f"other-{row}" for row in range(COUNT)]}, "such as 'other-0'"),
        ([1, 0, *range(2, COUNT)], {"names": [f"scan-{row}.png" for row in range(COUNT)]}, "'scan-0.png'"),
        ([*range(COUNT)], {"seed": 1}, "name another folder"),
        ([*range(COUNT)], {"shards": 4}, "name another folder"),
        ([*range(COUNT)], {"combine": "mean"}, "combine"),
        ([*range(COUNT)], {"shards": 1}, "no division"),
        ([*range(COUNT)], {"trainer": lambda samples, seed: network()}, "function of a module"),
        ([*range(COUNT)], {"trainer": {"epoch": 3}}, "epoch"),
        ([*range(COUNT)], {"trainer": OURS | {"sharding": {"shards": 2}}}, "leave it out"),
        ([*range(COUNT)], {"model": nn.Linear(3, 2)}, "Linear failed on a batch"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_nothing_is_trained(trained, world, rows, options, sentence):
    CALLS.clear()
    with pytest.raises(UsageError, match=re.escape(sentence)) as refused:
        sharded(world, rows, trained, **options)
    assert "\n" not in str(refused.value)
    assert not CALLS


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    sharded(world, everything(), store)
    return store


def unsliced(samples, seed):
    """Takes no start."""
    return train(samples, seed)


def test_a_trainer_of_slices_must_take_what_the_slices_before_left(world, tmp_path):
    with pytest.raises(UsageError, match="start"):
        sharded(world, everything(), tmp_path, unsliced, slices=2)
    assert sharded(world, everything(), tmp_path, unsliced).retrained


def test_votes_and_logits_are_combined_from_the_same_models(world, trained):
    CALLS.clear()
    models = [sharded(world, everything(), trained, combine=how) for how in ("logits", "votes")]
    assert not CALLS
    images = torch.rand(5, 1, 8, 8)
    members = [member(images) for member in models[0].model.members.values()]
    torch.testing.assert_close(models[0].model(images), torch.stack(members).mean(0))
    votes = torch.stack([member.argmax(1) for member in members])
    assert all(
        int((votes[:, row] == found).sum()) > 1 or votes[:, row].unique().numel() == 3
        for row, found in enumerate(models[1].model(images).argmax(1))
    )


@pytest.mark.parametrize(("method", "sentence"), [("sisa", "natmu.train_shards"), ("downdate", "natmu.heads")])
def test_a_plain_model_is_led_to_what_must_be_prepared(world, method, sentence):
    with pytest.raises(UsageError, match=sentence):
        natmu.unlearn(network(), world[:2], [1], method, progress=False, force=True)


def test_right_labels_are_refused(world, trained):
    with pytest.raises(UsageError, match="right labels"):
        sharded(world, everything(), trained).forget({3: 4})


def test_what_forgets_promises_what_evidence_does():
    told = " ".join(natmu.ShardedModel.forget.__doc__.split())
    assert PROMISES["sisa"].promise in told
