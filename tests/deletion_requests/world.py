"""A small world of photographs: people with pictures in four classes, a model that knows them by heart, a service."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from natmu.opening import Place, Source
from natmu.requests import Service
from natmu.verbs import train_run

CLASSES = ("ant", "bee", "cow", "dog")
PEOPLE = 15
"""People, each with two pictures of each class among the training samples."""

POLICY = {
    "method": "finetune",
    "settings": {"epochs": 1, "lr": 0.01},
    "fallbacks": [{"method": "retrain"}],
    "audit": {"references": 1},
    "guardrails": {"retain_loss": 60, "holdout_loss": 60, "forgotten": False, "earlier": False},
}
"""Quick, and content with what a model of this size does."""


@dataclass(frozen=True)
class World:
    """Where everything lies.

    Attributes:
        folder: Holds the rest.
    """

    folder: Path

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def manifest(self) -> Path:
        return self.folder / "people.csv"

    @property
    def original(self) -> Path:
        return self.folder / "runs" / "original"

    def of(self, person: int) -> list[Path]:
        """The training photographs of a person."""
        return sorted(self.photos.glob(f"train/*/p{person:02d}-*.png"))

    def delete(self, person: int) -> None:
        for path in self.photos.glob(f"*/*/p{person:02d}-*.png"):
            path.unlink()

    def service(self, name: str = "service", **policy: object) -> Service:
        """A new service with the quick policy."""
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(POLICY | policy))
        source = Source(self.original, {"source": str(self.photos)})
        return Service.create(self.folder / name, source, path, manifest=self.manifest, data_dir=self.folder / "data")


def picture(rng: np.random.Generator, label: int, size: int = 8) -> Image.Image:
    """A picture of a class: its colour and much noise, so that it is learnt by heart."""
    colour = np.array([(200, 60, 60), (60, 200, 60), (60, 60, 200), (200, 200, 60)][label])
    noise = rng.integers(-110, 111, (size, size, 3))
    return Image.fromarray(np.clip(colour * 0.1 + 110 + noise, 0, 255).astype(np.uint8))


def make_photos(folder: Path) -> None:
    """Write ``photos/train``, ``photos/test`` and ``people.csv``; two people have test photographs too."""
    rng = np.random.default_rng(0)
    rows = []
    for person in range(PEOPLE):
        for label, name in enumerate(CLASSES):
            for number in range(2 if person < PEOPLE else 0):
                rows.append((f"train/{name}/p{person:02d}-{number}.png", person))
                _save(picture(rng, label), folder / "photos" / rows[-1][0])
    for label, name in enumerate(CLASSES):
        for number in range(8):
            person = 3 if number == 0 else 90 + number
            rows.append((f"test/{name}/p{person:02d}-t.png", person))
            _save(picture(rng, label), folder / "photos" / rows[-1][0])
    with (folder / "people.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "person"), *rows])


def make_world(folder: Path, epochs: int = 12) -> World:
    """Photographs, and an original that was trained on them here."""
    make_photos(folder)
    train_run(
        data={"source": str(folder / "photos")},
        model="small_cnn",
        training={"epochs": epochs, "batch_size": 16, "lr": 0.05, "augment": False, "warmup_epochs": 1},
        seed=0,
        place=Place(folder / "data", folder / "runs", "original", device="cpu", precision="fp32"),
    )
    return World(folder)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
