"""Data of which files were deleted: what is left is recognised by its pixels, and nothing else is trained on."""

from __future__ import annotations

import hashlib
import hmac
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from natmu.data import Splits, load
from natmu.data.own import own_parts
from natmu.engine.store import Store
from natmu.errors import DataError
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.lineage import Architecture, Arithmetic
from natmu.records.service import ServiceRecord
from natmu.records.settings import DataSettings
from natmu.requests.content import pixel_digests
from natmu.requests.keys import ServiceKey
from natmu.requests.remaining import open_remaining, take_census

KEY = ServiceKey(bytes(range(32)))
CLASSES = ("ant", "bee", "cat")
PER_CLASS = 24


def picture(number: int) -> np.ndarray:
    """A small grey image that no other number has."""
    return np.random.default_rng(number).integers(0, 256, (6, 6), np.uint8)


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path)


def divided(folder: Path) -> Path:
    """A folder with train and test, a folder of images per class in each."""
    for number, label in enumerate(CLASSES):
        for row in range(PER_CLASS):
            write(folder / "train" / label / f"{row:02}.png", 100 * number + row)
        for row in range(8):
            write(folder / "test" / label / f"{row:02}.png", 1000 + 100 * number + row)
    return folder


def flat(folder: Path) -> Path:
    """A folder of images per class that is not divided."""
    for number, label in enumerate(CLASSES):
        for row in range(PER_CLASS):
            write(folder / label / f"{row:02}.png", 100 * number + row)
    return folder


def arrays(file: Path, rows: np.ndarray | None = None) -> Path:
    """An .npz file of training and test images, of which some training rows may be gone."""
    images = np.stack([picture(number) for number in range(60)])
    labels = np.arange(60) % 3
    rows = np.arange(60) if rows is None else rows
    tests = np.stack([picture(1000 + number) for number in range(12)])
    np.savez(file, x_train=images[rows], y_train=labels[rows], x_test=tests, y_test=np.arange(12) % 3)
    return file


@dataclass(frozen=True)
class Begun:
    """A service that has begun, as far as its data goes."""

    record: ServiceRecord
    splits: Splits
    store: Store

    def open(self, gone=(), data=None, *, force=False, **unseen):
        """What is left; some training samples and samples of other parts may be missing."""
        rows = {"train": np.array(gone, np.int64)} | {part: np.array(rows) for part, rows in unseen.items()}
        return open_remaining(
            self.record,
            take_census(self.splits, KEY),
            KEY,
            self.store,
            rows,
            data=None if data is None else str(data),
            device="cpu",
            force=force,
        )

    def rows(self, *names, part="train"):
        """Positions of samples by their names."""
        called = list(getattr(self.splits, part).sample_names)
        return [called.index(name) for name in names]

    def check(self, opened, missing):
        """All but some training samples are there, as they were and in their order, for methods and for a trainer."""
        workspace, _, _ = opened
        kept = np.setdiff1d(np.arange(len(self.splits.train)), missing)
        assert workspace.remaining.train.tolist() == kept.tolist()
        for part, rows in (
            ("train", kept),
            ("test", workspace.remaining.test),
            ("holdout", workspace.remaining.holdout),
        ):
            before, now = getattr(self.splits, part), getattr(workspace.splits, part)
            assert (before is None) == (now is None), part
            if now is not None and before is not None:
                assert np.array_equal(now.images, np.asarray(before.images)[rows]), part
                assert np.array_equal(now.labels, before.labels[rows]), part
                assert now.class_names == before.class_names
        given, were = own_parts(workspace.splits).train, own_parts(self.splits).train
        assert len(given) == len(kept)
        for place, row in enumerate(kept):
            (image, label), (image_before, label_before) = given[place], were[int(row)]
            assert np.array_equal(np.asarray(image), np.asarray(image_before))
            assert label == label_before
        assert (workspace.splits.mean, workspace.splits.std) == (self.splits.mean, self.splits.std)
        assert workspace.data == self.record.data
        return workspace


def begun(source: Path, tmp_path: Path, **settings) -> Begun:
    asked = DataSettings(source=str(source), **settings)
    splits = load(asked.source, tmp_path, **asked.model_dump(exclude={"source", "mean", "std"}))
    record = ServiceRecord(
        original="ab",
        data=DataLineage(**asked.model_dump(), digests=DataDigests(train="aa", test="bb")),
        source=str(source),
        data_dir=str(tmp_path),
        architecture=Architecture(name="small_cnn"),
        arithmetic=Arithmetic(precision="fp32"),
        recipe=None,
        mean=splits.mean,
        std=splits.std,
    )
    return Begun(record, splits, Store(tmp_path / "models"))


