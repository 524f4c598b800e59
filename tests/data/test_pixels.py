"""Bringing arrays to uint8 (N, C, H, W)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from natmu.data import pixels as pixels_module
from natmu.data.forms import Form
from natmu.data.pixels import channel_statistics, formed, to_labels, to_nchw
from natmu.errors import DataError


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 5, 7), (2, 1, 5, 7)),
        ((2, 3, 5, 7), (2, 3, 5, 7)),
        ((2, 5, 7, 3), (2, 3, 5, 7)),
        ((2, 1, 5, 7), (2, 1, 5, 7)),
        ((2, 5, 7, 1), (2, 1, 5, 7)),
        ((2, 4, 9, 9), (2, 4, 9, 9)),
        ((2, 9, 9, 4), (2, 4, 9, 9)),
        ((2, 3, 5, 3), (2, 3, 5, 3)),
    ],
)
def test_layouts(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert to_nchw(np.zeros(shape, np.uint8), "images").shape == expected


def test_bytes_are_viewed_and_not_copied() -> None:
    images = np.zeros((2, 5, 7, 3), np.uint8)
    assert np.shares_memory(to_nchw(images, "images"), images)


def test_floats_are_scaled_and_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_module, "_BLOCK_BYTES", 1)
    images = np.arange(256, dtype=np.float32).reshape(4, 8, 8) / 255
    assert to_nchw(images, "images").ravel().tolist() == list(range(256))


@pytest.mark.parametrize("value", [-0.01, 1.01, np.nan, np.inf])
def test_other_floats_are_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"floats outside \[0, 1\]"):
        to_nchw(np.full((1, 2, 2), value), "images")


@pytest.mark.parametrize("dtype", [np.int64, bool, np.uint16, "U1", object])
def test_other_types_are_refused(dtype: object) -> None:
    with pytest.raises(DataError, match="must be uint8 or floats"):
        to_nchw(np.zeros((1, 2, 2), dtype), "images")


@pytest.mark.parametrize("shape", [(4,), (2, 2), (0, 3, 4, 4), (1, 1, 3, 4, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="must be"):
        to_nchw(np.zeros(shape, np.uint8), "images")


def test_labels() -> None:
    assert to_labels(np.array([[1], [0]], np.uint8), 2, "labels").tolist() == [1, 0]
    assert to_labels(np.array([1, 0], np.int32), 2, "labels").dtype == np.int64


@pytest.mark.parametrize(
    "labels",
    [np.array([0.0, 1.0]), np.array([True, False]), np.array([0]), np.eye(2, dtype=int), np.array([-1, 0])],
)
def test_other_labels_are_refused(labels: np.ndarray) -> None:
    with pytest.raises(DataError, match="labels"):
        to_labels(labels, 2, "labels")


def test_labels_that_are_identifiers_are_refused() -> None:
    with pytest.raises(DataError, match="number the classes"):
        to_labels(np.array([0, 10**9]), 2, "labels")


@given(seed=st.integers(0, 999), channels=st.sampled_from([1, 3]), count=st.integers(1, 9))
def test_statistics_are_those_of_the_whole(seed: int, channels: int, count: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, channels, 4, 5), dtype=np.uint8)
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((images / 255).mean(axis=(0, 2, 3)))
    assert std == pytest.approx((images / 255).std(axis=(0, 2, 3)))
    assert channel_statistics(torch.from_numpy(images)) == (mean, std)


def test_statistics_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 4, 5), dtype=np.uint8)
    whole = channel_statistics(images)
    monkeypatch.setattr(pixels_module, "_BLOCK_BYTES", 130)
    assert channel_statistics(images) == whole


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert channel_statistics(np.full((2, 1, 2, 2), 51, np.uint8)) == (pytest.approx((0.2,)), (1.0,))


@given(height=st.integers(1, 20), width=st.integers(1, 20), size=st.integers(1, 20), channels=st.sampled_from([1, 3]))
def test_resizing_is_pillows(height: int, width: int, size: int, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)[:, :, :channels]
    expected = np.asarray(Image.fromarray(image.squeeze(2) if channels == 1 else image).resize((size, size), 2))
    result = formed(torch.from_numpy(image.transpose(2, 0, 1).copy())[None], Form(size))
    assert np.array_equal(np.asarray(result[0]).transpose(1, 2, 0).reshape(expected.shape), expected)
