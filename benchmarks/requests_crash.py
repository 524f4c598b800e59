"""kill -9 at any moment of any verb of a service: is anything lost, done twice, or half there?

    python benchmarks/requests_crash.py --out crash --kills 200 --seed 0

A service for a small network on 200 generated photographs of 40 people. Each trial takes a verb at random and lets it
run to its end on a copy of the service, the twin, which also says how long it takes. Then the verb starts on the
service itself as a process of its own, and SIGKILL ends it at a random moment of that time. Until then a thread looks
at ``current`` every 5 ms: it must be a complete model. After it, from outside:

- the ledger has no problem, and begins with every entry that was there before;
- no request is honoured twice without a rollback between;
- a folder of evidence, an exported file and a new service are whole or absent.

Then the verb runs again to its end, and the service must be what the twin is: the same requests in the same state, the
same releases with the same weights to the bit. Deleted photographs stay deleted, and the service goes on from there;
after ``ROUND`` trials a new one begins. Each trial is a line of ``OUT/kills.csv``; the same command goes on where it
was stopped. Processes are forked from a server that has done the slow imports, so that a kill falls into the work.

Last come two processes on one service: ``process`` twice at once, and ``add`` and ``status`` during ``process``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from natmu.engine.compute import Compute, hardware, versions
from natmu.errors import RunError
from natmu.opening import Place, Source
from natmu.records.files import file_digest
from natmu.records.ledger import Entry, Released, Retrained, RolledBack
from natmu.records.run import WEIGHTS, RunFolder
from natmu.records.service import CURRENT, EVIDENCE, KEY, LEDGER
from natmu.requests import Service
from natmu.requests.keys import ServiceKey
from natmu.requests.ledger import Ledger
from natmu.requests.state import State, fold
from natmu.verbs import train_run

SLOW = ["natmu.verbs", "natmu.cli.app", "natmu.requests.releases", "natmu.requests.founding", "torch._dynamo"]
CLASSES = ("ant", "bee", "cow", "dog")
PEOPLE, ROUND = 40, 25
LONGEST = 300.0
POLL_SECONDS = 0.005
VERBS = ("init", "add", "process", "retrain", "rollback", "confirm-purge", "evidence", "verify", "export")
WEIGHT = {"process": 4, "retrain": 2, "rollback": 2, "confirm-purge": 2}
"""How often a verb is drawn; others once."""

ENDS = (Released, Retrained, RolledBack)
WHOLE = {"evidence.json", "evidence.html"}

POLICY = {
    "method": "finetune",
    "settings": {"epochs": 1, "lr": 0.01},
    "fallbacks": [{"method": "retrain"}],
    "audit": {"references": 1},
    "guardrails": {"retain_loss": 60, "holdout_loss": 60, "forgotten": False, "earlier": False},
}
"""Quick, and content with what a model of this size does."""

COLUMNS = (
    "trial",
    "verb",
    "seconds",
    "at",
    "ended",
    "status",
    "looks",
    "entries_before",
    "entries_killed",
    "leftovers",
    "faults",
)


@dataclass(frozen=True)
class World:
    """Photographs, the original, and services.

    Attributes:
        folder: Holds the rest.
    """

    folder: Path

    @property
    def people(self) -> Path:
        """The table that says whose a photograph is."""
        return self.folder / "people.csv"

    def make(self, epochs: int = 6) -> None:
        """Photographs, the same each time, and the original where it is not there yet."""
        rng, rows = np.random.default_rng(0), []
        for number in range(PEOPLE * 5 + 40):
            part, label = ("train" if number < PEOPLE * 5 else "test"), CLASSES[number % 4]
            person = number % PEOPLE if part == "train" else PEOPLE + number
            rows.append((f"{part}/{label}/{number:03}.png", person))
            path = self.folder / "photos" / rows[-1][0]
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = 60 * (number % 4) + rng.integers(0, 76, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        with self.people.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("file", "person"), *rows])
        (self.folder / "policy.yaml").write_text(json.dumps(POLICY))  # JSON is YAML
        train_run(
            data={"source": str(self.folder / "photos")},
            model="small_cnn",
            training={"epochs": epochs, "batch_size": 32, "lr": 0.05, "augment": False, "warmup_epochs": 1},
            seed=0,
            place=Place(self.folder / "data", self.folder / "runs", "original", device="cpu", precision="fp32"),
        )

    def begin(self, name: str) -> Path:
        """A new service, with all photographs there."""
        folder = self.folder / name
        if not folder.exists():
            self.make()
            Service.create(
                folder,
                Source(self.folder / "runs" / "original"),
                self.folder / "policy.yaml",
                manifest=self.people,
                data_dir=self.folder / "data",
                device="cpu",
                precision="fp32",
            )
        return folder

    def delete(self, person: int) -> None:
        """Delete a person's photographs."""
        with self.people.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["person"] == str(person):
                    (self.folder / "photos" / row["file"]).unlink(missing_ok=True)


