"""Models of the user's own, from package.module:factory."""

import sys
from itertools import count

import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.models import adapted

GOOD = """
import torch
from torch import nn

def net(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, num_classes))

def any_keywords(**settings):
    return net(**settings)

def ten():
    return net()

class Classifier(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.net = net(num_classes)

    def forward(self, images):
        return self.net(images)
"""
BAD = """
import torch
from torch import nn
number = 3

def needs_more(width, num_classes):
    return nn.Linear(width, num_classes)

def fails(num_classes):
    raise TypeError("no such layer")

def not_a_module():
    return {"state_dict": {}}

def wrong_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 11))

def wrong_images():
    return nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))

def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))

class Answers(nn.Module):
    def forward(self, images):
        return {"logits": images}

def returns_a_dict():
    return Answers()
"""
_serial = count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module with a name of its own into a fresh current directory."""
    monkeypatch.chdir(tmp_path)

    def write(source):
        name = f"users_nets_{next(_serial)}"
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


@pytest.mark.parametrize("factory", ["net", "any_keywords", "ten", "Classifier"])
def test_a_factory_in_the_current_directory_is_used_as_it_is(factory, module, build):
    path = list(sys.path)
    model = build(f"{module(GOOD)}:{factory}", (3, 8, 8))
    assert model(torch.zeros(4, 3, 8, 8)).shape == (4, 10)
    assert model.training
    assert not any("normalize" in name for name, _ in model.named_modules())
    assert sys.path == path


def test_the_number_of_classes_is_passed_on(module, build):
    assert build(f"{module(GOOD)}:net", (3, 8, 8), num_classes=7)[1].out_features == 7


def test_a_module_in_a_package_is_found(tmp_path, monkeypatch, build):
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert build("users_package.nets:net", (3, 8, 8))[1].out_features == 10


def test_weights_depend_on_the_seed_alone(module, build):
    name = f"{module(GOOD)}:net"
    first, again, other = (build(name, (3, 8, 8), seed=seed)[1].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("missing", "cannot be imported .*no attribute 'missing'"),
        ("", "failed .*not callable"),
        ("number", "failed .*not callable"),
        ("needs_more", "failed .*missing 2 required positional arguments"),
        ("fails", "failed .*no such layer"),
        ("not_a_module", "returned dict: it must return a torch.nn.Module"),
        ("wrong_classes", r"shape \(2, 11\) for two images: .* shape \(2, 10\)"),
        ("wrong_images", r"failed on a batch of shape \(2, 3, 8, 8\)"),
        ("lazy", "lazy layers"),
        ("returns_a_dict", r"returns dict of shapes \(2, 3, 8, 8\) for two images"),
    ],
)
def test_a_factory_that_cannot_serve_is_explained_in_one_sentence(factory, words, module, build):
    with pytest.raises(ModelError, match=words) as caught:
        build(f"{module(BAD)}:{factory}", (3, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["no_such_module:net", "no.such.package:net", ":net", "a b:net", "a:b:c", ":"])
def test_names_that_lead_nowhere_are_explained(name, build):
    with pytest.raises(ModelError, match=r"write package.module:factory"):
        build(name)


def test_a_file_in_place_of_a_module_is_recognised(module, build):
    name = module(GOOD)
    with pytest.raises(ModelError, match=f"write {name}:net, with"):
        build(f"{name}.py:net", (3, 8, 8))


@pytest.mark.parametrize("source", ["def net(:", "import no_such_dependency", "1 / 0", "undefined"])
def test_a_module_that_cannot_be_imported_is_explained(source, module, build):
    with pytest.raises(ModelError, match="cannot be imported"):
        build(f"{module(source)}:net")


def test_the_check_changes_neither_weights_nor_statistics_nor_modes():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.tensor(0))

        def forward(self, images):
            self.calls += 1
            return images * torch.rand(1)

    with torch.random.fork_rng(devices=[]):
        model = nn.Sequential(Counter(), nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(48, 4))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert adapted(model, num_classes=4, image_shape=(3, 4, 4)) is model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [layer.training for layer in model] == [True, False, True, True, True]


def test_a_model_without_parameters_can_fit():
    adapted(nn.Flatten(), num_classes=4, image_shape=(1, 2, 2))
