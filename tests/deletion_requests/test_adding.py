"""What a request to delete means in the list of samples that the service began with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from natmu.data import ImageData, resolve_forget
from natmu.errors import ForgetSetError
from natmu.progress import shown_on
from natmu.records.census import Census, CensusPart
from natmu.records.forgetting import parse_forget
from natmu.records.names import Listing, SampleNames
from natmu.requests.adding import Resolved, resolve

CLASSES = ("cat", "dog", "elk")
PEOPLE = ("ann", "bob", "cid", "dan")


class Lines:
    """A display that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def a_part(names: SampleNames, first: int) -> CensusPart:
    """Samples that all differ; their labels count 0, 1, 2, 0, … from the first on."""
    count = len(names)
    pixels = np.zeros((count, 16), np.uint8)
    pixels[:, 7] = np.arange(first, first + count)
    return CensusPart(names, np.arange(count) % 3, pixels, pixels + 1)


@pytest.fixture
def census() -> Census:
    """Photographs of four people: three each to train on, one each as the holdout, and test images of another source.

    The training part was cut without the last of the source, ``eve/0.jpg``.
    """
    texts = tuple(f"{person}/{row}.jpg" for row in range(4) for person in PEOPLE)
    listing = Listing(17, (*texts, "eve/0.jpg"))
    train, holdout = SampleNames(listing, np.arange(12)[::-1].copy()), SampleNames(listing, np.arange(12, 16))
    test = SampleNames.of_source(4, [f"test/{person}.jpg" for person in PEOPLE])
    return Census(CLASSES, (3, 4, 4), "uint8", a_part(train, 0), a_part(test, 100), a_part(holdout, 200))


@pytest.fixture
def table(census: Census, tmp_path: Path) -> Path:
    """A table of all photographs with the person on each."""
    texts = [*(census.train.names.listing.texts or ()), *census.test.names]
    rows = [f"{text},{text.removeprefix('test/')[:3]}" for text in texts]
    path = tmp_path / "people.csv"
    path.write_text("\n".join(["file,person", *rows]) + "\n")
    return path


def listed(tmp_path: Path, *names: str) -> str:
    (tmp_path / "list.txt").write_text("\n".join(names))
    return f"files:{tmp_path / 'list.txt'}"


def found(text: str, census: Census) -> tuple[Resolved, list[str]]:
    """What a request means, and what is said."""
    display = Lines()
    with shown_on(display):  # type: ignore[arg-type]
        return resolve(parse_forget(text), census), display.lines


def with_pixels(part: CensusPart, **rows: np.ndarray) -> CensusPart:
    """The same part; ``row_3=…`` is what the pixels of sample 3 are."""
    pixels = part.pixels.copy()
    for name, value in rows.items():
        pixels[int(name.removeprefix("row_"))] = value
    return CensusPart(part.names, part.labels, pixels, part.files)


def test_a_person_is_all_photographs_whatever_part_they_are_in(census, table):
    resolved, lines = found(f"where:person=bob in {table}", census)
    assert [census.train.names[row] for row in resolved.rows] == ["bob/2.jpg", "bob/1.jpg", "bob/0.jpg"]
    assert {role: rows.tolist() for role, rows in resolved.unseen.items()} == {"test": [1], "holdout": [1]}
    assert (resolved.asked, resolved.classes, resolved.copies) == ("where", (), 0)
    meant = f"'where:person=bob in {table}' means"
    assert lines == [
        f"{meant} 1 sample of the test part, 'test/bob.jpg', which no model was trained on.",
        f"{meant} 1 sample of the holdout part, 'bob/3.jpg', which no model was trained on.",
    ]


def test_a_list_of_files_takes_parts_of_names(census, tmp_path):
    resolved, lines = found(listed(tmp_path, "/home/me/cid/0.jpg", "ann/2.jpg", "./test/dan.jpg", "ann/2.jpg"), census)
    assert [census.train.names[row] for row in resolved.rows] == ["ann/2.jpg", "cid/0.jpg"]
    assert {role: rows.tolist() for role, rows in resolved.unseen.items()} == {"test": [3]}
    assert resolved.asked == "files"
    assert len(lines) == 1


def test_samples_that_no_part_holds_are_told_and_left_out(census, tmp_path):
    resolved, lines = found(listed(tmp_path, "eve/0.jpg", "ann/0.jpg"), census)
    assert resolved.rows.tolist() == [11]
    assert resolved.unseen == {}
    assert lines == [
        f"{tmp_path / 'list.txt'} lists 1 sample in none of the parts, 'eve/0.jpg', which the request leaves out."
    ]


@pytest.mark.parametrize("names", [["test/ann.jpg", "ann/3.jpg"], ["eve/0.jpg"]])
def test_a_request_without_any_training_sample_is_refused(names, census, tmp_path):
    with pytest.raises(ForgetSetError, match=r"names no training sample of .*\. Name a training sample too, or delete"):
        found(listed(tmp_path, *names), census)


def test_positions_are_those_of_the_source_and_of_training_samples_alone(census, tmp_path):
    (tmp_path / "i.txt").write_text("0\n11\n")
    resolved, lines = found(f"indices:{tmp_path / 'i.txt'}", census)
    assert (resolved.rows.tolist(), resolved.unseen, resolved.asked, lines) == ([0, 11], {}, "indices", [])
    (tmp_path / "i.txt").write_text("0\n12\n")
    with pytest.raises(ForgetSetError, match=r"1 sample of the holdout part, 'ann/3\.jpg'; only training samples"):
        found(f"indices:{tmp_path / 'i.txt'}", census)


