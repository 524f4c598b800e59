"""Bad teacher and DELETE: their losses in closed form, who follows which teacher, and that no teacher moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from natmu.errors import ModelError
from natmu.methods import DELETE, BadTeacher, Problem
from natmu.methods import problem as problems
from natmu.methods.distillation import without_true_class
from natmu.methods.teachers import divergence

from .problems import intercept, noise_data, problem_of, same_state, state_of, unnormed_net

FORGET = list(range(0, 40, 3))


@pytest.fixture
def teachers(monkeypatch):
    """The teachers that a method makes, with their states at birth: the good one, then the bad one."""
    made = []
    frozen_copy, reinitialised = Problem.frozen_copy, problems.reinitialised

    def spy_good(problem):
        made.append(frozen_copy(problem))
        return made[-1]

    def spy_bad(model, seed, needed):
        made.append(reinitialised(model, seed, needed))
        return made[-1]

    monkeypatch.setattr(Problem, "frozen_copy", spy_good)
    monkeypatch.setattr(problems, "reinitialised", spy_bad)
    return made


def slow_answers(model, images):
    was = model.training
    model.eval()
    with torch.no_grad():
        answers = torch.cat([model(image[None]) for image in images]).double().numpy()
    model.train(was)
    return answers


def slow_loss(batch, forgotten, student, good, bad, temperature):
    """KL(teacher ‖ student), one sample after the other; the student's answers are given."""
    good_answers, bad_answers = slow_answers(good, batch.images), slow_answers(bad, batch.images)
    total = 0.0
    for row, position in enumerate(batch.positions.tolist()):
        answer = bad_answers[row] if position in forgotten else good_answers[row]
        teacher = log_softmax(answer / temperature)
        learner = log_softmax(student[row] / temperature)
        total += sum(np.exp(p) * (p - q) for p, q in zip(teacher, learner, strict=True))
    return total / len(batch.positions)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("temperature", [0.72, 1, 7.2])
def test_the_loss_is_the_mean_divergence_from_the_right_teacher(monkeypatch, teachers, temperature, augment):
    model = unnormed_net((3, 8, 8), 5)
    with torch.no_grad():
        model[3].weight *= 30  # a confident original
    problem = problem_of(noise_data(80), FORGET, model=model)
    method = BadTeacher(temperature=temperature, augment_retain=augment)
    caught = intercept(monkeypatch, method, problem)
    good, bad = teachers
    student = unnormed_net(problem.data.image_shape, 5, seed=9).eval()
    mixed = 0
    for batch in caught.batches.epoch(0):
        expected = slow_loss(batch, set(FORGET), slow_answers(student, batch.images), good, bad, temperature)
        assert caught.loss(student, batch).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)
        mixed += 0 < np.isin(batch.positions, FORGET).sum() < len(batch.positions)
    assert mixed >= 2


def test_the_mean_over_all_entries_is_that_of_a_slow_loop(monkeypatch, teachers):
    """bad-teaching-unlearning, unlearn.py, lines 9-19: F.kl_div's own default, a mean over samples and classes."""
    problem = problem_of(noise_data(80), FORGET, model=unnormed_net((3, 8, 8), 5))
    caught = intercept(monkeypatch, BadTeacher(preset="paper", retain_fraction=1, batch_size=16), problem)
    good, bad = teachers
    student = unnormed_net(problem.data.image_shape, 5, seed=9).eval()
    for batch in caught.batches.epoch(0):
        answers = slow_answers(student, batch.images)
        pairs = [slow_answers(teacher, batch.images) for teacher in (good, bad)]
        entries = []
        for row, position in enumerate(batch.positions.tolist()):
            label = 1 if position in FORGET else 0
            teacher = label * np.exp(log_softmax(pairs[1][row])) + (1 - label) * np.exp(log_softmax(pairs[0][row]))
            entries += [p * (np.log(p) - q) for p, q in zip(teacher, log_softmax(answers[row]), strict=True)]
        assert len(entries) == 5 * len(batch.positions)
        assert caught.loss(student, batch).item() == pytest.approx(sum(entries) / len(entries), rel=1e-4)


def test_retain_images_are_augmented_only_where_asked_and_forget_images_never(monkeypatch):
    problem = problem_of(noise_data(80), FORGET)
    for augment in (False, True):
        rows = intercept(monkeypatch, BadTeacher(augment_retain=augment), problem).epoch()
        still = (rows.images == problem.data.images[rows.positions].float() / 255).flatten(1).all(1)
        forgotten = torch.isin(rows.positions, problem.forget_positions)
        assert forgotten.sum() == len(FORGET)
        assert still[forgotten].all()
        assert still[~forgotten].all() == (not augment)


