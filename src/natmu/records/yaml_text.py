"""Reading YAML that users write: plain values, no key twice, and no text that grows without bound when it is read.

It is read by the rules of YAML 1.2, where ``yes`` and ``on`` are texts, ``1e-5`` is a number, and ``010`` is ten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from natmu.errors import SettingError
from natmu.user_files import read_file

DEEPEST = 32
"""Brackets in brackets, at most."""

LARGEST_BYTES = 2**20
"""Of a file."""

MOST_VALUES = 100_000
"""Values that a text stands for, where each alias counts as all that it repeats."""

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_PLAIN = (
    ("null", re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"(true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]),
    ("int", re.compile(rf"({_INTEGER.pattern})$"), [*"-+0123456789"]),
    ("float", re.compile(rf"({_FLOAT.pattern})$"), [*"-+.0123456789"]),
    ("merge", re.compile(r"<<$"), ["<"]),
)
"""What texts without quotes are, beside texts, and how they begin."""


class _UnreadableError(yaml.MarkedYAMLError):
    """A text that PyYAML would read, and that means nothing sound."""


class _Loader(yaml.SafeLoader):
    """Plain values only."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML reads it from the class
        first: [(f"{_TAG}{name}", pattern) for name, pattern, _ in found]
        for first, found in {
            first: [row for row in _PLAIN if first in row[2]] for _, _, firsts in _PLAIN for first in firsts
        }.items()
    }

    def get_single_node(self) -> yaml.Node | None:
        """The whole text as nodes, once it is known that they stand for no more than they should."""
        node: yaml.Node | None = super().get_single_node()
        if node is not None and _extent(node, {}, 0)[0] > MOST_VALUES:
            raise _UnreadableError(problem=f"it stands for more than {MOST_VALUES:,} values; use fewer aliases")
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401 - any value
        """A value, unless a tag asks for one that is not plain, or that its text does not write."""
        kind = node.tag.removeprefix(_TAG)
        if kind not in ("null", "bool", "int", "float", "str", "seq", "map"):
            raise _UnreadableError(problem=f"the tag {node.tag[:80]!r} is not known", problem_mark=node.start_mark)
        if kind in ("int", "float"):
            return _number(node, kind)
        return super().construct_object(node, deep)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, unless one of its keys appears twice; PyYAML itself lets the last of them win without a word."""
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise _UnreadableError(problem=f"the key {key.value[:80]} appears twice", problem_mark=key.start_mark)
            seen.add(name)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _extent(node: yaml.Node, known: dict[int, tuple[int, int]], depth: int) -> tuple[int, int]:
    """How many values a node stands for, and how deep they lie in it; what an alias repeats is looked at once."""
    if id(node) not in known and depth <= DEEPEST:
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        if isinstance(node, yaml.MappingNode):
            inner = [part for pair in inner for part in pair]
        # An alias inside what it repeats leads ever deeper, and so to the refusal below.
        extents = [_extent(part, known, depth + 1) for part in inner]
        known[id(node)] = (
            1 + sum(count for count, _ in extents),
            max((height + 1 for _, height in extents), default=0),
        )
    count, height = known.get(id(node), (1, 0))
    if depth + height > DEEPEST:
        raise _UnreadableError(problem=f"it is nested more than {DEEPEST} deep", problem_mark=node.start_mark)
    return count, height


def _number(node: yaml.Node, kind: str) -> int | float:
    """The number that a text writes in decimal digits."""
    text = node.value if isinstance(node, yaml.ScalarNode) else ""
    if kind == "int" and _INTEGER.fullmatch(text):
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(
            text.replace(".inf", "inf").replace(".nan", "nan") if text.lower()[-3:] in ("inf", "nan") else text
        )
    raise _UnreadableError(problem=f"{text[:80]!r} is not a number", problem_mark=node.start_mark)


def read_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - any value
    """The value that a text writes in YAML.

    Args:
        text: The text.
        where: Where it comes from, named in errors.

    Raises:
        SettingError: It is not YAML, a key appears twice, or it is nested deeper or stands for more than any of ours.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        reason = f"{error.problem or error.context}{line}"
    except RecursionError:
        reason = f"it is nested more than {DEEPEST} deep"
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML lets the last four escape from values that do not fit their tag.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise SettingError(f"{where} is not readable as YAML: {reason[:200]}.") from None


def read_value(text: str, where: str) -> Any:  # noqa: ANN401 - any value
    """The value that a text writes in JSON, or else in YAML; see ``read_yaml``."""
    try:
        value = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError):
        return read_yaml(text, where)
    if _depth(value) > DEEPEST:
        raise SettingError(f"{where} is not readable: it is nested more than {DEEPEST} deep.")
    return value


def read_yaml_file(path: Path) -> Any:  # noqa: ANN401 - any value
    """The value in a file; see ``read_yaml``.

    Raises:
        OSError: The file cannot be read, or is no regular file.
        SettingError: It holds no sound YAML.
    """
    content = read_file(path)
    if len(content) > LARGEST_BYTES:
        raise SettingError(f"{path} is larger than any file of settings; name the right file.")
    try:
        return read_yaml(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError:
        raise SettingError(f"{path} is not text in UTF-8; save it in that encoding.") from None


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping that a file holds; an empty file holds an empty one.

    Args:
        path: The file.
        what: What it should be, such as ``policy``; named in errors.

    Raises:
        SettingError: There is no such file, it is not YAML, or holds something else.
    """
    try:
        values = read_yaml_file(path)
    except OSError as error:
        raise SettingError(f"Cannot read the {what} {path} ({error.strerror}); name the file that holds it.") from None
    if values is None:
        return {}
    if not is_mapping(values):
        raise SettingError(
            f"{path} holds no {what}; it must be a mapping, a line for each key such as {'key: value'!r}."
        )
    return dict(values)


def is_mapping(values: object) -> bool:
    """Whether a value is a mapping whose keys are texts."""
    return isinstance(values, Mapping) and all(isinstance(key, str) for key in values)


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping whose keys are all different; any other is read as YAML, which names the key."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _depth(value: object) -> int:
    """How deep lists and mappings lie in each other; looks no deeper than is refused."""
    layer, depth = [value], 0
    while depth <= DEEPEST and any(isinstance(item, list | dict) for item in layer):
        inside = [item.values() if isinstance(item, dict) else item for item in layer if isinstance(item, list | dict)]
        layer, depth = [part for parts in inside for part in parts], depth + 1
    return depth
