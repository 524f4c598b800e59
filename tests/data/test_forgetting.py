"""Forget sets: what requests mean, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from natmu.data import (
    ImageData,
    Labelling,
    forget_after,
    forget_from_indices,
    parse_forget,
    resolve_forget,
    unseen_rows,
    without_earlier_classes,
)
from natmu.errors import ForgetSetError
from natmu.types import ForgetSet


def _resolve(
    text: str, data: ImageData, difficulty: Mapping[str, np.ndarray] | None = None, seed: int = 0
) -> ForgetSet:
    return resolve_forget(parse_forget(text), data, seed=seed, difficulty=difficulty)


@pytest.mark.parametrize("text", ["random:10%", "random:10", " Random : 10 % "])
def test_random_takes_the_same_share_of_every_class(hundred: ImageData, text: str) -> None:
    forget = _resolve(text, hundred)
    assert hundred.labels[forget.indices].bincount().tolist() == [4, 3, 2, 1]
    assert (forget.scenario, forget.classes, forget.request) == ("random", (), text.strip())


@given(count=st.integers(1, 99), seed=st.integers(-5, 2**63))
def test_random_of_any_size_is_exact_and_balanced(hundred: ImageData, count: int, seed: int) -> None:
    forget = _resolve(f"random:{count}", hundred, seed=seed)
    assert len(forget) == count
    assert np.array_equal(forget.indices, np.unique(forget.indices))
    share = np.array([40, 30, 20, 10]) * count / 100
    assert (np.abs(hundred.labels[forget.indices].bincount(minlength=4).numpy() - share) < 1).all()
    assert forget.digest == _resolve(f"random:{count}", hundred, seed=seed).digest


def test_random_depends_on_the_seed(hundred: ImageData) -> None:
    assert len({_resolve("random:50", hundred, seed=seed).digest for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("text", "total", "count"),
    [("1%", 50_000, 500), ("0.1%", 1438, 1), ("12.5%", 100, 13), ("99.9%", 1000, 999), ("7", 100, 7)],
)
def test_amounts(text: str, total: int, count: int) -> None:
    amount = parse_forget(f"random:{text}").amount
    assert amount is not None
    assert amount.of(total) == count


def test_hardest_takes_the_largest_difficulty(hundred: ImageData) -> None:
    values = np.random.default_rng(0).permutation(100).astype(np.float32)
    forget = _resolve("hardest:10%", hundred, {"confidence": values})
    assert set(values[forget.indices]) == set(range(90, 100))
    assert forget.scenario == "hardest"
    other = _resolve("hardest:10:loss", hundred, {"confidence": values, "loss": -values})
    assert set(values[other.indices]) == set(range(10))
    assert parse_forget("hardest:10:confidence").criterion == "confidence"


def test_of_equally_hard_samples_the_first_are_taken(hundred: ImageData) -> None:
    values = np.zeros(100, np.float32)
    values[[70, 90]] = 1
    assert _resolve("hardest:5", hundred, {"confidence": values}).indices.tolist() == [0, 1, 2, 70, 90]


@pytest.mark.parametrize("difficulty", [None, {}, {"loss": np.zeros(100, np.float32)}])
def test_hardest_without_hardness_says_what_to_do(hundred: ImageData, difficulty: Mapping[str, np.ndarray]) -> None:
    with pytest.raises(ForgetSetError, match=r"needs the confidence of every training sample.*Train the original"):
        _resolve("hardest:5", hundred, difficulty)


@pytest.mark.parametrize("values", [np.zeros(99), np.full(100, np.nan), np.zeros((100, 1))])
def test_hardness_that_does_not_fit_is_refused(hundred: ImageData, values: np.ndarray) -> None:
    with pytest.raises(ForgetSetError, match="one finite difficulty"):
        _resolve("hardest:5", hundred, {"confidence": values})


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("class:rocket", (1,)),
        ("class:Rocket, SEA", (1, 2)),
        ("class:lawn mower", (3,)),
        ("class:LAWN-MOWER,lawn_mower", (3,)),
        ("class:0", (0,)),
        ("class:vehicles_2", (1, 3)),
        ("class:Natural Things", (0, 2)),
        ("class:sea,vehicles 2", (1, 2, 3)),
    ],
)
def test_classes_by_name(hundred: ImageData, text: str, classes: tuple[int, ...]) -> None:
    forget = _resolve(text, hundred)
    assert forget.classes == classes
    assert forget.scenario == "class"
    assert forget.indices.tolist() == [row for row, label in enumerate(hundred.labels.tolist()) if label in classes]


@pytest.mark.parametrize(("text", "classes"), [("subclass:sea", (2,)), ("subclass:1,Lawn Mower", (1, 3))])
def test_sub_classes_by_name(twenty: ImageData, text: str, classes: tuple[int, ...]) -> None:
    forget = _resolve(text, twenty)
    assert twenty.fine is not None
    assert forget.classes == classes
    assert forget.scenario == "subclass"
    assert set(twenty.fine.labels[forget.indices].tolist()) == set(classes)
    assert len(forget) == int(np.isin(twenty.fine.labels, classes).sum())


@pytest.mark.parametrize(
    ("names", "asked", "meant"),
    [
        (("2", "0", "1"), "2", None),
        (("2", "0", "1"), "name=2", 0),
        (("2", "0", "1"), "#2", 2),
        (("1", "2", "3"), "0", None),
        (("1", "2", "3"), "1", None),
        (("1", "2", "3"), "3", 2),
        (("001.Albatross", "002.Auklet", "003.Bunting"), "1", None),
        (("001.Albatross", "002.Auklet", "003.Bunting"), "#1", 1),
        (("0 - zero", "1 - one", "2 - two"), "1", 1),
        (("0", "1", "2"), "1", 1),
        (("vehicles 1", "vehicles 2", "sea"), "1", 1),
        (("tench, Tinca", "sea", "#1"), '"tench, Tinca"', 0),
        (("tench, Tinca", "sea", "#1"), "#1", 2),
    ],
)
def test_a_number_means_a_class_only_where_it_can_mean_no_other(
    names: tuple[str, ...], asked: str, meant: int | None
) -> None:
    """CUB counts its folders from 1: ``class:1`` must not be the second one in silence."""
    data = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), names)
    if meant is None:
        with pytest.raises(ForgetSetError, match=rf"'{asked}' may be class number {asked}, called.*write #{asked}"):
            _resolve(f"class:{asked}", data)
    else:
        assert _resolve(f"class:{asked}", data).classes == (meant,)


@pytest.mark.parametrize("asked", ["-1", "1-", "_1", "1_", "- 1", "#-1", "#1_", "#+1", "name=-1", "1.0", "+1"])
@pytest.mark.parametrize("names", [("0", "1", "2"), ("cat", "dog", "sea")])
@pytest.mark.parametrize("kind", ["class", "subclass"])
def test_a_sign_belongs_to_a_number(kind: str, names: tuple[str, ...], asked: str) -> None:
    labels = torch.tensor([0, 1, 2])
    plain = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), labels, names if kind == "class" else ("a", "b", "c"))
    data = plain if kind == "class" else replace(plain, fine=Labelling(labels, names))
    with pytest.raises(ForgetSetError, match="There is no"):
        _resolve(f"{kind}:{asked}", data)


def test_signs_tell_names_apart() -> None:
    data = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), ("1", "-1", "at -5"))
    assert _resolve("class:-1", data).classes == (1,)
    assert _resolve("class:name=1", data).classes == (0,)
    assert _resolve("class:AT -5", data).classes == (2,)
    with pytest.raises(ForgetSetError, match=r"There is no class 'at 5' \(did you mean at -5\?\)"):
        _resolve("class:at 5", data)


def test_names_with_commas_are_written_in_quotes() -> None:
    data = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), ("a, b", "c", "d"))
    assert _resolve('class:"A, b",d', data).classes == (0, 2)
    with pytest.raises(ForgetSetError, match='in quotes: "a, b"'):
        _resolve("class:a, b", data)
    with pytest.raises(ForgetSetError, match="does not enclose a name"):
        _resolve('class:"a, b"x', data)


def test_names_that_mean_several_classes_are_refused() -> None:
    data = ImageData(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 2]), ("a b", "A_B", "c"))
    assert _resolve("class:A_B", data).classes == (1,)
    with pytest.raises(ForgetSetError, match="give the number of one: #0, #1"):
        _resolve("class:a-b", data)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class:rokcet", r"did you mean rocket\?"),
        ("class:vehicle2", r"did you mean vehicles_2\?"),
        ("class:mower", r"did you mean lawn_mower"),
        ("class:zzz", "there are apple, rocket, sea, lawn_mower, natural_things, vehicles_2"),
        ("class:4", "There is no class"),
        ("class:-1", "There is no class"),
        ("class:²", "There is no class"),
        ("subclass:sea", "write class:sea"),
        ("subclass:vehicles 2", "write class:vehicles 2"),
        ("subclass:zzz", "no labels finer"),
        ("class:natural things,vehicles_2", "at least one must be retained"),
    ],
)
def test_class_names_that_do_not_fit(hundred: ImageData, text: str, reason: str) -> None:
    with pytest.raises(ForgetSetError, match=reason):
        _resolve(text, hundred)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("class:sea", "write subclass:sea"),
        ("subclass:vehicles_2", "write class:vehicles_2"),
        ("subclass:seas", "did you mean sea"),
        ("subclass:9", "There is no sub-class"),
    ],
)
def test_sub_class_names_that_do_not_fit(twenty: ImageData, text: str, reason: str) -> None:
    with pytest.raises(ForgetSetError, match=reason):
        _resolve(text, twenty)


def test_a_class_without_samples_is_refused() -> None:
    data = ImageData(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1]), ("a", "b", "c"))
    with pytest.raises(ForgetSetError, match="no training sample"):
        _resolve("class:c", data)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "random", "random:", "everything:1", "random:x", "random:-1", "random:1.5", "random:1e3"),
        *(
            "random:0",
            "random:0%",
            "random:101%",
            "random:1:2",
            "random:100.1%",
            "random:\u0661",
            "random:" + "9" * 5000,
        ),
        *("hardest:", "hardest:10%:", "hardest:10%:size", "hardest:10%:loss:x", "class:", "class:a,,b", "class:,"),
    ],
)
def test_what_is_no_request(text: str) -> None:
    with pytest.raises(ForgetSetError):
        parse_forget(text)


@pytest.mark.parametrize("text", ["random:100%", "random:100", "random:101", "random:0.1%", "hardest:100%"])
def test_amounts_that_leave_nothing(hundred: ImageData, text: str) -> None:
    with pytest.raises(ForgetSetError, match="at least one retained"):
        _resolve(text, hundred)


def test_parsing_touches_no_file() -> None:
    request = parse_forget("indices:C:/no/such/file.npy")
    assert request.file == Path("C:/no/such/file.npy")
    assert parse_forget("random:2.5%").amount == type(parse_forget("random:1").amount)(Fraction(5, 2), True)


def test_an_index_file_is_read(hundred: ImageData, tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.array([5, 3, 99]))
    forget = _resolve(f"indices:{tmp_path / 'i.npy'}", hundred)
    assert forget.indices.tolist() == [3, 5, 99]
    assert forget.scenario == "indices"
    assert forget.digest == forget_from_indices([99, 5, 3], hundred).digest


def test_indices_from_python(hundred: ImageData) -> None:
    forget = forget_from_indices(torch.tensor([7, 2]), hundred)
    assert forget.indices.tolist() == [2, 7]
    assert forget.request == f"indices:{forget.digest}"
    with pytest.raises(ForgetSetError, match="at least one must be retained"):
        forget_from_indices(range(100), hundred)


REQUESTS = st.text(max_size=40) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["random", "hardest", "class", "subclass", "indices", "RANDOM "]),
    st.sampled_from([":", "::", "", " : "]),
    st.from_regex(r"[0-9.]{0,6}%?(:loss|:)?|[a-z_, -]{0,12}|[^:]{0,10}", fullmatch=True),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(text=REQUESTS, seed=st.integers(0, 9), fine=st.booleans())
def test_any_text_is_a_forget_set_or_an_error_of_ours(
    hundred: ImageData, twenty: ImageData, text: str, seed: int, fine: bool
) -> None:
    data = twenty if fine else hundred
    with suppress(ForgetSetError):
        forget = _resolve(text, data, {"confidence": np.arange(100, dtype=np.float32)}, seed)
        assert 0 < len(forget) < 100
        assert np.array_equal(forget.indices, np.unique(forget.indices))


@pytest.mark.parametrize("text", ["random:10%", "hardest:7", "class:apple", "subclass:apple"])
def test_what_was_forgotten_before_is_no_longer_there(hundred: ImageData, text: str) -> None:
    data = replace(hundred, fine=Labelling(hundred.labels, hundred.class_names)) if "sub" in text else hundred
    first = forget_from_indices(range(0, 100, 2), data)
    difficulty = {"confidence": np.arange(100, dtype=np.float32)}
    second = resolve_forget(parse_forget(text), data, seed=0, difficulty=difficulty, after=first)
    assert (second.indices % 2 == 1).all()
    assert second.before.tolist() == first.indices.tolist()
    if text == "random:10%":
        assert len(second) == 5  # of what is left
        share = np.array([20, 15, 10, 5]) / 10
        assert (np.abs(data.labels[second.indices].bincount(minlength=4).numpy() - share) < 1).all()
    if text == "hardest:7":
        assert second.indices.tolist() == list(range(87, 100, 2))


def test_a_sequence_knows_all_that_came_before(hundred: ImageData) -> None:
    first = _resolve("class:apple", hundred)
    second = resolve_forget(parse_forget("class:rocket"), hundred, seed=0, after=first)
    third = resolve_forget(parse_forget("random:4"), hundred, seed=0, after=second)
    assert third.before.tolist() == list(range(70))
    assert third.classes_before == (0, 1)
    assert third.left_out.tolist() == [*range(70), *third.indices.tolist()]
    assert [mask.tolist() for mask in third.divides(np.arange(4), None)] == [[False] * 4, [False, False, True, True]]
    assert [mask.tolist() for mask in second.divides(np.arange(4), None)] == [
        [False, True, False, False],
        [False, False, True, True],
    ]
    other = next(row for row in range(70, 100) if row not in third.indices)
    united = forget_after(third, hundred, forget_from_indices([other], hundred))
    assert united.before.tolist() == [*range(70), other]
    assert united.classes_before == (0, 1)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "class:apple",
            "'class:apple' means no training sample that was not forgotten before; there must be one at least.",
        ),
        (
            "class:apple,sea",
            "'class:apple,sea' names 'apple', but earlier requests have forgotten all of it; leave it out.",
        ),
        (
            "class:rocket,sea,lawn_mower",
            "'class:rocket,sea,lawn_mower' means all 60 training samples; at least one must be retained.",
        ),
        ("random:60", "'random:60' means 60 of 60 training samples; at least one must be forgotten and at least one"),
    ],
)
def test_requests_that_leave_nothing_after_others_are_refused(hundred: ImageData, text: str, sentence: str) -> None:
    with pytest.raises(ForgetSetError) as error:
        resolve_forget(parse_forget(text), hundred, seed=0, after=_resolve("class:apple", hundred))
    assert str(error.value).startswith(sentence)


def test_samples_that_were_forgotten_before_are_not_forgotten_again(hundred: ImageData) -> None:
    first = _resolve("class:apple", hundred)
    with pytest.raises(ForgetSetError, match="names 2 of the samples that were forgotten before, such as that at posi"):
        forget_from_indices([38, 39, 40], hundred, first)
    with pytest.raises(ForgetSetError, match="names 40 of the samples that were forgotten before"):
        forget_after(first, hundred, first)


def test_unseen_samples_are_like_the_forget_set_and_of_no_class_that_is_gone(hundred: ImageData) -> None:
    first = _resolve("class:apple", hundred)
    by_class = resolve_forget(parse_forget("class:sea"), hundred, seed=0, after=first)
    drawn = resolve_forget(parse_forget("random:4"), hundred, seed=0, after=first)
    assert unseen_rows(hundred, first).tolist() == list(range(40))
    assert unseen_rows(hundred, by_class).tolist() == list(range(70, 90))
    assert unseen_rows(hundred, drawn).tolist() == list(range(40, 100))


def test_a_holdout_is_without_classes_that_were_forgotten_before(hundred: ImageData) -> None:
    first = _resolve("class:apple", hundred)
    second = resolve_forget(parse_forget("class:sea"), hundred, seed=0, after=first)
    left = without_earlier_classes(hundred, second)
    assert left is not None
    assert left.labels.tolist() == [1] * 30 + [2] * 20 + [3] * 10
    assert without_earlier_classes(hundred, first) is hundred
    assert without_earlier_classes(None, second) is None


@pytest.mark.parametrize("before", [np.array([-1]), np.array([100]), np.array([0.5])])
def test_a_known_set_whose_earlier_positions_do_not_fit_is_refused(hundred: ImageData, before: np.ndarray) -> None:
    odd = ForgetSet(np.array([3]), "", "indices", before=before)
    with pytest.raises(ForgetSetError, match="forgotten before"):
        forget_after(odd, hundred, None)


@pytest.mark.parametrize(
    ("text", "meant"),
    [(" people/requests.txt", "files:people/requests.txt"), ("a.csv", "files:a.csv"), ("a.npy", "indices:a.npy")],
)
def test_a_list_without_its_kind_is_recognised(text: str, meant: str) -> None:
    with pytest.raises(ForgetSetError, match=rf"does not say what to forget \(did you mean {meant}\?\); write random"):
        parse_forget(text)


@pytest.mark.parametrize("text", ["photo.jpg", "txt", "index:a.txt"])
def test_what_is_no_list_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(ForgetSetError, match="does not say what to forget; write random"):
        parse_forget(text)