@pytest.mark.parametrize("augment", [False, True])
def test_teachers_stay_frozen_to_the_bit_in_eval_mode_and_the_student_moves(teachers, trained, digits, augment):
    problem = problem_of(digits, FORGET, model=trained)
    original = state_of(trained)
    method = BadTeacher(lr=1e-3, epochs=2, augment_retain=augment)
    student = method(problem).model
    good, bad = teachers
    assert same_state(state_of(good), original)
    assert torch.equal(bad[1].running_mean, torch.zeros(8))  # no batch ever passed through it in training mode
    for teacher in (good, bad):
        assert not any(module.training for module in teacher.modules())
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in teacher.parameters())
    assert not same_state(state_of(student), original)
    again = method(problem)
    assert same_state(state_of(again.model), state_of(student))
    assert same_state(state_of(teachers[3]), state_of(bad))  # as drawn the second time: training had not moved it


def test_the_bad_teacher_is_another_network_for_another_seed_and_never_the_original(teachers, trained, digits):
    for seed in (0, 1):
        BadTeacher(epochs=1)(problem_of(digits, FORGET, model=trained, seed=seed))
    weights = [state_of(model)["0.weight"] for model in teachers]
    assert torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[1], weights[3])
    assert not torch.equal(weights[0], weights[1])


