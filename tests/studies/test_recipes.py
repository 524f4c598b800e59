"""The recipes that come with natmu: valid, faithful to the published settings, and honest in their heads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.lineage import Workspace
from natmu.methods import method_named
from natmu.records.settings import DataSettings
from natmu.studies import Recipe, read_recipe
from natmu.studies.plan import plan_of

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "src/natmu/studies/demo.yaml"
PAPER = sorted((ROOT / "recipes/paper").glob("*.yaml"))
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
COMMANDS = {
    path: f"natmu {'search' if read_recipe(path).search else 'bench'} {path.relative_to(ROOT).as_posix()}"
    for path in RECIPES
} | {DEMO: "natmu demo"}

SHARES = ("random:1%", "random:10%", "hardest:1%", "hardest:10%")
FINE = ("rocket", "mushroom", "baby", "lamp", "sea")
FULL_CLASS, SUB_CLASS = (tuple(f"{kind}:{name}" for name in FINE) for kind in ("class", "subclass"))

# Data, model, batch size and forget sets, as the research code has them.
PROBLEMS = {
    "cifar10-vgg16": ("cifar10", "vgg16", 128, SHARES),
    "cifar100-resnet18": ("cifar100", "resnet18", 128, SHARES),
    "tiny-imagenet-resnet34": ("tiny-imagenet", "resnet34", 256, SHARES),
    "cifar100-full-class": ("cifar100", "resnet18", 128, FULL_CLASS),
    "cifar20-sub-class": ("cifar20", "resnet18", 128, SUB_CLASS),
}

# Published learning rate, weight decay and what is the method's own: delta, temperature, threshold, reset_head.
PUBLISHED = {
    "cifar10-vgg16": {
        "natmu": (0.001, 0.002, {"delta": -0.19, "reset_head": False}),
        "amnesiac": (0.000018, 0.0004, {"reset_head": False}),
        "bad_teacher": (0.00005, 0.0009, {"temperature": 7.2, "reset_head": False}),
        "salun": (0.00005, 0.0003, {"threshold": 0.05, "reset_head": False}),
    },
    "cifar100-resnet18": {
        "natmu": (0.0011, 0.0005, {"delta": -0.03, "reset_head": False}),
        "amnesiac": (0.000019, 0.0008, {"reset_head": False}),
        "bad_teacher": (0.00028, 0.0009, {"temperature": 2.4, "reset_head": False}),
        "salun": (0.000057, 0.001, {"threshold": 0.21, "reset_head": False}),
    },
    "tiny-imagenet-resnet34": {
        "natmu": (0.00083, 0.00007, {"delta": 0.045, "reset_head": False}),
        "amnesiac": (0.000015, 0.00056, {"reset_head": False}),
        "bad_teacher": (0.00027, 0.00075, {"temperature": 1.8, "reset_head": False}),
        "salun": (0.000055, 0.00053, {"threshold": 0.2, "reset_head": False}),
    },
    "cifar100-full-class": {
        "natmu": (0.00028, 0, {"delta": -0.053, "reset_head": True}),
        "amnesiac": (0.000145, 0.00008, {"reset_head": False}),
        "bad_teacher": (0.000034, 0, {"temperature": 0.77, "reset_head": True}),
        "salun": (0.00013, 0, {"threshold": 0.7, "reset_head": False}),
    },
    "cifar20-sub-class": {
        "natmu": (0.0009, 0.00037, {"delta": -0.053, "reset_head": False}),
        "amnesiac": (0.000018, 0.00037, {"reset_head": True}),
        "bad_teacher": (0.000074, 0, {"temperature": 0.72, "reset_head": False}),
        "salun": (0.00017, 0, {"threshold": 0.01, "reset_head": False}),
    },
}

# Of the retrained models: test, retain and forget accuracy and mia_entropy, 1 % and 10 % at random.
REFERENCES = {
    "cifar10-vgg16": ("93.34 / 99.94 / 94.08 / 83.88", "93.12 / 99.94 / 93.20 / 80.80"),
    "cifar100-resnet18": ("76.68 / 99.94 / 77.60 / 55.40", "75.43 / 99.95 / 75.92 / 53.49"),
    "tiny-imagenet-resnet34": ("66.55 / 99.97 / 67.06 / 44.54", "65.45 / 99.97 / 65.29 / 41.94"),
}


def _head(path: Path) -> str:
    """The comment lines before the first key."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[: next(row for row, line in enumerate(lines) if not line.startswith("#"))])


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every plain value of a YAML document, with its path."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in pairs:
            yield from _leaves(inner, f"{path}.{key}")
    else:
        yield path, value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _entries(recipe: Recipe) -> dict[str, tuple[str, dict[str, object]]]:
    """Label to method and its complete settings."""
    found = [expanded for entry in recipe.methods for expanded in entry.expanded()]
    return {label: (name, method_named(name)(**settings).config.model_dump()) for label, name, settings in found}


def test_each_script_of_the_research_code_has_a_recipe() -> None:
    assert {path.stem for path in PAPER} == PROBLEMS.keys()


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_recipe_is_valid(path: Path) -> None:
    assert read_recipe(path).name