def test_classes_are_withdrawn_from_the_training_data_alone(census):
    resolved, lines = found("class:Dog, #2", census)
    assert resolved.rows.tolist() == [row for row in range(12) if row % 3]
    assert (resolved.classes, resolved.unseen, resolved.asked) == (("dog", "elk"), {}, "class")
    assert lines == [
        f"Samples of the {part} part that are of these classes (2) are not part of the request."
        for part in ("test", "holdout")
    ]
    with pytest.raises(ForgetSetError, match=r"There is no class 'dgo' \(did you mean dog\?\)"):
        found("class:dgo", census)


def test_copies_in_every_part_are_meant_too(census, tmp_path):
    pixels = census.train.pixels
    train = with_pixels(census.train, row_3=pixels[11], row_5=pixels[11], row_8=census.test.pixels[0])
    copied = Census(
        CLASSES,
        (3, 4, 4),
        "uint8",
        train,
        with_pixels(census.test, row_2=pixels[11]),
        with_pixels(census.holdout, row_1=pixels[0]),
    )
    request = listed(tmp_path, "ann/0.jpg", "test/ann.jpg")
    resolved, _ = found(request, copied)
    assert resolved.rows.tolist() == [3, 5, 8, 11]
    assert resolved.copies == 3
    assert {role: rows.tolist() for role, rows in resolved.unseen.items()} == {"test": [0, 2]}

    by_test_image, _ = found(listed(tmp_path, "test/ann.jpg"), copied)
    assert (by_test_image.rows.tolist(), by_test_image.copies) == ([8], 1)


def test_copies_of_a_class_stay_among_its_own_test_images(census):
    dog = census.train.pixels[1]  # a dog, as test image 1 is; test image 2 is an elk
    test = with_pixels(census.test, row_1=dog, row_2=dog)
    copied = Census(CLASSES, (3, 4, 4), "uint8", with_pixels(census.train, row_3=dog), test, census.holdout)
    resolved, _ = found("class:dog", copied)
    assert resolved.rows.tolist() == [1, 3, 4, 7, 10]
    assert resolved.copies == 1
    assert {role: rows.tolist() for role, rows in resolved.unseen.items()} == {"test": [2]}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("random:2", "draws samples at random"),
        ("hardest:10%", "by their difficulty"),
        ("subclass:rose", "does not know; list its samples: write files:LIST"),
        ("relabel:right.csv", "use natmu unlearn for corrections"),
        ("all", "delete the service and its models instead"),
    ],
)
def test_requests_that_name_no_samples_are_refused(text, reason, census):
    with pytest.raises(ForgetSetError, match=reason) as caught:
        found(text, census)
    assert str(caught.value).startswith(f"{text!r} ")


def test_a_request_after_its_names_were_erased_is_one_for_unknown_samples(census, table, tmp_path):
    request = f"where:person=bob in {table}"
    resolved, _ = found(request, census)
    later = census.without_names(resolved.rows, resolved.unseen)
    with pytest.raises(ForgetSetError, match=r"means 5 names that no sample has: 'bob/0\.jpg'"):
        found(request, later)
    again, _ = found("class:cat", later)
    np.testing.assert_array_equal(again.rows, found("class:cat", census)[0].rows)


@pytest.mark.parametrize("text", ["files:{}/list.txt", "where:kind=a in {}/t.csv", "indices:{}/i.json", "class:elk"])
def test_the_same_request_means_the_same_to_unlearning(text, tmp_path):
    names = [f"photos/{row}.png" for row in range(9)]
    labels = np.array([0, 1, 2] * 3)
    (tmp_path / "list.txt").write_text("# mine\n7.png\nphotos/2.png\n")
    (tmp_path / "t.csv").write_text(
        "".join(["name;kind\n", *(f"{name};{'ab'[row % 2]}\n" for row, name in enumerate(names))])
    )
    (tmp_path / "i.json").write_text("[8, 1]")
    request = parse_forget(text.format(tmp_path))
    data = ImageData(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), torch.from_numpy(labels), CLASSES, names=names)
    expected = resolve_forget(request, data, seed=0)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 16), np.uint8)
    part = CensusPart(data.sample_names, labels, pixels, pixels[:0])
    test = CensusPart(SampleNames.of_source(0), labels[:0], pixels[:0], pixels[:0])
    resolved = resolve(request, Census(CLASSES, (1, 2, 2), "uint8", part, test))
    np.testing.assert_array_equal(resolved.rows, expected.indices)
    assert resolved.classes == tuple(CLASSES[label] for label in expected.classes)


def test_a_request_is_resolved_without_pytorch(census, table, tmp_path):
    census.write(tmp_path / "census.npz", str)
    code = (
        "import sys\nfrom pathlib import Path\nfrom natmu.records.census import Census\n"
        "from natmu.records.forgetting import parse_forget\nfrom natmu.requests.adding import resolve\n"
        "request = parse_forget(sys.argv[2])\n"
        "print(*resolve(request, Census.read(Path(sys.argv[1]), str)).rows)\n"
        "assert not {'torch', 'scipy', 'sklearn', 'PIL'} & sys.modules.keys()"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "census.npz"), f"where:person=dan in {table}"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "4", "8"]
