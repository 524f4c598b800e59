"""Decoded images are found again by content, and nothing half-written, edited or stale is taken for good."""

from __future__ import annotations

import os
import pickle
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from natmu.data import ImageData, decoding, load
from natmu.data import pixels as pixels_module
from natmu.data.mapped import MappedImages, mapped
from natmu.errors import DataError, ResourceError, RunError
from natmu.progress import showing
from natmu.records.decoded import DecodedImages

from .fakes import write_image

COUNT = 12


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Twelve photographs that are kept although they are few."""
    monkeypatch.setattr(decoding, "FEW_FILES", 1)
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 1)
    for row in range(COUNT):
        write_image(tmp_path / "tree" / ("train" if row < 8 else "test") / "ab"[row % 2] / f"{row:02}.png", seed=row)
    return sorted((tmp_path / "tree").rglob("*.png"))


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What is appended to whenever files are decoded into the folder."""
    calls: list[int] = []
    written = decoding._written

    def counted(path: Path, files: list[Path], form: object) -> object:
        calls.append(len(files))
        return written(path, files, form)

    monkeypatch.setattr(decoding, "_written", counted)
    return calls


def again(files: list[Path], tmp_path: Path) -> np.ndarray:
    """The images from the cache, which are always what decoding without one gives."""
    images = decoding.decode(files, cache_dir=tmp_path / "data")
    assert isinstance(images, np.memmap)
    assert np.array_equal(images, decoding.decode(files))
    return images


def only(tmp_path: Path, suffix: str) -> Path:
    (path,) = (tmp_path / "data" / "decoded").glob(f"[!.]*{suffix}")
    return path


def test_files_are_decoded_once_and_read_again_only_when_touched(
    files: list[Path], tmp_path: Path, decodings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    again(files, tmp_path)
    reads: list[int] = []
    digests = decoding._digests
    monkeypatch.setattr(decoding, "_digests", lambda paths: reads.append(len(paths)) or digests(paths))
    again(files, tmp_path)
    assert (decodings, reads) == ([COUNT], [])
    os.utime(files[3])
    for _ in range(2):
        again(files, tmp_path)
    assert (decodings, reads) == ([COUNT], [COUNT])
    shutil.copytree(tmp_path / "tree", tmp_path / "copy")
    again(sorted((tmp_path / "copy").rglob("*.png")), tmp_path)
    assert decodings == [COUNT]
    decoding.decode(files, decoding.Form(crop=4), tmp_path / "data")
    assert decodings == [COUNT, COUNT]


def test_another_content_of_the_same_size_and_time_is_noticed(
    files: list[Path], tmp_path: Path, decodings: list[int]
) -> None:
    files = [path.with_suffix(".bmp") for path in files]
    for row, path in enumerate(files):
        write_image(path, seed=row)
    again(files, tmp_path)
    facts = files[5].stat()
    write_image(files[5], seed=99)
    os.utime(files[5], ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (files[5].stat().st_size, files[5].stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    again(files, tmp_path)
    again(files[::-1], tmp_path)
    assert decodings == [COUNT] * 3


Harm = Callable[[Path, Path], None]


def edit(pixels: Path, record: Path) -> None:
    """Change one pixel and put the time back."""
    facts = pixels.stat()
    with pixels.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 255]))
    os.utime(pixels, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def cut(pixels: Path, record: Path) -> None:
    os.truncate(pixels, 200)


def doctor(pixels: Path, record: Path) -> None:
    record.write_text(record.read_text().replace('"pixels": "', '"pixels": "0'))


def empty(pixels: Path, record: Path) -> None:
    record.write_text("{")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (edit, ".npy was changed after it was written; its images are decoded again"),
        (cut, ".npy was changed after it was written; its images are decoded again"),
        (doctor, "checksum is not that of its content); its images are decoded again"),
        (empty, ".json cannot be read"),
        (lambda pixels, record: pixels.unlink(), ""),
        (lambda pixels, record: record.unlink(), ""),
    ],
)
def test_what_was_edited_is_named_and_decoded_again(
    files: list[Path],
    tmp_path: Path,
    decodings: list[int],
    capsys: pytest.CaptureFixture[str],
    harm: Harm,
    said: str,
) -> None:
    again(files, tmp_path)
    capsys.readouterr()
    harm(only(tmp_path, ".npy"), only(tmp_path, ".json"))
    with showing():
        again(files, tmp_path)
    assert decodings == [COUNT, COUNT]
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("error", [None, RunError, ResourceError])
def test_a_copy_of_the_folder_is_taken_after_one_look(
    files: list[Path],
    tmp_path: Path,
    decodings: list[int],
    monkeypatch: pytest.MonkeyPatch,
    error: type[Exception] | None,
) -> None:
    again(files, tmp_path)
    shutil.move(tmp_path / "data", tmp_path / "elsewhere")
    shutil.copytree(tmp_path / "elsewhere", tmp_path / "data", copy_function=shutil.copy)
    if error is not None:  # what the look found cannot be noted

        def fail(*_: object) -> None:
            raise error("no space")

        monkeypatch.setattr(DecodedImages, "write", fail)
    again(files, tmp_path)
    assert decodings == [COUNT]


