"""Follow a page from the first command to the last: what it shows is what a reader sees."""

from __future__ import annotations

import re
import runpy
import shlex
import sys

import pytest

from natmu.cli.app import main


def follow_page(text, folder, monkeypatch, capsys):
    """Write a page's files and run its commands, in order and in this process, in the current folder."""
    for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if kind == "console":
            for command, shown in commands(block):
                seen = output_of(command, shown, monkeypatch, capsys)
                check_shown(command, shown, seen)
        elif file := re.match(r"# file: (\S+)\n", block):
            (folder / file[1]).write_text(block[file.end() :])


def commands(block):
    """The commands of a block, each with what the page shows of its output."""
    for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = piece.partition("\n")
        yield command, shown


def output_of(command, shown, monkeypatch, capsys):
    """What a command writes. It must succeed, unless the page shows an error at the end. Nothing is installed."""
    program, *words = shlex.split(command)
    if program == "pip":
        return ""
    capsys.readouterr()
    if program == "python":
        monkeypatch.setattr(sys, "argv", words)
        runpy.run_path(words[0], run_name="__main__")
    else:
        assert program == "natmu"
        monkeypatch.setattr(sys, "argv", ["natmu", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        refused = shown.rstrip().rpartition("\n")[2].startswith("natmu: ")
        assert bool(ended.value.code) is refused, captured.err
        return captured.err + captured.out
    captured = capsys.readouterr()
    return captured.err + captured.out


def check_shown(command, shown, seen):
    """Hold what is shown, but for figures and line breaks, against what is seen; an ellipsis leaves lines out.

    What a verdict says depends on figures, so that only its questions are compared.
    """
    place, seen = 0, plain(seen)
    for part in filter(None, map(plain, re.split(r"^…$", shown, flags=re.MULTILINE))):
        wanted = part.partition("? ")[0] if part.startswith(("Forgotten?", "Kept?")) else part
        assert wanted in seen[place:], f"{command} does not say: {wanted}\n{seen}"
        place = seen.index(wanted, place) + len(wanted)


def plain(text):
    """A text without line breaks, whose figures are all alike."""
    return re.sub(r"\d+(\.\d+)?", "#", " ".join(text.split()))
