"""Reading a mapping from YAML, where no key may stand twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from natmu.errors import SettingError


class _Loader(yaml.SafeLoader):
    """Plain values only; PyYAML itself lets the last of equal keys win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping, unless one of its keys stands twice."""
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f"the key {key.value} stands twice", problem_mark=key.start_mark
                )
            seen.add(name)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def read_mapping(path: Path, what: str) -> dict[str, Any]:
    """The mapping that a file holds; an empty file holds an empty one.

    Args:
        path: The file.
        what: What it should be, such as ``policy``; named in errors.

    Raises:
        SettingError: There is no such file, it is not YAML, or holds something else.
    """
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise SettingError(f"Cannot read the {what} {path} ({error.strerror}); name the file that holds it.") from None
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f" in line {error.problem_mark.line + 1}"
        raise SettingError(f"{path} is not readable as YAML: {error.problem or error.context}{line}.") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML lets the last four escape from values that do not fit their tag, such as `!!int ""`.
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingError(f"{path} is not readable as YAML: {first}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingError(
            f"{path} holds no {what}; it must be a mapping, a line for each key such as {'key: value'!r}."
        )
    return values