def test_an_interrupted_or_killed_decoding_leaves_nothing_that_is_taken_for_good(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "decoded"
    with monkeypatch.context() as interrupted:
        interrupted.setattr(decoding, "_fill", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            decoding.decode(files, cache_dir=tmp_path / "data")
    assert not list(folder.glob("*.npy")) + list(folder.glob(".*.partial"))
    np.save(folder / f".{COUNT}.partial", np.zeros((COUNT, 3, 8, 8), np.uint8))  # as one that was killed leaves it
    (folder / f".{COUNT}.partial.npy").rename(folder / f".{COUNT}.partial")
    again(files, tmp_path)
    assert not list(folder.glob(".*.partial"))
    original, content = files[0], files[0].read_bytes()
    original.write_bytes(content[:60])
    with pytest.raises(DataError, match=r"08\.png cannot be read as an image"):
        decoding.decode(files, cache_dir=tmp_path / "data")
    assert len(list(folder.glob("*.npy"))) == 1


def test_processes_that_want_the_same_images_decode_them_once(
    files: list[Path], tmp_path: Path, decodings: list[int]
) -> None:
    folder = tmp_path / "data" / "decoded"
    folder.mkdir(parents=True)
    lock = FileLock(folder / f".{COUNT}.lock")

    with ThreadPoolExecutor(2) as pool:
        with lock:
            first, second = (pool.submit(decoding.decode, files, cache_dir=tmp_path / "data") for _ in range(2))
            time.sleep(0.1)
            assert not first.done()
        assert np.array_equal(first.result(), second.result())
    assert decodings == [COUNT]


def test_digest_and_statistics_of_parts_are_computed_once_and_never_of_an_edited_file(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, data = str(tmp_path / "tree"), tmp_path / "data"
    options = [{}, {"train_size": 4, "holdout": True}]
    first = [load(tree, data, **option) for option in options]
    facts = [(part.train.digest, part.test.digest, part.mean, part.std) for part in first]
    assert len({digest for fact in facts for digest in fact[:2]}) == 4
    with monkeypatch.context() as slow:
        slow.setattr(ImageData, "_digest", lambda data: "c0de")
        slow.setattr(pixels_module, "_channel_statistics", lambda images: ((9.0,), (9.0,)))
        second = [load(tree, data, **option) for option in options]
        assert [(part.train.digest, part.test.digest, part.mean, part.std) for part in second] == facts
        renamed = ImageData(second[0].train.images, second[0].train.labels, ("x", "b"))
        assert renamed.digest == "c0de"
        edit(only(tmp_path, ".npy"), only(tmp_path, ".json"))
        again = pickle.loads(pickle.dumps(ImageData(second[0].test.images, second[0].test.labels, ("a", "b"))))
        assert again.digest == "c0de"
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 2**26)
    resident = [load(tree, tmp_path / "other", **option) for option in options]
    assert all(part.train.resident for part in resident)
    assert [(part.train.digest, part.test.digest, part.mean, part.std) for part in resident] == facts


def test_parts_of_one_file_can_be_put_together(files: list[Path], tmp_path: Path) -> None:
    splits = load(str(tmp_path / "tree"), tmp_path / "data")
    train, test = mapped(splits.train.images), pickle.loads(pickle.dumps(mapped(splits.test.images)))
    assert train is not None
    together = train.followed_by(test.subset(np.array([3, 1])))
    assert isinstance(together, MappedImages)
    expected = torch.cat([splits.train.take(torch.arange(8)), splits.test.take(torch.tensor([3, 1]))])
    assert np.array_equal(together[:], expected.numpy())
    np.save(tmp_path / "other.npy", np.zeros((2, 3, 8, 8), np.uint8))
    other = mapped(np.lib.format.open_memmap(tmp_path / "other.npy", mode="r"))
    assert other is not None
    assert train.followed_by(other) is None


def test_what_killed_decoders_left_goes_at_the_next_start(files: list[Path], tmp_path: Path) -> None:
    again(files, tmp_path)
    folder = tmp_path / "data" / "decoded"
    kept = {path.name for path in folder.iterdir() if path.suffix in (".npy", ".json")}
    left = [folder / name for name in (".99-resize8.partial", f"99-{'0' * 32}.npy", ".12.json.here.1.partial")]
    held = [folder / name for name in (".77.partial", f"77-{'0' * 32}.npy")]
    for path in (*left, *held):
        path.write_bytes(b"half")
    os.utime(left[2], (0, 0))
    with FileLock(folder / ".77.lock"):  # by another process, which decodes now
        again(files, tmp_path)
    assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == kept | {path.name for path in held}
    again(files, tmp_path)
    assert {path.name for path in folder.iterdir() if path.suffix != ".lock"} == kept
