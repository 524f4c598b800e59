"""What is known of the scores as text: a list for the terminal, one score in full, and all of them in Markdown.

Rows are those of ``natmu.scores.catalogue``, as it stores them; nothing here loads numpy or PyTorch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

Row = Mapping[str, Any]

WIDTH = 80
COLUMNS = ("name", "level", "unit", "cost")
LEVELS = {
    "quick": "reads stored predictions, of 1 retrained model at most, and takes seconds",
    "standard": "takes 8 retrained models, which are trained once and kept",
    "full": "takes 64 shadow models or more, and as many unlearning runs",
}
SIDES = {
    "both": "both above and below the baseline",
    "above": "above the baseline only",
    "below": "below the baseline only",
}
QUESTIONS = {
    "forgotten": "whether the forget set is forgotten",
    "kept": "whether the rest is kept",
    "neither": "none, because it mixes both parts or says nothing of either",
}
SYMBOLS = (
    "D_r is the retain set, D_f the forget set, x a sample and y its class. p is the softmax of the logits, φ the "
    "margin log p_y - log Σ of the other p, and E a mean over samples. The modified entropy is "
    "-(1 - p_y) log p_y - Σ over the other classes of p_i log(1 - p_i)."
)
LEGEND = (
    f"Levels: {'; '.join(f'{level} {words}' for level, words in LEVELS.items())}. Units: pp is percentage points. "
    "Compare every score with that of retrained models and of the original: natmu scores NAME says both."
)

INTRODUCTION = f"""# Scores

This page says which scores there are, what each measures, what it costs and how to read it. `natmu scores` prints the
table below, and `natmu scores NAME` prints all about one of them. `make catalogue` makes this page from
`natmu.scores.catalogue`; change that.

No number here means anything by itself. Read it between two others. The **retraining baseline** is the same score of
retrained models, which never saw the forget set. The other is the score of the **original**, on which nothing was
unlearned. Two retrained models differ, so the baseline has a width. A model with a value outside of it is
distinguishable from retrained models. A model with a value within it is not distinguishable at this power, which is
not the same as forgotten. With fewer than two retrained models nothing can be concluded.

The verdict has two parts. *Forgotten?* reads the scores of the forget set. The model remembers it, or knows less of it
than models that never saw it, or is not distinguishable from retrained models. *Kept?* compares the accuracies on the
retain set, the test set and the holdout with those of the original and of retrained models.

Papers call several different numbers "MIA". Here each has a name of its own; the sections say who means which. If the
code of a paper computes a score in another way, the line *published code* says how, and how much the two differ on
made-up models. `python -m tests.scores.differences` prints these differences, and `python benchmarks/audit.py` those of
`mia_efficacy_*`.

Your own package can bring more scores, as [examples/score](../examples/score/README.md) does. `natmu scores` lists
those that are installed, and audits and tables have them as well.

{SYMBOLS}

Units: pp is percentage points; 0-1 is a number between 0 and 1. Levels:

