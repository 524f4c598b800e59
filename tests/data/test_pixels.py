"""Bringing arrays to uint8 (N, C, H, W)."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from natmu.data import from_dataset, kinds
from natmu.data.forms import Form
from natmu.data.pixels import channel_statistics, formed, to_labels, to_nchw
from natmu.errors import DataError
from natmu.progress import shown_on

from .fakes import Said


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


@pytest.mark.parametrize("block", [1, 2**26])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, ">f4"])
def test_floats_are_kept_in_the_smallest_type_that_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: object, block: int
) -> None:
    monkeypatch.setattr(kinds, "_BLOCK_BYTES", block)
    levels = np.arange(256, dtype=np.float64).reshape(4, 8, 8)
    cases = [(levels * 4 - 100, "float16"), (levels.astype(np.float32) * np.float32(0.1) - 3, "float32")]
    for images, wanted in [(levels / 255, "uint8"), *cases]:
        given = images.astype(kind)
        kept = to_nchw(given, "images")
        assert kept.dtype == ("float16" if kind == np.float16 else wanted)
        shown = kept / np.float32(255) if kept.dtype == np.uint8 else kept.astype(np.float32)
        assert np.array_equal(shown[:, 0], given.astype(np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_pixels_that_are_no_numbers_are_refused_by_sample(value: float) -> None:
    images = np.zeros((9, 2, 2))
    images[7, 1, 0] = value
    with pytest.raises(DataError, match="images: sample 7 has pixels that are NaN or infinite"):
        to_nchw(images, "images")


@pytest.mark.parametrize("dtype", [np.int64, bool, np.uint16, "U1", object])
def test_other_types_are_refused(dtype: object) -> None:
    with pytest.raises(DataError, match=r"must be uint8 or floats.* / 65535 for 16 bits"):
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
    monkeypatch.setattr(kinds, "_BLOCK_BYTES", 130)
    assert channel_statistics(images) == whole


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_statistics_of_floats_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, kind: type) -> None:
    monkeypatch.setattr(kinds, "_BLOCK_BYTES", 130)
    images = (np.random.default_rng(0).normal(size=(7, 5, 4, 5)) + 1000 * np.eye(5)[0][:, None, None]).astype(kind)
    mean, std = channel_statistics(torch.from_numpy(images))
    assert mean == pytest.approx(images.mean(axis=(0, 2, 3), dtype=np.float64), rel=1e-12)
    assert std == pytest.approx(images.std(axis=(0, 2, 3), dtype=np.float64), rel=1e-9)


def test_a_constant_channel_does_not_divide_by_zero() -> None:
    assert channel_statistics(np.full((2, 1, 2, 2), 51, np.uint8)) == (pytest.approx((0.2,)), (1.0,))


@given(height=st.integers(1, 20), width=st.integers(1, 20), size=st.integers(1, 20), channels=st.sampled_from([1, 3]))
def test_resizing_is_pillows(height: int, width: int, size: int, channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)[:, :, :channels]
    expected = np.asarray(Image.fromarray(image.squeeze(2) if channels == 1 else image).resize((size, size), 2))
    result = formed(torch.from_numpy(image.transpose(2, 0, 1).copy())[None], Form(size))
    assert np.array_equal(np.asarray(result[0]).transpose(1, 2, 0).reshape(expected.shape), expected)


def test_floats_are_resized_as_floats() -> None:
    images = np.random.default_rng(0).normal(size=(2, 2, 6, 5)).astype(np.float32) * 1000
    result = np.asarray(formed(torch.from_numpy(images), Form(image_size=4)))
    for found, plane in zip(result.reshape(-1, 4, 4), images.reshape(-1, 6, 5), strict=True):
        assert np.array_equal(found, np.asarray(Image.fromarray(plane, "F").resize((4, 4), 2)))


@pytest.mark.parametrize(
    ("images", "line"),
    [
        (np.full((3, 1, 2, 2), 7, np.uint8), "All pixels .* are 7"),
        (np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2) % 2, "few grey levels, 0 to 1 of 255"),
        (np.full((3, 1, 2, 2), 0.1, np.float32), "All pixels .* are 0.1"),
        (np.arange(12, dtype=np.uint8).reshape(3, 1, 2, 2) % 2 * 255, None),
        (np.linspace(0.002, 0.004, 12, dtype=np.float32).reshape(3, 1, 2, 2), None),
    ],
)
def test_images_that_show_next_to_nothing_get_one_line(images: np.ndarray, line: str | None) -> None:
    said = Said()
    with shown_on(said):
        from_dataset((images, [0, 1, 0]))
    assert len(said.lines) == (line is not None)
    assert line is None or re.search(line, said.lines[0])
