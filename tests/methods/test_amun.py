"""AMUN: the attack against the official loop, sample by sample, and what is trained on."""

import math

import pytest
import torch
from torch import nn

from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError, ScenarioError, TrainingError
from natmu.methods import AMUN
from natmu.methods.amun import adversarial_examples, nearest_adversarial
from natmu.testing.problems import state_of

from .problems import UNIT, intercept, noise_data, problem_of, same_state, small_net

FORGET = list(range(0, 250, 21))


def slow_example(model, image, label, epsilon, steps):
    """Ali-E/AMUN, pgdl2_modified.py, lines 55-124, for one sample in double precision."""
    model, start = model.double(), image.double()
    moved, radius, alpha = start.clone(), epsilon, epsilon / 10
    while True:
        for _ in range(steps):
            moved.requires_grad_()
            logits = model(moved[None])
            if int(logits.argmax()) != label:
                return moved.detach(), int(logits.argmax()), radius
            loss = nn.functional.cross_entropy(logits, torch.tensor([label]))
            (gradient,) = torch.autograd.grad(loss, moved)
            moved = moved.detach() + alpha * gradient / (gradient.norm() + 1e-10)
            away = moved - start
            moved = (start + away * min(radius / float(away.norm()), 1)).clamp(0, 1)
        if int(model(moved[None]).argmax()) == label:
            radius *= 2
            alpha = radius / 10


@pytest.fixture
def problem(digits, trained):
    return problem_of(digits, FORGET, model=trained)


def originals(problem):
    return problem.data.take(problem.forget_positions).float() / 255, problem.labels(problem.forget_positions)


@pytest.mark.parametrize(("epsilon", "steps"), [(0.04, 50), (0.3, 5)])
def test_examples_are_those_of_the_official_loop(problem, epsilon, steps):
    images, answers = adversarial_examples(problem, epsilon, steps)
    starts, labels = originals(problem)
    radii = set()
    for row, (start, label) in enumerate(zip(starts, labels.tolist(), strict=True)):
        image, answer, radius = slow_example(problem.frozen_copy(), start, label, epsilon, steps)
        torch.testing.assert_close(images[row].double(), image, rtol=0, atol=1e-4)  # of steps of epsilon / 10
        assert int(answers[row]) == answer
        radii.add(radius)
    assert len(radii) > 1, "each sample has a radius of its own"


def test_examples_are_images_that_the_model_answers_wrongly_and_none_is_far(problem):
    images, answers = adversarial_examples(problem, 0.04, 50)
    starts, labels = originals(problem)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    with torch.no_grad():
        assert torch.equal(problem.frozen_copy()(images).argmax(1), answers)
        wrong = problem.frozen_copy()(starts).argmax(1) != labels
    assert not (answers == labels).any()
    distances = (images - starts).flatten(1).norm(dim=1)
    assert torch.equal(distances == 0, wrong), "a sample that is answered wrongly is its own example"
    assert float(distances.max()) < math.sqrt(64) / 2


def test_a_model_that_is_certain_is_attacked_too(problem):
    """Its cross-entropy, and the gradient of that, are 0 in float32."""
    head = problem.model[5]
    with torch.no_grad():
        head.weight.mul_(1e3)
        head.bias.mul_(1e3)
    starts, labels = originals(problem)
    sure = problem.frozen_copy()(starts).softmax(1).gather(1, labels[:, None]) == 1
    assert sure.float().mean() > 0.5
    found = adversarial_examples(problem, 0.3, 5)[0]
    with torch.no_grad():
        head.weight.div_(1e3)
        head.bias.div_(1e3)
    wanted = adversarial_examples(problem, 0.3, 5)[0]
    assert (found - wanted).flatten(1).norm(dim=1).median() < 0.2, "the boundary is where it was"


