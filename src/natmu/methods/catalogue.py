"""What there is to know of each method before it is used, as plain values: read from its class and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from natmu.errors import SettingError
from natmu.methods.base import Method
from natmu.methods.registry import load_plug_in, ours, plug_ins
from natmu.models.faults import FAULTS, quoted
from natmu.types import Settings

SECTIONS = {
    "when_to_use": "When to use",
    "cost": "Cost",
    "decisions": "Decisions",
    "references": "References",
}
"""Keys of a row, and the titles of the sections of a docstring that they are taken from."""

PACKAGE = "natmu"


def catalogue() -> list[dict[str, Any]]:
    """Our methods, one row each.

    Examples:
        >>> row = next(row for row in catalogue() if row["name"] == "salun")
        >>> row["paper"]["year"], row["needs_retain"]
        (2024, True)
    """
    return [row_of(method) for method in ours().values()]


def plug_in_catalogue() -> tuple[list[dict[str, Any]], list[str]]:
    """The methods of installed packages, one row each, and a sentence on each that cannot be used."""
    rows, faults = [], []
    for plug_in in plug_ins():
        try:
            rows.append(row_of(load_plug_in(plug_in), plug_in.package))
        except SettingError as error:
            faults.append(str(error))
        except FAULTS as error:  # such as settings of a kind that has no plain form
            faults.append(f"Method {plug_in.name!r} of the package {plug_in.package} has no row ({quoted(error)}).")
    return rows, faults


def row_of(method: type[Method], package: str = PACKAGE) -> dict[str, Any]:
    """All there is to know of a method; texts are paragraphs, and empty where the docstring has none.

    ``paper`` is None where there is none, and ``package`` is what brings the method.
    """
    texts = parse_docstring(method.__doc__ or "")
    return {
        "name": method.name,
        "package": package,
        "summary": texts["summary"],
        "rule": texts["rule"],
        **{key: texts.get(title, "") for key, title in SECTIONS.items()},
        "paper": None if method.paper is None else asdict(method.paper),
        "scenarios": list(method.scenarios),
        "needs_labels": method.needs_labels,
        "needs_retain": method.needs_retain,
        "needs_holdout": method.needs_holdout,
        "stochastic": method.stochastic,
        "settings": settings_of(method.Config),
        "presets": [{"name": name, **asdict(preset)} for name, preset in method.presets.items()],
    }


def parse_docstring(text: str) -> dict[str, str]:
    r"""The parts of a docstring.

    Args:
        text: A line that sums it up, the rule, and sections: a title with a colon on a line of its own, its text
            indented below. A paragraph that was broken into lines becomes one line; one that begins with ``- `` is an
            item of a list.

    Returns:
        ``summary``, ``rule``, and each section by its title; paragraphs with an empty line between them.

    >>> parse_docstring("Sums up.\n\n    The\n    rule.\n\n    Cost:\n        Nothing.\n    ")
    {'summary': 'Sums up.', 'rule': 'The rule.', 'Cost': 'Nothing.'}
    """
    parts: dict[str, list[str]] = {"rule": []}
    title = "rule"
    for line in inspect.cleandoc(text).splitlines():
        heading = re.fullmatch(r"([A-Z][A-Za-z ]*):", line)
        if heading:
            title = heading[1]
            parts[title] = []
        else:
            parts[title].append(line)
    summary, *rule = _paragraphs(parts.pop("rule")) or [""]
    sections = {title: "\n\n".join(_paragraphs(lines)) for title, lines in parts.items()}
    return {"summary": summary, "rule": "\n\n".join(rule), **sections}


def _paragraphs(lines: list[str]) -> list[str]:
    """Paragraphs of lines, each on one line; an item of a list is a paragraph."""
    text = re.sub(r"\n(?=\s*- )", "\n\n", "\n".join(lines))
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def settings_of(config: type[Settings]) -> list[dict[str, Any]]:
    """The settings of a class: name, default, what they accept, description.

    ``accepts`` is a list of choices, a kind of value such as ``number``, or a range such as ``above 0, at most 1``;
    ``required`` says that there is no default.
    """
    schema = config.model_json_schema()
    return [
        {
            "name": name,
            "default": _plain(schema["properties"][name].get("default")),
            "required": field.is_required(),
            "accepts": _accepts(schema["properties"][name], schema.get("$defs", {})),
            "description": field.description or "",
        }
        for name, field in config.model_fields.items()
    ]


BOUNDS = {"exclusiveMinimum": "above", "minimum": "at least", "exclusiveMaximum": "below", "maximum": "at most"}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "object": "mapping", "array": "list"}


def _accepts(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Any] | str:
    """What a value of a JSON schema may be."""
    if "$ref" in schema:
        return _accepts(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        each = [_accepts(one, definitions) for one in schema["anyOf"]]
        return " or ".join(one if isinstance(one, str) else ", ".join(map(str, one)) for one in each)
    if "enum" in schema:
        return list(schema["enum"])
    kind = schema.get("type")
    if kind in ("boolean", "null"):
        return [False, True] if kind == "boolean" else "none"
    bounds = ", ".join(f"{word} {_plain(schema[key])}" for key, word in BOUNDS.items() if key in schema)
    return " ".join(filter(None, [KINDS.get(str(kind), "value"), bounds]))


def _plain(value: Any) -> Any:  # noqa: ANN401 - a plain value of any kind
    """Whole numbers without a decimal point."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value
