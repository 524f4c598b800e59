"""Gradient ascent and NegGrad+: what climbs, what is bounded, and what is not read."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from engine.recorder import NoWaiting, TapeRecorder
from natmu.data import parse_forget, resolve_forget
from natmu.engine import step
from natmu.engine.compute import Compute
from natmu.engine.predict import logits_of
from natmu.errors import SettingError, TrainingError
from natmu.methods.ascent import GradAscent, NegGradPlus
from natmu.methods.directions import clipped, clipping, norm_of

from .problems import CPU, intercept, noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(0, 60, 4))


def loss_of(model, data, positions):
    return functional.cross_entropy(logits_of(model, data, positions, CPU), data.labels[positions]).item()


def losses(model, problem):
    """Losses of the forget and the retain set."""
    return tuple(loss_of(model, problem.data, part) for part in (problem.forget_positions, problem.retain_positions))


def moved(result, original):
    pairs = zip(result.model.parameters(), original.parameters(), strict=True)
    return torch.cat([(new - old).flatten() for new, old in pairs]).norm().item()


def gradients(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), (2, 2, 2))]


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1, 1e4])
@pytest.mark.parametrize("limit", [0.1, 7])
def test_clipping_is_that_of_torch_and_needs_no_waiting(scale, limit):
    given = gradients(0, scale)
    weights = [nn.Parameter(torch.zeros_like(gradient)) for gradient in given]
    for weight, gradient in zip(weights, given, strict=True):
        weight.grad = gradient.clone()
    norm = nn.utils.clip_grad_norm_(weights, limit)
    with NoWaiting():
        ours, length = clipped(given, limit), norm_of(given)
    assert length.item() == pytest.approx(norm.item(), rel=1e-6)
    torch.testing.assert_close(flat(ours), flat([weight.grad for weight in weights]), rtol=1e-4, atol=1e-7)
    if norm <= limit:
        assert torch.equal(flat(ours), flat(given))


def test_a_direction_that_clips_adds_the_terms_first():
    first, second = gradients(1), gradients(2)
    expected = flat(first) + flat(second)
    torch.testing.assert_close(flat(clipping(100)([first, second])), expected)
    torch.testing.assert_close(flat(clipping(0.5)([first, second])), 0.5 * expected / expected.norm())


def test_ascent_raises_the_loss_of_the_forget_set(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    before = losses(trained, problem)
    raised = [losses(GradAscent(lr=lr)(problem).model, problem)[0] for lr in (5e-4, 5e-2, 1)]
    assert before[0] < raised[0] < raised[1] < raised[2]
    assert raised[2] > before[0] + 0.5


def test_slow_ascent_leaves_the_retain_set_alone(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    before, after = losses(trained, problem), losses(GradAscent(epochs=50, lr=5e-4)(problem).model, problem)
    assert after[0] > before[0] + 0.1
    assert after[1] < before[1] + 0.1


def test_one_step_of_ascent_goes_up_the_gradient_in_eval_mode(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    rate = 1e-3
    result = GradAscent(epochs=1, lr=rate, weight_decay=0, max_grad_norm=100)(problem)
    model = problem.frozen_copy().requires_grad_(True)
    images, labels = digits.images[FORGET].float() / 255, digits.labels[FORGET]
    found = torch.autograd.grad(functional.cross_entropy(model(images), labels), list(model.parameters()))
    for new, old, gradient in zip(result.model.parameters(), trained.parameters(), found, strict=True):
        torch.testing.assert_close(new - old, rate * gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("limit", [1e-3, 0.05])
def test_no_step_of_ascent_is_longer_than_the_clip_allows(trained, digits, limit):
    problem = problem_of(digits, FORGET, model=trained)
    result = GradAscent(epochs=1, lr=0.1, weight_decay=0, max_grad_norm=limit)(problem)
    assert moved(result, trained) == pytest.approx(0.1 * limit, rel=1e-3)


def test_ascent_reads_no_retain_image_and_keeps_the_statistics(trained, digits):
    assert not GradAscent.needs_retain
    problem = problem_of(digits, FORGET, model=trained)
    other = noise_data(len(digits), digits.image_shape, 10, seed=3).images
    other[FORGET] = digits.images[FORGET]
    changed = problem_of(type(digits)(other, digits.labels, digits.class_names), FORGET, model=trained)
    first, second = (state_of(GradAscent(lr=1e-2)(one).model) for one in (problem, changed))
    assert same_state(first, second)
    assert not torch.equal(first["5.weight"], trained.state_dict()["5.weight"])
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(first[name], trained.state_dict()[name])


def test_ascent_serves_a_single_sample_behind_batch_norm_over_features():
    data = noise_data(40)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))
    problem = problem_of(data, [7], model=model)
    result = GradAscent(lr=1e-2)(problem)
    assert losses(result.model, problem)[0] > losses(model, problem)[0]


def test_ascent_does_not_wait_and_can_be_replayed(monkeypatch):
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    data = noise_data(200)
    problem = problem_of(data, list(range(120)), batch_size=16)
    answers = []
    for records in (True, False):
        monkeypatch.setattr(Compute, "records", records)
        model = GradAscent(epochs=2, lr=1e-2)(problem).model
        answers.append(logits_of(model, data, torch.arange(len(data)), CPU))
    assert recorder.replayed > 0
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", [GradAscent, NegGradPlus])
def test_a_diverging_ascent_stops_with_an_error(method):
    data = noise_data(60)
    model = unnormed_net(data.image_shape, 5)
    with pytest.raises(TrainingError, match=rf"^{method.name}: .*not finite .*step \d+.*lr=100"):
        method(lr=100, weight_decay=1, momentum=0.99, epochs=200)(problem_of(data, FORGET, model=model))


def test_frozen_weights_stay_to_the_bit(trained, digits):
    for method in (GradAscent(lr=1e-2, weight_decay=0.1), NegGradPlus(lr=1e-2, weight_decay=0.1)):
        model = problem_of(digits, FORGET, model=trained).frozen_copy().requires_grad_(True)
        model[0].weight.requires_grad_(False)
        after = method(problem_of(digits, FORGET, model=model)).model
        assert torch.equal(after[0].weight, trained[0].weight)
        assert not torch.equal(after[0].bias, trained[0].bias)


def test_the_defaults_are_those_of_the_published_code():
    """SCRUB, MIA_experiments.ipynb: negative_grad and its ng_alpha, ng_epochs, ng_lr on CIFAR-10 with a ResNet, an SGD
    that is given a rate and weight_decay=0.0. Unlearn-Sparse, README.MD, command of GA, and unlearn/impl.py, lines
    72-77: an SGD with the momentum and weight decay of arg_parser.py.
    """
    config = NegGradPlus().config
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("sgd", 0.01, 0, 0)
    assert (config.retain_weight, config.epochs, config.schedule) == (0.9999, 5, "constant")
    config = GradAscent().config
    assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("sgd", 1e-4, 0.9, 5e-4)
    assert (config.epochs, config.schedule) == (5, "constant")


def test_a_step_of_neggrad_plus_is_plain_sgd(trained, digits):
    """SCRUB, thirdparty/repdistiller/helper/loops.py, lines 31-41: alpha r_loss - (1 - alpha) del_loss, one step."""
    problem = problem_of(digits, FORGET, model=trained, batch_size=300)
    found = NegGradPlus(epochs=1, retain_weight=0.9)(problem).model
    slow = problem.frozen_copy().requires_grad_(True).train()
    total = 0.0
    for weight, positions in ((0.9, problem.retain_positions), (-0.1, problem.forget_positions)):
        logits = slow(digits.images[positions].float() / 255)
        total = total + weight * functional.cross_entropy(logits, digits.labels[positions])
    gradients = torch.autograd.grad(total, list(slow.parameters()))
    for new, old, gradient in zip(found.parameters(), trained.parameters(), gradients, strict=True):
        torch.testing.assert_close(new, old - 0.01 * gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("weight", [0.2, 0.95])
def test_the_loss_of_neggrad_plus_is_its_formula_on_pairs(monkeypatch, weight):
    data = noise_data(60)
    problem = problem_of(data, FORGET, batch_size=8)
    caught = intercept(monkeypatch, NegGradPlus(retain_weight=weight), problem)
    assert caught.direction is None
    model = unnormed_net(data.image_shape, 5)
    seen = []
    for batch in caught.batches.epoch(0):
        parts = []
        for rows in (batch, batch.paired):
            logits = model(data.images[rows.positions].float() / 255).double()
            picked = logits.log_softmax(1)[torch.arange(len(logits)), data.labels[rows.positions]]
            parts.append(-picked.mean().item())
        keep, drop = caught.loss(model, batch)
        assert keep.item() == pytest.approx(weight * parts[0], rel=1e-5)
        assert drop.item() == pytest.approx(-(1 - weight) * parts[1], rel=1e-5)
        assert not torch.isin(batch.positions, problem.forget_positions).any()
        seen += batch.paired.positions.tolist()
    assert set(seen) == set(FORGET)


def test_neggrad_plus_forgets_and_keeps(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    before, after = (
        losses(trained, problem),
        losses(NegGradPlus(retain_weight=0.95, momentum=0.9)(problem).model, problem),
    )
    assert after[0] > before[0] + 0.1
    assert after[1] < before[1] + 0.05


def test_a_smaller_retain_weight_forgets_more(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    forgotten = [losses(NegGradPlus(retain_weight=w, epochs=2)(problem).model, problem)[0] for w in (0.999, 0.9, 0.6)]
    assert forgotten[0] < forgotten[1] < forgotten[2]


@pytest.mark.parametrize("method", [GradAscent, NegGradPlus])
def test_the_order_follows_the_seed(method):
    data = noise_data(60)
    model = small_net(data.image_shape, 5, 1)
    states = [
        state_of(method(lr=1e-2)(problem_of(data, FORGET, model=model, seed=seed, batch_size=8)).model)
        for seed in (0, 0, 1)
    ]
    assert method.stochastic
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@pytest.mark.parametrize(
    ("method", "settings", "match"),
    [
        (GradAscent, {"max_grad_norm": 0}, "grad_ascent: max_grad_norm: .*greater than 0"),
        (GradAscent, {"retain_fraction": 0.5}, "retain_fraction is not a setting"),
        (NegGradPlus, {"retain_weight": 1}, "neggrad_plus: retain_weight: .*less than 1"),
        (NegGradPlus, {"retain_weight": 0}, "neggrad_plus: retain_weight: .*greater than 0"),
    ],
)
def test_wrong_settings_are_refused(method, settings, match):
    with pytest.raises(SettingError, match=match):
        method(**settings)
