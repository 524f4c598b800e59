"""Runs the campaign for as long as one likes, and prints what it found.

    python -m tests.campaign --out campaign --hours 8 --seed 0      # goes on where it was stopped
    python -m tests.campaign --out campaign --seed 0 --group files --only 173    # one case again, in full
    python -m tests.campaign --out campaign --seed 0 --table        # benchmarks/results/campaign.md

Cases are lines of ``OUT/cases-SEED.jsonl``. ``--workers`` play in worlds of their own, each a minute's work to make.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when PyTorch is loaded

import torch
import torch._dynamo.utils
from tests.campaign import parsing, tables
from tests.campaign.cases import Campaign
from tests.campaign.world import BY_NAME, VERBS, World

import natmu.cli.app
import natmu.verbs  # noqa: F401  # imported once, for all forked commands

GROUPS = ("files", "files", "options", "faults", "parsing")
"""In turn; a case of parsing is some hundred inputs."""


def main() -> None:
    """Play cases until the time is over; exit status 1 where something was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("campaign"), help="folder of the worlds and of the cases")
    parser.add_argument("--hours", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--group", choices=sorted({*GROUPS}), action="append", help="only these; repeatable")
    parser.add_argument("--verb", choices=sorted(BY_NAME), action="append", help="only these; repeatable")
    parser.add_argument("--only", type=int, help="play one case of the group and print it")
    parser.add_argument("--table", action="store_true", help="print the tables of the cases so far")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    atexit.unregister(torch._dynamo.utils.dump_compile_times)  # which reads files where no more may be opened
    record = _record(asked)
    if asked.table:
        print(tables.page(tables.read(record), asked.seed), end="")
        sys.exit(0)
    verbs = tuple(verb for verb in VERBS if not asked.verb or verb.name in asked.verb)
    groups = tuple(group for group in GROUPS if not asked.group or group in asked.group)
    if asked.only is not None:
        found = _play(_campaign(asked.out, 0, verbs, asked.seed), groups[0], asked.only)
        print(json.dumps(json.loads(found), indent=1))
        sys.exit(0)
    until = time.monotonic() + 3600 * asked.hours
    done = {(one["group"], one["number"]) for one in tables.read(record)}
    workers = [_start(asked, worker, verbs, groups, until, done) for worker in range(asked.workers)]
    failed = [os.waitpid(worker, 0)[1] for worker in workers]
    print(tables.markdown(tables.read(record)))
    sys.exit(any(failed) or any(one["findings"] for one in tables.read(record)))


def _record(asked: argparse.Namespace) -> Path:
    """The file of the cases of a seed."""
    folder: Path = asked.out
    return folder / f"cases-{asked.seed}.jsonl"


def _start(
    asked: argparse.Namespace,
    worker: int,
    verbs: tuple,  # type: ignore[type-arg]
    groups: tuple[str, ...],
    until: float,
    done: set[tuple[str, int]],
) -> int:
    """Fork a worker that plays every so-many-th case."""
    asked.out.mkdir(parents=True, exist_ok=True)
    parent, process = os.getpid(), os.fork()
    if process:
        return process
    status = 1
    try:
        campaign = _campaign(asked.out, worker, verbs, asked.seed)
        turn = worker
        while time.monotonic() < until and os.getppid() == parent:  # which may have been killed
            group, number = _at(turn, groups)
            if (group, number) not in done:
                line = _play(campaign, group, number)
                with _record(asked).open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            turn += asked.workers
        status = 0
    except SystemExit as error:  # another campaign plays there
        sys.stderr.write(f"{error}\n")
        status = 2
    except KeyboardInterrupt:
        status = 130
    finally:
        sys.stdout.flush()
        if status == 1:
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        os._exit(status)


def _at(turn: int, groups: tuple[str, ...]) -> tuple[str, int]:
    """The group of a turn, and the number of the case within it."""
    group, place = groups[turn % len(groups)], turn % len(groups)
    return group, turn // len(groups) * groups.count(group) + groups[:place].count(group)


def _campaign(out: Path, worker: int, verbs: tuple, seed: int) -> Campaign:  # type: ignore[type-arg]
    """A campaign in a world of the worker's own, which is made when it is needed."""
    world = World((out / f"world-{worker}").resolve())
    world.take()
    return Campaign(world, verbs, seed)


def _play(campaign: Campaign, group: str, number: int) -> str:
    """A case as a line of the record."""
    if group == "parsing":
        return parsing.play(campaign.seed, number, campaign.world.folder / "parsing").line()
    campaign.world.make()
    return campaign.play(group, number).line()


if __name__ == "__main__":
    main()
