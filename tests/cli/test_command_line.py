"""The page on the command line is what the commands say: ``make catalogue`` renews it."""

from __future__ import annotations

import re
from pathlib import Path

import typer
from tests.cli.command_line import page, walk

from natmu.cli.app import application

PAGE = Path(__file__).parents[2] / "docs/command-line.md"


def test_the_page_is_what_the_commands_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "the commands say something else now: run make catalogue"


def test_every_command_and_every_option_is_on_the_page():
    sections = dict(re.findall(r"^## (natmu .+?)\n(.*?)(?=^## |\Z)", page(), re.DOTALL | re.MULTILINE))
    commands = {words: command for words, command in walk(typer.main.get_command(application())) if words != "natmu"}
    assert sections.keys() == commands.keys()
    assert {"natmu unlearn", "natmu data download", "natmu requests add"} <= commands.keys()
    for words, command in commands.items():
        for option in (name for one in command.params for name in one.opts if name.startswith("-") and not one.hidden):
            assert re.search(rf"^\| `[^`]*{option}\b", sections[words], re.MULTILINE), (words, option)


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
