"""Quantile matching: the rule is ours, so that slow loops and closed forms stand for a source."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from natmu.data import ImageData, parse_forget, resolve_forget
from natmu.engine.predict import logits_of
from natmu.engine.training import train_classifier
from natmu.errors import ScenarioError, SettingError
from natmu.methods import QuantileMatch
from natmu.methods.matching import matched, quantiles, twins_of
from natmu.scores.objectives import largest_distance
from natmu.testing.problems import CPU, TRAINING, same_state, small_net, state_of
from natmu.testing.recorder import perform

from .problems import noise_data, problem_of

FORGET = list(range(0, 60, 4))


def problem(forget=FORGET, **others):
    data = noise_data(60)
    return problem_of(data, forget, model=small_net(data.image_shape, 5), holdout=noise_data(40, seed=1), **others)


def test_a_quantile_is_the_weight_below_and_half_of_what_is_equal():
    values, others, weight = torch.tensor([0.5, 2.0, 2.0, -1.0]), torch.tensor([2.0, 0.0, 3.0]), 5.0
    expected = []
    for value in values.tolist():
        mass = [(other, 1.0) for other in values.tolist()] + [(other, weight) for other in others.tolist()]
        expected.append(sum(part * ((other < value) + (other == value) / 2) for other, part in mass) / (4 + 3 * weight))
    assert quantiles(values, others, weight).tolist() == pytest.approx(expected)


def test_quantiles_of_samples_like_the_others_are_even_and_of_the_hardest_the_highest():
    alike = quantiles(torch.arange(100.0), torch.arange(0, 100, 0.1), 1)
    assert alike.numpy() == pytest.approx((np.arange(100) + 0.5) / 100, abs=0.01)
    hardest = quantiles(torch.arange(900.0, 1000.0), torch.arange(900.0), 1)
    assert hardest.numpy() == pytest.approx((np.arange(900, 1000) + 0.5) / 1000)


def test_twins_go_from_the_unseen_sample_with_the_smallest_loss_to_the_one_with_the_largest():
    logits = torch.tensor([[0.0, 3.0], [0.0, 9.0], [4.0, 0.0], [0.0, 1.0]])
    labels = torch.tensor([1, 1, 1, 1])  # their losses: the second's is the smallest, the third's the largest
    assert twins_of(torch.tensor([0.01, 0.3, 0.6, 0.99]), logits, labels).tolist() == [1, 0, 3, 2]
    assert twins_of(torch.tensor([0.49, 0.51]), logits, labels).tolist() == [0, 3]


def test_targets_are_the_twins_logits_in_the_order_of_the_samples_own_classes():
    rng = torch.Generator().manual_seed(0)
    own, twins = (torch.randn(20, 6, generator=rng) for _ in range(2))
    labels, twin_labels = (torch.randint(6, (20,), generator=rng) for _ in range(2))
    found = matched(own, labels, twins, twin_labels)
    for row in range(20):
        expected = [0.0] * 6
        expected[int(labels[row])] = float(twins[row, twin_labels[row]])
        places = sorted((c for c in range(6) if c != labels[row]), key=lambda c: -float(own[row, c]))
        wanted = sorted((float(twins[row, c]) for c in range(6) if c != twin_labels[row]), reverse=True)
        for place, value in zip(places, wanted, strict=True):
            expected[place] = value
        assert found[row].tolist() == pytest.approx(expected)
    assert torch.equal(matched(own, labels, own, labels), own), "a sample that is its own twin keeps its logits"


@pytest.mark.parametrize("known", [True, False])
def test_the_loss_follows_the_twins_of_each_epoch_and_the_original_on_retain_samples(known):
    """Sample by sample, where it was noted how hard samples were to learn, and where the losses have to say."""
    asked = problem(batch_size=16)
    hardness = np.random.default_rng(5).random(60).astype(np.float32)
    asked = replace(asked, difficulty=hardness) if known else asked
    method = QuantileMatch(epochs=2, retain_fraction=0.4, temperature=2, lr=0.01)
    steps = perform(method, asked, seconds=60, closely=True).recording.seen
    labels = asked.data.labels
    original = logits_of(asked.frozen_copy(), asked.data, torch.arange(60), CPU).double()
    shown = {position for seen in steps for position in seen.batch.positions.tolist()} - set(FORGET)
    assert len(shown) == 18
    if known:
        kept, weight = [row for row in range(60) if row not in FORGET], 1.0
    else:
        hardness, kept, weight = functional.cross_entropy(original, labels, reduction="none"), sorted(shown), 45 / 18
    unseen = asked.holdout
    seen_labels = unseen.labels.tolist()
    starts = {}
    for seen in steps:
        heads = starts.setdefault(seen.batch.epoch, logits_of(seen.student, unseen, torch.arange(40), CPU).double())
        losses = functional.cross_entropy(heads, unseen.labels, reduction="none").tolist()
        order = sorted(range(40), key=losses.__getitem__)
        rows = []
        answers = seen.student.double()(seen.batch.images.double())
        for position, answer in zip(seen.batch.positions.tolist(), answers, strict=True):
            target = original[position]
            if position in FORGET:
                own, value = int(labels[position]), float(hardness[position])
                mass = sum(float(hardness[row]) < value for row in FORGET) + 0.5  # of no two the same
                mass += weight * sum(float(hardness[row]) < value for row in kept)
                twin = order[int(mass / (15 + weight * len(kept)) * 40)]
                target = torch.empty(5, dtype=torch.float64)
                target[own] = heads[twin, seen_labels[twin]]
                places = sorted((c for c in range(5) if c != own), key=lambda c: -float(original[position, c]))
                target[places] = torch.tensor(
                    sorted((float(heads[twin, c]) for c in range(5) if c != seen_labels[twin]), reverse=True),
                    dtype=torch.float64,
                )
            wanted = (target / 2).softmax(0)
            rows.append((wanted * (wanted.log() - (answer / 2).log_softmax(0))).sum() * 4)
        torch.testing.assert_close(seen.loss.double(), torch.stack(rows).mean(), rtol=1e-4, atol=1e-5)
    assert not torch.equal(starts[0], starts[1]), "the twins of the second epoch are the changed model's"


def test_what_was_learnt_by_heart_becomes_as_hard_as_unseen_samples():
    """A network learns 120 images of noise by heart; of unseen ones it can only guess the class."""
    data, unseen = noise_data(120), noise_data(60, seed=1)
    model = small_net(data.image_shape, 5)
    settings = TRAINING.model_copy(update={"epochs": 60, "augment": False})
    train_classifier(model, data, torch.arange(120), settings, CPU, seed=0)
    forget = list(range(0, 120, 4))
    asked = problem_of(data, forget, model=model, holdout=unseen)

    def look(network):
        losses, right = [], []
        for of, rows in ((data, torch.tensor(forget)), (unseen, torch.arange(60)), (data, asked.retain_positions)):
            logits, labels = logits_of(network, of, rows, CPU), of.labels[rows]
            losses.append(functional.cross_entropy(logits, labels, reduction="none").numpy())
            right.append(float((logits.argmax(1) == labels).float().mean()))
        return largest_distance(losses[0], losses[1]), right

    before, (known, guessed, kept) = look(model)
    assert known > 0.9 > 0.5 > guessed
    assert kept > 0.9
    assert before > 0.5
    after, (known, guessed, kept) = look(QuantileMatch(epochs=60, lr=1e-2, retain_fraction=1)(asked).model)
    assert after < 0.5 * before, "samples of one distribution are about 0.2 apart, as so few are"
    assert abs(known - guessed) < 0.3, "three standard deviations of the accuracies of 30 and 60 samples"
    assert kept > 0.9


@pytest.mark.parametrize("empty", [False, True])
def test_without_unseen_samples_it_is_refused_before_anything_is_trained(empty):
    asked = problem()
    none = ImageData(asked.holdout.images[:0], asked.holdout.labels[:0], asked.holdout.class_names) if empty else None
    before = state_of(asked.model)
    for work in (QuantileMatch().check, QuantileMatch()):
        with pytest.raises(SettingError, match=r"^quantile_match compares with a holdout, and there is none; set one"):
            work(replace(asked, holdout=none))
    assert same_state(before, state_of(asked.model))


def test_a_whole_class_is_refused_however_it_is_named():
    data = noise_data(60)
    whole = np.flatnonzero(data.labels.numpy() == 2).tolist()
    with pytest.raises(ScenarioError, match=r"nothing would be kept; forget whole classes with delete"):
        QuantileMatch().check(problem(whole))
    with pytest.raises(ScenarioError, match=r"^quantile_match serves random, hardest, indices forget sets, not class"):
        QuantileMatch().check(problem(resolve_forget(parse_forget("class:2"), data, seed=0)))
