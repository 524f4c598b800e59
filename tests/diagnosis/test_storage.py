"""What is said of the cache, the data sets and the runs, whole and damaged."""

from __future__ import annotations

import errno
import shutil

import pytest
from tests.data.fakes import write_cifar10, write_cifar100, write_tiny_imagenet
from tests.records.folders import a_retrained, an_original, make_run

from natmu.data.downloads import official_archives
from natmu.diagnosis import storage
from natmu.diagnosis.storage import cache_finding, data_findings, store_findings
from natmu.records.run import PREDICTIONS, RECORD


def told(findings, state):
    return [f"{one.text} {one.remedy}" for one in findings if one.state == state]


def test_a_cache_that_cannot_be_kept_is_wrong(tmp_path):
    assert cache_finding(tmp_path / "new").state == "good"
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    assert cache_finding(tmp_path / "file").state == cache_finding(None).state == "wrong"


def test_data_that_is_not_there_is_no_fault(tmp_path):
    (found,) = data_findings(tmp_path)
    assert found.state == "note"
    assert found.text.endswith("cifar10, cifar100, tiny-imagenet.")


def test_a_file_is_no_folder_of_data_or_runs(tmp_path):
    (tmp_path / "file").touch()
    (data,) = data_findings(tmp_path / "file")
    assert (data.state, data.text) == ("wrong", f"--data-dir {tmp_path / 'file'} is no folder.")
    (runs,) = store_findings(tmp_path / "file")
    assert runs.state == "wrong"
    assert "cannot be written" in runs.text


@pytest.mark.parametrize("folder", ["cifar-10-batches-py", "cifar10", "."])
def test_a_data_set_that_is_whole_is_good(tmp_path, monkeypatch, folder):
    write_cifar10(tmp_path / folder)
    monkeypatch.setattr(storage, "load_cifar10", lambda place: (range(50_000), range(10_000)))
    assert told(data_findings(tmp_path), "good") == [f"{tmp_path / folder} is complete. "]


def test_data_sets_that_lack_images_files_or_bytes_are_wrong(tmp_path):
    write_cifar10(tmp_path / "cifar-10-batches-py")
    write_cifar100(tmp_path / "cifar-100-python")
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"cut off")
    write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    (tmp_path / "tiny-imagenet-200" / "wnids.txt").unlink()
    few, damaged, incomplete = told(data_findings(tmp_path), "wrong")
    assert "20 training and 4 test images" in few
    assert "cifar-100-python" in damaged
    assert "lacks wnids.txt. Move it away, and run natmu data download tiny-imagenet" in incomplete
    for sentence in (few, damaged):
        assert "Move " in sentence


def test_what_may_not_be_read_is_told_beside_all_else(tmp_path, monkeypatch):
    def refuse(place, *_):
        raise PermissionError(errno.EACCES, "Permission denied", str(place))

    monkeypatch.setattr(storage, "_has", refuse)
    monkeypatch.setattr(storage, "_checked", refuse)
    (tmp_path / "a").mkdir()
    sentences = told([*data_findings(tmp_path), *store_findings(tmp_path)], "wrong")
    assert len(sentences) == 4
    assert sentences[0].endswith("cannot be read (Permission denied). Let it be read, or choose another --data-dir.")
    assert (
        sentences[3] == f"{tmp_path / 'a'} cannot be read (Permission denied). Let it be read, or choose another --out."
    )


def test_classes_without_all_their_images_are_told(tmp_path, monkeypatch):
    write_tiny_imagenet(tmp_path / "tiny-imagenet-200", per_class=3)
    monkeypatch.setattr(storage, "PER_CLASS", 3)
    assert len(told(data_findings(tmp_path), "good")) == 1
    next((tmp_path / "tiny-imagenet-200" / "train" / "n01" / "images").iterdir()).unlink()
    (sentence,) = told(data_findings(tmp_path), "wrong")
    assert "n01 has not 3 images" in sentence


def test_arrays_of_tiny_imagenet_are_as_long_as_they_say(tmp_path):
    for name in storage.ARRAY_FILES:
        storage.np.save(tmp_path / name, storage.np.zeros(100))
    assert len(told(data_findings(tmp_path), "good")) == 1
    (tmp_path / "val_data.npy").write_bytes((tmp_path / "val_data.npy").read_bytes()[:-1])
    (sentence,) = told(data_findings(tmp_path), "wrong")
    assert "damaged .npy file" in sentence


def test_a_download_that_was_broken_off_goes_on(tmp_path):
    (tmp_path / f"{official_archives()['cifar10'].file}.part").touch()
    (sentence,) = told(data_findings(tmp_path), "wrong")
    assert sentence.startswith("Its download was broken off. Run natmu data download cifar10")


@pytest.fixture
def store(tmp_path):
    """A folder with two runs."""
    make_run(tmp_path / "one", an_original())
    make_run(tmp_path / "two", a_retrained())
    return tmp_path


def test_a_store_without_faults_is_good(store):
    (found,) = store_findings(store)
    assert (found.state, found.text) == ("good", f"2 complete in {store}.")


def test_no_store_is_no_fault(tmp_path):
    assert told(store_findings(tmp_path / "runs"), "wrong") == []
    assert not (tmp_path / "runs").exists()


def test_every_damaged_run_is_told_with_what_to_do(store):
    make_run(store / "three", an_original(seed=1))
    make_run(store / "four", an_original(seed=2))
    make_run(store / "five", an_original(seed=3))
    (store / "two" / RECORD).write_text("{}")
    (store / "three" / PREDICTIONS).unlink()
    content = (store / "four" / PREDICTIONS).read_bytes()
    (store / "four" / PREDICTIONS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (store / "five" / RECORD).unlink()
    found = store_findings(store)
    assert found[0].text.startswith("1 complete")
    sentences = told(found, "wrong")
    assert len(sentences) == 4
    for name, word in (
        ("two", "format"),
        ("three", "missing"),
        ("four", "not what this run wrote"),
        ("five", "not complete"),
    ):
        (sentence,) = [one for one in sentences if f"{store / name}" in one]
        assert word in sentence
    assert all(one.remedy for one in found if one.state == "wrong")


def test_no_more_is_read_than_was_said(store):
    content = (store / "one" / PREDICTIONS).read_bytes()
    (store / "one" / PREDICTIONS).write_bytes(content + b"x")
    assert len(told(store_findings(store), "wrong")) == 1
    assert told(store_findings(store, most=10), "wrong") == []
    assert "read up to" in store_findings(store, most=10)[0].text


def test_what_is_unfinished_goes_on(store):
    (store / ".work" / "0123456789abcdef").mkdir(parents=True)
    (sentence,) = told(store_findings(store), "note")
    assert sentence.startswith("1 under way or broken off")


def test_a_full_disk_and_a_store_that_cannot_be_written_are_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 2**29))
    assert told(store_findings(tmp_path), "wrong")[0].startswith("Only 0.50 GiB are free")
    (tmp_path / "file").touch()
    assert "cannot be written" in told(store_findings(tmp_path / "file"), "wrong")[0]