{chr(10).join(f"- *{level}* {words}." for level, words in LEVELS.items())}
"""


def listing(rows: Sequence[Row]) -> str:
    """A line of facts for each score, and below it what it measures."""
    table = [COLUMNS, *(tuple(row[column] for column in COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in table) + 2 for column in range(len(COLUMNS) - 1)]
    lines = ["".join(map(str.ljust, line, [*widths, 0])).rstrip() for line in table]
    body = [f"{line}\n{_filled(row['measures'], '    ')}" for line, row in zip(lines[1:], rows, strict=True)]
    return "\n".join([lines[0], *body, "", _filled(LEGEND)])


def in_full(row: Row) -> str:
    """All that is known of one score."""
    facts = {
        "Level": f"{row['level']}: {LEVELS[row['level']]}",
        "Unit": row["unit"],
        "Range": _range(row),
        "Formula": row["formula"],
        "Retraining baseline, the same score of retrained models": row["baseline"],
        "Original, the score before unlearning": row["original"],
        "Distinguishable from retrained models": SIDES[row["side"]],
        "Part of the verdict": QUESTIONS[row["question"]],
        "Where all models are the same": "" if row["identical"] is None else f"{row['identical']:g}",
        "Cost": row["cost"],
        "Needs": "; ".join(row["needs"]),
        "Called just MIA by": ", ".join(row["called_mia_by"]),
        "Published code": row["published"],
        "Source": _cited(row["source"]),
        "Package": "" if row["package"] == "natmu" else row["package"],
    }
    told = [f"{title}:\n{_filled(text, '    ')}" for title, text in facts.items() if text]
    return "\n\n".join(
        filter(None, [row["name"], _filled(row["measures"]), _filled(row["about"]), "\n".join(told), _filled(SYMBOLS)])
    )


def markdown(rows: Sequence[Row]) -> str:
    """The page on all scores: a table of them, and a section for each family."""
    head = ["name", "level", "unit", "baseline", "original", "cost"]
    lines = [INTRODUCTION, "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        name = f"[`{row['name']}`](#{_anchor(row['family'])})"
        lines.append("| " + " | ".join([name, *(row[column] for column in head[1:])]) + " |")
    sections = [_section(family, list(members)) for family, members in groupby(rows, key=lambda row: row["family"])]
    return "\n\n".join(["\n".join(lines), *sections]) + "\n"


def _section(family: str, rows: Sequence[Row]) -> str:
    """The section on one family; scores that share a formula share a list of facts."""
    parts = [f"## {family}", rows[0]["about"]]
    for formula in dict.fromkeys(row["formula"] for row in rows):
        parts.extend(_facts([row for row in rows if row["formula"] == formula]))
    return "\n\n".join(parts)


def _facts(rows: Sequence[Row]) -> list[str]:
    """What scores of one formula measure, and how they are read."""
    first = rows[0]
    measured = "\n".join(f"- `{row['name']}`: {row['measures']}" for row in rows)
    levels = " and ".join(dict.fromkeys(row["level"] for row in rows))
    called = "; ".join(f"`{row['name']}` by {', '.join(row['called_mia_by'])}" for row in rows if row["called_mia_by"])
    sources = "; ".join(dict.fromkeys(filter(None, (_linked(row["source"]) for row in rows))))
    facts = {
        "formula": first["formula"].replace("|", r"\|"),
        "range": _range(first),
        "retraining baseline": _shared("baseline", rows),
        "original": _shared("original", rows),
        "distinguishable from retrained models": SIDES[first["side"]],
        "part of the verdict": _shared("question", rows, QUESTIONS),
        "cost": f"{first['cost']} ({levels})",
        "needs": "; ".join(first["needs"]),
        "called just MIA": called,
        "published code": _shared("published", rows),
        "source": sources,
    }
    table = [f"| {title} | {text} |" for title, text in facts.items() if text]
    return [measured, "\n".join([table[0], "|---|---|", *table[1:]])]


def _range(row: Row) -> str:
    """Between which values a score lies."""
    low, high = row["low"], row["high"]
    if low is None:
        return "any number" if high is None else f"up to {high:.3g}"
    return f"{low:.3g} and above" if high is None else f"{low:.3g} to {high:.3g}"


def _shared(key: str, rows: Sequence[Row], words: Mapping[str, str] | None = None) -> str:
    """What is the same for all of these scores, or what is so for each; in other words where some are given."""
    texts = [str(row[key]) if words is None else words[row[key]] for row in rows]
    if len(set(texts)) == 1:
        return texts[0]
    return "; ".join(f"`{row['name']}`: {text}" for row, text in zip(rows, texts, strict=True))


def _anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return heading.lower().replace(" ", "-")


def _cited(source: Row | None) -> str:
    """A source with its address."""
    if source is None:
        return ""
    return ", ".join(filter(None, [f"{source['title']} ({source['authors']}, {source['year']})", source["url"]]))


def _linked(source: Row | None) -> str:
    """A source as a link."""
    if source is None:
        return ""
    title = f"[{source['title']}]({source['url']})" if source["url"] else source["title"]
    return f"{title}, {source['authors']} {source['year']}"


def _filled(text: str, indent: str = "") -> str:
    """A paragraph without its marks of code, in lines that fit; addresses stay whole."""
    options: dict[str, Any] = {"initial_indent": indent, "subsequent_indent": indent}
    return textwrap.fill(text.replace("`", ""), WIDTH, break_long_words=False, break_on_hyphens=False, **options)
