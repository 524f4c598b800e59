"""What NatMU fine-tunes on: which classes, which partners, which pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import parse_forget, resolve_forget
from natmu.data.batches import Batches, plain, render
from natmu.errors import ModelError, SettingError
from natmu.methods import NatMU
from natmu.models import last_linear
from natmu.types import ForgetSet

from .problems import CPU, intercept, noise_data, problem_of, small_net, state_of, superclass_data, unnormed_net
from .test_masks import slow_masks

FORGET = [0, 3, 7, 11, 24, 30]


def slow_hybrid(partner, forget, mask):
    """``clip(x_r (1 - M) + x_f M, 0, 255)`` in float32, pixel by pixel, rounded down to a byte: NatMU,
    sample-wise/natmu.py, lines 114-116."""
    out = np.empty(partner.shape, np.uint8)
    one, top = np.float32(1), np.float32(255)
    for channel, row, column in np.ndindex(*partner.shape):
        weight = mask[row, column]
        of_partner = np.float32(partner[channel, row, column]) * (one - weight)
        of_forget = np.float32(forget[channel, row, column]) * weight
        out[channel, row, column] = int(min(max(of_partner + of_forget, np.float32(0)), top))
    return out


def shows(image, pixels):
    """Whether an image in [0, 1] shows these bytes, to the bit."""
    return torch.equal(image, torch.from_numpy(pixels).float() / 255)


def slow_classes(model, data, sample, capacity, n, *, own_allowed=False):
    """The most probable classes of one un-augmented image by a model in eval mode."""
    was = model.training
    model.eval()
    with torch.no_grad():
        scores = model(data.images[sample : sample + 1].float() / 255)[0].tolist()
    model.train(was)
    ranking = sorted(range(len(scores)), key=lambda c: -scores[c])
    return [c for c in ranking if (own_allowed or c != int(data.labels[sample])) and capacity[c]][:n]


def retained(problem):
    return [i for i in range(len(problem.data)) if i not in set(problem.forget.indices.tolist())]


def hybrid_rows(rows, problem, n):
    """Labels and positions of the hybrids, ``(F, n)``."""
    start = len(rows) - n * len(problem.forget)
    return rows.labels[start:].view(-1, n), rows.positions[start:].view(-1, n)


def check_hybrids(rows, problem, n, delta):
    """Each hybrid against the slow formula, its label against the true label of its partner; the forget image of row
    ``f`` of each rank is the ``f``-th of the forget set."""
    data, start = problem.data, len(rows) - n * len(problem.forget)
    masks = slow_masks(*data.image_shape[1:], delta)
    for row in range(start, len(rows)):
        sample, rank = divmod(row - start, n)
        partner = int(rows.positions[row])
        expected = slow_hybrid(
            data.images[partner].numpy(), data.images[problem.forget.indices[sample]].numpy(), masks[rank]
        )
        assert shows(rows.images[row], expected)
        assert rows.labels[row] == data.labels[partner]
        assert partner not in problem.forget.indices


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 7), (3, 6, 11)])
@pytest.mark.parametrize("delta", [-0.19, 0.3])
def test_previewed_hybrids_equal_a_slow_loop(shape, delta):
    problem = problem_of(noise_data(60, shape), FORGET)
    samples = NatMU(delta=delta).preview(problem)
    images = render(problem.data, samples, torch.arange(len(samples)))
    masks = slow_masks(*shape[1:], delta)
    assert len(samples) == 4 * len(FORGET)
    for row in range(len(samples)):
        partner, forget = int(samples.positions[row]), FORGET[row // 4]
        expected = slow_hybrid(
            problem.data.images[partner].numpy(), problem.data.images[forget].numpy(), masks[row % 4]
        )
        assert shows(images[row], expected)
        assert samples.labels[row] == problem.data.labels[partner]


def test_hybrids_are_rounded_down_as_bytes_are():
    """A white image over black partners shows the masks alone: each byte is ``int(255 M)``, where ``255 M`` rounded to
    the nearest is often one more."""
    data = noise_data(60, (1, 32, 32))
    images = torch.zeros_like(data.images)
    images[FORGET] = 255
    problem = problem_of(type(data)(images, data.labels, data.class_names), FORGET)
    samples = NatMU(delta=-0.19).preview(problem)
    shown = render(problem.data, samples, torch.arange(4))
    tent = [*range(16), *range(15, -1, -1)]
    rising = [max(0, int(255 * (i / 16 - 0.19))) for i in tent]
    falling = [max(0, int(255 * ((15 - i) / 16 - 0.19))) for i in tent]
    for image, line, vertical in zip(shown, (rising, rising, falling, falling), (1, 0, 1, 0), strict=True):
        pixels = np.array(line, np.uint8)[:, None].repeat(32, 1)
        assert shows(image[0], pixels if vertical else pixels.T.copy())
    assert sum(round(255 * (i / 16 - 0.19)) > value for i, value in zip(tent, rising, strict=True) if value) > 10


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 10, 7)])
def test_hybrids_reach_the_model_as_defined_and_are_never_augmented(monkeypatch, shape, augment):
    problem = problem_of(noise_data(60, shape), FORGET)
    caught = intercept(monkeypatch, NatMU(n=3, augment_retain=augment), problem)
    for epoch in (0, 1):
        rows = caught.epoch(epoch)
        assert len(rows) == 54 + 18
        check_hybrids(rows, problem, 3, -0.19)


@pytest.mark.parametrize(("delta", "shown"), [(1, "forget"), (-1, "partner")])
def test_a_shift_of_one_is_plain_relabelling(monkeypatch, delta, shown):
    problem = problem_of(noise_data(60), FORGET)
    rows = intercept(monkeypatch, NatMU(n=2, delta=delta), problem).epoch()
    _, partners = hybrid_rows(rows, problem, 2)
    sources = torch.tensor(FORGET).repeat_interleave(2) if shown == "forget" else partners.flatten()
    assert torch.equal(rows.images[54:], problem.data.images[sources].float() / 255)


def test_retain_images_are_bit_identical_to_images_without_any_blend(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    rows = intercept(monkeypatch, NatMU(augment_retain=False), problem).epoch()
    positions = torch.tensor(retained(problem))
    alone = render(problem.data, plain(positions, problem.labels(positions), augment=False), torch.arange(54))
    assert torch.equal(rows.positions[:54], positions)
    assert torch.equal(rows.labels[:54], problem.data.labels[positions])
    assert torch.equal(rows.images[:54], alone)
    assert torch.equal(rows.images[:54], problem.data.images[positions].float() / 255)


def test_second_images_are_read_for_hybrids_alone(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    caught = intercept(monkeypatch, NatMU(n=3), problem)
    read, take = [], type(problem.data).take

    def noted(self, indices):
        read.extend(indices.tolist())
        return take(self, indices)

    monkeypatch.setattr(type(problem.data), "take", noted)
    rows = caught.epoch()
    assert sorted(read) == sorted([*rows.positions.tolist(), *FORGET * 3])


def test_retain_images_are_cropped_and_flipped_by_default(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    rows = intercept(monkeypatch, NatMU(), problem).epoch()
    moved = 0
    for row in range(54):
        image = problem.data.images[int(rows.positions[row])].float() / 255
        padded = nn.functional.pad(image, (1, 1, 1, 1))
        crops = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
        assert any(torch.equal(rows.images[row], c) or torch.equal(rows.images[row], c.flip(2)) for c in crops)
        moved += not torch.equal(rows.images[row], image)
    assert moved > 30


def test_trap_six_copies_the_data_set_is_never_copied(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    caught = intercept(monkeypatch, NatMU(), problem)
    assert caught.batches.data is problem.data


def test_classes_are_the_originals_most_probable_others_in_eval_mode(monkeypatch):
    data = noise_data(60)
    model = small_net(data.image_shape, 5, 3).train()
    with torch.no_grad():
        model(torch.rand(16, 3, 8, 8) * 3)  # running statistics that differ from any batch's
    problem = problem_of(data, FORGET, model=model)
    labels, _ = hybrid_rows(intercept(monkeypatch, NatMU(n=3), problem).epoch(), problem, 3)
    capacity = np.bincount(data.labels[retained(problem)].numpy(), minlength=5)
    for row, sample in enumerate(FORGET):
        assert labels[row].tolist() == slow_classes(model, data, sample, capacity, 3)


def test_each_retain_image_serves_at_most_one_hybrid_and_partners_are_of_the_retain_set(monkeypatch):
    problem = problem_of(noise_data(100), list(range(15)))
    _, partners = hybrid_rows(intercept(monkeypatch, NatMU(n=4), problem).epoch(), problem, 4)
    assert len(set(partners.flatten().tolist())) == 60
    assert set(partners.flatten().tolist()) <= set(retained(problem))


def test_partners_stay_over_epochs_unless_asked_otherwise(monkeypatch):
    problem = problem_of(noise_data(100), FORGET)
    fixed = intercept(monkeypatch, NatMU(), problem)
    redrawn = intercept(monkeypatch, NatMU(resample_partners=True), problem)
    epochs = [hybrid_rows(fixed.epoch(e), problem, 4) for e in range(3)]
    assert all(torch.equal(positions, epochs[0][1]) for _, positions in epochs)
    fresh = [hybrid_rows(redrawn.epoch(e), problem, 4) for e in range(3)]
    assert all(torch.equal(labels, epochs[0][0]) for labels, _ in fresh)
    assert not torch.equal(fresh[0][1], fresh[1][1])
    assert not torch.equal(fresh[1][1], fresh[2][1])
    for epoch in range(3):
        assert len(set(fresh[epoch][1].flatten().tolist())) == 24
        check_hybrids(redrawn.epoch(epoch), problem, 4, -0.19)


def test_partners_are_reused_only_where_there_are_too_few_unless_that_is_refused(monkeypatch):
    problem = problem_of(noise_data(20), [0, 1, 2, 3, 4, 5])
    with pytest.raises(SettingError, match=r"smaller n, or reuse_partners=true"):
        NatMU(reuse_partners=False)(problem)
    rows = [intercept(monkeypatch, NatMU(**given), problem).epoch() for given in ({}, {"reuse_partners": True})]
    for found in rows:
        _, partners = hybrid_rows(found, problem, 4)
        assert len(set(partners.flatten().tolist())) < 24  # 14 images for 24 hybrids
        check_hybrids(found, problem, 4, -0.19)
    assert torch.equal(rows[0].positions, rows[1].positions)
    ample = problem_of(noise_data(60), FORGET)
    never, default = (
        intercept(monkeypatch, NatMU(**given), ample).epoch() for given in ({"reuse_partners": False}, {})
    )
    assert torch.equal(never.positions, default.positions)


@pytest.mark.parametrize(("classes", "forget", "wanted"), [(2, [0, 1], 1), (3, [0, 1], 2), (7, [0, 1], 4)])
def test_each_forget_sample_has_four_hybrids_or_one_of_each_other_class(monkeypatch, classes, forget, wanted):
    problem = problem_of(noise_data(42, classes=classes), forget)
    labels, _ = hybrid_rows(intercept(monkeypatch, NatMU(), problem).epoch(), problem, wanted)
    assert all(len(set(row)) == wanted for row in labels.tolist())
    assert not any(own in row for own, row in zip([0, 1], labels.tolist(), strict=True))


def test_more_hybrids_than_other_classes_are_refused_with_the_largest_number():
    with pytest.raises(SettingError, match="set n=1"):
        NatMU(n=4)(problem_of(noise_data(40, classes=2), [0, 1]))


def test_a_class_without_retain_images_is_no_other_class(monkeypatch):
    data = noise_data(42, classes=3)
    forget = resolve_forget(parse_forget("class:2"), data, seed=0)
    problem = problem_of(data, ForgetSet(np.union1d(forget.indices, [0, 1]), "x", "indices"))
    labels, _ = hybrid_rows(intercept(monkeypatch, NatMU(), problem).epoch(), problem, 1)
    assert labels.flatten().tolist()[:2] == [1, 0]


def test_the_true_class_serves_only_where_it_is_allowed(monkeypatch, trained, digits):
    problem = problem_of(digits, list(range(0, 40, 2)), model=trained)
    own = digits.labels[problem.forget_positions]
    faithful, _ = hybrid_rows(intercept(monkeypatch, NatMU(), problem).epoch(), problem, 4)
    allowed, _ = hybrid_rows(intercept(monkeypatch, NatMU(allow_true_class=True), problem).epoch(), problem, 4)
    assert not (faithful == own[:, None]).any()
    assert (allowed[:, 0] == own).float().mean() > 0.5
    capacity = np.bincount(digits.labels[retained(problem)].numpy(), minlength=10)
    for row, sample in enumerate(problem.forget.indices):
        assert allowed[row].tolist() == slow_classes(trained, digits, sample, capacity, 4, own_allowed=True)


def test_a_share_of_the_retain_set_is_fine_tuned_on_but_all_of_it_may_serve(monkeypatch):
    problem = problem_of(noise_data(100), FORGET)
    rows = intercept(monkeypatch, NatMU(retain_fraction=0.1), problem).epoch()
    assert len(rows) == 9 + 24
    kept = set(rows.positions[:9].tolist())
    assert len(kept) == 9
    assert kept <= set(retained(problem))
    whole = intercept(monkeypatch, NatMU(), problem).epoch()
    assert torch.equal(rows.positions[9:], whole.positions[94:])
    assert not set(rows.positions[9:].tolist()) <= kept


def test_the_head_is_reset_after_the_classes_were_chosen(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    before = state_of(trained)
    usual, reset = (intercept(monkeypatch, NatMU(reset_head=value), problem) for value in (False, True))
    assert torch.equal(usual.epoch().labels, reset.epoch().labels)
    head = last_linear(reset.model, 10).weight
    assert not torch.equal(head, before["5.weight"])
    assert head.std().item() == pytest.approx((2 * 2 / (128 + 10)) ** 0.5, rel=0.1)
    rest = [name for name in before if name != "5.weight"]
    assert all(torch.equal(reset.model.state_dict()[name], before[name]) for name in rest)
    assert all(torch.equal(usual.model.state_dict()[name], before[name]) for name in before)


def test_a_layer_that_is_not_the_head_is_never_reset(monkeypatch):
    class Gated(nn.Module):
        """Its last linear layer makes a gate; the head is a convolution."""

        def __init__(self):
            super().__init__()
            self.head = nn.Conv2d(3, 5, 1)
            self.gate = nn.Linear(5, 3)

        def forward(self, images):
            answer = self.head(images).mean((2, 3))
            return answer * self.gate(answer).sigmoid().mean(1, keepdim=True)

    problem = problem_of(noise_data(60), FORGET, model=Gated())
    with pytest.raises(ModelError, match="leave reset_head off"):
        NatMU(reset_head=True)(problem)


@pytest.mark.parametrize("allow", [False, True])
def test_a_forgotten_class_is_never_among_the_labels(monkeypatch, trained, digits, allow):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    rows = intercept(monkeypatch, NatMU(allow_true_class=allow), problem).epoch()
    assert 3 not in rows.labels.tolist()
    assert set(rows.labels.tolist()) == set(range(10)) - {3}


@pytest.mark.parametrize("allow", [False, True])
def test_a_forgotten_subclass_excludes_its_coarse_class_unless_allowed(monkeypatch, allow):
    data = superclass_data()
    forget = resolve_forget(parse_forget("subclass:c2"), data, seed=0)
    assert set(data.labels[forget.indices].tolist()) == {1}
    problem = problem_of(data, forget)
    rows = intercept(monkeypatch, NatMU(n=3, allow_true_class=allow), problem).epoch()
    labels, partners = hybrid_rows(rows, problem, 3)
    assert (1 in labels) == allow
    assert data.fine is not None
    assert 2 not in data.fine.labels[partners]
    siblings = {i for i in range(len(data)) if data.fine.labels[i] == 3}
    assert siblings <= set(rows.positions[: len(problem.retain_positions)].tolist())
    assert siblings.isdisjoint(problem.forget.indices.tolist())
    check_hybrids(rows, problem, 3, -0.19)


def test_only_the_first_masks_serve_where_fewer_hybrids_are_asked_for(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    one = intercept(monkeypatch, NatMU(n=1, delta=0.2), problem).epoch()
    assert len(one) == 54 + 6
    check_hybrids(one, problem, 1, 0.2)


def test_a_mapped_array_serves_as_well_as_a_tensor(monkeypatch, tmp_path):
    data = noise_data(60)
    np.save(tmp_path / "images.npy", data.images.numpy())
    mapped = type(data)(np.load(tmp_path / "images.npy", mmap_mode="r"), data.labels, data.class_names)
    model = unnormed_net(data.image_shape, 5)
    both = [intercept(monkeypatch, NatMU(), problem_of(d, FORGET, model=model)).epoch() for d in (data, mapped)]
    assert torch.equal(both[0].images, both[1].images)
    assert torch.equal(both[0].labels, both[1].labels)


def test_order_differs_between_epochs_and_every_hybrid_comes_once_in_each(monkeypatch):
    problem = problem_of(noise_data(60), FORGET)
    batches = intercept(monkeypatch, NatMU(), problem).batches
    assert isinstance(batches, Batches)
    assert batches.device == CPU.device
    first, second = (torch.cat([b.rows for b in batches.epoch(e)]).tolist() for e in (0, 1))
    assert first != second
    assert sorted(first) == sorted(second) == list(range(54 + 24))
    assert max(first[:32]) >= 54  # hybrids come among the retain images, not after them