@pytest.fixture
def folder(tmp_path):
    return divided(tmp_path / "photos")


@pytest.fixture
def service(folder, tmp_path):
    # A trainer reads its files when it is asked for a sample, so that what it got before is compared with a copy.
    kept = shutil.copytree(folder, tmp_path / "before")
    return begun_at(folder, kept, tmp_path)


def begun_at(source: Path, kept: Path, tmp_path: Path, **settings) -> Begun:
    """A service whose data is compared with what a copy of it holds."""
    first = begun(source, tmp_path, **settings)
    copy = begun(kept, tmp_path, **settings)
    return Begun(first.record, copy.splits, first.store)


def test_nothing_has_changed(service):
    opened = service.open()
    workspace = service.check(opened, [])
    assert opened[1].in_words() == []
    assert len(opened[2]) == 0
    assert workspace.remaining.count == 3 * PER_CLASS
    assert not len(workspace.remaining.gone)


def test_deleted_files_in_the_middle_of_a_class(service, folder):
    asked = [f"train/bee/{row:02}.png" for row in range(5, 9)]
    for name in asked:
        (folder / name).unlink()
    (folder / "train/cat/02.png").unlink()
    gone = service.rows(*asked)
    opened = service.open(gone)
    service.check(opened, [*gone, *service.rows("train/cat/02.png")])
    assert opened[2].tolist() == service.rows("train/cat/02.png")
    assert opened[1].in_words() == [
        "Samples that are gone and were asked to be forgotten: 4.",
        "Samples that are gone, though nobody asked to forget them: 1 (train/cat/02.png).",
    ]


def test_a_deleted_class_keeps_the_numbers_of_the_others(service, folder):
    asked = [f"train/ant/{row:02}.png" for row in range(PER_CLASS)]
    shutil.rmtree(folder / "train/ant")
    shutil.rmtree(folder / "test/ant")
    gone = service.rows(*asked)
    opened = service.open(gone, test=range(8))
    workspace = service.check(opened, gone)
    assert workspace.splits.train.labels.unique().tolist() == [1, 2]
    assert not len(opened[2])


@pytest.mark.parametrize("holdout", [False, True])
def test_the_test_part_stays_the_one_that_was_drawn_at_the_beginning(tmp_path, holdout):
    source = flat(tmp_path / "photos")
    kept = shutil.copytree(source, tmp_path / "before")
    service = begun_at(source, kept, tmp_path, test_fraction=0.25, holdout=holdout)
    asked = [service.splits.train.sample_names[row] for row in range(0, 40, 3)]
    for name in asked:
        (source / name).unlink()
    gone = service.rows(*asked)
    opened = service.open(gone)
    workspace = service.check(opened, gone)
    assert workspace.remaining.test.tolist() == list(range(len(service.splits.test)))
    assert list(workspace.splits.test.sample_names) == list(service.splits.test.sample_names)
    assert opened[1].requested == len(asked)
    assert opened[1].added.count == 0


def test_a_part_of_the_training_data_and_a_holdout_of_the_test_data_stay_what_they_were(folder, tmp_path):
    kept = shutil.copytree(folder, tmp_path / "before")
    service = begun_at(folder, kept, tmp_path, train_size=30, holdout=True)
    name = service.splits.train.sample_names[7]
    (folder / name).unlink()
    opened = service.open([7])
    workspace = service.check(opened, [7])
    assert len(workspace.splits.holdout) == len(service.splits.holdout)
    assert opened[1].in_words() == ["Samples that are gone and were asked to be forgotten: 1."]


def test_rows_of_an_array_are_found_where_they_have_moved_to(tmp_path):
    service = begun(arrays(tmp_path / "data.npz"), tmp_path)
    gone = [3, 4, 30]
    arrays(tmp_path / "data.npz", np.setdiff1d(np.arange(60), gone))
    opened = service.open(gone)
    service.check(opened, gone)
    assert opened[1].in_words() == ["Samples that are gone and were asked to be forgotten: 3."]


def test_a_renamed_file_is_the_same_sample(service, folder):
    (folder / "train/bee/03.png").rename(folder / "train/bee/zz.png")
    opened = service.open()
    service.check(opened, [])
    assert opened[1].in_words() == [
        "Samples that are called otherwise now, and recognised by their pixels: 1 (train/bee/03.png)."
    ]


def test_a_sample_of_another_class_now_is_lost(service, folder):
    (folder / "train/bee/03.png").rename(folder / "train/cat/zz.png")
    opened = service.open()
    service.check(opened, service.rows("train/bee/03.png"))
    assert opened[2].tolist() == service.rows("train/bee/03.png")
    assert (opened[1].relabelled.count, opened[1].lost.count, opened[1].added.count) == (1, 0, 0)


