"""Samples by what they are called, or by their positions in their source."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from unicodedata import normalize

import numpy as np

from natmu.errors import ForgetSetError, hint
from natmu.progress import decide, say
from natmu.records.names import Listing, SampleNames
from natmu.types import IntArray

_SHOWN = 5
_SUGGESTED = 3
_COMPARED = 20_000
"""Names among which a misspelt one is looked for, at most."""

_DIGITS = 19
"""No position has so many."""

_Place = tuple[Listing, int]


def rows_at(positions: IntArray, names: SampleNames, what: str) -> IntArray:
    """The training samples at positions in their source.

    Args:
        positions: Places in the source, in its own order, which may hold more samples than the training part.
        names: Those of the training samples.
        what: Names the positions in errors.

    Returns:
        Sorted rows of the training part, int64 ``(F,)``.

    Raises:
        ForgetSetError: A sample is in another part, or in none; they are named.
    """
    outside = np.setdiff1d(positions, names.positions)
    if len(outside):
        _refuse_outside([(names.listing, int(position)) for position in outside], names, what)
    return np.flatnonzero(np.isin(names.positions, positions)).astype(np.int64)


def rows_named(asked: Sequence[str], names: SampleNames, what: str, *, leave_unseen: bool = False) -> IntArray:
    """The training samples with these names.

    A name may also be a part of the real one that begins after a slash, or begin before it: ``003.jpg`` and
    ``/home/me/photos/cat/003.jpg`` are both ``cat/003.jpg`` where no other sample may be meant. An accent is the
    same as one character and as two, as file systems write it.

    Args:
        asked: Names; several that mean the same sample do no harm.
        names: Those of the training samples.
        what: Names the list in errors.
        leave_unseen: Leave samples of a test part that the source itself has where they are, and say so. Those of a
            part that was only here set apart are refused all the same: the model may have been trained on them.

    Returns:
        Sorted rows of the training part, int64 ``(F,)``.

    Raises:
        ForgetSetError: A name is unknown, may mean several samples, or is that of a sample in another part.
    """
    found = [*_places(asked, names, what).values()]
    elsewhere = [place for place in found if place[0] is not names.listing]
    here = [position for listing, position in found if listing is names.listing]
    if elsewhere and not (leave_unseen and here):
        _refuse_outside(elsewhere, names, what)
    for role, unseen in _by_part(elsewhere, names):
        told = f"{_counted(len(unseen), 'sample')} of the {role} part, {_some([_name(one) for one in unseen])}"
        decide(f"{what} {told}, which stay there: nothing is trained on them.")
    return rows_at(np.unique(np.array(here, np.int64)), names, what)


def named_by_part(asked: Sequence[str], names: SampleNames, what: str) -> dict[str, IntArray]:
    """The samples with these names, whatever part they are in; lines say which ones no model was trained on.

    Args:
        asked: Names, as for ``rows_named``.
        names: Those of the training samples.
        what: Names the list in errors and lines.

    Returns:
        Sorted rows, int64, by part, of the parts that hold any: ``train``, and those that the names know of.

    Raises:
        ForgetSetError: A name is unknown or may mean several samples.
    """
    places = [*_places(asked, names, what).values()]
    found, left = {}, {*places}
    for role, part in (("train", names), *names.others):
        positions = [position for listing, position in places if listing is part.listing]
        rows = np.flatnonzero(np.isin(part.positions, np.array(positions, np.int64))).astype(np.int64)
        inside = [(part.listing, position) for position in part.positions[rows].tolist()]
        if inside:
            found[role] = rows
            left.difference_update(inside)
        if inside and role != "train":
            told = f"{_counted(len(inside), 'sample')} of the {role} part, {_some([_name(place) for place in inside])}"
            say(f"{what} {told}, which no model was trained on.")
    if left:
        shown = _some([_name(place) for place in places if place in left])
        say(f"{what} {_counted(len(left), 'sample')} in none of the parts, {shown}, which the request leaves out.")
    return found


def positions_named(asked: Sequence[str], names: SampleNames, what: str) -> IntArray:
    """The same, as the position in the source of each name, int64 ``(len(asked),)``; some may be in no part."""
    places = _places(asked, names, what)
    elsewhere = [place for place in places.values() if place[0] is not names.listing]
    if elsewhere:
        _refuse_outside(elsewhere, names, what)
    return np.array([places[_plain(text)][1] for text in asked], np.int64)


def _places(asked: Sequence[str], names: SampleNames, what: str) -> dict[str, _Place]:
    """The one sample that each name means, whatever part it is in."""
    wanted = [*dict.fromkeys(_plain(text) for text in asked)]
    listings = [*{id(one): one for one in (names.listing, *(part.listing for _, part in names.others))}.values()]
    exact = _exact(wanted, listings)
    similar = _similar([text for text in wanted if text not in exact], listings)
    unknown = [text for text in wanted if not (exact.get(text) or similar.get(text))]
    if unknown:
        raise ForgetSetError(f"{what} {_counted(len(unknown), 'name')} that no sample has: {_unknown(unknown, names)}.")
    places = {text: exact.get(text) or similar[text] for text in wanted}
    several = next((text for text in wanted if len(places[text]) > 1), None)
    if several is not None:
        candidates = ", ".join(_name(place) for place in places[several][:_SHOWN])
        more = ", …" if len(places[several]) > _SHOWN else ""
        raise ForgetSetError(
            f"{what} {several!r}, which may mean {len(places[several])} samples: {candidates}{more}; write more of its "
            "path."
        )
    return {text: found[0] for text, found in places.items()}


def _plain(text: str) -> str:
    """A name with slashes between its parts."""
    return text.strip().replace("\\", "/").removeprefix("./")


def _exact(wanted: Sequence[str], listings: Sequence[Listing]) -> dict[str, list[_Place]]:
    """The samples that have exactly the wanted names; those of the first source, which is the training samples'."""
    found: dict[str, list[_Place]] = {}
    for listing in listings:
        if listing.texts is None:
            digits = (text for text in wanted if text.isascii() and text.isdigit() and len(text) < _DIGITS)
            numbers = [text for text in digits if int(text) < listing.count]
            here: dict[str, list[_Place]] = {text: [(listing, int(text))] for text in numbers}
        else:
            here = defaultdict(list)
            looked_for = {*wanted}
            for position, text in enumerate(listing.texts):
                if text in looked_for and position not in listing.erased:
                    here[text].append((listing, position))
        found = here | found
    return found


