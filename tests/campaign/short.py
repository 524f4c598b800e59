"""The short campaign of the test-suite: the same cases each time, on a part of the world that is made quickly."""

from __future__ import annotations

from pathlib import Path

from tests.campaign import parsing
from tests.campaign.cases import Campaign, Case
from tests.campaign.world import BY_NAME, World

SEED = 0
MADE = ("train", "requests init", "requests add")
PLAYED = ("plan", "export original", "requests add", "requests list")
KILLS, FULL = 2 * len(PLAYED), len(PLAYED)
"""A turn kills each verb at its next operation, and then lets the disk be full there."""

CASES = {
    "files": range(8),
    "options": range(12),
    "faults": (3 * KILLS + 1, 2 * KILLS + FULL + 1, 5 * KILLS + 2),
}
INPUTS = 150
"""Of the one case of parsing."""


def play(folder: Path) -> list[Case]:
    """All cases of the short campaign."""
    world = World(folder.resolve() / "world")
    world.make(tuple(BY_NAME[name] for name in MADE))
    campaign = Campaign(world, tuple(BY_NAME[name] for name in PLAYED), SEED)
    cases = [campaign.play(group, number) for group, numbers in CASES.items() for number in numbers]
    return [*cases, parsing.play(SEED, 0, folder / "parsing", INPUTS)]


def main(folder: str) -> None:
    """Print a line for each case."""
    for case in play(Path(folder)):
        print(case.line(), flush=True)
