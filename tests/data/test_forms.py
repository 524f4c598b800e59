"""Sizes and crops are those of torchvision, to the bit; channels are Pillow's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tests.vision import operators

from natmu.data import load
from natmu.data.decoding import common_shape, decode, to_array
from natmu.data.forms import Form
from natmu.data.pixels import formed
from natmu.errors import DataError

SIZES = ((50, 37), (37, 50), (41, 41), (9, 40), (40, 9), (224, 3), (31, 32), (33, 31), (5, 5), (1, 7))
"""Landscape, portrait, square, odd, and smaller than the crops on one side or both."""


@pytest.fixture(scope="module")
def torchvision() -> SimpleNamespace:
    library = operators()
    from torchvision import datasets, transforms

    return SimpleNamespace(library=library, datasets=datasets, transforms=transforms)


def picture(size: tuple[int, int], mode: str = "RGB", seed: int = 0) -> Image.Image:
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,), "CMYK": (4,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    return Image.fromarray(values, mode if mode == "CMYK" else None)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_resize_and_crop_are_those_of_torchvision(torchvision: SimpleNamespace, mode: str) -> None:
    """Against ``transforms.Resize`` and ``transforms.CenterCrop`` of PIL images, which pad with black."""
    transforms = torchvision.transforms
    for number, size in enumerate(SIZES):
        image = picture(size, mode, number)
        for resize, crop in ((16, 14), (16, 13), (17, 17), (20, None), (None, 12), (None, 33), (None, 38)):
            steps = [transforms.Resize(resize)] if resize else []
            steps += [transforms.CenterCrop(crop)] if crop else []
            expected = np.asarray(transforms.Compose(steps)(image))
            pixels = to_array(image, form=Form(resize=resize, crop=crop))
            assert np.array_equal(pixels.transpose(1, 2, 0).reshape(expected.shape), expected), (size, resize, crop)
            batch = torch.from_numpy(to_array(image).copy())[None]
            assert np.array_equal(np.asarray(formed(batch, Form(resize=resize, crop=crop))[0]), pixels)


def test_a_folder_is_read_as_torchvision_reads_it(torchvision: SimpleNamespace, tmp_path: Path) -> None:
    """All kinds of files, one of them with an EXIF note that the camera was turned; torchvision leaves it as it is."""
    turned = Image.Exif()
    turned[0x0112] = 6
    palette = picture((30, 20)).quantize(16)
    kinds = {
        "photo.jpg": (picture((30, 40)), {"exif": turned}),
        "cmyk.jpg": (picture((40, 30), "CMYK"), {}),
        "alpha.png": (picture((30, 30), "RGBA"), {}),
        "grey.png": (picture((25, 20), "L"), {}),
        "grey-alpha.png": (picture((20, 25), "LA"), {}),
        "palette.png": (palette, {"transparency": 3}),
        "bit.png": (picture((20, 30), "L").convert("1"), {}),
        "web.webp": (picture((30, 21)), {}),
    }
    files = []
    for number, (name, (image, options)) in enumerate(kinds.items()):
        files.append(tmp_path / "ab"[number // 4] / name)
        files[-1].parent.mkdir(exist_ok=True)
        image.save(files[-1], **options)
    transforms = torchvision.transforms
    steps = transforms.Compose([transforms.Resize(18), transforms.CenterCrop(16)])
    theirs = torchvision.datasets.ImageFolder(str(tmp_path), steps)
    files = [Path(path) for path, _ in theirs.samples]
    assert len(files) == len(kinds)
    expected = np.stack([np.asarray(image).transpose(2, 0, 1) for image, _ in theirs])
    assert np.array_equal(decode(files, Form(resize=18, crop=16)), expected)
    theirs.transform = transforms.Compose([transforms.Grayscale(), steps])
    expected = np.stack([np.asarray(image)[None] for image, _ in theirs])
    assert np.array_equal(decode(files, Form(resize=18, crop=16, channels=1)), expected)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"resize": 200, "crop": 224}, r"crop of 224 .* resized to 200; give --crop 200 or less"),
        ({"image_size": 8, "crop": 4}, "--image-size makes squares by itself"),
        ({"image_size": 8, "resize": 9}, "--image-size makes squares by itself"),
        ({"crop": 0}, "crop must be from 1 to 4096"),
        ({"resize": 5000}, "shorter side must be from 1 to 4096"),
        ({"channels": 2}, "--channels must be 1 .* or 3"),
    ],
)
def test_forms_that_exclude_themselves_are_refused(form: dict[str, int], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        load("digits", tmp_path, **form)


def test_every_source_is_brought_to_the_form_once(tmp_path: Path) -> None:
    """A resize before a crop changes images that have the size of the crop already; so it must not be done twice."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 3, 12, 12), dtype=np.uint8)
    labels = np.arange(20) % 2
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images[:4], y_test=labels[:4])
    for split, count in (("train", 20), ("test", 4)):
        for row in range(count):
            path = tmp_path / "tree" / split / "ab"[row % 2] / f"{row:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row].transpose(1, 2, 0)).save(path)
    options = {"resize": 16, "crop": 12}
    arrays, files = (load(str(tmp_path / name), tmp_path, **options) for name in ("d.npz", "tree"))
    expected = to_array(Image.fromarray(images[2].transpose(1, 2, 0)), form=Form(resize=16, crop=12))
    assert np.array_equal(arrays.test.take(torch.tensor([2]))[0].numpy(), expected)
    assert np.array_equal(files.test.take(torch.tensor([1]))[0].numpy(), expected)
    assert load(str(tmp_path / "d.npz"), tmp_path, channels=1, **options).train.image_shape == (1, 12, 12)
    assert load("digits", tmp_path, channels=3, crop=10).train.image_shape == (3, 10, 10)


def test_sizes_that_still_differ_are_refused_with_what_to_add(tmp_path: Path) -> None:
    for name, size in (("1.png", (20, 10)), ("2.png", (20, 15))):
        picture(size).save(tmp_path / name)
    files = [tmp_path / "1.png", tmp_path / "2.png"]
    with pytest.raises(DataError, match=r"1\.png is 16x8 with its shorter side at 8, .*2\.png .* pass --crop 8 too"):
        common_shape(files, Form(resize=8))
    assert common_shape(files, Form(resize=8, crop=8)) == (3, 8, 8)
    picture((1, 300)).save(tmp_path / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png .* longer side would have 1200000 pixels"):
        decode([tmp_path / "thin.png"], Form(resize=4000, crop=8))
