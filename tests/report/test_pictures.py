from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from natmu.errors import RunError
from natmu.records.study import Hybrids
from natmu.report import hybrid_sheet
from natmu.report.pictures import CAPTION, GAP, HEAD


@pytest.fixture
def examples():
    digits = np.rint(load_digits().images[:6] / 16 * 255).astype(np.uint8)
    forget, partner = digits[:3], digits[3:]
    mask = np.full((3, 8, 8), 0.4)
    mask[:, :4] = 0.6
    return Hybrids(
        forget=forget,
        partner=partner,
        mask=mask,
        hybrid=np.rint(mask * forget + (1 - mask) * partner).astype(np.uint8),
        forget_names=np.array(["zero", "one", "two"]),
        partner_names=np.array(["three", "four", "a name much longer than any picture is wide"]),
    )


def first(count, examples, **arrays):
    """So many of the examples, with other arrays."""
    names = {name: getattr(examples, name)[:count] for name in ("forget_names", "partner_names")}
    return replace(examples, **names, **arrays)


def tile(sheet, column, row, height, width):
    left, top = GAP + column * (width + GAP), HEAD + row * (height + CAPTION)
    return sheet[top : top + height, left : left + width]


def test_tiles_are_the_arrays_enlarged_without_blur(examples, tmp_path):
    hybrid_sheet(examples, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    shades = vars(examples) | {"mask": np.rint(255 * examples.mask)}
    for column, name in enumerate(("forget", "mask", "partner", "hybrid")):
        for row in range(3):
            expected = np.kron(shades[name][row], np.ones((24, 24)))[..., None]
            assert np.array_equal(tile(sheet, column, row, 192, 192), np.broadcast_to(expected, (192, 192, 3)))


def test_colour_and_odd_sizes_are_drawn(examples, tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    pictures = dict.fromkeys(("forget", "partner", "hybrid"), colour) | {"mask": np.ones((2, 5, 7), np.float32)}
    hybrid_sheet(first(2, examples, **pictures), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert np.array_equal(tile(sheet, 0, 1, 135, 189), colour[1].repeat(27, axis=0).repeat(27, axis=1))


def test_images_larger_than_a_tile_keep_their_size(examples, tmp_path):
    large = {name: np.zeros((1, 300, 200), np.uint8) for name in ("forget", "partner", "hybrid")}
    hybrid_sheet(first(1, examples, **large, mask=np.zeros((1, 300, 200))), tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[1] == GAP + 4 * (200 + GAP)
    assert (tile(sheet, 0, 0, 300, 200) == 0).all()


def test_captions_are_written_on_white_and_stay_below_their_tile(examples, tmp_path):
    hybrid_sheet(examples, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("L"))
    assert (sheet[0] == 255).all()
    assert (sheet[-1] == 255).all()
    for row in range(3):
        below = HEAD + row * (192 + CAPTION) + 194
        captions = sheet[below : below + CAPTION - 4]
        for column in range(4):
            left = GAP + column * (192 + GAP)
            assert captions[:, left : left + 192].min() < 128
            assert (captions[:, left - GAP + 2 : left - 2] == 255).all()


def test_names_change_the_picture(examples, tmp_path):
    hybrid_sheet(examples, tmp_path / "a.png")
    renamed = replace(examples, partner_names=np.array(["three", "four", "five"]))
    hybrid_sheet(renamed, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


def test_folders_are_made_and_nothing_else_is_left(examples, tmp_path):
    hybrid_sheet(examples, tmp_path / "new" / "sheet.png")
    hybrid_sheet(examples, tmp_path / "new" / "sheet.png")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]


def test_a_file_that_cannot_be_written_is_reported_and_leaves_nothing(examples, tmp_path):
    (tmp_path / "sheet.png").mkdir()
    with pytest.raises(RunError, match="choose a folder"):
        hybrid_sheet(examples, tmp_path / "sheet.png")
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="choose a folder"):
        hybrid_sheet(examples, tmp_path / "file" / "sheet.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "sheet.png"]
