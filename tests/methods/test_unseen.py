"""ReGUn and LoTUS: what unseen samples say, drawn, averaged and tempered as in the official code."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from natmu.data import ImageData, parse_forget, resolve_forget
from natmu.errors import SettingError
from natmu.methods import LoTUS, ReGUn, unseen
from natmu.methods.unseen import at_least, drawn_alike, tempered
from natmu.testing.problems import same_state, small_net, state_of
from natmu.testing.recorder import perform

from .problems import noise_data, problem_of

FORGET = list(range(0, 60, 4))


def problem(forget=FORGET, **others):
    data = noise_data(60)
    return problem_of(data, forget, model=small_net(data.image_shape, 5), holdout=noise_data(40, seed=1), **others)


def test_each_label_gets_a_sample_of_its_own():
    """jmirlach/ReGUn, mul/regun.py, lines 120-131: the class histogram of the forget batch, with replacement."""
    kinds = np.array([2, 0, 2, 4, 0, 2])
    wanted = np.array([0, 2, 4, 0, 2, 2])
    seen = np.stack([drawn_alike(wanted, kinds, np.random.default_rng(seed)) for seed in range(200)])
    assert (kinds[seen] == wanted).all()
    for column, label in enumerate(wanted):
        assert set(seen[:, column]) == set(np.flatnonzero(kinds == label)), "every one of them is drawn at times"
    assert any(len(set(row[[1, 4, 5]])) < 3 for row in seen), "with replacement"


def test_a_label_that_no_sample_has_gets_any_sample():
    kinds = np.array([0, 0, 2])
    drawn = {int(drawn_alike(np.array([1, 7]), kinds, np.random.default_rng(seed))[0]) for seed in range(60)}
    assert drawn == {0, 1, 2}


def test_a_single_position_is_repeated_and_more_stay_as_they_are():
    assert at_least(torch.tensor([7]), 2).tolist() == [7, 7]
    assert at_least(torch.tensor([7, 3, 5]), 2).tolist() == [7, 3, 5]


@pytest.mark.parametrize("selector", ["class", "uniform"])
@pytest.mark.parametrize("weight", [0.5, 0.25])
def test_regun_follows_the_official_loss(selector, weight):
    """jmirlach/ReGUn, mul/regun.py, lines 245-303, sample by sample."""
    asked = problem(FORGET[:7], batch_size=4)
    method = ReGUn(epochs=2, selector=selector, retain_weight=weight)
    original, unseen_images = asked.frozen_copy().double(), asked.holdout.images.double() / 255
    with torch.no_grad():
        chances = original(unseen_images).softmax(1)
    steps = perform(method, asked, seconds=60, closely=True).recording.seen
    assert [len(seen.batch.labels) for seen in steps] == [4, 3, 4, 3]
    for seen in steps:
        labels = asked.labels(asked.forget_positions).numpy()
        kinds = asked.holdout.labels.numpy()
        if selector == "uniform":
            labels, kinds = labels * 0, kinds * 0
        drawn = drawn_alike(labels, kinds, asked.rng("reference", seen.batch.epoch))
        q = sum(chances[drawn[row]] for row in seen.batch.rows.tolist()) / len(seen.batch.rows)
        student = seen.student.double()
        answers = [row.log_softmax(0) for row in student(seen.batch.images.double())]
        forgotten = float(sum((q * (q.log() - answer)).sum() for answer in answers).detach()) / len(answers)
        paired = seen.batch.paired
        retained = functional.cross_entropy(student(paired.images.double()), paired.labels)
        assert len(paired.labels) == 4
        assert float(seen.loss) == pytest.approx((1 - weight) * forgotten + weight * float(retained.detach()), rel=1e-4)


def test_regun_leads_forget_samples_to_the_mean_prediction_on_unseen_ones(digits, trained):
    data, unseen_ones = digits.subset(range(200)), digits.subset(range(200, 250))
    asked = problem_of(data, list(range(0, 200, 5)), model=trained, holdout=unseen_ones)
    quiet = ReGUn(retain_weight=0)(asked).model.eval()
    with torch.no_grad():
        q = asked.frozen_copy()(unseen_ones.images.float() / 255).softmax(1).mean(0)
        answers = quiet(asked.data.take(asked.forget_positions).float() / 255).softmax(1)
        before = asked.frozen_copy()(asked.data.take(asked.forget_positions).float() / 255).softmax(1)
    distances = [float((q * (q.log() - one.log())).sum(1).mean()) for one in (before, answers)]
    assert distances[1] < 0.2 * distances[0]


@pytest.mark.parametrize("method", [ReGUn, LoTUS])
@pytest.mark.parametrize("empty", [False, True])
def test_without_unseen_samples_both_are_refused_before_anything_is_trained(method, empty):
    asked = problem()
    none = ImageData(asked.holdout.images[:0], asked.holdout.labels[:0], asked.holdout.class_names) if empty else None
    before = state_of(asked.model)
    for work in (method().check, method()):
        with pytest.raises(SettingError, match=rf"^{method.name} compares with a holdout, and there is none; set one"):
            work(replace(asked, holdout=none))
    assert same_state(before, state_of(asked.model))


def test_regun_needs_unseen_samples_of_the_forgotten_classes_or_a_uniform_draw():
    asked = problem([0, 5, 10])
    others = asked.holdout.subset((asked.holdout.labels != 0).nonzero().squeeze(1).numpy())
    with pytest.raises(SettingError, match=r"^regun: the holdout has no sample of the classes of the forget set"):
        ReGUn().check(replace(asked, holdout=others))
    ReGUn(selector="uniform").check(replace(asked, holdout=others))


@pytest.mark.parametrize("method", [ReGUn(epochs=2), LoTUS(epochs=2, tolerance=1)], ids=["regun", "lotus"])
def test_one_forget_sample_serves_with_batch_norm(method):
    asked = problem([7])
    assert not same_state(state_of(method(asked).model), state_of(asked.model))


def test_targets_are_the_official_gumbel_softmax():
    """PyTorch's own, which cspartalis/LoTUS calls in src/unlearning_methods/lotus_class.py, lines 232-236."""
    logits = torch.randn(9, 6, generator=torch.Generator().manual_seed(0))
    soft = torch.arange(9) % 2 == 0
    torch.manual_seed(5)
    noise = -torch.empty_like(logits).exponential_().log()
    found = tempered(logits + noise, torch.tensor(3.0), soft)
    torch.manual_seed(5)
    smooth = functional.gumbel_softmax(logits, tau=3.0)
    torch.manual_seed(5)
    drawn = functional.gumbel_softmax(logits, hard=True)
    torch.testing.assert_close(found, torch.where(soft[:, None], smooth, drawn))


