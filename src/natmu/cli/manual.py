"""What is known of the methods as text: a list for the terminal, one method in full, and all of them in Markdown.

Rows are those of ``natmu.methods.catalogue``; nothing here loads PyTorch.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

WIDTH = 80
SAMPLES, CLASSES = ("random", "hardest", "indices"), ("class", "subclass")
LEGEND = (
    "Forgets: samples are random:N, hardest:N and indices:FILE; classes are class:NAME and subclass:NAME. "
    "Needs: labels, retain (samples that are kept), holdout (samples never trained on), seed (another seed gives "
    "another model). To know all about one method, its settings included, type natmu methods NAME."
)
TEXTS = {"when_to_use": "When to use", "cost": "Cost", "decisions": "Decisions", "references": "References"}
"""The texts of a row that have titles, in their order."""

INTRODUCTION = """# Methods

This page says what each method does, when to use it, what it costs and what it needs. It also says what we decided
where the paper is not clear. `natmu methods` prints the table below, and `natmu methods NAME` prints all about one of
them. `make catalogue` makes this page from the docstrings; change those.

D_r is the retain set, D_f the forget set. "Labels", "retain set" and "holdout" say what a method reads, and "seed
matters" whether another seed gives another model.
"""


def listing(rows: Sequence[Row]) -> str:
    """A line of facts for each method, and below it what it does."""
    table = [("method", "paper", "forgets", "needs")]
    table += [(row["name"], _paper(row), _serves(row), _needs(row).replace(",", "")) for row in rows]
    widths = [max(len(line[column]) for line in table) + 2 for column in range(3)]
    lines = ["".join(map(str.ljust, line, [*widths, 0])).rstrip() for line in table]
    body = [f"{line}\n{_filled(row['summary'], '    ')}" for line, row in zip(lines[1:], rows, strict=True)]
    return "\n".join([lines[0], *body, "", _filled(LEGEND)])


def in_full(row: Row) -> str:
    """All that is known of one method."""
    parts = [row["name"], _filled(row["summary"]), _filled(row["rule"])]
    for key, title in TEXTS.items():
        parts.append(f"{title}:\n{_filled(row[key], '    ')}" if row[key] else "")
    if row["paper"] and row["paper"]["url"] not in row["references"]:
        parts.append(f"Paper:\n{_filled(_cited(row['paper']), '    ')}")
    parts.append(f"Forget sets: {', '.join(row['scenarios'])}\nNeeds: {_needs(row) or 'nothing'}")
    settings = [f"  {_given(one)}\n{_filled(_explained(one), '      ')}" for one in row["settings"]]
    heading = "Settings and their defaults, given as --set KEY=VALUE:" if settings else "It has no settings."
    parts.append("\n".join([heading, *settings]))
    presets = [_preset(one) for one in row["presets"]]
    parts.append("\n".join(["Presets, published settings given as --set preset=NAME:", *presets]) if presets else "")
    return "\n\n".join(filter(None, parts))


def markdown(rows: Sequence[Row]) -> str:
    """The page on all methods: a table of them, and a section for each."""
    head = ["name", "paper", "forget sets", "labels", "retain set", "holdout", "seed matters"]
    lines = [INTRODUCTION, "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        paper = row["paper"]
        cited = f"[{paper['title']}]({paper['url']}), {_paper(row)}" if paper else ""
        facts = ["needed" if row[key] else "" for key in ("needs_labels", "needs_retain", "needs_holdout")]
        seed = "yes" if row["stochastic"] else "no"
        cells = [f"[`{row['name']}`](#{row['name']})", cited, ", ".join(row["scenarios"]), *facts, seed]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n\n".join(["\n".join(lines), *map(_section, rows)]) + "\n"


def _section(row: Row) -> str:
    """The section on one method, in Markdown."""
    parts = [f"## {row['name']}", f"**{row['summary']}**", row["rule"]]
    for key, title in TEXTS.items():
        gap = "\n\n" if row[key].startswith("- ") else " "
        parts.append(f"*{title}.*{gap}{row[key]}" if row[key] else "")
    settings = ["| setting | default | accepts | what it is |", "|---|---|---|---|"]
    for one in row["settings"]:
        default = "" if one["required"] else f"`{_value(one['default'])}`"
        settings.append(f"| `{one['name']}` | {default} | {_choices(one)} | {one['description']} |")
    parts.append("\n".join(settings) if row["settings"] else "It has no settings.")
    presets = ["| preset | settings | source |", "|---|---|---|"]
    presets += [f"| `{one['name']}` | {_listed(one['settings'])} | {one['source']} |" for one in row["presets"]]
    parts.append("\n".join(presets) if row["presets"] else "")
    return "\n\n".join(filter(None, parts)).replace("``", "`")


def _paper(row: Row) -> str:
    """Authors and year."""
    return f"{row['paper']['authors']} {row['paper']['year']}" if row["paper"] else "-"


def _cited(paper: Mapping[str, Any]) -> str:
    """A paper with its address."""
    return f"{paper['title']} ({paper['authors']}, {paper['year']}), {paper['url']}"


def _serves(row: Row) -> str:
    """The kinds of forget set, in short."""
    kinds = set(row["scenarios"])
    whole = {"samples": set(SAMPLES), "classes": set(CLASSES)}
    words = [word for word, members in whole.items() if members <= kinds]
    rest = kinds.difference(*(whole[word] for word in words))
    return "all" if len(words) == len(whole) else ", ".join([*words, *sorted(rest)])


def _needs(row: Row) -> str:
    """What a method reads and depends on, in short."""
    named = {"labels": row["needs_labels"], "retain": row["needs_retain"], "holdout": row["needs_holdout"]}
    named["seed"] = row["stochastic"]
    return ", ".join(word for word, needed in named.items() if needed)


def _filled(text: str, indent: str = "") -> str:
    """Paragraphs, and items of lists, without their marks of code, in lines that fit; addresses stay whole."""
    options: dict[str, Any] = {"initial_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    return "\n".join(
        textwrap.fill(part, WIDTH, subsequent_indent=indent + "  " * part.startswith("- "), **options)
        for part in text.replace("``", "").split("\n\n")
    )


def _given(setting: Row) -> str:
    """A setting with its default, as it is given."""
    return f"{setting['name']}={'…' if setting['required'] else _value(setting['default'])}"


def _preset(preset: Row) -> str:
    """A preset with its settings and their source."""
    lines = [_filled(text, "      ") for text in (_listed(preset["settings"]), preset["source"])]
    return "\n".join([f"  {preset['name']}:", *lines])


def _listed(settings: Row) -> str:
    """Settings as they are given, one after the other."""
    return ", ".join(f"{name}={_value(value)}" for name, value in settings.items())


def _explained(setting: Row) -> str:
    """What a setting is and what it accepts."""
    return f"{setting['description']}; {_choices(setting)}"


def _choices(setting: Row) -> str:
    """What a setting accepts."""
    accepts = setting["accepts"]
    return accepts if isinstance(accepts, str) else ", ".join(map(_value, accepts))


def _value(value: object) -> str:
    """A value as it is written in YAML and on the command line."""
    return value if isinstance(value, str) else json.dumps(value)
