"""The list of models, build_model, and what must hold of the package as a whole."""

import subprocess
import sys

import pytest
import torch

from natmu.errors import ModelError
from natmu.models import build_model, models

NAMES = [info.name for info in models()]


def same(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_list_is_complete_and_described():
    assert set(NAMES) == {
        "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "small_vit", "small_cnn",
        "small_resnet", "fast_cnn",
    }  # fmt: skip
    for info in models():
        assert info.description
        assert info.parameters > 0
        assert info.paper.startswith("https://arxiv.org/abs/") or info.name == "small_cnn"
        assert info.min_size == (32 if info.name.startswith("vgg") else 9 if info.name == "fast_cnn" else 8)


@pytest.mark.parametrize("name", ["small_cnn", "fast_cnn", "small_resnet", "small_vit"])
def test_initial_weights_depend_on_the_seed_alone(name, build):
    with torch.random.fork_rng(devices=[]):
        first = build(name, seed=3)
        torch.rand(7)
        assert same(first, build(name, seed=3))
    assert not same(first, build(name, seed=4))


def test_normalisation_holds_the_given_statistics():
    model = build_model("small_cnn", num_classes=10, image_shape=(3, 8, 8), mean=[0.1, 0.2, 0.3], std=[1, 2, 3], seed=0)
    torch.testing.assert_close(model.normalize.mean.flatten(), torch.tensor([0.1, 0.2, 0.3]))
    torch.testing.assert_close(model.normalize.std.flatten(), torch.tensor([1.0, 2.0, 3.0]))


@pytest.mark.parametrize(("wrong", "meant"), [("resnet81", "resnet18"), ("VGG16", "vgg16"), ("smallcnn", "small_cnn")])
def test_an_unknown_name_is_answered_with_the_closest_and_the_list(wrong, meant, build):
    with pytest.raises(ModelError, match=f"did you mean {meant}") as caught:
        build(wrong)
    assert all(name in str(caught.value) for name in NAMES)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_classes": 1}, "at least 2 classes"),
        ({"image_shape": (3, 0, 8)}, "at least one pixel"),
        ({"mean": [0.5], "std": [0.2]}, "3 channels"),
        ({"std": [0.2, 0.2]}, "per channel"),
        ({"std": [0.2, 0.2, 0.0]}, "positive deviation"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(changes, words):
    fitting = {"num_classes": 10, "image_shape": (3, 8, 8), "mean": [0.5] * 3, "std": [0.2] * 3, "seed": 0}
    with pytest.raises(ModelError, match=words):
        build_model("small_cnn", **{**fitting, **changes})


def test_models_work_with_a_broken_torchvision(tmp_path):
    """Whoever imports it, guarded against its absence or not, fails here."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('torchvision::nms does not exist')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import natmu.models as m; m.models(); "
        "m.build_model('small_cnn', num_classes=3, image_shape=(1, 8, 8), mean=[0.5], std=[0.5], seed=0)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
