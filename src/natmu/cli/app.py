"""The application: verbs, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer

from natmu import __version__
from natmu.cli import (
    audit,
    bench,
    data,
    demo,
    export,
    methods,
    models,
    plan,
    report,
    requests,
    scores,
    search,
    train,
    unlearn,
)
from natmu.cli.interrupts import INTERRUPTED, say_interrupted
from natmu.cli.torchrun import all_processes
from natmu.errors import NatmuError, quoted, require_utf8
from natmu.machine import exit_of, name_too_long, passing
from natmu.safe_text import for_log, for_message
from natmu.terminal import echo


def _version(asked: bool) -> None:
    if asked:
        echo(f"natmu {__version__}")
        raise typer.Exit


def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Make image classifiers forget training samples, and measure how close that comes to retraining."""


def application() -> typer.Typer:
    """The command line with all its verbs."""
    app = typer.Typer(name="natmu", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(_root)
    for verb in (demo, train, plan, unlearn, audit, export, bench, search, report, methods, scores, models):
        app.command(verb.__name__.rpartition(".")[2])(verb.run)
    app.add_typer(data.app, name="data")
    app.add_typer(requests.app, name="requests")
    return app


def main() -> None:
    """Run the command line; errors end in one sentence and an exit status, never in a traceback.

    Exit status: 0 done, 1 something failed, 2 the command cannot be carried out as given, 130 interrupted.
    """
    sys.excepthook = _report_bug
    try:
        for text in (*sys.argv[1:], str(Path.cwd())):
            require_utf8(text, "The argument or folder")
        with all_processes():
            status = _carried_out()
            if status == INTERRUPTED:
                raise KeyboardInterrupt
    except NatmuError as error:
        told = passing(error) or error
        _end(str(told), told.exit_status)
    except typer.TyperException as error:
        message = error.format_message().replace("Value error, ", "")
        command = getattr(getattr(error, "ctx", None), "command_path", "natmu")
        _end(f"{message}{'' if message.endswith(('.', '?')) else '.'} See {command} --help.", 2)
    except KeyboardInterrupt:
        say_interrupted()
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if (fault := name_too_long(error) or passing(error)) is not None:
            _end(str(fault), fault.exit_status)
        if not isinstance(error, OSError):
            raise
        _end(f"{error.filename or 'The system'}: {error.strerror or error}; choose another folder or make room.", 1)
    sys.exit(status if isinstance(status, int) else 0)


def _carried_out() -> object:
    """Carry out the command; its exit status, or what it returned.

    Raises:
        NatmuError: Code that is not ours has ended the program, and the work with it.
    """
    try:
        return typer.main.get_command(application()).main(prog_name="natmu", standalone_mode=False)
    except SystemExit as error:
        raise exit_of(error) from error


def _end(sentence: str, status: int) -> None:
    """Print one line on standard error and exit."""
    echo(f"natmu: {for_message(sentence)}", err=True)
    sys.exit(status)


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a user sees of a bug of ours: one sentence and a file with the details."""
    with tempfile.NamedTemporaryFile("w", prefix="natmu-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.writelines(map(for_log, traceback.format_exception(kind, error, trace)))
    echo(f"natmu: a bug ({quoted(error)}); please report it with {Path(log.name)}", err=True)
