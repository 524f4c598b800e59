"""Pickles are read without running code."""

from __future__ import annotations

import os
import pickle
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natmu.data.pickles import read_cifar_pickle
from natmu.errors import DataError


class _Calls:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data_batch_1"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "f4"])
def test_arrays_of_numbers_are_read(path: Path, protocol: int, dtype: str) -> None:
    array = np.arange(24).reshape(4, 6).astype(dtype)
    path.write_bytes(pickle.dumps({b"data": array, b"turned": array.T, b"labels": [1, 2]}, protocol))
    content = read_cifar_pickle(path)
    assert np.array_equal(content["data"], array)
    assert np.array_equal(content["turned"], array.T)
    assert content["labels"] == [1, 2]


def test_what_python_2_wrote_is_read(path: Path) -> None:
    # as the official archive has it: protocol 2, byte strings, numpy.core
    path.write_bytes(
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b"
        b"\x87Rq\x05(K\x01K\x02K\x03\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89U\x06\x01\x02\x03\x04\xfe\xfftbU\x06labelsq\x08]q\tK\x07au."
    )
    content = read_cifar_pickle(path)
    assert content["data"].tolist() == [[1, 2, 3], [4, 254, 255]]
    assert content["labels"] == [7]


@pytest.mark.parametrize(
    "attack",
    [
        _Calls(os.system, "touch pwned"),
        _Calls(eval, "1"),
        _Calls(getattr, "x", "y"),
        _Calls(np.load, "x"),
        _Calls(np.zeros, 3),
        np.float64(1),
        np.array([object], dtype=object),
        np.array(["2020"], dtype="datetime64[D]"),
        np.zeros(2, dtype=[("a", "u1")]),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused(path: Path, attack: object, protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    path.write_bytes(pickle.dumps({"data": attack}, protocol))
    with pytest.raises(DataError, match="data_batch_1"):
        read_cifar_pickle(path)
    assert list(path.parent.iterdir()) == [path]


def test_the_refused_global_is_named(path: Path) -> None:
    path.write_bytes(pickle.dumps(_Calls(os.system, "true")))
    with pytest.raises(DataError, match=rf"{os.name}\.system"):
        read_cifar_pickle(path)


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle", pickle.dumps([1]), pickle.dumps(7)])
def test_other_content_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a CIFAR file"):
        read_cifar_pickle(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data(), protocol=st.integers(0, 5))
def test_damaged_pickles_never_raise_anything_else(path: Path, data: st.DataObject, protocol: int) -> None:
    content = bytearray(pickle.dumps({b"data": np.zeros((2, 3), np.uint8), b"labels": [1, 2]}, protocol))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    with suppress(DataError):
        assert isinstance(read_cifar_pickle(path), dict)
