"""Texts that somebody could call a class, a file or a method to harm who looks at them, and how they are found."""

import unicodedata

ESCAPES = "\x1b[2J\x1b]0;title\x07\x9b31m\x08\x7f"
RETURNS = "cat\rdog\nnatmu: all is well\x85\u2028x"
BIDI = "\u202egpj.exe\u202c \u2066x\u2069\u200f"
UNSEEN = "zero\u200bwidth\ufeff\xad\u2060\u3164\U000e0041"
MARKUP = "[red]x[/red] :cat: |`b`<i>*c*&amp;</i>"
TEX = r"\input{x}%$#_^~"
FORMULA = '=HYPERLINK("http://x";"y")'
FORMULAS = (FORMULA, "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\uff1d1+1", "'=1")
NO_UTF_8 = "caf\udce9.png"
LONG = "x" * 10_000

NAMES = (ESCAPES, RETURNS, BIDI, UNSEEN, MARKUP, TEX, *FORMULAS, NO_UTF_8, LONG)
"""One of each kind."""

BLANK = {*"\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0", *map(chr, range(0xE0100, 0xE01F0))}
"""Blank, though Unicode calls them letters and accents; with the last ones whole texts can be hidden."""

RESERVED = {*map(chr, (0x2065, *range(0x13439, 0x13440), *range(0xE0000, 0xE1000)))}
"""Formats of later versions of Unicode, or set apart for such, which older ones do not know."""

INVISIBLE = BLANK | RESERVED

VISIBLE_FORMATS = {
    *range(0x600, 0x606),
    0x6DD,
    0x70F,
    0x890,
    0x891,
    0x8E2,
    0x110BD,
    0x110CD,
}
"""Signs of Arabic, Syriac and Kaithi writing that Unicode calls formats and that readers see."""


def unseen(letter):
    """Whether a letter acts on what shows it instead of being seen."""
    kind = unicodedata.category(letter)
    return (kind in {"Cc", "Cf", "Cs", "Zl", "Zp"} and ord(letter) not in VISIBLE_FORMATS) or letter in INVISIBLE


def seen(letter):
    """A letter as it is to be shown."""
    return repr(letter)[1:-1] if letter in "\n\r\t" else ascii(letter)[1:-1] if unseen(letter) else letter


def harm(text, allowed="\n"):
    """What is in a text that should have been made visible."""
    return sorted({letter for letter in text if unseen(letter) and letter not in allowed})
