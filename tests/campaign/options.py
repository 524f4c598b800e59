"""Hostile words for every option of every verb, as typer knows them: what a later version adds joins by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import typer
from tests.campaign.hostile import OPTION_NUMBERS, OPTION_TEXTS, WHOLE_MACHINE

from natmu.cli.app import application


def commands() -> dict[str, Any]:
    """Every command by its words."""
    return dict(_below(typer.main.get_command(application()), ()))


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield " ".join(words), command
        return
    for name, inner in command.commands.items():
        yield from _below(inner, (*words, name))


def hostile(words: tuple[str, ...], rng: random.Random) -> tuple[list[str], str]:
    """The words of a command with an option more, changed, twice, gone, or with an argument of another kind.

    Args:
        words: Words that are right.
        rng: Decides.
    """
    known = commands()
    name = max((one for one in known if " ".join(words).startswith(one)), key=len)
    options = [one for one in known[name].params if getattr(one, "opts", ()) and one.opts[0].startswith("--")]
    asked, way = [*words], rng.random()
    searches = "confirm-purge" in words  # all files of where it is told to, which would take hours
    texts = [one for one in OPTION_TEXTS if not (searches and one in WHOLE_MACHINE)]
    if way < 0.1:
        row = rng.randrange(len(name.split()), len(words)) if len(words) > len(name.split()) else 0
        asked[row] = rng.choice((*texts, *OPTION_NUMBERS))
        return asked, f"word {row} is {asked[row][:20]!a}"
    if way < 0.15:
        row = rng.randrange(len(name.split()), len(words)) if len(words) > len(name.split()) else 0
        del asked[row]
        return asked, f"without {words[row]}"
    if not options:
        return [*asked, rng.choice(texts)], "a word more"
    option = rng.choice(options)
    flag = option.opts[0]
    if option.is_flag:
        return [*asked, flag], flag
    value = rng.choice(OPTION_NUMBERS if rng.random() < 0.3 else texts)
    if flag in asked and rng.random() < 0.9:
        asked[asked.index(flag) + 1] = value
    else:
        asked += [flag, value]
    return asked, f"{flag} {value[:20]!a}"
