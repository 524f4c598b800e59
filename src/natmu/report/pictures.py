"""Pictures of what a method made, drawn from plain arrays."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from natmu.records.files import write_atomically
from natmu.records.study import Hybrids
from natmu.safe_text import one_line

TITLES = ("forget image", "mask (forget weight)", "partner", "hybrid")
FORMULA = "hybrid = mask * forget image + (1 - mask) * partner, labelled as the partner"
TILE = 192
"""Small images are enlarged by a whole factor to at most this many pixels a side."""
GAP, HEAD, CAPTION, FOOT = 24, 52, 46, 44
FONT_SIZE = 17
INK, FAINT, FRAME = "#222222", "#6b6b6b", "#c8c8c8"


def hybrid_sheet(examples: Hybrids, path: Path) -> None:
    """Draw hybrids beside what they were blended from, one row per example, as a PNG file.

    Args:
        examples: One hybrid or more.
        path: The file to write; it appears whole or not at all, and folders on its way are made.

    Raises:
        RunError: If the file cannot be written.
    """
    rows = [_row(examples, index) for index in range(len(examples.mask))]
    width, height = rows[0][0].image.size
    step = height + CAPTION
    sheet = Image.new("RGB", (GAP + len(TITLES) * (width + GAP), HEAD + len(rows) * step + FOOT), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for column, title in enumerate(TITLES):
        left = GAP + column * (width + GAP)
        draw.text((left + width / 2, HEAD / 2), _fitted(title, font, width), INK, font, anchor="mm")
        for index, row in enumerate(rows):
            top = HEAD + index * step
            sheet.paste(row[column].image, (left, top))
            draw.rectangle((left - 1, top - 1, left + width, top + height), outline=FRAME)
            caption = _fitted(row[column].caption, font, width)
            draw.text((left + width / 2, top + height + CAPTION / 2 - 4), caption, FAINT, font, anchor="mm")
    formula = _fitted(FORMULA, font, sheet.width - 2 * GAP)
    draw.text((sheet.width / 2, sheet.height - FOOT / 2 - 4), formula, INK, font, anchor="mm")
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    write_atomically(path, content.getvalue())


@dataclass(frozen=True)
class _Tile:
    """One enlarged image and the text below it."""

    image: Image.Image
    caption: str


def _row(examples: Hybrids, index: int) -> tuple[_Tile, _Tile, _Tile, _Tile]:
    """One example's tiles in the order of the titles."""
    mask = np.asarray(examples.mask[index], np.float64)
    partner_name = str(examples.partner_names[index])
    return (
        _Tile(_enlarged(examples.forget[index]), str(examples.forget_names[index])),
        _Tile(_enlarged(np.rint(255 * mask)), f"mean {mask.mean():.3f}"),
        _Tile(_enlarged(examples.partner[index]), partner_name),
        _Tile(_enlarged(examples.hybrid[index]), f"labelled {partner_name}"),
    )


def _enlarged(pixels: npt.ArrayLike) -> Image.Image:
    """Enlarge grey ``(H, W)`` or colour ``(H, W, 3)`` pixels, 0..255, by a whole factor without blurring them."""
    image = Image.fromarray(np.asarray(pixels).astype(np.uint8)).convert("RGB")
    factor = max(1, TILE // max(image.size))
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    """Shorten a text until it fits a width in pixels."""
    text = one_line(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"
