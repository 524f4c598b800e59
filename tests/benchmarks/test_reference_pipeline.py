"""The pipeline that natmu is timed against does the same work, by its own means."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from natmu.engine.schedule import lr_factor
from natmu.methods.natmu import forget_weights
from natmu.models import build_model

SCRIPT = Path(__file__).parents[2] / "benchmarks/reference_pipeline.py"
FORGET = np.array([40, 3, 17, 9])


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference_pipeline", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


reference = script()
HERE = reference.Setup("cpu", workers=0, batch_size=16)


def random_images(count: int = 64, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 16, 16, 3), np.uint8), np.arange(count) % classes


def separable_images(count: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Two classes, dark and bright."""
    images, labels = random_images(count, classes=2)
    return images // 2 + labels[:, None, None, None].astype(np.uint8) * 127, labels


def small_model(classes: int = 5) -> nn.Module:
    return reference.stock_model("small_cnn", num_classes=classes, image_size=16)


@pytest.fixture(scope="module")
def made() -> reference.Hybrids:
    images, labels = random_images()
    return reference.hybrids(small_model(), images, labels, FORGET, workers=0)[0]


@pytest.mark.parametrize("delta", [-0.19, 0.0, 0.3])
@pytest.mark.parametrize("side", [16, 32, 64])
def test_masks_are_natmus(side: int, delta: float) -> None:
    np.testing.assert_allclose(reference.masks(side, delta)[..., 0], forget_weights(side, side, delta), atol=1e-6)


def test_a_hybrid_is_natmus_blend_up_to_rounding(made: reference.Hybrids) -> None:
    images, _ = random_images()
    weights = forget_weights(16, 16, -0.19).numpy()[..., None]
    for row, partner in enumerate(made.partners):
        forgotten, weight = images[FORGET[row // 4]], weights[row % 4]
        blend = images[partner] * (1 - weight) + forgotten * weight
        np.testing.assert_allclose(made.images[row], blend, atol=0.5 + 1e-3)


def test_partners_are_retained_used_once_and_of_other_classes(made: reference.Hybrids) -> None:
    _, labels = random_images()
    assert len(made.images) == len(made.labels) == len(made.partners) == 4 * len(FORGET)
    assert len(set(made.partners)) == len(made.partners)
    assert not set(made.partners) & set(FORGET)
    np.testing.assert_array_equal(made.labels, labels[made.partners])
    assert (made.labels.reshape(-1, 4) != labels[FORGET][:, None]).all()


def test_partners_are_of_the_most_probable_classes_in_order() -> None:
    images, labels = random_images()
    model = small_model()
    made, _ = reference.hybrids(model, images, labels, FORGET, n=2, workers=0)
    forget = reference.ImageDataset(images, labels, augment=False)
    with torch.no_grad():
        logits = model.eval()(torch.stack([forget[int(index)][0] for index in FORGET]))
    logits[torch.arange(len(FORGET)), torch.from_numpy(labels[FORGET])] = -torch.inf
    np.testing.assert_array_equal(made.labels.reshape(-1, 2), logits.topk(2).indices)


def test_too_few_partners_is_an_error() -> None:
    images, labels = random_images(count=10)
    with pytest.raises(ValueError, match="use a smaller n"):
        reference.hybrids(small_model(), images, labels, np.arange(5), workers=0)


def test_convolutions_are_torchs_and_the_network_is_natmus() -> None:
    images, labels = random_images()
    stock = reference.stock_model("small_resnet", num_classes=5, image_size=16, seed=3).eval()
    ours = build_model(
        "small_resnet", num_classes=5, image_shape=(3, 16, 16), mean=reference.MEAN, std=reference.STD, seed=3
    ).eval()
    assert {type(module) for module in stock.modules() if isinstance(module, nn.Conv2d)} == {nn.Conv2d}
    data = reference.ImageDataset(images, labels, augment=False)
    normalised = torch.stack([data[row][0] for row in range(8)])
    with torch.no_grad():
        expected = ours(torch.from_numpy(images[:8]).permute(0, 3, 1, 2) / 255)
        torch.testing.assert_close(stock(normalised), expected, rtol=1e-4, atol=1e-4)


def test_augmentation_is_a_crop_of_the_padded_image_mirrored_or_not() -> None:
    images, labels = random_images(count=1)
    padded = np.pad(images[0], ((2, 2), (2, 2), (0, 0)))
    windows = [padded[top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
    windows += [window[:, ::-1] for window in windows]
    possible = {window.tobytes(): number for number, window in enumerate(windows)}
    data = reference.ImageDataset(images, labels, augment=True)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (reference.MEAN, reference.STD))
    torch.manual_seed(0)
    drawn = [((data[0][0] * std + mean) * 255).round().byte().permute(1, 2, 0).numpy() for _ in range(500)]
    assert {possible[image.tobytes()] for image in drawn} == set(range(50))


@pytest.mark.parametrize("step", [1, 7, 20, 60, 61, 80, 81, 100])
def test_learning_rates_are_natmus(step: int) -> None:
    assert reference.warmup_and_steps(step, 100, 10) == pytest.approx(lr_factor("step", step, 100, 20))
    assert reference.cosine(step, 100, 10) == pytest.approx(lr_factor("cosine", step, 100))


def test_training_lowers_the_loss_and_scores_show_it() -> None:
    images, labels = separable_images()
    torch.manual_seed(0)
    model = small_model(classes=2)
    data = reference.ImageDataset(images, labels, augment=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = reference.fit(model, data, optimizer, reference.cosine, 5, HERE)
    assert history[-1][0] < history[0][0] / 2
    assert history[-1][1] == 1
    scores = reference.score(model, data, data, data, HERE)
    assert {scores[name] for name in ("retain_acc", "forget_acc", "test_acc")} == {100}
    assert 0 <= scores["mia_entropy"] <= 100


def test_every_stage_is_timed() -> None:
    images, labels = random_images()
    common = {"epochs": 1, "batch_size": 16, "workers": 0}
    trained = reference.train_and_score("small_cnn", images, labels, images, labels, **common)
    unlearned = reference.unlearn_and_score(small_model(), images, labels, images, labels, FORGET, **common)
    assert trained.keys() == {"train", "score"}
    assert unlearned.keys() == {"hybrids", "train", "score"}
    assert min(*trained.values(), *unlearned.values()) > 0


def test_the_script_prints_a_line_per_stage(capsys: pytest.CaptureFixture[str]) -> None:
    reference.main(["--images", "40", "--model", "small_cnn", "--workers", "0"])
    printed = capsys.readouterr().out.splitlines()[1:]
    stages = [tuple(line.split()[:2]) for line in printed]
    assert stages == [
        ("train", "train"), ("train", "score"), ("unlearn", "hybrids"), ("unlearn", "train"), ("unlearn", "score")
    ]  # fmt: skip
    assert all(line.endswith("images/s") for line in printed)