def test_an_edited_image_is_lost_and_not_trained_on(service, folder):
    write(folder / "train/bee/03.png", 9999)
    opened = service.open()
    service.check(opened, service.rows("train/bee/03.png"))
    assert (opened[1].edited.names, opened[1].lost.count, opened[1].added.count) == (("train/bee/03.png",), 0, 0)


def test_a_new_file_is_not_trained_on(service, folder):
    write(folder / "train/ant/00a.png", 9999)
    opened = service.open()
    service.check(opened, [])
    assert opened[1].added.names == ("train/ant/00a.png",)


@pytest.mark.parametrize("deleted", ["05.png", "06.png"])
@pytest.mark.parametrize("renamed", [False, True])
def test_of_two_copies_the_one_stays_that_nobody_asked_to_forget(folder, tmp_path, deleted, renamed):
    shutil.copy(folder / "train/bee/05.png", folder / "train/bee/06.png")
    kept = shutil.copytree(folder, tmp_path / "before")
    service = begun_at(folder, kept, tmp_path)
    (folder / "train/bee" / deleted).unlink()
    other = folder / "train/bee" / {"05.png": "06.png", "06.png": "05.png"}[deleted]
    if renamed:
        other.rename(folder / "train/bee/zz.png")
    gone = service.rows(f"train/bee/{deleted}")
    service.check(opened := service.open(gone), gone)
    assert not len(opened[2])


def test_a_deleted_test_image_is_in_no_part(service, folder):
    (folder / "test/ant/02.png").unlink()
    opened = service.open()
    workspace = service.check(opened, [])
    assert workspace.remaining.test.tolist() == [row for row in range(24) if row != 2]
    assert opened[1].lost.names == ("test/ant/02.png",)
    assert not len(opened[2])


def test_a_test_image_never_becomes_a_training_image(service, folder):
    (folder / "train/ant/03.png").unlink()
    write(folder / "test/ant/99.png", 3)  # the same pixels as what was deleted
    shutil.move(folder / "test/bee/01.png", folder / "train/bee/99.png")
    opened = service.open()
    workspace = service.check(opened, service.rows("train/ant/03.png"))
    assert len(workspace.remaining.test) == 23
    assert opened[1].added.count == 2


def test_the_data_may_have_moved(service, folder, tmp_path):
    moved = shutil.move(folder, tmp_path / "elsewhere")
    opened = service.open(data=moved)
    service.check(opened, [])
    assert opened[1].in_words() == []


def test_other_data_is_refused_unless_it_is_forced(service, folder):
    for row in range(6):
        (folder / f"train/bee/{row:02}.png").unlink()
    with pytest.raises(DataError, match=r"of 96 samples .* 6 \(train/bee/00.png, .*…\) gone.*--force"):
        service.open()
    rows = service.rows(*(f"train/bee/{row:02}.png" for row in range(6)))
    opened = service.open(force=True)
    service.check(opened, rows)
    assert opened[2].tolist() == rows
    service.check(service.open(rows), rows)  # asked for, they may be gone


def test_images_that_are_decoded_in_another_way_are_told_from_other_data(service, folder):
    for path in folder.rglob("*.png"):
        image = Image.open(path)
        Image.fromarray(255 - np.asarray(image)).save(path)
    with pytest.raises(DataError, match="decoded or resized in another way"):
        service.open(force=True)


def test_grey_images_stay_in_colour_when_the_only_coloured_one_is_deleted(folder, tmp_path):
    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    Image.fromarray(image).save(folder / "train/ant/00.png")
    kept = shutil.copytree(folder, tmp_path / "before")
    service = begun_at(folder, kept, tmp_path)
    assert service.splits.train.image_shape == (3, 6, 6)
    (folder / "train/ant/00.png").unlink()
    service.check(service.open([0]), [0])


def test_the_census_lists_every_sample_with_digests_of_pixels_and_files(service, folder):
    census = take_census(service.splits, KEY)
    for part in ("train", "test"):
        data, listed = getattr(service.splits, part), getattr(census, part)
        assert [*listed.names] == [*data.sample_names]
        assert listed.labels.tolist() == data.labels.tolist()
        for row in (0, 17, len(data) - 1):
            pixels = b"uint8(1, 6, 6)" + np.asarray(data.images[row]).tobytes()
            content = (folder / data.sample_names[row]).read_bytes()
            for digests, message in ((listed.pixels, pixels), (listed.files, content)):
                assert digests[row].tobytes() == hmac.new(KEY.secret, message, hashlib.sha256).digest()[:16]
    assert census.holdout is None
    other = pixel_digests(service.splits.train, ServiceKey(bytes(32)))
    assert not (other == census.train.pixels).all(axis=1).any()
