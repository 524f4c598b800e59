"""What a shell offers to complete: names and run folders, found without loading PyTorch.

Where nothing is offered the shell completes the names of files, as it does by default.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

DATA_SETS = ("digits", "cifar10", "cifar100", "cifar20", "tiny-imagenet")
"""Names of data sets, as ``natmu.data.sources`` has them, which loads PyTorch."""

RUNS = Path("runs")
"""Where runs are kept by default."""

RECORDS = ("record.json", "table.json")
"""Files that are in the folder of a run, and of a study."""

PLAIN = re.compile(r"(?!-)[\w@%+=,./-]+")
"""Paths that every shell reads as they are. Bash types what is offered, without quotes, and ``$(…)`` would be run."""

Offers = list[tuple[str, str]]
"""Words, each with what is said of it."""


def methods(incomplete: str) -> Offers:
    """Names of unlearning methods."""
    return _starting_with(incomplete, [*_listed("methods/catalogue.json", "summary"), *_plug_ins("natmu.methods")])


def scores(incomplete: str) -> Offers:
    """Names of scores."""
    return _starting_with(
        incomplete, [*_listed("scores/catalogue/scores.json", "measures"), *_plug_ins("natmu.scores")]
    )


def architectures(incomplete: str) -> Offers:
    """Names of architectures."""
    return _starting_with(incomplete, _listed("models/catalogue.json", "description"))


def data_sets(incomplete: str) -> Offers:
    """Names of data sets."""
    return _starting_with(incomplete, [(name, "") for name in DATA_SETS])


def devices(incomplete: str) -> Offers:
    """Where work is done."""
    return _starting_with(incomplete, [(name, "") for name in ("auto", "cpu", "cuda")])


def one_of(*words: str) -> Callable[[str], Offers]:
    """A completer that offers fixed words."""

    def offered(incomplete: str) -> Offers:
        return _starting_with(incomplete, [(word, "") for word in words])

    return offered


def run_folders(incomplete: str) -> Offers:
    """Folders of runs and studies: those in the folder that was typed, and those in ``runs`` where nothing was.

    A path that would need quotes is left to be typed.
    """
    typed, name = os.path.split(incomplete)
    places = [(Path(typed), name)]
    if not typed and str(RUNS).startswith(name):
        places.append((RUNS, ""))
    found = [str(folder) for place, start in places for folder in _folders(place, start)]
    return [(folder, "") for folder in found if PLAIN.fullmatch(folder)]


def _folders(place: Path, start: str) -> Iterator[Path]:
    """Folders in a place that begin with a text and hold a run or a study; none of a place that cannot be read."""
    try:
        names = sorted(entry.name for entry in os.scandir(place) if entry.is_dir())
    except OSError:
        return
    for name in names:
        hidden = name.startswith(".") and not start.startswith(".")
        if name.startswith(start) and not hidden and any((place / name / record).exists() for record in RECORDS):
            yield place / name


def _listed(catalogue: str, told: str) -> Offers:
    """Names in a catalogue of the package, with a text on each."""
    rows = json.loads(files("natmu").joinpath(catalogue).read_text(encoding="utf-8"))
    return [(row["name"], row[told].replace("``", "")) for row in rows]


def _plug_ins(group: str) -> Offers:
    """Names that installed packages bring."""
    return [(point.name, f"from {point.module}") for point in entry_points(group=group)]


def _starting_with(incomplete: str, offers: Offers) -> Offers:
    return [(word, told) for word, told in offers if word.startswith(incomplete)]
