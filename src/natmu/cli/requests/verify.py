"""``natmu requests verify``: whether a service, or evidence that came from one, is what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from natmu.cli.options import Json
from natmu.cli.requests.options import LiesAt, counted
from natmu.errors import UsageError
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.requests.verifying import Verification


def verify(
    target: Annotated[Path, typer.Argument(metavar="SERVICE|EVIDENCE.json", help="Folder of a service, or evidence.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PUB", help="With evidence: the service's public key, signing.pub.")
    ] = None,
    data: LiesAt = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Do not note in the ledger that everything holds.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check that nothing was changed.

    Of a service: ledger, models, data and evidence. The exit status is 1 where something was changed.
    What that shows is printed, and what it does not show.
    """
    from natmu.cli.output import print_json

    found = _verified(target, key, data, read_only=read_only)
    if as_json:
        told = {"problems": found.problems, "shown": found.shown, "not_shown": found.not_shown}
        print_json({"ok": found.ok} | {name: list(lines) for name, lines in told.items()})
    else:
        _print(found, unknown_author=key is None and target.suffix == ".json")
    if not found.ok:
        raise typer.Exit(1)


def _verified(target: Path, key: Path | None, data: str | None, *, read_only: bool) -> Verification:
    """What verifying finds."""
    from natmu.requests.checks import EVIDENCE_FILE

    if not target.exists():
        raise UsageError(f"{target} does not exist; give the folder of a service, or a file evidence.json.")
    if target.is_dir() and not (target / EVIDENCE_FILE).exists():
        if key is not None:
            raise UsageError("--key goes with evidence; a service has its own keys, so leave it out.")
        from natmu.requests import Service
        from natmu.requests.folder import ServiceFolder

        return Service(ServiceFolder(target)).verify(data=data, record=not read_only)  # not opened: it may be damaged
    if data is not None or read_only:
        raise UsageError("--data and --read-only go with the folder of a service; leave them out for evidence.")
    from natmu.requests.verifying import verify_evidence

    return verify_evidence(target, key)


def _print(found: Verification, *, unknown_author: bool) -> None:
    """Print problems, what is shown and what is not."""
    holds = "Its content is consistent; who wrote it was not checked." if unknown_author else "Everything holds."
    echo(holds if found.ok else f"{counted(len(found.problems), 'problem')} found:")
    parts = ("", found.problems), ("Shown:", found.shown), ("Not shown:", found.not_shown)
    for title, lines in parts:
        if title and lines:
            echo(title)
        for line in lines:
            echo(f"  - {line}")
