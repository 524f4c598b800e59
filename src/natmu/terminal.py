"""Standard output and standard error: the only way of texts to them, beside the console of ``natmu.console``."""

from __future__ import annotations

import sys

from natmu.safe_text import encodable, for_log, for_terminal


def echo(*lines: object, err: bool = False) -> None:
    """Print lines, each of which stays one line whatever it holds.

    Args:
        lines: Their texts.
        err: Whether they go to standard error.
    """
    _write("".join(f"{for_terminal(str(line))}\n" for line in lines), err=err)


def echo_document(text: str) -> None:
    """Print a text that was written line by line for another medium; its own ends of lines stay.

    Args:
        text: Such as a table in Markdown.
    """
    _write(for_log(text.replace("\r\n", "\n")).replace("\n", "\r\n" if "\r\n" in text else "\n"), err=False)


def _write(text: str, *, err: bool) -> None:
    stream = sys.stderr if err else sys.stdout
    stream.write(encodable(text, stream.encoding))
    stream.flush()