def _similar(wanted: Sequence[str], listings: Sequence[Listing]) -> dict[str, list[_Place]]:
    """The samples whose names end as the wanted ones do, or the other way round; accents may be written in two ways."""
    by_file = defaultdict(list)
    for text in wanted:
        plain = normalize("NFC", text)
        by_file[plain.rpartition("/")[2]].append((text, plain))
    found: dict[str, list[_Place]] = defaultdict(list)
    for listing in listings if wanted else []:
        for position, name in enumerate(normalize("NFC", text) for text in listing.texts or ()):
            wanted_here = () if position in listing.erased else by_file.get(name.rpartition("/")[2], ())
            for text, plain in wanted_here:
                if name == plain or name.endswith(f"/{plain}") or plain.endswith(f"/{name}"):
                    found[text].append((listing, position))
    return found


def _name(place: _Place) -> str:
    listing, position = place
    return listing.name(position)


def _unknown(unknown: Sequence[str], names: SampleNames) -> str:
    """The first unknown names, with those that may have been meant."""
    texts = names.listing.texts
    if texts is None:
        return f"{_some(unknown)}; samples of this data are called by their positions, 0 to {names.listing.count - 1}"
    erased = names.listing.erased
    near = _meant(unknown[:_SHOWN], [text for position, text in enumerate(texts) if position not in erased])
    if not any(near):
        known = next((texts[position] for position in names.positions.tolist() if position not in erased), None)
        return f"{_some(unknown)}{'' if known is None else f'; names are such as {known!r}'}"
    told = [f"{text!r}{told}" for text, told in zip(unknown, near, strict=False)]
    return ", ".join([*told, *(["…"] if len(unknown) > _SHOWN else [])])


def _meant(unknown: Sequence[str], texts: Sequence[str]) -> list[str]:
    """For each unknown name, a question for the same file elsewhere or of another ending, or for similar names."""
    wanted = {_file(text) for text in unknown}
    wanted |= {_stem(file) for file in wanted}
    known = defaultdict(list)
    for text in texts:
        file = _file(text)
        for key in {file, _stem(file)} & wanted:
            known[key].append(text)
    told = []
    for count, text in enumerate(unknown, 1):
        same = known[_file(text)] or known[_stem(_file(text))]
        similar = hint(text, texts) if not same and count * len(texts) <= _COMPARED else ""
        told.append(f" (did you mean {', '.join(same[:_SUGGESTED])}?)" if same else similar)
    return told


def _file(text: str) -> str:
    """The file in a path, whatever its case."""
    return normalize("NFC", text).rpartition("/")[2].casefold()


def _stem(file: str) -> str:
    """A file without its ending; with a slash, so that it is none of the files."""
    return f"/{file.rpartition('.')[0] or file}"


def _refuse_outside(places: Sequence[_Place], names: SampleNames, what: str) -> None:
    """Say which samples are not in the training part, and where they are."""
    for role, inside in _by_part(places, names):
        raise ForgetSetError(
            f"{what} {_counted(len(inside), 'sample')} of the {role} part, {_some([_name(one) for one in inside])}; "
            "only training samples can be forgotten, so leave them out, or make other samples the test part."
        )
    raise ForgetSetError(
        f"{what} {_counted(len(places), 'sample')} that the training part was cut without, "
        f"{_some([_name(one) for one in places])}; leave them out, or take a larger part with --train-size."
    )


def _by_part(places: Sequence[_Place], names: SampleNames) -> Iterator[tuple[str, list[_Place]]]:
    """The other parts that hold some of the samples, such as ``test``, with those."""
    for role, part in names.others:
        there = {*part.positions.tolist()}
        inside = [place for place in places if place[0] is part.listing and place[1] in there]
        if inside:
            yield role, inside


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _some(texts: Sequence[str]) -> str:
    """The first few, quoted."""
    return ", ".join(chain(map(repr, texts[:_SHOWN]), ["…"] if len(texts) > _SHOWN else []))
