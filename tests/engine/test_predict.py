"""Answers on whole data sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import ImageData, Labelling, Splits
from natmu.engine.compute import Compute
from natmu.engine.predict import EVALUATION_BATCH, logits_of, outputs_of, part_of
from natmu.errors import ModelError, TrainingError

from . import fakes


def trained_a_little():
    """Running statistics that differ from a batch's own, so that the mode matters."""
    model = fakes.model(dropout=0.5)
    with torch.no_grad():
        for _ in range(3):
            model(torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    return model


def test_answers_are_the_models_in_eval_mode_in_the_order_asked_for():
    data, model = fakes.image_data(30), trained_a_little().train()
    positions = torch.tensor([5, 0, 29, 5])
    found = logits_of(model, data, positions, fakes.CPU)
    model.eval()
    with torch.no_grad():
        expected = torch.stack([model(data.images[row][None].float() / 255)[0] for row in positions])
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.dtype == torch.float32
    assert not found.requires_grad


def test_more_samples_than_one_batch():
    data = fakes.image_data(EVALUATION_BATCH + 3)
    model = trained_a_little().eval()
    found = logits_of(model, data, torch.arange(len(data)), fakes.CPU)
    with torch.no_grad():
        assert torch.allclose(found, model(data.images.float() / 255), atol=1e-4)


def test_mapped_data_gives_the_same_answers(tmp_path):
    data, model = fakes.image_data(20), trained_a_little()
    np.save(tmp_path / "images.npy", data.images.numpy())
    mapped = ImageData(np.load(tmp_path / "images.npy", mmap_mode="r"), data.labels, data.class_names)
    rows = torch.arange(20)
    assert torch.equal(logits_of(model, mapped, rows, fakes.CPU), logits_of(model, data, rows, fakes.CPU))


@pytest.mark.parametrize("training", [True, False])
def test_each_module_is_left_in_its_mode(training):
    model = fakes.model().train(training)
    model[1].train(not training)
    before = [module.training for module in model.modules()]
    statistics = model[1].running_mean.clone()
    logits_of(model, fakes.image_data(), torch.arange(5), fakes.CPU)
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[1].running_mean, statistics)


def test_modes_are_restored_after_a_failure_too():
    model = fakes.model(channels=3).train()
    with pytest.raises(RuntimeError):
        logits_of(model, fakes.image_data(channels=1), torch.arange(5), fakes.CPU)
    assert all(module.training for module in model.modules())


def test_no_positions_mean_no_answers():
    assert logits_of(fakes.model(), fakes.image_data(), torch.arange(0), fakes.CPU).shape == (0, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_not_finite_are_refused(bad):
    model = fakes.model()
    with torch.no_grad():
        model[7].bias[1] = bad
    with pytest.raises(TrainingError, match="not finite"):
        logits_of(model, fakes.image_data(), torch.arange(5), fakes.CPU)


class Reshaped(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.inner, self.change = fakes.model(), change

    def forward(self, images):
        return self.change(self.inner(images))


@pytest.mark.parametrize(
    "change", [lambda logits: logits[:, 0], lambda logits: logits[1:], lambda logits: logits[None]]
)
def test_anything_but_one_row_per_image_is_refused(change):
    with pytest.raises(ModelError, match="one row of logits per image"):
        logits_of(Reshaped(change), fakes.image_data(), torch.arange(5), fakes.CPU)


def test_bf16_answers_come_back_as_fp32_near_the_exact_ones():
    data, model = fakes.image_data(), trained_a_little()
    rows = torch.arange(len(data))
    rough = logits_of(model, data, rows, Compute(torch.device("cpu"), "bf16"))
    exact = logits_of(model, data, rows, fakes.CPU)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max() + 0.05


def test_outputs_hold_every_split_with_labels():
    train, test, holdout = (fakes.image_data(count, seed=count) for count in (12, 7, 5))
    fine = ImageData(train.images, train.labels, train.class_names, fine=Labelling(train.labels * 2, tuple("abcde")))
    model = trained_a_little()
    outputs = outputs_of(model, Splits("x", fine, test, (0.5,), (0.2,), holdout), fakes.CPU)
    assert outputs.train.logits.shape == (12, 3)
    assert outputs.train.logits.dtype == np.float32
    assert np.array_equal(outputs.train.labels, train.labels.numpy())
    assert np.array_equal(outputs.train.fine_labels, train.labels.numpy() * 2)
    assert outputs.test.fine_labels is None
    assert np.array_equal(outputs.holdout.logits, part_of(model, holdout, fakes.CPU).logits)
    assert outputs_of(model, Splits("x", train, test, (0.5,), (0.2,)), fakes.CPU).holdout is None
