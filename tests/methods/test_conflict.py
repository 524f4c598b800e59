"""MUNBa and SFRon: the bargain between two gradients, the mask, the weights of samples, and the count of steps."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from engine.recorder import NoWaiting
from natmu.data import parse_forget, resolve_forget
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.schedule import lr_factor
from natmu.errors import SettingError
from natmu.methods.conflict import OPPOSED, MUNBa, SFRon, adaptive_loss, nash_weights

from .problems import intercept, noise_data, problem_of, same_state, small_net, state_of, unnormed_net
from .test_ascent import FORGET, flat, losses

STILL = {"augment_retain": False, "augment_forget": False}
SHAPES = ((3, 4), (5,), (2, 2, 2))


def parts(vector):
    """A vector of 25 numbers as gradients of three parameters."""
    pieces = torch.split(vector, [math.prod(shape) for shape in SHAPES])
    return [piece.view(shape) for piece, shape in zip(pieces, SHAPES, strict=True)]


def two_vectors(cosine, seed, lengths=(1.0, 1.0)):
    """Two random vectors with a given angle between them, float64."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(25, 2, generator=generator, dtype=torch.float64)).Q.T
    second = cosine * basis[0] + math.sqrt(max(0, 1 - cosine**2)) * basis[1]
    return lengths[0] * basis[0], lengths[1] * second


@settings(max_examples=50, deadline=None)
@given(
    cosine=st.sampled_from([-0.99, -0.7, -0.1, 0.0, 0.3, 0.9, 1.0]),
    lengths=st.tuples(*[st.sampled_from([1e-4, 0.03, 1.0, 7.0, 1e4])] * 2),
    seed=st.integers(0, 1000),
)
def test_the_weights_solve_the_bargain(cosine, lengths, seed):
    vectors = two_vectors(cosine, seed, lengths)
    weights = torch.stack(nash_weights(*map(parts, vectors)))
    both = torch.stack(vectors, 1)
    gram = both.T @ both
    assert torch.allclose(weights * (gram @ weights), torch.ones(2, dtype=torch.float64), atol=1e-5)  # G'G a = 1 / a
    assert (both @ weights).norm() == pytest.approx(math.sqrt(2), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_bargain_is_where_the_product_of_gains_is_largest(seed):
    first, second = two_vectors(-0.4, seed, (0.1, 30))
    weights = nash_weights(parts(first), parts(second))
    best = weights[0] * first + weights[1] * second
    gains = (first @ best) * (second @ best)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(200):
        other = best + 0.1 * torch.randn(25, generator=generator, dtype=torch.float64)
        other *= best.norm() / other.norm()
        if first @ other > 0 and second @ other > 0:
            assert (first @ other) * (second @ other) <= gains


def test_weights_in_single_precision_are_those_of_double():
    for cosine in (-0.95, 0.0, 0.5):
        vectors = two_vectors(cosine, 1, (1e-3, 50))
        double = torch.stack(nash_weights(*map(parts, vectors)))
        single = torch.stack(nash_weights(*(parts(vector.float()) for vector in vectors)))
        torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=0)


@pytest.mark.parametrize("cosine", [-1, -1 + OPPOSED / 2])
def test_opposed_gradients_fall_back_to_keeping(cosine):
    weights = nash_weights(*map(parts, two_vectors(cosine, 0, (2, 3))))
    assert [weight.item() for weight in weights] == [1, 0]
    bargain = nash_weights(*map(parts, two_vectors(-1 + 2 * OPPOSED, 0, (2, 3))))
    assert bargain[1] > 0


@pytest.mark.parametrize(("length", "agrees"), [(10, True), (1, True), (0.2, True), (0.01, False), (1e-3, False)])
def test_the_published_weights_are_those_of_the_bargain_but_for_short_gradients(length, agrees):
    """MUNBa, Classification/unlearn/MUNBa.py, lines 200-204, whose 1e-8 outweighs what it is added to."""
    first, second = two_vectors(0.4, 3, (length, 1.5 * length))
    g1, g2, g3 = (first @ first).item(), (first @ second).item(), (second @ second).item()
    keep = math.sqrt((g1 * g3 - g2 * math.sqrt(g1 * g3)) / (g1 * g1 * g3 - g1 * g2 * g2 + 1e-8))
    drop = (1 - g1 * keep * keep) / (g2 * keep + 1e-8)
    ours = [weight.item() for weight in nash_weights(parts(first), parts(second))]
    assert all(one == pytest.approx(other, rel=0.01) for one, other in zip(ours, (keep, drop), strict=True)) == agrees


