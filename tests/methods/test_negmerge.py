"""NegMerge: what is kept of several task vectors, how they come about, and what is subtracted."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from natmu.data import load, parse_forget, resolve_forget
from natmu.engine.checkpoint import Checkpoint
from natmu.errors import SettingError
from natmu.methods import NegMerge, negmerge
from natmu.methods.negmerge import consensus

from .problems import noise_data, problem_of, same_state, state_of, superclass_data

FORGET = list(range(0, 250, 5))
QUICK = {"epoch_grid": [2, 3], "weight_decay_grid": [1e-4], "label_smoothing_grid": [0.0, 0.1]}
vectors = st.integers(1, 4).flatmap(
    lambda count: st.lists(st.lists(st.integers(-2, 2), min_size=count, max_size=count), min_size=1, max_size=5)
)


@given(vectors)
def test_coordinates_with_one_sign_in_all_vectors_keep_their_mean(rows):
    """The published merge (naver-ai/negmerge, CLIP_MU/src/negmerge.py, lines 50 to 66): |sum of signs| = count."""
    found = consensus([torch.tensor(row, dtype=torch.float64)] for row in rows)[0]
    for place, column in enumerate(zip(*rows, strict=True)):
        agree = all(value > 0 for value in column) or all(value < 0 for value in column)
        assert float(found[place]) == pytest.approx(sum(column) / len(column) if agree else 0)


@pytest.fixture
def runs(monkeypatch):
    """What each fine-tuning was asked for; it adds made-up vectors instead, and spoils the running statistics."""
    asked = []

    def instead(method, problem, samples, loss, settings):
        generator = torch.Generator().manual_seed(len(asked) % 4)
        vector = [torch.randn(weight.shape, generator=generator) for weight in problem.model.parameters()]
        asked.append((problem, samples, loss, settings, state_of(problem.model), vector))
        with torch.no_grad():
            for weight, part in zip(problem.model.parameters(), vector, strict=True):
                weight += part
            for buffer in problem.model.buffers():
                buffer += 7
        return problem.model

    monkeypatch.setattr(negmerge, "fine_tune", instead)
    return asked


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_the_scaled_consensus_is_subtracted_from_the_original(runs, trained, digits, scale):
    after = state_of(NegMerge(scale=scale, **QUICK)(problem_of(digits, FORGET, model=trained)).model)
    assert len(runs) == 4
    for number, (name, weight) in enumerate(trained.named_parameters()):
        parts = torch.stack([run[-1][number] for run in runs]).double()
        same = (parts > 0).all(0) | (parts < 0).all(0)
        assert 0 < same.float().mean() < 1 or weight.numel() < 32
        expected = weight.double() - scale * parts.mean(0) * same
        torch.testing.assert_close(after[name], expected.float(), rtol=1e-5, atol=1e-6)
        assert torch.equal(after[name][~same], weight[~same])
    for name, value in trained.named_buffers():
        assert torch.equal(after[name], value), "running statistics are the original's"


def test_every_model_starts_from_the_original_with_settings_and_an_order_of_its_own(runs, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    grids = {"epoch_grid": [2, 3], "weight_decay_grid": [0.1, 0.2], "label_smoothing_grid": [0.0, 0.3], "repeats": 2}
    NegMerge(lr=0.03, **grids)(problem)
    wanted = [tuple(each) for each in itertools.product([2, 3], [0.1, 0.2], [0.0, 0.3]) for _ in range(2)]
    assert [(run[3].epochs, run[3].weight_decay) for run in runs] == [each[:2] for each in wanted]
    assert len({run[0].seed for run in runs}) == len(wanted)
    for (_, samples, loss, settings, start, _), (_, _, smoothing) in zip(runs, wanted, strict=True):
        assert same_state(start, state_of(trained))
        assert torch.equal(samples.positions, problem.forget_positions)
        assert (settings.lr, settings.optimizer, settings.momentum, settings.schedule) == (0.03, "sgd", 0.9, "cosine")
        batch = type("Rows", (), {"images": digits.images[:9].float() / 255, "labels": digits.labels[:9]})
        model = copy.deepcopy(trained).eval()
        chances = model(batch.images).log_softmax(1).double()
        slow = [
            -(1 - smoothing) * row[label] - smoothing * row.mean()
            for row, label in zip(chances, batch.labels, strict=True)
        ]
        assert loss(model, batch).item() == pytest.approx(sum(slow).item() / 9, rel=1e-4)


def accuracy(model, data, positions):
    with torch.no_grad():
        answers = model.eval()(data.images[positions].float() / 255)
    return sum(
        int(answer.argmax()) == int(data.labels[at]) for answer, at in zip(answers, positions, strict=True)
    ) / len(positions)


@pytest.mark.parametrize("asked", ["random:20%", "class:3"])
def test_the_searched_scale_forgets_most_of_those_that_keep_unseen_samples(runs, tmp_path, trained, digits, asked):
    unseen = load("digits", tmp_path).test.subset(np.arange(100))
    forget = resolve_forget(parse_forget(asked), digits, seed=0)
    problem = problem_of(digits, forget, model=trained, holdout=unseen)
    kept = [at for at in range(100) if not (asked == "class:3" and unseen.labels[at] == 3)]
    floor = 0.95 * accuracy(problem.frozen_copy(), unseen, kept)
    models = {step / 20: NegMerge(scale=step / 20, **QUICK)(problem).model for step in range(1, 21)}
    serving = {scale: model for scale, model in models.items() if accuracy(model, unseen, kept) >= floor}
    assert 0 < len(serving) < 20
    best = min(serving, key=lambda scale: (accuracy(serving[scale], digits, forget.indices.tolist()), scale))
    found = NegMerge(search_scale=True, **QUICK)(problem).model
    assert same_state(state_of(found), state_of(models[best]))


def test_a_search_without_samples_to_hold_on_to_is_refused():
    data = superclass_data()
    problem = problem_of(data, resolve_forget(parse_forget("class:0"), data, seed=0))
    with pytest.raises(SettingError, match="set one aside, or give scale"):
        NegMerge(search_scale=True)(problem)
    only = data.subset(np.flatnonzero(data.labels.numpy() == 0))
    with pytest.raises(SettingError, match="not forgotten"):
        NegMerge(search_scale=True)(replace(problem, holdout=only))


def test_classes_and_sub_classes_that_are_forgotten_do_not_count_as_kept():
    data = superclass_data()
    for asked, labels in (("class:0", data.labels), ("subclass:1", data.fine.labels)):
        problem = problem_of(data, resolve_forget(parse_forget(asked), data, seed=0), holdout=data)
        gone = int(asked[-1])
        assert negmerge._kept_holdout(problem).tolist() == [at for at in range(120) if labels[at] != gone]


@pytest.mark.parametrize("stop_at", [1, 4, 9])
def test_a_run_interrupted_in_any_model_continues_to_the_same_weights(monkeypatch, tmp_path, stop_at):
    problem = problem_of(noise_data(60), FORGET[:12])
    method = NegMerge(**QUICK)
    whole = state_of(method(problem).model)
    halted = replace(problem, checkpoint=Checkpoint(tmp_path / "state.safetensors", every_seconds=0))
    save, saves = Checkpoint.save, []

    def save_and_stop(*arguments):
        save(*arguments)
        saves.append(1)
        if len(saves) == stop_at:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            method(halted)
    assert same_state(state_of(method(halted).model), whole)


def test_a_single_forget_sample_serves_where_single_values_are_normalised():
    data = noise_data(40, (1, 7, 5))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(35, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 5))
    problem = problem_of(data, [3], model=model)
    after = NegMerge(**QUICK)(problem).model
    assert all(bool(value.isfinite().all()) for value in after.state_dict().values())
    assert not same_state(state_of(after), state_of(model))
