"""The list of samples of a service: it comes back as it was, damage is named, and erased names are gone."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natmu.errors import ForgetSetError, RunError
from natmu.records.census import Census, CensusPart
from natmu.records.files import read_arrays, write_arrays
from natmu.records.names import Listing, SampleNames
from natmu.samples.lookup import rows_named

CLASSES = ("cat", "dog, wet", "\udce9lan")
TEXTS = st.text(st.characters(), max_size=6)
"""Any name: with line ends, empty, and with the lone surrogates that stand for bytes which are no UTF-8."""


def a_part(names: SampleNames, seed: int = 0, *, kinds: int = 256, files: bool = True) -> CensusPart:
    random, count = np.random.default_rng(seed), len(names)
    pixels = np.zeros((count, 16), np.uint8)
    pixels[:, [0, 9, 15]] = random.integers(0, kinds, (count, 3))
    labels = random.integers(0, len(CLASSES), count)
    return CensusPart(names, labels, pixels, random.integers(0, 256, (count if files else 0, 16), np.uint8))


@st.composite
def censuses(draw: st.DrawFn) -> Census:
    """Any census, whose parts may come from the same source, from several, or from some without names."""
    sources = []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, 6))
        texts = draw(st.none() | st.lists(TEXTS, min_size=count, max_size=count).map(tuple))
        sources.append(Listing(count, texts).without_names(draw(st.sets(st.integers(0, count - 1)))))
    parts = []
    for seed in range(draw(st.integers(2, 3))):
        source = draw(st.sampled_from(sources))
        positions = draw(st.lists(st.integers(0, source.count - 1), unique=True))
        names = SampleNames(source, np.array(positions, np.int64))
        parts.append(a_part(names, seed, kinds=2, files=draw(st.booleans())))
    shape = draw(st.tuples(*[st.integers(1, 500)] * 3))
    return Census(CLASSES, shape, "uint8", *parts)


def a_census(count: int = 6) -> Census:
    """Eight named samples, two of which are the holdout, and test samples that are called by their positions."""
    listing = Listing(count + 2, tuple(f"ann/{row}.jpg" for row in range(count + 2)))
    train, holdout = (SampleNames(listing, np.arange(*ends)) for ends in ((0, count), (count, count + 2)))
    test = a_part(SampleNames.of_source(3), 1, files=False)
    return Census(CLASSES, (3, 4, 4), "float32", a_part(train), test, a_part(holdout, 2))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(census=censuses())
def test_a_census_comes_back(census, tmp_path_factory):
    path = tmp_path_factory.mktemp("service") / "census.npz"
    census.write(path, str)
    back = Census.read(path, str)
    assert (back.class_names, back.image_shape, back.dtype) == (census.class_names, census.image_shape, census.dtype)
    assert back.digest == census.digest
    assert [*back.parts] == [*census.parts]
    for role, part in census.parts.items():
        other = back.parts[role]
        assert other.names.listing.texts == part.names.listing.texts
        assert other.names.listing.erased == part.names.listing.erased
        assert other.names.listing.count == part.names.listing.count
        np.testing.assert_array_equal(other.names.positions, part.names.positions)
        for what in ("labels", "pixels", "files"):
            np.testing.assert_array_equal(getattr(other, what), getattr(part, what))
    known = dict(back.train.names.others)
    assert [*known] == [role for role in census.parts if role != "train"]
    assert all(known[role] is back.parts[role].names for role in known)
    for one in census.parts:
        for two in census.parts:
            same = census.parts[one].names.listing is census.parts[two].names.listing
            assert (back.parts[one].names.listing is back.parts[two].names.listing) == same


@settings(max_examples=60, deadline=None)
@given(census=censuses(), data=st.data())
def test_digests_find_their_samples(census, data):
    digests = [row.tobytes().hex() for row in census.train.pixels]
    assert census.pixel_digests(np.arange(len(digests))) == tuple(digests)
    chosen = data.draw(st.lists(st.integers(0, len(digests) - 1), max_size=4)) if digests else []
    wanted = [digests[row] for row in chosen]
    rows = [row for row, digest in enumerate(digests) if digest in wanted]
    assert census.rows(wanted).tolist() == rows
    assert census.copies_of(np.array(chosen, np.int64)).tolist() == [row for row in rows if row not in chosen]
    unseen = {}
    for role, part in census.parts.items():
        there = [row for row, digest in enumerate(part.pixels) if digest.tobytes().hex() in wanted]
        if there and role != "train":
            unseen[role] = there
    assert {role: rows.tolist() for role, rows in census.unseen_with_pixels(wanted).items()} == unseen


def test_digests_of_files_stand_in_the_order_asked_for():
    census = a_census()
    files = census.train.files
    assert census.file_digests(np.array([4, 1])) == (files[4].tobytes().hex(), files[1].tobytes().hex())
    assert census.file_digests(np.array([1]), "test") == ()


def test_a_digest_that_no_sample_has_is_named_as_a_fault_of_the_service():
    census = a_census()
    with pytest.raises(RunError, match=r"train part for 1 of 2 digests. .* restore .* from one backup"):
        census.rows([*census.pixel_digests(np.array([2])), "ff" * 16])
    assert census.unseen_with_pixels(["ff" * 16]) == {}


def test_many_digests_are_found_at_once():
    part = a_part(SampleNames.of_source(100_000))
    part.pixels[:] = np.random.default_rng(0).integers(0, 256, part.pixels.shape, np.uint8)
    census = Census(CLASSES, (3, 32, 32), "uint8", part, a_part(SampleNames.of_source(0)))
    chosen = np.sort(np.random.default_rng(1).permutation(100_000)[:5000])
    digests, start = census.pixel_digests(chosen), time.process_time()
    rows = census.rows(digests)
    assert time.process_time() - start < 1  # 0.03 s; a loop over all pairs takes minutes
    np.testing.assert_array_equal(rows, chosen)


def test_erased_names_are_gone_from_the_file_and_the_digest_stays(tmp_path):
    census = a_census()
    erased = census.without_names(np.array([1]), {"holdout": np.array([0]), "test": np.array([2])})
    erased.write(tmp_path / "census.npz", str)
    back = Census.read(tmp_path / "census.npz", str)
    text = read_arrays(tmp_path / "census.npz")["names_0"].tobytes().decode()
    assert text == "".join(f"ann/{row}.jpg" for row in (0, 2, 3, 4, 5, 7))
    assert back.digest == census.digest
    assert back.train.names[1] == back.holdout.names[0] == "(name erased)"
    assert back.train.names[2] == "ann/2.jpg"
    assert back.test.names[2] == "2"
    again = back.without_names(np.array([2]), {})
    assert [*again.train.names][:3] == ["ann/0.jpg", "(name erased)", "(name erased)"]
    assert dict(again.train.names.others)["holdout"].listing is again.train.names.listing


def test_erased_names_are_neither_matched_nor_suggested_nor_shown():
    names = a_census().without_names(np.arange(5), {"holdout": np.array([0])}).train.names
    for asked in ("ann/1.jpg", "1.jpg", "/photos/ann/1.jpg", "ann/1.png", "", "(name erased)", "ann/6.jpg", "ann/"):
        with pytest.raises(ForgetSetError, match="1 name that no sample has") as caught:
            rows_named([asked], names, "The list holds")
        assert not [row for row in (0, 1, 2, 3, 4, 6) if f"ann/{row}.jpg" in str(caught.value).replace(asked, "", 1)]
        assert "did you mean ," not in str(caught.value)
    assert rows_named(["ann/5.jpg"], names, "The list holds").tolist() == [5]
    with pytest.raises(ForgetSetError, match=r"that no sample has: 'x'\.$"):
        rows_named(["x"], a_census().without_names(np.arange(6), {}).train.names, "The list holds")


def spoilt(**changes):
    """What is done to the arrays of a file."""
    return lambda arrays: arrays | changes


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (spoilt(format=np.array(2)), "its format is 2, and this version of natmu reads format 1"),
        (spoilt(shape=np.array([3, 4])), "channels, height and width"),
        (spoilt(other=np.zeros(1)), "it also holds other"),
        (spoilt(train_source=np.array(2)), "the source of its train part is missing"),
        (spoilt(train_positions=np.arange(5)), "5 positions for 6 labels"),
        (spoilt(train_positions=np.arange(6) + 3), "outside of its source"),
        (spoilt(train_labels=np.full(6, 3)), "a label of the train part is none of 3 classes"),
        (spoilt(train_labels=np.zeros(6)), "train_labels is of another kind"),
        (spoilt(holdout_files=np.zeros((1, 16), np.uint8)), "its digests of files"),
        (spoilt(test_pixels=np.zeros((3, 15), np.uint8)), "its digests of pixels"),
        (spoilt(names_0_ends=np.arange(8)), "names_0 do not end"),
        (spoilt(names_0=np.full(72, 255, np.uint8)), "can't decode"),
        (spoilt(count_0=np.array(9)), "one for each of 9 samples"),
        (spoilt(erased_0=np.array([3])), "one for each of 8 samples"),
    ],
)
def test_arrays_that_do_not_fit_together_are_named(change, reason, tmp_path):
    a_census().write(tmp_path / "census.npz", str)
    write_arrays(tmp_path / "census.npz", change(read_arrays(tmp_path / "census.npz")))
    assert_damaged(tmp_path / "census.npz", reason)


def test_every_array_is_needed(tmp_path):
    path = tmp_path / "census.npz"
    a_census().write(path, str)
    arrays = read_arrays(path)
    for name in arrays:
        write_arrays(path, {other: array for other, array in arrays.items() if other != name})
        assert_damaged(path, "")


def test_a_damaged_or_missing_file_is_named(tmp_path):
    path = tmp_path / "census.npz"
    assert_damaged(path, "it is missing")
    a_census().write(path, str)
    content = path.read_bytes()
    for part in (b"", content[:-30], content[: len(content) // 2], b"PK" + bytes(100)):
        path.write_bytes(part)
        assert_damaged(path, "")


def assert_damaged(path, reason):
    with pytest.raises(RunError) as caught:
        Census.read(path, str)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read")
    assert reason in message
    assert message.endswith("; restore it from a backup of the service.")


def test_a_name_that_somebody_edited_is_noticed(tmp_path):
    path = tmp_path / "census.npz"
    a_census().write(path, str)
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["names_0"] = arrays["names_0"].copy()
    arrays["names_0"][0] ^= 1
    np.savez(path, **arrays)
    with pytest.raises(RunError, match="changed after it was written"):
        Census.read(path, str)
    a_census().write(path, str)
    with pytest.raises(RunError, match="of another service"):
        Census.read(path, lambda text: f"other {text}")
