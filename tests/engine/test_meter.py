"""What training notes on the way, against a recomputation sample by sample."""

from __future__ import annotations

import math

import numpy as np
import torch

from natmu.data.batches import Batch
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter

from . import fakes


def batch_of(positions, labels):
    count = len(positions)
    return Batch(
        torch.zeros(count, 1, 8, 8),
        torch.tensor(labels),
        torch.arange(count),
        torch.tensor(positions, dtype=torch.long),
    )


def probabilities(logits):
    powers = [math.exp(value - max(logits)) for value in logits]
    return [power / sum(powers) for power in powers]


def test_accuracy_and_confidence_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    meter = Meter(9, torch.device("cpu"))
    seen = {position: [] for position in range(9)}
    hits = total = 0
    for _ in range(5):
        positions = rng.integers(0, 8, 6).tolist()
        labels = rng.integers(0, 3, 6).tolist()
        logits = rng.normal(0, 3, (6, 3)).astype(np.float32)
        meter.note(batch_of(positions, labels), torch.from_numpy(logits))
        for position, label, row in zip(positions, labels, logits.tolist(), strict=True):
            seen[position].append(probabilities(row)[label])
            hits += row.index(max(row)) == label
            total += 1
    assert abs(meter.close_epoch() - 100 * hits / total) < 1e-9
    confidence = meter.confidence()
    assert confidence.shape == (9,)
    for position, values in seen.items():
        if values:
            assert abs(float(confidence[position]) - sum(values) / len(values)) < 1e-6
        else:
            assert math.isnan(float(confidence[position]))
    assert math.isnan(float(confidence[8]))


def test_accuracy_is_of_what_came_since_the_last_call():
    meter = Meter(2, torch.device("cpu"))
    assert meter.close_epoch() is None
    meter.note(batch_of([0, 1], [0, 0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert meter.close_epoch() == 50.0
    assert meter.close_epoch() is None
    meter.note(batch_of([0], [0]), torch.tensor([[1.0, 0.0]]))
    assert meter.close_epoch() == 100.0


def test_confidence_of_a_training_run_is_the_mean_over_its_forward_passes():
    data, model, settings = fakes.image_data(), fakes.model(), fakes.settings(epochs=2)
    meter = Meter(len(data), torch.device("cpu"))
    answers = {position: [] for position in range(len(data))}
    network = model

    def loss(model, batch):
        assert model is network
        answer = model(batch.images)
        for position, row, label in zip(batch.positions.tolist(), answer.tolist(), batch.labels.tolist(), strict=True):
            answers[position].append(probabilities(row)[label])
        meter.note(batch, answer.detach())
        return torch.nn.functional.cross_entropy(answer, batch.labels)

    fit(model, fakes.batches(data), loss, settings, fakes.CPU, Watch("train", meter))
    assert {len(values) for values in answers.values()} == {2}
    expected = [sum(answers[position]) / 2 for position in range(len(data))]
    assert np.allclose(meter.confidence().numpy(), expected, atol=1e-6)


def test_the_loss_of_the_meter_is_mean_cross_entropy():
    data, model = fakes.image_data(), fakes.model()
    meter = Meter(len(data), torch.device("cpu"))
    batch = next(iter(fakes.batches(data).epoch(0)))
    loss = meter.cross_entropy(model, batch)
    with torch.no_grad():
        rows = model(batch.images).tolist()
    expected = np.mean([-math.log(probabilities(row)[label]) for row, label in zip(rows, batch.labels, strict=True)])
    assert abs(float(loss.detach()) - expected) < 1e-5
    assert loss.requires_grad
    assert not meter.confidence_sum.requires_grad


def test_a_saved_state_is_taken_up_again():
    first, second = Meter(4, torch.device("cpu")), Meter(4, torch.device("cpu"))
    noted = (batch_of([1, 3], [0, 1]), torch.tensor([[2.0, 0.0], [1.0, 0.0]]))
    first.note(*noted)
    second.load({name: tensor.clone() for name, tensor in first.state().items()})
    first.note(*noted)
    second.note(*noted)
    assert torch.equal(first.confidence_sum, second.confidence_sum)
    assert torch.equal(first.visits, second.visits)
