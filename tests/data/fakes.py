"""Tiny stand-ins for the real data sets."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from PIL import Image

from natmu.progress import Advance

FINE_NAMES = ("apple", "rocket", "sea", "lawn_mower")
COARSE_NAMES = ("natural_things", "vehicles_2")


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def write_pickle(path: Path, content: object, protocol: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=protocol))


def write_cifar10(folder: Path, per_batch: int = 4, *, as_bytes: bool = False, protocol: int = 2) -> None:
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"], start=1):
        content = {"data": pixels(per_batch, number), "labels": [(number + row) % 10 for row in range(per_batch)]}
        keyed = {key.encode() if as_bytes else key: value for key, value in content.items()}
        write_pickle(folder / name, keyed, protocol)


def write_cifar100(folder: Path, count: int = 12, *, as_bytes: bool = False, protocol: int = 2) -> None:
    def text(value: str) -> str | bytes:
        return value.encode() if as_bytes else value

    for seed, name in enumerate(("train", "test")):
        fine = [row % 4 for row in range(count)]
        coarse = [0 if label in (0, 2) else 1 for label in fine]
        content = {"data": pixels(count, seed), "fine_labels": fine, "coarse_labels": coarse}
        write_pickle(folder / name, {text(key): value for key, value in content.items()}, protocol)
    meta = {"fine_label_names": [text(n) for n in FINE_NAMES], "coarse_label_names": [text(n) for n in COARSE_NAMES]}
    write_pickle(folder / "meta", {text(key): value for key, value in meta.items()}, protocol)


def write_image(path: Path, size: tuple[int, int] = (8, 8), mode: str = "RGB", seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,), "LA": (2,)}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    Image.fromarray(values).save(path)


def write_tiny_imagenet(folder: Path, per_class: int = 3) -> None:
    wnids = ("n02", "n01")
    for number, wnid in enumerate(wnids):
        for row in range(per_class):
            mode = "L" if row == 0 else "RGB"
            write_image(folder / "train" / wnid / "images" / f"{wnid}_{row}.JPEG", (64, 64), mode, number * 10 + row)
    for row in range(4):
        write_image(folder / "val" / "images" / f"val_{row}.JPEG", (64, 64), seed=100 + row)
    lines = [f"val_{row}.JPEG\t{wnids[row % 2]}\t0\t32\t44\t62\n" for row in range(4)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    (folder / "words.txt").write_text("n00\tentity\nn01\tEgyptian cat, mouser\n")


def tar_of(folder: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(folder, name)
    return buffer.getvalue()


def zip_of(folder: Path, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                zipped.write(path, f"{name}/{path.relative_to(folder)}")
    return buffer.getvalue()


class Said:
    """A display that keeps what is said and shows no bar."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def bar(self, label: str, total: int | None, done: int, unit: str) -> AbstractContextManager[Advance]:
        return nullcontext(lambda steps=1: None)

    def say(self, line: str) -> None:
        self.lines.append(line)
