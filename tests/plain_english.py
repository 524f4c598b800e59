"""How long a page's sentences are, and which are the longest: ``python -m tests.plain_english [FILES] [--worst N]``.

What counts is running text. Blocks of code, tables, headings, pictures, references and the addresses of links are left
out.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

ROOT = Path(__file__).parents[1]

# Words a sentence, on average on a page: what guides to plain English ask for at most.
MEAN_LIMIT = 25
# Words of one sentence. The average alone lets a page hide one sentence of 80 words among short ones. A sentence with
# one list or one condition stays below 40 words; a longer one holds two ideas, and can be cut in two.
SENTENCE_LIMIT = 40

_FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>```+|~~~+).*?^[ >]*(?P=fence)[`~]*\s*?$", re.DOTALL | re.MULTILINE)
_HIDDEN = re.compile(r"\A---\n.*?\n---\n|<!--.*?-->", re.DOTALL)
_ITEM = re.compile(r"^(?:[-*+]|\d+[.)]|\[\^\w+\]:|:(?= {3}))\s+")
# A list of references is titles and authors, and no sentence.
_SKIPPED = re.compile(r"^(?:#{1,6} |\||!!! |\?\?\?|=== |::: |\*References\.\* |\[[^\]]+\]: |[-=*_ ]{3,}$)")
_ABBREVIATIONS = frozenset(("e.g", "i.e", "cf", "vs", "al", "approx", "resp", "incl", "dr"))
_BEFORE_NUMBERS = frozenset(("no", "fig", "eq", "sec", "p", "pp"))
_END = re.compile(r"(?P<word>\S*?)(?P<mark>[.!?…]+)(?P<quote>[\"')\]*_]*)\s+(?=(?P<next>\S))")


def blocks(markdown: str) -> list[str]:
    """The paragraphs and list items of a page, each on one line, without marks of Markdown."""
    text = _FENCE.sub("\n", _HIDDEN.sub("\n", markdown))
    found: list[str] = []
    current: list[str] = []
    for line in map(_unquoted, text.splitlines()):
        item = _ITEM.match(line)
        skipped = not line or _SKIPPED.match(line)
        if skipped or item:
            found.append(" ".join(current))
            current = []
        if not skipped:
            current.append(line[item.end() :] if item else line)
    return [block for block in map(_plain, [*found, " ".join(current)]) if word_count(block)]


def _unquoted(line: str) -> str:
    """A line without its indent and without the marks of a quotation."""
    return re.sub(r"^[\s>]+", "", line).rstrip()


def _plain(block: str) -> str:
    """A block without pictures, addresses and HTML; a piece of code in it is one word, whatever it holds."""
    block = re.sub(r"(`+).+?\1", "`code`", block)
    block = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", block)
    block = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])", r"\1", block)
    return re.sub(r"</?[a-zA-Z][^>]*>|<https?:[^>]*>|\*\*|\{[:#.][^}]*\}", "", block).strip()


def sentences(block: str) -> list[str]:
    """The sentences of a block. A colon and a semicolon end none, neither do abbreviations, versions and file names."""
    pieces, start = [], 0
    for end in _END.finditer(block):
        if _ends(end):
            pieces.append(block[start : end.end()].strip())
            start = end.end()
    return [piece for piece in [*pieces, block[start:].strip()] if word_count(piece)]


def _ends(end: re.Match[str]) -> bool:
    """Whether a mark that space follows ends a sentence."""
    word = end["word"].lstrip("(\"'[*_")
    if end["mark"] != ".":
        return not end["next"].islower()
    if len(word) == 1 and word.isupper():  # the initial of a name
        return False
    if word.lower() in _BEFORE_NUMBERS:
        return not end["next"].isdigit()
    if word.lower() == "etc":
        return not end["next"].islower()
    return word.lower() not in _ABBREVIATIONS


def word_count(sentence: str) -> int:
    """How many words a sentence has: what stands between spaces and has a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in sentence.split())


def page_sentences(markdown: str) -> list[str]:
    """All sentences of a page."""
    return [sentence for block in blocks(markdown) for sentence in sentences(block)]


def mean_words(found: Iterable[str]) -> float:
    """Words a sentence, on average; 0 without sentences."""
    counts = [word_count(sentence) for sentence in found]
    return fmean(counts) if counts else 0.0


def pages() -> list[Path]:
    """Every page that readers meet."""
    folders = ("docs", "examples", "benchmarks/results")
    below = (path for folder in folders for path in (ROOT / folder).rglob("*.md"))
    return sorted([*(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "README.md")), *below])


def main() -> None:
    """Print words per sentence of each page, the hardest page first, and the longest sentences of all."""
    parser = argparse.ArgumentParser(description="Words per sentence of each page, and the longest sentences.")
    parser.add_argument("files", nargs="*", type=Path, help="pages; all if none is named")
    parser.add_argument("--worst", type=int, default=10, help="how many of the longest sentences to print")
    arguments = parser.parse_args()
    read = {}
    for path in arguments.files or pages():
        try:
            read[path] = page_sentences(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            parser.error(f"{path} cannot be read as a page: {error}.")
    for path, found in sorted(read.items(), key=lambda item: -mean_words(item[1])):
        longest = max(map(word_count, found), default=0)
        print(f"{mean_words(found):5.1f} words a sentence, at most {longest:3d}, {len(found):4d} sentences  {path}")
    every = [(word_count(sentence), path, sentence) for path, found in read.items() for sentence in found]
    for count, path, sentence in sorted(every, key=lambda entry: -entry[0])[: arguments.worst]:
        print(f"\n{path}, {count} words:\n  {sentence}")


if __name__ == "__main__":
    main()
