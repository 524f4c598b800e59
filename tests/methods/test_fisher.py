"""Fisher: the information against a slow loop, the noise against its stated scale, and what no noise may reach."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError, SettingError, TrainingError
from natmu.methods.fisher import Fisher, fisher_information, noise_scale

from .problems import noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(0, 40, 3))


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def slow_information(problem):
    """The expectation over every label of every retain sample, one backward pass each, in double precision; flat.

    SelectiveForgetting, Forgetting.ipynb, function hessian: batches of one, all labels, weighted by the prediction.
    """
    model = problem.frozen_copy().requires_grad_(True).double()
    for own, given in zip(model.parameters(), problem.model.parameters(), strict=True):
        own.requires_grad_(given.requires_grad)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    total = torch.zeros(sum(weight.numel() for weight in weights), dtype=torch.double)
    for position in problem.retain_positions:
        log_p = model(problem.data.images[position][None].double() / 255).log_softmax(1)[0]
        for value in log_p:
            gradient = flat(torch.autograd.grad(value, weights, retain_graph=True))
            total += value.exp().item() * gradient.square()
    return total / len(problem.retain_positions)


@pytest.fixture(scope="module")
def problem():
    data = noise_data(40, (1, 6, 5), 4)
    return problem_of(data, FORGET, model=small_net(data.image_shape, 4, 3))


def close(fast, slow):
    return torch.allclose(fast.double(), slow, rtol=1e-4, atol=1e-5 * slow.max().item())


@pytest.mark.parametrize("draws", [4, 9])
def test_with_every_label_the_information_is_the_slow_expectation(problem, draws):
    assert close(flat(fisher_information(problem, draws, 1)), slow_information(problem))


def test_the_information_is_not_that_of_batches(problem):
    """Unlearn-Sparse, unlearn/fisher.py, lines 51-76, takes the mean gradient of batches of 32 for each label."""
    model = problem.frozen_copy().requires_grad_(True).double()
    total = torch.zeros(sum(weight.numel() for weight in model.parameters()), dtype=torch.double)
    batches = torch.split(problem.retain_positions, 32)
    for batch in batches:
        log_p = model(problem.data.images[batch].double() / 255).log_softmax(1)
        for label in range(4):
            gradient = flat(torch.autograd.grad(-log_p[:, label].mean(), list(model.parameters()), retain_graph=True))
            total += log_p[:, label].exp().mean().item() * gradient.square()
    ours = flat(fisher_information(problem, 4, 1)).double()
    assert ((total / len(batches) - ours).abs() > 0.1 * ours).float().mean() > 0.5


def test_the_information_of_a_model_in_training_mode_is_that_in_eval_mode_and_changes_nothing(problem):
    before = state_of(problem.model)
    problem.model.train()
    assert close(flat(fisher_information(problem, 4, 1)), slow_information(problem))
    assert problem.model.training
    assert same_state(before, state_of(problem.model))


@pytest.mark.parametrize("draws", [1, 3])
def test_few_labels_give_the_expectation_on_average_even_for_a_sharp_model(draws):
    data = noise_data(40, (1, 6, 5), 4)
    model = unnormed_net(data.image_shape, 4, 3)
    with torch.no_grad():
        model[3].weight *= 12  # labels drawn from the predictions would mostly be the likeliest
    slow = slow_information(problem_of(data, FORGET, model=model))
    drawn = [flat(fisher_information(problem_of(data, FORGET, model=model, seed=s), draws, 1)) for s in range(60)]
    mean, error = torch.stack(drawn).mean(0), torch.stack(drawn).std(0) / math.sqrt(60)
    assert (error.sum() / slow.sum()) < 0.08
    assert ((mean - slow).abs() <= 5 * error + 1e-6 * slow.max()).float().mean() > 0.99


def test_labels_are_drawn_by_the_seed(problem):
    again = [flat(fisher_information(problem, 1, 1)) for _ in range(2)]
    assert torch.equal(*again)
    other = problem_of(problem.data, FORGET, model=problem.model, seed=1)
    assert not torch.equal(flat(fisher_information(other, 1, 1)), again[0])


def test_a_share_of_the_retain_set_is_enough_where_asked(monkeypatch, problem):
    seen = []

    def instead(model, data, samples, compute, function, transform):
        seen.append(samples)
        return [torch.zeros_like(weight) for weight in model.parameters()]

    monkeypatch.setattr("natmu.methods.fisher.mean_over_samples", instead)
    fisher_information(problem, 2, 0.5)
    fisher_information(problem, 1, 1)
    assert [len(samples) for samples in seen] == [13, 13, 26]
    assert torch.equal(seen[0].positions, seen[1].positions)
    assert not (seen[0].labels == seen[1].labels).any()
    assert torch.equal(seen[2].positions, problem.retain_positions)
    assert not any(samples.augmented.any() for samples in seen)


def test_the_scale_is_the_fourth_root_and_bounded():
    information = torch.tensor([[1e-4, 1e-8], [0.0, 1e-30]], dtype=torch.double)
    weight = torch.tensor([[1.0, -7.0], [1.0, 7.0]], dtype=torch.double)
    scale = noise_scale(information, weight, alpha=1e-6, cap=0.3)
    assert scale.flatten().tolist() == pytest.approx([0.1**0.5, 1.5, 1.5, 1.5])  # of a root mean square of 5
    assert noise_scale(information, weight, 1e-6, 10)[0].tolist() == pytest.approx(
        [(1e-6 / f) ** 0.25 for f in (1e-4, 1e-8)]
    )
    assert noise_scale(torch.zeros(3), torch.zeros(3), 1e-6, 1).tolist() == [0, 0, 0]


def test_noise_has_the_stated_variance_and_is_centred_and_independent(monkeypatch, problem):
    information = [torch.rand_like(weight) + 0.01 for weight in problem.model.parameters()]
    monkeypatch.setattr("natmu.methods.fisher.fisher_information", lambda *_: information)
    original = flat(problem.model.parameters())
    scale = flat([noise_scale(f, w, 1e-3, 1.0) for f, w in zip(information, problem.model.parameters(), strict=True)])
    draws = 400
    method = Fisher(alpha=1e-3, cap=1.0)
    noise = torch.stack(
        [
            flat(method(problem_of(problem.data, FORGET, model=problem.model, seed=s)).model.parameters())
            for s in range(draws)
        ]
    )
    moved = scale > 0
    standard = ((noise - original) / scale)[:, moved]
    assert moved.float().mean() > 0.9
    assert (standard.std(0) - 1).abs().max() < 0.21  # 6 standard errors
    assert standard.mean(0).abs().max() < 0.3
    assert standard.std().item() == pytest.approx(1, abs=0.01)
    assert standard.pow(4).mean().item() == pytest.approx(3, abs=0.12)  # of a normal distribution
    assert (standard[:, 1:] * standard[:, :-1]).mean(0).abs().max() < 0.3
    assert torch.equal(noise[:, ~moved], original[~moved].expand(draws, -1))


def test_no_noise_reaches_frozen_weights_and_running_statistics(trained, digits):
    for parameter in trained[0].parameters():
        parameter.requires_grad_(False)
    try:
        before = state_of(trained)
        after = state_of(Fisher(alpha=1e-5)(problem_of(digits, FORGET, model=trained)).model)
    finally:
        trained.requires_grad_(True)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"0.weight", "0.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert (after["5.weight"] != before["5.weight"]).all()


def test_a_frozen_model_is_refused_before_anything_is_done(problem):
    model = small_net((1, 6, 5), 4).requires_grad_(False)
    with pytest.raises(ModelError, match="fisher: every weight of the model is frozen"):
        Fisher().check(problem_of(problem.data, FORGET, model=model))


def answers_nothing():
    return nn.Sequential(nn.Flatten(), nn.Linear(30, 4))


def test_gradients_that_are_not_finite_stop_it(problem):
    model = answers_nothing()
    with torch.no_grad():
        model[1].weight[0] = 3e38  # finite, and its products are not
    with pytest.raises(TrainingError, match=r"^fisher: .*step 1.*cap=0\.3"):
        Fisher()(problem_of(problem.data, FORGET, model=model))


def test_labels_and_forget_images_do_not_matter(problem):
    reference = state_of(Fisher()(problem).model)
    data = noise_data(40, (1, 6, 5), 4)
    data.labels[:] = (data.labels + 1) % 4
    data.images[problem.forget_positions] = 0
    assert same_state(reference, state_of(Fisher()(problem_of(data, FORGET, model=problem.model)).model))
    data.images[problem.retain_positions[0]] = 0
    assert not same_state(reference, state_of(Fisher()(problem_of(data, FORGET, model=problem.model)).model))


@pytest.mark.parametrize("change", [{"alpha": 1e-5}, {"cap": 0.01}, {"draws": 4}, {"retain_fraction": 0.5}])
def test_each_setting_has_an_effect(problem, change):
    settings = {"alpha": 1e-7, "cap": 0.5, "draws": 1, "retain_fraction": 1}
    first, second = (state_of(Fisher(**values)(problem).model) for values in (settings, settings | change))
    assert not same_state(first, second)


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("alpha", 0, "greater than 0"),
        ("alpha", 1.1, "less than or equal to 1"),
        ("cap", 0, "greater than 0"),
        ("draws", 0, "greater than or equal to 1"),
        ("retain_fraction", 0, "greater than 0"),
        ("retain_fraction", 1.1, "less than or equal to 1"),
        ("lr", 0.1, "not a setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_range(setting, value, limit):
    with pytest.raises(SettingError, match=rf"fisher: {setting}.*{limit}"):
        Fisher(**{setting: value})


def test_by_default_a_class_suffers_and_the_rest_hardly_does(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)

    def losses(model):
        with torch.no_grad():
            logits = model.eval()(digits.images.float() / 255)
        each = nn.functional.cross_entropy(logits, digits.labels, reduction="none")
        right = (logits.argmax(1) == digits.labels).float()
        return each[problem.forget_positions].mean(), right[problem.retain_positions].mean()

    before = losses(problem.frozen_copy())
    after = losses(Fisher()(problem).model)
    assert after[0] > 2 * before[0]
    assert after[1] > before[1] - 0.05
