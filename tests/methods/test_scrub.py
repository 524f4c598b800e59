"""SCRUB: the order of its passes, their losses sample by sample, who moves, and what rewinding returns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from natmu.data import ImageData, load, parse_forget, resolve_forget
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.predict import logits_of
from natmu.errors import SettingError
from natmu.methods import SCRUB, Problem
from natmu.methods.scrub import ascending_passes, last_closest, matched_error

from .problems import CPU, intercept, noise_data, problem_of, same_state, small_net, state_of, superclass_data
from .test_distillation import slow_answers

FORGET = list(range(0, 60, 4))


@pytest.fixture(scope="module")
def holdout(tmp_path_factory):
    return load("digits", tmp_path_factory.mktemp("none")).test.subset(np.arange(120))


@pytest.fixture
def teacher(monkeypatch):
    """The teachers that a method makes."""
    made, frozen_copy = [], Problem.frozen_copy
    monkeypatch.setattr(Problem, "frozen_copy", lambda problem: made.append(frozen_copy(problem)) or made[-1])
    return made


@pytest.mark.parametrize(
    ("epochs", "max_steps", "order"),
    [(3, 2, "frfrr"), (1, 2, "fr"), (3, 1, "frrr"), (2, 2, "frfr"), (4, 9, "frfrfrfr")],
)
def test_passes_alternate_and_then_only_descend(monkeypatch, epochs, max_steps, order):
    assert "".join("f" if ascent else "r" for ascent in ascending_passes(epochs, max_steps)) == order
    problem = problem_of(noise_data(60), FORGET)
    caught = intercept(monkeypatch, SCRUB(epochs=epochs, max_steps=max_steps), problem)
    assert caught.settings.epochs == len(order)
    for number, kind in enumerate(order):
        positions = caught.epoch(number).positions
        assert torch.equal(positions, problem.forget_positions if kind == "f" else problem.retain_positions)


def slow_divergence(teacher, student, temperature):
    """KL(teacher ‖ student) times the temperature squared, one sample after the other."""
    total = 0.0
    for one, two in zip(teacher / temperature, student / temperature, strict=True):
        p, q = log_softmax(one), log_softmax(two)
        total += sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True))
    return total * temperature**2 / len(teacher)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(("temperature", "alpha", "gamma"), [(4, 0.001, 0.99), (1, 0.5, 0), (2, 0, 2)])
def test_each_pass_has_its_own_loss(monkeypatch, temperature, alpha, gamma, augment):
    problem = problem_of(noise_data(60), FORGET)
    settings = {"temperature": temperature, "alpha": alpha, "gamma": gamma, "augment_retain": augment}
    caught = intercept(monkeypatch, SCRUB(epochs=2, max_steps=1, **settings), problem)
    student = small_net(problem.data.image_shape, 5, 9).eval()
    for number in range(3):
        for batch in caught.batches.epoch(number):
            answers = slow_answers(student, batch.images)
            expected = slow_divergence(slow_answers(problem.model, batch.images), answers, temperature)
            if number == 0:
                expected = -expected
            else:
                wrong = -np.mean([log_softmax(a)[c] for a, c in zip(answers, batch.labels.tolist(), strict=True)])
                expected = alpha * expected + gamma * wrong
            assert caught.loss(student, batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_student_moves_and_its_teacher_does_not(teacher, trained, digits):
    model = SCRUB(lr=1e-2, weight_decay=0.1, augment_retain=True)(problem_of(digits, FORGET, model=trained)).model
    assert same_state(state_of(teacher[0]), state_of(trained))
    assert not any(module.training for module in teacher[0].modules())
    before = state_of(trained)
    assert all(not torch.equal(value, before[name]) for name, value in model.named_parameters())


def accuracy(model, data, positions):
    return (logits_of(model, data, positions, CPU).argmax(1) == data.labels[positions]).double().mean().item()


def test_a_class_is_forgotten_and_the_others_are_kept(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    model = SCRUB(lr=3e-2)(problem).model
    assert accuracy(model, digits, problem.forget_positions) < 0.2
    assert accuracy(model, digits, problem.retain_positions) > 0.9


def test_ascent_takes_the_student_away_from_its_teacher_on_the_forget_set(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    images = digits.images[problem.forget_positions].float() / 255
    settings = {"lr": 5e-3, "epochs": 2, "weight_decay": 0, "alpha": 1, "gamma": 0}
    distances = []
    for steps in (1, 2):
        student = SCRUB(max_steps=steps, **settings)(problem).model
        distances.append(slow_divergence(slow_answers(trained, images), slow_answers(student, images), 4))
    assert 0 < distances[0] < distances[1]


def test_one_optimiser_with_its_momentum_goes_through_all_passes(trained, digits):
    """The second pass, of a single step, still goes on with the momentum of the first."""
    problem = problem_of(digits, FORGET, model=trained, batch_size=250)  # one step per pass
    states = {}
    for momentum in (0, 0.9):
        method = SCRUB(epochs=1, lr=1e-6, momentum=momentum, weight_decay=0)
        states[momentum] = [value.double() for value in method(problem).model.parameters()]
    first = [value.double() for value in trained.parameters()]
    plain, heavy = ([one - two for one, two in zip(states[m], first, strict=True)] for m in (0, 0.9))
    gap = sum((one - two).pow(2).sum() for one, two in zip(plain, heavy, strict=True))
    assert gap > 0.05 * sum(one.pow(2).sum() for one in plain)


def test_warm_up_is_counted_in_epochs_and_not_in_passes(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    settings = intercept(monkeypatch, SCRUB(epochs=3, max_steps=2, warmup_epochs=1.5), problem).settings
    assert settings.warmup_epochs / settings.epochs == pytest.approx(0.5)


@pytest.mark.parametrize(
    "changed",
    [{"max_steps": 1}, {"temperature": 1}, {"alpha": 1}, {"gamma": 0.1}, {"augment_retain": True}],
)
def test_every_setting_has_an_effect(trained, digits, changed):
    problem = problem_of(digits, FORGET, model=trained)
    one, two = (state_of(SCRUB(**({"epochs": 2} | more))(problem).model) for more in ({}, changed))
    assert not same_state(one, two)


def slow_matched_error(wrong, kinds, wanted):
    """One sample of the other set after the other: the error of its class, where that class has samples."""
    errors = [[w for w, kind in zip(wrong, kinds, strict=True) if kind == one] for one in wanted]
    return np.mean([np.mean(error) for error in errors if error])


@settings(deadline=None)  # the first call of all loads what torch needs
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=12), st.lists(st.integers(0, 4)))
def test_the_matched_error_has_the_classes_of_the_other_set(samples, others):
    wrong, kinds = zip(*samples, strict=True)
    wanted = [*others, kinds[0]]
    found = matched_error(torch.tensor(wrong), torch.tensor(kinds), torch.tensor(wanted))
    assert found == pytest.approx(slow_matched_error(wrong, kinds, wanted))


def test_of_equally_close_epochs_the_last_is_taken():
    assert last_closest([0.1, 0.5, 0.3], 0.31) == 2
    assert last_closest([0.3, 0.5, 0.3, 0.9], 0.2) == 2
    assert last_closest([0.5, 0.1, 0.9], 0.3) == 1
    assert last_closest([0.0], 1.0) == 0


WILD = {"epochs": 4, "max_steps": 3, "lr": 2e-2, "rewind": True}


def epochs_of(problem, settings):
    """The states at the ends of epochs, by running ever longer; the schedule is constant, so each is the same run."""
    found = []
    for epochs in range(1, settings["epochs"] + 1):
        shorter = settings | {"epochs": epochs, "rewind": False}
        found.append(SCRUB(**shorter)(problem).model)
    return found


@pytest.mark.parametrize("spec", ["random:20%", "class:3"])
def test_rewinding_returns_the_epoch_that_errs_as_on_unseen_samples_of_the_same_classes(trained, digits, holdout, spec):
    forget = resolve_forget(parse_forget(spec), digits, seed=0)
    for lr in (2e-2, 6e-2):
        settings = WILD | {"lr": lr}
        problem = replace(problem_of(digits, forget, model=trained), holdout=holdout)
        epochs = epochs_of(problem, settings)
        last = logits_of(epochs[-1], holdout, torch.arange(len(holdout)), CPU).argmax(1) != holdout.labels
        target = slow_matched_error(last.tolist(), holdout.labels.tolist(), digits.labels[forget.indices].tolist())
        errors = [1 - accuracy(model, digits, problem.forget_positions) for model in epochs]
        gaps = [abs(error - target) for error in errors]
        best = max(number for number, gap in enumerate(gaps) if gap < min(gaps) + 1e-9)
        found = SCRUB(**settings)(problem).model
        assert same_state(state_of(found), state_of(epochs[best]))


def test_rewinding_goes_back_where_the_last_epoch_is_not_the_closest(trained, digits, holdout):
    """Repaired for long, the model knows the forget set again better than unseen samples."""
    problem = replace(
        problem_of(digits, resolve_forget(parse_forget("random:20%"), digits, seed=0), model=trained), holdout=holdout
    )
    settings = {"epochs": 6, "max_steps": 1, "lr": 3e-2}
    last = SCRUB(**settings)(problem).model
    back = SCRUB(**settings, rewind=True)(problem).model
    assert not same_state(state_of(back), state_of(last))
    unseen = accuracy(last, holdout, torch.arange(len(holdout)))
    gaps = [abs(accuracy(model, digits, problem.forget_positions) - unseen) for model in (back, last)]
    assert gaps[0] < gaps[1]


def test_a_run_interrupted_between_epochs_can_still_rewind_to_those_before(
    monkeypatch, tmp_path, trained, digits, holdout
):
    problem = replace(
        problem_of(digits, resolve_forget(parse_forget("random:20%"), digits, seed=0), model=trained), holdout=holdout
    )
    settings = {"epochs": 6, "max_steps": 1, "lr": 3e-2, "rewind": True}
    whole = state_of(SCRUB(**settings)(problem).model)
    saves, save = [], Checkpoint.save

    def save_and_stop(*arguments):
        save(*arguments)
        saves.append(arguments[1])
        if len(saves) == 5:
            raise KeyboardInterrupt

    resumable = replace(problem, checkpoint=Checkpoint(tmp_path / "state.safetensors", every_seconds=0))
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            SCRUB(**settings)(resumable)
    finished = SCRUB(**settings)(replace(resumable, history=[]))
    assert saves == [1, 2, 3, 4, 5]
    assert same_state(state_of(finished.model), whole)


def test_sub_classes_are_compared_with_unseen_ones_of_the_same_sub_class():
    data, unseen = superclass_data(), superclass_data(80, seed=1)
    forget = resolve_forget(parse_forget("subclass:c5"), data, seed=0)
    others = unseen.subset((unseen.fine.labels != 5).nonzero().squeeze(1).numpy())
    assert (others.labels == 2).any()  # the class is there, the sub-class is not
    problem = problem_of(data, forget)
    SCRUB(rewind=True).check(replace(problem, holdout=unseen))
    with pytest.raises(SettingError, match="samples of the classes of the forget set"):
        SCRUB(rewind=True).check(replace(problem, holdout=others))


def test_rewinding_needs_unseen_samples_of_the_forgotten_classes(trained, digits, holdout):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    with pytest.raises(SettingError, match=r"^scrub: rewind: true .* holdout"):
        SCRUB(rewind=True)(problem)
    without = holdout.subset((holdout.labels != 3).nonzero().squeeze(1).numpy())
    empty = ImageData(holdout.images[:0], holdout.labels[:0], holdout.class_names)
    for useless in (without, empty):
        with pytest.raises(SettingError, match="samples of the classes of the forget set"):
            SCRUB(rewind=True)(replace(problem, holdout=useless))
    SCRUB().check(problem)


def test_weights_that_are_both_zero_are_refused(digits):
    with pytest.raises(SettingError, match="alpha and gamma are both 0"):
        SCRUB(alpha=0, gamma=0)(problem_of(digits, FORGET))


def test_frozen_parameters_stay_to_the_bit_and_statistics_rewind_with_the_weights(digits, holdout):
    model = small_net(digits.image_shape, 10)
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    problem = replace(problem_of(digits, FORGET, model=model), holdout=holdout)
    after = SCRUB(epochs=2, lr=0.1, weight_decay=0.1, rewind=True)(problem).model
    assert torch.equal(after[0].weight, before)
    assert after[1].num_batches_tracked > 0
