"""Where the data of a service lies: the folders and files that are looked through for what is left of samples."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from natmu.errors import DataError
from natmu.functions import is_function_name
from natmu.records.census import Census
from natmu.records.service import ServiceRecord

if TYPE_CHECKING:
    from natmu.data.images import ImageData


@dataclass(frozen=True)
class Places:
    """Where data lies.

    Attributes:
        roots: Folders that are looked through with all that is below, and single files.
        loaded: Name of a data set, or of a function, whose samples are looked through as they are loaded; None of
            paths.
    """

    roots: tuple[Path, ...]
    loaded: str | None = None


def places_of(record: ServiceRecord, census: Census, data: str | None) -> Places:
    """Where the data of a service lies.

    Args:
        record: The service.
        census: Its samples, whose names say which folders a table of images takes them from.
        data: Where the source lies now; as the record says if None.

    Raises:
        DataError: There is nothing at one of the paths.
    """
    from natmu.data.catalogue import sources  # loads PyTorch

    source = data or record.source
    named = source in {info.name for info in sources()}
    if named or (is_function_name(source) and not Path(source).exists()):
        folder = Path(record.data_dir)
        return Places((folder,) if named and folder.is_dir() else (), source)
    roots = _roots(Path(source), census)
    test = record.test_beside(data)
    if test is not None:
        roots += _roots(Path(test), census)
    return Places(tuple(dict.fromkeys(roots)))


def samples_loaded(record: ServiceRecord, source: str) -> dict[str, ImageData]:
    """The samples of a data set that has a name, or of a function, by the part that they are in.

    Raises:
        DataError: It cannot be loaded.
    """
    from natmu.data import load  # loads PyTorch

    data = record.data
    splits = load(
        source,
        Path(record.data_dir),
        image_size=data.image_size,
        resize=data.resize,
        crop=data.crop,
        channels=data.channels,
    )
    parts = {"train": splits.train, "test": splits.test, "holdout": splits.holdout}
    return {name: part for name, part in parts.items() if part is not None}


def _roots(path: Path, census: Census) -> list[Path]:
    """The folder at a path; of a table the folder that its images share; of a file of arrays those beside it too."""
    if path.is_dir():
        return [path]
    if not path.is_file():
        raise DataError(f"There is no data at {path} to search. Give its new place with --data.")
    if path.suffix.lower() == ".csv":
        return _folders_of_table(path, census)
    return [file for file in sorted(path.parent.iterdir()) if file.is_file()]


def _folders_of_table(path: Path, census: Census) -> list[Path]:
    """The folders that a table takes images from: the one that they share, unless that is far above the table."""
    names = {name for part in census.parts.values() for name in part.names.listing.texts or () if name}
    home = path.absolute().parent
    folders = sorted({os.path.normpath((home / name).parent) for name in names} or {str(home)})
    shared = Path(os.path.commonpath(folders))
    if shared == home or shared not in home.parents:
        return [shared]
    tops: list[Path] = []
    for folder in map(Path, folders):  # sorted, so that a folder comes before those in it
        if not any(folder.is_relative_to(top) for top in tops):
            tops.append(folder)
    return tops
