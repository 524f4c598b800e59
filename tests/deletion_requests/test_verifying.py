import hmac
import json
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from tests.deletion_requests.fakes import (
    chained,
    model,
    opening,
    purged,
    released,
    requested,
    retrained,
    started,
    weights,
)

from natmu.errors import RunError, UsageError
from natmu.records.census import Census, CensusPart
from natmu.records.data_lineage import DataDigests, DataLineage
from natmu.records.files import File
from natmu.records.ledger import Entry, Verified
from natmu.records.lineage import Architecture, Arithmetic
from natmu.records.names import SampleNames
from natmu.records.service import ServiceRecord
from natmu.requests.keys import ServiceKey, create_signing_key, fingerprint, sign
from natmu.requests.ledger import Ledger
from natmu.requests.verifying import NOT_SHOWN, verify_evidence, verify_service

TRAIN, TEST = 8, 3
PURGED, ASKED = [0, 1], [5]
"""Rows of the first request, whose files are gone, and of the second one."""


class FakeEvidence(File):
    """As much of evidence as verifying it needs."""

    format: Literal[1] = 1
    entries: tuple[Entry, ...]
    head_number: int
    head_hash: str


@pytest.fixture(autouse=True)
def fake_evidence(monkeypatch):
    module = types.ModuleType("natmu.records.evidence")
    module.Evidence = FakeEvidence
    monkeypatch.setitem(sys.modules, "natmu.records.evidence", module)


def make_data(folder):
    """Image files, which nobody decodes: the names of the training and of the test samples."""
    names = ([f"train/a/{row}.png" for row in range(TRAIN)], [f"photos/b/{row}.png" for row in range(TEST)])
    for home, part in zip((folder / "photographs", folder / "unseen"), names, strict=True):
        for name in part:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_bytes(f"content of {name}".encode())
    return names


def part_of(names, home, key):
    """The census of files; pixels stand for themselves."""

    def digest(data):
        return np.frombuffer(hmac.digest(key.secret, data, "sha256")[:16], np.uint8)

    files = np.stack([digest((home / name).read_bytes()) for name in names])
    pixels = np.stack([digest(name.encode()) for name in names])
    return CensusPart(SampleNames.of_source(len(names), names), np.zeros(len(names), np.int64), pixels, files)


def make_service(folder):
    """A whole small service whose first request is purged, with its data beside it."""
    home = folder / "service"
    home.mkdir()
    key = ServiceKey.create(home / "service.key")
    create_signing_key(home)
    train, test = make_data(folder)
    whole = Census(
        ("a", "b"),
        (3, 2, 2),
        "uint8",
        part_of(train, folder / "photographs", key),
        part_of(test, folder / "unseen", key),
    )
    (first, second) = (
        requested(number).model_copy(update={"samples": whole.pixel_digests(np.array(rows))})
        for number, rows in ((1, PURGED), (2, ASKED))
    )
    ledger = Ledger.create(home / "ledger.sqlite", key, opening(census=whole.digest))
    left = whole.without_names(np.array(PURGED), {})
    for row in PURGED:
        (folder / "photographs" / train[row]).unlink()
    left.write(home / "census.npz", key.seal)
    for body in (
        *(first, started(1, 1), released(1, 1, 1), retrained(2)),
        *(purged(1, runs=(model(0).run,), census=left.digest), second),
    ):
        ledger.append(lambda _, body=body: body)
    for number in (1, 2):
        (home / "models" / model(number).run).mkdir(parents=True)
        (home / "models" / model(number).run / "model.safetensors").write_bytes(weights(number))
    (home / "current").symlink_to(Path("models") / model(2).run)
    record_of(folder).write(home / "service.json")
    give_evidence(home, ledger.entries())
    return home


def record_of(folder, **changed):
    source, test = folder / "photographs", folder / "unseen" / "photos"
    lineage = DataLineage(
        source="x", image_size=None, train_size=None, holdout=False, digests=DataDigests(train="a", test="b")
    )
    fields = {
        "original": model(0).run,
        "data": lineage,
        "source": str(source),
        "test": str(test),
        "data_dir": str(folder),
        "architecture": Architecture(name="small_cnn"),
        "arithmetic": Arithmetic(precision="fp32"),
        "recipe": None,
        "mean": (0.5,),
        "std": (0.5,),
    }
    return ServiceRecord(**fields | changed)


