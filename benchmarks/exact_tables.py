"""The tables of results/exact.md, from what the steps of exact.py wrote."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from exact_attacks import KINDS, SCORES
from exact_common import Setup
from exact_heads import BATCH, HEADS
from exact_shards import DIVISIONS, REQUESTS
from natmu.records.files import write_atomically

Step = dict[str, Any]
Steps = dict[str, Step]

RIGHT = {"R": "---:", "L": "---"}


def write_tables(folder: Path, page: Path, setup: Setup) -> None:
    """Put the tables of what is there between the marks of a page, ``<!-- NAME -->`` and ``<!-- /NAME -->``.

    Args:
        folder: What each step wrote.
        page: Markdown.
        setup: That of the steps.
    """
    steps = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    text = page.read_text()
    tables = {name: table(steps) for name, table in TABLES.items()} | {"machine": _machine(steps, setup)}
    for name, table in tables.items():
        lines = "\n".join(table)
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\g<1>\n{_escaped(lines)}\n\n\g<2>", text, flags=re.DOTALL
        )
        assert count == 1, f"{page} has no place for {name}"
    write_atomically(page, text.encode())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\")


def _machine(steps: Steps, setup: Setup) -> Iterator[str]:
    """Command, machine, software and set-up."""
    if not steps:
        return
    machines = {json.dumps(step["machine"]): step["machine"] for step in steps.values()}
    loads = [step["load"] for step in steps.values()]
    seeds = len(_of(steps, r"backbone-\d+")) or len(_of(steps, r"shards-1x1-\d+-train"))
    yield from _rows("LL", ["", ""])
    size = f"--train-size {setup.train_size} --half-size {setup.half_size} --epochs {setup.epochs}"
    command = f"python benchmarks/exact.py --data data --out exact {size} --seeds {seeds} --models {setup.models}"
    yield f"| command | `{command}` |"
    yield f"| date | {min(step['date'] for step in steps.values())} |"
    for machine in machines.values():
        told = ", ".join(f"{name} {value}" for name, value in machine.items())
        yield f"| machine and software | {told} |"
    yield f"| load average as steps began | {min(loads):.1f} to {max(loads):.1f} |"
    yield f"| n | {seeds} seed{'' if seeds == 1 else 's'}; mean ± standard deviation over them |"


def _shards(steps: Steps) -> Iterator[str]:
    """Accuracy and cost of training."""
    yield from _rows(
        "RRRRRRRRR",
        [
            "S",
            "R",
            "test accuracy",
            "beside one model",
            "training accuracy",
            "s of training",
            "of one model",
            "MiB on disk",
            "MiB of memory",
        ],
    )
    for shards, slices in DIVISIONS:
        made = _of(steps, rf"shards-{shards}x{slices}-\d+-train")
        whole = _of(steps, r"shards-1x1-\d+-train")
        if not made:
            continue
        pairs = list(zip(made, whole, strict=False))
        cells = [
            _spread([step["test_acc"] for step in made]),
            _spread([step["test_acc"] - one["test_acc"] for step, one in pairs], sign=True),
            _spread([step["train_acc"] for step in made]),
            _spread([step["seconds"] for step in made]),
            _spread([step["seconds"] / one["seconds"] for step, one in pairs], digits=2),
            f"{made[0]['disk_mb']:.0f}",
            f"{max(step['memory_mb'] for step in made):.0f}",
        ]
        yield f"| {shards} | {slices} | {' | '.join(cells)} |"


def _requests(steps: Steps) -> Iterator[str]:
    """What requests take again."""
    yield from _rows(
        "RRRRRRRR",
        ["S", "R", "samples", "expected fraction", "2,000 draws", "measured: fraction", "s", "s / s of training"],
    )
    for shards, slices in DIVISIONS[1:]:
        made = _of(steps, rf"shards-{shards}x{slices}-\d+-train")
        if not made:
            continue
        for count in map(str, REQUESTS):
            drawn = [step["share"][count] for step in made]
            pattern = rf"(shards-{shards}x{slices}-\d+)-request-{count}"
            real = {name: step for name, step in steps.items() if re.fullmatch(pattern, name)}
            times = [
                step["seconds"] / steps[name.replace(f"request-{count}", "train")]["seconds"]
                for name, step in real.items()
            ]
            cells = [
                f"{100 * made[0]['expected'][count]:.1f} %",
                f"{100 * statistics.mean(mean for mean, _ in drawn):.1f} ± {100 * drawn[0][1]:.1f} %",
                " ".join(f"{100 * step['share']:.0f} %" for step in real.values()),
                " ".join(f"{step['seconds']:.0f}" for step in real.values()),
                " ".join(f"{value:.2f}" for value in times),
            ]
            yield f"| {shards} | {slices} | {count} | {' | '.join(cells)} |"


def _heads(steps: Steps) -> Iterator[str]:
    """Accuracy and cost of heads, beside a network from scratch."""
    yield from _rows(
        "LRRRRRRR",
        [
            "",
            "test accuracy",
            "training accuracy",
            "s of fit",
            "ms of one removal",
            f"ms of {BATCH:,}",
            "s: `train`",
            "s: `unlearn`, 1",
        ],
    )
    scratch = _of(steps, r"scratch-\d+")
    if scratch:
        test, train = ([step[name] for step in scratch] for name in ("test_acc", "train_acc"))
        seconds = _spread([step["seconds"] for step in scratch])
        yield f"| network from scratch | {_spread(test)} | {_spread(train)} | | | | {seconds} | |"
    for head in HEADS:
        made = _of(steps, rf"head-{re.escape(head)}-\d+")
        if made:
            refused = " (refused: fitted again)" if any(step["batch_refused"] for step in made) else ""
            cells = [
                _spread([step["test_acc"] for step in made]),
                _spread([step["train_acc"] for step in made]),
                *_seconds(made, refused),
                _spread([step["fit_verb_seconds"] for step in made]),
                _spread([step["request_verb_seconds"] for step in made]),
            ]
            yield f"| {head} | {' | '.join(cells)} |"
    for kind in ("ridge", "logistic"):
        made = _of(steps, rf"speed-{kind}")
        if made:
            shape = " x ".join(f"{size:,}" for size in made[0]["shape"])
            refused = " (refused: fitted again)" if made[0]["batch_refused"] else ""
            yield f"| {kind}, made-up features {shape} | | | {' | '.join(_seconds(made, refused))} | | |"


def _seconds(made: Sequence[Step], refused: str) -> list[str]:
    """Fit, one removal, a batch."""
    fit = _spread([step["fit"]["median"] for step in made], digits=2)
    one, batch = (_spread([1000 * step[name]["median"] for step in made]) for name in ("one", "batch"))
    return [fit, one, batch + refused]


def _budget(steps: Steps) -> Iterator[str]:
    """What removals spend of the budget."""
    yield from _rows(
        "LRRRRRRR",
        [
            "",
            "budget",
            "spent by the fit",
            "after 1",
            "after 10",
            "after 100",
            "removals before the first refit",
            "refits",
        ],
    )
    for head in HEADS:
        made = [step for step in _of(steps, rf"head-{re.escape(head)}-\d+") if "budget" in step]
        if not made:
            continue
        spent = [
            _spread([step["spent"][count] for step in made if count in step["spent"]], digits=4)
            for count in ("0", "1", "10", "100")
        ]
        first = [step["before_first_refit"] for step in made]
        until = " ".join("none in 1,000" if number is None else f"{number:,}" for number in first)
        refits = " ".join(f"{step['refits']} in {step['removals']:,}" for step in made)
        budget = _spread([step["budget"] for step in made], digits=4)
        yield f"| {head} | {budget} | {' | '.join(spent)} | {until} | {refits} |"


def _attacks(steps: Steps) -> Iterator[str]:
    """Scores of the original, the unlearned and retrained models."""
    yield from _rows("LLRRRR", ["", "score", "original", "unlearned", "retrained", "n retrained"])
    for kind in KINDS:
        made = _of(steps, rf"attack-{kind}-\d+")
        for score in SCORES:
            found = [step["scores"][score] for step in made if score in step["scores"]]
            if not found:
                continue
            retrained = [value for one in found for value in one["retrained"]]
            original = [one["original"] for one in found if one["original"] is not None]
            digits = 3 if "auc" in score else 1
            cells = [
                _spread(values, digits=digits) for values in (original, [one["unlearned"] for one in found], retrained)
            ]
            yield f"| {kind} | `{score}` | {' | '.join(cells)} | {len(retrained)} |"
        if made:
            same = sum(step["same_as_retrained"] for step in made)
            judged = sum(len(step["scores"]["test_acc"]["retrained"]) for step in made)
            yield f"| {kind} | retrained models with the very weights of the unlearned one | | | {same} | {judged} |"


TABLES: dict[str, Callable[[Steps], Iterator[str]]] = {
    "shards": _shards,
    "requests": _requests,
    "heads": _heads,
    "budget": _budget,
    "attacks": _attacks,
}


def _rows(sides: str, names: Sequence[str]) -> Iterator[str]:
    """The head of a table."""
    yield f"| {' | '.join(names)} |"
    yield f"|{'|'.join(RIGHT[side] for side in sides)}|"


def _of(steps: Steps, pattern: str) -> list[Step]:
    """Steps whose names match, in the order of their seeds."""
    return [step for name, step in steps.items() if re.fullmatch(pattern, name)]


def _spread(values: Sequence[float], digits: int = 1, *, sign: bool = False) -> str:
    """Mean and standard deviation."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):{'+' if sign else ''}.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.{digits}f}"
