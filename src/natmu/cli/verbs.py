"""Groups of verbs: their help lists them under headings, and a group that is named without a verb prints its help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.core import TyperGroup

from natmu.terminal import echo

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

HEADING = "Commands"
"""Of verbs that name none."""


class Verbs(TyperGroup):
    """A group of verbs, under the headings that they name as ``rich_help_panel``."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Print the help where nothing was asked for; the exit status is then 2, as of a command that is not whole."""
        if not args and not ctx.resilient_parsing:
            echo(*ctx.get_help().split("\n"), f"{ctx.find_root().info_name}: Name one of these commands.", err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write the verbs with a line on each, heading by heading, in the order in which they were added."""
        widest = max(map(len, self.commands))
        limit = formatter.width - 6 - widest
        rows: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command = self.commands[name]
            heading = getattr(command, "rich_help_panel", None)
            line = name, command.get_short_help_str(limit)
            rows.setdefault(heading if isinstance(heading, str) else HEADING, []).append(line)
        for heading, lines in rows.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), line) for name, line in lines])
