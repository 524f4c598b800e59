"""The console for tables, styles and bars. Whatever is printed on it is shown as it stands: no markup, no control.

All of natmu takes ``Console`` and ``Text`` from here, never from rich, whose own take ``[red]`` in a label for a style
and leave a terminal's control sequences in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
import rich.text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style

from natmu.safe_text import encodable, for_label, for_log, for_terminal


class Text(rich.text.Text):
    """A text on one line, in a style; ``lines`` puts one below another."""

    def __init__(self, text: str = "", style: str | Style = "", **options: Any) -> None:  # noqa: ANN401 - rich's own
        super().__init__(for_label(text), style, **options)

    def append(self, text: rich.text.Text | str, style: str | Style | None = None) -> Text:
        """Add a text, which is made safe as well."""
        super().append(Text(text).plain if isinstance(text, str) else text, style)
        return self


class Console(rich.console.Console):
    """A console that shows every text as it stands; standard output, without colours where it is no terminal."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401 - rich's own
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def render_str(self, text: str, **options: Any) -> rich.text.Text:  # noqa: ANN401 - rich's own
        """A cell or a line that is given as a plain string."""
        return super().render_str(for_terminal(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is ever written: the last place where anything unseen in a text is found."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(encodable(for_log(segment.text), self.encoding), segment.style)


def lines(*parts: Text | str, style: str = "") -> Text:
    """Texts one below the other.

    Args:
        parts: Each a line.
        style: Of those that are plain strings.
    """
    joined = Text()
    for row, part in enumerate(parts):
        if row:
            rich.text.Text.append(joined, "\n")
        joined.append_text(Text(part, style) if isinstance(part, str) else part)
    return joined
