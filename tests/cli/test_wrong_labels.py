"""Wrong labels on the command line: the commands of docs/wrong-labels.md in order, then a second request."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from natmu.engine.store import Run
from natmu.report.commands import commands_of

PAGE = (Path(__file__).parents[2] / "docs/wrong-labels.md").read_text(encoding="utf-8")


def still_wrong(folder: str) -> int:
    """How many of the corrected samples are not answered by their right labels, counted one by one."""
    with Path("fixes.csv").open(newline="") as file:
        right = {int(row["index"]): int(row["label"]) for row in csv.DictReader(file)}
    logits = Run(Path("runs", folder)).outputs().train.logits
    return sum(int(np.argmax(logits[position])) != label for position, label in right.items())


@pytest.fixture
def tutorial(natmu):
    """The page's commands, run in order in an empty folder; what each of them printed."""
    spoil, *_ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(spoil, "docs/wrong-labels.md", "exec"), {})
    (block,) = re.findall(r"```shell\n(.*?)```", PAGE, re.DOTALL)
    done = [natmu(*shlex.split(line)[1:]) for line in block.splitlines()]
    assert [one.status for one in done] == [0] * 4, [one.err for one in done]
    return done


def test_the_tutorial_corrects_what_forgetting_alone_leaves_wrong(natmu, tutorial):
    _, corrected, audited, alone = tutorial
    run = Run(Path("runs/corrected"))
    assert "3 (right: 0), 7 (right: 1)" in corrected.err
    assert "corrected_acc" not in alone.out
    assert f"corrected_acc {100 - 5 * still_wrong('corrected'):.2f} (original 0.00)" in corrected.out
    audit = json.loads(Path("runs/corrected/audit/audit.json").read_text())
    references = audit["models"]["retrained"]
    right = audit["scores"]["corrected_acc"]
    assert right["retrained"] == [100 - 5 * still_wrong(reference) for reference in references]
    assert right["original"] == 100 - 5 * still_wrong("original") == 0
    assert "corrected_acc" in audit["forgotten"]["sentence"]
    assert "corrected_acc" in audited.out
    most = max(map(still_wrong, references))
    assert still_wrong("corrected") <= most + 2 < still_wrong("original")

    finetune = ("unlearn", "--from", "runs/original", "--method", "finetune", "--out")
    assert natmu(*finetune, "runs/tuned", "--relabel", "fixes.csv").status == 0
    assert natmu(*finetune, "runs/tuned-alone", "--forget", "indices:fixes.csv").status == 0
    assert still_wrong("tuned") <= most + 2 < still_wrong("tuned-alone")
    assert still_wrong("corrected") < still_wrong("forgotten")

    # the same table again is the same run, another one another request
    again = next(line for line in commands_of(run, Run(Path("runs/original"))) if line.startswith("natmu unlearn"))
    assert "--forget relabel:fixes.csv" in again
    assert natmu(*shlex.split(again)[1:]).status == 0
    lines = Path("fixes.csv").read_text().splitlines()
    Path("fixes.csv").write_text("\n".join([*lines[:-1], lines[-1].split(",")[0] + ",#9"]))
    changed = natmu("unlearn", "--from", "runs/original", "--relabel", "fixes.csv", "--epochs", 1, "--json")
    assert changed.json["forgotten"]["count"] == 20
    assert changed.json["forgotten"]["digest"] != run.record.forgotten.digest

    # what was corrected first is kept by whoever forgets next
    second = natmu(
        "unlearn", "--from", "runs/corrected", "--forget", "random:10", "--epochs", 1, "--out", "runs/second"
    )
    assert second.status == 0, second.err
    found = Run(Path("runs/second")).forget()
    assert np.array_equal(found.corrections, run.forget().corrections)
    assert (len(found), len(found.before), found.corrected) == (10, 20, None)
    for words, sentence in (
        (("unlearn", "--from", "runs/corrected", "--relabel", "fixes.csv"), "it is kept with its right label"),
        (("audit", "runs/second", "--level", "full", "--references", 2), "audit at the level standard"),
    ):
        known = sorted(Path("runs").iterdir())
        wrong = natmu(*words)
        assert (wrong.status, wrong.out, sorted(Path("runs").iterdir())) == (2, "", known)
        assert sentence in wrong.err


def test_what_is_asked_for_is_said_once(refused):
    for words in ([], ["--forget", "all", "--relabel", "fixes.csv"]):
        assert "--relabel TABLE.csv" in refused("unlearn", "--from", "runs/original", *words)
        assert "--relabel TABLE.csv" in refused("plan", "--from", "runs/original", *words)
