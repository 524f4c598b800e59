"""The short campaign of the test-suite: the same cases each time, on a part of the world that is made quickly."""

from __future__ import annotations

from pathlib import Path

from tests.campaign import parsing
from tests.campaign.cases import Campaign, Case
from tests.campaign.world import BY_NAME, World

SEED = 0
MADE = ("train", "unlearn", "requests init", "requests add")
PLAYED = ("train", "plan", "unlearn", "export", "report run", "requests add", "requests status", "requests list")
CASES = {"files": 20, "options": 16, "faults": 8}
INPUTS = 120
"""Of the one case of parsing."""


def play(folder: Path) -> list[Case]:
    """All cases of the short campaign."""
    world = World(folder.resolve() / "world")
    world.make(tuple(BY_NAME[name] for name in MADE))
    campaign = Campaign(world, tuple(BY_NAME[name] for name in PLAYED), SEED)
    cases = [campaign.play(group, number) for group, count in CASES.items() for number in range(count)]
    return [*cases, parsing.play(SEED, 0, folder / "parsing", INPUTS)]


def main(folder: str) -> None:
    """Print a line for each case."""
    for case in play(Path(folder)):
        print(case.line(), flush=True)
