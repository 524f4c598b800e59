"""``natmu requests add`` and ``natmu requests list``: what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from natmu.cli.options import Json, Manifest
from natmu.cli.requests.options import Folder, counted
from natmu.errors import UsageError
from natmu.terminal import echo

if TYPE_CHECKING:
    from natmu.records.guarantees import Guarantee
    from natmu.records.ledger import Requested
    from natmu.requests.state import RequestState


def add(
    folder: Folder,
    ticket: Annotated[str, typer.Option("--ticket", help="Your own name for the request; no name is recorded twice.")],
    files: Annotated[
        list[str] | None, typer.Option("--files", metavar="LIST", help="Names of samples, in a file.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Samples that have a value in a column of the manifest."),
    ] = None,
    indices: Annotated[
        list[str] | None, typer.Option("--indices", metavar="FILE", help="Positions of samples, in a file.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME", help="All samples of a class.")
    ] = None,
    manifest: Manifest = None,
    received: Annotated[
        str | None,
        typer.Option("--received", metavar="DATE", help="When it came in, such as 2026-11-30; now by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Record a request; nothing is forgotten yet."""
    from natmu.cli.output import print_json
    from natmu.requests import Service

    forget = _asked({"files": files, "where": where, "indices": indices, "class": classes})
    if manifest is not None and not where:
        raise UsageError("--manifest is the table that --where looks into; leave it out, or give --where COLUMN=VALUE.")
    service = Service.open(folder)
    known = service.state.ticket(ticket.strip()) is not None
    request = service.add(forget, ticket, manifest=manifest, received=received)
    if as_json:
        print_json(request.plain())
        return
    kind = "Already recorded: request" if known else "Request"
    echo(f"{kind} {request.request} (ticket {request.ticket}): {_what(request)}.")
    echo(f"Received {request.received[:10]}, to be answered by {request.due[:10]}.")
    if request.unseen:
        echo(
            f"It also names {counted(len(request.unseen), 'sample')} of parts that the service never trains on; delete "
            "them too, if they have to go."
        )


def list_requests(folder: Folder, as_json: Json = False) -> None:
    """List all requests, with what became of each."""
    from rich.table import Table

    from natmu.cli.output import print_json
    from natmu.cli.requests.output import due_in_words
    from natmu.console import Console, Text
    from natmu.requests import Service

    service = Service.open(folder)
    requests = service.state.requests
    if as_json:
        print_json([_plain(one, service.state.guarantee_of(number)) for number, one in requests.items()])
        return
    if not requests:
        echo("There is no request yet; natmu requests add records one.")
        return
    waiting = {one.request: one for one in service.status().pending}
    table = Table(box=None, pad_edge=False)
    for title, justify in (("request", "right"), ("ticket", "left"), ("samples", "right")):
        table.add_column(title, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for title in ("received", "state", "purged"):
        table.add_column(title, no_wrap=title != "state", overflow="fold")
    for number, one in requests.items():
        given = service.state.guarantee_of(number)
        promised = "" if given in (None, "approximate") else f" ({given})"
        honoured = Text(f"honoured by release {one.release}{promised}")
        state = honoured if number not in waiting else due_in_words(waiting[number])
        asked = one.entry
        cells = str(number), asked.ticket, f"{len(asked.samples):,}", asked.received[:10]
        table.add_row(*map(Text, cells), state, (one.purged or "")[:10])
    Console().print(table)


def _asked(ways: dict[str, list[str] | None]) -> str:
    """The request as text, from the one option that was given."""
    given = [f"{kind}:{value}" for kind, values in ways.items() for value in values or []]
    if len(given) == 1:
        return given[0]
    options = "--files LIST, --where COLUMN=VALUE, --indices FILE or --class NAME"
    if not given:
        raise UsageError(f"Say which samples the request names: {options}.")
    raise UsageError(f"A request names its samples in one way, once: {options}; record one request for each ticket.")


def _what(request: Requested) -> str:
    """What a request names."""
    what = counted(len(request.samples), "training sample")
    if request.classes:
        what += f" of the class{'' if len(request.classes) == 1 else 'es'} {', '.join(request.classes)}"
    if request.copies:
        what += f", {request.copies:,} of them as byte-identical copies"
    return what


def _plain(request: RequestState, guarantee: Guarantee | None) -> dict[str, object]:
    """A request for a machine, with what the deployed model promises of it."""
    told = {"status": request.status, "release": request.release, "answered": request.answered, "guarantee": guarantee}
    return request.entry.plain() | told | {"purged": request.purged}
