"""What became of a service's data since it began, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass

SHOWN = 4
"""Names that are shown of samples of one kind."""


@dataclass(frozen=True)
class Some:
    """Some samples.

    Attributes:
        count: How many.
        names: What the first of them are called.
    """

    count: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """For a line on the terminal."""
        more = ", …" if self.count > len(self.names) else ""
        return f"{self.count} ({', '.join(self.names)}{more})"

    def __add__(self, other: Some) -> Some:
        return Some(self.count + other.count, (*self.names, *other.names)[:SHOWN])


@dataclass(frozen=True)
class Changes:
    """What became of a service's data since it began.

    Attributes:
        requested: How many samples are gone that somebody asked to forget.
        lost: Samples that are gone, though nobody asked to forget them.
        edited: Likewise, and another image has the name.
        relabelled: Likewise, and the same image has another class now.
        moved: Samples that are called otherwise now.
        added: Samples that were not there; no model is trained on them.
    """

    requested: int = 0
    lost: Some = Some()
    edited: Some = Some()
    relabelled: Some = Some()
    moved: Some = Some()
    added: Some = Some()

    @property
    def missing(self) -> int:
        """How many samples cannot be used that nobody asked to forget."""
        return self.lost.count + self.edited.count + self.relabelled.count

    def in_words(self) -> list[str]:
        """A line for each kind of change."""
        kinds = {
            "gone, though nobody asked to forget them": self.lost,
            "changed, so what the model was trained on is gone": self.edited,
            "of another class now, so the model was not trained on them as they are": self.relabelled,
            "called otherwise now, and recognised by their pixels": self.moved,
            "new, and not trained on": self.added,
        }
        lines = [f"Samples that are {what}: {some}." for what, some in kinds.items() if some.count]
        gone = [f"Samples that are gone and were asked to be forgotten: {self.requested}."] if self.requested else []
        return [*gone, *lines]

    def __add__(self, other: Changes) -> Changes:
        return Changes(**{name: getattr(self, name) + getattr(other, name) for name in vars(self)})
