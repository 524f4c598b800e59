"""What is read in a model and beside the forget samples, as a run of the store."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from natmu.engine.features import features_of
from natmu.engine.neighbours import right_nearby
from natmu.lineage import obtain
from natmu.lineage.probing import noted_probe, probe, probed
from natmu.scores.information import label_information, membership_information
from natmu.scores.probe import DRAWS, LEARNT, RADIUS, SHOWN, Questions
from natmu.types import ForgetSet

from . import fakes


@pytest.mark.parametrize("text", ["random:10%", "class:3"])
@pytest.mark.parametrize("kind", ["original", "unlearned", "retrained"])
def test_a_run_holds_what_a_probe_finds_and_no_model(tmp_path, text, kind):
    place = fakes.workspace(tmp_path)
    wanted = fakes.forget(place, text)
    model = (
        place.original(fakes.RECIPE, 0)
        if kind == "original"
        else fakes.unlearned(place, "retrain" if kind == "retrained" else "amnesiac", text)
    )
    run = obtain(probed(model, wanted), place)
    network, forget, data = place.load(place.require(model)), place.forget_set(wanted), place.on_device.train
    found = noted_probe(run.history())
    again = probe(network, data, forget, place.compute)
    assert found.right == again.right
    assert found.blocks == pytest.approx(again.blocks, rel=1e-4)
    assert len(found.blocks) >= 2
    assert not (run.path / "model.safetensors").exists()
    assert run.record.scores == {}
    nearby = right_nearby(network, data, torch.from_numpy(forget.indices), place.compute, radius=RADIUS, draws=DRAWS)
    assert found.right == nearby.sum()


def test_probes_of_classes_are_fitted_to_retain_samples_and_measured_on_forget_samples(tmp_path):
    place = fakes.workspace(tmp_path)
    forget, data = place.forget_set(fakes.forget(place)), place.on_device.train
    network = place.fresh(0)
    retain = np.setdiff1d(np.arange(150), forget.indices)
    labels = np.asarray(data.labels)
    expected = [
        label_information(block[retain], labels[retain], block[forget.indices], labels[forget.indices])
        for block in features_of(network, data, torch.arange(150), place.compute)
    ]
    assert probe(network, data, forget, place.compute).blocks == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_probes_of_membership_are_of_forget_and_of_as_many_retain_samples(tmp_path):
    place = fakes.workspace(tmp_path)
    forget, data = place.forget_set(fakes.forget(place, "class:3")), place.on_device.train
    network = place.fresh(0)
    retain = np.setdiff1d(np.arange(150), forget.indices)
    kept = retain[np.linspace(0, len(retain) - 1, len(forget)).round().astype(int)]
    expected = [
        membership_information(block[forget.indices], block[kept])
        for block in features_of(network, data, torch.arange(150), place.compute)
    ]
    assert probe(network, data, forget, place.compute).blocks == pytest.approx(expected, rel=1e-3, abs=1e-5)


def forget_set(indices, scenario="indices"):
    return ForgetSet(np.asarray(indices, np.int64), "indices:x", scenario)


def test_many_samples_are_asked_about_in_part_evenly_spread():
    labels = np.arange(9000) % 3
    asked = Questions.about(forget_set(range(0, 9000, 3 * 2 + 1)), labels)
    assert (len(asked.nearby), len(asked.forget), len(asked.retain)) == (SHOWN, SHOWN, LEARNT)
    assert asked.nearby[0] == 0
    assert asked.nearby[-1] == 8995
    assert not set(asked.retain) & set(range(0, 9000, 7))
    assert asked.positions.tolist() == [*asked.retain, *asked.forget]
    classes = Questions.about(forget_set(range(0, 9000, 7), "class"), labels)
    assert len(classes.retain) == len(classes.forget) == SHOWN


def test_forget_samples_of_classes_that_are_gone_are_asked_of_neighbours_alone():
    labels = np.array([0, 1, 2] * 10)
    asked = Questions.about(forget_set(sorted([*range(2, 30, 3), 0, 1, 3])), labels)
    assert asked.by_class
    assert sorted(labels[asked.forget]) == [0, 0, 1]
    assert len(asked.nearby) == 13
    only = Questions.about(forget_set(range(2, 30, 3)), labels)
    assert not only.by_class, "no class of theirs is left to be told"
    assert len(only.forget) == len(only.retain) == 10


@pytest.mark.parametrize("indices", [[], [4], range(12)])
def test_too_few_samples_have_no_information_and_all_have_neighbours(tmp_path, indices):
    place = fakes.workspace(tmp_path)
    data = place.on_device.train.subset(np.arange(12))
    found = probe(place.fresh(0), data, forget_set(indices), place.compute)
    assert found.blocks == ()
    assert 0 <= found.right <= DRAWS * len(indices)
