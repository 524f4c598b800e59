"""``natmu requests confirm-purge`` and ``natmu requests evidence``: what shows that a request was answered."""

from __future__ import annotations

from typing import Annotated

import typer

from natmu.cli.requests.options import Folder, LiesAt, Request, counted
from natmu.terminal import echo


def confirm_purge(
    folder: Folder,
    request: Request,
    data: LiesAt = None,
    weights: Annotated[
        bool, typer.Option("--weights", help="Delete the weights of earlier models that knew the samples, too.")
    ] = False,
) -> None:
    """Check that the samples of a request are gone, and note it.

    They are looked for by content in all of the data, copies included. Their names go
    from the service, and weights that are deleted cannot be deployed again.
    """
    from natmu.progress import showing
    from natmu.requests import Service

    with showing():
        done = Service.open(folder).confirm_purge(request, data=data, weights=weights)
    echo(f"None of the samples of request {done.request} is in the data: {counted(done.files, 'file')} looked through.")
    if done.caches:
        echo(f"Deleted {counted(done.caches, 'file')} with decoded copies.")
    if done.weights:
        echo(f"Deleted the weights of {counted(len(done.weights), 'model')} that knew the samples.")
    if done.heads:
        echo(f"Deleted what {counted(len(done.heads), 'logistic head')} needed to forget; the weights stay.")
    echo("Backups and other copies were not looked at.")


def evidence(
    folder: Folder,
    request: Request,
    with_samples: Annotated[
        bool, typer.Option("--with-samples", help="Name the samples: personal data, for the person alone.")
    ] = False,
) -> None:
    """Write and sign the evidence of a request."""
    from natmu.progress import showing
    from natmu.requests import Service

    with showing():
        written = Service.open(folder).evidence(request, with_samples=with_samples)
    echo(f"Wrote the evidence of request {request}:")
    for file in sorted(written.iterdir()):
        echo(f"  {file}")
    if with_samples:
        echo("It names samples, which are personal data: give it to the person, and to nobody else.")
