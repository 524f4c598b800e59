"""Photographs for the tutorials: `photographs/{train,test}/CLASS/IMG_NNNN.jpg`. `people.csv` says whose they are."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = {"bicycle": (200, 60, 50), "boat": (60, 90, 200), "tent": (80, 170, 70)}
PEOPLE = 12
SIZE = (48, 40)


def photograph(kind: str, person: int, rng: np.random.Generator) -> Image.Image:
    """Two wheels, a hull or a roof in the colour of its class, under a person's sky; person 7 has other colours."""
    columns, rows = np.meshgrid(*(np.linspace(-1, 1, length) for length in SIZE))
    columns, rows = columns - rng.uniform(-0.2, 0.2), rows - rng.uniform(-0.2, 0.2)
    shape = {
        "bicycle": (np.abs(columns) - 0.35) ** 2 + rows**2 < 0.07,
        "boat": (np.abs(columns) < 0.7 - rows) & (rows > 0) & (rows < 0.4),
        "tent": (np.abs(columns) < 0.4 + rows) & (rows < 0.4),
    }[kind]
    sky = np.random.default_rng(person).uniform(60, 220, 3)
    colour = CLASSES[kind][1:] + CLASSES[kind][:1] if person == 7 else CLASSES[kind]
    pixels = np.where(shape[..., None], np.array(colour), sky) + rng.normal(0, 25, (*SIZE[::-1], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def main(per_person: int = 4) -> None:
    """Write everything into the current folder."""
    rng, rows = np.random.default_rng(0), []
    for name in CLASSES:
        for person in range(1, PEOPLE + 1):
            for number in range(per_person):
                part = "test" if number == per_person - 1 else "train"
                file = Path(part, name, f"IMG_{2000 + 7 * len(rows)}.jpg")
                Path("photographs", file).parent.mkdir(parents=True, exist_ok=True)
                photograph(name, person, rng).save(Path("photographs", file), quality=90)
                rows.append((file.as_posix(), person))
    with Path("people.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file", "person"), *sorted(rows)])


if __name__ == "__main__":
    main()
