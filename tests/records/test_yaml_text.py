"""YAML that users write: what values mean, and what is refused before it can do harm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from natmu.errors import SettingError
from natmu.records.yaml_text import read_mapping, read_value, read_yaml


def _bomb(levels: int, form: str = "[{}]", first: str = "[lol]") -> str:
    """The billion laughs: each line repeats the one before it nine times."""
    lines = [f"a0: &a0 {first}"]
    for level in range(1, levels):
        again = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} {form.format(again)}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("1e-5", 1e-5),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("0x1F", "0x1F"),
        ("2024-01-01", "2024-01-01"),
        ("", None),
        ("~", None),
        ("{a: &x {b: 1, c: 2}, d: {<<: *x, c: 3}}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ],
)
def test_values(text: str, value: object) -> None:
    """YAML 1.2.2, section 10.3.2, tag resolution of the core schema; merge keys are those of YAML 1.1."""
    read: Any = read_yaml(text, "it")
    assert read == value
    assert type(read) is type(value)


def test_infinity_and_nan_are_read() -> None:
    assert read_yaml("[.inf, -.inf]", "it") == [float("inf"), float("-inf")]
    nan = read_yaml(".nan", "it")
    assert nan != nan


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: 2\na: 3", "the key a appears twice in line 3"),
        ("a: {b: 1, b: 1}", "the key b appears twice in line 1"),
        ("[" * 1500, "nested more than 32 deep|did not find|expected"),
        ("[" * 1500 + "]" * 1500, "nested more than 32 deep"),
        ("{a: " * 1500 + "1" + "}" * 1500, "nested more than 32 deep"),
        ("\n".join(["a0: &a0 1", *(f"a{row}: &a{row} [*a{row - 1}]" for row in range(1, 50))]), "nested more than 32"),
        ("&a [*a]", "nested more than 32 deep"),
        ("&a {b: *a}", "nested more than 32 deep"),
        (_bomb(9), "stands for more than 100,000 values; use fewer aliases"),
        (_bomb(9, "{{<<: [{}]}}", "{x: 1}"), "more than 100,000 values"),
        ("!!int ''", "'' is not a number in line 1"),
        ("!!float x", "'x' is not a number"),
        ("!!int [1]", "'' is not a number"),
        ("9" * 5000, "it is not readable as YAML"),
        ("!!python/object/apply:os.system [echo]", "the tag .* is not known"),
        ("!!binary aGk=", "the tag .* is not known"),
        ("!!set {a, b}", "the tag .* is not known"),
        ("!!timestamp 2024-01-01", "the tag .* is not known"),
        ("!mine x", "the tag '!mine' is not known"),
        ("{a: 1", "it is not readable as YAML"),
        ("a: *b", "undefined alias"),
        ("? [a]\n: 1", "unhashable"),
        ("a\x00b", "it is not readable as YAML"),
    ],
)
def test_what_is_refused(text: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason) as refused:
        read_yaml(text, "it")
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ('"\\ud83d\\ude00"', "😀"), ("[1, 2]", [1, 2]), ("a b", "a b"), ("{a: 1}", {"a": 1})],
)
def test_values_on_the_command_line(text: str, value: object) -> None:
    assert read_value(text, "--set x") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "the key a appears twice"),
        ("[" * 1500 + "]" * 1500, "nested more than 32 deep"),
        ("[" * 600 + "]" * 600, "nested more than 32 deep"),
        ("[" * 100_000, "nested more than 32 deep"),
        ("!!int ''", "--set x is not readable as YAML: '' is not a number"),
    ],
)
def test_what_is_refused_on_the_command_line(text: str, reason: str) -> None:
    with pytest.raises(SettingError, match=reason):
        read_value(text, "--set x")


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="is not text in UTF-8"):
        read_mapping(path, "policy")
    path.write_text("a: 1\n" + "#" * 2**20)
    with pytest.raises(SettingError, match="is larger than any file of settings"):
        read_mapping(path, "policy")
    path.write_text("\ufeffa: 1\n", "utf-8")
    assert read_mapping(path, "policy") == {"a": 1}
