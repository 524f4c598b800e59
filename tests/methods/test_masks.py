"""The four masks of NatMU against the numbers of the paper's definition and against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from natmu.methods.natmu import forget_weights

RISE_AND_FALL = [*range(16), *range(15, -1, -1)]


def tent_as_published(size):
    half = size // 2
    return [i / half if i < half else (half - 1) / half - (i - half) / half for i in range(size)]


def slow_masks(height, width, delta):
    """The masks place by place, in float32: NatMU, sample-wise/utils/generate_patch_data.py, lines 5-21."""
    masks = np.empty((4, height, width), np.float32)
    for row in range(height):
        for column in range(width):
            b_row, b_column = -(-height // 2), -(-width // 2)
            t_row = min(row, height - 1 - row) / b_row
            t_column = min(column, width - 1 - column) / b_column
            plain = (t_row, t_column, (b_row - 1) / b_row - t_row, (b_column - 1) / b_column - t_column)
            for kind, value in enumerate(plain):
                masks[kind, row, column] = min(max(np.float32(value) + np.float32(delta), 0), 1)
    return masks


def test_masks_at_32_pixels_are_the_published_sixteenths():
    sixteenths = (forget_weights(32, 32, 0) * 16).numpy()
    rising, falling = np.array(RISE_AND_FALL), 15 - np.array(RISE_AND_FALL)
    assert np.array_equal(sixteenths[0], np.repeat(rising[:, None], 32, 1))
    assert np.array_equal(sixteenths[1], np.repeat(rising[None, :], 32, 0))
    assert np.array_equal(sixteenths[2], np.repeat(falling[:, None], 32, 1))
    assert np.array_equal(sixteenths[3], np.repeat(falling[None, :], 32, 0))


@pytest.mark.parametrize(
    ("size", "delta", "mean"),
    [(32, 0, 0.469), (32, -0.19, 0.303), (32, -0.03, 0.441), (32, -0.053, 0.419), (64, 0.045, 0.529)],
)
def test_mean_forget_weight_is_the_stated_one_in_all_four_masks(size, delta, mean):
    means = forget_weights(size, size, delta).mean((1, 2))
    assert means.tolist() == pytest.approx([mean] * 4, abs=5e-4)
    assert means.max() - means.min() < 1e-6


def test_a_shift_of_one_leaves_the_forget_image_alone_and_of_minus_one_the_partner():
    assert torch.equal(forget_weights(9, 32, 1), torch.ones(4, 9, 32))
    assert torch.equal(forget_weights(9, 32, 2.5), torch.ones(4, 9, 32))
    assert torch.equal(forget_weights(9, 32, -1), torch.zeros(4, 9, 32))


@pytest.mark.parametrize("size", [2, 4, 8, 28, 32, 64])
def test_even_sizes_follow_the_published_tent(size):
    assert forget_weights(size, size, 0)[0, :, 0].tolist() == pytest.approx(tent_as_published(size))


def test_an_odd_size_rises_to_a_single_peak():
    masks = forget_weights(7, 5, 0)
    assert (masks[0, :, 0] * 4).tolist() == [0, 1, 2, 3, 2, 1, 0]
    assert (masks[2, :, 0] * 4).tolist() == [3, 2, 1, 0, 1, 2, 3]
    assert (masks[1, 0] * 3).tolist() == pytest.approx([0, 1, 2, 1, 0])
    assert (masks[3, 0] * 3).tolist() == pytest.approx([2, 1, 0, 1, 2])


@given(height=st.integers(1, 40), width=st.integers(1, 40), delta=st.floats(-1, 1))
def test_masks_equal_a_slow_loop_at_every_size(height, width, delta):
    masks = forget_weights(height, width, delta)
    assert masks.shape == (4, height, width)
    assert masks.dtype == torch.float32
    assert masks.min() >= 0
    assert masks.max() <= 1
    assert np.array_equal(masks.numpy(), slow_masks(height, width, delta))


@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_masks_are_symmetric_and_opposites_add_up_to_the_peak(height, width):
    masks = forget_weights(height, width, 0)
    assert torch.allclose(masks, masks.flip(1, 2), atol=1e-6)
    for kind, size in ((0, height), (1, width)):
        peak = ((size + 1) // 2 - 1) / ((size + 1) // 2)
        assert torch.allclose(masks[kind] + masks[kind + 2], torch.full((height, width), peak), atol=1e-6)
