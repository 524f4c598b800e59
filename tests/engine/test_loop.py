"""The training loop, against a loop and an optimiser written out here."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.errors import ModelError, TrainingError

from . import fakes


def loss(model, batch):
    return cross_entropy(model(batch.images), batch.labels)


def trained(seed=0, model=None, data=None, loss=loss, after_step=None, history=None, meter=None, **changed):
    data = fakes.image_data() if data is None else data
    model = fakes.model() if model is None else model
    watch = Watch("train", meter, history=history)
    return fit(model, fakes.batches(data, seed), loss, fakes.settings(**changed), fakes.CPU, watch, after_step)


def by_hand(update, *, epochs, lr, schedule, warmup_epochs=0, seed=0):
    """Train the small model with ``update(weight, gradient, memory, rate, step)``, in place on ``weight``."""
    model, batches = fakes.model(), fakes.batches(fakes.image_data(), seed)
    model.train()
    memories = [{} for _ in model.parameters()]
    steps_an_epoch = math.ceil(22 / 8)
    steps = epochs * steps_an_epoch
    step = 0
    for epoch in range(epochs):
        for batch in batches.epoch(epoch):
            step += 1
            factor = {"cosine": (math.cos(math.pi * step / steps) + 1) / 2, "constant": 1.0}[schedule]
            if warmup_epochs:
                factor *= min(1.0, (step - 1) / (warmup_epochs * steps_an_epoch))
            gradients = torch.autograd.grad(loss(model, batch), list(model.parameters()))
            with torch.no_grad():
                for weight, gradient, memory in zip(model.parameters(), gradients, memories, strict=True):
                    update(weight, gradient, memory, lr * factor, step)
    return model


def sgd(weight, gradient, memory, rate, step):
    gradient = gradient + 0.01 * weight
    memory["v"] = gradient.clone() if step == 1 else 0.9 * memory["v"] + gradient
    weight -= rate * memory["v"]


def adamw(weight, gradient, memory, rate, step):
    weight *= 1 - rate * 0.01
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    weight -= rate * (memory["m"] / (1 - 0.9**step)) / ((memory["v"] / (1 - 0.999**step)).sqrt() + 1e-8)


def adam(weight, gradient, memory, rate, step):
    gradient = gradient + 0.01 * weight
    memory["m"] = 0.9 * memory.get("m", 0) + 0.1 * gradient
    memory["v"] = 0.999 * memory.get("v", 0) + 0.001 * gradient**2
    weight -= rate * (memory["m"] / (1 - 0.9**step)) / ((memory["v"] / (1 - 0.999**step)).sqrt() + 1e-8)


@pytest.mark.parametrize(
    ("update", "optimizer", "lr", "schedule", "warmup_epochs"),
    [
        (sgd, "sgd", 0.05, "cosine", 0),
        (sgd, "sgd", 0.05, "constant", 2),
        (sgd, "sgd", 0.05, "constant", 1.5),
        (adamw, "adamw", 0.01, "cosine", 0),
        (adam, "adam", 0.01, "cosine", 0),
    ],
)
def test_fit_is_a_plain_loop(update, optimizer, lr, schedule, warmup_epochs):
    model = trained(optimizer=optimizer, lr=lr, schedule=schedule, warmup_epochs=warmup_epochs)
    expected = by_hand(update, epochs=3, lr=lr, schedule=schedule, warmup_epochs=warmup_epochs)
    start = fakes.model()
    for (name, found), wanted, before in zip(
        model.named_parameters(), expected.parameters(), start.parameters(), strict=True
    ):
        assert torch.allclose(found, wanted, atol=2e-6, rtol=1e-5), name
        assert (found - before).abs().max() > 1e-4, name


def test_the_same_seed_gives_the_same_weights_and_another_seed_does_not():
    first, second, other = (fakes.state(trained(seed)) for seed in (0, 0, 1))
    assert fakes.same(first, second)
    assert not fakes.same(first, other)


def test_dropout_is_reproducible_and_on():
    def run(dropout, seed=0):
        torch.manual_seed(random.randrange(10**6))
        return fakes.state(trained(seed, fakes.model(dropout=dropout)))

    assert fakes.same(run(0.5), run(0.5))
    assert not fakes.same(run(0.5), run(0.0))


def test_dropout_differs_from_epoch_to_epoch():
    kept = []

    def noted(model, batch):
        kept.append((model[3](torch.ones(1, 64)) > 0).tolist())
        return loss(model, batch)

    trained(model=fakes.model(dropout=0.5), loss=noted)
    assert len({str(one) for one in kept}) == len(kept) == 9


def test_global_random_numbers_are_untouched():
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    trained(model=fakes.model(dropout=0.5))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_frozen_parameters_keep_every_bit(optimizer):
    model = fakes.model()
    model[0].requires_grad_(False)
    before = fakes.state(model)
    trained(model=model, optimizer=optimizer)
    after = fakes.state(model)
    for name in before:
        if name.startswith("0."):
            assert torch.equal(before[name], after[name])
    assert not torch.equal(before["7.weight"], after["7.weight"])


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ModelError, match="unfreeze"):
        trained(model=fakes.model().requires_grad_(False))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (3, 1), (5, 2)])
def test_a_loss_that_is_not_finite_names_step_and_settings(bad, step, epoch):
    calls = []

    def broken(model, batch):
        calls.append(1)
        value = loss(model, batch)
        return value * bad if len(calls) == step else value

    with pytest.raises(TrainingError) as caught:
        trained(loss=broken, lr=0.03)
    message = str(caught.value)
    assert message.startswith("train: ")
    assert f"step {step} (epoch {epoch})" in message
    assert "lr=0.03" in message
    assert "optimizer=sgd" in message


def test_weights_that_the_last_step_of_an_epoch_broke_are_neither_kept_nor_trained_on():
    """The loss of that step was finite; a checkpoint of the epoch would hold what no later step can mend."""
    calls = []

    def breaking(model, batch):
        calls.append(1)
        value = loss(model, batch)
        if len(calls) == 3:
            next(model.parameters()).register_hook(lambda gradient: gradient * math.inf)
        return value

    with pytest.raises(TrainingError, match=r"^train: a weight is not finite after step 3 \(epoch 1\).*lr=0.03"):
        trained(loss=breaking, lr=0.03)
    assert len(calls) == 3


def test_history_has_one_row_per_epoch():
    history, values = [], []
    data = fakes.image_data()
    meter = Meter(len(data), torch.device("cpu"))

    def noted(model, batch):
        value = meter.cross_entropy(model, batch)
        values.append(float(value.detach()))
        return value

    trained(data=data, loss=noted, meter=meter, history=history, schedule="constant", lr=0.02)
    assert [row["epoch"] for row in history] == [1.0, 2.0, 3.0]
    assert [row["lr"] for row in history] == [0.02] * 3
    assert [row["loss"] for row in history] == pytest.approx(
        [sum(values[3 * epoch : 3 * epoch + 3]) / 3 for epoch in range(3)], abs=1e-6
    )
    assert all(0 <= row["accuracy"] <= 100 for row in history)
    assert all(row["seconds"] >= 0 for row in history)


def test_without_answers_there_is_no_accuracy():
    history = []
    trained(history=history, meter=Meter(22, torch.device("cpu")))
    assert all("accuracy" not in row for row in history)


def test_history_gives_the_rate_of_the_last_step_of_each_epoch():
    history = []
    trained(history=history, lr=0.1)
    wanted = [0.1 * (math.cos(math.pi * step / 9) + 1) / 2 for step in (3, 6, 9)]
    assert [row["lr"] for row in history] == pytest.approx(wanted)
    assert history[-1]["lr"] == 0.0


def test_constraints_on_the_weights_hold_after_each_step():
    model, seen = fakes.model(), []

    def pin():
        with torch.no_grad():
            seen.append(float(model[7].weight.abs().max()))
            model[7].weight.zero_()

    trained(model=model, after_step=pin, schedule="constant")
    assert len(seen) == 9
    assert all(value > 0 for value in seen)
    assert not model[7].weight.any()


def test_the_loss_sees_the_model_in_training_mode_with_fresh_gradients():
    def checked(model, batch):
        assert model.training
        assert all(weight.requires_grad for weight in model.parameters())
        return loss(model, batch)

    model = fakes.model().eval()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 1e6)
    assert fakes.same(fakes.state(trained(model=model, loss=checked)), fakes.state(trained()))


def test_a_parameter_that_the_loss_does_not_reach_stays():
    class WithSpare(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = fakes.model(), nn.Parameter(torch.ones(3))

        def forward(self, images):
            return self.used(images)

    model = WithSpare()
    trained(model=model, optimizer="adamw")
    assert torch.equal(model.spare, torch.ones(3))