@pytest.mark.parametrize("zero", ["retain", "forget", "both"])
def test_zero_gradients_fall_back_to_keeping_without_nan(zero):
    retain, forget = (parts(vector.float()) for vector in two_vectors(0.2, 0))
    if zero != "forget":
        retain = [torch.zeros_like(gradient) for gradient in retain]
    if zero != "retain":
        forget = [torch.zeros_like(gradient) for gradient in forget]
    with NoWaiting():
        weights = nash_weights(retain, forget)
    assert [weight.item() for weight in weights] == [1, 0]


@pytest.mark.parametrize("limit", [1, 0.25, 100])
def test_a_step_of_munba_has_the_length_of_the_clip(monkeypatch, limit):
    problem = problem_of(noise_data(60), FORGET)
    direction = intercept(monkeypatch, MUNBa(max_grad_norm=limit), problem).direction
    for lengths in ((1e-3, 1), (1, 1), (400, 0.1)):
        vectors = [vector.float() for vector in two_vectors(-0.3, 2, lengths)]
        with NoWaiting():
            found = flat(direction([parts(vector) for vector in vectors]))
        assert found.norm() == pytest.approx(min(limit, math.sqrt(2)), rel=1e-5)
        bisector = sum(vector / vector.norm() for vector in vectors)
        torch.testing.assert_close(found / found.norm(), bisector / bisector.norm())
    opposed = [parts(vector) for vector in two_vectors(-1, 2, (0.01, 5))]
    assert torch.equal(flat(direction(opposed)), flat(opposed[0]))


def test_the_loss_of_munba_keeps_and_climbs(monkeypatch):
    data = noise_data(60)
    problem = problem_of(data, FORGET, batch_size=8)
    climbs, relabels = (intercept(monkeypatch, MUNBa(forget_loss=kind), problem) for kind in ("ascent", "random_label"))
    model = unnormed_net(data.image_shape, 5)
    batch = next(climbs.batches.epoch(0))
    retained, forgotten = (
        functional.cross_entropy(model(rows.images), data.labels[rows.positions]) for rows in (batch, batch.paired)
    )
    assert not torch.isin(batch.positions, problem.forget_positions).any()
    assert torch.isin(batch.paired.positions, problem.forget_positions).all()
    assert torch.equal(torch.stack(climbs.loss(model, batch)), torch.stack([retained, -forgotten]))
    drawn = [relabels.loss(model, batch) for _ in range(200)]
    assert all(torch.equal(terms[0], retained) for terms in drawn)
    assert len({terms[1].item() for terms in drawn}) > 100  # drawn anew at each visit
    uniform = -model(batch.paired.images).log_softmax(1).mean()
    assert torch.stack([terms[1] for terms in drawn]).mean().item() == pytest.approx(uniform.item(), rel=0.03)


@pytest.mark.parametrize("kind", ["class:3", "random:10%"])
@pytest.mark.parametrize("method", [MUNBa(**STILL), SFRon(steps=60, **STILL)], ids=lambda method: method.name)
def test_on_images_that_mirroring_would_spoil_the_forget_set_is_forgotten_and_the_rest_is_not(
    trained, digits, kind, method
):
    problem = problem_of(digits, resolve_forget(parse_forget(kind), digits, seed=0), model=trained)
    before, after = losses(trained, problem), losses(method(problem).model, problem)
    assert after[0] > before[0] + 0.1
    assert after[1] < before[1] + 0.1


