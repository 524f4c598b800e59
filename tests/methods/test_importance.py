"""SSD and its loss-free form: importances, the rule, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from natmu.data import ImageData, parse_forget, resolve_forget
from natmu.errors import ModelError, SettingError, TrainingError
from natmu.methods import LFSSD, SSD
from natmu.methods.importance import dampening

from .problems import noise_data, problem_of, same_state, small_net, state_of, superclass_data, unnormed_net

BOTH = pytest.mark.parametrize("method", [SSD, LFSSD])
PER_SAMPLE = {"importance_batch": 1}
FORGET = [0, 1, 2, 3, 5, 10, 15, 20]


def problem_on_noise(model=None, forget=FORGET, **changes):
    data = noise_data(60)
    return replace(problem_of(data, forget, model=model or settled(data)), **changes)


def settled(data):
    """A network whose running statistics are those of the data."""
    model = small_net(data.image_shape, data.num_classes, 1).train()
    with torch.no_grad():
        for _ in range(20):
            model(data.images.float() / 255)
    return model


def slow_importances(method, problem, positions, size=1):
    """One sample after the other, in double precision, the mean loss of each batch differentiated.

    selective-synaptic-dampening, src/ssd.py, lines 161-180; for lfssd towards_poison_unlearning, src/utils.py, lines
    342, 360 and 366.
    """
    model = problem.frozen_copy().requires_grad_(True).double()
    total = [torch.zeros_like(weight) for weight in model.parameters()]
    batches = [positions[start : start + size] for start in range(0, len(positions), size)]
    for batch in batches:
        value = torch.zeros((), dtype=torch.double)
        for position in batch:
            logits = model(problem.data.images[position][None].double() / 255)[0]
            if method is SSD:
                value = value - logits.log_softmax(0)[problem.data.labels[position]] / len(batch)
            else:
                value = value + logits.pow(2).sum() / len(batch)
        for sums, gradient in zip(total, torch.autograd.grad(value, list(model.parameters())), strict=True):
            sums += gradient.pow(2) if method is SSD else gradient.abs()
    return [sums / len(batches) for sums in total]


def slow_result(method, problem, alpha, strength, over=None, size=1):
    """The unlearned weights, element by element; where a ratio is within rounding of alpha, NaN."""
    forget = problem.forget.indices.tolist()
    over = range(len(problem.data)) if over is None else over
    on_all = slow_importances(
        method, problem, [p for p in over if p not in forget] + [p for p in over if p in forget], size
    )
    on_forget = slow_importances(method, problem, forget, size)
    result = []
    for weight, all_, part in zip(problem.model.parameters(), on_all, on_forget, strict=True):
        values = []
        for w, a, f in zip(weight.flatten().tolist(), all_.flatten().tolist(), part.flatten().tolist(), strict=True):
            if abs(f - alpha * a) < 1e-5 * f:
                values.append(float("nan"))
            elif f > alpha * a:
                values.append(w * min(strength * a / f, 1))
            else:
                values.append(w)
        result.append(torch.tensor(values).view(weight.shape))
    return result


def assert_result(model, expected):
    for weight, other in zip(model.parameters(), expected, strict=True):
        known = ~other.isnan()
        assert known.float().mean() > 0.9
        assert torch.allclose(weight[known], other[known], rtol=2e-5, atol=1e-9)


@BOTH
@pytest.mark.parametrize("size", [1, 7, 30, 128])
def test_importances_equal_those_of_a_slow_loop(method, size):
    problem = problem_on_noise()
    for positions in (problem.forget_positions, torch.arange(60)):
        found = method(importance_batch=size)._importances(problem, positions)
        for values, slow in zip(found, slow_importances(method, problem, positions.tolist(), size), strict=True):
            assert (values - slow).norm() <= 1e-5 * slow.norm()


@BOTH
def test_importances_of_batches_do_not_depend_on_how_a_batch_is_divided(monkeypatch, method):
    problem = problem_on_noise()
    whole = method(importance_batch=25)._importances(problem, torch.arange(60))
    monkeypatch.setattr("natmu.engine.predict.EVALUATION_BATCH", 8)
    for values, other in zip(method(importance_batch=25)._importances(problem, torch.arange(60)), whole, strict=True):
        assert (values - other).norm() <= 1e-5 * other.norm()


@BOTH
def test_a_batch_takes_one_backward_pass(monkeypatch, method):
    problem, passes = problem_on_noise(), []
    original = torch.autograd.grad

    def counted(*given, **options):
        passes.append(1)
        return original(*given, **options)

    monkeypatch.setattr(torch.autograd, "grad", counted)
    method(importance_batch=20)._importances(problem, torch.arange(60))
    assert len(passes) == 3


@pytest.mark.parametrize("request_", ["class:c3", "subclass:c5"])
def test_batches_of_ssd_are_filled_by_class_where_classes_are_forgotten(request_):
    """selective-synaptic-dampening, src/forget_full_class_strategies.py, lines 51-61: class by class, D_f last."""
    data = superclass_data() if request_.startswith("subclass") else noise_data(60)
    problem = problem_of(data, resolve_forget(parse_forget(request_), data, seed=0), model=settled(data))
    kinds = (data.labels if data.fine is None else data.fine.labels).tolist()
    gone = int(request_[-1])
    order = [p for kind in range(max(kinds) + 1) for p in range(len(data)) if kinds[p] == kind != gone]
    order += [p for p in range(len(data)) if kinds[p] == gone]
    assert SSD()._in_order(problem, torch.arange(len(data))).tolist() == order
    plain = LFSSD()._in_order(problem, torch.arange(len(data))).tolist()
    assert plain == sorted(plain[: -len(problem.forget)]) + problem.forget.indices.tolist()
    mixed = SSD()._in_order(problem_on_noise(), torch.arange(60)).tolist()
    assert mixed == [p for p in range(60) if p not in FORGET] + FORGET


def test_at_the_same_alpha_batches_select_more_than_samples(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("random:10%"), digits, seed=0), model=trained)
    before = torch.cat([weight.flatten() for weight in trained.parameters()])
    selected = []
    for size in (1, 128):
        model = SSD(alpha=5, importance_batch=size)(problem).model
        selected.append(int((torch.cat([weight.flatten() for weight in model.parameters()]) != before).sum()))
    assert selected[1] > 2 * selected[0] > 0


@BOTH
@pytest.mark.parametrize("size", [1, 16])
@pytest.mark.parametrize(("alpha", "strength"), [(1.1, 1), (1.5, 0.5), (1.1, 0), (1.2, 1.3)])
def test_weights_are_those_of_the_rule_applied_one_by_one(method, alpha, strength, size):
    problem = problem_on_noise()
    model = method(alpha=alpha, dampening=strength, importance_batch=size)(problem).model
    assert_result(model, slow_result(method, problem, alpha, strength, size=size))
    assert not same_state(state_of(model), state_of(problem.model))


@given(
    values=st.lists(st.tuples(st.floats(0, 10, width=32), st.floats(0, 10, width=32)), min_size=1, max_size=20),
    alpha=st.floats(0.125, 20, width=32),
    strength=st.floats(0, 5, width=32),
)
def test_factors_equal_a_slow_loop(values, alpha, strength):
    on_all, on_forget = torch.tensor(values, dtype=torch.float64).unbind(1)
    found = dampening(on_all, on_forget, alpha, strength)
    for factor, a, f in zip(found.tolist(), on_all.tolist(), on_forget.tolist(), strict=True):
        assert factor == pytest.approx(min(strength * a / f, 1) if f > alpha * a else 1, rel=1e-9)


def test_weights_without_any_importance_stay():
    zero, one = torch.zeros(1), torch.ones(1)
    assert dampening(zero, zero, 10, 1) == 1
    assert dampening(zero, one, 10, 1) == 0  # matters for the forget set alone
    assert dampening(one, zero, 10, 1) == 1


@BOTH
def test_a_larger_alpha_selects_fewer_and_one_near_the_bound_none(method):
    problem = problem_on_noise()
    before = torch.cat([weight.flatten() for weight in problem.model.parameters()])
    moved = []
    for alpha in (0.5, 1.1, 2, 7.499):
        model = method(alpha=alpha, **PER_SAMPLE)(problem).model
        moved.append(int((torch.cat([weight.flatten() for weight in model.parameters()]) != before).sum()))
    assert moved == sorted(moved, reverse=True)
    assert moved[0] > moved[1] > moved[-1] == 0


@BOTH
def test_weights_only_ever_shrink(method):
    problem = problem_on_noise()
    model = method(alpha=0.2, dampening=3)(problem).model
    for after, before in zip(model.parameters(), problem.model.parameters(), strict=True):
        assert (after.abs() <= before.abs()).all()
        assert (after * before >= 0).all()


def test_what_dampening_is_worth_is_the_forget_set_s_loss():
    problem = problem_on_noise(forget=list(range(0, 60, 5)))  # one class of five
    images, labels = problem.data.images.float() / 255, problem.data.labels
    trained = problem.model.train()
    rule = torch.optim.Adam(trained.parameters(), 1e-2)
    for _ in range(60):
        rule.zero_grad()
        functional.cross_entropy(trained(images), labels).backward()
        rule.step()
    unlearned = SSD(alpha=2, **PER_SAMPLE)(problem).model.eval()
    rose = []
    for rows in (problem.forget_positions, problem.retain_positions):
        with torch.no_grad():
            losses = [
                float(functional.cross_entropy(m(images[rows]), labels[rows])) for m in (trained.eval(), unlearned)
            ]
        rose.append(losses[1] - losses[0])
    assert rose[0] > 0.5
    assert rose[0] > 3 * rose[1]


def test_labels_decide_for_ssd_and_are_not_read_by_lfssd():
    problem = problem_on_noise()
    data = problem.data
    other = ImageData(data.images, (data.labels + 1) % 5, data.class_names)
    relabelled = replace(problem, data=other)
    both = [[state_of(method(alpha=1.1)(each).model) for each in (problem, relabelled)] for method in (SSD, LFSSD)]
    assert not same_state(*both[0])
    assert same_state(*both[1])


@BOTH
def test_nothing_is_random(method):
    problem = problem_on_noise()
    for share in (1, 0.4):
        states = [
            state_of(method(alpha=1.1, data_fraction=share)(replace(problem, seed=seed)).model) for seed in (0, 1)
        ]
        assert same_state(*states)


@BOTH
def test_the_share_of_the_data_is_spread_over_all_of_it_and_leaves_out_what_is_aside(method):
    problem = problem_on_noise(aside=torch.tensor([30, 40]).numpy())
    usable = [position for position in range(60) if position not in (30, 40)]
    share = [usable[number * 58 // 14] for number in range(14)]
    for size in (1, 6):
        settings = {"alpha": 1.1, "importance_batch": size}
        model = method(**settings, data_fraction=0.25)(problem).model
        assert_result(model, slow_result(method, problem, 1.1, 1, share, size))
        whole = method(**settings)(problem).model
        assert_result(whole, slow_result(method, problem, 1.1, 1, usable, size))


@BOTH
@pytest.mark.parametrize(("forget", "alpha", "size"), [(3, 10, 1), (15, 2, 1), (30, 1, 1), (3, 10, 4), (30, 10, 4)])
def test_the_default_alpha_is_ten_or_half_of_what_is_possible(method, forget, alpha, size):
    problem = problem_on_noise(forget=list(range(forget)))
    asked = {"alpha": alpha - 1e-9}
    states = [state_of(method(importance_batch=size, **settings)(problem).model) for settings in ({}, asked)]
    assert same_state(*states)


@BOTH
def test_an_alpha_that_selects_nothing_is_refused_before_anything_is_computed(method):
    problem = problem_on_noise()
    with pytest.raises(SettingError, match=r"alpha must be below 7\.5.*not 7\.5"):
        method(alpha=7.5, **PER_SAMPLE).check(problem)
    method(alpha=7.5, data_fraction=0.5, **PER_SAMPLE).check(problem)  # of a share of the data the bound does not hold
    method(alpha=7.4, **PER_SAMPLE).check(problem)
    method(alpha=7.5).check(problem)  # nor of batches


@BOTH
@pytest.mark.parametrize(
    "wrong", [{"alpha": 0}, {"dampening": -1}, {"data_fraction": 0}, {"data_fraction": 1.1}, {"importance_batch": 0}]
)
def test_settings_out_of_range_are_refused(method, wrong):
    with pytest.raises(SettingError, match=f"{next(iter(wrong))}: input should be"):
        method(**wrong)


@BOTH
def test_frozen_weights_and_statistics_stay_to_the_bit(method):
    model = settled(noise_data(60))
    torch.nn.init.normal_(model[1].bias, std=0.1)  # none of them 0, which dampening leaves as it is
    model[0].requires_grad_(False)
    problem = problem_on_noise(model)
    after, before = state_of(method(alpha=0.1, dampening=0.5)(problem).model), state_of(model)
    same = {name for name in before if torch.equal(after[name], before[name])}
    buffers = {name for name, _ in model.named_buffers()}
    assert same == buffers | {"0.weight", "0.bias"}
    with pytest.raises(ModelError, match="every weight is frozen"):
        method().check(problem_on_noise(model.requires_grad_(False)))


@BOTH
def test_models_without_batch_norm_grey_images_and_a_single_sample(method):
    data = noise_data(40, (1, 7, 9))
    problem = problem_of(data, [4], model=unnormed_net(data.image_shape, 5))
    for size in (1, 16):
        found = method(alpha=3, importance_batch=size)(problem).model
        assert_result(found, slow_result(method, problem, 3, 1, size=size))


@BOTH
def test_damaged_weights_are_named(method):
    problem = problem_on_noise()
    with torch.no_grad():
        problem.model[5].weight[0] = 3e38  # finite, and its products are not
    with pytest.raises(TrainingError, match=f"{method.name}: an importance is not finite.*alpha"):
        method()(problem)
