"""Confirming that the samples of a request are gone: from the data, and from what the service keeps itself.

Everything that is found out comes first, and refuses what is not gone. What is then deleted can be deleted again, so
that a process which was killed is simply run again. Names of samples are no part of the census's digest, so they may be
erased before the ledger says so. Weights go only after that, in ``complete_purge``: while the ledger calls them there,
they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.progress import say
from natmu.records.census import Census, CensusPart
from natmu.records.files import damaged
from natmu.records.guarantees import DOWNDATE, RETRAIN, SISA
from natmu.records.ledger import Purged
from natmu.records.service import CENSUS, EVIDENCE, MODELS, ServiceRecord
from natmu.report.html import for_html
from natmu.requests.batch import requested
from natmu.requests.data_places import places_of, samples_loaded
from natmu.requests.heads import erase_rows, outdated_heads
from natmu.requests.leftovers import (
    Knowledge,
    delete_decoded,
    delete_extra_files,
    delete_heads,
    delete_unfinished,
    delete_weights,
    runs_in,
)
from natmu.requests.pictures import Wanted
from natmu.requests.replacing import clear_unfinished
from natmu.requests.searching import files_below, search
from natmu.requests.state import State
from natmu.safe_text import for_json
from natmu.types import IntArray
from natmu.user_files import read_file

if TYPE_CHECKING:
    from natmu.requests.keys import ServiceKey

NOT_LOOKED_FOR = (
    "pictures that were changed: saved again as JPEG, resized, cropped, turned, or shown small in another file",
    "files in archives other than zip and tar, in encrypted ones, in databases, and in pickles, HDF5 and Parquet files",
    "copies outside the folders of the data: backups, other machines, exported models, and what others were given",
    "blocks of the disk that held deleted files",
)
"""What a confirmed purge does not show."""

LOST = 0.05
"""Part of the files that nobody asked to delete that may be missing."""

_SHOWN = 3


def confirm_purge(
    folder: Path,
    record: ServiceRecord,
    census: Census,
    key: ServiceKey,
    state: State,
    request: int,
    *,
    data: str | None,
    weights: bool,
) -> Purged:
    """Check that the samples of a request are gone from the data, and delete what is kept of them beside it.

    Append what is returned to the ledger, and call ``complete_purge`` after that.

    Args:
        folder: The service, whose lock is held.
        record: What it is about.
        census: Its list of samples.
        key: Its key.
        state: What its ledger says.
        request: Number of the request.
        data: Where the data lies now; as the record says if None.
        weights: Whether to delete the weights of models that know the samples.

    Raises:
        UsageError: There is no such request, it is not honoured yet, or something of its samples is left.
        DataError: A file of the data cannot be read.
        RunError: Something of the service cannot be read or deleted.
    """
    _refuse_early(state, request, weights=weights)
    wanted = _wanted(record, census, key, state, request)
    places = places_of(record, census, data)
    decoded = Path(record.data_dir) / "decoded"
    looked = search(files_below(places.roots, (folder, decoded)), wanted)
    found = looked.found + ([] if places.loaded is None else _still_loaded(record, places.loaded, wanted))
    for note in looked.notes:
        say(note)
    if found:
        raise UsageError(_still_there(request, found))
    _require_the_data(census, state, looked.known, places.roots)
    clear_unfinished(folder / EVIDENCE, folder)
    rows = {role: part.rows_with(_array(wanted.pixels))[0] for role, part in census.parts.items()}
    _refuse_evidence(folder / EVIDENCE, [name for role in rows for name in _names(census.parts[role], rows[role])])
    erased = erase_rows(runs_in(folder / MODELS), rows)
    caches = delete_decoded(decoded, wanted, [root for root in places.roots if root.is_dir()])
    runs = runs_in(folder / MODELS)
    delete_extra_files(runs.values())
    train = rows.pop("train")
    census.without_names(train, rows).write(folder / CENSUS, key.seal)
    knowing = Knowledge(state, request, runs, train, census).knowing() if weights else ()
    if weights:
        delete_unfinished(folder / MODELS)
        _say_what_goes(knowing)
    gone = tuple(run for run in knowing if run not in state.deleted_weights)
    heads = tuple(run for run in outdated_heads(runs) if run not in knowing) if weights else ()
    if state.deployed.model.run in heads:
        say(
            "the state of the deployed head is deleted, because it holds weights of a fit on samples that were taken "
            "out since. The head itself stays, and for the next request it is fitted again"
        )
    return Purged(
        request=request,
        files=looked.files,
        caches=caches,
        features=erased,
        census=census.digest,
        weights=gone,
        heads=heads,
    )


def complete_purge(folder: Path, state: State) -> None:
    """Delete the weights and the states of heads that the ledger calls deleted: cheap, and any number of times.

    Args:
        folder: The service.
        state: What its ledger says.

    Raises:
        RunError: A file cannot be deleted.
    """
    delete_weights(folder / MODELS, state.deleted_weights, state.deployed.model.run)
    delete_heads(folder / MODELS, state.deleted_heads)


def _refuse_early(state: State, request: int, *, weights: bool) -> None:
    """Refuse what can be refused before anything is read."""
    asked = state.requests.get(request)
    if asked is None:
        known = f"there are 1 to {len(state.requests)}" if state.requests else "there are none yet"
        raise UsageError(f"There is no request {request}; {known}.")
    without = all(candidate.method in (RETRAIN, SISA, DOWNDATE) for candidate in state.policy.candidates)
    if asked.status != "honoured" and without and weights:
        raise UsageError(
            f"The deployed model does not honour request {request} yet, so weights that know the samples are in use. "
            "Run natmu requests process first, or confirm without --weights that the samples are gone."
        )
    if asked.status != "honoured" and not without:
        raise UsageError(
            f"The deployed model does not honour request {request} yet, and unlearning needs the samples. Run natmu "
            "requests process first. Then delete the samples, and confirm that they are gone."
        )
    if weights and state.unfinished is not None:
        raise UsageError(
            f"Process {state.unfinished.process} was not finished, and needs models that would be deleted; run natmu "
            "requests process first."
        )
    if asked.purged is not None:
        say(f"request {request} was confirmed as purged on {asked.purged}; its samples are looked for again")


def _wanted(record: ServiceRecord, census: Census, key: ServiceKey, state: State, request: int) -> Wanted:
    """What is looked for: the samples of a request, and all files that hold the same pixels."""
    from natmu.data.forms import Form  # loads PyTorch

    entry, data = state.requests[request].entry, record.data
    pixels = _bytes((*entry.samples, *entry.unseen))
    files = {*_bytes((*entry.files, *entry.unseen_files))}
    others: set[bytes] = set()
    for part in census.parts.values():
        for own, file in zip(part.pixels, part.files, strict=False):  # no files where samples are none
            (files if own.tobytes() in pixels else others).add(file.tobytes())
    return Wanted(
        secret=key.secret,
        files=frozenset(files),
        pixels=pixels,
        others=frozenset(others - files),
        form=Form(data.image_size, data.resize, data.crop, data.channels),
        shape=census.image_shape,
        dtype=census.dtype,
    )


def _require_the_data(census: Census, state: State, known: Collection[bytes], roots: Sequence[Path]) -> None:
    """Refuse folders that lack the files that nobody asked to delete: in another folder nothing can be confirmed."""
    entries = [one.entry for one in state.requests.values()]
    asked = _bytes([digest for entry in entries for digest in (*entry.samples, *entry.unseen)])
    gone, expected = requested(state, census), set[bytes]()
    for role, part in census.parts.items():
        may_go = {*gone[role].tolist()} if role in gone else set()
        rows = enumerate(zip(part.pixels, part.files, strict=False))
        expected |= {
            file.tobytes() for row, (pixels, file) in rows if row not in may_go and pixels.tobytes() not in asked
        }
    there = len(expected.intersection(known))
    if expected and there < (1 - LOST) * len(expected):
        raise UsageError(
            f"{', '.join(map(str, roots))} holds {there} of {len(expected)} files that nobody asked to delete. So it "
            "is not the data of the service, and nothing is confirmed. Give the place of the data with --data."
        )


def _bytes(digests: Iterable[str]) -> frozenset[bytes]:
    return frozenset(map(bytes.fromhex, digests))


def _array(digests: Iterable[bytes]) -> npt.NDArray[np.uint8]:
    """Digests as rows."""
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


def _names(part: CensusPart, rows: IntArray) -> list[str]:
    """The names of samples that have one: not those that are called by their positions, nor those erased already."""
    texts = part.names.listing.texts
    return [] if texts is None else [texts[row] for row in part.names.positions[rows].tolist() if texts[row]]


def _still_loaded(record: ServiceRecord, source: str, wanted: Wanted) -> list[str]:
    """Which samples a data set that has a name, or a function, still gives."""
    found = []
    for name, part in samples_loaded(record, source).items():
        rows = (row for row in range(len(part)) if wanted.has(np.asarray(part.images[row])))
        found += [f"{source} ({name} part, row {row})" for row in rows]
    return found


def _still_there(request: int, found: list[str]) -> str:
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return (
        f"Samples of request {request} are still there, in {len(found)} place{'s' if len(found) > 1 else ''}: "
        f"{', '.join(found[:_SHOWN])}{more}; delete them, and run natmu requests confirm-purge again."
    )


def _refuse_evidence(folder: Path, names: list[str]) -> None:
    """Refuse to go on while evidence names the samples.

    Evidence is signed, and may have been handed over: whoever runs the service replaces it, not this.
    """
    if not names:
        return
    written = {form for name in names for form in _forms(name)}
    pattern = re.compile("|".join(rf"(?<![\w./-]){re.escape(form)}(?![\w/-])" for form in sorted(written)))
    for path in sorted(folder.glob("*/*")):
        if path.is_file() and pattern.search(_text(path)):
            raise UsageError(
                f"{path} names samples of the request, because it was written with --with-samples. Write that evidence "
                "again without, or move it out of the service. Then run natmu requests confirm-purge again."
            )


def _forms(name: str) -> tuple[str, ...]:
    """How a name stands in a page and in JSON."""
    return name, str(for_html(name)), *(for_json(json.dumps(name, ensure_ascii=only))[1:-1] for only in (True, False))


def _text(path: Path) -> str:
    try:
        return read_file(path).decode("utf-8", errors="replace")
    except OSError as error:
        raise damaged(path, error, "let it be read") from None


def _say_what_goes(knowing: Iterable[str]) -> None:
    """Say what can no longer be done."""
    runs = [*knowing]
    if runs:
        say(
            f"weights of {len(runs)} models that know the samples are deleted: "
            f"{', '.join(runs[:_SHOWN])}{', …' if len(runs) > _SHOWN else ''}. Nobody can roll back to these models, "
            "unlearn from them, or measure anything new on them. Their predictions stay, for audits of other requests."
        )
