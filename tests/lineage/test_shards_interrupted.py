"""Training in shards that is killed, in the midst of a stage or between two, goes on to the same bits."""

from __future__ import annotations

import signal
import textwrap
import time

import warm
from natmu.records.lineage import Stage
from natmu.records.run import RunFolder

SCRIPT = textwrap.dedent("""
    import sys
    from pathlib import Path
    from lineage import tiny_shards as tiny
    from natmu.engine.store import Store
    from natmu.lineage import obtain, outcome_of
    from natmu.methods import Retrain
    import numpy as np

    Store.__init__.__defaults__ = (0.0,)
    for out in sys.argv[1:]:
        place = tiny.workspace(Path(out), tiny.images(90))
        model = place.original(tiny.RECIPE.model_copy(update={"epochs": 24}), 0)
        obtain(model, place)
        made = tiny.by_sisa(place, np.arange(0, 90, 30), model)
        retrained = outcome_of(Retrain(), model, made.forget, seed=0, batch_size=None, at=place.arithmetic)
        obtain(retrained, place, "retrained")
""")


def files(out):
    """The weights and predictions of all runs, by name."""
    names = ("model.safetensors", "predictions.safetensors", "division.npy")
    return {
        path.parent.name: [(path.parent / name).read_bytes() for name in names if (path.parent / name).exists()]
        for path in out.glob("*/record.json")
    }


def killed_when(out, ready):
    """Start, kill when something is there, and whether it was killed at work."""
    process = warm.start(SCRIPT, out)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None and not ready():
        time.sleep(0.01)
    process.kill()
    return process.join().returncode == -signal.SIGKILL


def test_killed_three_times_it_ends_as_if_nothing_had_happened(tmp_path):
    out, whole = tmp_path / "killed", tmp_path / "never killed"

    def stages(left_out):
        found = [RunFolder(path.parent).record.lineage for path in out.glob("*/record.json")]
        return [one for one in found if isinstance(one, Stage) and (one.left_out is not None) == left_out]

    def unfinished(pattern):
        return [*out.glob(f".work/*/checkpoint.safetensors{pattern}")]

    assert killed_when(out, lambda: len(stages(False)) == 1 and unfinished(""))  # in the midst of the second stage
    assert killed_when(out, lambda: stages(True) and unfinished(""))  # in the midst of sisa
    assert killed_when(out, lambda: unfinished(".shard-0") and unfinished(".1-*"))  # in the midst of retraining
    stamps = {path: path.stat().st_mtime_ns for path in out.glob("*/record.json")}
    again = warm.start(SCRIPT, out, whole).join()
    assert (again.returncode, again.stderr) == (0, "")
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert files(out) == files(whole)
    records = [
        {path.name: RunFolder(path).record for path in root.iterdir() if path.name != ".work"} for root in (out, whole)
    ]
    assert all(0 < records[0][name].seconds < 10 * records[1][name].seconds + 1 for name in records[1])
    assert [path for path in (out / ".work").iterdir() if path.suffix != ".lock"] == []