def test_only_the_students_head_is_reset(monkeypatch, teachers, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    student = intercept(monkeypatch, BadTeacher(reset_head=True), problem).model
    assert torch.equal(teachers[0][5].weight, trained[5].weight)
    assert not torch.equal(student[5].weight, trained[5].weight)
    assert torch.equal(student[0].weight, trained[0].weight)


def test_a_student_that_agrees_with_its_teachers_has_no_loss(monkeypatch, teachers):
    problem = problem_of(noise_data(80), FORGET)
    caught = intercept(monkeypatch, BadTeacher(), problem)
    retain_only = [
        type(b)(*(value[keep] for value in (b.images, b.labels, b.rows, b.positions)))
        for b in caught.batches.epoch(0)
        for keep in [~torch.isin(b.positions, problem.forget_positions)]
    ]
    assert all(abs(caught.loss(teachers[0], batch).item()) < 1e-6 for batch in retain_only)


def test_distilling_brings_the_student_to_the_bad_teacher_on_the_forget_set_alone(teachers, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    student = BadTeacher(lr=1e-2, epochs=40, temperature=1, weight_decay=0)(problem).model
    good, bad = teachers
    images = digits.images.float() / 255
    chosen = torch.zeros(len(digits), dtype=torch.bool)
    chosen[problem.forget_positions] = True

    def distance(first, second, rows):
        one, two = (slow_answers(model, images[rows]) for model in (first, second))
        return np.abs(np.exp(log_softmax(one, 1)) - np.exp(log_softmax(two, 1))).mean()

    assert distance(student, bad, chosen) < 0.8 * distance(trained, bad, chosen)
    assert distance(student, good, ~chosen) < 0.5 * distance(student, good, chosen)


def slow_target(logits, label):
    """The softmax over all classes but one, in which that one has probability 0."""
    weights = [0.0 if c == label else np.exp(float(value)) for c, value in enumerate(logits)]
    return [weight / sum(weights) for weight in weights]


@settings(deadline=None)  # the first call of all loads what torch needs
@given(st.integers(2, 7), st.integers(1, 5), st.integers(0, 1000), st.sampled_from([0.1, 1, 30]))
def test_the_target_without_the_true_class_keeps_the_proportions_of_the_others(classes, rows, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, classes, generator=generator)
    labels = torch.randint(classes, (rows,), generator=generator)
    target = without_true_class(logits, labels)
    expected = [slow_target(row.double(), label) for row, label in zip(logits, labels, strict=True)]
    assert torch.allclose(target.double(), torch.tensor(expected, dtype=torch.double), atol=1e-6, rtol=1e-4)
    assert torch.equal(target.gather(1, labels[:, None]), torch.zeros(rows, 1))
    torch.testing.assert_close(target.sum(1), torch.ones(rows))


@pytest.mark.parametrize("temperature", [1, 4])
def test_the_divergence_is_that_of_the_student_from_the_teacher_times_the_temperature_squared(temperature):
    generator = torch.Generator().manual_seed(0)
    teacher, student = (3 * torch.randn(6, 5, generator=generator, dtype=torch.double) for _ in range(2))
    expected = 0.0
    for one, two in zip(teacher.numpy() / temperature, student.numpy() / temperature, strict=True):
        p, q = log_softmax(one), log_softmax(two)
        expected += sum(np.exp(a) * (a - b) for a, b in zip(p, q, strict=True)) / 6
    found = divergence((teacher / temperature).softmax(1), student, temperature).item()
    assert found == pytest.approx(expected * temperature**2)
    swapped = divergence((student / temperature).softmax(1), teacher, temperature).item()
    assert abs(swapped - found) > 0.05 * found  # so that a swap would be seen


def test_zeros_in_the_teachers_answer_add_nothing_and_give_no_nan():
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    loss = divergence(torch.tensor([[0.0, 0.0, 1.0]]), logits)
    loss.backward()
    assert loss.item() == pytest.approx(200)
    assert logits.grad.tolist() == [pytest.approx([1, 0, -1])]


def test_delete_trains_on_forget_images_alone_towards_the_original_without_the_class(monkeypatch):
    problem = problem_of(noise_data(80), FORGET, model=unnormed_net((3, 8, 8), 5))
    caught = intercept(monkeypatch, DELETE(), problem)
    rows = caught.epoch()
    assert rows.positions.tolist() == FORGET
    student, total = unnormed_net((3, 8, 8), 5, 9), 0.0
    for batch in caught.batches.epoch(0):
        answers, own = slow_answers(problem.model, batch.images), slow_answers(student, batch.images)
        expected = 0.0
        for answer, learner, label in zip(answers, own, batch.labels.tolist(), strict=True):
            target = slow_target(answer, label)
            expected += sum(p * (np.log(p) - q) for p, q in zip(target, log_softmax(learner), strict=True) if p)
        assert caught.loss(student, batch).item() == pytest.approx(expected / len(batch.labels), rel=1e-4)
        total += expected
    assert total > 0.1


def test_delete_forgets_a_class_and_moves_towards_its_targets(trained, digits):
    whole = (digits.labels == 3).nonzero().squeeze(1).numpy()
    problem = problem_of(digits, whole, model=trained)
    model = DELETE(lr=1e-2)(problem).model
    images = digits.images.float() / 255
    right = slow_answers(model, images).argmax(1) == digits.labels.numpy()
    assert right[whole].mean() < 0.1
    assert np.delete(right, whole).mean() > 0.8
    targets = without_true_class(torch.tensor(slow_answers(trained, images[whole])), digits.labels[whole])
    before, after = (divergence(targets, torch.tensor(slow_answers(m, images[whole]))) for m in (trained, model))
    assert after < 0.2 * before


def test_retain_images_change_nothing_for_delete(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    images, labels = digits.images.clone(), digits.labels.clone()
    images[problem.retain_positions] = 255 - images[problem.retain_positions]
    labels[problem.retain_positions] = (labels[problem.retain_positions] + 1) % 10
    other = replace(problem, data=replace(digits, images=images, labels=labels))
    assert same_state(*(state_of(DELETE(epochs=2)(p).model) for p in (problem, other)))
    assert not DELETE.needs_retain


def test_delete_keeps_statistics_to_the_bit_where_asked(trained, digits):
    problem, before = problem_of(digits, FORGET, model=trained), state_of(trained)
    kept, drifted = (state_of(DELETE(epochs=2, freeze_statistics=asked)(problem).model) for asked in (True, False))
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(kept[name], before[name])
        assert not torch.equal(drifted[name], before[name])
    assert not torch.equal(kept["1.weight"], before["1.weight"])


def test_the_rate_of_delete_is_the_published_one():
    """DELETE, config/cifar10_resnet18.yaml, and method/delete.py, line 33."""
    config = DELETE().config
    assert (config.lr, config.epochs, config.momentum, config.weight_decay) == (1e-4, 20, 0.9, 0)


def test_delete_with_two_classes_and_with_one():
    two = noise_data(40, (1, 8, 8), 2)
    model = DELETE(epochs=20, lr=0.05)(problem_of(two, [0, 1, 2, 3], model=unnormed_net((1, 8, 8), 2))).model
    answers = slow_answers(model, two.images[:4].float() / 255).argmax(1)
    assert answers.tolist() == [1, 0, 1, 0]
    one = noise_data(40, (1, 8, 8), 1)
    with pytest.raises(ModelError, match="only one"):
        DELETE()(problem_of(one, [0, 1], model=unnormed_net((1, 8, 8), 1)))
