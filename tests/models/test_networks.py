"""Architectures: sizes against closed forms, shapes of images in and logits out, normalisation."""

import math

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn.functional import conv2d, cross_entropy

from natmu.errors import ModelError
from natmu.models import VGG, FastCNN, Normalize, ResNet, SmallCNN, ViT, models
from natmu.models.fast import CHANNELS, NEIGHBOURS, Whitening, whitening
from natmu.models.resnet import Bottleneck
from natmu.models.vit import patch_size

NAMES = [info.name for info in models()]
SMALLEST = {info.name: info.min_size for info in models()}
SMALL = ["small_cnn", "small_resnet", "small_vit", "fast_cnn"]

# Simonyan and Zisserman, Table 1, columns A, B, D, E: a number is a 3 x 3 convolution of that width, M a max-pool.
VGG_LISTS = {
    "vgg11": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "vgg13": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
# Blocks per stage: He et al., Table 1.
RESNET_LISTS = {
    "resnet18": ([2, 2, 2, 2], 64),
    "resnet34": ([3, 4, 6, 3], 64),
    "resnet50": ([3, 4, 6, 3], 64),
    "small_resnet": ([1, 1, 1, 1], 32),
}
PUBLISHED = {
    "vgg11": 9_231_114,
    "vgg13": 9_416_010,
    "vgg16": 14_728_266,
    "vgg19": 20_040_522,
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "resnet50": 23_520_842,
}


def conv_bn(channels, width, kernel, bias=0):
    """Weights of a convolution, and scale and shift of its batch normalisation."""
    return channels * width * kernel**2 + bias * width + 2 * width


def vgg_count(layers):
    total, channels = 0, 3
    for width in (int(layer) for layer in layers.split() if layer != "M"):
        total, channels = total + conv_bn(channels, width, 3, bias=1), width
    return total + 512 * 10 + 10


def resnet_count(blocks, stem, bottleneck):
    expansion = 4 if bottleneck else 1
    total, channels = conv_bn(3, stem, 3), stem
    for stage, count in enumerate(blocks):
        width = stem * 2**stage
        for block in range(count):
            if bottleneck:
                total += conv_bn(channels, width, 1) + conv_bn(width, width, 3) + conv_bn(width, 4 * width, 1)
            else:
                total += conv_bn(channels, width, 3) + conv_bn(width, width, 3)
            strided = stage > 0 and block == 0
            if strided or channels != expansion * width:
                total += conv_bn(channels, expansion * width, 1)
            channels = expansion * width
    return total + channels * 10 + 10


def vit_count(width=192, depth=6, patch=4, size=32):
    tokens = (size // patch) ** 2 + 1
    embedding = 3 * patch**2 * width + width + tokens * width + width  # patches, positions, class token
    attention = (3 * width * width + 3 * width) + (width * width + width)
    perceptron = (4 * width * width + 4 * width) + (4 * width * width + width)
    norm = 2 * width
    return embedding + depth * (attention + perceptron + 2 * norm) + norm + width * 10 + 10


def fast_count(widths=(32, 128, 256)):
    total, channels = 0, 24  # twelve values of a patch, with both signs; these filters are no parameters
    for width in widths:
        total, channels = total + conv_bn(channels, width, 3) + conv_bn(width, width, 3), width
    return total + channels * 10 + 10


EXPECTED = {
    **{name: vgg_count(layers) for name, layers in VGG_LISTS.items()},
    **{name: resnet_count(*sizes, bottleneck=name == "resnet50") for name, sizes in RESNET_LISTS.items()},
    "small_cnn": conv_bn(3, 32, 3) + conv_bn(32, 64, 3) + conv_bn(64, 128, 3) + 128 * 10 + 10,
    "small_vit": vit_count(),
    "fast_cnn": fast_count(),
}


def test_every_model_has_the_parameters_of_its_layer_list():
    assert {info.name: info.parameters for info in models()} == EXPECTED


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_by_hand_agree_with_the_published_definitions(name):
    assert EXPECTED[name] == PUBLISHED[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_built_model_holds_what_the_list_says_and_normalises_first(name, build):
    with torch.device("meta"):
        model = build(name)
        assert model(torch.empty(5, 3, 32, 32)).shape == (5, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == EXPECTED[name]
    assert isinstance(next(model.children()), Normalize)


def test_layers_have_the_names_of_checkpoints_from_elsewhere(build):
    """Convolution, norm, rectifier: three places in ``features`` each, and one for a max-pool."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names, place = {"classifier.weight", "classifier.bias", "normalize.mean", "normalize.std"}, 0
    for layer in VGG_LISTS["vgg16"].split():
        if layer != "M":
            names |= {f"features.{place}.weight", f"features.{place}.bias"}
            names |= {f"features.{place + 1}.{name}" for name in norm}
        place += 1 if layer == "M" else 3
    with torch.device("meta"):
        assert build("vgg16").state_dict().keys() == names
        resnet = build("resnet18").state_dict().keys()
    assert {"conv1.weight", "bn1.bias", "layer1.1.conv2.weight", "layer2.0.shortcut.1.weight", "linear.bias"} <= resnet
    assert not any("shortcut" in name for name in resnet if name.startswith("layer1"))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (3, 34, 48)])
@pytest.mark.parametrize("name", [*SMALL, "resnet18", "vgg11"])
def test_logits_have_one_column_per_class_whatever_the_image(name, shape, build):
    if min(shape[1:]) < SMALLEST.get(name, 8):
        pytest.skip("such images are refused")
    with torch.device("meta"):
        model = build(name, shape, num_classes=7)
        assert model(torch.empty(5, *shape)).shape == (5, 7)


@pytest.mark.parametrize("shape", [(1, 10, 10), (3, 32, 32)])
@pytest.mark.parametrize("name", SMALL)
def test_small_models_run_and_every_weight_gets_a_gradient(name, shape, build):
    model = build(name, shape)
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    cross_entropy(model(images), torch.arange(4)).backward()
    assert all(parameter.grad.isfinite().all() and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("info", models(), ids=lambda info: info.name)
def test_the_smallest_image_is_accepted_and_a_smaller_one_refused_in_words(info, build):
    size = info.min_size
    with torch.device("meta"):
        build(info.name, (3, size, size))
        for shape in [(3, size - 1, size), (3, size, size - 1)]:
            with pytest.raises(ModelError, match=f"at least {size} x {size} pixels"):
                build(info.name, shape)


@pytest.mark.parametrize(
    "model",
    [
        VGG(nn.Identity(), (3, 32, 32), 10, (1, 1, 2, 2, 2)),
        ResNet(nn.Identity(), (3, 32, 32), 10, Bottleneck, (1, 1, 1, 1), width=8),
        SmallCNN(nn.Identity(), (3, 32, 32), 10),
        FastCNN(nn.Identity(), (3, 32, 32), 10),
        ViT(nn.Identity(), (3, 32, 32), 10, depth=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_memory_format_and_autocast_change_only_rounding(model):
    model.eval()
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        plain = model(images)
        channels_last = model.to(memory_format=torch.channels_last)(
            images.contiguous(memory_format=torch.channels_last)
        )
        with torch.autocast("cpu", torch.bfloat16):
            mixed = model(images)
    torch.testing.assert_close(channels_last, plain, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mixed.float(), plain, atol=0.05, rtol=0.05)


def test_vgg_averages_what_is_left_of_a_larger_image(build):
    model = build("vgg11", (3, 64, 64)).eval()
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.features(model.normalize(images))
        assert features.shape == (1, 512, 2, 2)
        torch.testing.assert_close(model(images), model.classifier(features.flatten(2).mean(2)))


def test_resnet_keeps_full_resolution_through_the_first_stage(build):
    with torch.device("meta"):
        model = build("resnet18", (3, 64, 64))
        stem = model.bn1(model.conv1(torch.empty(1, 3, 64, 64)))
        assert model.layer1(stem).shape == (1, 64, 64, 64)
        assert model.layer4(model.layer3(model.layer2(model.layer1(stem)))).shape == (1, 512, 8, 8)


@pytest.mark.parametrize(
    ("size", "patch"), [((32, 32), 4), ((28, 28), 4), ((64, 64), 8), ((8, 8), 2), ((21, 42), 3), ((224, 224), 32)]
)
def test_patches_are_as_large_as_leaves_seven_along_a_side(size, patch):
    assert patch_size(*size) == patch


@pytest.mark.parametrize("size", [(31, 31), (32, 33), (9, 9), (15, 8)])
def test_images_that_cannot_be_cut_into_patches_are_refused(size, build):
    with pytest.raises(ModelError, match="even sides"):
        build("small_vit", (3, *size))


def test_patches_see_the_right_pixels(build):
    """A pixel changes the embedding of its own patch and of no other."""
    model = build("small_vit", (1, 8, 8))
    images = torch.zeros(1, 1, 8, 8)
    changed = images.clone()
    changed[0, 0, 3, 6] = 1  # row 3 is in the second row of patches, column 6 in the last column
    moved = (model.patches(changed) - model.patches(images)).abs().sum(dim=1)[0]
    assert moved.nonzero().tolist() == [[1, 3]]


class TestNormalize:
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)

    def test_is_the_formula_channel_by_channel(self):
        images = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
        out = Normalize(self.mean, self.std)(images)
        for channel in range(3):
            expected = (images[:, channel] - self.mean[channel]) / self.std[channel]
            torch.testing.assert_close(out[:, channel], expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
    def test_keeps_type_and_memory_format(self, dtype, memory_format):
        images = torch.zeros(2, 3, 6, 6, dtype=dtype).to(memory_format=memory_format)
        out = Normalize(self.mean, self.std).to(memory_format=memory_format)(images)
        assert out.dtype is dtype
        assert out.is_contiguous(memory_format=memory_format)

    def test_is_saved_with_the_model_but_not_trained(self):
        layer = Normalize(self.mean, self.std)
        assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
            "mean": (1, 3, 1, 1),
            "std": (1, 3, 1, 1),
        }
        assert not list(layer.parameters())

    def test_refuses_images_of_integers(self):
        with pytest.raises(ModelError, match="divide them by 255"):
            Normalize(self.mean, self.std)(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))

    @pytest.mark.parametrize(
        ("mean", "std"),
        [((), ()), ((0.5,), (0.2, 0.2)), ((0.5,), (0.0,)), ((0.5,), (-1.0,)), ((float("nan"),), (1.0,))],
    )
    def test_refuses_impossible_statistics(self, mean, std):
        with pytest.raises(ModelError, match="one positive deviation per channel"):
            Normalize(mean, std)

    def test_prints_its_channels(self):
        assert repr(Normalize(self.mean, self.std)) == "Normalize(channels=3)"


def test_convolutions_of_vgg_have_biases_and_those_of_the_others_none(build):
    with torch.device("meta"):
        for name in NAMES:
            convolutions = [m for m in build(name).modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
            assert all((conv.bias is not None) == name.startswith("vgg") for conv in convolutions)


def test_basic_block_is_two_convolutions_and_a_shortcut(build):
    """The residual sum written out, against the block."""
    block = build("small_resnet").layer2[0].eval()
    features = torch.rand(1, 32, 6, 6, generator=torch.Generator().manual_seed(0))

    def norm(x, bn):
        shape = (1, -1, 1, 1)
        scaled = (x - bn.running_mean.view(shape)) / (bn.running_var.view(shape) + bn.eps).sqrt()
        return scaled * bn.weight.view(shape) + bn.bias.view(shape)

    hidden = norm(conv2d(features, block.conv1.weight, stride=2, padding=1), block.bn1).clamp(min=0)
    hidden = norm(conv2d(hidden, block.conv2.weight, padding=1), block.bn2)
    shortcut = norm(conv2d(features, block.shortcut[0].weight, stride=2), block.shortcut[1])
    torch.testing.assert_close(block(features), (hidden + shortcut).clamp(min=0))


def values_of_a_patch(channels):
    return [(channel, row, column) for channel in range(channels) for row in range(2) for column in range(2)]


@pytest.mark.parametrize("channels", [1, 3])
def test_whitening_turns_the_covariance_of_its_model_of_images_into_the_identity(channels):
    filters = whitening(channels)
    half = len(filters) // 2
    assert torch.equal(filters[half:], -filters[:half])
    rows = filters[:half].flatten(1).double()
    places = values_of_a_patch(channels)
    expected = torch.zeros(half, half, dtype=torch.float64)
    for i in range(half):
        for j in range(half):
            for a, (channel, row, column) in enumerate(places):
                for b, (other, down, right) in enumerate(places):
                    colour = 1 if channel == other else CHANNELS
                    covariance = colour * NEIGHBOURS ** math.hypot(row - down, column - right)
                    expected[i, j] += rows[i, a] * covariance * rows[j, b]
    torch.testing.assert_close(expected, torch.eye(half, dtype=torch.float64), atol=1e-4, rtol=0)


def test_whitening_evens_out_the_variances_of_photographs():
    """Largest over smallest variance of the filters' outputs, beside that of the patches' own principal directions."""
    for photograph in load_sample_images().images:
        images = torch.from_numpy(photograph[::4, ::4].copy()).permute(2, 0, 1).unsqueeze(0).float() / 255
        images = (images - images.mean((2, 3), keepdim=True)) / images.std((2, 3), keepdim=True)
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5).reshape(-1, 12)
        spread = torch.linalg.eigvalsh(patches.T.cov())
        variances = Whitening(3)(images)[0, :12].flatten(1).var(dim=1)
        assert spread[-1] / spread[0] > 20 * variances.max() / variances.min()


def test_whitening_is_a_constant_of_the_model(build):
    model = build("fast_cnn")
    assert torch.equal(model.state_dict()["whitening.weight"], whitening(3))
    assert not list(model.whitening.parameters())
    assert torch.equal(build("fast_cnn", seed=1).whitening.weight, model.whitening.weight)


def test_convolutions_of_fast_cnn_begin_by_passing_their_input_on(build):
    """The first filters are the identity, so that their output is the input, whatever else was drawn."""
    layer = build("fast_cnn", seed=5).blocks[1].conv1
    features = torch.rand(2, 32, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(features)[:, :32], features)
    assert layer.weight[32:].std() > 0.01
