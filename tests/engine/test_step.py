"""A step that is recorded and replayed does what the step does as it is written."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from natmu.data.batches import Batches, plain
from natmu.engine import step
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.meter import Meter
from natmu.engine.passes import Counter
from natmu.engine.step import WARM_UP, WARM_UP_AGAIN
from natmu.progress import showing
from natmu.records.passes import Shown

from . import fakes
from .recorder import NoWaiting, TapeRecorder

OPTIMIZERS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "adam"},
    {"optimizer": "adamw"},
]


@pytest.fixture
def recorder(monkeypatch):
    """Makes the loop record its steps, with learning rates in tensors, as it does on CUDA."""
    recorder = TapeRecorder()
    monkeypatch.setattr(Compute, "records", True)
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    return recorder


def loss(model, batch):
    return cross_entropy(model(batch.images), batch.labels)


def trained(loss=loss, meter=None, history=None, after_step=None, model=None, **changed):
    model = fakes.model() if model is None else model
    watch = Watch("train", meter, history=history)
    batches = fakes.batches(fakes.image_data(50), augment=True)
    return fit(model, batches, loss, fakes.settings(**changed), fakes.CPU, watch, after_step)


def close(first, second):
    """Equal but for learning rates that are rounded to fp32."""
    return all(torch.allclose(first[name], second[name], rtol=1e-5, atol=1e-6) for name in first)


@pytest.mark.parametrize("changed", OPTIMIZERS, ids=str)
def test_replayed_steps_give_the_weights_of_steps_as_written(changed, recorder, monkeypatch):
    replayed = fakes.state(trained(**changed))
    assert recorder.recorded == 3  # once an epoch
    as_written = (WARM_UP + 1) + 2 * (WARM_UP_AGAIN + 1)
    assert recorder.replayed == 3 * 6 - as_written  # six full batches of eight an epoch, and one of two as written
    monkeypatch.setattr(Compute, "records", False)
    assert close(replayed, fakes.state(trained(**changed)))


def test_replayed_steps_count_and_constrain_as_steps_as_written(recorder, monkeypatch):
    def run():
        model, history = fakes.model(dropout=0.3), []
        meter = Meter(50, fakes.CPU.device)
        first = next(model.parameters())
        kept = first.detach().clone()

        def pin():
            with torch.no_grad():
                first.copy_(kept)

        counter = Counter()
        trained(meter.cross_entropy, meter, history, pin, counter.attached(model))
        assert torch.equal(first, kept)
        assert counter.now() == Shown(trained=3 * 50)
        return meter, [(row["loss"], row["lr"], row["accuracy"]) for row in history]

    replayed, rows = run()
    assert recorder.replayed == 10
    monkeypatch.setattr(Compute, "records", False)
    written, expected = run()
    torch.testing.assert_close(torch.tensor(rows), torch.tensor(expected))
    torch.testing.assert_close(replayed.confidence(), written.confidence())
    assert torch.equal(replayed.visits, torch.full((50,), 3.0))


def test_python_in_a_loss_may_change_between_epochs(recorder, monkeypatch):
    def run():
        calls = []

        def weighted(model, batch):
            weight = 1.0 if batch.epoch < 2 else 0.0
            calls.append(len(batch.labels))
            return weight * loss(model, batch)

        history = []
        trained(weighted, history=history, weight_decay=0)
        return [row["loss"] for row in history], len(calls)

    replayed, calls = run()
    warm = WARM_UP + 2 * WARM_UP_AGAIN
    assert calls == warm + 3 * (1 + 1)  # as written to warm up, once to be recorded, and for the ragged last batch
    assert replayed[0] > 0
    assert replayed[2] == 0


def test_a_step_that_waits_for_its_loss_is_taken_as_written(recorder, monkeypatch, capsys):
    def waiting(model, batch):
        bright = batch.images.sum().item() > 0
        return loss(model, batch) * (2 if bright else 1)

    counter = Counter()
    with showing():
        slow = fakes.state(trained(waiting, model=counter.attached(fakes.model())))
    assert counter.now() == Shown(trained=3 * 50)
    assert recorder.replayed == 0
    assert "cannot be recorded" in capsys.readouterr().err
    monkeypatch.setattr(Compute, "records", False)
    assert close(slow, fakes.state(trained(waiting)))


def test_other_errors_of_a_loss_are_not_swallowed(recorder):
    calls = []

    def broken(model, batch):
        calls.append(1)
        return loss(model, batch) if len(calls) <= WARM_UP else model.missing

    with pytest.raises(AttributeError, match="missing"):
        trained(broken)


def apart(model, batch):
    """A loss of two terms, the second over the paired rows."""
    if batch.paired is None:
        return loss(model, batch)
    return loss(model, batch), -0.1 * loss(model, batch.paired)


def paired_run(direction=None, every=2, loss=apart, after_step=None):
    data = fakes.image_data(60)
    rows, second = (
        plain(torch.arange(*part), data.labels[slice(*part)], augment=False) for part in ((0, 50), (50, 60))
    )
    batches = Batches(data, rows, batch_size=8, seed=0, device=fakes.CPU.device, paired=second, paired_every=every)
    model, history = fakes.model(), []
    fit(model, batches, loss, fakes.settings(), fakes.CPU, Watch("x", history=history), after_step, direction)
    return fakes.state(model), [row["loss"] for row in history]


@pytest.mark.parametrize("every", [1, 2, 3])
def test_steps_with_and_without_paired_rows_are_recorded_apart(every, recorder, monkeypatch):
    def halved(gradients):
        return [sum(values[1:], start=values[0]) / 2 for values in zip(*gradients, strict=True)]

    replayed, losses = paired_run(halved, every)
    # Of six full steps an epoch, 6, 3 and 2 have pairs; in the first, three of a kind warm it up, later one does.
    assert recorder.recorded == {1: 3, 2: 2 * 2, 3: 1 + 2 * 2}[every]
    monkeypatch.setattr(step, "WARM_UP", 1)
    replayed, losses = paired_run(halved, every)
    assert recorder.replayed > 0
    monkeypatch.setattr(Compute, "records", False)
    written, expected = paired_run(halved, every)
    assert close(replayed, written)
    assert losses == pytest.approx(expected, rel=1e-5)


def test_two_terms_without_a_direction_are_added_up():
    together = paired_run()
    assert together[1] == pytest.approx(paired_run(lambda terms: [sum(v) for v in zip(*terms, strict=True)])[1])
    added, losses = paired_run(loss=lambda model, batch: sum(t) if isinstance(t := apart(model, batch), tuple) else t)
    assert close(together[0], added)
    assert together[1] == pytest.approx(losses)


def test_a_direction_is_given_the_gradient_of_each_term_apart():
    seen = []

    def direction(gradients):
        seen.append(gradients)
        return [torch.zeros_like(gradient) for gradient in gradients[0]]

    before = fakes.state(fakes.model())
    model = fakes.model()
    data = fakes.image_data(60)
    rows, second = (plain(torch.arange(*part), data.labels[slice(*part)], augment=False) for part in ((0, 8), (50, 58)))
    batches = Batches(data, rows, batch_size=8, seed=0, device=fakes.CPU.device, paired=second)
    settings = fakes.settings(epochs=1, weight_decay=0, momentum=0)
    fit(model, batches, apart, settings, fakes.CPU, Watch("x"), None, direction)
    weights = {name for name, _ in model.named_parameters()}
    assert all(torch.equal(before[name], value) for name, value in fakes.state(model).items() if name in weights)
    (batch,) = batches.epoch(0)
    fresh = fakes.model().train()
    (terms,) = seen
    for term, gradients in zip(apart(fresh, batch), terms, strict=True):
        expected = torch.autograd.grad(term, list(fresh.parameters()))
        torch.testing.assert_close(gradients, list(expected))


def test_frozen_parameters_have_no_place_in_a_direction():
    model = fakes.model()
    model[0].requires_grad_(False)
    kept = model[0].weight.clone()
    sizes = []

    def direction(gradients):
        sizes.append(len(gradients[0]))
        return gradients[0]

    batches = fakes.batches(fakes.image_data(16))
    fit(model, batches, loss, fakes.settings(epochs=1), fakes.CPU, Watch("x"), None, direction)
    assert sizes == [len(list(model.parameters())) - 1] * 2
    assert torch.equal(model[0].weight, kept)


def test_making_batches_never_waits_for_the_device():
    made = fakes.batches(fakes.image_data(50), augment=True).epoch(0)
    first = next(made)
    with NoWaiting():
        rest = list(made)
    assert sum(len(batch.labels) for batch in [first, *rest]) == 50


def test_the_tape_notices_waiting_and_puts_results_where_they_were():
    value = torch.tensor([1.0, 2.0])
    recorder = TapeRecorder()
    replay = recorder.record(lambda: (value.mul_(2) + 1).sum())
    assert float(replay()) == 2 + 4 + 2
    assert float(replay()) == 4 + 8 + 2
    with pytest.raises(RuntimeError, match="waits"):
        recorder.record(lambda: value[value > 3])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("changed", OPTIMIZERS, ids=str)
def test_graphs_on_a_gpu_give_the_weights_of_steps_as_written(changed, monkeypatch):
    compute = Compute(torch.device("cuda"), "fp32")
    data = fakes.image_data(50).to(compute.device)

    def run():
        rows = plain(torch.arange(50), data.labels, augment=True)
        batches = Batches(data, rows, batch_size=8, seed=0, device=compute.device)
        return fakes.state(fit(fakes.model(), batches, loss, fakes.settings(**changed), compute, Watch("train")))

    recorded = run()
    monkeypatch.setattr(Compute, "records", False)
    written = run()
    assert all(torch.allclose(recorded[name], written[name], rtol=1e-4, atol=1e-5) for name in written)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_epoch_on_a_gpu_never_waits_for_it():
    compute = Compute(torch.device("cuda"), "fp32")
    data = fakes.image_data(50).to(compute.device)
    rows = plain(torch.arange(50), data.labels, augment=True)
    batches = Batches(data, rows, batch_size=8, seed=0, device=compute.device)
    model = compute.place(fakes.model())
    optimizer = torch.optim.SGD(model.parameters(), torch.tensor(0.1, device="cuda"), fused=True)
    take = step.fastest(step.Step(model, loss, optimizer, compute))
    made = batches.epoch(0)
    take(next(made))
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in made:
            take(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
