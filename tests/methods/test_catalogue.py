"""What is told of methods and models without loading PyTorch is stored: ``make catalogue`` renews it from the code."""

import json
import textwrap
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field
from typer.testing import CliRunner

from natmu.cli.app import application
from natmu.cli.manual import WIDTH, in_full, listing, markdown
from natmu.methods import METHODS, catalogue, method_named
from natmu.methods.catalogue import SECTIONS, parse_docstring, row_of, settings_of
from natmu.models import models
from natmu.types import Settings

PACKAGE, ROOT = Path(str(files("natmu"))), Path(__file__).parents[2]
LIVE = {
    PACKAGE / "methods/catalogue.json": lambda: _as_json(catalogue()),
    PACKAGE / "models/catalogue.json": lambda: _as_json([asdict(model) for model in models()]),
    ROOT / "docs/methods.md": lambda: markdown(catalogue()),
}


def _as_json(rows):
    return json.dumps(rows, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("path", LIVE, ids=lambda path: path.name)
def test_what_is_stored_is_what_the_code_says(path):
    stored = path.read_text(encoding="utf-8") if path.exists() else ""
    assert stored == LIVE[path](), "the code says something else now: run make catalogue"


def test_every_docstring_has_every_section():
    missing = {row["name"]: [key for key in ("rule", *SECTIONS) if not row[key]] for row in catalogue()}
    missing["retrain"] = [key for key in missing["retrain"] if key != "references"]  # nobody's paper
    assert not any(missing.values()), {name: keys for name, keys in missing.items() if keys}


def test_a_docstring_is_taken_apart():
    text = """Sums it up in a line.

    A rule that
    goes on.

    A second paragraph: with a colon.

    When to use:
        Often,
        or so.

    Decisions:
        - One
          thing.
        - Another: thing.

        The end.

    References:
        A paper (Somebody, 2020), https://example.org/1.
    """
    assert parse_docstring(text) == {
        "summary": "Sums it up in a line.",
        "rule": "A rule that goes on.\n\nA second paragraph: with a colon.",
        "When to use": "Often, or so.",
        "Decisions": "- One thing.\n\n- Another: thing.\n\nThe end.",
        "References": "A paper (Somebody, 2020), https://example.org/1.",
    }
    assert parse_docstring("") == {"summary": "", "rule": ""}
    assert parse_docstring("Only\na summary.") == {"summary": "Only a summary.", "rule": ""}


class Everything(Settings):
    """Settings of all kinds."""

    share: float = Field(1.0, gt=0, le=1, description="a share")
    count: int = Field(3, ge=1, lt=9, description="a count")
    kind: Literal["a", "b"] = Field("b", description="a kind")
    flag: bool = Field(False, description="a flag")
    limit: float | None = Field(None, ge=0, description="a limit")
    more: dict[str, int] = Field({}, description="more")
    must: str = Field(description="a must")


def test_settings_say_what_they_accept():
    rows = {row["name"]: row for row in settings_of(Everything)}
    assert {name: row["accepts"] for name, row in rows.items()} == {
        "share": "number above 0, at most 1",
        "count": "whole number at least 1, below 9",
        "kind": ["a", "b"],
        "flag": [False, True],
        "limit": "number at least 0 or none",
        "more": "mapping",
        "must": "text",
    }
    assert {name: row["default"] for name, row in rows.items()} == {
        "share": 1, "count": 3, "kind": "b", "flag": False, "limit": None, "more": {}, "must": None,
    }  # fmt: skip
    assert [name for name, row in rows.items() if row["required"]] == ["must"]
    assert rows["share"]["description"] == "a share"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_row_says_what_its_class_says(method):
    row = row_of(method)
    assert (row["name"], row["package"]) == (method.name, "natmu")
    assert (row["paper"] is None) == (method.paper is None)
    assert row["scenarios"] == list(method.scenarios)
    facts = ("needs_labels", "needs_retain", "needs_holdout", "stochastic")
    assert [row[fact] for fact in facts] == [getattr(method, fact) for fact in facts]
    defaults, config = {one["name"]: one["default"] for one in row["settings"]}, method_named(row["name"])().config
    nested = {name for name in defaults if name.endswith("_settings")}  # shown as given, and made complete
    assert all(defaults[name] == {} for name in nested)
    assert config.model_dump(exclude=nested) == {name: defaults[name] for name in defaults.keys() - nested}
    assert "|" not in row["summary"], "summaries are cells of tables"


def test_the_list_and_each_method_are_readable_in_80_columns():
    rows = catalogue()
    said = listing(rows)
    for row in rows:
        (line,) = [line for line in said.splitlines() if line.startswith(f"{row['name']} ")]
        assert row["paper"] is None or f"{row['paper']['authors']} {row['paper']['year']}" in line
        assert row["summary"].replace("``", "") in " ".join(said.split())
        said += "\n" + in_full(row)
        assert all(f"  {setting['name']}=" in in_full(row) for setting in row["settings"])
    assert [line for line in said.splitlines() if len(line) > WIDTH and "https://" not in line] == []


def test_the_list_tells_which_methods_need_a_holdout_and_can_be_limited_to_those_that_need_no_retain_set():
    rows = catalogue()
    needy = [row["name"] for row in rows if "holdout" in in_full(row).partition("Needs: ")[2].partition("\n")[0]]
    assert needy == ["regun", "lotus", "quantile_match"]
    shown = CliRunner().invoke(application(), ["methods", "--without-retain", "--json"], catch_exceptions=False)
    assert [row["name"] for row in json.loads(shown.stdout)] == [m.name for m in METHODS if not m.needs_retain]


def test_a_list_in_a_docstring_stays_a_list_in_both_forms():
    row = row_of(METHODS[0]) | {"decisions": "- One ``thing``.\n\n- Another.", "cost": "Little."}
    assert "*Decisions.*\n\n- One `thing`.\n\n- Another." in markdown([row])
    assert "*Cost.* Little." in markdown([row])
    assert textwrap.indent("- One thing.\n- Another.", "    ") in in_full(row)


def main() -> None:
    """Store everything anew."""
    for path, text in LIVE.items():
        path.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
