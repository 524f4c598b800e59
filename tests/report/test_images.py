from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from tests.records.folders import an_audit
from tests.records.folders import hybrids as stored_hybrids
from tests.records.folders import samples as stored_samples

from natmu.records.audit import audit_of, write_audit
from natmu.records.run import RunFolder
from natmu.report import images
from natmu.report.images import data_uri, galleries, hybrids

from . import folders


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_pictures_are_the_arrays():
    for shape in ((8, 8), (5, 7, 3)):
        array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(pixels(data_uri(array)), array)
    assert pixels(data_uri(np.zeros((300, 200)), 160)).shape == (160, 107)


def test_hybrids_have_their_pictures_and_names():
    stored = stored_hybrids("cat")
    first, second = hybrids(stored)
    assert np.array_equal(pixels(first.hybrid), stored.hybrid[0])
    assert np.array_equal(pixels(second.forget), stored.forget[1])
    assert (pixels(first.mask) == 64).all()
    assert (first.forget_name, first.partner_name, first.weight) == ("cat", "five", 0.25)


def exposed(path, name="cat"):
    folders.make_run(path, folders.an_unlearned("natmu"))
    folders.add_audit(path, name)
    return audit_of(RunFolder(path))


def test_samples_have_the_picture_that_was_stored_for_them(tmp_path):
    audit = exposed(tmp_path / "a")
    ((first, *rest),) = galleries([audit])
    assert first.row.index == folders.FORGET[0]
    assert np.array_equal(pixels(first.picture), audit.exposed.images[0])
    assert first.name == "cat"
    assert [sample.picture is not None for sample in rest] == [True] * 7 + [False] * 12
    assert rest[-1].name == "class 3"


def test_a_run_without_stored_images_has_samples_without_pictures(tmp_path):
    run = RunFolder(folders.make_run(tmp_path / "a", folders.an_unlearned("natmu")))
    write_audit(run.path, an_audit(run.record.digest), stored_samples())
    (samples,) = galleries([audit_of(run)])
    assert len(samples) == len(folders.FORGET)
    assert not any(sample.picture for sample in samples)


def test_all_audits_share_the_room_for_pictures(tmp_path, monkeypatch):
    audits = [exposed(tmp_path / name) for name in "ab"]
    size = len(galleries(audits)[0][0].picture)
    monkeypatch.setattr(images, "BUDGET", 7 * size)
    counts = [sum(sample.picture is not None for sample in samples) for samples in galleries(audits)]
    assert 4 <= sum(counts) <= 8
    assert abs(counts[0] - counts[1]) <= 1