def test_random_labels_forget_less_far_than_ascent(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    climbed, relabelled = (
        losses(MUNBa(forget_loss=kind, lr=0.01)(problem).model, problem)[0] for kind in ("ascent", "random_label")
    )
    assert climbed > relabelled + 2
    assert relabelled > losses(trained, problem)[0] + 0.5


@settings(max_examples=50, deadline=None)
@given(
    power=st.sampled_from([0, 0.5, 1, 3]),
    scale=st.sampled_from([0.1, 1.0, 30.0]),
    seed=st.integers(0, 1000),
)
def test_the_adaptive_loss_is_its_slow_form(power, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(6, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (6,), generator=generator)
    logits.requires_grad_(True)
    value = adaptive_loss(logits, labels, power)
    (gradient,) = torch.autograd.grad(value, logits)
    each = [-(row.log_softmax(0)[label]) for row, label in zip(logits, labels, strict=True)]
    coefficients = [max(loss.item(), torch.finfo(torch.float64).eps) ** -power for loss in each]
    slow = sum(c / sum(coefficients) * loss for c, loss in zip(coefficients, each, strict=True))
    torch.testing.assert_close(value, slow)
    torch.testing.assert_close(gradient, torch.autograd.grad(slow, logits)[0])


def test_a_sample_without_any_loss_does_not_take_all_the_weight():
    logits = torch.tensor([[100.0, 0.0], [1.0, 0.0]], requires_grad=True)
    value = adaptive_loss(logits, torch.tensor([0, 0]), 0.5)
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(gradient).all()
    assert gradient[1].abs().sum() > 1e-4


def slow_fisher(problem, positions):
    """The mean over samples of squared gradients of the cross-entropy, one sample after the other; float64."""
    model = problem.frozen_copy().requires_grad_(True).double()
    total = torch.zeros(sum(weight.numel() for weight in model.parameters()), dtype=torch.float64)
    for position in positions.tolist():
        image, label = problem.data.images[position : position + 1], problem.data.labels[position : position + 1]
        loss = functional.cross_entropy(model(image.double() / 255), label)
        total += flat(torch.autograd.grad(loss, list(model.parameters()))) ** 2
    return total / len(positions)


@pytest.mark.parametrize("gamma", [0.5, 1, 4])
def test_only_the_forget_gradient_is_masked_scaled_and_clipped(monkeypatch, trained, digits, gamma):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    caught = intercept(monkeypatch, SFRon(saliency_ratio=gamma, max_grad_norm=7), problem)
    weights = [torch.ones_like(weight) for weight in trained.parameters()]
    mask = flat(caught.direction([[0 * w for w in weights], [1e-3 * w for w in weights]])) / 1e-3
    forget, retain = (slow_fisher(problem, part) for part in (problem.forget_positions, problem.retain_positions))
    sure = (forget / (gamma * retain) - 1).abs() > 1e-3
    assert torch.equal(mask[sure] > 0.5, (forget >= gamma * retain)[sure])
    assert sure.float().mean() > 0.95
    assert 0 < mask.mean() < 1

    generator = torch.Generator().manual_seed(0)
    keep, drop = ([torch.randn(w.shape, generator=generator) * scale for w in weights] for scale in (50, 9))
    with NoWaiting():
        found = flat(caught.direction([keep, drop]))
    masked = flat(drop) * mask.round()
    torch.testing.assert_close(found, flat(keep) + 7 * masked / masked.norm())
    assert torch.equal(flat(caught.direction([keep])), flat(keep))


def test_a_forget_step_comes_every_so_often_with_a_scale_that_fades(monkeypatch):
    data = noise_data(60)
    problem = problem_of(data, FORGET, batch_size=8)  # 45 to retain: 6 steps a pass, rounded up to 9
    method = SFRon(steps=25, forget_every=3, forget_scale=2, loss_power=0)
    caught = intercept(monkeypatch, method, problem)
    model = unnormed_net(data.image_shape, 5)
    step = 0
    for epoch in range(caught.settings.epochs):
        for batch in caught.batches.epoch(epoch):
            terms = caught.loss(model, batch)
            assert (batch.paired is not None) == (step % 3 == 0)
            if batch.paired is not None:
                scale = 2 * lr_factor("cosine", step + 1, 25)
                expected = -scale * functional.cross_entropy(model(batch.paired.images), batch.paired.labels)
                assert terms[1].item() == pytest.approx(expected.item(), rel=1e-5)
                assert torch.isin(batch.paired.positions, problem.forget_positions).all()
                terms = terms[0]
            assert terms.item() == pytest.approx(
                functional.cross_entropy(model(batch.images), batch.labels).item(), rel=1e-6
            )
            assert len(batch.labels) == 8
            assert not torch.isin(batch.positions, problem.forget_positions).any()
            step += 1
    assert step == 25


@pytest.mark.parametrize("steps", [1, 2, 5, 12, 26])
@pytest.mark.parametrize("size", [4, 7, 45, 64])
def test_passes_have_just_as_many_steps_as_asked_and_use_all_rows_alike(monkeypatch, steps, size):
    problem = problem_of(noise_data(60), FORGET, batch_size=size)
    caught = intercept(monkeypatch, SFRon(steps=steps), problem)
    positions = []
    count = 0
    for epoch in range(caught.settings.epochs):
        for number, batch in enumerate(caught.batches.epoch(epoch)):
            assert (batch.paired is not None) == (count % 5 == 0), (epoch, number)
            positions.append(batch.positions)
            assert len(batch.positions) == min(size, 45)
            assert len(batch.positions.unique()) == len(batch.positions), "a batch shows a sample twice"
            count += 1
    assert count == steps
    seen = torch.bincount(torch.cat(positions), minlength=60)
    assert (seen[problem.forget_positions] == 0).all()
    retained = seen[problem.retain_positions]
    assert retained.max() - retained.min() <= 1


def test_a_pass_cut_short_takes_rows_at_random_and_not_the_first(monkeypatch):
    data = noise_data(60)
    problems = [problem_of(data, FORGET, batch_size=8, seed=seed) for seed in (0, 0, 1)]
    taken = [sorted(intercept(monkeypatch, SFRon(steps=1), one).epoch().positions.tolist()) for one in problems]
    assert taken[0] == taken[1] != taken[2]
    assert taken[0] != problems[0].retain_positions[:8].tolist()


def test_rows_keep_their_augmentation_and_their_labels(monkeypatch):
    data = noise_data(60)
    problem = problem_of(data, FORGET)
    for augment in (False, True):
        caught = intercept(monkeypatch, SFRon(steps=12, augment_retain=augment), problem)
        rows = caught.epoch()
        assert torch.equal(rows.labels, data.labels[rows.positions])
        still = (rows.images == data.images[rows.positions].float() / 255).flatten(1).all(1).float().mean()
        assert still < 0.5 if augment else still == 1


def test_without_a_salient_weight_it_is_fine_tuning(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    first, second = (
        list(SFRon(steps=20, saliency_ratio=1e30, forget_scale=scale)(problem).model.parameters()) for scale in (1, 500)
    )
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert losses(SFRon(steps=20)(problem).model, problem)[0] > 0


def test_frozen_weights_stay_to_the_bit(trained, digits):
    for method in (MUNBa(lr=0.01, weight_decay=0.1), SFRon(steps=20, weight_decay=0.1)):
        model = problem_of(digits, FORGET, model=trained).frozen_copy().requires_grad_(True)
        model[0].weight.requires_grad_(False)
        after = method(problem_of(digits, FORGET, model=model)).model
        assert torch.equal(after[0].weight, trained[0].weight)
        assert not torch.equal(after[5].weight, trained[5].weight)


def test_an_interrupted_run_gives_the_weights_of_one_that_was_not(tmp_path, monkeypatch):
    data = noise_data(60)
    problem = problem_of(data, FORGET, batch_size=8)
    method = SFRon(steps=30, forget_every=3)
    whole = state_of(method(problem).model)
    halted = replace(problem, checkpoint=Checkpoint(tmp_path / "c.safetensors", every_seconds=0))

    saves = []

    def save_twice(self, *args):
        original(self, *args)
        saves.append(args[0])
        if len(saves) == 2:
            raise KeyboardInterrupt

    original = Checkpoint.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_twice)
        with pytest.raises(KeyboardInterrupt):
            method(halted)
    assert saves == [1, 2]
    assert same_state(state_of(method(halted).model), whole)


@pytest.mark.parametrize(
    "other",
    [
        {"forget_scale": 1},
        {"forget_every": 2},
        {"loss_power": 2},
        {"max_grad_norm": 0.1},
        {"saliency_ratio": 3},
        {"steps": 24},
        {"schedule": "constant"},
        {"optimizer": "adamw"},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
    ],
)
def test_every_setting_of_sfron_has_an_effect(other):
    data = noise_data(60)
    problem = problem_of(data, FORGET, model=small_net(data.image_shape, 5, 1), batch_size=8)
    both = (state_of(SFRon(**{"steps": 12} | one)(problem).model) for one in ({}, other))
    assert not same_state(*both)


@pytest.mark.parametrize(
    ("method", "wrong", "match"),
    [
        (MUNBa, {"forget_loss": "climb"}, "munba: forget_loss: .*'ascent' or 'random_label'"),
        (MUNBa, {"max_grad_norm": 0}, "munba: max_grad_norm: .*greater than 0"),
        (SFRon, {"steps": 0}, "sfron: steps: .*greater than or equal to 1"),
        (SFRon, {"epochs": 3}, "sfron: epochs is not a setting"),
        (SFRon, {"forget_every": 0}, "sfron: forget_every: .*greater than or equal to 1"),
        (SFRon, {"loss_power": -1}, "sfron: loss_power: .*greater than or equal to 0"),
        (SFRon, {"saliency_ratio": -1}, "sfron: saliency_ratio: .*greater than or equal to 0"),
        (SFRon, {"forget_scale": 0}, "sfron: forget_scale: .*greater than 0"),
        (SFRon, {"max_grad_norm": 0}, "sfron: max_grad_norm: .*greater than 0"),
    ],
)
def test_wrong_settings_are_refused(method, wrong, match):
    with pytest.raises(SettingError, match=match):
        method(**wrong)
