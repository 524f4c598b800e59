"""The page on the command line, from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

from natmu.cli.app import application

HEAD = """\
# Command line

<!-- Made from the commands in src/natmu/cli by `make catalogue`; edit the help there. -->

Each command does one thing, says what it did, and ends with an exit status:

| status | meaning |
|---|---|
| 0 | done |
| 1 | something failed, or a check found a fault |
| 2 | the command cannot be carried out as given; one sentence says what to do |
| 130 | interrupted |

`natmu COMMAND --help` prints the same as this page.
"""


def page() -> str:
    """The page: a table of all commands, and a section for each."""
    whole = typer.main.get_command(application())
    commands = [(words, command) for words, command in walk(whole) if " " in words]
    rows = [f"| [`{words}`](#{words.replace(' ', '-')}) | {_cell(_summary(command))} |" for words, command in commands]
    table = "\n".join(["| command | what it does |", "|---|---|", *rows])
    return "\n".join([HEAD, table, *(f"\n{section(words, command)}" for words, command in commands)]) + "\n"


def walk(command: Any, words: str = "natmu") -> Iterator[tuple[str, Any]]:
    """A command and all below it, each with the words that call it."""
    yield words, command
    for name, one in getattr(command, "commands", {}).items():
        if not one.hidden:
            yield from walk(one, f"{words} {name}")


def section(words: str, command: Any) -> str:
    """The section on one command: its help, its usage, and its arguments and options."""
    context = command.make_context(words, [], resilient_parsing=True)
    usage = " ".join(context.get_usage().removeprefix("Usage: ").split())
    parts = [f"## {words}", command.help.strip(), f"```text\n{usage}\n```"]
    records = [one.get_help_record(context) for one in command.params]
    rows = [f"| `{name}` | {_cell(told)} |" for name, told in filter(None, records)]
    parts.append("\n".join(["| argument or option | meaning |", "|---|---|", *rows]) if rows else "")
    return "\n\n".join(filter(None, parts))


def _summary(command: Any) -> str:
    """The first sentence of a command's help."""
    return re.split(r"(?<=\.)\s", command.help.strip())[0]


def _cell(text: str) -> str:
    """A text as a cell of a table."""
    return re.sub(r"[*_<]", r"\\\g<0>", " ".join(text.split())).replace("|", r"\|")
