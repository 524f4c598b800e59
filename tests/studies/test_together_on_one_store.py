"""Several processes at work on one store at the same time: the same study, and studies that share jobs."""

from __future__ import annotations

import json
import textwrap
import time

import warm
from natmu.engine.store import Run
from natmu.records.study import StudyFolder
from natmu.studies import run_recipe

from . import fakes

SCRIPT = textwrap.dedent("""
    import json, sys, time
    from pathlib import Path
    from natmu.engine.store import Store
    from natmu.studies import Recipe, run_recipe

    out, me, recipe = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    compute = Store._compute

    def counted(self, lineage, *rest):
        with (me / "computed").open("a") as file:
            file.write(lineage.digest + "\\n")
        time.sleep(0.2)  # the models are so small that one process could do all before another has its turn
        return compute(self, lineage, *rest)

    Store._compute = counted
    (me / "ready").touch()
    while not (out / "go").exists():
        time.sleep(0.01)
    run_recipe(Recipe.parse(recipe), data_dir=out, out=out, device="cpu", progress=False)
""")

METHODS = [{"method": "natmu", "settings": {"epochs": 1, "n": 2}}, {"method": "amnesiac", "settings": {"epochs": 1}}]


def run_together(out, *recipes):
    """Run each recipe in a process of its own, all at the same time; the digests that each has computed."""
    homes = [out.parent / f"process {number}" for number in range(len(recipes))]
    for folder in (out, *homes):
        folder.mkdir()
    started = [
        warm.start(SCRIPT, out, home, json.dumps(recipe.model_dump(mode="json")))
        for home, recipe in zip(homes, recipes, strict=True)
    ]
    while not all((home / "ready").exists() for home in homes):
        assert all(process.poll() is None for process in started)
        time.sleep(0.01)
    (out / "go").touch()
    for process in started:
        done = process.join(100)
        assert (done.returncode, done.stderr) == (0, "")
    return [(home / "computed").read_text().split() for home in homes]


def table(out, name):
    """The rows without what hangs on a clock."""
    clocks = ("seconds", "retrain_fraction")
    return [
        (row.model_dump(exclude={"scores"}), {key: row.scores[key] for key in row.scores if key not in clocks})
        for row in StudyFolder(out / name).table.rows
    ]


def test_processes_share_a_study_and_studies_share_jobs(tmp_path):
    whole = fakes.recipe(name="whole", methods=METHODS, forget=["random:10%", "class:3"])
    part = fakes.recipe(name="part", methods=METHODS[1:], forget=["class:3", "random:20%"])
    out, alone = tmp_path / "shared", tmp_path / "alone"
    computed = run_together(out, whole, whole, part)
    for recipe in (whole, part):
        run_recipe(recipe, data_dir=alone, out=alone, device="cpu", progress=False)

    assert all(computed)
    once = sorted(digest for digests in computed for digest in digests)
    assert once == sorted(path.parent.name for path in alone.glob("*/record.json"))
    assert once == sorted(path.parent.name for path in out.glob("*/record.json"))
    assert [path for path in (out / ".work").iterdir() if path.suffix != ".lock"] == []
    assert [*out.rglob("*.partial")] == []
    for digest in once:
        assert Run(out / digest).record.lineage == Run(alone / digest).record.lineage
        for name in ("model.safetensors", "predictions.safetensors"):
            assert (out / digest / name).read_bytes() == (alone / digest / name).read_bytes()
    for name in ("whole", "part"):
        assert table(out, name) == table(alone, name)
