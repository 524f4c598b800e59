"""Hostile words for every option of every verb, as typer knows them: what a later version adds joins by itself."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import typer

from natmu.cli.app import application

NUMBERS = ("-1", "0", "1e400", "nan", "inf", "-inf", "2147483648", "-9223372036854775809", "1" * 400, "1_0", "٣", "0x3", "1,5", "true")
TEXTS = (
    *("", " ", "-", "--", "\x1b[31mred", "[red]x", "a\nb", "\r", "\u202eabc", "\udcff", "=1+1", "é" * 3000, "a" * 200_000, "%s%n{0}"),
    *(".", "..", "/", "~", "../../x", "/dev/full/x", "/proc/self/mem", "lists", "photos", "recipe.yaml", "weights.pt", "arrays.npz"),
    *("os:getcwd", "os.path:join", "sys:exit", "natmu:nothing", "no.module:f", "this:x", "timm:../x", "hf:/none", "builtins:print"),
    *("{}", "[]", "a=b", "=", "a=", "=b", "lr=!!int ''", "lr=[[[[", "lr=1e999", "lr=yes", "seed=-1", "epochs=1e9", "epochs=" + "[" * 1500),
    *("class:", "class:-1", "class:3-", "class:_3", "class:ant,", 'class:"', "random:0", "random:101%", "random:1e3", "random:9" + "9" * 50),
    *("files:", "files:lists", "files:lists/names.json", "indices:recipe.yaml", "where:", "where:a=b in c.csv", "relabel:people.csv", "all"),
    *("hardest:5:", "hardest:5:x", "subclass:ant", "name=ant", "#0", "0-0-0", "9999-99-99", "2026-11-30T99:99", "sqlite:////", "http://[", "file:///x"),
    *("cuda:99", "cuda:-1", "mps", "meta", "cpu:7", "fp16", "ridge", "logistic", "full", "0%", "100%", "-5%", "20", "1,2", "1,2,3", "0,0,0"),
)


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
    if way < 0.1:
        row = rng.randrange(len(name.split()), len(words)) if len(words) > len(name.split()) else 0
        asked[row] = rng.choice((*TEXTS, *NUMBERS))
        return asked, f"word {row} is {asked[row][:20]!a}"
    if way < 0.15:
        row = rng.randrange(len(name.split()), len(words)) if len(words) > len(name.split()) else 0
        del asked[row]
        return asked, f"without {words[row]}"
    if not options:
        return [*asked, rng.choice(TEXTS)], "a word more"
    option = rng.choice(options)
    flag = option.opts[0]
    if option.is_flag:
        return [*asked, flag], flag
    value = rng.choice(NUMBERS if rng.random() < 0.3 else TEXTS)
    if flag in asked and rng.random() < 0.9:
        asked[asked.index(flag) + 1] = value
    else:
        asked += [flag, value]
    return asked, f"{flag} {value[:20]!a}"