@dataclass(frozen=True)
class Command:
    """A verb to be run.

    Attributes:
        verb: Its name.
        words: What follows the folder of the service.
        product: What it writes beside the ledger and the models, relative to the world; None where it writes nothing.
    """

    verb: str
    words: tuple[str, ...] = ()
    product: str | None = None

    def line(self, world: World, service: Path, mark: str) -> list[str]:
        """The words of the command line; ``mark`` keeps what the twin writes apart."""
        if self.verb == "init":
            told = ["--from", world.folder / "runs" / "original", "--out", world.folder / f"{mark}{self.product}"]
            told += ["--policy", world.folder / "policy.yaml", "--manifest", world.people]
            return ["requests", "init", *map(str, told), "--data-dir", str(world.folder / "data"), "--device", "cpu"]
        out = ["--out", str(world.folder / f"{mark}{self.product}")] if self.verb == "export" else []
        device = ["--device", "cpu"] if self.verb in ("process", "retrain") else []
        return ["requests", self.verb, str(service), *self.words, *out, *device]


def start(words: Sequence[str], log: Path) -> BaseProcess:
    """What ``python -m natmu words…`` does, without the wait for imports."""
    context = get_context("forkserver")
    context.set_forkserver_preload(SLOW)
    process = context.Process(target=_become, args=(list(words), log))
    process.start()
    return process


def _become(words: list[str], log: Path) -> None:
    """Be the command."""
    import torch

    from natmu.cli.app import main as natmu

    for number in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    torch.set_num_threads(1)
    sys.argv = ["natmu", *words]
    natmu()


def finish(words: Sequence[str], log: Path) -> tuple[int, float]:
    """Exit status and seconds of a command that nobody disturbs."""
    begun, process = time.perf_counter(), start(words, log)
    process.join(LONGEST)
    if process.exitcode is None:
        process.kill()
        raise RunError(f"{' '.join(words)} has not ended after {LONGEST:g} s; see {log}.")
    return process.exitcode, time.perf_counter() - begun


@dataclass
class Watcher:
    """Looks at ``current`` again and again.

    Attributes:
        service: The folder of the service.
        faults: What was wrong, and when.
        looks: How often it looked.
    """

    service: Path
    faults: list[str] = field(default_factory=list)
    looks: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watcher:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self.faults += incomplete(self.service)
            self.looks += 1
            self._stop.wait(POLL_SECONDS)


def incomplete(service: Path) -> list[str]:
    """What is wrong with the deployed model; a link that is switched meanwhile is looked at again."""
    link = service / CURRENT
    while True:
        target = link.readlink() if link.is_symlink() else None
        if target is None:
            return ["current is no link"]
        try:
            RunFolder(service / target).verified(WEIGHTS)
        except RunError as error:
            if link.is_symlink() and link.readlink() != target:
                continue
            return [f"current is not complete: {error}"]
        return []


def ledger_of(service: Path) -> Ledger:
    """The ledger, opened without putting anything right."""
    return Ledger(service / LEDGER, ServiceKey.read(service / KEY))


def broken(service: Path, before: Sequence[Entry]) -> list[str]:
    """What is wrong after a kill, seen from outside."""
    problems = ledger_of(service).problems()
    if problems:
        return problems
    entries = ledger_of(service).entries()
    faults = [] if entries[: len(before)] == tuple(before) else ["entries that were there are not there any more"]
    return faults + twice(entries) + incomplete(service)


def twice(entries: Sequence[Entry]) -> list[str]:
    """Requests that two releases honour without a rollback between, and tickets that are there twice."""
    honoured: dict[int, set[int]] = {0: set()}
    now, faults = 0, []
    for entry in entries:
        body = entry.body
        if isinstance(body, Released | Retrained):
            again = honoured[now] & {*body.requests}
            faults += [f"entry {entry.number} honours requests {sorted(again)} again"] if again else []
            honoured[body.release] = honoured[now] | {*body.requests}
            now = body.release
        elif isinstance(body, RolledBack):
            now = body.release
    tickets = Counter(getattr(entry.body, "ticket", None) for entry in entries)
    return faults + [f"ticket {name} is there {count} times" for name, count in tickets.items() if name and count > 1]


