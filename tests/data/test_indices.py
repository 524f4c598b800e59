"""Index files and sequences: what is read, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natmu.errors import ForgetSetError
from natmu.records.forgetting import parse_forget
from natmu.samples.indices import check_indices, read_index_file

FILES = {
    "a.txt": "# chosen by hand\n7\n 3  # twice removed\n\n+5\n",
    "b.csv": "7\n3\n5\n",
    "c.csv": "name,Index\nx,7\ny,3\nz,5\n",
    "d.csv": "sample\n7\n3\n5\n",
    "e.json": "[7, 3, 5]",
    "f.txt": "\ufeff7\r\n3\r\n5",
    "g.CSV": '"index"\r\n"7"\r\n3\r\n5\r\n',
}


@pytest.mark.parametrize("name", FILES)
def test_texts(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name], "utf-8", newline="")
    assert read_index_file(tmp_path / name, 10).tolist() == [3, 5, 7]


@pytest.mark.parametrize("dtype", ["u1", "i2", "<i8", ">i4", "u8"])
def test_arrays(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "i.npy", np.array([7, 3, 5], dtype))
    indices = read_index_file(tmp_path / "i.npy", 10)
    assert indices.tolist() == [3, 5, 7]
    assert indices.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([1, 2, 2, 9, 9], "must not repeat.*: 2, 9"),
        ([-1, 3, -7], "must not be negative.*: -1, -7"),
        ([3, 10, 11], "must be below 10, the number of training samples.*: 10, 11"),
        ([], "are empty"),
        ([1, 2**70], r"positions in the training data.*: 118059"),
        ([1, 2.0], r"must be integers.*: 2\.0"),
        ([1, True], "must be integers.*: True"),
        ([1, "2"], "must be integers.*: '2'"),
        ([1, None], "must be integers.*: None"),
        ([[1, 2], [3, 4]], "must be integers"),
        (list(range(10, 20)), "10, 11, 12, 13, 14 and 5 more"),
    ],
)
def test_lists_that_are_refused(tmp_path: Path, values: list[object], reason: str) -> None:
    with pytest.raises(ForgetSetError, match=reason):
        check_indices(values, 10, "The indices")
    (tmp_path / "i.json").write_text(json.dumps(values))
    with pytest.raises(ForgetSetError, match=reason):
        read_index_file(tmp_path / "i.json", 10)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([1.0, 2.0]), r"must be integers, not float64 \(such as 1\.0, 2\.0\)"),
        (np.array([True, False]), "a mask of shape"),
        (np.array(["1"]), "must be integers"),
        (np.array([[1, 2]]), "flat list"),
        (np.array(3), "flat list"),
        (np.array([], int), "are empty"),
        (np.array([], float), "must be integers"),
        (np.array([2**63], "u8"), "must be below 10"),
        (np.array([-1]), "negative"),
        (np.array([4, 4]), "repeat"),
    ],
)
def test_arrays_that_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "i.npy", values)
    with pytest.raises(ForgetSetError, match=reason):
        read_index_file(tmp_path / "i.npy", 10)
    with pytest.raises(ForgetSetError, match=reason):
        check_indices(values, 10, "The indices")


@pytest.mark.parametrize(
    "values", [torch.tensor([7, 3]), (np.int32(7), 3), [torch.tensor(7), 3], {3, 7}, range(3, 8, 4)]
)
def test_what_python_may_pass(values: object) -> None:
    assert check_indices(values, 10, "The indices").tolist() == [3, 7]


@pytest.mark.parametrize("values", [None, 3, "37", b"37", {"3": 7}, torch.tensor([0.5]), torch.tensor([True])])
def test_what_python_may_not_pass(values: object) -> None:
    with pytest.raises(ForgetSetError, match="must be"):
        check_indices(values, 10, "The indices")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("i.txt", b"", "are empty"),
        ("i.txt", b"# nothing", "are empty"),
        ("i.txt", b"1\n2.5\nx", r"must be integers.*: '2\.5' in row 2, 'x' in row 3\."),
        ("i.txt", b"\xff\xfe", "is not text in UTF-8; save it in that encoding"),
        ("i.txt", b"99999999999999999999999", "must be integers"),
        ("i.csv", b"a,b\n1,2", "columns 'a', 'b', and none is called index"),
        ("i.csv", b"a,index\n1", "Row 2 of .*'1', has 1 cells for 2 columns"),
        ("i.csv", b"index\n3\n14,0\n15\n", "Row 3 of .*'14,0', has 2 cells for 1 column"),
        ("i.csv", b"index,index\n3,4\n", "several columns called 'index'"),
        ("i.csv", b"index\nindex\n3\n", "'index' in row 2"),
        ("i.csv", b"3.0\n14\n15\n", r"must be integers.*: '3\.0' in row 1\."),
        ("i.csv", b"7 # mine\n14\n", "'7 # mine' in row 1"),
        ("i.csv", b"# mine\n14\n", "'# mine' in row 1"),
        ("i.csv", b"l4\n15\n", "'l4' in row 1"),
        ("i.csv", b"nan\n15\n", "'nan' in row 1"),
        ("i.csv", b'index\n3\n""\n14\n', "'' in row 3"),
        ("i.csv", b"true\n1\n", "'true' in row 1"),
        ("i.csv", b'index,note\n3,"a\n4,b\n5,c\n', "cannot be read as comma-separated values"),
        ("i.txt", b"3\x0c4\n", r"must be integers"),
        ("i.txt", b"3\n4.0  # twice\n", r"'4\.0' in row 2"),
        ("i.json", b"[3, 4.0]", r"4\.0 in row 2"),
        ("i.csv", b"index\nx", "must be integers"),
        ("i.csv", b"", "are empty"),
        ("i.json", b"{", "cannot be read"),
        ("i.json", b"7", "holds a int"),
        ("i.json", b"[" * 100_000, "cannot be read"),
        ("i.json", b"[" + b"9" * 5000 + b"]", "cannot be read"),
        ("i.npy", b"", "cannot be read"),
        ("i.npy", b"\x93NUMPY", "cannot be read"),
        ("i.pkl", b"x", r"must end in \.npy, \.txt, \.csv, \.json"),
        ("i", b"1", "must end in"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ForgetSetError, match=reason):
        read_index_file(tmp_path / name, 10)


@pytest.mark.parametrize("suffix", [".npy", ".txt", ".csv", ".json"])
def test_missing_files_and_folders_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(ForgetSetError, match="cannot be read"):
        read_index_file(tmp_path / f"missing{suffix}", 10)
    (tmp_path / f"folder{suffix}").mkdir()
    with pytest.raises(ForgetSetError, match="cannot be read"):
        read_index_file(tmp_path / f"folder{suffix}", 10)


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.array([object]), allow_pickle=True)
    with pytest.raises(ForgetSetError, match="cannot be read"):
        read_index_file(tmp_path / "i.npy", 10)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    suffix=st.sampled_from([".npy", ".txt", ".csv", ".json"]),
    content=st.binary(max_size=60) | st.from_regex(r"[\[\]0-9, \n\"-]{0,40}", fullmatch=True).map(str.encode),
)
def test_any_file_is_indices_or_an_error_of_ours(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"i{suffix}"
    path.write_bytes((b"\x93NUMPY\x01\x00" if suffix == ".npy" else b"") + content)
    with suppress(ForgetSetError):
        indices = read_index_file(path, 100)
        assert np.array_equal(indices, np.unique(indices))
        assert 0 <= indices[0] <= indices[-1] < 100


@given(st.sets(st.integers(0, 999), min_size=1).flatmap(lambda numbers: st.permutations(sorted(numbers))))
def test_order_does_not_matter(numbers: list[int]) -> None:
    assert check_indices(numbers, 1000, "The indices").tolist() == sorted(numbers)


LINES = st.lists(
    st.sampled_from(
        ["3", "4", " 5", "6.0", "7 # mine", "index", "id", "8,9", '"', "", "#", "1e1", "-0", "x", "0x3", "٣"]
    ),
    min_size=1,
    max_size=4,
)


@given(LINES, st.sampled_from([".csv", ".txt"]))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_row_is_dropped_without_a_word(tmp_path: Path, lines: list[str], ending: str) -> None:
    """A file is refused, or means exactly the numbers that its rows write, but for a header in front and comments."""
    path = tmp_path / f"i{ending}"
    path.write_text("\n".join(lines), "utf-8")
    wanted = [line.split("#")[0].strip() if ending == ".txt" else line.strip() for line in lines]
    wanted = [line for line in wanted if line]
    if ending == ".csv" and wanted and wanted[0] in ("index", "id"):
        wanted = wanted[1:]
    found = None
    with suppress(ForgetSetError):
        found = read_index_file(path, 10).tolist()
    sound = wanted and len(wanted) == len({*wanted}) and all(row in "3456789" for row in wanted)
    assert found == (sorted(map(int, wanted)) if sound else None)


def test_texts_with_what_is_no_character_are_damaged(tmp_path: Path) -> None:
    np.save(tmp_path / "texts.npy", np.array(["3", "8"]))
    content = bytearray((tmp_path / "texts.npy").read_bytes())
    content[-1] = 0x7F
    (tmp_path / "texts.npy").write_bytes(content)
    with pytest.raises(ForgetSetError, match="what is no character"):
        read_index_file(tmp_path / "texts.npy", 10)


def test_spans_of_time_are_no_positions(tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.array([3, 5], "m8[s]"))
    with pytest.raises(ForgetSetError, match="must be integers, not timedelta64"):
        read_index_file(tmp_path / "i.npy", 10)
    with pytest.raises(ForgetSetError, match="must be integers"):
        check_indices([np.timedelta64(3, "s")], 10, "The indices")


def test_what_stands_after_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "i.npy"
    np.save(path, np.arange(3))
    assert read_index_file(path, 10).tolist() == [0, 1, 2]
    with path.open("ab") as file:
        np.save(file, np.arange(3, 6))
    with pytest.raises(ForgetSetError, match=r"holds 152 more bytes than its array of shape \(3,\)"):
        read_index_file(path, 10)


@pytest.mark.parametrize("text", ["-0", "-00", "+-3"])
def test_a_zero_with_a_minus_is_no_position(tmp_path: Path, text: str) -> None:
    (tmp_path / "i.txt").write_text(text)
    with pytest.raises(ForgetSetError, match="must be integers"):
        read_index_file(tmp_path / "i.txt", 10)


@pytest.mark.parametrize("kind", ["", "random:", "hardest:1:", "class:,", "where:", 'class:"', "indices"])
def test_a_long_request_is_quoted_in_short(kind: str) -> None:
    with pytest.raises(ForgetSetError) as caught:
        parse_forget(f"{kind}{'x' * 10_000}")
    assert len(str(caught.value)) < 800
    assert "…" in str(caught.value)
