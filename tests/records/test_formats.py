"""The page on file formats is made from the types; ``make catalogue`` renews it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field
from tests.records.formats import SECTIONS, attributes, markdown, shown_type

from natmu.records.digests import Digest
from natmu.records.files import File, Value
from natmu.records.lineage import Trained

PAGE = Path(__file__).parents[2] / "docs/formats.md"


def test_the_page_is_what_the_types_say():
    assert PAGE.read_text(encoding="utf-8") == markdown(), "the types say something else now: run make catalogue"


def test_every_file_with_a_type_has_a_section():

    def below(kind):
        return {kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))}

    ours = {kind for kind in below(File) if kind.__module__.startswith("natmu.")} - {File}
    assert ours <= {content for _, _, content, _ in SECTIONS}


def test_docstrings_and_types_are_read_as_they_are_written():
    class Box(Value):
        """A box.

        Attributes:
            size: In ``m``,
                or so.
        """

        size: int | None

    assert attributes(Box) == {"size": "In `m`, or so"}
    assert shown_type(Box.model_fields["size"].annotation) == "integer or null"
    assert shown_type(dict[str, tuple[float, ...]]) == "object of list of number by name"
    assert shown_type(Trained) == "[Trained](#trained)"
    assert shown_type(Digest) == "digest"
    assert shown_type(Annotated[str, Field(pattern="^[a-z]+$")]) == "text"


if __name__ == "__main__":
    PAGE.write_text(markdown(), encoding="utf-8")
