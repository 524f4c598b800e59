from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from natmu.report import images
from natmu.report.images import data_uri, galleries, hybrids
from natmu.report.runs import RunFiles, read_arrays

from . import folders


def pixels(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_pictures_are_the_arrays():
    for shape in ((8, 8), (5, 7, 3)):
        array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        assert np.array_equal(pixels(data_uri(array)), array)
    assert pixels(data_uri(np.zeros((300, 200)), 160)).shape == (160, 107)


def test_hybrids_have_their_pictures_and_names(tmp_path):
    folders.add_hybrids(tmp_path, "cat")
    arrays = read_arrays(tmp_path / "hybrids.npz")
    first, second = hybrids(arrays)
    assert np.array_equal(pixels(first.hybrid), arrays["hybrid"][0])
    assert np.array_equal(pixels(second.forget), arrays["forget"][1])
    assert (pixels(first.mask) == 64).all()
    assert (first.forget_name, first.partner_name, first.weight) == ("cat", "five", 0.25)


def exposed(path, name="cat"):
    run = folders.make_run(path, folders.unlearned_spec("natmu"))
    folders.add_audit(run, name)
    return RunFiles(run)


def test_samples_have_the_picture_that_was_stored_for_them(tmp_path):
    run = exposed(tmp_path / "a")
    ((first, *rest),) = galleries([run])
    assert first.row["index"] == str(folders.FORGET[0])
    assert np.array_equal(pixels(first.picture), run.exposed["images"][0])
    assert first.name == "cat"
    assert [sample.picture is not None for sample in rest] == [True] * 7 + [False] * 12
    assert rest[-1].name == "class 3"


def test_a_run_without_stored_images_has_samples_without_pictures(tmp_path):
    run = exposed(tmp_path / "a")
    (run.path / "audit" / "exposed.npz").unlink()
    (samples,) = galleries([run])
    assert len(samples) == len(folders.FORGET)
    assert not any(sample.picture for sample in samples)


def test_all_runs_share_the_room_for_pictures(tmp_path, monkeypatch):
    runs = [exposed(tmp_path / name) for name in "ab"]
    size = len(galleries(runs)[0][0].picture)
    monkeypatch.setattr(images, "BUDGET", 7 * size)
    counts = [sum(sample.picture is not None for sample in samples) for samples in galleries(runs)]
    assert 4 <= sum(counts) <= 8
    assert abs(counts[0] - counts[1]) <= 1
