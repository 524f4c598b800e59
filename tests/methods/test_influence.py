"""Influence: the inverse against the dense one, the step against Newton's on a problem where it is exact."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError, SettingError, TrainingError
from natmu.methods import influence
from natmu.methods.influence import Influence, woodfisher

from .problems import noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(0, 40, 3))


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def served(matrix, size):
    """Rows of a matrix, a few at a time, as the gradients of chunks of samples come."""

    def gradients(start, end):
        assert start < end  # not every model answers to no image at all
        yield from matrix[start:end].split(size)

    return gradients


def dense(matrix, vector, damping):
    """The product with the inverse, by the inverse."""
    hessian = damping * torch.eye(matrix.shape[1], dtype=matrix.dtype) + matrix.T @ matrix / len(matrix)
    return torch.linalg.inv(hessian) @ vector


@settings(deadline=None)
@given(
    count=st.integers(1, 23),
    width=st.integers(1, 15),
    block=st.integers(1, 30),
    chunk=st.integers(1, 30),
    damping=st.sampled_from([1e-3, 0.1, 1, 50]),
    seed=st.integers(0, 1000),
)
def test_the_product_with_the_inverse_is_the_dense_one(count, width, block, chunk, damping, seed):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(count, width, generator=generator, dtype=torch.double)
    vector = torch.randn(width, generator=generator, dtype=torch.double)
    fast = woodfisher(served(matrix, chunk), count, vector, damping, block)
    assert torch.allclose(fast, dense(matrix, vector, damping), rtol=1e-8, atol=1e-8)


def test_in_single_precision_it_is_exact_to_five_digits():
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(60, 200, generator=generator)
    vector = torch.randn(200, generator=generator)
    kept = vector.clone()
    fast = woodfisher(served(matrix, 7), 60, vector, 0.1, 13)
    slow = dense(matrix.double(), vector.double(), 0.1)
    assert (fast - slow).norm() < 1e-5 * slow.norm()
    assert fast.dtype == torch.float32
    assert torch.equal(vector, kept)


def test_it_is_what_the_recursion_gives_with_all_of_its_vectors():
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(9, 6, generator=generator, dtype=torch.double)
    vector = torch.randn(6, generator=generator, dtype=torch.double)
    inverse = torch.eye(6, dtype=torch.double) / 0.2
    for gradient in matrix:
        image = inverse @ gradient
        inverse -= torch.outer(image, image) / (9 + gradient @ image)
    assert torch.allclose(woodfisher(served(matrix, 2), 9, vector, 0.2, 4), inverse @ vector)


def test_never_more_than_a_block_is_held_and_each_block_meets_those_before_it_once():
    matrix = torch.randn(10, 4, dtype=torch.double)
    asked = []

    def gradients(start, end):
        asked.append((start, end))
        yield from matrix[start:end].split(3)

    woodfisher(gradients, 10, matrix[0], 1.0, 4)
    assert asked == [(0, 4), (4, 8), (0, 4), (8, 10), (0, 8), (0, 10)]


def slow_step(problem, positions, alpha, damping):
    """The rule with one sample after the other, and the dense inverse, in double precision."""
    model = problem.frozen_copy().requires_grad_(True).double()
    weights = list(model.parameters())

    def gradient(position):
        image = problem.data.images[position][None].double() / 255
        loss = functional.cross_entropy(model(image), problem.data.labels[position][None])
        return flat(torch.autograd.grad(loss, weights))

    matrix = torch.stack([gradient(position) for position in positions])
    vector = torch.stack([gradient(position) for position in problem.forget_positions]).sum(0)
    return alpha * dense(matrix, vector, damping) / len(problem.retain_positions)


@pytest.mark.parametrize("block", [None, 5])
def test_the_step_is_the_rule(monkeypatch, block):
    data = noise_data(40, (1, 6, 5), 4)
    model = small_net(data.image_shape, 4, 3)
    problem = problem_of(data, FORGET, model=model.train())
    if block is not None:
        weights = sum(weight.numel() for weight in model.parameters())
        monkeypatch.setattr(influence, "BLOCK_BYTES", block * weights * 4 + 3)
    blocks = []

    def watched(gradients, count, vector, damping, rows):
        blocks.append(rows)
        return woodfisher(gradients, count, vector, damping, rows)

    monkeypatch.setattr(influence, "woodfisher", watched)
    moved = flat(Influence(alpha=0.7, damping=0.05)(problem).model.parameters()) - flat(model.parameters())
    slow = slow_step(problem, problem.retain_positions, 0.7, 0.05)
    assert (moved - slow).norm() < 1e-4 * slow.norm()
    assert blocks == [block or influence.BLOCK_BYTES // (4 * len(moved))]


def test_a_gaussian_mean_is_moved_to_that_of_what_is_left(monkeypatch):
    """A bias alone under squared distance: its optimum is the mean of the targets, and one Newton step is exact.

    The information of unit-variance noise about the mean is 1, which the damping stands for here.
    """
    data = noise_data(50, classes=5)
    counts = torch.eye(5)[data.labels]
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(counts.mean(0))
    model[1].weight.requires_grad_(False)

    def distance(logits, label):
        return (logits - functional.one_hot(label, 5)).square().sum() / 2

    monkeypatch.setattr(functional, "cross_entropy", distance)
    monkeypatch.setattr(influence, "per_sample_gradients", lambda *_: iter([[torch.zeros(1, 5)]]))
    forget = [*range(0, 50, 5), 1, 3, 8]
    problem = problem_of(data, forget, model=model)
    after = Influence(damping=1, alpha=1, gradients=1)(problem).model
    assert torch.allclose(after[1].bias, counts[problem.retain_positions].mean(0), atol=1e-6)


def test_the_hessian_is_of_so_many_retain_samples_drawn_by_the_seed(monkeypatch):
    data = noise_data(60)
    seen = {}

    def instead(model, data, samples, compute, function):
        seen.setdefault(seed, set()).update(samples.positions.tolist())
        assert torch.equal(samples.labels, data.labels[samples.positions])
        yield [torch.zeros(len(samples), *weight.shape) for weight in model.parameters()]

    monkeypatch.setattr(influence, "per_sample_gradients", instead)
    for seed in (0, 1):
        problem = problem_of(data, FORGET, seed=seed)
        Influence(gradients=10)(problem)
    assert [len(positions) for positions in seen.values()] == [10, 10]
    assert seen[0] != seen[1]
    assert all(positions.isdisjoint(FORGET) for positions in seen.values())
    Influence(gradients=5000)(problem)
    assert seen[1] == set(problem.retain_positions.tolist())


def test_frozen_weights_and_running_statistics_stay(trained, digits):
    for parameter in trained[0].parameters():
        parameter.requires_grad_(False)
    try:
        before = state_of(trained)
        after = state_of(Influence()(problem_of(digits, FORGET, model=trained)).model)
    finally:
        trained.requires_grad_(True)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"0.weight", "0.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_a_frozen_model_is_refused_before_anything_is_done():
    data = noise_data(40)
    with pytest.raises(ModelError, match="influence: every weight of the model is frozen"):
        Influence().check(problem_of(data, FORGET, model=small_net((3, 8, 8), 5).requires_grad_(False)))


def test_a_step_that_is_not_finite_stops_it_and_names_the_settings():
    data = noise_data(40)
    model = unnormed_net(data.image_shape, 5)
    with torch.no_grad():
        model[3].weight[0] = 3e38  # finite, and its products are not
    with pytest.raises(TrainingError, match=r"^influence: .*step 1 .*damping=0\.3"):
        Influence(damping=0.3)(problem_of(data, FORGET, model=model))


@pytest.mark.parametrize("change", [{"alpha": 0.5}, {"damping": 1}, {"gradients": 8}])
def test_each_setting_has_an_effect(change):
    problem = problem_of(noise_data(40), FORGET)
    values = {"alpha": 1, "damping": 0.1, "gradients": 20}
    first, second = (state_of(Influence(**chosen)(problem).model) for chosen in (values, values | change))
    assert not same_state(first, second)


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("alpha", 0, "greater than 0"),
        ("gradients", 0, "greater than or equal to 1"),
        ("gradients", 20_001, "less than or equal to 20000"),
        ("damping", 0, "greater than 0"),
        ("lr", 0.1, "not a setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_range(setting, value, limit):
    with pytest.raises(SettingError, match=rf"influence: {setting}.*{limit}"):
        Influence(**{setting: value})


@pytest.mark.parametrize(("spec", "rise"), [("class:3", 10), ("random:10%", 2)])
def test_by_default_it_raises_the_loss_of_the_forget_set_and_keeps_the_retain_set(trained, digits, spec, rise):
    problem = problem_of(digits, resolve_forget(parse_forget(spec), digits, seed=0), model=trained)

    def losses(model):
        with torch.no_grad():
            logits = model.eval()(digits.images.float() / 255)
        each = functional.cross_entropy(logits, digits.labels, reduction="none")
        right = (logits.argmax(1) == digits.labels).float()
        return each[problem.forget_positions].mean(), right[problem.retain_positions].mean()

    before = losses(problem.frozen_copy())
    after = losses(Influence()(problem).model)
    assert after[0] > rise * before[0]
    assert after[1] > before[1] - 0.05
