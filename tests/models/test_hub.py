"""Models of timm, torchvision and transformers, small ones with random weights."""

import json
import sys

import pytest
import torch
import torch.nn.functional as functional
from tests.vision import operators

from natmu.errors import ModelError
from natmu.models import adapted, build_model, load_weights, preprocessing_of, source_digest, unadapted
from natmu.models.preprocessing import Preprocessing, from_processor, from_timm

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TINY = {
    "vit": {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "patch_size": 8}
    | {"image_size": 16},
    "convnext": {"hidden_sizes": [4, 8], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "resnet": {"embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1], "layer_type": "basic"},
}


@pytest.fixture(autouse=True, scope="module")
def _operators():
    operators()


@pytest.fixture
def built(tmp_path):
    def _built(name, shape=(3, 16, 16), num_classes=4, seed=0):
        return build_model(name, num_classes=num_classes, image_shape=shape, mean=[0.5] * 3, std=[0.25] * 3, seed=seed)

    return _built


@pytest.mark.parametrize("kind", TINY)
def test_transformers_are_built_from_a_folder_and_filled_from_it(kind, built, tmp_path):
    import transformers

    config = transformers.AutoConfig.for_model(kind, **TINY[kind], num_labels=4)
    with torch.random.fork_rng(devices=[]):
        theirs = transformers.AutoModelForImageClassification.from_config(config).eval()
    theirs.save_pretrained(tmp_path / "saved")
    ours = built(f"hf:{tmp_path / 'saved'}").eval()
    assert not torch.equal(ours(IMAGES), theirs(IMAGES).logits)
    load_weights(ours, tmp_path / "saved")
    assert torch.equal(ours(IMAGES), theirs(IMAGES).logits)
    functional.cross_entropy(ours.train()(IMAGES), torch.tensor([0, 1])).backward()
    assert type(unadapted(ours)) is type(theirs)
    assert unadapted(ours).state_dict().keys() == theirs.state_dict().keys()


def test_timm_and_torchvision_are_built_by_name_without_weights(built):
    resnet = built("timm:resnet10t")
    assert resnet(IMAGES).shape == (2, 4)
    assert torch.equal(resnet.fc.weight, built("timm:resnet10t").fc.weight)
    assert not torch.equal(resnet.fc.weight, built("timm:resnet10t", seed=1).fc.weight)
    assert built("timm:vit_tiny_patch16_224", (1, 16, 32))(torch.zeros(2, 1, 16, 32)).shape == (2, 4)
    assert built("torchvision:squeezenet1_1", (3, 32, 32)).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    assert source_digest("timm:resnet10t") != source_digest("torchvision:squeezenet1_1")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timm:resnet9000", "cannot be built .*resnet9000"),
        ("torchvision:resnet9000", "cannot be built .*resnet9000"),
        ("hf:google/vit-base", "no local folder with a config.json"),
    ],
)
def test_names_that_a_library_does_not_know_are_explained(name, words, built):
    with pytest.raises(ModelError, match=words):
        built(name)


def test_a_missing_library_is_named_with_the_command_that_installs_it(built, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ModelError, match="needs timm; install it with: pip install timm"):
        built("timm:resnet10t")


def test_googlenet_is_served_with_its_auxiliary_classifiers():
    import torchvision

    with torch.random.fork_rng(devices=[]):
        google = torchvision.models.googlenet(num_classes=4, init_weights=False, aux_logits=True)
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    served = adapted(google, num_classes=4, image_shape=(3, 64, 64))
    rng = torch.get_rng_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_rng_state(rng)
        logits = served.train()(images)
        torch.set_rng_state(rng)
        assert torch.equal(logits, google(images).logits)
    assert torch.equal(served.eval()(images), google(images))


def test_preprocessing_of_timm_is_that_of_its_own_transforms():
    import timm
    from timm.data import create_transform

    for name in ("resnet10t", "vit_tiny_patch16_224", "beit_base_patch16_384"):
        config = timm.get_pretrained_cfg(name).to_dict()
        told = from_timm(config)
        wanted = {key: config[key] for key in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")}
        resize, crop, *_, normalize = create_transform(**wanted).transforms
        assert (told.resize, (told.crop, told.crop)) == (resize.size, tuple(crop.size))
        assert told.interpolation == resize.interpolation.value
        assert torch.equal(torch.tensor(told.mean), torch.as_tensor(normalize.mean))
        assert torch.equal(torch.tensor(told.std), torch.as_tensor(normalize.std))


def test_preprocessing_of_torchvision_is_that_of_its_weights():
    told = preprocessing_of("torchvision:efficientnet_v2_s")
    assert told == Preprocessing(None, 384, 384, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear")
    assert preprocessing_of("resnet18") == preprocessing_of("mine:net") == Preprocessing()


def test_preprocessing_of_a_folder_is_that_of_its_processor(tmp_path):
    common = {"do_resize": True, "do_rescale": True, "do_normalize": True, "resample": 3}
    common |= {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3], "rescale_factor": 1 / 255}
    values = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)

    def told(**config):
        found = from_processor(common | config)
        return (found.image_size, found.resize, found.crop), found

    sizes, found = told(size={"height": 224, "width": 224})
    assert sizes == (224, None, None)
    assert found.mean == pytest.approx(values[0])
    assert found.std == pytest.approx(values[1])
    assert found.interpolation == "bicubic"
    assert told(size={"shortest_edge": 256}, do_center_crop=True, crop_size={"height": 224, "width": 224})[0] == (
        None,
        256,
        224,
    )
    assert told(size={"shortest_edge": 224}, crop_pct=0.875)[0] == (None, 256, 224)  # ConvNeXt, below 384 pixels
    assert told(size={"shortest_edge": 384}, crop_pct=0.875)[0] == (384, None, None)
    assert told(size=224, do_resize=False)[0] == (None, None, None)
    _, symmetric = told(size=224, rescale_factor=1 / 127.5, image_mean=[1.0] * 3, image_std=[1.0] * 3)
    pixel = torch.arange(256) / 255
    torch.testing.assert_close((pixel - symmetric.mean[0]) / symmetric.std[0], pixel * 2 - 1)
    _, bytes_taken = told(size=224, do_rescale=False, do_normalize=False)
    torch.testing.assert_close((pixel - bytes_taken.mean[0]) / bytes_taken.std[0], torch.arange(256.0))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(common | {"size": 32}))
    assert preprocessing_of(f"hf:{tmp_path}").mean == pytest.approx(values[0])
    assert preprocessing_of(f"hf:{tmp_path / 'none'}") == Preprocessing()
