"""Recipes: what is wrong is refused by the path of its key, before anything runs."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from natmu.errors import SettingError
from natmu.methods import METHODS, method_named
from natmu.records.recipe import ExecutorSettings, Seeds
from natmu.studies.recipe import Recipe, read_recipe

GOOD = {
    "name": "tiny",
    "data": {"source": "digits", "train_size": 100, "holdout": True},
    "model": "small_cnn",
    "training": {"epochs": 2, "lr": 0.1, "schedule": "cosine"},
    "retrain": {"init": "fresh"},
    "forget": ["random:10%", "class:3"],
    "methods": [
        {"method": "natmu", "settings": {"delta": -0.1}},
        {"method": "salun", "label": "SalUn", "grid": {"lr": [1e-4, 1e-3], "threshold": [0.1, 0.5]}},
    ],
    "batch_size": 32,
    "seeds": {"split": [0], "training": [0, 1], "unlearning": [3, 4]},
    "score_on": "holdout",
    "precision": "fp32",
}


def changed(path, value):
    """The good recipe with one value replaced or added."""
    recipe = copy.deepcopy(GOOD)
    place = recipe
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return recipe


def test_a_good_recipe_is_read(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    recipe = read_recipe(path)
    assert recipe == Recipe.parse(GOOD)
    assert tuple(request.text for request in recipe.forget) == ("random:10%", "class:3")
    assert (recipe.training.weight_decay, recipe.training.batch_size) == (5e-4, 128)
    json.dumps(recipe.model_dump(mode="json"), allow_nan=False)


def test_an_executor_is_named_or_given_with_its_settings_and_moves_to_the_other_kind():
    assert Recipe.parse(changed(["executor"], "ray")).executor == ExecutorSettings(kind="ray")
    on_ray = ExecutorSettings(kind="ray", cpus=2, gpus=0.5, retries=1, address="head:6379")
    assert on_ray.at("ray") == on_ray
    assert on_ray.at("local") == ExecutorSettings(cpus=2)
    assert ExecutorSettings(cpus=2).at("ray") == ExecutorSettings(kind="ray", cpus=2)
    with pytest.raises(SettingError, match="executor: kind: input should be 'local' or 'ray'"):
        on_ray.at("slurm")


WRONG = [
    (("nam",), 1, "nam is not a setting"),
    (("executor",), "slurm", "executor.kind: input should be 'local' or 'ray'"),
    (("executor",), {"gpus": 0.5, "retries": 1}, "gpus, retries is for kind: ray; leave it out"),
    (("executor",), {"kind": "ray", "gpus": 2}, "executor.gpus: input should be less than or equal to 1"),
    (("executor",), {"kind": "ray", "address": "ray://head:10001"}, "write HOST:PORT without ray://"),
    (("data", "sources"), "x", "data.sources is not a setting"),
    (("training", "epoch"), 3, "training.epoch is not a setting"),
    (("training", "epochs"), 0, "training.epochs"),
    (("training", "lr"), -1, "training.lr"),
    (("training", "lr"), float("nan"), "training.lr"),
    (("training", "warmup_epochs"), 1e308, "training.warmup_epochs"),
    (("training", "schedule"), "triangular", "training.schedule"),
    (("training",), [1], "training"),
    (("retrain", "init"), "random", "retrain.init"),
    (("data", "train_size"), 0, "data.train_size"),
    (("data",), "digits", "data"),
    (("name",), "../up", "name: write at most 100 letters, digits"),
    (("name",), "a" * 101, "name: write at most 100 letters, digits"),
    (("training",), {"trainer": "train.py"}, "write it as package.module:function"),
    (("name",), "", "name"),
    (("name",), "two\nlines", "name"),
    (("forget",), [], "forget"),
    (("forget",), "random:1%", "forget"),
    (("forget",), ["random:1%", "randm:1%"], "randm:1%"),
    (("forget",), ["random:101%"], "forget"),
    (("forget",), ["random:1%", "random:1%"], "named again: 'random:1%'"),
    (("methods", 0, "method"), "natmoo", "methods.0"),
    (("methods", 0, "method"), "natmoo", "did you mean natmu"),
    (("methods", 1, "settings"), {"thresold": 1}, "methods.1"),
    (("methods", 1, "settings"), {"thresold": 1}, "thresold is not a setting"),
    (("methods", 0, "settings"), {"n": 9}, "methods.0"),
    (("methods", 0, "settings"), {"n": 9}, "n: "),
    (("methods", 0, "settings"), {"self": 9}, "self is not a setting"),
    (("methods", 0, "settings"), {1: 9}, "methods.0.settings"),
    (("methods", 1, "grid"), {"lr": [1e-4, 0]}, "lr: "),
    (("methods", 1, "grid"), {"lr": []}, "methods.1.grid.lr"),
    (("methods", 1, "grid"), {"lr": 1e-4}, "methods.1.grid.lr"),
    (("methods",), [{"method": "natmu"}] * 2, "taken twice or reserved: 'natmu'"),
    (("methods",), [{"method": "natmu"}, {"method": "salun", "label": "natmu"}], "reserved: 'natmu'"),
    (("methods", 0, "label"), "retrained", "taken twice or reserved: 'retrained'"),
    (("methods", 0, "label"), "original", "taken twice or reserved: 'original'"),
    (("seeds", "split"), [0, 1, 2], "one seed or the same number"),
    (("seeds", "training"), [], "seeds.training"),
    (("seeds", "training"), ["x", 1], "seeds.training.0"),
    (("seeds", "test"), [0], "seeds.test"),
    (("batch_size",), 0, "batch_size"),
    (("score_on",), "train", "score_on"),
    (("data", "holdout"), False, "score_on: holdout needs data.holdout: true"),
    (("precision",), "fp16", "precision"),
    (("audit",), "other", "audit: "),
    (("audit",), ["standard"], "audit: "),
    (("audit",), "standard", "leave it out of a study that is scored on the holdout"),
    (("references",), 2, "references are those of an audit; name its level"),
    (("references",), 0, "references: "),
    (("scores",), ["tow", "kl_forgot"], "'kl_forgot' is not a score that a table can have (did you mean kl_forget"),
    (("scores",), ["zrf"], "scores: 'zrf' is not a score that a table can have"),
    (("scores",), "tow", "scores"),
    (("executor",), "slurm", "executor.kind"),
    (("executor",), {"kind": "ray", "gpu": 1}, "executor.gpu is not a setting"),
    (("executor",), {"kind": "ray", "gpus": -1}, "executor.gpus"),
    (("executor",), {"cpus": 0}, "executor.cpus"),
    (("executor",), {"gpus": 0.5, "retries": 1}, "gpus, retries is for kind: ray"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[f"{path[-1]}-{words}" for path, _, words in WRONG])
def test_the_wrong_key_is_named(path, value, words):
    with pytest.raises(SettingError) as caught:
        Recipe.parse(changed(path, value), where="tiny.yaml")
    message = str(caught.value)
    assert message.startswith("tiny.yaml: ")
    assert words in message
    assert "\n" not in message
    assert "pydantic" not in message.lower()


def test_an_executor_may_be_given_by_its_name():
    assert Recipe.parse(changed(("executor",), "ray")).executor == ExecutorSettings(kind="ray")
    assert Recipe.parse(changed(("executor",), {"kind": "ray", "gpus": 0.25})).executor.gpus == 0.25
    assert Recipe.parse(Recipe.parse(GOOD).model_dump(mode="json")) == Recipe.parse(GOOD)


@pytest.mark.parametrize("level", ["quick", "standard", "full"])
def test_a_study_that_is_scored_on_the_test_set_may_ask_for_audits(level):
    tested = changed(("score_on",), "test")
    assert (Recipe.parse(tested).audit, Recipe.parse(tested).references) == (None, None)
    assert Recipe.parse(tested | {"audit": level}).references is None
    recipe = Recipe.parse(tested | {"audit": level, "references": 3})
    assert (recipe.audit, recipe.references) == (level, 3)


@pytest.mark.parametrize("key", ["name", "data", "model", "forget"])
def test_what_is_missing_is_named(key):
    with pytest.raises(SettingError, match=rf"\b{key}: field required"):
        Recipe.parse({name: value for name, value in GOOD.items() if name != key})


def test_all_faults_are_told_at_once():
    recipe = changed(("training", "lr"), -1) | {"batch_size": 0}
    with pytest.raises(SettingError, match=r"training\.lr.*batch_size"):
        Recipe.parse(recipe)


def test_a_grid_is_every_combination():
    entry = Recipe.parse(GOOD).methods[1]
    assert entry.expanded() == [
        (f"SalUn lr={lr} threshold={threshold}", "salun", {"lr": lr, "threshold": threshold})
        for lr in (1e-4, 1e-3)
        for threshold in (0.1, 0.5)
    ]


def test_a_grid_overrides_the_settings_beside_it():
    recipe = Recipe.parse(changed(("methods", 1, "settings"), {"lr": 5.0, "epochs": 1}))
    assert {settings["lr"] for _, _, settings in recipe.methods[1].expanded()} == {1e-4, 1e-3}
    assert {settings["epochs"] for _, _, settings in recipe.methods[1].expanded()} == {1}


def test_a_single_seed_serves_all_replicates():
    assert Seeds(split=(5,), training=(0, 1, 2), unlearning=(7, 8, 9)).replicates() == [(5, 0, 7), (5, 1, 8), (5, 2, 9)]
    assert Seeds().replicates() == [(0, 0, 0)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just text",
        b"- a\n- list\n",
        b"1: name\n",
        b"name: [unclosed\n",
        b"\xff\xfe\x00\x80",
        b"name: \x00",
        b"a: !!python/object/apply:os.system ['true']\n",
        b"a: !!int ''",
        b"a: !!float ''",
        b"a: !!bool maybe",
        b"a: !!timestamp never",
        b"a: 2001-99-99",
        b"&a [*a]",
        b"name: &a {x: *a}",
        b"? [a]\n: b",
        b"[" * 500,
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, content):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"bad\.yaml") as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path, told in ((tmp_path / "absent.yaml", "There is no recipe"), (tmp_path, "it is a folder, not a file")):
        with pytest.raises(SettingError, match=told):
            read_recipe(path)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.dates()
    | st.binary(max_size=3)
    | st.sampled_from(["natmu", "salun", "digits", "random:1%", "hardest:5", "class:3", "lr", "cosine", "holdout"])
)
keys = st.sampled_from(
    ["method", "settings", "grid", "label", "lr", "n", "delta", "epochs", "source", "split", "training", "init", "self"]
) | st.text(max_size=4)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


def check(values):
    """Either a recipe that could run, or one sentence."""
    try:
        recipe = Recipe.parse(values, where="x.yaml")
    except SettingError as error:
        assert str(error).startswith("x.yaml: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
        return
    json.dumps(recipe.model_dump(mode="json"), allow_nan=False)
    for entry in recipe.methods:
        for _, name, chosen in entry.expanded():
            method_named(name)(**chosen)
    assert recipe.seeds.replicates()


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(GOOD)) | st.text(max_size=4), trees, max_size=4))
def test_random_values_make_a_recipe_or_a_sentence(values):
    check(GOOD | values)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([method.name for method in METHODS]),
    st.dictionaries(keys, trees, max_size=3),
    st.dictionaries(keys, st.lists(trees, max_size=3), max_size=2),
)
def test_random_settings_make_a_recipe_or_a_sentence(name, chosen, grid):
    check(GOOD | {"methods": [{"method": name, "settings": chosen, "grid": grid}]})


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | trees.map(lambda tree: yaml.safe_dump(tree).encode())
    | st.lists(
        st.sampled_from([b"!!int ", b"!!float ", b"!!set ", b"{", b"}", b"[", b"]", b": ", b"&a ", b"*a", b"<<", b"x"])
    ).map(b"".join)
)
def test_random_bytes_are_refused_in_a_sentence(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz", numbered=True) / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingError, match=r"fuzz\.yaml"):
        read_recipe(path)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"data": "digits"}, "data: write a mapping, such as {key: value} (got 'digits')"),
        ({"forget": "random:10%"}, "forget: write a list, such as [a, b] (got 'random:10%')"),
        ({"methods": ["amnesiac"]}, "methods.0: write a mapping, such as {key: value} (got 'amnesiac')"),
        ({"name": 3}, "name: write a text, with quotes where it looks like a number (got '3')"),
        ({"seeds": {"split": ["a"]}}, "seeds.split.0: write a whole number (got 'a')."),
        ({"training": {"lr": "fast"}}, "training.lr: write a number (got 'fast')"),
        ({"sync_batch_norm": "maybe"}, "sync_batch_norm: write true or false (got 'maybe')"),
        ({"methods": [{"method": "nosuch"}]}, "methods.0: there is no method 'nosuch'"),
    ],
)
def test_a_value_of_the_wrong_kind_is_answered_with_what_to_write(change, wanted):
    whole = {"name": "n", "data": {"source": "digits"}, "model": "small_cnn", "forget": ["random:10%"]}
    with pytest.raises(SettingError) as caught:
        Recipe.parse(whole | change)
    said = str(caught.value)
    assert wanted in said
    assert not any(word in said for word in ("valid", "dictionary", "tuple", "instance", "after", ". ("))
