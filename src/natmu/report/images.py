"""Small pictures that live in the page itself."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from natmu.report.runs import Arrays, RunFiles

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
class Sample:
    """One exposed forget sample: its row of ``samples.csv``, its class name, and its picture where it was stored."""

    row: Mapping[str, str]
    name: str
    picture: str | None


def data_uri(pixels: npt.ArrayLike, side: int | None = None) -> str:
    """Grey ``(H, W)`` or colour ``(H, W, 3)`` pixels, 0..255, as a PNG data URI, shrunk to ``side`` if larger."""
    image = Image.fromarray(np.asarray(pixels).astype(np.uint8))
    if side is not None and max(image.size) > side:
        image.thumbnail((side, side))
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"


def hybrids(examples: Arrays) -> list[Hybrid]:
    """The hybrids of ``hybrids.npz``."""

    def shown(name: str, index: int) -> str:
        return data_uri(examples[name][index], HYBRID_SIDE)

    return [
        Hybrid(
            forget=shown("forget", index),
            forget_name=str(examples["forget_names"][index]),
            mask=data_uri(np.rint(255 * mask.astype(np.float64)), HYBRID_SIDE),
            weight=float(mask.mean()),
            partner=shown("partner", index),
            partner_name=str(examples["partner_names"][index]),
            hybrid=shown("hybrid", index),
        )
        for index, mask in enumerate(examples["mask"])
    ]


def galleries(runs: Sequence[RunFiles], most: int = 24) -> list[list[Sample]]:
    """The most exposed forget samples of each run, with their pictures as far as the file may grow.

    All runs get the pictures of equally many samples, those of the highest rank.
    """
    rows = [[row for row in run.samples if row["part"] == "forget"][:most] for run in runs]
    pictures = [_pictures(run) for run in runs]
    kept: dict[tuple[int, int], str] = {}
    room = BUDGET
    for place, number, row in _by_rank(rows):
        pixels = pictures[number][0].get(int(row["index"]))
        if pixels is None:
            continue
        uri = data_uri(pixels)
        room -= len(uri)
        if room < 0:
            break
        kept[number, place] = uri
    return [
        [
            Sample(row, pictures[number][1].get(int(row["index"]), f"class {row['class']}"), kept.get((number, place)))
            for place, row in enumerate(shown)
        ]
        for number, shown in enumerate(rows)
    ]


def _by_rank(rows: Sequence[Sequence[Mapping[str, str]]]) -> Iterator[tuple[int, int, Mapping[str, str]]]:
    """Place, number of the run and row, the most exposed of all runs first."""
    for place in range(max(map(len, rows), default=0)):
        for number, shown in enumerate(rows):
            if place < len(shown):
                yield place, number, shown[place]


def _pictures(run: RunFiles) -> tuple[dict[int, npt.NDArray[Any]], dict[int, str]]:
    """Pixels and class names by position in the training data."""
    found = run.exposed
    if found is None:
        return {}, {}
    positions = found["samples"].tolist()
    return dict(zip(positions, found["images"], strict=True)), dict(
        zip(positions, map(str, found["names"]), strict=True)
    )