def described(state: State) -> dict[str, Any]:
    """What a service must have in common with its twin: everything but times and hashes."""
    requests = {one.entry.ticket: (one.entry.samples, one.status, one.release) for one in state.requests.values()}
    releases = {one.release: (one.model, one.method, one.honours) for one in state.releases.values()}
    purged = [number for number, one in state.requests.items() if one.purged is not None]
    return {
        "requests": requests,
        "releases": releases,
        "current": state.current,
        "unfinished": None if state.unfinished is None else state.unfinished.requests,
        "purged": purged,
        "deleted weights": state.deleted_weights,
    }


def chosen(verbs: Sequence[str], state: State, world: World, rng: np.random.Generator, trial: int) -> Command:
    """A verb that has something to do, with its words; photographs that must be gone for it are deleted."""
    weights = np.array([WEIGHT.get(verb, 1) for verb in verbs], float)
    verb = str(rng.choice(verbs, p=weights / weights.sum()))
    others = [number for number in state.releases if number != state.current]
    asked, unpurged = sorted(state.requests), [n for n in state.honoured if state.requests[n].purged is None]
    if verb == "init":
        return Command("init", product=f"new-{trial}")
    if verb == "rollback" and others:
        return Command(verb, (str(rng.choice(others)),))
    if verb == "confirm-purge" and unpurged:
        number = int(rng.choice(unpurged))
        world.delete(person_of(state, number))
        return Command(verb, (str(number), *(("--weights",) if rng.random() < 0.3 else ())))
    if verb == "evidence" and asked:
        return Command(verb, (str(rng.choice(asked)),))
    if verb == "export":
        return Command(verb, product=f"exported-{trial}.safetensors")
    if verb == "verify" or (verb == "process" and (state.pending or state.unfinished)) or (verb == "retrain" and asked):
        return Command(verb)
    person = len(asked)
    return Command("add", ("--where", f"person={person}", "--ticket", f"person {person}"))


def person_of(state: State, request: int) -> int:
    """Whose photographs a request is for."""
    return int(state.requests[request].entry.ticket.split()[1])


def trial_of(world: World, service: Path, command: Command, rng: np.random.Generator) -> dict[str, Any]:
    """Run a verb on the twin, kill it on the service, look, and run it again."""
    log, twin = world.folder / "log.txt", world.folder / "twin"
    log.unlink(missing_ok=True)
    shutil.rmtree(twin, ignore_errors=True)
    shutil.copytree(service, twin, symlinks=True)
    before = ledger_of(service).entries()
    status, seconds = finish(command.line(world, twin, "twin-"), log)
    at, words = float(rng.uniform(0, 1.05 * seconds)), command.line(world, service, "")
    with Watcher(service) as watcher:
        process = start(words, log)
        process.join(at)
        process.kill()
        process.join()
    killed = ledger_of(service).entries()
    faults = watcher.faults + broken(service, before) + half_there(world, service, command)
    if not is_done(world, command, killed[len(before) :]):
        again, _ = finish(words, log)
        if again != status:
            faults.append(f"exit status {again} after the kill, {status} without: {log.read_text()[-300:]}")
    faults += ["a traceback: " + log.read_text()[-300:]] if "Traceback" in log.read_text() else []
    faults += put_right(service) + broken(service, killed) + half_there(world, service, command)
    mine, other = (described(fold(ledger_of(folder).entries())) for folder in (service, twin))
    faults += [f"{name}: not what the twin has" for name in mine if mine[name] != other[name]]
    if command.verb == "export" and status == 0:
        own, others = (file_digest(world.folder / f"{mark}{command.product}") for mark in ("", "twin-"))
        faults += [] if own == others else ["the exported file is not the twin's"]
    for path in world.folder.glob(f"*{command.product}*") if command.product else ():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {
        "verb": command.verb,
        "seconds": round(seconds, 3),
        "at": round(at, 3),
        "ended": "finished" if process.exitcode == status else "killed",
        "status": status,
        "looks": watcher.looks,
        "entries_before": len(before),
        "entries_killed": len(killed),
        "leftovers": " ".join(sorted(path.name for path in service.rglob(".*.partial*"))),
        "faults": " | ".join(dict.fromkeys(faults)),
    }


def is_done(world: World, command: Command, new: Sequence[Entry]) -> bool:
    """Whether a verb that was killed had done its work; those that may be repeated are repeated in any case."""
    if command.product is not None:
        return (world.folder / command.product).exists()
    if command.verb not in ("process", "retrain", "rollback"):
        return False
    return any(isinstance(entry.body, ENDS) or getattr(entry.body, "final", False) for entry in new)