def give_evidence(home, entries, chosen=(2, 4, 5), name="0001", **changed):
    """Evidence of some entries, signed."""
    path = home / "evidence" / name / "evidence.json"
    fields = {"head_number": len(entries), "head_hash": entries[-1].hash} | changed
    FakeEvidence(entries=tuple(entries[number - 1] for number in chosen), **fields).write(path)
    path.with_name("evidence.sig").write_text(sign(home, path.read_bytes()) + "\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("verified")
    make_service(root)
    return root


@pytest.fixture
def service(made, tmp_path):
    """A copy of the service with its data, which may be damaged."""
    root = tmp_path / "copy"
    shutil.copytree(made, root, symlinks=True)
    record_of(root).write(root / "service" / "service.json")
    return root / "service"


def ledger_of(service):
    return Ledger(service / "ledger.sqlite", ServiceKey.read(service / "service.key"))


def test_a_whole_service_holds_and_says_what_that_shows(service):
    found = verify_service(service)
    assert found.problems == ()
    assert found.ok
    assert found.noted == Verified(entries=7, models=2, files=TRAIN + TEST - 3, evidence=1)
    assert found.shown == (
        "The ledger has 7 entries, each chained to the one before and sealed with the service's key.",
        "2 releases have the weights that were deployed; those of 1 were deleted for requests.",
        "current is release 2, as the ledger says.",
        "1 folder of evidence agrees with the ledger; 1 signature holds.",
        "census.npz lists the 11 samples that the service began with.",
        "8 files of the data have the bytes that the service began with; files of samples that somebody asked to "
        "forget were not looked at.",
    )


@pytest.mark.parametrize(
    "words", ["is forgotten", "older copy", "service.key", "other copies", "backups", "exported", "law"]
)
def test_what_is_not_shown_is_always_said(service, words):
    assert words in " ".join(verify_service(service).not_shown)


def weights_path(service, number):
    return service / "models" / model(number).run / "model.safetensors"


def swap_weights(service):
    one, other = (weights_path(service, number) for number in (1, 2))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def restore_weights(service):
    path = weights_path(service, 0)
    path.parent.mkdir()
    path.write_bytes(weights(0))


def relink(service, target):
    (service / "current").unlink()
    (service / "current").symlink_to(target)


def seal_of(service):
    return ServiceKey.read(service / "service.key").seal


def other_census(service):
    """A list whose digests of two files were exchanged."""
    census = Census.read(service / "census.npz", seal_of(service))
    census.train.files[[2, 3]] = census.train.files[[3, 2]]
    census.write(service / "census.npz", seal_of(service))


def change(path, old, new):
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def resign(service, name="0001"):
    path = service / "evidence" / name / "evidence.json"
    path.with_name("evidence.sig").write_text(sign(service, path.read_bytes()))


def forged_evidence(service):
    """Evidence of an entry that the ledger does not have, well signed."""
    entries = list(ledger_of(service).entries())
    forged = chained(opening(), requested(1, ticket="another"))[1]
    give_evidence(service, [entries[0], forged, *entries[2:]])


DAMAGES = {
    "weights swapped": (swap_weights, ["does not hold the weights that release 1", "weights that release 2"]),
    "weights gone": (lambda one: weights_path(one, 1).unlink(), ["The weights of release 1 are missing"]),
    "weights that were deleted are back": (restore_weights, ["is there, though the ledger says that it was deleted"]),
    "another model deployed": (
        lambda one: relink(one, Path("models") / model(1).run),
        ["current is not release 2, which the ledger says is deployed"],
    ),
    "a folder in place of the link": (
        lambda one: ((one / "current").unlink(), (one / "current").mkdir()),
        ["current is not release 2"],
    ),
    "no record": (lambda one: (one / "service.json").unlink(), ["service.json cannot be read"]),
    "record edited": (
        lambda one: change(one / "service.json", b'"small_cnn"', b'"large_cnn"'),
        ["service.json .*changed after it was written"],
    ),
    "record of another original": (
        lambda one: record_of(one.parent, original="ab").write(one / "service.json"),
        ["service.json is of another original than entry 1"],
    ),
    "no census": (lambda one: (one / "census.npz").unlink(), ["census.npz cannot be read"]),
    "another census": (other_census, ["census.npz is not the list of samples that entry 6 of the ledger names"]),
    "a file edited": (
        lambda one: (one.parent / "photographs/train/a/3.png").write_bytes(b"else"),
        ["a/3.png is not the file that the service began with"],
    ),
    "a file lost and one edited": (
        lambda one: (
            (one.parent / "photographs/train/a/2.png").unlink(),
            (one.parent / "photographs/train/a/7.png").write_bytes(b""),
        ),
        ["a/2.png cannot be read .*nobody asked to forget it", "a/7.png is not the file"],
    ),
    "a test file edited": (
        lambda one: (one.parent / "unseen/photos/b/0.png").write_bytes(b"else"),
        ["b/0.png is not the file that the service began with"],
    ),
    "no data": (
        lambda one: shutil.rmtree(one.parent / "photographs"),
        ["There is no data at .*photographs. Give its new place with --data"],
    ),
    "evidence edited": (
        lambda one: change(one / "evidence/0001/evidence.json", b'"T-1"', b'"T-2"'),
        ["evidence.json .*changed after it was written", "is not signed with signing.pub, or was changed since"],
    ),
    "evidence of another entry": (forged_evidence, ["Entry 2 in .*evidence.json is not that of the ledger"]),
    "signature of something else": (
        lambda one: (one / "evidence/0001/evidence.sig").write_text(sign(one, b"else")),
        ["evidence.json is not signed with signing.pub"],
    ),
    "no signature": (
        lambda one: (one / "evidence/0001/evidence.sig").unlink(),
        ["evidence.json is not signed with signing.pub"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(service, name):
    done, expected = DAMAGES[name]
    done(service)
    found = verify_service(service)
    assert len(found.problems) == len(expected), found.problems
    for problem, part in zip(found.problems, expected, strict=True):
        assert re.search(part, problem), problem
        assert problem.endswith(".")
        assert "\n" not in problem
    assert not found.ok
    assert found.noted is None


def test_an_older_copy_of_the_ledger_is_found_by_evidence(service):
    for name in ("ledger.sqlite", "ledger.head"):
        shutil.copy(service / name, service.parent / name)
    ledger = ledger_of(service)
    ledger.append(lambda _: started(2, 2, source=2))
    give_evidence(service, ledger.entries(), name="0002")
    assert verify_service(service).ok
    for name in ("ledger.sqlite", "ledger.head"):
        shutil.move(service.parent / name, service / name)
    (problem,) = verify_service(service).problems
    assert "0002/evidence.json was written when the ledger had another entry 8: the ledger is an older copy" in problem


def test_what_is_wrong_with_the_ledger_comes_first_and_alone(service):
    swap_weights(service)
    (service / "ledger.sqlite").write_bytes(b"none" * 1000)
    found = verify_service(service)
    assert len(found.problems) == 1
    assert "not a database" in found.problems[0]
    assert found.not_shown[0].startswith("Models, data and evidence")


def test_files_of_requests_may_be_there_or_not(service):
    asked = service.parent / "photographs" / "train" / "a" / f"{ASKED[0]}.png"
    asked.unlink()
    assert verify_service(service).ok


def test_data_may_lie_elsewhere(service):
    (service.parent / "photographs").rename(service.parent / "moved")
    assert verify_service(service, data=str(service.parent / "moved")).ok
    assert not verify_service(service, data=str(service.parent / "nowhere")).ok


def test_files_of_a_table_lie_beside_it(service):
    table = service.parent / "photographs" / "people.csv"
    table.write_text("file,label\n")
    record_of(service.parent, source=str(table)).write(service / "service.json")
    assert verify_service(service).noted.files == TRAIN + TEST - 3


def test_data_that_has_a_name_is_said_to_be_unchecked(service):
    record_of(service.parent, source="cifar10").write(service / "service.json")
    found = verify_service(service)
    assert found.ok
    assert found.not_shown[0].startswith("The files of cifar10: it is not a path")
    assert found.noted.files == 0


def test_samples_that_are_no_files_are_said_to_be_unchecked(service):
    census = Census.read(service / "census.npz", seal_of(service))
    none = np.zeros((0, 16), np.uint8)
    parts = [CensusPart(part.names, part.labels, part.pixels, none) for part in census.parts.values()]
    bare = Census(census.class_names, census.image_shape, census.dtype, *parts)
    bare.write(service / "census.npz", seal_of(service))
    ledger_of(service).append(lambda _: purged(1, census=bare.digest))
    found = verify_service(service)
    assert found.ok
    assert found.not_shown[0] == "The samples of the data: they are no files of their own."


def test_unsigned_evidence_is_said_to_be_so(service):
    (service / "signing.pub").unlink()
    found = verify_service(service)
    assert found.ok
    assert found.noted.evidence == 0
    assert "the service has no signing.pub" in found.not_shown[0]


def test_what_is_no_service_is_refused(service, tmp_path):
    with pytest.raises(UsageError, match="is not a service"):
        verify_service(tmp_path)
    (service / "service.key").unlink()
    with pytest.raises(UsageError, match=r"service\.key is not there"):
        verify_service(service)


def test_verifying_changes_nothing(service):
    before = {path: path.read_bytes() for path in service.rglob("*") if path.is_file()}
    verify_service(service)
    assert {path: path.read_bytes() for path in service.rglob("*") if path.is_file()} == before


def test_neither_importing_nor_verifying_loads_torch(made):
    code = (
        "import sys, types, json\nfrom pathlib import Path\n"
        "import natmu.requests.verifying as v\n"
        "import natmu.requests.state\n"
        "assert not {'torch', 'scipy', 'sklearn'} & sys.modules.keys()\n"
        "path = Path(sys.argv[1])\n"
        "(path / 'evidence').rename(path / 'kept')\n"
        "print(json.dumps(v.verify_service(path).plain()))\n"
        "(path / 'kept').rename(path / 'evidence')\n"
        "assert not {'torch', 'scipy', 'sklearn'} & sys.modules.keys()\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made / "service")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["problems"] == []


def test_evidence_by_itself_shows_that_its_entries_are_whole_and_who_signed(service):
    path = service / "evidence" / "0001" / "evidence.json"
    for place in (path, path.parent):
        found = verify_evidence(place, service / "signing.pub")
        assert found.ok
        assert found.noted is None
        assert found.shown == (
            "Its 3 entries of the ledger have the hashes of their content, and its last known entry is 7.",
            f"The owner of the key {fingerprint(service / 'signing.pub')} signed it, and it was not changed since.",
        )
        assert set(NOT_SHOWN) < set(found.not_shown)


def test_without_a_public_key_the_signature_is_said_to_be_unchecked(service):
    found = verify_evidence(service / "evidence" / "0001")
    assert found.ok
    assert len(found.shown) == 1
    assert found.not_shown[0].startswith(
        "Who wrote it. Its signature was not checked, because that needs the service's signing.pub"
    )


def altered(service, number, **changed):
    """Evidence of all entries of which one was altered, well signed."""
    entries = list(ledger_of(service).entries())
    entries[number - 1] = entries[number - 1].model_copy(update=changed)
    return give_evidence(service, entries, range(1, 8), **({} if number < 7 else {"head_hash": "0" * 64}))


WRONG = {
    "time": (lambda one: altered(one, 2, time="2020-01-01T00:00:00+00:00"), ["Entry 2 .*was changed"]),
    "body": (lambda one: altered(one, 2, body=requested(1, ticket="X")), ["Entry 2 .*was changed"]),
    "link": (
        lambda one: altered(one, 3, hash="0" * 64),
        ["Entry 3 .*was changed", "Entry 4 .*does not follow entry 3"],
    ),
    "head": (
        lambda one: give_evidence(one, ledger_of(one).entries(), (2, 7), head_hash="0" * 64),
        ["Entry 7 .*has another hash than the last one"],
    ),
    "number": (
        lambda one: give_evidence(one, ledger_of(one).entries(), (2, 7), head_number=6),
        ["Entry 7 .*comes after the last one, 6"],
    ),
    "order": (lambda one: give_evidence(one, ledger_of(one).entries(), (4, 2)), ["Entry 2 .*comes after entry 4"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_evidence_whose_entries_are_not_whole_is_named(service, name):
    done, expected = WRONG[name]
    found = verify_evidence(done(service), service / "signing.pub")
    assert len(found.problems) == len(expected), found.problems
    for problem, part in zip(found.problems, expected, strict=True):
        assert re.search(part, problem), problem


def test_another_key_a_damaged_file_and_none_are_refused(service, tmp_path):
    path = service / "evidence" / "0001" / "evidence.json"
    create_signing_key(tmp_path)
    (problem,) = verify_evidence(path, tmp_path / "signing.pub").problems
    assert f"is not signed with the key {fingerprint(tmp_path / 'signing.pub')}" in problem
    with pytest.raises(UsageError, match="no public Ed25519 key"):
        verify_evidence(path, service / "signing.key")
    with pytest.raises(UsageError, match="is not there"):
        verify_evidence(tmp_path)
    change(path, b'"T-1"', b'"T-2"')
    with pytest.raises(RunError, match="changed after it was written"):
        verify_evidence(path)
