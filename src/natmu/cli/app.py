"""The application: verbs, and what becomes of errors."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from natmu import __version__
from natmu.cli import (
    audit,
    bench,
    data,
    demo,
    doctor,
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
from natmu.cli.verbs import Verbs
from natmu.errors import NatmuError, quoted, require_utf8
from natmu.machine import exit_of, name_too_long, passing
from natmu.safe_text import for_log, for_message
from natmu.terminal import echo

if TYPE_CHECKING:
    from typer._click import Context

FIRST_STEPS = """\b
First steps:
  natmu demo
  natmu train --data digits --model small_cnn --out runs/original
  natmu unlearn --from runs/original --forget random:1% --out runs/unlearned
  natmu audit runs/unlearned"""
"""What stands below the list of verbs; the first line keeps the others as they are."""

VERBS = {
    "Start here": (demo, doctor, data),
    "Forget, and measure how well": (train, plan, unlearn, audit, report, export),
    "Deletion requests": (requests,),
    "Studies": (bench, search),
    "Look up": (methods, scores, models),
}
"""All verbs in the order in which they are used, by the heading that the help puts them under."""


class _AllVerbs(Verbs):
    """The verbs of the command line, in the order of ``VERBS``."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 - typer calls it with that
        """Their names."""
        return [name_of(module) for modules in VERBS.values() for module in modules]


def name_of(module: ModuleType) -> str:
    """The verb that a module is about."""
    return module.__name__.rpartition(".")[2]


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
    app = typer.Typer(name="natmu", cls=_AllVerbs, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.callback(epilog=FIRST_STEPS)(_root)
    for heading, modules in VERBS.items():
        for module in modules:
            if module in (data, requests):
                app.add_typer(module.app, name=name_of(module), rich_help_panel=heading)
            else:
                app.command(name_of(module), rich_help_panel=heading)(module.run)
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
        message = _with_suggestions(error).replace("Value error, ", "")
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
        BrokenPipeError: Nobody reads what is printed, as after ``| head``.
    """
    try:
        return typer.main.get_command(application()).main(prog_name="natmu", standalone_mode=False)
    except SystemExit as error:
        if _asks_for_completion():
            return error.code
        if isinstance(error.__context__, BrokenPipeError):  # where the library ends the program itself
            raise error.__context__ from None
        raise exit_of(error) from error


def _asks_for_completion() -> bool:
    """Whether a shell or a user asks for shell completion, after which the command-line library ends the program."""
    options = ("--install-completion", "--show-completion")
    return COMPLETES in os.environ or any(word.startswith(options) for word in sys.argv[1:2])


def _with_suggestions(error: typer.TyperException) -> str:
    """What is wrong with a command, and for an option that is not known the nearest that are."""
    nearest = getattr(error, "possibilities", None)
    if not nearest:
        return error.format_message()
    return f"{str(error.message).rstrip('.')}. Did you mean {' or '.join(sorted(nearest))}?"


COMPLETES = "_NATMU_COMPLETE"
"""The variable in which a shell tells the command-line library that it wants completions."""


def _end(sentence: str, status: int) -> None:
    """Print one line on standard error and exit."""
    echo(f"natmu: {for_message(sentence)}", err=True)
    sys.exit(status)


def _report_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a user sees of a bug of ours: one sentence and a file with the details."""
    with tempfile.NamedTemporaryFile("w", prefix="natmu-", suffix=".log", delete=False, encoding="utf-8") as log:
        log.writelines(map(for_log, traceback.format_exception(kind, error, trace)))
    echo(f"natmu: a bug ({quoted(error)}); please report it with {Path(log.name)}", err=True)
