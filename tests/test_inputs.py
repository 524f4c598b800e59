"""What the user's loader gives a model is what natmu gives it; so with the user's augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import natmu
from natmu.data import ImageData, from_dataset, load
from natmu.data.batches import render
from natmu.engine.compute import Compute
from natmu.engine.features import features_of
from natmu.engine.neighbours import right_nearby
from natmu.engine.predict import logits_of
from natmu.errors import DataError, SettingError
from natmu.methods.examples import hybrid_examples
from natmu.methods.natmu import NatMU
from natmu.testing.problems import problem_of

MEAN, STD = torch.tensor([0.3, 0.1]).view(2, 1, 1), torch.tensor([0.35, 0.02]).view(2, 1, 1)
CPU = Compute(torch.device("cpu"), "fp32")


class Normalised(nn.Module):
    """What the other model's data set does to images, as a layer."""

    def forward(self, images: Tensor) -> Tensor:
        return (images - MEAN) / STD


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """Digits in two channels, bytes, and their labels."""
    digits = load("digits", Path()).train
    grey = digits.take(torch.arange(120))
    assert (int(grey.min()), int(grey.max())) == (0, 255)  # so that floats have the whole range of bytes
    return torch.cat([grey, grey.flip(3)], 1), digits.labels[:120]


@pytest.fixture(scope="module")
def body(images: tuple[Tensor, Tensor]) -> nn.Sequential:
    """A model that was trained on normalised images."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(54, 10))
    inputs, optimizer = Normalised()(images[0].float() / 255), torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), images[1]).backward()
        optimizer.step()
    return model


def data_sets(images: tuple[Tensor, Tensor]) -> tuple[list[tuple[Tensor, int]], ImageData]:
    """The same samples as a data set that normalises, and as bytes."""
    floats = Normalised()(images[0].float() / 255)
    names = tuple(str(number) for number in range(10))
    return [*zip(floats, images[1].tolist(), strict=True)], ImageData(*images, names)


def test_floats_get_the_logits_of_the_users_own_loop(images: tuple[Tensor, Tensor], body: nn.Sequential) -> None:
    floats, data = data_sets(images)
    given, positions = from_dataset(floats), torch.arange(120)
    with torch.no_grad():
        expected = torch.cat([body(image[None]) for image, _ in floats])
    layered = nn.Sequential(Normalised(), body)
    torch.testing.assert_close(logits_of(body, given, positions, CPU), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits_of(layered, data, positions, CPU), expected, atol=1e-5, rtol=1e-5)
    for one, two in zip(
        features_of(body, given, positions, CPU), features_of(layered, data, positions, CPU)[-1:], strict=False
    ):
        np.testing.assert_allclose(one, two, atol=1e-5)
    near = [right_nearby(*case, positions, CPU, radius=0.2, draws=5) for case in ((body, given), (layered, data))]
    assert np.abs(near[0] - near[1]).sum() <= 2  # of 600; a rounding may decide a few
    assert 0 < near[0].sum() < 600


SETTINGS = {
    "boundary_shrink": {"lr": 1e-3},
    "amun": {"epochs": 1, "attack_steps": 8, "lr": 1e-3},
    "rurk": {
        "epochs": 1,
        "search": "pgd",
        "search_steps": 2,
        "forget_weight": 0.3,
        "neighbour_weight": 0.3,
        "tau": 0.2,
        "schedule": "constant",
        "lr": 0.01,
    },
    "jit": {"draws": 3},
    "mu_mis": {"epochs": 2, "lr": 1e-3},
    "unsir": {"noise_steps": 5, "lr": 1e-3},
    "finetune": {"epochs": 1, "augment_retain": True, "lr": 1e-2},
    "natmu": {"epochs": 1, "n": 2, "lr": 0.01, "optimizer": "sgd"},
}


def weights_of(model: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("method", SETTINGS)
def test_methods_mean_the_same_where_the_data_set_normalises_and_where_the_model_does(
    images: tuple[Tensor, Tensor], body: nn.Sequential, method: str
) -> None:
    """Steps, bounds and noise are in units of each channel's range; NatMU alone rounds blends of bytes down."""
    floats, data = data_sets(images)
    forget = "class:3" if method == "unsir" else "random:10%"
    kept = {"progress": False, "device": "cpu", "precision": "fp32", "batch_size": None, "seed": 1}
    one = natmu.unlearn(body, floats, forget, method, **SETTINGS[method], **kept).model
    two = natmu.unlearn(nn.Sequential(Normalised(), body), data, forget, method, **SETTINGS[method], **kept).model[1]
    first, second, start = (weights_of(model) for model in (one, two, body))
    moved, apart = float((first - start).norm()), float((first - second).norm())
    assert moved > 1e-4
    assert apart < (0.05 if method == "natmu" else 0.01) * moved


