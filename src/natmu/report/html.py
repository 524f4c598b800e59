"""How texts come into a page: nothing unseen is in them, and HTML's own characters are escaped."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from natmu.safe_text import for_page


def templates() -> Environment:
    """The templates of pages; every text that they are given is made safe where it is put in."""
    return Environment(
        loader=PackageLoader("natmu.report"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def for_html(text: str) -> Markup:
    """A text within a piece of a page that is written without a template."""
    return escape(for_page(text))


def _shown(value: object) -> object:
    """A value of a template; what is markup already was made safe when it became that."""
    return for_page(value) if isinstance(value, str) and not isinstance(value, Markup) else value
