"""Small pictures that live in the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from natmu.records.audit import AuditFolder
from natmu.records.samples import Sample
from natmu.records.study import Hybrids

BUDGET = 550_000
"""Characters that all pictures of exposed samples together may take."""
HYBRID_SIDE = 160


@dataclass(frozen=True)
class Hybrid:
    """One of NatMU's blends: four pictures and what they show."""

    forget: str
    forget_name: str
    mask: str
    weight: float
    partner: str
    partner_name: str
    hybrid: str


@dataclass(frozen=True)
class ShownSample:
    """One exposed forget sample: its row of ``samples.csv``, its class name, and its picture where it was stored."""

    row: Sample
    name: str
    picture: str | None

    @property
    def called(self) -> str:
        """What its source calls the sample; its position where it has no other name."""
        return self.row.name or f"no. {self.row.index}"


def data_uri(pixels: npt.ArrayLike, side: int | None = None) -> str:
    """Grey ``(H, W)`` or colour ``(H, W, 3)`` pixels, 0..255, as a PNG data URI, shrunk to ``side`` if larger."""
    image = Image.fromarray(np.asarray(pixels).astype(np.uint8))
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def hybrids(examples: Hybrids) -> list[Hybrid]:
    """The hybrids of a study."""
    return [
        Hybrid(
            forget=data_uri(examples.forget[index], HYBRID_SIDE),
            forget_name=str(examples.forget_names[index]),
            mask=data_uri(np.rint(255 * mask.astype(np.float64)), HYBRID_SIDE),
            weight=float(mask.mean()),
            partner=data_uri(examples.partner[index], HYBRID_SIDE),
            partner_name=str(examples.partner_names[index]),
            hybrid=data_uri(examples.hybrid[index], HYBRID_SIDE),
        )
        for index, mask in enumerate(examples.mask)
    ]


def galleries(audits: Sequence[AuditFolder], most: int = 24) -> list[list[ShownSample]]:
    """The most exposed forget samples of each audit, with their pictures as far as the file may grow.

    All audits get the pictures of equally many samples, those of the highest rank.
    """
    rows = [[row for row in audit.samples if row.part == "forget"][:most] for audit in audits]
    pictures = [_pictures(audit) for audit in audits]
    kept: dict[tuple[int, int], str] = {}
    room = BUDGET
    for place, number, row in _by_rank(rows):
        pixels = pictures[number][0].get(row.index)
        if pixels is None:
            continue
        uri = data_uri(pixels)
        room -= len(uri)
        if room < 0:
            break
        kept[number, place] = uri
    return [
        [
            ShownSample(row, pictures[number][1].get(row.index, f"class {row.label}"), kept.get((number, place)))
            for place, row in enumerate(shown)
        ]
        for number, shown in enumerate(rows)
    ]


def _by_rank(rows: Sequence[Sequence[Sample]]) -> Iterator[tuple[int, int, Sample]]:
    """Place, number of the audit and row, the most exposed of all audits first."""
    for place in range(max(map(len, rows), default=0)):
        for number, shown in enumerate(rows):
            if place < len(shown):
                yield place, number, shown[place]


def _pictures(audit: AuditFolder) -> tuple[dict[int, npt.NDArray[Any]], dict[int, str]]:
    """Pixels and class names by position in the training data."""
    exposed = audit.exposed
    if exposed is None:
        return {}, {}
    positions = exposed.samples.tolist()
    return dict(zip(positions, exposed.images, strict=True)), dict(zip(positions, map(str, exposed.names), strict=True))
