"""Random crop and flip, against a loop over single pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from natmu.data.augment import Shifts, alternating_flips, crop_padding, draw_shifts, shift


def slow_shift(image, down, right, flip, padding):
    """Pad one image with zeros, cut a window out of it, mirror the window."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), image.dtype)
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                padded[c, y + padding, x + padding] = image[c, y, x]
    window = padded[:, down : down + height, right : right + width]
    return window[:, :, ::-1] if flip else window


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.integers(1, 4),
    st.sampled_from([torch.uint8, torch.float32]),
    st.integers(0, 2**31),
)
def test_shift_is_pad_crop_and_flip(batch, channels, height, width, padding, dtype, seed):
    rng = np.random.default_rng(seed)
    images = torch.from_numpy(rng.integers(0, 256, (batch, channels, height, width))).to(dtype)
    moves = Shifts(
        torch.from_numpy(rng.integers(0, 2 * padding + 1, batch)),
        torch.from_numpy(rng.integers(0, 2 * padding + 1, batch)),
        torch.from_numpy(rng.random(batch) < 0.5),
    )
    moved = shift(images, moves, padding)
    assert moved.dtype == dtype
    for row in range(batch):
        expected = slow_shift(
            images[row].numpy(), int(moves.down[row]), int(moves.right[row]), bool(moves.flip[row]), padding
        )
        assert np.array_equal(moved[row].numpy(), expected)


def test_the_memory_format_of_the_images_does_not_matter():
    images = torch.randint(0, 256, (20, 3, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moves = draw_shifts(torch.ones(20, dtype=torch.bool), 2, torch.Generator().manual_seed(1))
    moved = shift(images, moves, 2)
    assert torch.equal(shift(images.contiguous(memory_format=torch.channels_last), moves, 2), moved)
    assert torch.equal(shift(images[:1].expand(20, 3, 6, 5), moves, 2), shift(images[:1].repeat(20, 1, 1, 1), moves, 2))


def test_rows_that_are_not_augmented_stay_as_they_are():
    augmented = torch.arange(400) % 3 == 0
    images = torch.randint(0, 256, (400, 2, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    moved = shift(images, draw_shifts(augmented, 2, torch.Generator().manual_seed(1)), 2)
    still = ~augmented
    assert torch.equal(moved[still], images[still])
    changed = (moved[augmented] != images[augmented]).flatten(1).any(1)
    assert changed.float().mean() > 0.9


@pytest.mark.parametrize("padding", [1, 4, 8])
def test_draws_are_uniform_and_independent(padding):
    count = 40_000
    draws = draw_shifts(torch.ones(count, dtype=torch.bool), padding, torch.Generator().manual_seed(3))
    values = 2 * padding + 1
    for places in (draws.down, draws.right):
        counts = torch.bincount(places, minlength=values)
        assert len(counts) == values
        chi_squared = float(((counts - count / values) ** 2 / (count / values)).sum())
        assert chi_squared < values - 1 + 5 * (2 * (values - 1)) ** 0.5
    assert abs(float(draws.flip.float().mean()) - 0.5) < 5 * 0.5 / count**0.5
    table = torch.stack([draws.down.float(), draws.right.float(), draws.flip.float()])
    assert torch.corrcoef(table).fill_diagonal_(0).abs().max() < 5 / count**0.5


def test_the_same_generator_state_gives_the_same_draws():
    first, second = (
        draw_shifts(torch.ones(50, dtype=torch.bool), 4, torch.Generator().manual_seed(9)) for _ in range(2)
    )
    assert torch.equal(first.down, second.down)
    assert torch.equal(first.right, second.right)
    assert torch.equal(first.flip, second.flip)


def test_a_row_keeps_its_draw_whichever_other_rows_are_augmented():
    """Drawing for all rows first is what makes epochs comparable between forget sets of one size."""
    every = draw_shifts(torch.ones(30, dtype=torch.bool), 4, torch.Generator().manual_seed(2))
    some = draw_shifts(torch.arange(30) < 10, 4, torch.Generator().manual_seed(2))
    assert torch.equal(every.down[:10], some.down[:10])
    assert (some.down[10:] == 4).all()
    assert not some.flip[10:].any()


@pytest.mark.parametrize(
    ("shape", "padding"), [((3, 32, 32), 4), ((3, 64, 64), 8), ((1, 8, 8), 1), ((1, 2, 2), 1), ((3, 64, 32), 4)]
)
def test_padding_grows_with_the_image(shape, padding):
    assert crop_padding(shape) == padding


def test_flips_alternate_from_a_first_that_a_coin_decides():
    count = 2000
    augmented = torch.arange(count) < 1500
    rows = torch.arange(count)

    def flips(rounds, rows=rows):
        generator = torch.Generator().manual_seed(5)
        return alternating_flips(augmented, rows, torch.full_like(rows, rounds), generator)

    first, second, third = (flips(rounds) for rounds in range(3))
    assert not first.flip[1500:].any()
    assert not second.flip[1500:].any()
    assert (first.flip != second.flip)[:1500].all()
    assert torch.equal(first.flip, third.flip)
    assert abs(int(first.flip.sum()) - 750) < 5 * np.sqrt(1500 / 4)  # five deviations of 1,500 coins
    assert not first.down.any()
    assert not first.right.any()
    some = torch.tensor([7, 3, 3, 1999])
    assert torch.equal(flips(1, some).flip, second.flip[some])
