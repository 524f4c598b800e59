"""The convolution of small maps against torch's: in float64 what is computed, in bf16 how it is rounded."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch.nn import functional
from torch.nn.utils import skip_init
from torch.testing import assert_close

from natmu.models import convolution
from natmu.models.convolution import Conv2d, products_up_to
from natmu.records.precision import NEVER, ProductLimits

EPS = torch.finfo(torch.bfloat16).eps
OUTPUTS, INPUT_GRADIENT, WEIGHT_GRADIENT = WAYS = (
    "outputs_by_products",
    "input_gradient_by_products",
    "weight_gradient_by_products",
)
LIMITS = ProductLimits(outputs=16, input_gradients=16, weight_gradients=64)
FORMATS = st.sampled_from([torch.contiguous_format, torch.channels_last])
SHAPES = st.tuples(*(st.integers(1, most) for most in (3, 4, 4, 10, 10)))  # batch, channels in and out, height, width
# Height, width, stride: maps of 16 pixels and of more, of 64 and of more; the last of each pair has odd sides.
SIDES_OF_LIMITS = [(4, 4, 1), (1, 17, 1), (8, 8, 1), (5, 13, 1), (8, 8, 2), (7, 9, 2), (16, 16, 2), (17, 17, 2)]


@pytest.fixture(autouse=True, scope="module")
def limits():
    """The limits of all tests here that set no others."""
    with products_up_to(LIMITS):
        yield


def draw(*shape, seed=0, dtype=torch.float64):
    """Normal numbers that bf16 holds exactly."""
    numbers = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return numbers.bfloat16().to(dtype)


def layer(kind, channels, outputs, dtype=torch.float32, **changed):
    """A 3 x 3 convolution with padding 1, unless changed; the same weights for every kind."""
    conv = skip_init(kind, channels, outputs, **{"kernel_size": 3, "padding": 1, **changed}).to(dtype)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.copy_(draw(*parameter.shape, seed=1))
    return conv


def passes(conv, images, autocast=False, sign=True):
    """The output of a layer, and the gradients of its input and weights for a given gradient of the output."""
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        outputs = conv(images)
    gradient = draw(*outputs.shape, seed=2, dtype=outputs.dtype)
    gradients = torch.autograd.grad(outputs, [images, *conv.parameters()], gradient if sign else gradient.abs())
    return [outputs.detach(), *gradients]


def magnitudes(conv, images):
    """The same passes over absolute values, which bound what is added up anywhere in them."""
    conv = copy.deepcopy(conv)
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.abs_()
    return passes(conv, images.abs(), sign=False)


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype is other.dtype
        assert torch.equal(one, other)


@pytest.fixture
def by_products(monkeypatch):
    """The passes done by products since the last look."""
    calls = []

    def watched(name):
        way = getattr(convolution, name)
        return lambda *arguments: calls.append(name) or way(*arguments)

    def look():
        seen = calls.copy()
        calls.clear()
        return seen

    for name in WAYS:
        monkeypatch.setattr(convolution, name, watched(name))
    return look


class TestFormulas:
    """In float64, where nothing but a mistake makes a difference."""

    @settings(deadline=None)
    @given(SHAPES, st.sampled_from([1, 2, 3]), FORMATS)
    def test_patches_are_those_that_torch_unfolds(self, shape, stride, memory_format):
        batch, channels, _, height, width = shape
        images = draw(batch, channels, height, width).contiguous(memory_format=memory_format)
        patches = convolution.patches(images, stride)
        rows, columns = patches.shape[1:3]
        unfolded = functional.unfold(images, 3, padding=1, stride=stride)
        expected = unfolded.view(batch, channels, 3, 3, rows, columns).permute(0, 4, 5, 2, 3, 1)
        assert torch.equal(patches, expected)
        assert convolution.output_size(images, stride) == (rows, columns)

    @settings(deadline=None)
    @given(SHAPES, st.sampled_from([1, 2, 3]), FORMATS)
    def test_products_are_the_convolution_and_its_gradients(self, shape, stride, memory_format):
        batch, channels, outputs, height, width = shape
        images = draw(batch, channels, height, width).contiguous(memory_format=memory_format).requires_grad_()
        weight = draw(outputs, channels, 3, 3, seed=1).contiguous(memory_format=memory_format).requires_grad_()
        expected = functional.conv2d(images, weight, stride=stride, padding=1)
        gradient = draw(*expected.shape, seed=2).contiguous(memory_format=memory_format)
        to_images, to_weight = torch.autograd.grad(expected, [images, weight], gradient)
        assert_close(convolution.outputs_by_products(images, weight, stride), expected)
        assert_close(convolution.weight_gradient_by_products(gradient, images, stride), to_weight)
        if stride == 1:
            assert_close(convolution.input_gradient_by_products(gradient, weight), to_images)

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("size", [(2, 3), (3, 6), (5, 13)])
    def test_first_and_second_derivatives_are_those_of_finite_differences(self, size, stride):
        inputs = draw(1, 2, *size).requires_grad_(), draw(2, 2, 3, 3, seed=1).requires_grad_()

        def conv(images, weight):
            return convolution._SmallMaps.apply(images, weight, stride, LIMITS)

        with torch.random.fork_rng([]):
            assert gradcheck(conv, inputs)
            assert gradgradcheck(conv, inputs)


class TestRounding:
    """In bf16: products are exact and sums are kept in fp32, so what is left are the roundings of results to bf16.

    One rounding errs by at most half an epsilon of the number. There are two at most, of the sum and of the sum with
    the bias, and both numbers are bounded by the same pass over absolute values, beside which fp32 errs by nothing.
    Where a processor has no bf16 products, torch's own convolution rounds its sums on the way too. A pass may err by as
    much as torch's, element by element, which is no more than two roundings where the processor has them.
    """

    @settings(deadline=None)
    @given(SHAPES, st.sampled_from([1, 2]), st.booleans(), st.booleans(), FORMATS)
    def test_passes_err_by_two_roundings_at_most(self, shape, stride, bias, autocast, memory_format):
        self.check(shape, stride, bias, autocast, memory_format)

    @pytest.mark.parametrize("autocast", [True, False])
    @pytest.mark.parametrize(("height", "width", "stride"), SIDES_OF_LIMITS)
    def test_so_do_they_on_each_side_of_each_limit(self, height, width, stride, autocast):
        self.check((3, 5, 7, height, width), stride, True, autocast, torch.channels_last)

    def check(self, shape, stride, bias, autocast, memory_format):
        batch, channels, outputs, *size = shape
        images = draw(batch, channels, *size).contiguous(memory_format=memory_format)
        exact = layer(nn.Conv2d, channels, outputs, torch.float64, stride=stride, bias=bias)
        dtype = torch.float32 if autocast else torch.bfloat16
        conv = layer(Conv2d, channels, outputs, dtype, stride=stride, bias=bias).to(memory_format=memory_format)
        torchs = layer(nn.Conv2d, channels, outputs, dtype, stride=stride, bias=bias).to(memory_format=memory_format)
        found, by_torch = (passes(each, images.to(dtype), autocast) for each in (conv, torchs))
        assert [one.dtype for one in found] == [torch.bfloat16] + [dtype] * (len(found) - 1)
        for one, other, expected, bound in zip(
            found, by_torch, passes(exact, images), magnitudes(exact, images), strict=True
        ):
            assert one.shape == expected.shape
            theirs = (other - expected).abs().nan_to_num(0)  # it may leave what no pixel touches uninitialised
            assert ((one - expected).abs() <= torch.maximum(EPS * bound, theirs)).all()

    def test_a_few_steps_of_training_stray_no_further_from_fp32_than_torch_does(self):
        """Distances between weights after training; both kinds of bf16 are different roundings of the same."""
        fp32, theirs, ours = trained(nn.Conv2d, False), trained(nn.Conv2d, True), trained(Conv2d, True)
        moved = (fp32 - trained(nn.Conv2d, False, steps=0)).norm()
        assert 0 < (theirs - fp32).norm() < 0.1 * moved
        assert (ours - fp32).norm() < 2 * (theirs - fp32).norm()


def trained(kind, autocast, steps=5):
    """Weights of three small VGG stages (64, 16 and 4 pixels) after a few steps, as one vector."""
    stages = [(3, 8), (8, 16), (16, 16)]
    blocks = [
        part
        for channels, width in stages
        for part in (layer(kind, channels, width), nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    ]
    model = nn.Sequential(*blocks, nn.Flatten())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    images, labels = draw(32, 3, 8, 8, dtype=torch.float32), torch.arange(32) % 16
    for _ in range(steps):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(model.parameters()).detach()


class TestWays:
    """Which passes are done by products, and that all others are torch's to the bit."""

    @pytest.mark.parametrize(
        ("height", "width", "stride", "expected"),
        [
            (1, 1, 1, WAYS),
            (4, 4, 1, WAYS),
            (1, 17, 1, [WEIGHT_GRADIENT]),
            (8, 8, 1, [WEIGHT_GRADIENT]),
            (5, 13, 1, []),
            (8, 8, 2, [OUTPUTS, WEIGHT_GRADIENT]),
            (7, 7, 2, [OUTPUTS, WEIGHT_GRADIENT]),
            (9, 8, 2, [WEIGHT_GRADIENT]),
            (15, 15, 2, [WEIGHT_GRADIENT]),
            (17, 16, 2, []),
        ],
    )
    def test_the_size_of_the_output_decides(self, height, width, stride, expected, by_products):
        passes(layer(Conv2d, 2, 3, torch.bfloat16, stride=stride), draw(2, 2, height, width, dtype=torch.bfloat16))
        assert by_products() == list(expected)

    @pytest.mark.parametrize(
        ("outputs", "input_gradients", "weight_gradients", "expected"),
        [
            (0, 0, 0, []),
            (16, 0, 0, [OUTPUTS]),
            (0, 16, 0, [INPUT_GRADIENT]),
            (0, 0, 16, [WEIGHT_GRADIENT]),
            (15, 16, 15, [INPUT_GRADIENT]),
            (16, 16, 15, [OUTPUTS, INPUT_GRADIENT]),
            (16, 16, 16, WAYS),
        ],
    )
    def test_each_pass_has_its_own_limit(self, outputs, input_gradients, weight_gradients, expected, by_products):
        limits = ProductLimits(outputs=outputs, input_gradients=input_gradients, weight_gradients=weight_gradients)
        conv, images = layer(Conv2d, 4, 3, torch.bfloat16), draw(2, 4, 4, 4, dtype=torch.bfloat16)
        with products_up_to(limits):
            ours = passes(conv, images)
        assert by_products() == list(expected)
        exact = passes(layer(nn.Conv2d, 4, 3, torch.float64), images.double())
        for one, other, bound in zip(
            ours, exact, magnitudes(layer(nn.Conv2d, 4, 3, torch.float64), images.double()), strict=True
        ):
            assert ((one - other).abs() <= EPS * bound).all()

    def test_a_backward_pass_has_the_limits_of_its_forward_pass(self, by_products):
        conv, images = layer(Conv2d, 2, 3, torch.bfloat16), draw(2, 2, 4, 4, dtype=torch.bfloat16)
        outputs = conv(images)
        with products_up_to(NEVER):
            torch.autograd.grad(outputs.sum(), conv.weight)
        assert by_products() == [OUTPUTS, WEIGHT_GRADIENT]

    def test_without_limits_all_is_torchs_to_the_bit(self, by_products):
        ours, theirs = (layer(kind, 2, 3, torch.bfloat16) for kind in (Conv2d, nn.Conv2d))
        images = draw(2, 2, 4, 4, dtype=torch.bfloat16)
        with products_up_to(NEVER):
            found = passes(ours, images)
        assert_same(found, passes(theirs, images))
        assert by_products() == []

    @pytest.mark.parametrize(
        ("frozen", "expected"), [("weight", [OUTPUTS, INPUT_GRADIENT]), ("images", [OUTPUTS, WEIGHT_GRADIENT])]
    )
    def test_only_gradients_that_someone_wants_are_computed(self, frozen, expected, by_products):
        conv = layer(Conv2d, 2, 3, torch.bfloat16, bias=False).requires_grad_(frozen != "weight")
        images = draw(2, 2, 4, 4, dtype=torch.bfloat16).requires_grad_(frozen != "images")
        conv(images).sum().backward()
        assert by_products() == expected
        assert (images.grad is None, conv.weight.grad is None) == (frozen == "images", frozen == "weight")

    @settings(deadline=None)
    @given(SHAPES, st.sampled_from([1, 2]), st.booleans(), st.sampled_from([torch.float32, torch.float64]), FORMATS)
    def test_other_precisions_are_torchs_to_the_bit(self, shape, stride, bias, dtype, memory_format):
        batch, channels, outputs, *size = shape
        images = draw(batch, channels, *size, dtype=dtype).contiguous(memory_format=memory_format)
        ours, theirs = (layer(kind, channels, outputs, dtype, stride=stride, bias=bias) for kind in (Conv2d, nn.Conv2d))
        assert_same(passes(ours, images), passes(theirs, images))

    @pytest.mark.parametrize("autocast", [True, False])
    @pytest.mark.parametrize(
        "changed",
        [
            {"kernel_size": 1, "padding": 0},
            {"kernel_size": 1},
            {"kernel_size": 5},
            {"kernel_size": (3, 1)},
            {"dilation": 2},
            {"groups": 2},
            {"padding": 0},
            {"padding": 2},
            {"padding": "same"},
            {"padding_mode": "reflect"},
            {"stride": (1, 2)},
        ],
        ids=str,
    )
    def test_other_kinds_are_torchs_to_the_bit(self, changed, autocast, by_products):
        dtype = torch.float32 if autocast else torch.bfloat16
        images = draw(2, 4, 4, 4, dtype=dtype)
        ours, theirs = (layer(kind, 4, 6, dtype, **changed) for kind in (Conv2d, nn.Conv2d))
        assert_same(passes(ours, images, autocast), passes(theirs, images, autocast))
        assert by_products() == []

    def test_one_image_without_a_batch_is_torchs_to_the_bit(self, by_products):
        image = draw(4, 4, 4, dtype=torch.bfloat16)
        ours, theirs = (layer(kind, 4, 3, torch.bfloat16) for kind in (Conv2d, nn.Conv2d))
        assert_same(passes(ours, image), passes(theirs, image))
        assert by_products() == []


