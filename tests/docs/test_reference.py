"""The reference of the Python interface: every public name has an example, and every example runs as it stands."""

from __future__ import annotations

import ast
import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest
import torch
from tests.docs.hooks import HOOKS

ROOT = Path(__file__).parents[2]
PACKAGES = [f"natmu{name}" for name in HOOKS.REFERENCE]


def examples(package: str) -> list[doctest.DocTest]:
    """The examples of each public name of a package, which know all names of that package."""
    module, parser = import_module(package), doctest.DocTestParser()
    names = {name: getattr(module, name) for name in module.__all__}
    texts = {name: inspect.getdoc(one) if is_code(one) else text_below(module, name) for name, one in names.items()}
    return [parser.get_doctest(text or "", dict(names), f"{package}.{name}", None, 0) for name, text in texts.items()]


def is_code(value: object) -> bool:
    """Whether a value has a docstring of its own."""
    return isinstance(value, type) or inspect.isroutine(inspect.unwrap(value) if callable(value) else value)


def text_below(module: object, name: str) -> str:
    """The text below the assignment of a constant, wherever that was imported from."""
    body = ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body
    for one, below in zip(body, [*body[1:], None], strict=True):
        if isinstance(one, ast.ImportFrom) and name in (alias.name for alias in one.names):
            return text_below(import_module(one.module), name)
        targets = getattr(one, "targets", [getattr(one, "target", None)])
        if name in (getattr(target, "id", None) for target in targets) and isinstance(below, ast.Expr):
            return inspect.cleandoc(ast.literal_eval(below.value))
    return ""


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_an_example_that_runs(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, said = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False), []
    tests = examples(package)
    with torch.random.fork_rng(devices=[]):
        for test in tests:
            (tmp_path / test.name).mkdir()
            monkeypatch.chdir(tmp_path / test.name)
            runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)
    assert [test.name for test in tests if not test.examples] == []


def test_every_other_example_runs() -> None:
    public, runner = {test.docstring for package in PACKAGES for test in examples(package)}, doctest.DocTestRunner()
    paths = [path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")]
    for path in paths:
        name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts).removesuffix(".__init__")
        tests = doctest.DocTestFinder(exclude_empty=True).find(import_module(name))
        for test in (test for test in tests if inspect.cleandoc(test.docstring) not in public):
            runner.run(test)
    assert runner.failures == 0
    assert runner.tries > 20
