"""A study that is killed and started again ends as if nothing had happened."""

from __future__ import annotations

import signal
import textwrap
import time

import warm
from natmu.records.study import StudyFolder

SCRIPT = textwrap.dedent("""
    import sys
    from functools import partial
    from pathlib import Path
    import natmu.studies.bench as bench
    from natmu.engine.store import Store
    from natmu.studies.recipe import Recipe

    bench.Store = partial(Store, checkpoint_seconds=0)
    recipe = Recipe.parse({
        "name": "killed",
        "data": {"source": "digits", "train_size": 100},
        "model": "small_cnn",
        "training": {"epochs": 10, "lr": 0.05, "schedule": "cosine", "batch_size": 32},
        "forget": ["hardest:10%"],
        "methods": [{"method": "natmu", "settings": {"epochs": 2, "n": 2}}, {"method": "amnesiac"}],
        "precision": "fp32",
    })
    for out in sys.argv[1:]:
        bench.run_recipe(recipe, data_dir=Path(out), out=Path(out), device="cpu", progress=False)
""")


def start(*outs):
    return warm.start(SCRIPT, *outs)


def comparable(out):
    """The table without what hangs on a clock."""
    clocks = ("seconds", "retrain_fraction")
    table = StudyFolder(out / "killed").table.model_dump(mode="json", exclude={"versions"})
    for row in table["rows"]:
        row["scores"] = {name: column for name, column in row["scores"].items() if name not in clocks}
    table["comparisons"] = [one for one in table["comparisons"] if one["score"] not in clocks]
    return table


def test_a_killed_study_started_again_gives_the_table_of_one_that_was_not(tmp_path):
    out, whole = tmp_path / "killed and started again", tmp_path / "never killed"
    process = start(out)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if list(out.glob("*/record.json")) and list(out.glob(".work/*/checkpoint.safetensors")):
            break
        time.sleep(0.002)
    process.kill()
    assert process.join().returncode == -signal.SIGKILL
    done = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/record.json")}
    assert done
    assert not (out / "killed").exists()

    again = start(out, whole).join(150)
    assert (again.returncode, again.stderr) == (0, "")
    assert comparable(out) == comparable(whole)
    assert {name: (out / name / "record.json").stat().st_mtime_ns for name in done} == done

    for root in (out, whole):
        folders = {path.name for path in root.iterdir()} - {".work", "killed"}
        assert len(folders) == 1 + 4
        assert all((root / name / "record.json").exists() for name in folders)
        assert [path for path in (root / ".work").iterdir() if path.suffix != ".lock"] == []
        assert list(root.rglob("*.partial")) == []
    for name in {path.name for path in out.iterdir()} - {".work", "killed"}:
        for file in ("model.safetensors", "predictions.safetensors", "confidence.npy", "forget.npy"):
            if not (out / name / file).exists():
                assert not (whole / name / file).exists()
                continue
            assert (out / name / file).read_bytes() == (whole / name / file).read_bytes()
