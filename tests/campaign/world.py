"""A small example of everything that natmu reads: photographs, lists, recipes, weights, runs, studies, a service.

It is made by natmu's own verbs, once; a case works on a copy. What a verb reads is seen while it is run undisturbed, so
that a file which a later version reads joins by itself.
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tests.campaign.sandbox import Ended, natmu, run

CLASSES = ("ant", "bee", "cow", "dog")
PEOPLE = 8
TRAINING = {"epochs": 1, "batch_size": 16, "lr": 0.05, "augment": False, "warmup_epochs": 0}
DATA = {"source": "photos", "holdout": True}
RECIPE = {
    "name": "study",
    "data": DATA,
    "model": "small_cnn",
    "training": TRAINING,
    "forget": ["indices:lists/positions.csv"],
    "methods": [{"method": "finetune", "settings": {"epochs": 1}}, {"method": "delete", "settings": {"epochs": 1}}],
    "precision": "fp32",
    "executor": {"cpus": 1},
}
SEARCH = RECIPE | {
    "name": "searched",
    "methods": [{"method": "finetune", "settings": {"epochs": 1}, "search": {"lr": [0.01, 0.02]}}],
    "search": {"trials": 2, "objective": "no-retrain"},
}
POLICY = {
    "method": "finetune",
    "settings": {"epochs": 1, "lr": 0.01},
    "fallbacks": [{"method": "retrain"}],
    "audit": {"references": 1},
    "guardrails": {"retain_loss": 99, "holdout_loss": 99, "forgotten": False, "earlier": False},
}
POSITIONS = (3, 8, 11)
NAMES = ("train/ant/p1-0.png", "train/bee/p2-0.png")

CPU = ("--device", "cpu")
FP32 = (*CPU, "--precision", "fp32")


@dataclass(frozen=True)
class Verb:
    """A verb as the campaign runs it.

    Attributes:
        name: What it is called in the table.
        words: Its words.
        makes: Where it may write, as the beginnings of paths; nothing else may change.
        builds: Whether it is part of making the world; it then runs on what was made before it.
        gone: Files that are deleted before it, as patterns.
        forms: Files of which it takes the form alone: names and shapes of weights, and not the numbers.
    """

    name: str
    words: tuple[str, ...]
    makes: tuple[str, ...] = ()
    builds: bool = False
    gone: tuple[str, ...] = ()
    forms: tuple[str, ...] = ()


_TRAIN = ("train", "--data", "photos", "--holdout", "--model", "small_cnn", "--epochs", "1", "--batch-size", "16")
_QUIET = ("--augment", "none", "--warmup-epochs", "0", "--lr", "0.05", *FP32)
_UNLEARN = ("unlearn", "--from", "runs/original", "--method", "finetune", "--set", "epochs=1", *FP32)
_SERVICE = ("service",)

VERBS = (
    Verb("train", (*_TRAIN, *_QUIET, "--out", "runs/original"), ("runs", "data"), builds=True),
    Verb("train table", ("train", "--data", "table.csv", *_TRAIN[3:], *_QUIET, "--out", "runs/b"), ("runs", "data")),
    Verb(
        "train npz",
        ("train", "--data", "arrays.npz", *_TRAIN[4:], *_QUIET, "--classes", "classes.txt", "--out", "runs/backbone"),
        ("runs", "data"),
        builds=True,
    ),
    Verb(
        "train head",
        (*_TRAIN[:4], "--head", "ridge", "--features-from", "runs/backbone", *FP32, "--out", "runs/head"),
        ("runs", "data"),
    ),
    Verb("plan", ("plan", "--from", "runs/original", "--forget", "files:lists/names.txt", *CPU), ("data",)),
    Verb(
        "unlearn",
        (*_UNLEARN, "--forget", "indices:lists/positions.csv", "--out", "runs/unlearned"),
        ("runs", "data"),
        builds=True,
    ),
    Verb(
        "unlearn where",
        (*_UNLEARN, "--forget", "where:person=1", "--manifest", "people.csv", "--out", "runs/where"),
        ("runs", "data"),
    ),
    Verb(
        "unlearn relabel", (*_UNLEARN, "--relabel", "lists/relabel.csv", "--out", "runs/relabelled"), ("runs", "data")
    ),
    Verb(
        "unlearn file",
        (
            *("unlearn", "--from", "weights.pt", "--data", "photos", "--holdout", "--model", "small_cnn"),
            *("--training", "training.yaml", "--forget", "indices:lists/positions.npy", "--method", "delete"),
            *("--set", "epochs=1", *FP32, "--force", "--out", "runs/from-file"),
        ),
        ("runs", "data"),
    ),
    Verb(
        "audit",
        ("audit", "runs/unlearned", "--level", "quick", "--references", "1", *CPU),
        ("runs", "data"),
        builds=True,
    ),
    Verb("export", ("export", "runs/unlearned", "--out", "out/model.pt"), ("out",)),
    Verb("export original", ("export", "runs/original", "--out", "out/original.pt"), ("out",)),
    Verb(
        "export like",
        ("export", "runs/unlearned", "--out", "out/like.pt", "--like", "weights.pt"),
        ("out",),
        forms=("weights.pt",),
    ),
    Verb("bench", ("bench", "recipe.yaml", *CPU), ("runs", "data"), builds=True),
    Verb("search", ("search", "search.yaml", *CPU), ("runs", "data"), builds=True),
    Verb("report run", ("report", "runs/unlearned", "--out", "out/run.html"), ("out",)),
    Verb("report study", ("report", "runs/study", "--format", "csv")),
    Verb("report page", ("report", "runs/study", "--out", "out/study.html"), ("out",)),
    Verb(
        "requests init",
        (
            *("requests", "init", "--from", "runs/original", "--out", "service", "--manifest", "people.csv"),
            *("--policy", "policy.yaml", *FP32, "--force"),
        ),
        ("service", "data", "runs"),
        builds=True,
    ),
    Verb(
        "requests add",
        ("requests", "add", "service", "--where", "person=1", "--ticket", "T-1"),
        _SERVICE,
        builds=True,
    ),
    Verb("requests process", ("requests", "process", "service", "--force", *CPU), ("service", "data"), builds=True),
    Verb(
        "requests add files", ("requests", "add", "service", "--files", "lists/names.csv", "--ticket", "T-2"), _SERVICE
    ),
    Verb("requests list", ("requests", "list", "service", "--json"), _SERVICE),
    Verb("requests status", ("requests", "status", "service", "--json"), _SERVICE),
    Verb("requests evidence", ("requests", "evidence", "service", "1"), _SERVICE),
    Verb("requests verify", ("requests", "verify", "service", "--read-only"), _SERVICE),
    Verb("requests rollback", ("requests", "rollback", "service", "0"), _SERVICE),
    Verb(
        "requests confirm-purge",
        ("requests", "confirm-purge", "service", "1"),
        ("service", "data"),
        gone=("photos/*/*/p1-0.png",),
    ),
    Verb("requests retrain", ("requests", "retrain", "service", "--force", *CPU), ("service", "data")),
    Verb("requests export", ("requests", "export", "service", "--out", "out/service.safetensors"), ("service", "out")),
)
BY_NAME = {verb.name: verb for verb in VERBS}


@dataclass(frozen=True)
class World:
    """An example, and the one place where cases are played: services remember the whole path of their data.

    Attributes:
        folder: Holds ``all``, everything; ``before/VERB``, what was there before a verb that made a part of it; and
            ``now``, where a case is played.
    """

    folder: Path

    @property
    def now(self) -> Path:
        """Where cases are played."""
        return self.folder / "now"

    def take(self) -> int:
        """Keep other campaigns out, until this process and all that it starts have ended; the descriptor of the lock.

        Raises:
            SystemExit: One plays in it, as a worker does whose parent was killed.
        """
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(f"{self.folder}.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise SystemExit(f"{self.folder} is played in already; wait, or give another --out.") from None
        return lock

    def make(self, verbs: tuple[Verb, ...] = VERBS) -> None:
        """Make the world, unless it is there.

        Raises:
            AssertionError: A verb that is needed for it does not succeed.
        """
        if (self.folder / "complete").exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        self.now.mkdir(parents=True)
        _write_sources(self.now)
        for verb in verbs:
            if not verb.builds:
                continue
            shutil.copytree(self.now, self.folder / "before" / verb.name, symlinks=True)
            ended = run(natmu([*verb.words]), self.now)
            assert ended.status == 0, f"{verb.name} ends with {ended.status}: {ended.err[-2000:]}"
            if verb.name == "train":
                _export(self.now)
        self.now.rename(self.folder / "all")
        (self.folder / "complete").touch()

    def begin(self, verb: Verb) -> Path:
        """Lay out what a verb begins with, where cases are played."""
        shutil.rmtree(self.now, ignore_errors=True)
        before = self.folder / "before" / verb.name
        shutil.copytree(before if verb.builds and before.exists() else self.folder / "all", self.now, symlinks=True)
        for pattern in verb.gone:
            for path in self.now.glob(pattern):
                path.unlink()
        return self.now

    def undisturbed(self, verb: Verb) -> tuple[Ended, list[str]]:
        """How a verb ends that nobody disturbs, and the files of the world that it reads.

        Weights are read by code that is not seen; those in folders of which anything is read are added.
        """
        now = self.begin(verb)
        there = {str(path.relative_to(now)) for path in now.rglob("*") if path.is_file() and not path.is_symlink()}
        ended = run(natmu([*verb.words]), now)
        root = f"{os.path.realpath(now)}/"
        read = {os.path.realpath(path).removeprefix(root) for path in ended.reads} & there
        folders = {str(Path(name).parent) for name in read}
        return ended, sorted(
            read | {name for name in there if name.endswith(".safetensors") and str(Path(name).parent) in folders}
        )


def _export(root: Path) -> None:
    """The original as a file of PyTorch, as a user has it."""
    ended = run(natmu(["export", "runs/original", "--out", "weights.pt"]), root)
    assert ended.status == 0, ended.err


def _write_sources(root: Path) -> None:
    """What a user brings."""
    people, table, images, labels = [], [], {"train": [], "test": []}, {"train": [], "test": []}
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    for part, persons in (("train", range(PEOPLE)), ("test", range(PEOPLE, 2 * PEOPLE + 4))):
        for person in persons:
            for label, name in enumerate(CLASSES):
                file = f"{part}/{name}/p{person}-0.png"
                pixels = rng.integers(0, 120, (8, 8, 3)).astype(np.uint8)
                pixels[..., label % 3] += 30 * (label + 1)
                (root / "photos" / file).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(root / "photos" / file)
                people.append((file, person))
                table.append((f"photos/{file}", name, part))
                images[part].append(other.integers(0, 256, (8, 8, 3)).astype(np.uint8))
                labels[part].append(label)
    _write_csv(root / "people.csv", [("file", "person"), *people])
    _write_csv(root / "table.csv", [("file", "label", "split"), *table])
    arrays = {
        f"{kind}_{part}": np.array(values[part]) for part in images for kind, values in (("x", images), ("y", labels))
    }
    np.savez(root / "arrays.npz", **arrays)
    (root / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    lists = root / "lists"
    lists.mkdir()
    np.save(lists / "positions.npy", np.array(POSITIONS))
    (lists / "positions.txt").write_text("".join(f"{row}\n" for row in POSITIONS))
    (lists / "positions.json").write_text(json.dumps(POSITIONS))
    _write_csv(lists / "positions.csv", [("index",), *((row,) for row in POSITIONS)])
    (lists / "names.txt").write_text("\n".join(NAMES) + "\n")
    (lists / "names.json").write_text(json.dumps(NAMES))
    _write_csv(lists / "names.csv", [("file",), *((name,) for name in NAMES)])
    _write_csv(lists / "relabel.csv", [("file", "label"), (NAMES[0], "bee"), (NAMES[1], "ant")])
    for name, value in (("recipe", RECIPE), ("search", SEARCH), ("policy", POLICY), ("training", TRAINING)):
        (root / f"{name}.yaml").write_text("".join(f"{key}: {json.dumps(held)}\n" for key, held in value.items()))


def _write_csv(path: Path, rows: list[tuple[object, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
