"""A folder of small photographs, `photographs/{train,test}/CLASS/*.png`, and the weights of a pretrained start."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from recipe import network

CLASSES = {"sunrise": (230, 140, 60), "meadow": (80, 160, 70), "sea": (40, 90, 170)}


def photograph(colour: tuple[int, int, int], size: int, rng: np.random.Generator) -> Image.Image:
    """A horizon in a class's colour, with a light and grain of its own."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    height, place = rng.uniform(0.3, 0.7), rng.uniform(0, 1, 2)
    light = np.exp(-(((rows - place[0]) ** 2 + (columns - place[1]) ** 2) / 0.05))
    shade = np.where(rows > height, 0.6, 1.0) + 0.5 * light + rng.normal(0, 0.15, (size, size))
    pixels = shade[..., None] * np.array(colour) * rng.uniform(0.7, 1.2, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def main() -> None:
    """Write the photographs and `start.pt`."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--per-class", type=int, default=60)
    words.add_argument("--size", type=int, default=20)
    asked = words.parse_args()
    rng = np.random.default_rng(0)
    for part, count in (("train", asked.per_class), ("test", asked.per_class // 2)):
        for name, colour in CLASSES.items():
            folder = Path("photographs", part, name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                photograph(colour, asked.size, rng).save(folder / f"{number:03}.png")
    torch.manual_seed(0)  # stands for weights that were trained on other photographs
    torch.save(network(len(CLASSES)).state_dict(), "start.pt")


if __name__ == "__main__":
    main()
