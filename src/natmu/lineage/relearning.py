"""How many steps of fine-tuning on the forget set bring its loss back: a run of the store for each model asked."""

from __future__ import annotations

import time
from collections.abc import Sequence

from natmu.engine.relearning import SETTINGS, SHOWN, STEPS, relearning_curve
from natmu.engine.workplace import Workplace
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import Forget, Relearned, Trained, Unlearned
from natmu.records.run import History
from natmu.scores.relearn import relearn_time


def relearned(model: Trained | Unlearned, forget: Forget, batch_size: int) -> Relearned:
    """How a model relearns a forget set, as a lineage; curves are compared where they have the same batch size."""
    settings = SETTINGS.model_dump(mode="json") | {"batch_size": batch_size}
    return Relearned(source=model, forget=forget, settings=settings, shown=SHOWN)


def relearn(model: Relearned, workspace: Workspace, work: Workplace) -> None:
    """Fine-tune a model on the forget set; the run's history has the losses."""
    compute = workspace.compute.at(model.arithmetic)
    network = workspace.load(workspace.require(model.source))
    start = time.perf_counter()
    data, forget = workspace.on_device.train, workspace.forget_set(model.forget)
    curve = relearning_curve(network, data, forget, model.settings["batch_size"], compute)
    history: History = [{"epoch": float(step), "loss": loss} for step, loss in enumerate(curve)]
    work.finish_curve(history, compute, seconds=time.perf_counter() - start)


def relearning_steps(curve: Sequence[float], original_loss: float) -> int:
    """Steps until the loss is back within 5 % of the original's; one more than there are if it is not back by then.

    Models that take longer are left in by this number: without them the others would look like all of their kind.
    """
    found = relearn_time(curve, original_loss)
    return STEPS + 1 if found is None else found
