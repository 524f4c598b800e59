"""How often a model is right on images that differ a little from those of the data."""

from __future__ import annotations

import torch
from torch import nn

from natmu.engine.neighbours import right_nearby
from natmu.engine.predict import EVALUATION_BATCH
from natmu.testing.problems import CPU, digits, trained

POSITIONS = torch.arange(0, 60, 4)


class Noting(nn.Module):
    """Keeps what it is asked about."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, images):
        self.asked.append(images.clone())
        return self.model(images)


def asked(positions=POSITIONS, radius=0.1, draws=6, model=None):
    noting = Noting(trained() if model is None else model)
    return right_nearby(noting, digits(), positions, CPU, radius=radius, draws=draws), noting


def test_it_counts_the_neighbours_that_are_given_the_label_of_their_image():
    counts, noting = asked(radius=0.6)
    expected = [0] * len(POSITIONS)
    for images in noting.asked:
        for place, image in enumerate(images):
            with torch.no_grad():
                expected[place] += int(trained().eval()(image[None]).argmax() == digits().labels[POSITIONS[place]])
    assert counts.tolist() == expected
    assert len({*expected}) > 2, "some images have neighbours of either kind"


def test_neighbours_are_spread_over_the_whole_box_and_cut_to_the_range_of_images():
    _, noting = asked(draws=40)
    images = digits().take(POSITIONS).float() / 255
    change = torch.stack(noting.asked) - images
    assert len(noting.asked) == 40
    assert float(change.abs().max()) <= 0.1 + 1e-6
    assert 0 <= float(torch.stack(noting.asked).min()) <= float(torch.stack(noting.asked).max()) <= 1
    inner = change[:, (images > 0.1) & (images < 0.9)]
    assert abs(float(inner.mean())) < 0.01
    assert abs(float(inner.std()) - 0.2 / 12**0.5) < 0.002, "uniform"
    assert not torch.equal(change[0], change[1])


def test_every_model_is_asked_about_the_same_neighbours():
    _, one = asked()
    torch.rand(5)
    _, other = asked(model=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    assert all(torch.equal(first, second) for first, second in zip(one.asked, other.asked, strict=True))


def test_with_no_radius_neighbours_are_the_images_themselves():
    counts, _ = asked(radius=0.0, draws=3)
    with torch.no_grad():
        right = trained().eval()(digits().take(POSITIONS).float() / 255).argmax(1) == digits().labels[POSITIONS]
    assert counts.tolist() == (3 * right.long()).tolist()


def test_images_are_asked_about_in_batches_and_none_is_left_out():
    many = torch.arange(EVALUATION_BATCH + 5) % 60
    counts, noting = asked(many, radius=0.0, draws=2)
    assert [len(images) for images in noting.asked] == [EVALUATION_BATCH] * 2 + [5] * 2
    assert counts.tolist() == asked(torch.arange(60), radius=0.0, draws=2)[0][many.numpy()].tolist()
    assert asked(many[:0])[0].tolist() == []


def test_the_model_is_asked_in_eval_mode_and_left_in_its_own():
    model = trained().train()
    before = model[1].running_mean.clone()
    asked(model=model)
    assert model.training
    assert torch.equal(model[1].running_mean, before)
