"""Heads in files: what is read is what was written, whole or not at all, and what is no head is named."""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

from natmu.errors import RunError, UsageError
from natmu.heads.saving import SavedHead, read_state


class Constant(SavedHead):
    """A head that is nothing but its state."""

    kind: ClassVar[str] = "constant"

    def __init__(self, state):
        self.arrays = state

    def state(self):
        """Its arrays."""
        return self.arrays


STATE = {
    "weights": np.array([[1.0, -2.5], [np.pi, 1e-300]]),
    "columns": np.arange(12.0).reshape(3, 4).T,
    "count": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
    "known": np.array([True, False]),
}


@pytest.fixture
def path(tmp_path):
    return Constant(STATE).save(tmp_path / "new" / "head.safetensors")


def test_what_is_read_is_what_was_written(path):
    kind, state = read_state(path)
    assert kind == "constant"
    assert state.keys() == STATE.keys()
    for name, array in STATE.items():
        assert (state[name].dtype, state[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(state[name], array, strict=True)


def test_a_file_that_is_there_is_replaced_and_nothing_else_is_left(path):
    Constant({"weights": np.ones(2)}).save(path)
    assert read_state(path)[1].keys() == {"weights"}
    assert [file.name for file in path.parent.iterdir()] == ["head.safetensors"]


def test_where_nothing_can_be_written_nothing_is_left(path):
    (path.parent / "folder").mkdir()
    with pytest.raises(RunError, match="Cannot write"):
        Constant(STATE).save(path.parent / "folder")
    assert sorted(file.name for file in path.parent.iterdir()) == ["folder", "head.safetensors"]


def test_every_changed_byte_of_the_arrays_is_found_out(path):
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    for place in range(start, len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(RunError, match="changed after it was written"):
            read_state(path)


@pytest.mark.parametrize(
    ("told", "error", "sentence"),
    [
        (None, UsageError, "holds no head"),
        ({"format": "2", "head": "constant"}, RunError, "its format is 2"),
        ({"head": "constant"}, RunError, "its format is None"),
        ({"format": "1", "head": "constant"}, RunError, "changed after it was written"),
    ],
)
def test_what_is_no_head_of_this_version_is_one_sentence(tmp_path, told, error, sentence):
    path = tmp_path / "other.safetensors"
    save_file(STATE | {"columns": np.ones(2)}, path, told)
    with pytest.raises(error, match=re.escape(sentence)) as refused:
        read_state(path)
    assert str(path) in str(refused.value)


def test_a_cut_file_and_a_missing_one_are_one_sentence(path):
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)
    path.write_bytes(b"")
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)
    path.unlink()
    with pytest.raises(UsageError, match="There is no file"):
        read_state(path)


def test_a_pickle_is_never_read(path):
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RunError, match="cannot be read"):
        read_state(path)
