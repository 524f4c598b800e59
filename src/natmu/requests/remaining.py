"""The data that is left of a service's data: taken into a list when the service begins, recognised by it afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from natmu.data import ImageData, Splits, load
from natmu.data.class_order import UnknownClassError
from natmu.data.mapped import joined
from natmu.data.own import OwnParts
from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.errors import DataError, ModelError
from natmu.lineage import Workspace
from natmu.lineage.remaining import Remaining
from natmu.progress import deciding, say, without_lines
from natmu.records.census import Census, CensusPart
from natmu.records.service import ServiceRecord
from natmu.records.settings import DataSettings
from natmu.requests.changes import SHOWN, Changes, Some
from natmu.requests.content import dtype_of, file_digests, files_of, pixel_digests
from natmu.requests.keys import ServiceKey
from natmu.requests.matching import Described, Matches, matches
from natmu.types import BoolArray, IntArray

LARGEST_LOSS = 0.05
"""Share of the samples that nobody asked to forget which may be gone before the data counts as other data."""


def take_census(splits: Splits, key: ServiceKey) -> Census:
    """The list of all samples of a service's data, as it is when the service begins.

    Files are listed of training and test samples, where these are image files; not of a holdout.

    Args:
        splits: The data.
        key: The secret of the service.

    Raises:
        DataError: A file cannot be read.
    """
    own = splits.own
    files = (files_of(None if own is None else own.train), files_of(None if own is None else own.test), ())
    train, test, held = splits.train, splits.test, splits.holdout

    def listed(data: ImageData, files: Sequence[Path]) -> CensusPart:
        labels = data.labels.cpu().numpy().astype(np.int64)
        return CensusPart(data.sample_names, labels, pixel_digests(data, key), file_digests(files, key))

    return Census(
        class_names=train.class_names,
        image_shape=train.image_shape,
        dtype=dtype_of(train),
        train=listed(train, files[0]),
        test=listed(test, files[1]),
        holdout=None if held is None else listed(held, files[2]),
    )


@dataclass(frozen=True, eq=False)
class _Live:
    """Samples that are there, of which the listed ones are recognised.

    Attributes:
        data: The samples.
        own: The same, as the user's own loader has them, where there is one.
        extra: Whether there may be others than the listed ones from the beginning.
    """

    data: ImageData
    own: Dataset[Any] | None
    extra: bool

    def described(self, key: ServiceKey, class_names: Sequence[str]) -> Described:
        """The samples, with the numbers that their classes have in the list; -1 for other classes."""
        number = {name: row for row, name in enumerate(class_names)}
        known = np.array([number.get(name, -1) for name in self.data.class_names], np.int64)
        labels = known[self.data.labels.cpu().numpy()]
        return Described(tuple(self.data.sample_names), pixel_digests(self.data, key), labels)

    def part(self, rows: IntArray, labels: IntArray, class_names: tuple[str, ...]) -> ImageData:
        """Some of the samples, with the numbers that their classes have in the list."""
        whole = np.array_equal(rows, np.arange(len(self.data)))
        data = self.data if whole else self.data.subset(rows)
        if data.class_names == class_names:
            return data
        return replace(data, labels=torch.from_numpy(labels), class_names=class_names)


def open_remaining(
    record: ServiceRecord,
    census: Census,
    key: ServiceKey,
    store: Store,
    gone: Mapping[str, IntArray],
    *,
    data: str | None,
    device: str,
    force: bool,
) -> tuple[Workspace, Changes, IntArray]:
    """What is left of a service's data, and where models are made of it.

    Args:
        record: The service.
        census: The list of its samples.
        key: Its secret.
        store: Its models.
        gone: By part, positions of samples that may be missing, because somebody asked to forget them.
        data: Where the data lies now; where it lay if None.
        device: Where models are made.
        force: Whether to go on though many samples are gone that nobody asked to forget.

    Returns:
        The workspace, what changed, and positions of the training samples that are gone though nobody asked to forget
        them; these must be left out of everything that is made.

    Raises:
        DataError: The data cannot be had, or is other data.
        ModelError: What defines the architecture has changed.
    """
    source, test = data or record.source, record.test_beside(data)
    if Path(source).is_absolute() and not Path(source).exists():
        raise DataError(f"There is no data at {source}. Give its new place with --data.")
    told = record.data.model_dump(exclude={"digests"}) | {"source": source, "test": test}
    settings = DataSettings.parse(told, "data")
    with deciding(), without_lines():  # the parts of the data were decided when the service began, and are others now
        splits = _loaded(settings, record, census)
    live = _by_group(splits, settings, census)
    found = {roles: _recognised(one, census, roles, key, gone) for roles, one in live.items()}
    changes = sum((_changes(found[roles], one, census, roles, gone) for roles, one in live.items()), Changes())
    _require_same(changes, found, census, gone, settings.source, force=force)
    kept, rows = _compact(live, found, census, splits, record)
    remaining = Remaining(record.data, rows["train"], rows["test"], rows.get("holdout"), len(census.train))
    precision, synced = record.arithmetic.precision, record.arithmetic.sync_batch_norm
    compute = Compute.choose(device, precision, sync_batch_norm=synced)
    architecture = record.architecture
    parts = ((kept.train, census.train, "training"), (kept.test, census.test, "test"))
    say(f"data: {' and '.join(f'{len(left)} of {len(whole)} {name}' for left, whole, name in parts)} samples are there")
    workspace = Workspace(
        settings,
        kept,
        architecture.name,
        compute,
        store,
        outputs=architecture.outputs,
        remaining=remaining,
        unit_head=architecture.unit_head,
    )
    if workspace.architecture != architecture:
        raise ModelError(
            f"The file or the library that defines {workspace.model} has changed since the service began; restore it."
        )
    lost = np.setdiff1d(remaining.gone, gone.get("train", np.zeros(0, np.int64)))
    return workspace, changes, lost


def _loaded(settings: DataSettings, record: ServiceRecord, census: Census) -> Splits:
    """All samples that are there, in the form that they had."""
    values = settings.model_dump(exclude={"source", "mean", "std"}) | {"train_size": None, "holdout": False}
    if Path(settings.source).exists():  # classes may have vanished, and the others must keep their numbers
        values |= {"classes": census.class_names, "class_order": None}
    try:
        splits = load(settings.source, Path(record.data_dir), **values)
    except UnknownClassError as error:  # since the service began there are more; no model is trained on their samples
        values["classes"] += error.names
        splits = load(settings.source, Path(record.data_dir), **values)
    channels = census.image_shape[0]
    if splits.train.image_shape[0] != channels and channels in (1, 3):  # the only image in colour is gone
        splits = load(settings.source, Path(record.data_dir), **values | {"channels": channels})
    return splits


def _by_group(splits: Splits, settings: DataSettings, census: Census) -> dict[tuple[str, ...], _Live]:
    """The samples that are there, by the parts that they may have been in: nothing goes from one to another group."""
    own, cut = splits.own, settings.train_size is not None
    drawn = ("holdout",) if census.holdout is not None and splits.holdout is None else ()
    if settings.test_fraction is not None:
        return {("train", "test", *drawn): _pooled(splits, cut)}
    groups: dict[tuple[str, ...], _Live] = {
        ("train",): _Live(splits.train, None if own is None else own.train, cut),
        ("test", *drawn): _Live(splits.test, None if own is None else own.test, extra=False),
    }
    if splits.holdout is not None and census.holdout is not None:
        groups["holdout",] = _Live(splits.holdout, None, extra=False)
    return groups


def _pooled(splits: Splits, cut: bool) -> _Live:
    """Training and test samples that were taken from one source, together again."""
    train, test, own = splits.train, splits.test, splits.own
    images = joined(train.images, test.images)
    assert images is not None, "they come from one file"
    names = replace(
        train.sample_names, positions=np.concatenate([part.sample_names.positions for part in (train, test)])
    )
    data = ImageData(images, torch.cat([train.labels, test.labels]), train.class_names, names=names)
    return _Live(data, None if own is None else ConcatDataset([own.train, own.test]), cut)


def _recognised(
    live: _Live, census: Census, roles: Sequence[str], key: ServiceKey, gone: Mapping[str, IntArray]
) -> Matches:
    """The listed samples of some parts, one part after the other, among those that are there."""
    parts = [census.parts[role] for role in roles]
    listed = Described(
        [name for part in parts for name in part.names],
        np.concatenate([part.pixels for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    return matches(listed, live.described(key, census.class_names), _asked(census, roles, gone))


def _asked(census: Census, roles: Sequence[str], gone: Mapping[str, IntArray]) -> BoolArray:
    """Which samples of some parts somebody asked to forget."""
    masks = [np.isin(np.arange(len(census.parts[role])), gone.get(role, ())) for role in roles]
    return np.concatenate(masks)


def _changes(
    found: Matches, live: _Live, census: Census, roles: Sequence[str], gone: Mapping[str, IntArray]
) -> Changes:
    """What became of the samples of some parts; positions are no names, so that nothing is called otherwise."""
    names = [(census.parts[role].names, row) for role in roles for row in range(len(census.parts[role]))]
    asked, named = _asked(census, roles, gone), census.train.names.listing.texts is not None
    missing = (found.live < 0) & ~asked

    def some(mask: BoolArray) -> Some:
        rows = np.flatnonzero(mask)
        return Some(len(rows), tuple(part[row] for part, row in (names[place] for place in rows[:SHOWN])))

    edited = found.edited & missing & named
    added = () if live.extra else found.added
    return Changes(
        requested=int((asked & (found.live < 0)).sum()),
        lost=some(missing & ~edited & ~found.relabelled),
        edited=some(edited),
        relabelled=some(found.relabelled & missing),
        moved=some(found.moved & ~asked) if named else Some(),
        added=Some(len(added), tuple(live.data.sample_names[row] for row in added[:SHOWN])),
    )


def _require_same(
    changes: Changes,
    found: Mapping[tuple[str, ...], Matches],
    census: Census,
    gone: Mapping[str, IntArray],
    source: str,
    *,
    force: bool,
) -> None:
    """Refuse data that is other data than the service began with.

    Raises:
        DataError: No image is what it was, or many are gone that nobody asked to forget.
    """
    if all((one.live < 0).all() for one in found.values()):
        there = sum(int(one.edited.sum()) for one in found.values())
        if there and there == sum(len(one.live) for one in found.values()) - changes.requested - changes.lost.count:
            raise DataError(
                f"All images of {source} have other pixels than when the service began, under the same names. They are "
                "now decoded or resized in another way. Use the version of Pillow and the files of that time."
            )
    total = sum(len(part) for part in census.parts.values()) - sum(len(rows) for rows in gone.values())
    if changes.missing <= LARGEST_LOSS * total or force:
        return
    kinds = {"gone": changes.lost, "changed": changes.edited, "of another class": changes.relabelled}
    what = ", ".join(f"{some} {kind}" for kind, some in kinds.items() if some.count)
    raise DataError(
        f"{source} is not the data that the service began with: of {total} samples that nobody asked to forget, "
        f"{what}. Give the new place of the data with --data, or continue without these samples with --force."
    )


def _compact(
    live: Mapping[tuple[str, ...], _Live],
    found: Mapping[tuple[str, ...], Matches],
    census: Census,
    splits: Splits,
    record: ServiceRecord,
) -> tuple[Splits, dict[str, IntArray]]:
    """The samples that are left, in the order of the list, and their positions in it, by part."""
    data: dict[str, ImageData] = {}
    own: dict[str, Dataset[Any]] = {}
    rows: dict[str, IntArray] = {"holdout": np.zeros(0, np.int64)} if census.holdout is not None else {}
    for roles, samples in live.items():
        start = 0
        for role in roles:
            labels = census.parts[role].labels
            places = found[roles].live[start : start + len(labels)]
            start += len(labels)
            rows[role] = np.flatnonzero(places >= 0).astype(np.int64)
            kept = places[rows[role]]
            data[role] = samples.part(kept, labels[rows[role]], census.class_names)
            if samples.own is not None:
                own[role] = Subset(samples.own, kept.tolist())
    if census.holdout is not None and "holdout" not in data:
        data["holdout"] = data["test"].subset(rows["holdout"])
    parts = OwnParts(own["train"], own["test"]) if own else None
    return Splits(splits.name, data["train"], data["test"], record.mean, record.std, data.get("holdout"), parts), rows
