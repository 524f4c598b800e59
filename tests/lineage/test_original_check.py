"""An original whose weights were trained on another form of the images is refused, by the name of that form."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

import natmu
from natmu.data import ImageData
from natmu.engine.compute import Compute
from natmu.engine.input_forms import predicted_by_form
from natmu.errors import ModelError
from natmu.models.layers import Normalize

CPU = Compute.choose("cpu", "fp32")
COLOURS = torch.tensor([[0.9, 0.2, 0.1], [0.1, 0.2, 0.9], [0.2, 0.9, 0.4], [0.6, 0.6, 0.6]])
"""The colour of each class; the first two change places where red and blue do."""
INVERSE = {
    "colour order (blue, green, red)": lambda x: x.flip(1),
    "normalisation by mean 0.5 and std 0.5": lambda x: x * 0.5 + 0.5,
    "normalisation of ImageNet": lambda x: (
        x * torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1) + torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    ),
    "pixels of 0 to 255": lambda x: x / 255,
}


class ByColour(nn.Module):
    """Right on images of its form, by the nearest of the four colours."""

    def __init__(self, inverse, layer=None):
        super().__init__()
        self.layer = layer or nn.Identity()
        self.inverse = inverse
        self.centres = nn.Parameter(COLOURS.clone())

    def forward(self, images):
        """Minus a hundred times the squared distance to each colour."""
        means = self.inverse(self.layer(images)).mean((2, 3))
        return -100 * (means[:, None] - self.centres).square().sum(2)


@pytest.fixture(scope="module")
def data():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    images = COLOURS[labels].view(400, 3, 1, 1) + 0.03 * torch.randn(400, 3, 4, 4, generator=rng)
    return ImageData((images.clamp(0, 1) * 255).byte(), labels, ("red", "blue", "green", "grey"))


@pytest.mark.parametrize("layer", [None, Normalize((0.4, 0.4, 0.5), (0.2, 0.3, 0.25))], ids=["bare", "normalised"])
def test_the_weights_see_each_form_in_place_of_the_layer(data, layer):
    seen = []
    model = ByColour(lambda x: seen.append(x) or x, layer)
    own, others = predicted_by_form(model, data, torch.arange(64), CPU)
    images = data.images[:64] / 255
    forms = {form.split(" (--")[0]: images for form, images in zip(others, seen[1:], strict=True)}
    assert forms.keys() >= INVERSE.keys()
    for form, undo in INVERSE.items():
        body = forms[form] if layer is None or "colour" not in form else forms[form] * layer.std + layer.mean
        torch.testing.assert_close(undo(body), images, atol=1e-5, rtol=0)
    if layer is None:
        whitened = forms["normalisation (the data's own mean and std)"]
        torch.testing.assert_close(whitened.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(whitened.std((0, 2, 3)), torch.ones(3))
        assert (own == data.labels[:64].numpy()).all()
    else:
        torch.testing.assert_close(forms["no normalisation"], images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("form", INVERSE)
def test_unlearning_from_weights_of_another_form_names_it_before_anything_is_trained(data, form):
    model = ByColour(INVERSE[form])
    with pytest.raises(ModelError, match=rf"{form.split(' (')[0]}.* right on 100.0 % instead of .* --force") as refusal:
        natmu.unlearn(model, data, [0, 4], "finetune", device="cpu", precision="fp32", progress=False)
    assert "class order" not in str(refusal.value) or "colour" in form
    assert torch.equal(model.centres, COLOURS)


@pytest.mark.parametrize(
    ("form", "flags"),
    [
        (
            "normalisation of ImageNet",
            "(--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225, in Python mean=[0.485, 0.456, 0.406], "
            "std=[0.229, 0.224, 0.225])",
        ),
        (
            "normalisation by mean 0.5 and std 0.5",
            "(--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5, in Python mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])",
        ),
        ("pixels of 0 to 255", "(--mean 0,0,0 --std 0.00392157,0.00392157,0.00392157, in Python mean=[0, 0, 0], std="),
    ],
)
def test_what_is_advised_against_another_normalisation_mends_it(data, form, flags):
    """The flags in the refusal, given as they are written there, make the same model fit."""
    model, given = ByColour(INVERSE[form]), {"device": "cpu", "precision": "fp32", "progress": False}
    with pytest.raises(ModelError) as refusal:
        natmu.unlearn(model, data, [0, 4], "finetune", **given)
    assert f"{form} {flags}" in str(refusal.value)
    mean, std = (json.loads(re.search(rf"{name}=(\[[^]]*\])", str(refusal.value))[1]) for name in ("mean", "std"))
    done = natmu.unlearn(model, data, [0, 4], "grad_ascent", epochs=1, lr=1e-9, mean=mean, std=std, **given)
    assert done.check.accuracies["train_acc"] == 100


def test_an_honest_original_is_printed_and_predicted_once(data, capsys):
    model, seen = ByColour(lambda x: x), []
    model.layer.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    done = natmu.unlearn(
        model, data, "hardest:10%:loss", "grad_ascent", epochs=1, lr=1e-6, device="cpu", precision="fp32"
    )
    assert [count for count in seen if count > 2] == [400, 40], "its predictions, and the one epoch"
    assert done.check.accuracies == {"train_acc": 100, "forget_acc": 100}
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("original: right on 100.0 % of training data, 100.0 % of forget set (chance 25.0 %)")


def test_force_goes_on_and_says_why_not(data, capsys):
    model = ByColour(INVERSE["pixels of 0 to 255"])
    given = {"lr": 1e-6, "epochs": 1, "device": "cpu", "precision": "fp32"}
    done = natmu.unlearn(model, data, np.array([0]), "grad_ascent", force=True, **given)
    assert done.check.causes
    assert "does not seem to fit: pixels of 0 to 255" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ModelError, match="pixels of 0 to 255"):
        natmu.audit(done.model, data, data, [0], original=model, device="cpu", precision="fp32", progress=False)
