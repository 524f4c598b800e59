"""Images that cannot be reached are refused with their number and first names, and none is left out in silence."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from natmu.data import load
from natmu.data.decoding import image_files
from natmu.data.reachable import require_reachable, walk
from natmu.errors import DataError, UsageError, require_utf8


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of four images, in a part of training and one of test."""
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for row in range(4):
                image = Image.fromarray(np.full((4, 4, 3), 20 * row, np.uint8))
                image.save(tmp_path / "photos" / part / name / f"{row}.png")
    return tmp_path / "photos"


def _annexed(path: Path) -> None:
    """What git-annex leaves of a file that was not fetched."""
    path.unlink()
    path.symlink_to("../../.git/annex/objects/xx/SHA256E-s1--0.png")


def test_links_to_nothing(photos: Path) -> None:
    for row in (1, 3):
        _annexed(photos / "train" / "cat" / f"{row}.png")
    with pytest.raises(
        DataError, match=r"2 of 16 images lead to files that are not there \('.*1\.png', '.*3\.png'\).*annex"
    ):
        load(str(photos), photos.parent)


def test_a_whole_class_that_leads_nowhere(photos: Path) -> None:
    (photos / "train" / "eel").symlink_to("elsewhere")
    with pytest.raises(DataError, match=r"holds 1 links to folders or files that are not there.*eel.*dvc pull"):
        load(str(photos), photos.parent)


def test_a_folder_in_a_class_that_leads_nowhere(photos: Path) -> None:
    (photos / "train" / "cat" / "more").symlink_to("elsewhere")
    with pytest.raises(DataError, match=r"cat holds 1 links to folders or files that are not there \(.*cat/more.*dvc"):
        load(str(photos), photos.parent)


def test_a_link_to_nothing_that_is_no_image(photos: Path) -> None:
    (photos / "train" / "cat" / "notes.txt").symlink_to("elsewhere")
    assert len(load(str(photos), photos.parent).train) == 8


def test_links_to_nothing_in_a_table(photos: Path) -> None:
    rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
    (photos / "table.csv").write_text("file,label\n" + "\n".join(rows))
    _annexed(photos / "train" / "cat" / "1.png")
    with pytest.raises(DataError, match="1 of 16 images lead to files that are not there"):
        load(str(photos / "table.csv"), photos.parent, test_fraction=0.25)


def test_files_without_permission(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in, because root may read everything."""
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).parent.name != "dog")
    with pytest.raises(DataError, match=r"8 of 16 images may not be read \(.*0\.png.* and 5 more\).*chmod"):
        load(str(photos), photos.parent)


def test_a_folder_without_permission(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in, because root may read everything."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=r"The folder .*dog cannot be read: Permission denied"):
        load(str(photos), photos.parent)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_really_has_no_permission(photos: Path) -> None:
    (photos / "train" / "dog").chmod(0)
    try:
        with pytest.raises(DataError, match="cannot be read: Permission denied"):
            load(str(photos), photos.parent)
    finally:
        (photos / "train" / "dog").chmod(0o700)


def test_pipes_and_pointers(photos: Path) -> None:
    path = photos / "train" / "cat" / "1.png"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="1 of 16 images are no files but folders, named pipes"):
        load(str(photos), photos.parent)
    path.unlink()
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(DataError, match="only points to a file in Git LFS; get that with `git lfs pull`"):
        load(str(photos), photos.parent)
    path.write_text("/annex/objects/SHA256E-s1--0.png\n")
    with pytest.raises(DataError, match="only points to a file in git-annex"):
        load(str(photos), photos.parent)


def test_a_folder_that_holds_itself(photos: Path) -> None:
    (photos / "train" / "cat" / "again").symlink_to("..")
    with pytest.raises(DataError, match=r"is a link to a folder that it lies in"):
        load(str(photos), photos.parent)


def test_a_link_beside_is_no_loop(photos: Path) -> None:
    (photos / "train" / "eel").symlink_to("cat")
    assert load(str(photos), photos.parent).train.class_names == ("cat", "dog", "eel")


def test_the_walk_is_that_of_the_standard_library(photos: Path) -> None:
    expected = [(Path(root), names) for root, _, names in sorted(os.walk(photos, followlinks=True))]
    assert [*walk(photos)] == expected
    _annexed(photos / "train" / "cat" / "1.png")
    assert len(image_files(photos)) == 16
    with pytest.raises(DataError, match="1 of 16"):
        require_reachable(image_files(photos))


def test_names_that_are_no_text_in_utf_8(photos: Path) -> None:
    """A file name in Latin-1, as old archives have them, cannot stand in any of our records."""
    require_utf8("Zürich 😀", "The class")
    (photos / "train" / "cat" / "1.png").rename(photos / "train" / "cat" / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(UsageError, match=r"caf.*is not text in UTF-8; rename it"):
        load(str(photos), photos.parent)