def half_there(world: World, service: Path, command: Command) -> list[str]:
    """Evidence or a new service that looks finished and is not."""
    pages = [path for path in (service / EVIDENCE).glob("[0-9]*") if path.is_dir()]
    faults = [
        f"{path.name} of the evidence is not whole"
        for path in pages
        if not {one.name for one in path.iterdir()} >= WHOLE
    ]
    new = world.folder / str(command.product)
    if command.verb == "init" and new.exists():
        faults += ledger_of(new).problems() + incomplete(new)
    return faults


def put_right(service: Path) -> list[str]:
    """Open the service, which must make the model current that the ledger names."""
    state = Service.open(service).state
    target = (service / CURRENT).readlink().name
    return [] if target == state.deployed.model.run else [f"current is {target} after the service was opened"]


def kill_often(world: World, kills: int, seed: int, verbs: Sequence[str] = VERBS) -> list[dict[str, str]]:
    """All trials that are not there yet; returns the rows of all."""
    table = world.folder / "kills.csv"
    if not table.exists():
        world.folder.mkdir(parents=True, exist_ok=True)
        table.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    finish(["--version"], world.folder / "log.txt")  # from here on the server of processes is there
    for trial in range(len(rows_of(table)), kills):
        rng = np.random.default_rng((seed, trial))
        service = world.begin(f"service-{trial // ROUND}")
        command = chosen(verbs, fold(ledger_of(service).entries()), world, rng, trial)
        row = {"trial": trial, **trial_of(world, service, command, rng)}
        with table.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
        print(
            f"{trial}: {command.verb}, {row['ended']} at {row['at']} of {row['seconds']} s {row['faults']}", flush=True
        )
    return rows_of(table)


def rows_of(table: Path) -> list[dict[str, str]]:
    """The trials so far."""
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def at_once(world: World, name: str = "together") -> list[str]:
    """Two processes on one service; what should not be."""
    service, log = world.begin(name), world.folder / "log.txt"

    def add(person: int) -> list[str]:
        return Command("add", ("--where", f"person={person}", "--ticket", f"person {person}")).line(world, service, "")

    finish(add(0), log)
    process = Command("process").line(world, service, "")
    first, second = start(process, log), start(process, log)
    while first.is_alive() and second.is_alive() and not fold(ledger_of(service).entries()).unfinished:
        time.sleep(POLL_SECONDS)
    meanwhile = {
        verb: finish(words, log)
        for verb, words in (("add", add(1)), ("status", Command("status").line(world, service, "")))
    }
    waited = first.is_alive() or second.is_alive()
    first.join(LONGEST)
    second.join(LONGEST)
    state, statuses = fold(ledger_of(service).entries()), sorted((first.exitcode, second.exitcode), key=str)
    print(f"two processes at once end with {statuses}; during them {meanwhile}, at work still: {waited}")
    faults = broken(service, ()) + [f"{verb} ended with {code}" for verb, (code, _) in meanwhile.items() if code]
    faults += [] if waited else ["add and status waited for process"]
    faults += [] if state.requests[1].status == "honoured" else ["request 1 is not honoured"]
    return faults + ([] if 0 in statuses and set(statuses) <= {0, 2} else [f"exit statuses {statuses}"])


def print_table(rows: Sequence[dict[str, str]]) -> None:
    """A line per verb in Markdown."""
    print("| verb | trials | killed | after new entries | seconds, median | looks at current | faults |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for verb in dict.fromkeys([*VERBS, "all"]):
        own = [row for row in rows if verb in ("all", row["verb"])]
        dead = [row for row in own if row["ended"] == "killed"]
        inside = sum(row["entries_killed"] != row["entries_before"] for row in dead)
        middle = f"{np.median([float(row['seconds']) for row in own]):.2f}" if own else ""
        looks, bad = sum(int(row["looks"]) for row in own), sum(bool(row["faults"]) for row in own)
        print(f"| {verb} | {len(own)} | {len(dead)} | {inside} | {middle} | {looks} | {bad} |")


def main() -> None:
    """Kill, look, and print the table; exit status 1 where something was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("crash"))
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of verbs, their words and moments")
    asked = parser.parse_args()
    print(json.dumps(hardware(Compute.choose("cpu", "fp32")).plain() | versions() | {"seed": asked.seed}))
    world = World(asked.out.resolve())
    rows = kill_often(world, asked.kills, asked.seed)
    print_table(rows)
    faults = [row["faults"] for row in rows if row["faults"]] + at_once(world, f"together-{time.time_ns()}")
    for fault in faults:
        print(fault)
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
