"""SalUn: which weights may move, and that no other one does."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.nn import functional

from natmu.methods import Amnesiac, SalUn
from natmu.methods.labels import relabelled
from natmu.methods.saliency import most_salient, saliency

from .problems import intercept, noise_data, problem_of, small_net, state_of
from .test_relabelling import FORGET, forget_labels


def slow_saliency(problem):
    """The gradient of one sample after the other, added in double precision, then absolute; flat."""
    model = problem.frozen_copy().requires_grad_(True).double()
    total = None
    for position in problem.forget.indices:
        image = problem.data.images[position : position + 1].double() / 255
        loss = functional.cross_entropy(model(image), problem.data.labels[position : position + 1])
        gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
        total = gradient if total is None else total + gradient
    assert total is not None
    return total.abs()


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def moving(problem, threshold):
    """The selected weights by the slow saliency, flat."""
    slow = slow_saliency(problem)
    chosen = torch.zeros(len(slow), dtype=torch.bool)
    chosen[slow.sort(descending=True).indices[: math.ceil(threshold * len(slow))]] = True
    return chosen


def test_saliency_is_the_absolute_sum_of_per_sample_gradients_in_eval_mode(digits):
    model = small_net(digits.image_shape, 10, 4).train()
    problem = problem_of(digits, FORGET, model=model)
    before = state_of(model)
    fast = flat(saliency(problem)).double()
    slow = slow_saliency(problem)
    assert torch.allclose(fast, slow, rtol=1e-3, atol=1e-5)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_saliency_does_not_depend_on_how_samples_are_batched(monkeypatch, digits):
    problem = problem_of(digits, FORGET)
    whole = flat(saliency(problem))
    monkeypatch.setattr("natmu.engine.predict.EVALUATION_BATCH", 7)
    assert torch.allclose(flat(saliency(problem)), whole, rtol=1e-3, atol=1e-5)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    threshold=st.sampled_from([0.01, 0.05, 0.2, 0.25, 0.5, 0.75, 1]),
    seed=st.integers(0, 1000),
)
def test_masks_are_the_global_top_and_of_exactly_that_many(sizes, threshold, seed):
    generator = torch.Generator().manual_seed(seed)
    values = [torch.randint(0, 9, (size, 2), generator=generator).float() for size in sizes]  # many ties
    masks = most_salient(values, threshold)
    assert [mask.shape for mask in masks] == [value.shape for value in values]
    chosen, scores = flat(masks), flat(values)
    assert chosen.dtype == torch.bool
    assert chosen.sum() == math.ceil(threshold * len(scores))
    if not chosen.all():
        assert scores[chosen].min() >= scores[~chosen].max()


def test_masks_cross_layers_and_keep_the_place_of_each_weight():
    values = [torch.tensor([[1.0, 9.0], [2.0, 3.0]]).t(), torch.tensor([8.0, 0.0])]
    first, second = most_salient(values, 1 / 3)
    assert first.tolist() == [[False, False], [True, False]]
    assert second.tolist() == [True, False]


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("threshold", [0.05, 0.5])
def test_trap_unselected_weights_stay_bit_identical_under_decay_and_momentum(trained, digits, optimizer, threshold):
    problem = problem_of(digits, FORGET, model=trained)
    chosen = moving(problem, threshold)
    before = flat(list(trained.parameters())).detach().clone()
    method = SalUn(threshold=threshold, optimizer=optimizer, lr=1e-2, weight_decay=0.1, epochs=3)
    after = flat(list(method(problem).model.parameters())).detach()
    assert torch.equal(after[~chosen], before[~chosen])
    assert (after[chosen] != before[chosen]).float().mean() > 0.98


def test_after_a_reset_the_unselected_weights_of_the_head_stay_as_reset(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    method = SalUn(threshold=0.1, reset_head=True, lr=1e-2, epochs=1)
    reset = state_of(intercept(monkeypatch, method, problem).model)["5.weight"]
    after = state_of(method(problem).model)["5.weight"]
    offset = sum(parameter.numel() for parameter in list(trained.parameters())[:-2])
    chosen = moving(problem, 0.1)[offset : offset + reset.numel()].view_as(reset)  # chosen before the reset
    assert torch.equal(after[~chosen], reset[~chosen])
    assert chosen.any()
    assert (after[chosen] != reset[chosen]).all()


def test_with_all_weights_selected_it_is_relabelling(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    settings = {"lr": 1e-3, "weight_decay": 1e-2, "epochs": 2}
    both = [state_of(method(problem).model) for method in (SalUn(threshold=1, **settings), Amnesiac(**settings))]
    assert all(torch.equal(both[0][name], both[1][name]) for name in both[0])


def test_labels_are_fixed_by_default_and_drawn_anew_where_asked(monkeypatch):
    problem = problem_of(noise_data(100), FORGET)
    own = problem.data.labels[problem.forget_positions]
    fixed = intercept(monkeypatch, SalUn(), problem)
    drawn = intercept(monkeypatch, SalUn(relabel="each_epoch"), problem)
    constant = [forget_labels(fixed, problem, epoch) for epoch in range(3)]
    varying = [forget_labels(drawn, problem, epoch) for epoch in range(3)]
    assert all(torch.equal(labels, constant[0]) for labels in constant)
    assert not torch.equal(varying[0], varying[1])
    assert not torch.equal(varying[1], varying[2])
    assert not any((labels == own).any() for labels in [*constant, *varying])


def test_labels_of_any_class_are_uniform_over_all_and_drawn_anew(monkeypatch):
    """Unlearn-Saliency, Classification/unlearn/RL.py, line 125: torch.randint(0, num_classes) at each visit."""
    problem = problem_of(noise_data(100), FORGET)
    caught = intercept(monkeypatch, SalUn(relabel="any"), problem)
    labels = [forget_labels(caught, problem, epoch) for epoch in range(60)]
    counts = torch.bincount(torch.cat(labels), minlength=5)
    assert chisquare(counts.numpy()).pvalue > 1e-3
    own = torch.stack([drawn == problem.data.labels[problem.forget_positions] for drawn in labels])
    assert own.float().mean().item() == pytest.approx(1 / 5, abs=0.04)
    assert not torch.equal(labels[0], labels[1])
    assert torch.equal(forget_labels(caught, problem, 1), labels[1])  # a resumed run sees the same


@pytest.mark.parametrize("relabel", ["fixed", "each_epoch", "any"])
def test_the_forget_set_comes_before_the_retain_set_where_asked(monkeypatch, relabel):
    """Unlearn-Saliency, Classification/unlearn/RL.py, lines 123-158: a loop over each set, the forget set first."""
    problem = problem_of(noise_data(100), FORGET, batch_size=8)
    method = SalUn(relabel=relabel, order="forget_first", epochs=3, warmup_epochs=0.5)
    caught = intercept(monkeypatch, method, problem)
    passes = [caught.epoch(number) for number in range(caught.settings.epochs)]
    shown = [set(rows.positions.tolist()) for rows in passes]
    assert shown == [set(problem.forget_positions.tolist()), set(problem.retain_positions.tolist())] * 3
    mixed = intercept(monkeypatch, SalUn(relabel=relabel, epochs=3), problem)
    for epoch in range(3):
        assert torch.equal(passes[2 * epoch].labels, forget_labels(mixed, problem, epoch))
        assert torch.equal(passes[2 * epoch + 1].labels, problem.data.labels[passes[2 * epoch + 1].positions])
    assert caught.settings.warmup_epochs / caught.settings.epochs == pytest.approx(0.5 / 3)


def test_going_through_the_forget_set_first_is_two_plain_loops(trained, digits):
    problem = problem_of(digits, FORGET, model=trained, batch_size=300)
    method = SalUn(
        order="forget_first", epochs=2, optimizer="sgd", momentum=0, weight_decay=0, lr=0.1, schedule="constant",
        threshold=0.5,
    )  # fmt: skip
    found = method(problem).model
    slow, chosen = problem.frozen_copy().requires_grad_(True).train(), moving(problem, 0.5)
    labels = torch.from_numpy(relabelled(problem))
    for _ in range(2):
        for positions, targets in (
            (problem.forget_positions, labels),
            (problem.retain_positions, digits.labels[problem.retain_positions]),
        ):
            loss = functional.cross_entropy(slow(digits.images[positions].float() / 255), targets)
            step = flat(torch.autograd.grad(loss, list(slow.parameters()))) * chosen
            with torch.no_grad():
                torch.nn.utils.vector_to_parameters(flat(list(slow.parameters())) - 0.1 * step, slow.parameters())
    expected = flat(list(slow.parameters()))
    torch.testing.assert_close(flat(list(found.parameters())), expected, rtol=1e-3, atol=1e-5)


def test_the_order_of_passes_changes_the_result_and_the_seed_decides_it(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    first, second, shuffled = (
        state_of(SalUn(**settings, epochs=2, threshold=0.5, lr=1e-3)(problem).model)
        for settings in ({"order": "forget_first"}, {"order": "forget_first"}, {})
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["5.weight"], shuffled["5.weight"])
