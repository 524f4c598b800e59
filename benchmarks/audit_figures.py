"""Pictures of audits: what an attacker sees of each model, from stored predictions alone.

    python benchmarks/audit_figures.py RUNS OUT RUN [RUN ...]

RUNS is the store, each RUN the folder of an unlearned model that was audited at the level standard. Writes
``OUT/audit-roc.png``, the ROC of RMIA with logarithmic axes, and ``OUT/audit-margins.png``, histograms of the margin
of retain, forget and test samples, a panel for the original, a retrained model and each unlearned one. Needs
matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from natmu.audits import RunAudit
from natmu.engine.memory import keep_freed_memory
from natmu.engine.store import Run, Store
from natmu.errors import RunError
from natmu.records.derived import original_of
from natmu.records.run import open_run
from natmu.scores import Panel, auc, margin, roc
from natmu.scores.exposed import exposed_by_rmia
from natmu.types import Predictions

COLOURS = {"retain": "#8a8a8a", "forget": "#c1272d", "test": "#0072b2"}
LEAST = 1e-4


def main() -> None:
    """Draw both pictures."""
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    asked = parser.parse_args()
    mpl.use("Agg")
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    models, panel = _models(asked.store, asked.runs)
    _rocs(models, panel, asked.out / "audit-roc.png")
    _histograms(models, asked.out / "audit-margins.png")


def _models(store: Path, runs: list[Path]) -> tuple[dict[str, Predictions], Panel]:
    """Predictions by the name of the method, and the panel of the first audit."""
    audits = [_audit(Run(open_run(run).path), Store(store)) for run in runs]
    first = audits[0].panel()
    assert first.original is not None
    models = {"original": first.original, "retrained": first.retrained[0]}
    models |= {getattr(audit.models.subject, "method", "retrain"): audit.predictions for audit in audits}
    return models, first


def _audit(run: Run, store: Store) -> RunAudit:
    """The audit of a run whose original is in the store."""
    original = store.find(original_of(run.record.lineage).digest)
    if original is None:
        raise RunError(f"The original of {run.path} is not in {store.root}; name the store that holds it.")
    return RunAudit(run, original, store, "standard", 8)


def _rocs(models: dict[str, Predictions], panel: Panel, path: Path) -> None:
    """One curve a model; a retrained model is attacked with the others."""
    figure, axes = plt.subplots(figsize=(4.6, 4.2), dpi=150)
    axes.plot([LEAST, 1], [LEAST, 1], color="#cccccc", linewidth=1)
    for name, predictions in models.items():
        references = [
            one for one in panel.retrained if not np.array_equal(one.forget.logits, predictions.forget.logits)
        ]
        sides = exposed_by_rmia(predictions, references)
        curve = roc(*sides)
        style = {"original": "--", "retrained": ":"}.get(name, "-")
        rates = np.clip(curve.fpr, LEAST, 1), np.clip(curve.tpr, LEAST, 1)
        axes.plot(*rates, style, label=f"{name}, AUC {auc(*sides):.2f}", linewidth=1.3)
    axes.set(xscale="log", yscale="log", xlim=(1e-3, 1), ylim=(1e-3, 1))
    axes.set(xlabel="false positive rate (test samples)", ylabel="true positive rate (forget samples)")
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def _histograms(models: dict[str, Predictions], path: Path) -> None:
    """A panel a model, with the same bins."""
    figure, grid = plt.subplots(2, -(-len(models) // 2), figsize=(8, 4.4), dpi=150, sharex=True, sharey=True)
    bins = np.linspace(-10, 20, 61)
    panels: list[Axes] = list(grid.flat)
    for axes, (name, predictions) in zip(panels, models.items(), strict=False):
        for part, colour in COLOURS.items():
            values = np.clip(margin(getattr(predictions, part)), bins[0], bins[-1])
            axes.hist(values, bins, density=True, histtype="step", color=colour, label=part, linewidth=1.2)
        axes.set_title(name)
    for axes in grid[-1]:
        axes.set_xlabel("margin φ, nats")
    for axes in grid[:, 0]:
        axes.set_ylabel("density")
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    main()
