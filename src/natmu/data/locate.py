"""Finding a named data set's files on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from natmu.errors import DataError


def find_folder(name: str, data_dir: Path, folders: Sequence[str], files: Sequence[str]) -> Path:
    """The first folder that holds all of the files.

    Args:
        name: The data set, named in the error.
        data_dir: Where data is kept.
        folders: Names of folders in ``data_dir`` to look in; ``data_dir`` itself is looked in last.
        files: What the folder must hold.

    Raises:
        DataError: No folder holds them; says what was looked for where, and how to get it.
    """
    places = [*(data_dir / folder for folder in folders), data_dir]
    for place in places:
        if all((place / file).exists() for file in files):
            return place
    raise missing(name, data_dir, places, files)


def missing(name: str, data_dir: Path, places: Sequence[Path], files: Sequence[str]) -> DataError:
    """The error for data that is not there."""
    where = " or ".join(str(place) for place in places)
    return DataError(
        f"{name} was not found: looked for {', '.join(files)} in {where}; "
        f"run `natmu data download {name} --data-dir {data_dir}` to get it."
    )
