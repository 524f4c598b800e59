"""The documents: links lead somewhere, the citation can be read, and the example method works."""

from __future__ import annotations

import ast
import re
import shlex
import textwrap
import tomllib
from datetime import date
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
import yaml
from torch import Tensor

import natmu
from natmu.cli.app import application
from natmu.data import load, parse_forget, resolve_forget
from natmu.engine.compute import Compute
from natmu.engine.training import train_classifier
from natmu.methods import Method, Problem, SalUn
from natmu.models import build_model
from natmu.records.forgetting import with_manifest
from natmu.records.recipe import ExecutorSettings, Seeds
from natmu.records.settings import DataSettings, TrainSettings
from natmu.studies.recipe import MethodEntry, Recipe

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "examples", "benchmarks/results")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
SHELL = ("|", ">", "&&", "&", ";")
SETTINGS = {"epochs": 3, "lr": 3e-3, "weight_decay": 0.1}


def _prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def _blocks(path: Path, kind: str) -> list[str]:
    """A page's blocks of code of one kind."""
    found = re.findall(
        rf"^( *)```{kind}\n(.*?)^ *```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(block) for _, block in found]


@cache
def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", _prose(path), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", _prose(page))
    for link in (link for link in links if not re.match(r"[a-z]+:", link)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor and target.suffix == ".md":
            assert anchor in _anchors(target), f"{link} names no heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_python_compiles(page: Path) -> None:
    for block in _blocks(page, "python"):
        compile(block, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_have_the_options_that_they_are_given(page: Path) -> None:
    for words in commands_of(page):
        parsed(words)


def test_commands_are_found_and_a_wrong_option_is_refused() -> None:
    assert ["methods"] in [words[:1] for words in commands_of(ROOT / "examples/plugin/README.md")]
    assert len(commands_of(ROOT / "README.md")) > 20
    with pytest.raises(typer.TyperException, match="No such option"):
        parsed(["audit", "runs/natmu", "--levle", "full"])


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command of ours in a page's blocks."""
    found = []
    for kind, prompt in (("console", r"\$ "), ("bash", ""), ("sh", "")):
        for block in _blocks(page, kind):
            lines = re.sub(r"\\\n\s*", " ", block)
            found += re.findall(rf"^{prompt}(?:\w+=\S+ )*natmu\b(.*)$", lines, flags=re.MULTILINE)
    return [[*takewhile(lambda word: word not in SHELL, shlex.split(line, comments=True))] for line in found]


@cache
def whole_command() -> Any:
    """The command line with all its verbs."""
    return typer.main.get_command(application())


def parsed(words: list[str]) -> None:
    """Parse a command as the command line does, without carrying it out."""
    command = whole_command()
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_forget_sets_in_commands_are_understood(page: Path) -> None:
    for text, table in re.findall(r"--forget ([^\s`<]+)(?: --manifest (\S+))?", page.read_text(encoding="utf-8")):
        request = with_manifest(text, table) if table else text
        assert parse_forget(request).text == request


def test_the_citation_names_the_software_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert (citation["cff-version"], citation["type"], citation["license"]) == ("1.2.0", "software", "MIT")
    assert str(citation["version"]) == natmu.__version__
    paper = next(one for one in citation["references"] if one["title"] == "Towards Natural Machine Unlearning")
    assert [one["family-names"] for one in paper["authors"]] == ["He", "Li", "Cheng", "Huang", "Huang"]
    assert (paper["year"], paper["url"]) == (2025, "https://arxiv.org/abs/2405.15495")
    assert all(one.keys() >= {"type", "title", "authors"} for one in citation["references"])


def test_the_changelog_has_the_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (stated,) = re.findall(rf"^## \[{re.escape(natmu.__version__)}\] - (.+)$", text, flags=re.MULTILINE)
    assert stated == "Unreleased" or date.fromisoformat(stated)


def test_each_dependency_has_its_reason() -> None:
    project = _project()
    listed = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    wanted = {re.split(r"[<>=!~\[; ]", one)[0] for one in listed}
    page = (ROOT / "docs/decisions/0001-dependencies.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^- \*\*(.+?)\*\*: ", page, flags=re.MULTILINE)} == wanted


def _project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def example() -> type[Method]:
    """The method in CONTRIBUTING.md, defined by the very text of its block of code."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Adding a method.*?(?=^## )", text, flags=re.DOTALL | re.MULTILINE)
    block, *_ = re.findall(r"^( *)```python\n(.*?)^ *```", section, flags=re.DOTALL | re.MULTILINE)
    names: dict = {"__name__": "example"}
    exec(compile(textwrap.dedent(block[1]), "CONTRIBUTING.md", "exec"), names)
    (method,) = (value for value in names.values() if _is_method(value, names))
    return method


def _is_method(value: object, names: dict) -> bool:
    return isinstance(value, type) and issubclass(value, Method) and value is not names["Method"]


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A trained network and a tenth of a few digits to forget."""
    splits = load("digits", ROOT, train_size=300)
    shape, compute = splits.train.image_shape, Compute.choose("cpu", "fp32")
    training = TrainSettings(epochs=15, lr=0.1, schedule="cosine", warmup_epochs=1, batch_size=50, augment=False)
    model = build_model("small_cnn", num_classes=10, image_shape=shape, mean=splits.mean, std=splits.std, seed=0)
    train_classifier(model, splits.train, torch.arange(300), training, compute, seed=0)
    forget = resolve_forget(parse_forget("random:10%"), splits.train, seed=0)
    return Problem(model.eval(), splits.train, forget, training, compute, batch_size=50)


def _weights(model: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_the_example_method_forgets_and_leaves_the_original_alone(example: type[Method], problem: Problem) -> None:
    before = {name: tensor.clone() for name, tensor in problem.model.state_dict().items()}
    unlearned = example(**SETTINGS)(problem)
    assert all(torch.equal(before[name], tensor) for name, tensor in problem.model.state_dict().items())
    assert _confidence(problem.model, problem) > 0.95
    assert _confidence(unlearned.model, problem) < 0.9 * _confidence(problem.model, problem)


def _confidence(model: torch.nn.Module, problem: Problem) -> float:
    """Mean probability of the true label on the forget set."""
    positions = problem.forget_positions
    with torch.no_grad():
        answers = model(problem.data.take(positions).float() / 255).softmax(1)
    return float(np.mean(answers[torch.arange(len(positions)), problem.labels(positions)].numpy()))


def test_the_example_method_is_decided_by_its_seed(example: type[Method], problem: Problem) -> None:
    first, second = (_weights(example(**SETTINGS)(problem).model) for _ in range(2))
    assert torch.equal(first, second)


def test_the_example_method_is_salun_with_every_weight_free(example: type[Method], problem: Problem) -> None:
    """SalUn that redraws its labels each epoch and may move everything is the same method, written elsewhere."""
    other = SalUn(**SETTINGS, threshold=1.0, relabel="each_epoch")(problem)
    assert torch.equal(_weights(example(**SETTINGS)(problem).model), _weights(other.model))


def test_the_page_on_recipes_has_every_key_and_its_examples_are_recipes() -> None:
    page = (ROOT / "docs/recipes.md").read_text(encoding="utf-8")
    example, *parts = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL))
    recipe = Recipe.parse(example)
    assert recipe.name == "example"
    for part in parts:
        assert Recipe.parse(example | part) != recipe
    groups = (Recipe, DataSettings, Seeds, ExecutorSettings, MethodEntry)
    for name in (name for group in groups for name in group.model_fields):
        assert re.search(rf"\b{name}\b", page), name
