r"""Text from outside, made safe for each place where it is shown: nothing in it is a command there.

Labels, names of files and classes, tickets and messages of foreign code may hold anything: sequences that move a
terminal's cursor, overrides of the direction of writing, formulas, markup. What no reader sees is written as Python
writes it, ``\x1b`` or ``\u202e``; what a medium would read as its own syntax is escaped as that medium wants it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from unicodedata import normalize

_UNSEEN = (
    "\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\u2028\u2029\ud800-\udfff"  # ends of lines and of paragraphs; surrogates, of names that are no UTF-8
    "\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # without width, or of direction
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"  # letters and accents that are blank
)
_ANY = re.compile(f"[{_UNSEEN}]")
_WITHIN_LINES = re.compile(f"(?![\n\t])[{_UNSEEN}]")

LONGEST_WORD, LONGEST_MESSAGE = 300, 1_500
"""Characters of a word or of something in quotation marks, and of a message; what is longer is shortened."""

_MOST_LOOKED_AT = 20 * LONGEST_MESSAGE

_QUOTED = re.compile(rf"(?<![^\s(\[:=,])(['\"])((?:(?!\1).){{{LONGEST_WORD + 1},}}?)\1(?!\w)")
_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")

FORMULA = ("=", "+", "-", "@")
"""With these a spreadsheet starts a formula, whether or not the field is quoted."""

_NUMBER = r"(?:[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_NUMBERS = re.compile(rf"{_NUMBER}(?:;{_NUMBER}?)*", re.ASCII)

_MARKS = re.compile(
    r"(?<=[^\W_])_+(?=[^\W_])"  # within a word, where it is no mark
    r"|[\\`*|<~$_]|&(?=#?\w+;)|\](?=[(\[:])|^[#>+=-]"
)

_TEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "{": r"\{",
        "}": r"\}",
        "$": r"\$",
        "&": r"\&",
        "#": r"\#",
        "%": r"\%",
        "_": r"\_",
        "^": r"\textasciicircum{}",
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': r"\symbol{34}",
        "`": r"\symbol{96}",
        "[": "{[}",
        "]": "{]}",
        "*": "{*}",
        "±": r"$\pm$",
    }
)
"""What TeX gives a meaning to, with ``[`` and ``*``, which ``\\\\`` at the end of a row takes for its arguments."""


def for_terminal(text: str) -> str:
    r"""A text on one line of a terminal.

    >>> for_terminal("cat\x1b[2J\n\u202etac")
    'cat\\x1b[2J\\n\\u202etac'
    """
    return _ANY.sub(_escape, text)


def for_log(text: str) -> str:
    """Lines of a file that people read on a terminal; ends of lines and tabs stay."""
    return _WITHIN_LINES.sub(_escape, text)


for_page = for_log
"""A text of a page, before HTML's own characters are escaped; ends of lines and tabs are blanks there."""


def one_line(text: str) -> str:
    """A text with single blanks between its words, and nothing unseen in it."""
    return for_terminal(" ".join(text.split()))


def for_message(text: str) -> str:
    """A message on one line, in which what is too long to be read is shortened."""
    return shortened(one_line(_middle_out(text, _MOST_LOOKED_AT)))


def for_label(text: str) -> str:
    """A text on one line of a table or a bar, in which what is too long to be read is shortened."""
    return shortened(for_terminal(_middle_out(text, _MOST_LOOKED_AT)))


def shortened(text: str) -> str:
    """A text without the middle of words, of what it quotes, and at last of itself, where they are too long.

    >>> shortened(f"There is no {'x' * 10_000}.").count("x")
    296
    """
    if len(text) <= LONGEST_WORD:
        return text
    text = _middle_out(text, _MOST_LOOKED_AT)
    text = _QUOTED.sub(lambda found: f"{found[1]}{_middle_out(found[2], LONGEST_WORD)}{found[1]}", text)
    text = _WORD.sub(lambda found: _middle_out(found[0], LONGEST_WORD), text)
    return _middle_out(text, LONGEST_MESSAGE)


def for_markdown(text: str) -> str:
    r"""A text in a line or a cell of GitHub's Markdown, which shows it as it stands.

    >>> for_markdown("a|b *c* <img> retain_fraction [x](y) _z_")
    'a\\|b \\*c\\* \\<img> retain_fraction [x\\](y) \\_z\\_'
    """
    return _MARKS.sub(_marked, one_line(text))


def for_latex(text: str) -> str:
    """A text on one line that TeX prints as it stands."""
    return one_line(text).translate(_TEX)


def for_plotly(text: str, most: int) -> str:
    """A text that Plotly shows as it is, on one line and not longer than ``most`` characters."""
    text = one_line(text)
    text = text if len(text) <= most else f"{text[: most - 1]}…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def for_json(text: str) -> str:
    r"""JSON of the same meaning with nothing unseen in it but ends of lines."""
    return _WITHIN_LINES.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _utf16(found[0])), text)


def csv_lines(rows: Iterable[Sequence[object]], end: str = "\n") -> str:
    """Rows as comma-separated values, whose texts no spreadsheet calculates; the one place that writes such a file.

    A text that a spreadsheet would take for a formula has an apostrophe before it; ``from_csv`` takes it away. Numbers,
    and lists of them with semicolons, are left as they are.

    Args:
        rows: Cells; None is an empty one.
        end: Ends each line.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=end)
    writer.writerows([_cell(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return text.getvalue()


def from_csv(cell: str) -> str:
    """What was shown in a cell that ``csv_lines`` wrote.

    >>> from_csv("'=1+1"), from_csv("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _calculated(cell.lstrip("'")) else cell


def encodable(text: str, encoding: str | None) -> str:
    """A text whose letters an encoding has; others are written as Python writes them."""
    known = encoding or "utf-8"
    return text.encode(known, "backslashreplace").decode(known)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _utf16(letter: str) -> list[int]:
    """The one or two numbers by which JSON names a letter."""
    units = letter.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]


def _middle_out(text: str, most: int) -> str:
    """The first two thirds and the last third of what is allowed of a text."""
    if len(text) <= most:
        return text
    last = most // 3
    return f"{text[: most - last - 3]} … {text[-last:]}"


def _marked(found: re.Match[str]) -> str:
    """A mark with a backslash before it, or underscores that are none."""
    text, at = found[0], found.start()
    inside = text.startswith("_") and at > 0 and found.string[at - 1 : at].isalnum()
    return text if inside and found.string[found.end() : found.end() + 1].isalnum() else f"\\{text}"


def _cell(text: str) -> str:
    """A cell's text on one line, guarded where it could be a formula, and where the guard could be taken for one."""
    shown = for_terminal(text)
    return f"'{shown}" if _calculated(shown.lstrip("'")) else shown


def _calculated(text: str) -> bool:
    """Whether a spreadsheet would calculate a cell."""
    plain = normalize("NFKC", text).lstrip()  # some spreadsheets take full-width signs for plain ones
    return plain.startswith(FORMULA) and not _NUMBERS.fullmatch(plain)
