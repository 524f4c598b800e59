"""DualOptim against loops with two optimisers of PyTorch, written from its code, in ImageClassification/unlearn."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.recorder import TapeRecorder
from natmu.engine import step
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.predict import logits_of
from natmu.methods import SCRUB, SalUn, SFRon

from .problems import intercept, noise_data, problem_of, same_state, state_of
from .test_saliency import flat, moving

FORGET = list(range(0, 250, 5))
PLAIN = {"optimizer": "sgd", "lr": 0.01, "weight_decay": 5e-4, "schedule": "constant", "forget_lr": 1e-3}
METHODS = {
    "salun": SalUn(epochs=2, threshold=0.5, **PLAIN),
    "scrub": SCRUB(epochs=2, max_steps=2, alpha=0.5, gamma=1.0, temperature=1.0, **PLAIN),
    "sfron": SFRon(steps=12, forget_every=3, **PLAIN),
}
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@pytest.fixture
def unbiased(trained):
    """The same network without the bias that batch normalisation takes out: Adam makes steps of its rounding."""
    model = copy.deepcopy(trained)
    biased = model[0]
    model[0] = nn.Conv2d(biased.in_channels, biased.out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        model[0].weight.copy_(biased.weight)
        model[1].running_mean -= biased.bias
    return model


def two_optimizers(model):
    """impl.py, lines 82 to 91."""
    forget = torch.optim.AdamW(model.parameters(), PLAIN["forget_lr"], weight_decay=0.05)
    retain = torch.optim.SGD(model.parameters(), PLAIN["lr"], momentum=0.9, weight_decay=PLAIN["weight_decay"])
    return forget, retain


def update(optimizer, model, loss, change=lambda gradients: gradients):
    optimizer.zero_grad()
    loss.backward()
    weights = list(model.parameters())
    for weight, gradient in zip(weights, change([weight.grad for weight in weights]), strict=True):
        weight.grad = gradient
    optimizer.step()


def slow_salun(problem, model, batches, method):
    """RL.py, lines 109 to 147; but weights outside the mask stay, which its AdamW decays."""
    forget, retain = two_optimizers(model)
    kept = flat(list(model.parameters())).detach().clone()
    masks = moving(problem, method.config.threshold)
    shapes = list(model.parameters())

    def masked(gradients):
        pieces = masks.split([weight.numel() for weight in shapes])
        return [gradient * piece.view_as(gradient) for gradient, piece in zip(gradients, pieces, strict=True)]

    for number in range(2 * method.config.epochs):
        for batch in batches.epoch(number):
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            update(retain if number % 2 else forget, model, loss, masked)
            with torch.no_grad():
                pinned = torch.where(masks, flat(shapes), kept).split([weight.numel() for weight in shapes])
                for weight, piece in zip(shapes, pinned, strict=True):
                    weight.copy_(piece.view_as(weight))


def slow_scrub(problem, model, batches, method):
    """scrub.py, lines 43 to 95."""
    teacher = copy.deepcopy(problem.model).eval()
    forget, retain = two_optimizers(model)
    for number in range(2 * method.config.epochs):
        for batch in batches.epoch(number):
            logits = model(batch.images)
            with torch.no_grad():
                target = teacher(batch.images).softmax(1)
            distance = functional.kl_div(logits.log_softmax(1), target, reduction="batchmean")
            if number % 2:
                update(retain, model, functional.cross_entropy(logits, batch.labels) + 0.5 * distance)
            else:
                update(forget, model, -distance)


def slow_sfron(problem, model, batches, method):
    """sfron.py, lines 419 to 499, with the loss of lines 92 to 102."""
    config, steps = method.config, 0
    forget, retain = two_optimizers(model)
    masks = method._salient(problem, problem.retain_samples(config), problem.forget_samples())

    def bounded(gradients):
        masked = [gradient * mask for gradient, mask in zip(gradients, masks, strict=True)]
        factor = min(1.0, config.max_grad_norm / float(flat(masked).norm()))
        return [factor * gradient for gradient in masked]

    for number in range(2):
        for batch in batches.epoch(number):
            if steps % config.forget_every == 0:
                rows = batch.paired
                losses = functional.cross_entropy(model(rows.images), rows.labels, reduction="none")
                weights = losses.detach().pow(-config.loss_power)
                adaptive = (weights / weights.sum() * losses * len(losses)).mean()
                update(forget, model, -config.forget_scale * adaptive, bounded)
            update(retain, model, functional.cross_entropy(model(batch.images), batch.labels))
            steps += 1
    assert steps == config.steps


@every
def test_a_run_is_that_of_two_optimisers_in_turns(monkeypatch, unbiased, digits, method):
    problem = problem_of(digits, FORGET, model=unbiased)
    caught = intercept(monkeypatch, method, problem)
    model = copy.deepcopy(caught.model).train()
    {"salun": slow_salun, "scrub": slow_scrub, "sfron": slow_sfron}[method.name](problem, model, caught.batches, method)
    found = method(problem).model.state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=2e-4)


@every
def test_forget_steps_follow_the_schedule_of_the_run(monkeypatch, method):
    settings = {**method.config.model_dump(), "schedule": "cosine", "forget_weight_decay": 0.25}
    caught = intercept(monkeypatch, type(method)(**settings), problem_of(noise_data(250), FORGET))
    assert caught.second.settings.model_dump() == {
        **caught.settings.model_dump(include=set(type(caught.second.settings).model_fields)),
        "optimizer": "adamw",
        "lr": 1e-3,
        "momentum": 0.9,
        "weight_decay": 0.25,
    }


@every
def test_without_a_rate_of_their_own_forget_steps_have_no_optimiser_of_their_own(monkeypatch, method):
    settings = {**method.config.model_dump(), "forget_lr": None}
    assert intercept(monkeypatch, type(method)(**settings), problem_of(noise_data(250), FORGET)).second is None


@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_trap_weights_that_are_not_salient_stay_to_the_bit(trained, digits, decay):
    problem = problem_of(digits, FORGET, model=trained)
    chosen = moving(problem, 0.5)
    method = SalUn(epochs=2, threshold=0.5, **PLAIN | {"weight_decay": 0.5, "forget_weight_decay": decay})
    before, after = (flat(list(model.parameters())).detach() for model in (trained, method(problem).model))
    assert torch.equal(after[~chosen], before[~chosen])
    assert (after[chosen] != before[chosen]).float().mean() > 0.98


def test_labels_are_drawn_as_without_it(monkeypatch):
    problem = problem_of(noise_data(100), range(0, 100, 4))
    for relabel in ("fixed", "each_epoch"):
        method = SalUn(epochs=3, threshold=0.5, relabel=relabel, **PLAIN)
        together = intercept(monkeypatch, SalUn(relabel=relabel), problem)
        caught = intercept(monkeypatch, method, problem)
        for epoch in range(3):
            joined, passed = together.epoch(epoch), caught.epoch(2 * epoch)
            last = slice(len(problem.retain_positions), None)
            assert torch.equal(joined.positions[last], passed.positions)
            assert torch.equal(joined.labels[last], passed.labels)
            assert torch.equal(caught.epoch(2 * epoch + 1).positions, problem.retain_positions)


@every
def test_an_interrupted_run_continues_to_the_same_weights(monkeypatch, tmp_path, method):
    problem = problem_of(noise_data(60), list(range(0, 60, 4)), batch_size=8)
    whole = state_of(method(problem).model)
    halted = replace(problem, checkpoint=Checkpoint(tmp_path / "state.safetensors", every_seconds=0))
    save = Checkpoint.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            method(halted)
    assert same_state(state_of(method(halted).model), whole)


@every
def test_replayed_steps_give_the_model_of_steps_as_written(monkeypatch, method):
    recorder, data = TapeRecorder(), noise_data(300)
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    problem = problem_of(data, list(range(0, 300, 3)), batch_size=16)
    answers = []
    for records in (True, False):
        monkeypatch.setattr(Compute, "records", records)
        answers.append(logits_of(method(problem).model, data, torch.arange(len(data)), problem.compute))
    assert recorder.replayed > 0
    torch.testing.assert_close(*answers, rtol=1e-3, atol=3e-3)