def test_no_two_recipes_share_a_folder() -> None:
    names = [read_recipe(path).name for path in COMMANDS]
    assert len({*names}) == len(names)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_the_head_names_the_command(path: Path) -> None:
    assert re.search(rf"{re.escape(COMMANDS[path])}(?![\w/-])", _head(path))


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_numbers_are_numbers(path: Path) -> None:
    """YAML reads 1e-3 as text; only 1.0e-3 is a number."""
    leaves = _leaves(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert [place for place, value in leaves if isinstance(value, str) and _is_number(value)] == []


@pytest.mark.parametrize("text", ["a: 1e-3", "a: [{b: 5e-4}]", "a: {b: '0.1'}"])
def test_text_that_looks_like_a_number_is_found(text: str) -> None:
    assert [value for _, value in _leaves(yaml.safe_load(text)) if isinstance(value, str) and _is_number(value)]


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_problem_is_the_published_one(path: Path) -> None:
    recipe = read_recipe(path)
    source, model, batch_size, forget = PROBLEMS[path.stem]
    assert (recipe.data.source, recipe.model) == (source, model)
    assert tuple(request.text for request in recipe.forget) == forget
    assert (recipe.data.train_size, recipe.data.image_size) == (None, None)
    assert (recipe.data.holdout, recipe.score_on) == (False, "test")
    assert recipe.training.model_dump() == {
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "epochs": 100,
        "schedule": "step",
        "warmup_epochs": 2,
        "batch_size": batch_size,
        "augment": True,
        "sharding": None,
    }
    assert (recipe.batch_size or recipe.training.batch_size) == batch_size
    assert recipe.retrain.init == "original"
    assert len({training for _, training, _ in recipe.seeds.replicates()}) == 3


@pytest.mark.parametrize("name", ["natmu", "amnesiac", "bad_teacher", "salun"])
@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_a_method_has_its_published_settings(path: Path, name: str) -> None:
    lr, weight_decay, own = PUBLISHED[path.stem][name]
    method, settings = _entries(read_recipe(path))[name]
    assert method == name
    expected = {
        "lr": lr,
        "weight_decay": weight_decay,
        "epochs": 5,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup_epochs": 0,
        "augment_retain": name == "natmu",
        "retain_fraction": 1,
    }
    if name == "natmu":
        expected |= {"n": None, "resample_partners": False, "reuse_partners": None, "allow_true_class": False}
    assert settings == settings | expected | own


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_each_method_stands_there_with_and_without_augmentation(path: Path) -> None:
    entries = _entries(read_recipe(path))
    for name in PUBLISHED[path.stem]:
        label = "natmu (plain retain)" if name == "natmu" else f"{name} (augmented retain)"
        _, published = entries[name]
        assert entries[label] == (name, published | {"augment_retain": not published["augment_retain"]})


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_true_class_is_allowed_for_sub_classes_alone(path: Path) -> None:
    entries = _entries(read_recipe(path))
    allowed = {label: entry for label, entry in entries.items() if entry[1].get("allow_true_class")}
    if path.stem == "cifar20-sub-class":
        _, published = entries["natmu"]
        assert allowed == {"natmu (true class allowed)": ("natmu", published | {"allow_true_class": True})}
    else:
        assert allowed == {}
    assert len(entries) == 8 + len(allowed)


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_head_counts_the_epochs(path: Path, tmp_path: Path) -> None:
    recipe, replicates = read_recipe(path), 3
    hardest = sum(request.kind == "hardest" for request in recipe.forget)  # a second reference for each of these sets
    retrained = replicates * (len(recipe.forget) + hardest)
    unlearned = replicates * len(recipe.forget) * len(recipe.methods)
    # Which models there are does not hang on the data, which is not here.
    compute, settings = Compute.choose("cpu", "fp32"), DataSettings(source="digits")
    plan = plan_of(recipe, Workspace.open(settings, tmp_path, recipe.model, compute, Store(tmp_path)))
    assert len(plan.originals) == replicates
    assert len([run for run in plan.runs if run.label == "retrained"]) == retrained
    assert len([run for run in plan.runs if run.label != "retrained"]) == unlearned
    epochs = (replicates + retrained) * 100 + unlearned * 5
    stated = " ".join(_head(path).replace("#", " ").split())
    assert (
        f"{epochs:,} epochs: {replicates} originals and {retrained} retrained models of 100 epochs, "
        f"{unlearned} unlearned models of 5." in stated
    )


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_the_head_holds_the_published_references(path: Path) -> None:
    head = _head(path)
    assert "He et al." in head
    stated = re.findall(r"(\d+\.\d+(?: / \d+\.\d+){3}) at (\S+)", head)
    assert stated == list(zip(REFERENCES.get(path.stem, ()), ("random:1%", "random:10%"), strict=False))


def test_the_page_for_users_of_the_research_code_names_the_recipes_that_exist() -> None:
    page = (ROOT / "docs/from-the-research-code.md").read_text(encoding="utf-8")
    named = {*re.findall(r"recipes/[\w./-]+\.yaml", page)}
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    assert named >= {path.relative_to(ROOT).as_posix() for path in PAPER}
