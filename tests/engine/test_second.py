"""A second optimiser in the loop: who takes which update, what it remembers, and that nothing is lost on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from natmu.data.batches import Batches, plain
from natmu.engine import step
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.loop import Watch, fit
from natmu.engine.schedule import lr_factor
from natmu.engine.step import Second
from natmu.errors import TrainingError

from . import fakes
from .recorder import TapeRecorder

EPOCHS = 4
OTHER = fakes.settings(epochs=EPOCHS, optimizer="adamw", lr=0.01, weight_decay=0.05)


def own_loss(model, batch):
    return functional.cross_entropy(model(batch.images), batch.labels)


def other_loss(model, batch):
    return -0.1 * functional.cross_entropy(model(batch.images), batch.labels)


def halved(terms):
    return [gradient / 2 for gradient in terms[0]]


def pairs():
    data = fakes.image_data(30)
    rows, others = (plain(torch.arange(*part), data.labels[slice(*part)], augment=False) for part in ((22,), (22, 30)))
    return Batches(data, rows, batch_size=4, seed=0, device=fakes.CPU.device, paired=others, paired_every=2)


def turns():
    return fakes.batches(fakes.image_data())


SECONDS = {
    "paired": (pairs, Second(OTHER, loss=other_loss, direction=halved)),
    "epochs": (turns, Second(OTHER, epochs=range(0, EPOCHS, 2), direction=halved)),
}
both = pytest.mark.parametrize("kind", SECONDS)


def run(kind, compute=fakes.CPU, after_step=None, checkpoint=None, settings=None, loss=own_loss):
    batches, second = SECONDS[kind]
    watch = Watch("train", checkpoint=checkpoint)
    return fit(
        fakes.model(dropout=0.25 if checkpoint else 0),
        batches(),
        loss,
        settings or fakes.settings(epochs=EPOCHS),
        compute,
        watch,
        after_step,
        second=second,
    )


def slow(kind):
    """Two optimisers of PyTorch, and one update after the other."""
    (make, second), settings = SECONDS[kind], fakes.settings(epochs=EPOCHS)
    batches, model = make(), fakes.model().train()
    first = torch.optim.SGD(model.parameters(), settings.lr, momentum=0.9, weight_decay=settings.weight_decay)
    other = torch.optim.AdamW(model.parameters(), OTHER.lr, weight_decay=OTHER.weight_decay)
    steps, total = 0, sum(map(batches.steps, range(EPOCHS)))

    def update(optimizer, value, factor=1.0):
        model.zero_grad()
        value.backward()
        for parameter in model.parameters():
            parameter.grad *= factor
        optimizer.step()

    for epoch in range(EPOCHS):
        for batch in batches.epoch(epoch):
            steps += 1
            for optimizer, rate in ((first, settings.lr), (other, OTHER.lr)):
                optimizer.param_groups[0]["lr"] = rate * lr_factor("cosine", steps, total)
            if epoch in second.epochs:
                update(other, own_loss(model, batch), 0.5)
                continue
            if batch.paired is not None:
                update(other, other_loss(model, batch.paired), 0.5)
            update(first, own_loss(model, batch))
    return model


@both
def test_updates_are_those_of_two_optimisers_in_turns(kind):
    expected, found = slow(kind).state_dict(), run(kind).state_dict()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


@both
@pytest.mark.parametrize("stop_after", range(1, EPOCHS))
def test_an_interrupted_run_continues_to_the_same_weights(monkeypatch, tmp_path, kind, stop_after):
    path = tmp_path / "state.safetensors"
    whole = fakes.state(run(kind, checkpoint=Checkpoint(path, every_seconds=3600)))
    assert not path.exists()
    save = Checkpoint.save

    def save_and_stop(self, epochs, *rest):
        save(self, epochs, *rest)
        if epochs == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            run(kind, checkpoint=Checkpoint(path, every_seconds=0))
    assert fakes.same(fakes.state(run(kind, checkpoint=Checkpoint(path, every_seconds=3600))), whole)


@both
def test_recorded_steps_give_the_weights_of_steps_as_written(monkeypatch, kind):
    written = run(kind).state_dict()
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    monkeypatch.setattr(step, "WARM_UP", 1)
    monkeypatch.setattr(Compute, "records", True)
    recorded = run(kind).state_dict()
    assert recorder.recorded > 0
    for name, value in written.items():
        torch.testing.assert_close(recorded[name], value, rtol=1e-3, atol=1e-3)


@both
def test_the_constraint_follows_every_update(kind):
    calls = []
    run(kind, after_step=lambda: calls.append(1))
    batches = SECONDS[kind][0]()
    steps = sum(map(batches.steps, range(EPOCHS)))
    paired = sum(batch.paired is not None for epoch in range(EPOCHS) for batch in batches.epoch(epoch))
    assert len(calls) == steps + paired
    assert (paired > 0) == (kind == "paired")


@both
def test_the_error_of_a_diverging_run_shows_both_settings(kind):
    def broken(model, batch):
        return own_loss(model, batch) * float("nan")

    with pytest.raises(TrainingError, match=r"optimizer=sgd, lr=0\.05.*second optimiser: .*optimizer=adamw, lr=0\.01"):
        run(kind, loss=broken)


def test_a_second_optimiser_that_takes_no_step_changes_nothing():
    batches, settings = turns(), fakes.settings()
    plainly, beside = (
        fakes.state(fit(fakes.model(), batches, own_loss, settings, fakes.CPU, Watch("train"), second=second))
        for second in (None, replace(SECONDS["epochs"][1], epochs=()))
    )
    assert fakes.same(plainly, beside)
