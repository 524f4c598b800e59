"""``natmu requests status``."""

from __future__ import annotations

from natmu.cli.options import Json
from natmu.cli.requests.options import Folder


def status(folder: Folder, as_json: Json = False) -> None:
    """Say what is due and deployed, and what to do next."""
    from natmu.cli.output import print_json
    from natmu.cli.requests.screen import show_status
    from natmu.requests import Service

    found = Service.open(folder).status()
    if as_json:
        print_json(found.plain())
    else:
        show_status(found, folder)