def test_blends_of_floats_are_the_formula_within_the_range(images: tuple[Tensor, Tensor], body: nn.Sequential) -> None:
    data = from_dataset(data_sets(images)[0])
    problem, method = problem_of(data, [3, 4, 50, 70], model=body), NatMU(delta=0.4, n=3)
    hybrids = method.preview(problem)
    found = render(data, hybrids, torch.arange(12))
    assert hybrids.blend is not None
    low, high = data.images.amin((0, 2, 3)), data.images.amax((0, 2, 3))
    for row in range(12):
        weight = hybrids.blend.weights[hybrids.blend.masks[row]]
        first, second = data.images[hybrids.positions[row]], data.images[hybrids.blend.others[row]]
        for channel in range(2):
            for y in range(8):
                for x in range(8):
                    w = float(weight[y, x])
                    value = float(first[channel, y, x]) * (1 - w) + float(second[channel, y, x]) * w
                    expected = min(max(value, float(low[channel])), float(high[channel]))
                    assert float(found[row, channel, y, x]) == pytest.approx(expected, abs=1e-4)
    shown = hybrid_examples(method, problem)
    assert shown.forget.shape == (4, 8, 8)  # the first of two channels, from black to white
    assert np.array_equal(shown.forget[0], images[0][3, 0].numpy())


def test_training_data_that_is_normalised_and_test_data_that_is_not_are_refused(
    images: tuple[Tensor, Tensor], body: nn.Sequential
) -> None:
    floats, data = data_sets(images)
    with pytest.raises(DataError, match=r"One part of the data holds bytes.* and another floats outside \[0, 1\]"):
        natmu.audit(body, floats, data, [1, 2], progress=False)


def brighter(images: Tensor) -> Tensor:
    return images + 0.2 * torch.rand(len(images), 1, 1, 1, device=images.device)


def test_the_users_augmentation_in_python(images: tuple[Tensor, Tensor], body: nn.Sequential) -> None:
    data = data_sets(images)[1]
    kept = {"progress": False, "device": "cpu", "precision": "fp32", "seed": 1, "force": True}

    def weights(**asked: object) -> Tensor:
        return natmu.unlearn(body, data, [1, 2], "finetune", epochs=1, lr=0.1, **asked, **kept).model[0].weight

    mine = weights(augment=brighter, augment_retain=True)
    assert torch.equal(mine, weights(augment=brighter, augment_retain=True))
    assert not torch.equal(mine, weights(augment_retain=True))
    assert torch.equal(weights(augment=lambda images: images, augment_retain=True), weights())
    with pytest.raises(SettingError, match=r"finetune augments no images with these settings; set augment_retain=True"):
        weights(augment=brighter)
    with pytest.raises(SettingError, match="augment must be a function"):
        weights(augment=True, augment_retain=True)
    asked = {"training": {"epochs": 1}, "init": "fresh", "augment": brighter}
    retrained = natmu.unlearn(body, data, [1, 2], "retrain", **asked, **kept)
    assert retrained.settings["augment"] == retrained.settings["training"]["augment"]["function"]