class TestAutocast:
    def test_takes_fp16_as_well(self, by_products):
        images = draw(2, 2, 4, 4, dtype=torch.float16)
        outputs, *gradients = passes(layer(Conv2d, 2, 3), images, autocast=True)
        assert outputs.dtype is torch.bfloat16
        assert [one.dtype for one in gradients] == [torch.float16, torch.float32, torch.float32]
        assert by_products() == list(WAYS)

    def test_to_fp16_is_torchs(self, by_products):
        images = draw(2, 2, 4, 4, dtype=torch.bfloat16)
        with torch.autocast("cpu", torch.float16):
            ours, theirs = (layer(kind, 2, 3, torch.bfloat16)(images) for kind in (Conv2d, nn.Conv2d))
        assert_same([ours], [theirs])
        assert by_products() == []

    def test_switched_off_inside_is_off(self, by_products):
        images = draw(2, 2, 4, 4, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            ours, theirs = (passes(layer(kind, 2, 3), images) for kind in (Conv2d, nn.Conv2d))
        assert_same(ours, theirs)
        assert by_products() == []

    def test_makes_no_difference_to_a_backward_pass_inside_it(self):
        conv, images = layer(Conv2d, 2, 3), draw(2, 2, 4, 4, dtype=torch.float32)
        with torch.autocast("cpu", torch.bfloat16):
            inside = torch.autograd.grad(conv(images).square().sum(), list(conv.parameters()))
            loss = conv(images).square().sum()
        assert_same(inside, torch.autograd.grad(loss, list(conv.parameters())))


REFUSED = {
    "float64 under autocast": (draw(2, 2, 4, 4), torch.float32, True),
    "float64 weights under autocast": (draw(2, 2, 4, 4, dtype=torch.float32), torch.float64, True),
    "integers under autocast": (torch.ones(2, 2, 4, 4, dtype=torch.int32), torch.float32, True),
    "fp32 weights without autocast": (draw(2, 2, 4, 4, dtype=torch.bfloat16), torch.float32, False),
    "too many channels": (draw(2, 3, 4, 4, dtype=torch.bfloat16), torch.bfloat16, False),
    "no pixels": (draw(2, 2, 0, 4, dtype=torch.bfloat16), torch.bfloat16, False),
    "too few dimensions": (draw(4, 4, dtype=torch.bfloat16), torch.bfloat16, False),
}


@pytest.mark.parametrize(("images", "dtype", "autocast"), REFUSED.values(), ids=REFUSED)
def test_what_torch_refuses_is_refused_in_its_words(images, dtype, autocast):
    ours, theirs = (layer(kind, 2, 3, dtype) for kind in (Conv2d, nn.Conv2d))
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert refusal(ours, images) == refusal(theirs, images)


def test_a_bias_of_another_type_is_refused_in_torchs_words():
    kinds = [layer(kind, 2, 3, torch.bfloat16) for kind in (Conv2d, nn.Conv2d)]
    for conv in kinds:
        conv.bias = nn.Parameter(conv.bias.float())
    ours, theirs = (refusal(conv, draw(2, 2, 4, 4, dtype=torch.bfloat16)) for conv in kinds)
    assert ours == theirs


def refusal(conv, images):
    with pytest.raises(RuntimeError) as error:
        conv(images)
    return str(error.value)


@pytest.mark.parametrize(("height", "width", "stride"), SIDES_OF_LIMITS)
@pytest.mark.parametrize("bias", [True, False])
def test_maps_and_gradients_of_channels_last_images_are_channels_last(height, width, stride, bias):
    images = draw(2, 2, height, width, dtype=torch.bfloat16).contiguous(memory_format=torch.channels_last)
    conv = layer(Conv2d, 2, 3, torch.bfloat16, stride=stride, bias=bias).to(memory_format=torch.channels_last)
    outputs, to_images, to_weight = passes(conv, images)[:3]
    for maps in (outputs, to_images, to_weight):
        assert maps.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("autocast", [True, False])
def test_no_images_make_no_maps_and_gradients_of_zero(autocast):
    dtype = torch.float32 if autocast else torch.bfloat16
    conv = layer(Conv2d, 2, 3, dtype, stride=2)
    outputs, to_images, to_weight, to_bias = passes(conv, draw(0, 2, 5, 4, dtype=dtype), autocast)
    assert outputs.shape == (0, 3, 3, 2)
    assert to_images.shape == (0, 2, 5, 4)
    assert_same([to_weight, to_bias], [torch.zeros_like(conv.weight), torch.zeros_like(conv.bias)])


@pytest.mark.parametrize("size", [4, 6, 9])
def test_the_next_layer_may_change_the_maps_in_place(size):
    conv, images = layer(Conv2d, 2, 3, torch.bfloat16, bias=False), draw(2, 2, size, size, dtype=torch.bfloat16)
    gradients = [torch.autograd.grad(relu(conv(images)).sum(), conv.weight) for relu in (torch.relu, torch.relu_)]
    assert_same(*gradients)


@pytest.mark.parametrize("size", [4, 6, 9])
def test_gradients_per_sample_by_vmap_are_those_of_one_image_at_a_time(size):
    model = nn.Sequential(layer(Conv2d, 2, 3), nn.ReLU(), layer(Conv2d, 3, 4, stride=2, bias=False))
    weights, images = dict(model.named_parameters()), draw(5, 2, size, size, dtype=torch.float32)

    def loss(weights, image):
        with torch.autocast("cpu", torch.bfloat16):
            return functional_call(model, weights, image[None]).float().square().sum()

    each = [torch.autograd.grad(loss(weights, image), list(weights.values())) for image in images]
    for found, *expected in zip(vmap(grad(loss), (None, 0))(weights, images).values(), *each, strict=True):
        assert_close(found, torch.stack(expected), rtol=0, atol=4 * EPS * found.abs().max().item())


def test_weights_move_between_the_two_kinds():
    ours, theirs = layer(Conv2d, 2, 3), skip_init(nn.Conv2d, 2, 3, 3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert isinstance(ours, nn.Conv2d)
    assert repr(ours) == repr(theirs)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda conv: pickle.loads(pickle.dumps(conv))])
def test_copies_answer_the_same_and_are_separate(twin):
    conv, images = layer(Conv2d, 2, 3, torch.bfloat16), draw(2, 2, 4, 4, dtype=torch.bfloat16)
    copied = twin(conv)
    assert_same(passes(copied, images), passes(conv, images))
    nn.init.zeros_(copied.weight)
    assert conv.weight.all()


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_answers_are_the_same(mode):
    conv, images = layer(Conv2d, 2, 3, torch.bfloat16), draw(2, 2, 4, 4, dtype=torch.bfloat16)
    with mode():
        outputs = conv(images)
    assert not outputs.requires_grad
    assert_same([outputs], [conv(images).detach()])
