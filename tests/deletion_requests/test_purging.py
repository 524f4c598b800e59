"""A purge is confirmed only where nothing of the samples is left, and takes along what the service keeps itself."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.deletion_requests import fakes
from tests.deletion_requests.photographs import (
    FORGOTTEN,
    KEY,
    NAMES,
    SIDE,
    census,
    deployed,
    picture,
    png,
    small_service,
    write_run_of,
)
from tests.records.folders import a_retrained, an_original, an_unlearned

from natmu.data import decoding, load
from natmu.data.decoding import decode
from natmu.data.forms import Form
from natmu.errors import DataError, UsageError
from natmu.records.census import Census
from natmu.records.policy import Policy
from natmu.records.run import WEIGHTS, RunFolder
from natmu.records.service import CENSUS, MODELS
from natmu.requests import searching
from natmu.requests.purging import complete_purge, confirm_purge

GONE = picture(FORGOTTEN[0])
KEPT = picture(0)


@pytest.fixture
def small(tmp_path):
    return small_service(tmp_path)


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr("natmu.requests.purging.say", lines.append)
    return lines


def test_a_file_that_gives_bytes_without_an_end_is_refused(monkeypatch):
    endless = Path("/proc/self/pagemap")
    if not endless.exists():
        pytest.skip("there is no such file")
    monkeypatch.setattr(searching, "WHOLE_BYTES", 400)
    with pytest.raises(DataError, match="it should be empty, and gives bytes without an end"):
        searching.search([[endless]], wanted=None)


def confirm(small, *, data=None, weights=False):
    listed = Census.read(small.folder / CENSUS, KEY.seal)
    return confirm_purge(small.folder, small.record, listed, KEY, small.state, 1, data=data, weights=weights)


def refused(small, **kwargs):
    """The sentence of a purge that is not confirmed; nothing may have been written."""
    before = everything_in(small)
    with pytest.raises(UsageError) as caught:
        confirm(small, **kwargs)
    assert everything_in(small) == before
    return str(caught.value)


def everything_in(small):
    folders = (small.folder, small.data_dir)
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path: hashlib.sha256(path.read_bytes()).digest() for path in files}


def zipped(**members):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def tarred(mode, **members):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, member in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(member)
            archive.addfile(info, io.BytesIO(member))
    return content.getvalue()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def npz(**arrays):
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def pages(*pixels):
    content = io.BytesIO()
    first, *others = [Image.fromarray(image.transpose(1, 2, 0)) for image in pixels]
    first.save(content, "TIFF", save_all=True, append_images=others)
    return content.getvalue()


def test_what_is_gone_is_confirmed_and_only_its_names_are_erased(small):
    purged = confirm(small)
    assert (purged.request, purged.files, purged.caches, purged.weights) == (1, 6, 0, ())
    listed = Census.read(small.folder / CENSUS, KEY.seal)
    assert listed.digest == purged.census == small.state.census
    texts = listed.train.names.listing.texts
    assert [bool(text) for text in texts] == [row not in FORGOTTEN for row in range(len(NAMES))]
    assert confirm(small) == purged  # killed before the ledger heard of it, it is simply run again


PLACES = {
    "the file itself": (NAMES[FORGOTTEN[0]], png(GONE)),
    "another name and ending, hidden": (".trash/17/notes.txt", png(GONE)),
    "compressed otherwise": ("train/a/copy.png", png(GONE, level=0)),
    "another format": ("train/a/copy.bmp", png(GONE, kind="BMP")),
    "page 2 of a TIFF": ("scans.tif", pages(KEPT, GONE)),
    "zip": ("old.zip", zipped(one=png(KEPT), two=png(GONE))),
    "zip in zip, named otherwise": ("old.bak", zipped(inner=zipped(two=png(GONE, level=0)))),
    "tar": ("old.tar", tarred("w", one=png(KEPT), two=png(GONE))),
    "tar.xz": ("old.txz", tarred("w:xz", one=png(KEPT), two=png(GONE))),
    "tar.gz in zip": ("all.zip", zipped(inner=tarred("w:gz", two=png(GONE)))),
    "packed alone": ("photo.png.gz", gzip.compress(png(GONE))),
    "row of .npy, channels last": ("x.npy", npy(np.stack([KEPT, GONE]).transpose(0, 2, 3, 1))),
    "row of .npy, Fortran's order": ("x.npy", npy(np.asfortranarray(np.stack([KEPT, GONE])))),
    "row of .npy, floats": ("x.npy", npy(np.stack([KEPT, GONE]).astype(np.float32) / np.float32(255))),
    "a single array": ("x.npy", npy(GONE.transpose(1, 2, 0))),
    "row of .npz": ("x.npz", npz(x_train=np.stack([KEPT, GONE]), y_train=np.array([0, 1]))),
}


@pytest.mark.parametrize(("name", "content"), PLACES.values(), ids=PLACES)
def test_copies_are_found_wherever_they_are(small, name, content):
    path = small.photos / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    assert f"in 1 place: {path}" in refused(small)
    path.unlink()
    assert confirm(small).files == 6


def test_large_files_and_large_members_are_looked_into_as_they_pass_by(small, monkeypatch):
    monkeypatch.setattr(searching, "WHOLE_BYTES", 400)
    many = np.stack([*(picture(1000 + row) for row in range(20)), GONE])
    for name, content in {
        "large.png": png(GONE),
        "x.npz": npz(x=many),
        "x.tgz": tarred("w:gz", x=npy(many)),
        "rows.npy": npy(many),
        "same.zip": zipped(two=png(GONE), one=b"short"),
    }.items():
        path = small.photos / name
        path.write_bytes(content)
        assert str(path) in refused(small), name
        path.unlink()
    assert confirm(small).files == 6


def test_links_are_followed_once_and_every_path_is_told(small, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "me.jpg").write_bytes(png(GONE))
    (small.photos / "link").symlink_to(elsewhere)
    (elsewhere / "round").symlink_to(small.photos)
    (small.photos / "dangling").symlink_to(tmp_path / "nothing")
    os.link(elsewhere / "me.jpg", small.photos / "again.jpg")
    sentence = refused(small)
    assert "in 2 places" in sentence
    assert str(small.photos / "again.jpg") in sentence
    assert str(small.photos / "link" / "me.jpg") in sentence


def test_other_pictures_and_damaged_files_are_in_nobodys_way(small, said):
    (small.photos / "broken.png").write_bytes(png(GONE)[:60])
    (small.photos / "saved-again.jpg").write_bytes(jpeg(GONE))
    (small.photos / "wrong.npy").write_bytes(b"\x93NUMPY\x01\x00")
    assert confirm(small).files == 9
    assert said == []
    (small.photos / "cut.zip").write_bytes(zipped(one=png(KEPT))[:-30])
    confirm(small)
    assert len(said) == 1
    assert "cut.zip cannot be read to its end" in said[0]


def jpeg(pixels):
    content = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(content, "JPEG", quality=90)
    return content.getvalue()


def test_a_bomb_ends_at_the_bound_and_that_is_said(small, said, monkeypatch):
    monkeypatch.setattr(searching, "ARCHIVE_BYTES", 10**5)
    monkeypatch.setattr(searching, "WHOLE_BYTES", 10**4)
    bomb = zipped(zeros=bytes(10**6))
    (small.photos / "bomb.zip").write_bytes(zipped(a=bomb, b=bomb))
    (small.photos / "bomb.gz").write_bytes(gzip.compress(bytes(10**6)))
    confirm(small)
    assert sorted(
        line.split(" holds")[0].rpartition("/")[2] for line in said if " holds more than 100 times" in line
    ) == [
        "bomb.gz",
        "bomb.zip",
    ]


def test_what_cannot_be_read_confirms_nothing(small, monkeypatch):
    opened = Path.open

    def closed(path, *args, **kwargs):
        if path.name == "0.png":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(DataError, match="Permission denied"):
        confirm(small)


def test_images_are_compared_in_the_form_of_the_data(small):
    large = np.random.default_rng(5).integers(0, 256, (3, 20, 30), np.uint8)
    form = Form(resize=SIDE, crop=SIDE)
    image = Image.fromarray(large.transpose(1, 2, 0))
    formed = np.asarray(form.of(image)).transpose(2, 0, 1)
    sample = digest_of(formed)
    listed = Census.read(small.folder / CENSUS, KEY.seal)
    listed.train.pixels[FORGOTTEN[0]] = np.frombuffer(bytes.fromhex(sample), np.uint8)
    request = small.bodies[1]
    small.bodies[1] = request.model_copy(update={"samples": (sample, request.samples[1]), "files": ()})
    small.record = small.record.model_copy(
        update={"data": small.record.data.model_copy(update={"resize": SIDE, "crop": SIDE})}
    )
    for name, content in (("big.bmp", png(large, kind="BMP")), ("big.npy", npy(large[None]))):
        (small.photos / name).write_bytes(content)
        with pytest.raises(UsageError, match=name):
            confirm_purge(small.folder, small.record, listed, KEY, small.state, 1, data=None, weights=False)
        (small.photos / name).unlink()


def digest_of(pixels):
    return KEY.digest(f"uint8{pixels.shape}".encode() + pixels.tobytes())


def test_the_data_may_lie_elsewhere_by_now(small, tmp_path):
    small.photos.rename(tmp_path / "moved")
    assert "--data" in refused(small)
    assert confirm(small, data=str(tmp_path / "moved")).files == 6


def test_a_table_is_looked_for_in_the_folder_that_its_images_share(small, tmp_path):
    (tmp_path / "unrelated.png").write_bytes(png(GONE))
    small.record = small.record.model_copy(update={"source": str(small.photos / "people.csv")})
    (small.photos / "people.csv").write_text("file,label\n")
    assert confirm(small).files == 7
    (small.photos / "train" / "backup.png").write_bytes(png(GONE))
    assert "backup.png" in refused(small)


def test_samples_of_a_named_data_set_are_never_gone(small):
    small.record = small.record.model_copy(update={"source": "digits"})
    pixels = load("digits", small.data_dir).train.images[7].numpy()
    listed = Census.read(small.folder / CENSUS, KEY.seal)
    listed = Census(listed.class_names, (1, 8, 8), "uint8", listed.train, listed.test)
    small.bodies[1] = small.bodies[1].model_copy(update={"samples": (digest_of(pixels),), "files": ()})
    with pytest.raises(UsageError, match=r"digits \(train part, row 7\)"):
        confirm_purge(small.folder, small.record, listed, KEY, small.state, 1, data=None, weights=False)


def decoded(small, rows, form, monkeypatch):
    """Decode some pictures so that they are kept."""
    monkeypatch.setattr(decoding, "FEW_FILES", 1)
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 1)
    files = []
    for row in rows:
        path = small.photos / "decoded-from" / f"{row}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(png(picture(row)))
        files.append(path)
    images = decode(files, form, small.data_dir)
    for path in files:
        if int(path.stem) in FORGOTTEN:
            path.unlink()
    return images


def test_decoded_images_that_hold_a_sample_go_whatever_their_form(small, monkeypatch):
    kept = small.data_dir / "decoded"
    clean = decoded(small, (0, 2), Form(), monkeypatch)
    mapped = decoded(small, (0, 1, 2), Form(), monkeypatch)
    decoded(small, (0, 1), Form(image_size=4), monkeypatch)
    (kept / ".3.partial").write_bytes(npy(KEPT[None]))  # killed before the others were decoded
    assert len([*kept.glob("[!.]*.npy")]) == 3
    assert confirm(small).caches == 3
    (left,) = kept.glob("[!.]*.npy")
    assert np.array_equal(np.load(left), clean)
    assert [path.stem for path in kept.glob("*.json")] == [left.stem]
    assert np.array_equal(mapped[1], GONE)  # whoever has mapped it goes on
    assert confirm(small).caches == 0


def test_decoded_images_of_other_folders_stay(small, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    other = small_service(tmp_path / "other")
    monkeypatch.setattr(decoding, "FEW_FILES", 1)
    monkeypatch.setattr(decoding, "IN_MEMORY_BYTES", 1)
    decode(sorted(other.photos.rglob("*.png")), Form(image_size=4), small.data_dir)
    assert confirm(small).caches == 0


def test_audits_and_pages_that_a_run_did_not_write_go(small):
    run = small.folder / MODELS / an_original().digest
    (run / "audit").mkdir()
    (run / "audit" / "samples.csv").write_text(f"index,name\n1,{NAMES[1]}\n")
    (run / "audit" / "exposed.npz").write_bytes(b"pictures")
    (run / "report.html").write_text(NAMES[1])
    confirm(small)
    assert sorted(path.name for path in run.iterdir()) == sorted({"record.json", *RunFolder(run).record.files})


def test_evidence_that_names_a_sample_is_in_the_way(small):
    evidence = small.folder / "evidence" / "0001" / "evidence.json"
    evidence.parent.mkdir(parents=True)
    evidence.write_text(json.dumps({"samples": ["other/" + NAMES[1], NAMES[1] + "x"]}))
    confirm(small)
    census().write(small.folder / CENSUS, KEY.seal)
    evidence.write_text(json.dumps({"samples": [NAMES[1]]}))
    sentence = refused(small)
    assert f"{evidence} names samples" in sentence
    assert "--with-samples" in sentence


def test_weights_of_models_that_know_the_samples_go_once_the_ledger_says_so(small):
    models = small.folder / MODELS
    refused_candidate = an_unlearned(method="finetune")
    of_release = an_unlearned(source=None, method="salun", seed=9)
    write_run_of(models, refused_candidate)
    write_run_of(models, of_release)
    (models / ".work" / "ab").mkdir(parents=True)
    (models / ".work" / "ab" / "checkpoint.safetensors").write_bytes(b"unfinished")
    purged = confirm(small, weights=True)
    knowing = {an_original(), a_retrained(seed=2), refused_candidate, of_release}
    assert {*purged.weights} == {lineage.digest for lineage in knowing}
    assert len([*models.glob(f"*/{WEIGHTS}")]) == 6
    assert not (models / ".work" / "ab").exists()
    assert confirm(small, weights=True) == purged
    small.bodies.append(purged)
    for _ in range(2):
        complete_purge(small.folder, small.state)
        left = {path.parent.name for path in models.glob(f"*/{WEIGHTS}")}
        assert left == {an_unlearned().digest, a_retrained(seed=1).digest}
    assert RunFolder(models / an_original().digest).record.digest == an_original().digest
    assert confirm(small, weights=True).weights == ()


def test_what_goes_on_from_a_release_that_honours_the_request_keeps_its_weights(small):
    candidate = an_unlearned(source=an_unlearned(), method="finetune")
    write_run_of(small.folder / MODELS, candidate)
    assert candidate.digest not in confirm(small, weights=True).weights


def test_requests_that_are_not_honoured_are_refused(small):
    with pytest.raises(UsageError, match="no request 2"):
        confirm_purge(small.folder, small.record, None, KEY, small.state, 2, data=None, weights=False)
    del small.bodies[2:]
    assert "Run natmu requests process first" in refused(small)
    retraining = Policy(method="retrain")
    small.bodies[0] = small.bodies[0].model_copy(update={"policy": retraining})
    assert confirm(small).files == 6
    assert "process first" in refused(small, weights=True)


def test_weights_that_an_unfinished_process_needs_are_not_deleted(small):
    again = small.bodies[1].model_copy(update={"request": 2, "ticket": "T-2"})
    small.bodies += [again, fakes.started(2, 2).model_copy(update={"source": deployed(an_unlearned())})]
    assert "Process 2 was not finished" in refused(small, weights=True)
    assert confirm(small).files == 6


def test_a_second_purge_says_when_the_first_was(small, said):
    small.bodies.append(confirm(small))
    (small.photos / "came-back.png").write_bytes(png(GONE))
    assert "came-back.png" in refused(small)
    assert any(f"confirmed as purged on {fakes.time_of(5)}" in line for line in said)


def test_evidence_whose_writing_was_interrupted_goes(small):
    partial = small.folder / ".evidence-0001.new" / "evidence.json"
    partial.parent.mkdir(parents=True)
    partial.write_text(json.dumps({"samples": [NAMES[1]]}))
    confirm(small)
    assert not partial.exists()
