"""The glossary: its names exist in code, on the command line and in files, and what it rejects is not said."""

from __future__ import annotations

import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import typer

from natmu.cli.app import application
from natmu.scores.catalogue import SCORES

ROOT = Path(__file__).parents[2]
HEADER = ["term", "means", "Python", "command line", "files", "not"]
OTHER_SENSE = " (in this sense)"
"""Marks a word that is rejected for one thing alone: no test can distinguish its other uses."""

RIGHT = {
    ("floors", "CONTRIBUTING.md"): "the layers of the code",
    ("floors", "docs/architecture.md"): "the layers of the code",
    ("floors", "docs/decisions/0001-dependencies.md"): "the layers of the code",
    ("floor", "src/natmu/types.py"): "the layers of the code",
    ("floor", "src/natmu/scores/quality.py"): "the mathematical function",
    ("retrain_share", "benchmarks/results/h100.md"): "a column of a table as that version of natmu wrote it",
}
"""Where a rejected word is right, and why."""


def rows_of(page):
    """The rows of all tables of a page, as cells."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in page.splitlines() if line.startswith("| ")]
    return [row for row in rows if row != HEADER]


TERMS = rows_of((ROOT / "docs/glossary.md").read_text(encoding="utf-8"))
REJECTED = [word for row in TERMS for word in row[5].split(", ") if word and not word.endswith(OTHER_SENSE)]


def names_in(column):
    """The names in a column, without their backticks."""
    return sorted({name.strip("`") for row in TERMS for name in re.split(r", (?=`)", row[column]) if name})


def test_the_page_is_made_of_its_six_columns():
    assert len(TERMS) > 60
    assert all(len(row) == len(HEADER) and row[0] and row[1] for row in TERMS)
    assert len({row[0] for row in TERMS}) == len(TERMS)


def test_names_in_python_exist():
    assert [name for name in names_in(2) if not is_in_python(name)] == []


def is_in_python(name):
    """Whether a module has an attribute, or a class of it a field or a method."""
    parts, value = name.split("."), None
    for end in range(1, len(parts) + 1):
        if not hasattr(value, parts[end - 1]) and spec_of(".".join(parts[:end])):
            value = importlib.import_module(".".join(parts[:end]))
        elif parts[end - 1] in {*dir(value), *getattr(value, "__dataclass_fields__", ())}:
            value = getattr(value, parts[end - 1], None)
        else:
            return False
    return True


def spec_of(module):
    """Where a module would come from; None where there is none."""
    try:
        return importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None


@cache
def commands():
    """All commands with their options, by what is typed."""
    found, left = {}, [("natmu", typer.main.get_command(application()))]
    while left:
        name, command = left.pop()
        found[name] = command
        left += [(f"{name} {verb}", below) for verb, below in getattr(command, "commands", {}).items()]
    return found


def options_of(command):
    return {option for parameter in command.params for option in parameter.opts if option.startswith("--")}


def test_names_on_the_command_line_exist():
    assert [typed for typed in names_in(3) if not is_on_the_command_line(typed)] == []


def is_on_the_command_line(typed):
    """Whether there is such a command, with such an option; an option alone may be of any command."""
    verbs, _, option = typed.partition("--")
    if verbs.strip() not in ("", *commands()):
        return False
    asked = [commands()[verbs.strip()]] if verbs else commands().values()
    return not option or any(f"--{option}" in options_of(command) for command in asked)


@cache
def formats():
    """The page on file formats, which is made from the types, and its part on each file with all that it links to."""
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    pieces = re.findall(r"^#{3,4} (\S+)\n(.*?)(?=^#{2,4} |\Z)", page, re.DOTALL | re.MULTILINE)
    parts, files = {name.lower(): text for name, text in pieces}, {}
    for name, text in pieces:
        left, seen = [text], []
        while left:
            seen.append(left.pop())
            linked = (parts.get(link, "") for link in re.findall(r"\(#(\w+)\)", seen[-1]))
            left += [part for part in linked if part not in (*seen, *left)]
        files[name.rpartition("/")[2]] = files.get(name.rpartition("/")[2], "") + "".join(seen)
    return page, files


def test_names_in_files_exist():
    assert [name for name in names_in(4) if not is_in_files(name)] == []


def is_in_files(name):
    """Whether a file has a key, or there is such a file or score."""
    page, files = formats()
    key, _, file = name.partition("` in `")
    if file:
        return file in files and re.search(rf"^\| `{key}` \|", files[file], re.MULTILINE) is not None
    return key in files or f"| `{key}` |" in page or key in {info.name for info in SCORES}


def prose(path):
    """A page without its blocks of code and the addresses of its links."""
    text = re.sub(r"^ *```.*?^ *```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\]\([^)]*\)", "]", text)


def first_lines(path):
    """The first line of each docstring, of constants too; read as text, which is quicker than parsing."""
    return "\n".join(re.findall(r'^ *r?"""(\S.*)', path.read_text(encoding="utf-8"), re.MULTILINE))


def help_texts():
    """What --help says of all commands and options."""
    texts = [command.help or "" for command in commands().values()]
    return "\n".join(
        [*texts, *(getattr(one, "help", "") or "" for found in commands().values() for one in found.params)]
    )


@cache
def said():
    """All texts that keep to the glossary, by where they stand."""
    below = [path for top in ("docs", "examples", "benchmarks") for path in (ROOT / top).rglob("*.md")]
    pages = {*ROOT.glob("*.md"), *below} - {ROOT / "docs/glossary.md"}
    texts = {page: prose(page) for page in pages}
    texts |= {path: first_lines(path) for path in (ROOT / "src").rglob("*.py")}
    named = {path.relative_to(ROOT).as_posix(): text for path, text in texts.items()}
    keys = re.findall(r"^\| `(\w+)` \|", formats()[0], re.MULTILINE)
    return {**named, "--help": help_texts(), "keys of files": "\n".join(keys)}


def test_names_that_do_not_exist_are_noticed():
    assert not any(map(is_in_python, ("natmu.forget", "natmu.audits.nowhere", "natmu.types.ForgetSet.nothing")))
    assert not any(map(is_on_the_command_line, ("natmu forget", "natmu unlearn --level", "--gold")))
    assert not any(map(is_in_files, ("gold` in `audit.json", "ticket` in `record.json", "gold.json", "mia")))


def test_rejected_words_are_not_said():
    found = set()
    for word in REJECTED:
        pattern = re.compile(r"\b" + r"\s+".join(map(re.escape, word.split())) + r"\b", re.IGNORECASE)
        found |= {(word, where) for where, text in said().items() if pattern.search(text)}
    assert sorted(found - RIGHT.keys()) == []
    assert sorted(RIGHT.keys() - found) == [], "these exceptions are needed no more"


def test_a_rejected_word_is_found_wherever_it_stands(tmp_path):
    """Each reader of texts, on a text that has a word in each place that counts and in each that does not."""
    page, module = tmp_path / "page.md", tmp_path / "module.py"
    page.write_text("Read [this](floor.md).\n\n```text\nceiling\n```\n\nNothing is\n`told\napart`.\n")
    module.write_text('"""An oracle."""\n\n\ndef f():\n    """Do it.\n\n    Not hardness."""\n')
    assert not re.search("floor|ceiling", prose(page))
    assert "told\napart" in prose(page)
    assert first_lines(module) == 'An oracle."""\nDo it.'
    assert all(text in help_texts() for text in ("Base learning rate.", "Record a request; nothing is forgotten yet."))