def test_targets_of_retained_samples_are_draws_from_the_original():
    logits = torch.tensor([[0.0, 1.0, 2.0]]).expand(20_000, 3)
    noise = -torch.empty_like(logits).exponential_(generator=torch.Generator().manual_seed(0)).log()
    shares = tempered(logits + noise, torch.tensor(1.0), torch.zeros(20_000, dtype=torch.bool)).mean(0)
    torch.testing.assert_close(shares, logits[0].softmax(0), rtol=0, atol=5 * 0.5 / 20_000**0.5)


@pytest.fixture
def accuracies(monkeypatch):
    """Of the original on the holdout first, then of the student before each epoch."""

    def fix(*values):
        left = iter(values)
        monkeypatch.setattr(unseen, "_accuracy", lambda *_: next(left))

    return fix


def test_the_run_ends_where_forget_samples_are_right_no_more_often_than_unseen_ones(accuracies):
    """lotus_class.py, lines 300-304, without its rounding."""
    asked = problem()
    accuracies(0.8, 1.0, 0.9, 0.795, 0.79, 0.5)
    LoTUS(epochs=7)(asked)
    assert len(asked.history) == 3
    asked = problem()
    accuracies(0.8, 0.78)
    assert same_state(state_of(LoTUS(epochs=7)(asked).model), state_of(asked.model)), "nothing is to be forgotten"
    asked = problem()
    accuracies(0.8, *[0.1] * 7)
    LoTUS(epochs=7, tolerance=1)(asked)
    assert len(asked.history) == 7


def test_the_temperature_of_each_epoch_is_the_exponential_of_its_gap(monkeypatch, accuracies):
    """lotus_class.py, line 305."""
    seen = []
    monkeypatch.setattr(unseen, "tempered", lambda *args: seen.append(float(args[1])) or tempered(*args))
    accuracies(0.8, 1.0, 0.9, 0.85)
    LoTUS(epochs=3, alpha=8)(problem(batch_size=60))
    assert seen == pytest.approx([math.exp(8 * 0.2), math.exp(8 * 0.1), math.exp(8 * 0.05)], rel=1e-5)


def test_a_whole_class_is_forgotten_until_none_is_right_and_needs_no_holdout(accuracies, digits, trained):
    """lotus_class.py, lines 290-291."""
    asked = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    accuracies(1.0, 0.5, 0.0, 0.0)
    LoTUS(epochs=3, retain_fraction=0.1)(asked)
    assert len(asked.history) == 3


@pytest.mark.parametrize("augment", [False, True])
def test_lotus_follows_the_official_loss(monkeypatch, augment):
    """lotus_class.py, lines 231-240: soft cross-entropy, forget rows soft and retain rows one-hot."""
    targets = []
    monkeypatch.setattr(unseen, "tempered", lambda *args: targets.append((args, tempered(*args))) or targets[-1][1])
    asked = problem(batch_size=16)
    steps = perform(LoTUS(epochs=2, augment_retain=augment), asked, seconds=60, closely=True).recording.seen
    for seen, ((noisy, _, soft), target) in zip(steps, targets, strict=True):
        forgotten = torch.tensor([position in FORGET for position in seen.batch.positions.tolist()])
        assert torch.equal(soft, forgotten)
        rows = [
            -(row.double() * answer.log_softmax(0)).sum()
            for row, answer in zip(target, seen.student.double()(seen.batch.images.double()), strict=True)
        ]
        torch.testing.assert_close(seen.loss.double(), torch.stack(rows).mean(), rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            noise = noisy - asked.frozen_copy()(seen.batch.images)
        assert float(noise.std()) == pytest.approx(math.pi / 6**0.5, abs=0.8), "Gumbel noise on the original's logits"