class Stubborn(nn.Module):
    """Answers the first class whatever the image, with logits that depend on it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        dark = self.scale * images.flatten(1).mean(1, keepdim=True)
        return torch.cat([dark + 2, dark * 0.5, dark * 0.1, dark * 0.2, dark * 0.3], 1)


def test_a_sample_whose_answer_nothing_changes_has_no_example(monkeypatch):
    data = noise_data(60)  # class of a sample is its position modulo 5
    images, answers = nearest_adversarial(
        Stubborn().eval(), data.take(torch.arange(3)).float() / 255, data.labels[:3], UNIT, 1, 4
    )
    assert answers.tolist() == [-1, 0, 0]
    assert torch.equal(images, data.take(torch.arange(3)).float() / 255)
    seen = intercept(monkeypatch, AMUN(use_retain=False), problem_of(data, [0, 1, 2], model=Stubborn())).epoch()
    assert sorted(zip(seen.positions.tolist(), seen.labels.tolist(), strict=True)) == [
        (0, 0), (1, 0), (1, 1), (2, 0), (2, 2),
    ]  # fmt: skip
    with pytest.raises(ModelError, match=r"^amun: no change of a forget image .* choose another method\.$"):
        AMUN()(problem_of(data, [0, 5], model=Stubborn()))


@pytest.mark.parametrize(
    ("settings", "retained", "forgotten"),
    [
        ({}, True, True),
        ({"use_retain": False}, False, True),
        ({"use_forget": False}, True, False),
        ({"use_retain": False, "use_forget": False}, False, False),
    ],
)
def test_what_is_trained_on_is_what_the_settings_add_to_the_examples(
    monkeypatch, problem, settings, retained, forgotten
):
    """Ali-E/AMUN, adversarial_unlearn.py, lines 295-302."""
    images, answers = adversarial_examples(problem, 0.04, 50)
    caught = intercept(monkeypatch, AMUN(**settings), problem)
    rows, true = caught.epoch(), problem.data.labels
    wanted = list(zip(FORGET, answers.tolist(), strict=True))
    wanted += [(position, int(true[position])) for position in FORGET if forgotten]
    wanted += [(position, int(true[position])) for position in problem.retain_positions.tolist() if retained]
    assert list(zip(rows.positions.tolist(), rows.labels.tolist(), strict=True)) == wanted
    shown = torch.cat([images, (problem.data.take(rows.positions[len(images) :])).float() / 255])
    shuffled = next(iter(caught.batches.epoch(0)))
    slow = nn.functional.cross_entropy(problem.model(shown[shuffled.rows]), shuffled.labels)
    torch.testing.assert_close(caught.loss(problem.model, shuffled), slow)


def test_forget_images_are_augmented_as_asked_and_their_examples_never(monkeypatch, problem):
    images, _ = adversarial_examples(problem, 0.04, 50)
    caught = intercept(monkeypatch, AMUN(augment_forget=True), problem)
    rows = caught.epoch()
    plain = problem.data.take(rows.positions).float() / 255
    still = (rows.images == plain).flatten(1).all(1)
    first, second = len(images), 2 * len(images)
    assert still[:first].all()
    assert still[first:second].float().mean() < 0.5
    assert still[second:].all()


def test_a_forgotten_class_is_less_certain_and_the_others_are_not(digits, trained):
    """Without its true labels; with them, its samples stay known, which is what AMUN is for."""
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)

    def confidence(model, positions):
        with torch.no_grad():
            chances = model.eval()(digits.take(positions).float() / 255).softmax(1)
        return float(chances.gather(1, digits.labels[positions][:, None]).mean())

    models = [problem.frozen_copy(), AMUN()(problem).model, AMUN(use_forget=False)(problem).model]
    forgotten = [confidence(model, problem.forget_positions) for model in models]
    assert forgotten[0] - 0.02 > forgotten[1] > forgotten[2] + 0.3
    assert all(confidence(model, problem.retain_positions) > 0.95 for model in models)


def test_one_class_and_a_damaged_original_are_refused():
    alone = noise_data(60, classes=1)
    with pytest.raises(ScenarioError, match="two classes"):
        AMUN().check(problem_of(alone, [0], model=small_net(alone.image_shape, 1)))
    data = noise_data(60)
    problem = problem_of(data, [0, 1])
    before = state_of(problem.model)
    with torch.no_grad():
        problem.model[5].weight[0] = 3e38  # finite, and its products are not
    with pytest.raises(TrainingError, match=r"^amun: the original's logits are not finite"):
        AMUN()(problem)
    assert not same_state(before, state_of(problem.model))
