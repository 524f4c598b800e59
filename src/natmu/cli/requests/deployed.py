"""``natmu requests rollback`` and ``natmu requests export``: an earlier model, and the weights of the present one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from natmu.cli.requests.options import Folder, command, numbered
from natmu.terminal import echo


def rollback(
    folder: Folder,
    release: Annotated[int, typer.Argument(metavar="N", min=0, help="Number of a release; 0 is the original.")],
) -> None:
    """Deploy an earlier model again.

    Requests that it does not honour are pending again.
    """
    from natmu.progress import showing
    from natmu.requests import Service

    with showing():
        done = Service.open(folder).rollback(release)
    echo(f"Release {done.release} is deployed again.")
    if done.reopened:
        echo(f"Pending again: {numbered(done.reopened)}.")
        echo(f"Next: {command('process', folder)}")


def export(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="File to write: .pt, .pth, .ckpt, .bin or .safetensors.")],
    like: Annotated[
        Path | None,
        typer.Option("--like", help="File or HuggingFace folder of the original; write the same form."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the deployed model as a file.

    With --like it loads where the original was loaded.
    """
    from natmu.progress import showing
    from natmu.requests import Service

    service = Service.open(folder)
    with showing():
        service.export(out, like=like, force=force)
    echo(f"wrote {out}, release {service.state.current}")
