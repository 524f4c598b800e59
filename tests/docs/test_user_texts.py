"""What users read from the code, in messages, help and descriptions: short sentences in the words of this project."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest
from tests.plain_english import ROOT, sentences, word_count

LIMIT = 35
"""Words of one sentence. Less than on a page: a message is read once, by somebody whose command has just failed."""

FEWEST = 4
"""Words of a text that may be a sentence; shorter literals are keys, names and pieces."""

LONG = {
    "report/cost_figure.py": "a legend: each of its parts explains one sign of the chart",
}
"""Files with a longer sentence, and why."""

REJECTED = {
    r"answers?": "logits or predictions",
    r"strangers?": "non-members",
    r"(?:tells?|told|telling)(?: \w+){0,4} apart": "distinguishes",
    r"floors?": "retraining baseline",
    r"ceilings?": "original",
    r"(?:(?:a|the|what|each|its|this|that|random|same|equal) share|shares? of)": "fraction",
    r"courses?": "schedule",
    r"specs?": "forget request, scenario or lineage",
    r"gold(?:en)?|oracles?": "retrained",
    r"hardness": "difficulty",
    r"whoever": "anyone who, or the person who",
    r"mend(?:s|ed)?": "correct",
    r"go(?:es)? on with": "continue",
    r"say with|lies now": "give the place with",
    r"stands? (?:there|twice)": "appears",
}
"""Words of the style guide's table, and turns of phrase that readers stumble over, with what is said in their place."""

RIGHT = {
    ("answer", "cli/requests/__init__.py"): "the verb answers requests",
    ("answers", "requests/evidence_limits.py"): "a model answers a request",
    ("answers", "requests/state.py"): "a process answers requests",
    ("answer", "requests/recording.py"): "a request answers for another's samples",
    ("answer", "lineage/executors/ray.py"): "a cluster answers over the network",
    ("answer", "testing/processes.py"): "a process answers",
}
"""Where a rejected word is right, and why."""


def texts(source: str) -> Iterator[str]:
    """The literals of a module that may be sentences: no docstrings, and no formulas; ``…`` where a value goes."""
    tree = ast.parse(source)
    left: list[ast.AST] = [tree]
    while left:
        node = left.pop()
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.keyword) and node.arg == "formula":
            continue
        text = text_of(node)
        if text is None:
            left.extend(ast.iter_child_nodes(node))
        elif word_count(text) >= FEWEST:
            yield " ".join(text.split())


def text_of(node: ast.AST) -> str | None:
    """The text of a literal; None of anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(piece.value if isinstance(piece, ast.Constant) else "…" for piece in node.values)
    return None


@cache
def ours() -> dict[str, tuple[str, ...]]:
    """The texts of every module of the package."""
    package = ROOT / "src/natmu"
    paths = sorted(package.rglob("*.py"))
    return {path.relative_to(package).as_posix(): (*texts(path.read_text(encoding="utf-8")),) for path in paths}


def long_sentences(text: str) -> list[str]:
    """The sentences of a text that are too long. A full stop after a value ends one, which the splitter cannot see."""
    return [one for one in sentences(text.replace("…", "value")) if word_count(one) > LIMIT]


def rejected(text: str) -> list[str]:
    """The rejected words in a text."""
    return re.findall(rf"\b(?:{'|'.join(REJECTED)})\b", text, re.IGNORECASE)


def test_literals_are_found_and_docstrings_and_formulas_are_not():
    source = '''"""A docstring of a module here."""
def f(name):
    """A docstring of a function here."""
    raise Wrong(f"There is no {name!r} "
        "in this folder; choose another.", formula="not a b c sentence")
NAME = "too short"
HELP = dict(help="What a user reads here.")
'''
    assert sorted(texts(source)) == ["There is no … in this folder; choose another.", "What a user reads here."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "The model tells the two apart, and its answers are a share of all.",
            ["tells the two apart", "answers", "a share"],
        ),
        ("Models share the work, as of course a courser's specification says.", ["course"]),
        ("Whoever has it can mend it; say with --data where it lies now.", ["Whoever", "mend", "say with", "lies now"]),
        ("Recommended settings, amended; golden rules stand twice.", ["golden", "stand twice"]),
    ],
)
def test_rejected_words_are_found_whole(text, words):
    assert rejected(text) == words


def test_a_long_sentence_is_found_after_a_value():
    assert long_sentences("word " * LIMIT) == []
    assert long_sentences("word " * (LIMIT + 1)) != []
    assert long_sentences(f"{'word ' * 20}…. {'Word ' * 20}") == []


def test_sentences_that_users_read_are_short():
    found = {(where, one) for where, every in ours().items() for text in every for one in long_sentences(text)}
    assert sorted((where, one) for where, one in found if where not in LONG) == []
    assert sorted(LONG.keys() - {where for where, _ in found}) == [], "these exceptions are needed no more"


def test_sentences_that_users_read_keep_to_the_words_of_this_project():
    found = {(word.lower(), where) for where, every in ours().items() for text in every for word in rejected(text)}
    assert sorted(found - RIGHT.keys()) == []
    assert sorted(RIGHT.keys() - found) == [], "these exceptions are needed no more"
