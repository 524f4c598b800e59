"""The command line: one file per verb; each parses, calls one function below, and prints."""

from natmu.cli.app import main

__all__ = ["main"]
