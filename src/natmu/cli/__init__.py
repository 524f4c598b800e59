"""The command line: one file per verb; each parses, calls one function below, and prints."""

import sys

from natmu.cli.interrupts import INTERRUPTED, Interrupts, say_interrupted


def main() -> None:
    """What the command ``natmu`` does: Ctrl-C is heeded before anything else is imported, and until Python has ended.

    Tests and programs that only want a command carried out call ``natmu.cli.app.main``, which leaves the process's
    handling of signals and of memory alone.
    """
    interrupts = Interrupts()
    try:
        try:
            interrupts.install()
            from natmu.cli.app import main as carry_out
            from natmu.engine.memory import keep_freed_memory

            keep_freed_memory()
            carry_out()
        finally:
            interrupts.end()
    except BaseException as error:  # an import in C may turn the interrupt into an error of another kind
        if isinstance(error, SystemExit) or not (interrupts.heard or isinstance(error, KeyboardInterrupt)):
            raise
        say_interrupted()
        sys.exit(INTERRUPTED)


__all__ = ["main"]
