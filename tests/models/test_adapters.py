"""Models that return something else than a tensor of logits, and the way back to what was given."""

import copy

import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.models import adapted, unadapted
from natmu.models.adapters import Adapted

SHAPE = (3, 4, 4)
NOISE = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(7))


class Returning(nn.Module):
    """A linear classifier that hands its logits to a function, with itself."""

    def __init__(self, form=lambda logits, _: logits, classes=3):
        super().__init__()
        self.flatten = nn.Flatten()
        self.head = nn.Linear(48, classes)
        generator = torch.Generator().manual_seed(classes)
        with torch.no_grad():
            for parameter in self.head.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.form = form

    def logits(self, images):
        return self.head(self.flatten(images))

    def forward(self, images):
        return self.form(self.logits(images), self)


class Answer(dict):
    """A mapping whose entries are attributes, as those of transformers are."""

    __getattr__ = dict.__getitem__


def scored(logits):
    """What a mapping holds beside the logits."""
    return {"features": logits[:, :2], "scores": logits}


@pytest.fixture
def linear():
    with torch.random.fork_rng(devices=[]):
        return Returning()


def adapt(model, num_classes=3, **options):
    return adapted(model, num_classes=num_classes, image_shape=SHAPE, **options)


@pytest.mark.parametrize(
    "form",
    [
        lambda logits, _: Answer(loss=None, logits=logits),
        lambda logits, _: scored(logits),
        lambda logits, _: {"logits": logits, "auxiliary": logits + 1},
        lambda logits, _: (logits[:, :2], logits),
        lambda logits, model: (logits, logits + 1, logits + 2) if model.training else logits,
        lambda logits, model: [logits, None] if model.training else scored(logits),
    ],
)
def test_logits_are_found_in_what_a_model_returns(form):
    with torch.random.fork_rng(devices=[]):
        model = Returning(form)
    served = adapt(model)
    for training in (False, True):
        assert torch.equal(served.train(training)(NOISE), model.logits(NOISE))
    assert unadapted(served) is model
    assert adapt(served) is served


def test_a_plain_model_is_left_alone_and_a_wrapper_of_processes_taken_off(linear):
    assert adapt(linear) is linear
    assert unadapted(linear) is linear
    with torch.random.fork_rng(devices=[]):
        softened = nn.Sequential(linear, nn.LogSoftmax(dim=1))
    assert adapt(softened) is softened
    parallel = nn.DataParallel(linear)
    assert adapt(parallel) is parallel
    of_processes = nn.Module.__new__(nn.parallel.DistributedDataParallel)  # its own construction needs processes
    nn.Module.__init__(of_processes)
    of_processes.module = linear
    assert adapt(of_processes) is linear


@pytest.mark.parametrize("form", [lambda z, _: z, lambda z, _: z.squeeze(1), lambda z, _: Answer(logits=z)])
def test_one_logit_becomes_two_whose_softmax_is_its_sigmoid(form):
    with torch.random.fork_rng(devices=[]):
        model = Returning(form, classes=1)
    logits = adapt(model, num_classes=2)(NOISE)
    second = torch.sigmoid(model.logits(NOISE).squeeze(1).double()).float()
    torch.testing.assert_close(logits.softmax(1), torch.stack([1 - second, second], dim=1))
    torch.testing.assert_close(logits.sum(1), torch.zeros(5))
    with pytest.raises(ModelError, match=r"returns .* one per class"):
        adapt(model, num_classes=3)


def test_probabilities_are_refused_or_taken_as_their_logarithm():
    forms = {
        3: lambda z, _: z.softmax(1),
        1: lambda z, _: z.sigmoid().squeeze(1),
    }
    for outputs, form in forms.items():
        classes = max(outputs, 2)
        with torch.random.fork_rng(devices=[]):
            model = Returning(form, classes=outputs)
        with pytest.raises(ModelError, match=r"returns probabilities.*outputs='probabilities'"):
            adapt(model, num_classes=classes)
        served = adapt(model, num_classes=classes, outputs="probabilities")
        z = model.logits(NOISE)
        expected = z.softmax(1) if outputs == 3 else torch.cat([torch.sigmoid(-z), torch.sigmoid(z)], dim=1)
        torch.testing.assert_close(served(NOISE).exp(), expected, rtol=1e-4, atol=1e-6)
        served(1e4 * NOISE).sum().backward()  # where probabilities are 0 and 1 to the last digit
        assert all(p.grad.isfinite().all() for p in model.parameters())


def test_numbers_that_are_no_logits_are_explained():
    def refused(form, words, num_classes=3, **options):
        with torch.random.fork_rng(devices=[]):
            model = Returning(form, classes=num_classes)
        with pytest.raises(ModelError, match=words):
            adapt(model, num_classes, **options)

    refused(lambda z, _: z.sigmoid(), "sigmoid for each class")
    refused(lambda z, _: z, "does not return probabilities", outputs="probabilities")
    refused(lambda z, _: z.masked_fill(torch.tensor([False, True, False]), -torch.inf), "-inf for class 1.*-1e4")
    refused(lambda z, _: {"a": z, "b": z}, "returns dict of shapes .* name it logits")
    refused(lambda z, _: z[:, :2], "build it with 3 outputs, or give the data of its 2 classes")
    refused(lambda z, m: {"a": z, "n": z.sum()} if m.training else {"b": z}, "'b' in eval mode and as 'a' in training")


def test_what_cannot_be_served_says_what_to_change(linear):
    with pytest.warns(DeprecationWarning, match="trace"):
        scripted = torch.jit.trace(linear, NOISE, check_trace=False)
    with pytest.raises(ModelError, match=r"TorchScript.*load_state_dict"):
        adapt(scripted)
    with torch.random.fork_rng(devices=[]):
        grey = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3))
        large = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(128, 3))
    with pytest.raises(ModelError, match=r"takes 1 channels and these have 3: --channels 1"):
        adapt(grey)
    with pytest.raises(ModelError, match="--image-size"):
        adapt(large)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.bfloat16])
def test_weights_in_another_precision_are_computed_with_in_float32_and_handed_back_in_theirs(dtype, linear):
    given = copy.deepcopy(linear).to(dtype)
    served = adapt(given)
    assert served(NOISE).dtype is torch.float32
    assert given.head.weight.dtype is dtype
    with torch.no_grad():
        served.network.head.bias += 1
    back = unadapted(served)
    assert {p.dtype for p in back.parameters()} == {dtype}
    torch.testing.assert_close(back.head.bias, given.head.bias + 1)
    assert back.state_dict().keys() == given.state_dict().keys()


def test_normalisation_goes_in_front_and_comes_off(linear):
    served = adapt(linear, mean=(0.5, 0.25, 0.125), std=(1.0, 2.0, 4.0))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in [(0.5, 0.25, 0.125), (1.0, 2.0, 4.0)])
    torch.testing.assert_close(served(NOISE), linear((NOISE - mean) / std))
    assert isinstance(served, Adapted)
    assert unadapted(served) is linear
    with pytest.raises(ModelError, match="as many means"):
        adapt(linear, mean=(0.5,), std=(1.0,))
