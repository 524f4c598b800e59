"""The samples that a service of deletion requests began with (``census.npz``): names, labels and keyed digests.

Requests are resolved against it alone. So they mean the same samples after files were deleted, and nothing is read of
the data. A name is written once, however many parts come from the same source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import RunError
from natmu.records.files import Arrays, damaged, read_arrays, write_arrays
from natmu.records.names import Listing, SampleNames
from natmu.types import BoolArray, IntArray

ByteArray = npt.NDArray[np.uint8]

REMEDY = "restore it from a backup of the service"

ROLES = ("train", "test", "holdout")
"""Names of the parts; the last one need not be there."""

_FORMAT = 1
_BYTES = 16
"""Bytes of a keyed digest."""

Seal = Callable[[str], str]
"""What makes a text one that only the service can have written."""


@dataclass(frozen=True, eq=False)
class CensusPart:
    """The samples of one part.

    Attributes:
        names: What they are called.
        labels: Their classes, int64 ``(N,)``.
        pixels: Keyed digests of their pixels, uint8 ``(N, 16)``.
        files: Keyed digests of the bytes of their files, likewise; ``(0, 16)`` where they are no files.

    Raises:
        ValueError: These do not fit together.
    """

    names: SampleNames
    labels: IntArray
    pixels: ByteArray
    files: ByteArray

    def __post_init__(self) -> None:
        count, positions = len(self.labels), self.names.positions
        if self.labels.dtype != np.int64 or self.labels.shape != (count,):
            raise ValueError(f"its labels are {self.labels.dtype} {self.labels.shape}, not one integer for each sample")
        if positions.dtype != np.int64 or positions.shape != (count,):
            raise ValueError(f"it has {len(positions)} positions for {count} labels")
        if count and not 0 <= int(positions.min()) <= int(positions.max()) < self.names.listing.count:
            raise ValueError("a position is outside of its source")
        for what, digests in (("pixels", self.pixels), ("files", self.files)):
            rows = (count, 0) if what == "files" else (count,)
            if digests.dtype != np.uint8 or digests.shape not in [(number, _BYTES) for number in rows]:
                raise ValueError(f"its digests of {what} are not {_BYTES} bytes for each of {count} samples")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def _sorted(self) -> tuple[IntArray, npt.NDArray[np.void]]:
        """The samples in the order of the digests of their pixels, and these digests."""
        keys = _keys(self.pixels)
        order = np.argsort(keys, kind="stable")
        return order, keys[order]

    def rows_with(self, pixels: ByteArray) -> tuple[IntArray, BoolArray]:
        """All samples with some digests of pixels.

        Args:
            pixels: The digests, uint8 ``(K, 16)``.

        Returns:
            Sorted rows, int64, and for each digest whether a sample has it.
        """
        order, keys = self._sorted
        wanted = _keys(pixels)
        first, end = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
        rows = [np.zeros(0, np.int64), *(order[low:high] for low, high in zip(first, end, strict=True) if low < high)]
        return np.unique(np.concatenate(rows)).astype(np.int64), first < end


@dataclass(frozen=True, eq=False)
class Census:
    """The samples of the original's data when the service began.

    Attributes:
        class_names: One per class.
        image_shape: Channels, height and width of an image.
        dtype: Type of its pixels, such as ``uint8``.
        train: The training samples, whose names know those of the other parts.
        test: The test samples.
        holdout: The holdout, where there is one.

    Raises:
        ValueError: These do not fit together.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    dtype: str
    train: CensusPart
    test: CensusPart
    holdout: CensusPart | None = None

    def __post_init__(self) -> None:
        unseen = {role: part.names for role, part in self.parts.items() if role != "train"}
        object.__setattr__(self, "train", replace(self.train, names=self.train.names.beside(**unseen)))
        for role, part in self.parts.items():
            if len(part) and not 0 <= int(part.labels.min()) <= int(part.labels.max()) < len(self.class_names):
                raise ValueError(f"a label of the {role} part is none of {len(self.class_names)} classes")

    @property
    def parts(self) -> dict[str, CensusPart]:
        """The parts that there are, by name."""
        parts = {role: getattr(self, role) for role in ROLES}
        return {role: part for role, part in parts.items() if part is not None}

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of all but the names, so that it stays when names are erased."""
        state = hashlib.blake2b(digest_size=16)
        facts = [(role, len(part), len(part.files)) for role, part in self.parts.items()]
        state.update(repr((self.class_names, self.image_shape, self.dtype, facts)).encode())
        for part in self.parts.values():
            for array in (part.names.positions, part.labels, part.pixels, part.files):
                state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    def rows(self, digests: Sequence[str], part: str = "train") -> IntArray:
        """All samples with some digests of pixels; copies have the same.

        Args:
            digests: Hexadecimal digests.
            part: The part to look in.

        Returns:
            Sorted rows, int64.

        Raises:
            RunError: No sample has one of them.
        """
        rows, known = self.parts[part].rows_with(_from_hex(digests))
        if not known.all():
            raise RunError(
                f"The service's list of samples has none of the {part} part for {int((~known).sum())} of {len(known)} "
                "digests. Its ledger and its census.npz do not fit together: restore the service from one backup."
            )
        return rows

    def copies_of(self, rows: IntArray) -> IntArray:
        """All other training samples with the same pixels as some, sorted rows."""
        return np.setdiff1d(self.train.rows_with(self.train.pixels[rows])[0], rows)

    def with_pixels(self, digests: Sequence[str]) -> dict[str, IntArray]:
        """All samples with some digests of pixels, which may be those of none: sorted rows by part that has any."""
        found = {role: part.rows_with(_from_hex(digests))[0] for role, part in self.parts.items()}
        return {role: rows for role, rows in found.items() if len(rows)}

    def unseen_with_pixels(self, digests: Sequence[str]) -> dict[str, IntArray]:
        """The same, of parts that no model was trained on."""
        return {role: rows for role, rows in self.with_pixels(digests).items() if role != "train"}

    def unseen_of_classes(self, names: Iterable[str]) -> dict[str, IntArray]:
        """All samples of some classes in parts that no model was trained on: sorted rows by part that has any."""
        labels = [self.class_names.index(name) for name in names]
        found = {role: np.flatnonzero(np.isin(part.labels, labels)) for role, part in self.parts.items()}
        return {role: rows for role, rows in found.items() if role != "train" and len(rows)}

    def pixel_digests(self, rows: IntArray, part: str = "train") -> tuple[str, ...]:
        """Hexadecimal digests of the pixels of some samples, in their order."""
        return _to_hex(self.parts[part].pixels[rows])

    def file_digests(self, rows: IntArray, part: str = "train") -> tuple[str, ...]:
        """Hexadecimal digests of the files of some samples, in their order; none where samples are no files."""
        files = self.parts[part].files
        return _to_hex(files[rows]) if len(files) else ()

    def without_names(self, train_rows: IntArray, unseen: Mapping[str, IntArray]) -> Census:
        """The same samples, some of which have no name any more.

        Args:
            train_rows: Training samples whose names are erased.
            unseen: Others, as rows by part.
        """
        erased: dict[int, set[int]] = {}
        for role, rows in {**unseen, "train": train_rows}.items():
            names = self.parts[role].names
            erased.setdefault(id(names.listing), set()).update(names.positions[rows].tolist())
        listings = {id(one): one.without_names(erased.get(id(one), ())) for one in _listings(self.parts.values())}

        def renamed(part: CensusPart) -> CensusPart:
            return replace(part, names=replace(part.names, listing=listings[id(part.names.listing)]))

        holdout = None if self.holdout is None else renamed(self.holdout)
        return replace(self, train=renamed(self.train), test=renamed(self.test), holdout=holdout)

    @staticmethod
    def read(path: Path, seal: Seal) -> Census:
        """Read the census.

        Args:
            path: The file.
            seal: That of the service's key.

        Raises:
            RunError: It is missing, damaged, edited, of another format, or its arrays do not fit together.
        """
        arrays = read_arrays(path, REMEDY)
        try:
            stated = _unpacked(arrays, "seal") if "seal" in arrays else ()
            sealed = seal(_content(arrays))
            census = _assembled(arrays)
            if stated != (sealed,):
                raise ValueError("its names or digests were changed after it was written, or it is of another service")
            return census
        except ValueError as error:
            raise damaged(path, error, REMEDY) from None

    def write(self, path: Path, seal: Seal) -> None:
        """Write the census, whole or not at all.

        Args:
            path: The file.
            seal: That of the service's key, so that nobody without it can change a name unnoticed.

        Raises:
            RunError: It cannot be written.
        """
        listings = [*_listings(self.parts.values())]
        arrays: Arrays = {
            "format": np.array(_FORMAT, np.int64),
            "shape": np.array(self.image_shape, np.int64),
            **_packed("dtype", [self.dtype]),
            **_packed("classes", self.class_names),
        }
        for number, listing in enumerate(listings):
            arrays[f"count_{number}"] = np.array(listing.count, np.int64)
            if listing.texts is not None:
                arrays |= _packed(f"names_{number}", listing.texts)
                arrays[f"erased_{number}"] = np.array(sorted(listing.erased), np.int64)
        for role, part in self.parts.items():
            source = next(row for row, one in enumerate(listings) if one is part.names.listing)
            arrays[f"{role}_source"] = np.array(source, np.int64)
            arrays[f"{role}_positions"] = part.names.positions
            arrays |= {f"{role}_{what}": getattr(part, what) for what in ("labels", "pixels", "files")}
        write_arrays(path, arrays | _packed("seal", [seal(_content(arrays))]))


def _content(arrays: Arrays) -> str:
    """Hexadecimal digest of everything that a file holds."""
    state = hashlib.blake2b(digest_size=16)
    for name, array in sorted(arrays.items()):
        state.update(repr((name, array.shape, array.dtype.str)).encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _keys(digests: ByteArray) -> npt.NDArray[np.void]:
    """Digests as one value each, which are in the order of their bytes."""
    return np.ascontiguousarray(digests).view(f"V{_BYTES}").reshape(-1)


def _from_hex(digests: Sequence[str]) -> ByteArray:
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, _BYTES)


def _to_hex(digests: ByteArray) -> tuple[str, ...]:
    text, step = digests.tobytes().hex(), 2 * _BYTES
    return tuple(text[start : start + step] for start in range(0, len(text), step))


def _listings(parts: Iterable[CensusPart]) -> Iterator[Listing]:
    """The sources of the parts, each once."""
    yield from {id(part.names.listing): part.names.listing for part in parts}.values()


def _packed(name: str, texts: Sequence[str]) -> Arrays:
    """Texts as their bytes and where each ends, in characters; lone surrogates stand for bytes of odd file names."""
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return {name: np.frombuffer("".join(texts).encode("utf-8", "surrogatepass"), np.uint8), f"{name}_ends": ends}


def _unpacked(arrays: Arrays, name: str) -> tuple[str, ...]:
    text = _taken(arrays, name, np.uint8, 1).tobytes().decode("utf-8", "surrogatepass")
    ends = [0, *_taken(arrays, f"{name}_ends", np.int64, 1).tolist()]
    if ends[-1] != len(text) or any(low > high for low, high in pairwise(ends)):
        raise ValueError(f"its {name} do not end where they should")
    return tuple(text[low:high] for low, high in pairwise(ends))


def _taken(arrays: Arrays, name: str, dtype: type, dimensions: int) -> npt.NDArray[Any]:
    """An array that must be there, taken out."""
    array = arrays.pop(name, None)
    if array is None or array.dtype != dtype or array.ndim != dimensions:
        raise ValueError(f"its array {name} is {'missing' if array is None else 'of another kind'}")
    return array


def _assembled(arrays: Arrays) -> Census:
    """The census in the arrays of a file, of which none may be left over."""
    number = int(_taken(arrays, "format", np.int64, 0))
    if number != _FORMAT:
        raise ValueError(f"its format is {number}, and this version of natmu reads format {_FORMAT}")
    listings: list[Listing] = []
    while f"count_{len(listings)}" in arrays:
        listings.append(_listing(arrays, len(listings)))
    (dtype,), shape = _unpacked(arrays, "dtype"), _taken(arrays, "shape", np.int64, 1)
    if len(shape) != 3:
        raise ValueError("its shape of images is not channels, height and width")
    channels, height, width = shape.tolist()
    classes = _unpacked(arrays, "classes")
    parts = {role: _part(arrays, role, listings) for role in ROLES if f"{role}_source" in arrays or role != "holdout"}
    if arrays:
        raise ValueError(f"it also holds {', '.join(sorted(arrays)[:3])}")
    return Census(classes, (channels, height, width), dtype, **parts)


def _listing(arrays: Arrays, number: int) -> Listing:
    count = int(_taken(arrays, f"count_{number}", np.int64, 0))
    if f"names_{number}" not in arrays:
        return Listing(count)
    texts, erased = _unpacked(arrays, f"names_{number}"), _taken(arrays, f"erased_{number}", np.int64, 1).tolist()
    if len(texts) != count or any(not 0 <= position < count or texts[position] for position in erased):
        raise ValueError(f"its names of source {number} are not one for each of {count} samples")
    return Listing(count, texts, frozenset(erased))


def _part(arrays: Arrays, role: str, listings: Sequence[Listing]) -> CensusPart:
    source = int(_taken(arrays, f"{role}_source", np.int64, 0))
    if not 0 <= source < len(listings):
        raise ValueError(f"the source of its {role} part is missing")
    names = SampleNames(listings[source], _taken(arrays, f"{role}_positions", np.int64, 1))
    labels = _taken(arrays, f"{role}_labels", np.int64, 1)
    pixels, files = (_taken(arrays, f"{role}_{what}", np.uint8, 2) for what in ("pixels", "files"))
    return CensusPart(names, labels, pixels, files)
