"""``natmu requests``: deletion requests of a deployed model, a file for each verb or two."""

from __future__ import annotations

import typer

from natmu.cli.requests import deployed, init, process, proof, recorded, status, verify
from natmu.cli.verbs import Verbs

app = typer.Typer(
    rich_markup_mode=None,
    cls=Verbs,
    help="Answer deletion requests, and keep a ledger of what was done.",
)
app.command("init")(init.init)
app.command("add")(recorded.add)
app.command("list")(recorded.list_requests)
app.command("status")(status.status)
app.command("process")(process.process)
app.command("retrain")(process.retrain)
app.command("rollback")(deployed.rollback)
app.command("confirm-purge")(proof.confirm_purge)
app.command("evidence")(proof.evidence)
app.command("verify")(verify.verify)
app.command("export")(deployed.export)

__all__ = ["app"]
